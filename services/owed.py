"""What recipients owe the hub: word that they know of a withdrawal, that they have an item, that they acted on it.

The functions read on a connection. They look at so many rows of a recipient's feed and no more, beginning where
something may be owed: that is in the table `marks`, which the share process moves on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.agreement import Agreement
from schemas.receipt import FINAL, ReceiptStatus
from services.tables import audience_members, feed, marks, receipts

MOST, MOST_OF_ALL, LEAST = 10_000, 50_000, 1_000
"""Rows looked at for each count: of one recipient, of all together, and of each however many they are."""
HOUR_US = 3_600_000_000
REMIND_HOURS = 24
"""Where the agreement says nothing of hours."""

STATUSES: tuple[str, ...] = get_args(ReceiptStatus)
_LAST = (1 << 63) - 1


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


def budget(recipients: int) -> int:
    """At how many rows to look for each count, where that is done for so many recipients."""
    return min(MOST, max(LEAST, MOST_OF_ALL // max(1, recipients)))


def owed(connection: Connection, bit: int, mark: Marks, late: Times, most: int = MOST) -> Owed:
    """Looks at no more than `most` rows for each of the three counts."""
    told = _rows(connection, bit, mark.told, _LAST, False, receipts.c.withdrawn_ms, most)
    withdrawals, oldest = _count(connection, told, told.c.said.is_(None), most)

    def overdue(start: int, until: int | None, done: frozenset[str]) -> Count:
        if until is None:
            return Count(0, False)
        rows = _rows(connection, bit, start, until, True, receipts.c.status, most)
        open_ = rows.c.said.is_(None) | rows.c.said.not_in(sorted(done))
        return _count(connection, rows, rows.c.counts & open_, most)[0]

    acknowledge = overdue(mark.acknowledged, late.acknowledge_us, frozenset(STATUSES))
    act = overdue(mark.acted, late.act_us, FINAL)
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


def _count(
    connection: Connection, rows: sa.Subquery, is_owed: sa.ColumnElement[bool], most: int
) -> tuple[Count, int | None]:
    """For how many of the rows something is owed, and since when for the oldest."""
    since = sa.case((is_owed, rows.c.since))
    query = sa.select(sa.func.count(), sa.func.count(since), sa.func.min(since)).select_from(rows)
    seen, number, oldest = connection.execute(query).one()
    return Count(number, seen >= most), oldest


def _rows(
    connection: Connection,
    bit: int,
    mark: int,
    until: int,
    live: bool,
    said: sa.ColumnElement[Any],
    most: int,
) -> sa.Subquery:
    """The first `most` rows of a recipient's feed beyond `mark` and not beyond `until`, audience by audience.

    With `live` those that are withdrawn are among them, and do not count: to leave them out would be to look at any
    number of them. `said` is of the row's receipt, looked up row by row: a join might read all that there are.
    """
    mine, audience = audience_members.c.bit == bit, audience_members.c.audience
    answer = sa.select(said).where(receipts.c.bit == bit, receipts.c.stix_id == feed.c.stix_id)
    columns = (
        (feed.c.added if live else sa.func.coalesce(feed.c.since, feed.c.added)).label("since"),
        (feed.c.live if live else sa.literal(True)).label("counts"),
        answer.correlate(feed).scalar_subquery().label("said"),
    )
    chosen = [] if live else [feed.c.live == sa.false()]
    if connection.dialect.name != "postgresql":
        on = (feed.c.audience == audience) & (feed.c.added > mark) & (feed.c.added <= until)
        return sa.select(*columns).join_from(audience_members, feed, on).where(mine, *chosen).limit(most).subquery()
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
        .limit(most)
        .lateral("each")
    )
    joined = audience_members.join(each, sa.true())
    return sa.select(*each.c).select_from(joined).where(mine).limit(most).subquery()
