"""The inbox: a submission is stored in one transaction before anybody is told that it was taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from services.accept import aliases, consents, contributions
from services.accept.framing import Parcel, unpack
from services.accept.names import Origin, Overtaken
from services.accept.packing import OVERDUE, Packed, overdue
from services.hub import Hub
from services.tables import (
    INBOX_ORDER_LOCK,
    IS_URGENT,
    outbox,
    partners,
    rejected,
    submission_positions,
    submissions,
    waiting,
    watermarks,
)

HEAD = 1_000  # submissions that are looked at in one round
MAX_URGENT_SOURCES = 100


class Stored(NamedTuple):
    """One submission as its source may see it: nothing in it comes from anybody else's data.

    `positions` and `reached` map partitions of tocsin.reports to the submission's last offset there, and to
    the offset up to which the feeds show everything. `waiting` are the places of items that still wait, and
    `late` the records of those that waited and then could not be taken.
    """

    seq: int
    id: str
    source: str
    received_ms: int
    format: str
    taken: int
    refused: int
    fates: bytes
    relayed_ms: int | None
    positions: dict[int, int]
    reached: dict[int, int]
    rejected_behind: tuple[bytes, ...]
    waiting: frozenset[int] = frozenset()
    late: tuple[bytes, ...] = ()

    @property
    def state(self) -> str:
        """`stored` until the broker has it, `relayed` until the feeds show it, then `done`."""
        if self.relayed_ms is None:
            return "stored"
        visible = all(self.reached.get(part, -1) >= offset for part, offset in self.positions.items())
        return "done" if visible else "relayed"


async def store_submission(hub: Hub, origin: Origin, packed: Packed) -> int:
    """Stores it durably and returns its place in the inbox. Raises `Overtaken`, and then stores nothing."""
    return await hub.store.write(lambda connection: insert(connection, origin, packed))


def insert(connection: Connection, origin: Origin, packed: Packed) -> int:
    """As `store_submission`, within a transaction. Raises `RequestRefused` where its consent was withdrawn."""
    if connection.dialect.name == "postgresql":
        # numbers are given before the commit: without this a lower one could show up after a higher
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(INBOX_ORDER_LOCK)))
    after = packed.effects.after
    if after is not None and aliases.last_of(connection, origin.source) != after:
        raise Overtaken
    consents.check(connection, origin.consent)
    row = submissions.insert().values(
        id=origin.submission,
        source=origin.source,
        received_ms=origin.received_ms,
        format=packed.format,
        taken=packed.taken,
        refused=packed.refused,
        fates=packed.fates,
        consent=origin.consent,
    )
    seq: int = connection.execute(row.returning(submissions.c.seq)).scalar_one()
    messages = packed.messages
    aliases.write(connection, origin.source, seq, packed.effects)
    consents.write(connection, origin.source, origin.received_ms, packed.effects)
    contributions.write(connection, origin.source, seq, origin.received_ms, packed.effects)
    if packed.effects.waiting:
        messages += overdue(aliases.crowd_out(connection, origin.source), origin)
    connection.execute(outbox.insert().values(seq=seq, messages=messages, urgent=packed.urgent))
    return seq


async def find_submission(hub: Hub, submission: str) -> Stored | None:
    return await hub.store.read(lambda connection: _find(connection, submission))


def _find(connection: Connection, submission: str) -> Stored | None:
    columns = [column for column in submissions.c if column is not submissions.c.consent]
    row = connection.execute(sa.select(*columns).where(submissions.c.id == submission)).one_or_none()
    if row is None:
        return None
    of_it = sa.select(submission_positions).where(submission_positions.c.seq == row.seq)
    positions = {place.partition: place.offset for place in connection.execute(of_it)}
    reached = {mark.partition: mark.offset for mark in connection.execute(sa.select(watermarks))}
    behind = sa.select(rejected.c.record).where(rejected.c.submission == submission, rejected.c.stage != "accept")
    records = tuple(connection.execute(behind).scalars())
    # what the submission itself refused is numbered under its own id, what came of it later under another's
    of_later = sa.or_(
        rejected.c.code == OVERDUE,
        sa.and_(rejected.c.stage == "accept", ~rejected.c.id.startswith(f"{submission}-")),
    )
    late = sa.select(rejected.c.record).where(rejected.c.submission == submission, of_later)
    still = sa.select(waiting.c.place).where(waiting.c.seq == row.seq)
    return Stored(
        **row._mapping,
        positions=positions,
        reached=reached,
        rejected_behind=records,
        waiting=frozenset(connection.execute(still).scalars()),
        late=tuple(connection.execute(late).scalars()),
    )


async def is_suspended(hub: Hub, partner: str) -> bool:
    query = sa.select(partners.c.suspended_ms).where(partners.c.id == partner)
    return await hub.store.read(lambda connection: connection.scalar(query)) is not None


class Waiting(NamedTuple):
    """A stored submission whose messages the broker does not have yet."""

    seq: int
    parcels: list[Parcel]


async def next_waiting(hub: Hub, max_bytes: int) -> list[Waiting]:
    """The submissions at the head of the outbox: as many as fit in `max_bytes`, but at least one.

    First those that are urgent, each after all that its source sent before it; then the others, in order. Those of
    one source keep their order, and at least one of the others goes with the urgent ones, so that nothing stands
    still for what is said to be urgent.
    """
    rows = await hub.store.read(lambda connection: _head(connection, max_bytes))
    return [Waiting(seq, list(unpack(messages))) for seq, messages in rows]


def _head(connection: Connection, max_bytes: int) -> list[tuple[int, bytes]]:
    sizes = sa.select(outbox.c.seq, sa.func.length(outbox.c.messages)).order_by(outbox.c.seq).limit(HEAD)
    by_source = sizes.join(submissions, submissions.c.seq == outbox.c.seq)
    chosen: list[int] = []
    urgent = _urgent(connection)
    if urgent:
        pulled = [
            row
            for source, last in urgent.items()
            for row in connection.execute(by_source.where(submissions.c.source == source, outbox.c.seq <= last))
        ]
        chosen, max_bytes = _fitting(sorted(map(tuple, pulled)), max_bytes)
        sizes = by_source.where(submissions.c.source.not_in(urgent))
    others, _ = _fitting((tuple(row) for row in connection.execute(sizes)), max_bytes)
    chosen += others
    rows = sa.select(outbox.c.seq, outbox.c.messages).where(outbox.c.seq.in_(chosen))
    messages = {row.seq: row.messages for row in connection.execute(rows)} if chosen else {}
    return [(seq, messages[seq]) for seq in chosen]


def _urgent(connection: Connection) -> dict[str, int]:
    """By source, the last of its submissions that is urgent; the sources whose urgent ones came first."""
    first, last = sa.func.min(outbox.c.seq), sa.func.max(outbox.c.seq)
    query = sa.select(submissions.c.source, last).join(outbox, outbox.c.seq == submissions.c.seq)
    query = query.where(IS_URGENT).group_by(submissions.c.source).order_by(first).limit(MAX_URGENT_SOURCES)
    return dict(tuple(row) for row in connection.execute(query))


def _fitting(sizes: Iterable[tuple[int, int]], max_bytes: int) -> tuple[list[int], int]:
    """The first of these that fit, but at least one; and how many bytes are left."""
    chosen: list[int] = []
    for seq, size in sizes:
        if chosen and size > max_bytes:
            break
        max_bytes -= size
        chosen.append(seq)
    return chosen, max_bytes


Positions = dict[int, dict[int, int]]
"""By submission, the last offset in each partition of tocsin.reports."""


async def mark_relayed(hub: Hub, positions: Positions) -> None:
    """Takes acknowledged submissions out of the outbox, and keeps where their reports lie."""
    at_ms = hub.clock()
    await hub.store.write(lambda connection: _settle(connection, positions, at_ms))


def _settle(connection: Connection, positions: Positions, at_ms: int) -> None:
    done: Sequence[int] = list(positions)
    places: list[dict[str, Any]] = [
        {"seq": seq, "partition": partition, "offset": offset}
        for seq, by_partition in positions.items()
        for partition, offset in by_partition.items()
    ]
    connection.execute(outbox.delete().where(outbox.c.seq.in_(done)))
    connection.execute(submission_positions.delete().where(submission_positions.c.seq.in_(done)))
    if places:
        connection.execute(submission_positions.insert(), places)
    connection.execute(submissions.update().where(submissions.c.seq.in_(done)).values(relayed_ms=at_ms))
