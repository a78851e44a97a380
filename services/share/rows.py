"""What is read from the feeds, and for whom."""

from __future__ import annotations

from typing import NamedTuple


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


class FeedRow(NamedTuple):
    """A row as a recipient sees it. `body` is empty where it was not asked for."""

    added: int
    stix_id: str
    type: str
    live: bool
    modified: str
    kind: str
    value: str
    category: str
    confidence: int | None
    first_seen: str
    last_seen: str
    tlp: str
    score: int | None
    active_until: str
    registrable_domain: str
    urgent: bool
    """Whatever delivers rows from a queue or gathers them into digests lets these go first."""
    body: bytes


class Page(NamedTuple):
    """Rows in the order in which they were added, and whether there are more that this recipient may see."""

    rows: list[FeedRow]
    more: bool
