"""What a feed shows to one recipient: its rows, and the file formats that rows are written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from schemas.timestamps import format_time


class FeedRow(NamedTuple):
    """A row as a recipient sees it. `body` (JSON of one STIX 2.1 object, as it goes out) is empty where it was not
    asked for.

    One that is not `live` is a withdrawal: its body is a tombstone, and of what it said only the id and the type
    are left. Only share makes rows, from what govern cleared for their recipient.
    """

    added: int
    """µs since 1970; rises along the feed, and is nobody's business but the hub's."""
    stix_id: str
    type: str
    live: bool
    modified: str
    """The body's version (STIX timestamp); `created` for types that have none, or empty."""
    kind: str
    """Of an indicator's value: see `schemas.fingerprint`."""
    value: str
    category: str
    confidence: int | None
    first_seen: str
    last_seen: str
    tlp: str
    score: int | None
    active_until: str
    """A STIX timestamp from which it counts as out of use; empty where that is not known or never."""
    registrable_domain: str
    urgent: bool
    """Whatever delivers rows from a queue or gathers them into digests lets these go first."""
    body: bytes


class Head(NamedTuple):
    """What a file is told of itself: `feed_id` is a UUID that changes with the content, `at_ms` when it is made."""

    feed_id: str
    at_ms: int
    partner: str
    """The recipient's id."""


class Format(NamedTuple):
    """How rows become a file: `begin`, `rows` for each page, `end`. Pure.

    `rows` and `end` are told whether `rows` wrote anything before. `details` says that the file shows more of a row
    than its body, `active` that it leaves out what is not active when it is made: whoever gives it rows leaves that
    out (see `is_active`), so that a file changes when something of it runs out.
    """

    media_type: str
    suffix: str
    details: bool
    begin: Callable[[Head], bytes]
    rows: Callable[[Sequence[FeedRow], bool], bytes]
    end: Callable[[bool], bytes]
    active: bool = False


def is_active(row: FeedRow, at_ms: int) -> bool:
    """Whether a row belongs into a file of what is active at that time; a withdrawal does always."""
    return not row.live or not row.active_until or row.active_until > format_time(at_ms)
