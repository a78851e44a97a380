"""What recipients owe the hub: word that they know of a withdrawal, that they have an item, that they acted on it.

The functions read on a connection. None of them looks at more than `MOST` rows of a recipient's feed at once: up to
which row nothing is owed is in the table `marks`, which the share process moves on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.agreement import Agreement
from schemas.receipt import FINAL
from services.tables import audience_members, feed, marks, receipts

MOST = 10_000
HOUR_US = 3_600_000_000
REMIND_HOURS = 24
"""Where the agreement says nothing of hours."""

_LAST = (1 << 63) - 1
UNANSWERED = receipts.c.status.is_(None)
UNFINISHED = UNANSWERED | receipts.c.status.not_in(sorted(FINAL))
UNKNOWN = receipts.c.withdrawn_ms.is_(None)
"""That it is withdrawn."""


class Marks(NamedTuple):
    """Up to which `added` (µs) of its feed a recipient owes nothing, and how often it was reminded."""

    told: int = -1
    acknowledged: int = -1
    acted: int = -1
    reminders: int = 0


class Times(NamedTuple):
    """What came into the feed by then (µs) is overdue; None: no times were agreed, or it may not receive now."""

    acknowledge_us: int | None
    act_us: int | None


class Count(NamedTuple):
    """`more` says that there may be more than `number`: nobody looked any further."""

    number: int
    more: bool


class Owed(NamedTuple):
    """`oldest_us` is since when the oldest of the withdrawals looked at is not acknowledged."""

    withdrawals: Count
    oldest_us: int | None
    acknowledge: Count
    act: Count
    reminders: int


def patience_us(agreement: Agreement) -> int:
    """After how long this partner is reminded of a withdrawal, again and again."""
    respond = agreement.respond
    return (REMIND_HOURS if respond is None else respond.ack_hours) * HOUR_US


def times(agreement: Agreement | None, receives: bool, now_us: int) -> Times:
    """`receives`: this partner's agreement is in force, and it is not suspended."""
    respond = agreement.respond if agreement is not None and receives else None
    if respond is None:
        return Times(None, None)
    return Times(now_us - respond.ack_hours * HOUR_US, now_us - respond.act_hours * HOUR_US)


def all_marks(connection: Connection) -> dict[int, Marks]:
    """By recipient; who has none yet is not in it."""
    query = sa.select(marks.c.bit, *(marks.c[name] for name in Marks._fields))
    return {bit: Marks(*rest) for bit, *rest in connection.execute(query)}


def owed(connection: Connection, bit: int, mark: Marks, late: Times) -> Owed:
    withdrawals, oldest = _count(connection, bit, mark.told, _LAST, False, UNKNOWN)
    acknowledge = _late(connection, bit, mark.acknowledged, late.acknowledge_us, UNANSWERED)
    act = _late(connection, bit, mark.acted, late.act_us, UNFINISHED)
    return Owed(withdrawals, oldest, acknowledge, act, mark.reminders)


def document(found: Owed, now_us: int) -> Mapping[str, Any]:
    """As JSON says it: counts are at least, where `more` names them."""
    counts = {"withdrawals": found.withdrawals, "acknowledge": found.acknowledge, "act": found.act}
    oldest = None if found.oldest_us is None else max(0, now_us - found.oldest_us) // HOUR_US
    return {
        **{name: count.number for name, count in counts.items()},
        "more": [name for name, count in counts.items() if count.more],
        "oldest_hours": oldest,
        "reminders": found.reminders,
    }


def _late(connection: Connection, bit: int, mark: int, until: int | None, owing: sa.ColumnElement[bool]) -> Count:
    return Count(0, False) if until is None else _count(connection, bit, mark, until, True, owing)[0]


def _count(
    connection: Connection, bit: int, mark: int, until: int, live: bool, owing: sa.ColumnElement[bool]
) -> tuple[Count, int | None]:
    """For how many of the first `MOST` rows beyond `mark`, up to `until`, something is owed; and the oldest."""
    rows = _rows(connection, bit, mark, until, live).limit(MOST).subquery("rows")
    joined = rows.outerjoin(receipts, (receipts.c.bit == bit) & (receipts.c.stix_id == rows.c.stix_id))
    is_owed = rows.c.counts & owing
    query = sa.select(
        sa.func.count(),
        sa.func.count(sa.case((is_owed, 1))),
        sa.func.min(sa.case((is_owed, sa.func.coalesce(rows.c.since, rows.c.added)))),
    ).select_from(joined)
    seen, number, oldest = connection.execute(query).one()
    return Count(number, seen >= MOST), oldest


def _rows(connection: Connection, bit: int, mark: int, until: int, live: bool) -> sa.Select[Any]:
    """Rows of a recipient's feed, audience by audience. With `live` those that are withdrawn are among them, and do
    not count: to leave them out would be to look at any number of them."""
    mine, audience = audience_members.c.bit == bit, audience_members.c.audience
    counts = (feed.c.live if live else sa.literal(True)).label("counts")
    columns = (feed.c.added, feed.c.stix_id, feed.c.since, counts)
    chosen = [] if live else [feed.c.live == sa.false()]
    if connection.dialect.name != "postgresql":
        on = (feed.c.audience == audience) & (feed.c.added > mark) & (feed.c.added <= until)
        return sa.select(*columns).join_from(audience_members, feed, on).where(mine, *chosen)
    # compared as pairs, as in `share.feeds`: whatever the statistics say, by the index
    place = sa.tuple_(feed.c.audience, feed.c.added)
    each = (
        sa.select(*columns)
        .where(
            place > sa.tuple_(audience, sa.literal(mark, sa.BigInteger)),
            place <= sa.tuple_(audience, sa.literal(until, sa.BigInteger)),
            *chosen,
        )
        .order_by(feed.c.audience, feed.c.added)
        .limit(MOST)
        .lateral("each")
    )
    return sa.select(*each.c).select_from(audience_members.join(each, sa.true())).where(mine)
