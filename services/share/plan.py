"""What must change in the feed so that it shows the newest state of one item. Pure.

A row of the feed is one copy for one set of recipients. Each recipient finds an item generation in at most
one row, and a row is found by those that it names only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.bits import NOBODY, Bits


class Row(NamedTuple):
    """A row as the feed holds it; `added` names it. `details` are what the file formats show beside the body.

    `since` (µs) is when its recipients first got the id, or were first told that it is withdrawn.
    """

    added: int
    digest: str
    details: tuple[object, ...]
    to: Bits
    stix_id: str = ""
    live: bool = True
    since: int = 0
    audience: int = 0


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
    where one row would have to show two kinds of them do some of its recipients move to a new one. Several rows of
    one body, as reminders leave them, stay several.
    """
    places: dict[str, list[int]] = {}
    for place, wanted in enumerate(copies):
        places.setdefault(wanted.digest, []).append(place)
    narrowed: list[Narrowed] = []
    deleted: list[int] = []
    held: list[int] = [NOBODY] * len(copies)
    for row in rows:
        copy = _copy_of(row, copies, places.get(row.digest, ()))
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


def _copy_of(row: Row, copies: Sequence[Wanted], places: Sequence[int]) -> int | None:
    """The copy that the row goes on showing, of those with its body (`places`): one for its recipients, with equal
    details if it can be."""
    fitting = [place for place in places if copies[place].to & row.to]
    return min(fitting, key=lambda place: copies[place].details != row.details, default=None)
