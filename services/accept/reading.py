"""What reading a body gives: drafts of reports, refusals and what was set aside, in the order of the body."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from schemas import patterns
from schemas.errors import BodyRefused, ItemRefused, TocsinError, not_understood
from schemas.fingerprint import Ioc
from schemas.patterns import Parsed

MAX_ITEMS = 100_000
MAX_GRAMMAR_MICROSECONDS = 4_000_000
# what the grammar was measured to take: a token 17 to 31 µs, the more the deeper it nests; a character under 1 µs
_TOKEN_MICROSECONDS, _CHARACTER_MICROSECONDS, _CALL_MICROSECONDS = 25, 1, 50
_tokens = re.compile(r"'(?:[^'\\]++|\\.)*+'?|[A-Za-z0-9_]++|\S", re.DOTALL).findall


class Draft(NamedTuple):
    """Everything that a report needs except what only the submission and the hub's secret give.

    `identity` is the IoC whose fingerprint is the item's key; where it is None, the key is made of `parts`, or of
    (kind, value) where there are none. `notes` tell the source what was understood in spite of what it wrote.

    `references` are the ids that the source wrote, by property, and no longer in `object`; `event` is the id of the
    MISP event that it is in; `joins` and `context` are as in the report. `raw()` is the object as it came, where it
    may have to be kept; None for what never has. A revocation that does not say of what has neither kind nor value.
    """

    pointer: str
    kind: str
    value: str
    type: str
    object: Mapping[str, Any]
    created_ms: int
    modified_ms: int
    first_seen_ms: int
    last_seen_ms: int
    identity: Ioc | None = None
    markings: tuple[str, ...] = ()
    granular: tuple[tuple[str, tuple[str, ...]], ...] = ()
    handling: Mapping[str, Any] = {}
    revoked: bool = False
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    references: tuple[tuple[str, str], ...] = ()
    event: str = ""
    joins: tuple[tuple[str, str], ...] = ()
    context: tuple[str, ...] = ()
    raw: Callable[[], bytes] | None = None

    @property
    def id(self) -> str:
        """The id that its source gave it; empty where it gave none."""
        id_: str = self.object.get("id", "")
        return id_


class Refusal(NamedTuple):
    """One object, row or attribute that can't be taken. `raw()` is a body that says it again by itself."""

    pointer: str
    error: ItemRefused
    raw: Callable[[], bytes]


class Aside(NamedTuple):
    """What is in order and yet makes no report: `skipped` gives no item, `noted` was understood for the rest.

    Where it has an `id`, it is the version of `modified_ms` of an object that may have named something before;
    `revoked` where its source took it back.
    """

    pointer: str
    fate: Literal["skipped", "noted"]
    reason: str
    kind: str = ""
    value: str = ""
    id: str = ""
    modified_ms: int = 0
    revoked: bool = False
    ended: bool = False
    """Its source took the object back before, and this is no newer version of it."""


Item = Draft | Refusal | Aside


class Posted(NamedTuple):
    """One STIX object as its source can read it back: as it came, in STIX 2.1 and without what is empty.

    `version` is `modified`, else `created`, as written, and empty for types that have neither. `body` is empty
    where it could not be read; then `id` is what stands there for one, or its place.
    """

    pointer: str
    id: str
    type: str = ""
    version: str = ""
    body: bytes = b""
    revoked: bool = False
    """Then the body is a tombstone: what the object said is not kept."""


@dataclass(frozen=True)
class Reading:
    """A body as it was understood. `notes` are about the whole of it.

    `posted` are the STIX objects in it; `answered` where its source is told of each of them (TAXII).
    """

    format: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    posted: tuple[Posted, ...] = ()
    answered: bool = False

    @property
    def drafts(self) -> list[Draft]:
        return [item for item in self.items if isinstance(item, Draft)]

    @property
    def refusals(self) -> list[Refusal]:
        return [item for item in self.items if isinstance(item, Refusal)]

    @property
    def asides(self) -> list[Aside]:
        return [item for item in self.items if isinstance(item, Aside)]


@dataclass
class Gathering:
    """Collects items while a body is read, and keeps their number and the work on patterns in bounds."""

    items: list[Item] = field(default_factory=list)
    grammar_microseconds: int = 0

    def add(self, item: Item) -> None:
        """Raises `BodyRefused` (413) past `MAX_ITEMS`: a small body can name very many things."""
        if len(self.items) >= MAX_ITEMS:
            raise BodyRefused(
                "too-many-items",
                f"this gives more than {MAX_ITEMS:,} items",
                where=item.pointer,
                hint="send it in several submissions",
                status=413,
            )
        self.items.append(item)

    @contextmanager
    def refusing(self, pointer: str, raw: Callable[[], bytes]) -> Iterator[None]:
        """What goes wrong inside refuses this one item, whatever it is, and the others go on.

        Lets pass only what is about the whole body: see `add`.
        """
        try:
            yield
        except ItemRefused as error:
            self.add(Refusal(pointer, error, raw))
        except (TocsinError, MemoryError):
            raise
        except Exception as error:  # hostile input finds what nobody thought of
            self.add(Refusal(pointer, not_understood(error), raw))

    def parse(self, pattern: str, version: Literal["2.0", "2.1"] = "2.1") -> Parsed:
        """As `patterns.parse`. Also raises `ItemRefused` once the patterns that need the grammar are too many.

        The grammar takes some 20 µs for a token: a body full of such patterns would keep the door busy for
        minutes. Nearly all patterns of real feeds do not need it.
        """
        if not patterns.is_simple(pattern):
            self.grammar_microseconds += grammar_microseconds(pattern)
            if self.grammar_microseconds > MAX_GRAMMAR_MICROSECONDS:
                raise ItemRefused(
                    "patterns-too-complex",
                    f"the complex patterns of this submission take more than {MAX_GRAMMAR_MICROSECONDS // 10**6} "
                    "seconds to read",
                    field="pattern",
                    hint="send the rest in submissions of their own",
                )
        return patterns.parse(pattern, version)


def grammar_microseconds(pattern: str) -> int:
    """About what the grammar takes to read a pattern; a bracket counts twice. Linear in its length."""
    tokens = _tokens(pattern)
    brackets = sum(map(tokens.count, "()[]"))
    work = (len(tokens) + brackets) * _TOKEN_MICROSECONDS + len(pattern) * _CHARACTER_MICROSECONDS
    return work + _CALL_MICROSECONDS
