"""The embedded log: topics, partitions, records and group offsets in the Store's SQLite file.

Everything is written by the Store's one writer thread; what waits while a transaction runs goes into the next
one together. A record's row number is its partition's number and its offset in one, so that a partition is one
range of one b-tree. One process at a time has the log (a lock file beside the database), so its ends can be
kept in memory, and whoever waits for records is told by an event.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection

from schemas.errors import Misconfigured
from schemas.topics import Topic
from services.store import Store
from services.stream.log import PLAIN, Done, Drafts, Entry, Kind, Stamp
from services.stream.types import Record

log = logging.getLogger(__name__)

OFFSET_BITS = 40
READ_RECORDS, READ_BYTES = 4_000, 4 * 1024 * 1024
SWEEP_SECONDS = 30.0
SWEEP_ROWS = 2_000
MIN_DIRTY, MAX_DIRTY = 10_000, 200_000

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS log_topics (
        name TEXT PRIMARY KEY, compacted INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS log_partitions (
        id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
        next_offset INTEGER NOT NULL, first_offset INTEGER NOT NULL,
        clean_offset INTEGER NOT NULL, clean_records INTEGER NOT NULL,
        UNIQUE (topic, partition))""",
    """CREATE TABLE IF NOT EXISTS log_records (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB NOT NULL, timestamp_ms INTEGER NOT NULL,
        epoch INTEGER NOT NULL, kind INTEGER NOT NULL, mark INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS log_offsets (
        "group" TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
        PRIMARY KEY ("group", topic, partition)) WITHOUT ROWID""",
)

Place = tuple[str, int]


@dataclass
class Partition:
    """What is known of a partition without asking the database: `end` is the next offset to be written; below
    `clean` it is compacted, and `kept` records are left there."""

    id: int
    compacted: bool
    end: int
    first: int
    clean: int
    kept: int

    def row(self, offset: int) -> int:
        return (self.id << OFFSET_BITS) + offset


@dataclass
class Pending:
    """A write that waits for its transaction: drafts, and a group's positions."""

    batches: Sequence[Drafts]
    group: str
    done: Sequence[Done]
    written: asyncio.Future[list[int]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Lag(NamedTuple):
    group: str
    place: Place
    behind: int


class SqliteLog:
    """`open` before, `close` after; calls come from one event loop."""

    def __init__(self, store: Store) -> None:
        if not store.is_sqlite or not store.engine.url.database:
            raise Misconfigured(
                "broker-needs-sqlite",
                "the embedded log lives in the SQLite database, and the database is not one",
                where="TOCSIN_BROKER",
                hint="with PostgreSQL, set TOCSIN_BROKER to kafka://host:port",
            )
        self._store = store
        self._lock_file = Path(store.engine.url.database).absolute().parent / "hub.lock"
        self._lock: Any = None
        self._partitions: dict[Place, Partition] = {}
        self._waiting: list[Pending] = []
        self._writer: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._readers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    async def open(self) -> None:
        self._lock = self._lock_file.open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise Misconfigured(
                "hub-already-running",
                "another process has this hub's embedded log open",
                where=str(self._lock_file),
                hint="stop it first, or use a Kafka broker for more than one process",
            ) from None
        try:
            self._partitions = await self._store.write(_load)
        except BaseException:
            self._lock.close()
            raise
        self._sweeper = asyncio.create_task(self._sweep(), name="log-sweep")

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self._writer is not None:
            await asyncio.wait([self._writer])
        if self._lock is not None:
            self._lock.close()

    async def create(self, topics: Sequence[Topic]) -> None:
        for place, partition in (await self._store.write(lambda c: _create(c, topics))).items():
            self._partitions.setdefault(place, partition)

    def partitions(self, topic: str) -> int:
        return sum(1 for name, _ in self._partitions if name == topic)

    def end(self, place: Place) -> int:
        return self._partitions[place].end

    def earliest(self, place: Place) -> int:
        return self._partitions[place].first

    def listen(self, topics: Iterable[str], event: asyncio.Event) -> None:
        """Sets `event` whenever one of `topics` grows."""
        for topic in topics:
            self._readers[topic].add(event)

    def forget(self, event: asyncio.Event) -> None:
        for events in self._readers.values():
            events.discard(event)

    async def write(self, batches: Sequence[Drafts], group: str = "", done: Sequence[Done] = ()) -> list[int]:
        """Records and positions in one durable transaction; the first offset of each batch."""
        pending = Pending(batches, group, done)
        self._waiting.append(pending)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting(), name="log-write")
        return await pending.written

    async def read(self, wanted: Mapping[Place, int]) -> dict[Place, tuple[list[Entry], int]]:
        """Of each partition some records from the given offset on, and the offset to go on from."""
        ranges = [
            (place, (p := self._partitions[place]).row(start), p.row(p.end)) for place, start in wanted.items()
        ]
        return await self._store.read(lambda connection: _read(connection, ranges))

    async def committed(self, group: str, places: Sequence[Place]) -> dict[Place, int]:
        """Where the group stopped; a place that it never had gets a row, so that nothing is pruned unread."""
        return await self._store.write(lambda connection: _committed(connection, group, places))

    async def lags(self) -> list[Lag]:
        rows = await self._store.read(
            lambda connection: connection.exec_driver_sql(
                'SELECT "group", topic, partition, next_offset FROM log_offsets'
            ).all()
        )
        return [
            Lag(group, (topic, partition), max(0, self.end((topic, partition)) - offset))
            for group, topic, partition, offset in rows
            if (topic, partition) in self._partitions
        ]

    async def _write_waiting(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting, []
            try:
                ends, offsets = await self._store.write(partial(self._insert, together))
            except BaseException as error:
                for pending in together:
                    if not pending.written.done():
                        pending.written.set_exception(error)
                if not isinstance(error, Exception):
                    raise
                continue
            for place, end in ends.items():
                self._partitions[place].end = end
            for pending, firsts in zip(together, offsets, strict=True):
                if not pending.written.done():
                    pending.written.set_result(firsts)
            for topic in {topic for topic, _ in ends}:
                for event in self._readers[topic]:
                    event.set()

    def _insert(
        self, together: Sequence[Pending], connection: Connection
    ) -> tuple[dict[Place, int], list[list[int]]]:
        """In the writer thread: all that waits, in one transaction."""
        now = time.time_ns() // 1_000_000
        ends: dict[Place, int] = {}
        offsets: list[list[int]] = []
        rows: list[tuple[object, ...]] = []
        positions: list[tuple[object, ...]] = []
        for pending in together:
            firsts: list[int] = []
            for topic, number, drafts in pending.batches:
                partition = self._partitions[topic, number]
                first = ends.get((topic, number), partition.end)
                start = partition.row(first)
                rows.extend(
                    (start + i, key, value, now, stamp.epoch, int(stamp.kind), stamp.mark)
                    for i, (key, value, stamp) in enumerate(drafts)
                )
                ends[topic, number] = first + len(drafts)
                firsts.append(first)
            offsets.append(firsts)
            positions.extend((pending.group, *done) for done in pending.done)
        cursor = _cursor(connection)
        cursor.executemany("INSERT INTO log_records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        cursor.executemany(
            "UPDATE log_partitions SET next_offset = ? WHERE topic = ? AND partition = ?",
            [(end, *place) for place, end in ends.items()],
        )
        cursor.executemany("INSERT OR REPLACE INTO log_offsets VALUES (?, ?, ?, ?)", positions)
        return ends, offsets

    async def _sweep(self) -> None:
        """Prunes what every group has passed, and compacts; a little at a time, between other writes."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.prune()
                await self.compact()
            except Exception:
                log.exception("sweeping the embedded log failed; the next try is in %.0f s", SWEEP_SECONDS)

    async def prune(self) -> None:
        """Deletes the records of topics that are not compacted which all groups that read them have passed."""
        for place, passed in (await self._store.read(_passed)).items():
            partition = self._partitions.get(place)
            if partition is None or partition.compacted:
                continue
            while partition.first < min(passed, partition.end):
                bound = min(passed, partition.end, partition.first + SWEEP_ROWS)
                await self._delete_below(partition, bound)
                await asyncio.sleep(0.01)

    async def _delete_below(self, partition: Partition, bound: int) -> None:
        def delete(connection: Connection) -> None:
            cursor = _cursor(connection)
            cursor.execute(
                "DELETE FROM log_records WHERE id >= ? AND id < ?",
                (partition.row(partition.first), partition.row(bound)),
            )
            cursor.execute("UPDATE log_partitions SET first_offset = ? WHERE id = ?", (bound, partition.id))

        await self._store.write(delete)
        partition.first = bound

    async def compact(self, min_dirty: int = MIN_DIRTY) -> None:
        """Deletes superseded keys of compacted topics where more than half as much is new as is clean.

        Works as Kafka's cleaner: the last offset of each key of the new part, then one walk from the beginning.
        A deletion goes with the last value it deletes; whoever reads the partition reads it whole.
        """
        for partition in [p for p in self._partitions.values() if p.compacted]:
            dirty = partition.end - partition.clean
            if dirty >= max(min_dirty, partition.kept // 2):
                await self._compact(partition, min(partition.end, partition.clean + MAX_DIRTY))

    async def _compact(self, partition: Partition, end: int) -> None:
        last: dict[bytes, int] = {}
        row = partition.row(partition.clean)
        while page := await self._keys(row, partition.row(end)):
            last.update((key, id) for id, key, _ in page)
            row = page[-1][0] + 1
        row, kept = partition.row(partition.first), 0
        while page := await self._keys(row, partition.row(end)):
            dead = [(id,) for id, key, empty in page if id < (at := last.get(key, id)) or (empty and id == at)]
            row = page[-1][0] + 1
            kept += len(page) - len(dead)
            if dead:
                await self._store.write(partial(_delete, dead))
            await asyncio.sleep(0.01)

        def remember(connection: Connection) -> None:
            _cursor(connection).execute(
                "UPDATE log_partitions SET clean_offset = ?, clean_records = ? WHERE id = ?",
                (end, kept, partition.id),
            )

        await self._store.write(remember)
        partition.clean, partition.kept = end, kept

    async def _keys(self, start: int, end: int) -> list[tuple[int, bytes, bool]]:
        def select(connection: Connection) -> list[tuple[int, bytes, bool]]:
            rows: list[tuple[int, bytes, bool]] = (
                _cursor(connection)
                .execute(
                    "SELECT id, key, value = x'' FROM log_records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                    (start, end, SWEEP_ROWS),
                )
                .fetchall()
            )
            return rows

        return await self._store.read(select)


def _cursor(connection: Connection) -> Any:
    return connection.connection.cursor()


def _delete(rows: Sequence[tuple[int]], connection: Connection) -> None:
    _cursor(connection).executemany("DELETE FROM log_records WHERE id = ?", rows)


def _load(connection: Connection) -> dict[Place, Partition]:
    for statement in SCHEMA:
        connection.exec_driver_sql(statement)
    rows = connection.exec_driver_sql(
        "SELECT topic, partition, id, compacted, next_offset, first_offset, clean_offset, clean_records"
        " FROM log_partitions JOIN log_topics ON name = topic ORDER BY id"
    )
    return {(topic, partition): Partition(id, bool(c), *offsets) for topic, partition, id, c, *offsets in rows}


def _create(connection: Connection, topics: Sequence[Topic]) -> dict[Place, Partition]:
    cursor = _cursor(connection)
    for topic in topics:
        cursor.execute("INSERT OR IGNORE INTO log_topics VALUES (?, ?)", (topic.name, topic.compacted))
        if cursor.rowcount:
            cursor.executemany(
                "INSERT INTO log_partitions"
                " (topic, partition, next_offset, first_offset, clean_offset, clean_records)"
                " VALUES (?, ?, 0, 0, 0, 0)",
                [(topic.name, partition) for partition in range(topic.partitions)],
            )
    return _load(connection)


def _read(connection: Connection, ranges: Sequence[tuple[Place, int, int]]) -> dict[Place, tuple[list[Entry], int]]:
    cursor = _cursor(connection)
    found: dict[Place, tuple[list[Entry], int]] = {}
    for place, row, end in ranges:
        base = row >> OFFSET_BITS << OFFSET_BITS
        entries: list[Entry] = []
        room = READ_BYTES
        stamp = PLAIN
        cursor.execute(
            "SELECT * FROM log_records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (row, end, READ_RECORDS)
        )
        for id, key, value, timestamp_ms, epoch, kind, mark in cursor:
            if epoch != stamp.epoch or kind != stamp.kind or mark != stamp.mark:
                stamp = Stamp(epoch, Kind(kind), mark) if epoch else PLAIN
            entries.append(Entry(Record(key, value, id - base, timestamp_ms), stamp))
            room -= len(value)
            if room < 0:
                break
        more = room < 0 or len(entries) == READ_RECORDS
        found[place] = (entries, entries[-1].record.offset + 1 if more else end - base)
    return found


def _committed(connection: Connection, group: str, places: Sequence[Place]) -> dict[Place, int]:
    cursor = _cursor(connection)
    cursor.executemany(
        "INSERT OR IGNORE INTO log_offsets SELECT ?, topic, partition, first_offset FROM log_partitions"
        " WHERE topic = ? AND partition = ?",
        [(group, *place) for place in places],
    )
    cursor.execute('SELECT topic, partition, next_offset FROM log_offsets WHERE "group" = ?', (group,))
    return {(topic, partition): offset for topic, partition, offset in cursor}


def _passed(connection: Connection) -> dict[Place, int]:
    rows: Iterable[tuple[str, int, int]] = _cursor(connection).execute(
        "SELECT topic, partition, min(next_offset) FROM log_offsets GROUP BY topic, partition"
    )
    return {(topic, partition): offset for topic, partition, offset in rows}
