"""The embedded log: topics, partitions, records and group offsets in the Store's SQLite file.

Everything is written by the Store's one writer thread; what waits while a transaction runs goes into the next
one together. One process at a time has the log (a lock file beside the database), so its ends can be
kept in memory, and whoever waits for records is told by an event.
"""

from __future__ import annotations

import asyncio
import fcntl
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
from services.stream import sqlite_rows
from services.stream.log import Done, Drafts, Entry
from services.stream.sqlite_rows import Partition, Place
from services.stream.sqlite_sweep import Sweeper


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
        self._sweeping: asyncio.Task[None] | None = None
        self.sweeper = Sweeper(store, self._partitions)
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
            self._partitions.update(await self._store.write(sqlite_rows.load))
        except BaseException:
            self._lock.close()
            raise
        self._sweeping = asyncio.create_task(self.sweeper.run(), name="log-sweep")

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        if self._writer is not None:
            await asyncio.wait([self._writer])
        if self._lock is not None:
            self._lock.close()

    async def create(self, topics: Sequence[Topic]) -> None:
        for place, partition in (await self._store.write(lambda c: sqlite_rows.create(c, topics))).items():
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
        return await self._store.read(lambda connection: sqlite_rows.read(connection, ranges))

    async def committed(self, group: str, places: Sequence[Place]) -> dict[Place, int]:
        """Where the group stopped; a place that it never had gets a row, so that nothing is pruned unread."""
        return await self._store.write(lambda connection: sqlite_rows.committed(connection, group, places))

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
        cursor = sqlite_rows.cursor(connection)
        cursor.executemany("INSERT INTO log_records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        cursor.executemany(
            "UPDATE log_partitions SET next_offset = ? WHERE topic = ? AND partition = ?",
            [(end, *place) for place, end in ends.items()],
        )
        cursor.executemany("INSERT OR REPLACE INTO log_offsets VALUES (?, ?, ?, ?)", positions)
        return ends, offsets
