"""What is read from the feeds, and for whom."""

from __future__ import annotations

from typing import NamedTuple

from schemas.feed import FeedRow


class View(NamedTuple):
    """What one recipient may see: everything addressed to it, or, with `live` false, withdrawals only."""

    bit: int
    live: bool


class Match(NamedTuple):
    """Which rows to read: those beyond `after` (µs) that fit every list given.

    `active_at` (as `schemas.timestamps.format_time` writes it) leaves out what ended to be active by then, and
    `min_score` the indicators below it; one that has no score yet counts as 0. Withdrawals fit both always.
    """

    after: int = -1
    ids: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    versions: tuple[str, ...] | None = None
    active_at: str = ""
    min_score: int = 0
    urgent: bool = False
    """Only these."""
    category: str = ""
    """Only what is of this threat category; and withdrawals, which don't say of what they were."""


class Page(NamedTuple):
    """Rows in the order in which they were added, and whether there are more that this recipient may see."""

    rows: list[FeedRow]
    more: bool
