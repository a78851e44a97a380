"""What the cells of a table say of TLP and PAP.

A row is under what its columns for markings and tags say, and under whatever else in it speaks of TLP or PAP: a
comment that only mentions one makes a marking that nothing resolves. A row that goes to nobody can be sent
again; one that went out can't be taken back.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from schemas.agreement import CsvMapping
from schemas.errors import clip
from schemas.fingerprint import clean_text
from schemas.markings import from_cell, from_tag, pinned, speaks_of_markings, words_of
from services.accept.indicators import MAX_TAGS, split_tags

Role = Literal["", "tlp", "pap", "marking", "tags", "value"]
"""What a column is for: one scheme's levels, either's, tags that may be markings, the indicator, anything else."""

_MARKING = frozenset(("marking", "markings"))
_TAGS = frozenset(("tag", "tags", "label", "labels"))
_TRAFFIC_LIGHT = frozenset(("traffic", "light"))
_separated = re.compile(r"[,;|]").split


class Marked(NamedTuple):
    """The markings of a row as ids, its other tags, and what its source is to be told."""

    markings: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_NOTHING = Marked()


def roles(header: Sequence[str], values: Collection[str], mapping: CsvMapping | None) -> tuple[Role, ...]:
    """The role of each column: by the mapping where it names it, by its name in any case."""
    mapped: dict[str, Role] = {}
    if mapping is not None:
        named: tuple[tuple[str | None, Role], ...] = (
            (mapping.tags, "tags"),
            (mapping.pap, "pap"),
            (mapping.tlp, "tlp"),
        )
        mapped = {column.lower(): role for column, role in named if column}
    return tuple("value" if name in values else mapped.get(name) or _role(name) for name in header)


def _role(name: str) -> Role:
    words = words_of(name)
    schemes = words & {"tlp", "pap"}
    if len(schemes) == 1:
        return "tlp" if "tlp" in schemes else "pap"
    if schemes or words & _MARKING:
        return "marking"
    if words >= _TRAFFIC_LIGHT:
        return "tlp"
    return "tags" if words & _TAGS else ""


def read(header: Sequence[str], columns: Sequence[Role], cells: Sequence[str]) -> Marked:
    """What one row is under. Linear in its length; raises `ItemRefused` where its tags are too many or too long."""
    entries = [entry for entry in zip(header, columns, cells, strict=False) if entry[2] and entry[1] != "value"]
    if not any(role for _, role, _ in entries) and not speaks_of_markings(" ".join(cell for *_, cell in entries)):
        return _NOTHING
    markings: dict[str, None] = {}
    tags: list[str] = []
    unclear: list[str] = []
    for name, role, cell in entries:
        found = _tags(cell) if role == "tags" else []
        tags += found
        stated = [from_tag(tag) for tag in found] if role == "tags" else list(_stated(role, cell))
        markings |= dict.fromkeys(marking for marking in stated if marking)
        if role in ("", "tags") and any(marking and not pinned(marking) for marking in stated):
            unclear.append(name)
    _, labels = split_tags(tags)
    return Marked(tuple(markings), labels, _notes(unclear, "row"))


def of_comments(lines: Iterable[str]) -> Marked:
    """The markings in the comment lines of a list, wherever they stand: they are on the list as a whole."""
    parted = (line.partition("#") for line in lines if "#" in line)
    found = [from_tag(comment.strip("# \t\r\n")) for before, _, comment in parted if not words_of(before)]
    markings = dict.fromkeys(marking for marking in found if marking)
    known = [marking for marking in markings if pinned(marking)]
    # one that nothing resolves denies as well as many, and every host carries them all
    unclear = [marking for marking in markings if not pinned(marking)][:1]
    return Marked((*known, *unclear), (), _notes(["comment"] if unclear else [], "list"))


def spelt(marking: str) -> str:
    """A marking as a tag that is read as that one, or as another that nothing resolves either."""
    level = pinned(marking)
    return f"{type(level).__name__}:{level.label}" if level else "TLP:not understood"


def _stated(role: Role, cell: str) -> Iterator[str | None]:
    if role == "tlp" or role == "pap":
        yield from_cell(role, cell)
    elif role == "marking":
        for part in _separated(cell, MAX_TAGS):
            yield from_tag(part) or from_cell("tlp", part)
    else:
        yield from_tag(cell)


def _tags(cell: str) -> list[str]:
    parts = [part for part in _separated(clean_text(cell)) if part.strip()]
    if len(parts) > MAX_TAGS:
        return parts  # they are refused: no need to look closer
    return [tag for part in parts for tag in _parted(part)]


def _parted(tag: str) -> list[str]:
    """`phishing tlp:red` as its two tags; whole, so that nothing resolves it, where blanks do not part it so."""
    marking = from_tag(tag)
    if marking is None or pinned(marking):
        return [tag]
    words = tag.split(maxsplit=MAX_TAGS)
    rest = [word for word in words if not pinned(from_tag(word) or "")]
    unclear = speaks_of_markings(" ".join(rest)) or "strict" in words_of(" ".join(rest))
    return [tag] if unclear else words


def _notes(unclear: Sequence[str], whole: str) -> tuple[str, ...]:
    if not unclear:
        return ()
    named = ", ".join(clip(name, 40) or "a column without a name" for name in unclear[:3])
    return (f"{named}: this speaks of TLP or PAP and is not one known level; the {whole} goes to nobody",)
