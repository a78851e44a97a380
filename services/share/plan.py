"""What must change in the feed so that it shows the newest state of one item. Pure.

A row of the feed is one copy for one set of recipients. Each recipient finds an item generation in at most
one row, and a row is found by those that it names only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.bits import NOBODY, Bits


class Row(NamedTuple):
    """A row as the feed holds it; `added` names it. `details` are what the file formats show beside the body."""

    added: int
    digest: str
    details: tuple[object, ...]
    to: Bits


class Wanted(NamedTuple):
    """A copy of the new state."""

    digest: str
    details: tuple[object, ...]
    to: Bits


class Narrowed(NamedTuple):
    """The row `added` keeps only the recipients `to`, and shows the details of the copy at place `copy`."""

    added: int
    to: Bits
    copy: int


class Inserted(NamedTuple):
    """One new row: the copy at place `copy` for the recipients `to`."""

    copy: int
    to: Bits


class Changes(NamedTuple):
    narrowed: list[Narrowed]
    deleted: list[int]
    inserted: list[Inserted]


def plan(rows: Sequence[Row], copies: Sequence[Wanted]) -> Changes:
    """From the rows of an item to its whole new state: `copies`, whose sets of recipients are disjoint or of
    different generations.

    Who holds a body keeps it in the row where it is, so that nobody is sent it again; rows of any other body
    are deleted, or lose those to whom it no longer goes. Sightings and the like are changed in place; only
    where one row would have to show two kinds of them do some of its recipients move to a new one.
    """
    narrowed: list[Narrowed] = []
    deleted: list[int] = []
    held: list[int] = [NOBODY] * len(copies)
    for row in rows:
        copy = _copy_of(row, copies)
        if copy is None:
            deleted.append(row.added)
            continue
        wanted = copies[copy]
        stay = Bits(row.to & wanted.to & ~held[copy])
        held[copy] |= stay
        if not stay:
            deleted.append(row.added)
        elif stay != row.to or wanted.details != row.details:
            narrowed.append(Narrowed(row.added, stay, copy))
    inserted = [
        Inserted(place, Bits(missing))
        for place, wanted in enumerate(copies)
        if (missing := wanted.to & ~held[place])
    ]
    return Changes(narrowed, deleted, inserted)


def _copy_of(row: Row, copies: Sequence[Wanted]) -> int | None:
    """The copy that the row goes on showing: one of its body and its recipients, with equal details if it can."""
    places = [place for place, copy in enumerate(copies) if copy.digest == row.digest and copy.to & row.to]
    return min(places, key=lambda place: copies[place].details != row.details, default=None)
