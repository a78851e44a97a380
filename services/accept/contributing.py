"""What a source can read back of what it sent, and what it is told of each object. Pure.

It reads back what it said and nothing of what the hub made of it: so an object is there as soon as it is taken,
whoever gets it, and also where it waits, or names no item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from schemas.errors import clip
from schemas.timestamps import parse_time_us
from services.accept.names import Name
from services.accept.reading import Posted

MAX_MESSAGE_CHARS = 400

Outcome = Literal["success", "failure"]


class Told(NamedTuple):
    """What a source is told of one object: see section 4.3.1 of TAXII 2.1. `version` may be empty."""

    id: str
    version: str
    outcome: Outcome
    message: str


class Contribution(NamedTuple):
    """One version of an object. `version_us` is None where its type has none. `names` are those of its items."""

    stix_id: str
    type: str
    version: str
    version_us: int | None
    body: bytes
    revoked: bool
    names: tuple[Name, ...]


class Erased(NamedTuple):
    """Which contributions of a source go: those with these ids of its own, of these items, of these submissions (by
    their places in the inbox), and those in these rows (by their `added`)."""

    ids: Sequence[str] = ()
    names: Sequence[Name] = ()
    submissions: Sequence[int] = ()
    rows: Sequence[int] = ()


@dataclass
class Outcomes:
    """Gathers what becomes of the objects of a submission, by their pointers."""

    names: dict[str, list[Name]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    """What else is in order with them, in words."""
    faults: dict[str, str] = field(default_factory=dict)

    def taken(self, pointer: str, name: Name) -> None:
        self.names.setdefault(pointer, []).append(name)

    def note(self, pointer: str, reason: str) -> None:
        self.kept.setdefault(pointer, reason)

    def fault(self, pointer: str, what: str) -> None:
        self.faults.setdefault(pointer, what)

    def contributions(self, posted: Iterable[Posted]) -> Iterator[Contribution]:
        for each in posted:
            if each.body and self._is_in_order(each.pointer):
                version_us = parse_time_us(each.version) if each.version else None
                names = tuple(dict.fromkeys(self.names.get(each.pointer, ())))
                yield Contribution(each.id, each.type, each.version, version_us, each.body, each.revoked, names)

    def told(self, posted: Iterable[Posted]) -> Iterator[Told]:
        for each in posted:
            if self._is_in_order(each.pointer):
                said = [self.kept.get(each.pointer, ""), self._also(each.pointer)]
                message = "; ".join(part for part in said if part)
                yield Told(each.id, each.version, "success", clip(message, MAX_MESSAGE_CHARS))
            else:
                why = self.faults.get(each.pointer, "the hub could not read this")
                yield Told(each.id, each.version, "failure", clip(why, MAX_MESSAGE_CHARS))

    def _is_in_order(self, pointer: str) -> bool:
        return pointer in self.names or pointer in self.kept

    def _also(self, pointer: str) -> str:
        return f"a part of it is refused: {self.faults[pointer]}" if pointer in self.faults else ""
