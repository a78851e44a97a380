"""What recipients hold of an item from one state to the next: since when, and which ids they hold no more. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from schemas.bits import NOBODY, Bits
from services.share.entry import EntryCopy
from services.share.plan import Row


class Ended(NamedTuple):
    """Those of a row's recipients that hold the id in no live copy any more."""

    row: Row
    to: Bits
    gone: bool
    """Nor do all of them see it as withdrawn: some must not learn what became of it."""


class History:
    """The rows of an item before a new state, by id, so that a thousand copies cost a thousand steps."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows: dict[tuple[str, bool], list[Row]] = {}
        for row in rows:
            self._rows.setdefault((row.stix_id, row.live), []).append(row)

    def since(self, copy: EntryCopy, to: Bits) -> int | None:
        """When (µs) any of `to` first got the copy's id, or was first told of its withdrawal; None: only now."""
        rows = self._rows.get((copy.stix_id, copy.live), ())
        return min((row.since for row in rows if row.to & to), default=None)

    def ended(self, copies: Sequence[EntryCopy]) -> Iterator[Ended]:
        """What ends with the new state `copies`."""
        live: dict[str, int] = {}
        shown: dict[str, int] = {}
        for copy in copies:
            shown[copy.stix_id] = shown.get(copy.stix_id, NOBODY) | copy.wanted.to
            if copy.live:
                live[copy.stix_id] = live.get(copy.stix_id, NOBODY) | copy.wanted.to
        for (stix_id, was_live), rows in self._rows.items():
            for row in rows:
                gone = row.to & ~shown.get(stix_id, NOBODY)
                lost = row.to & ~live.get(stix_id, NOBODY) if was_live else gone
                if lost:
                    yield Ended(row, Bits(lost), gone != NOBODY)
