"""A stage and a sink that tell whether anything was lost or happened twice.

The stage numbers the records of each key: the n-th record of a key becomes one output that says n and the
record's source offset. The sink keeps one effect per (key, n) and writes down every contradiction: another
offset for the same number (something was counted twice or lost), or a watermark that came too early.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from schemas.errors import ItemRefused
from schemas.topics import REJECTED, Topic
from services.store import Store
from services.stream import open_streams
from services.stream.state import open_state
from services.stream.types import (
    Batch,
    Chunk,
    Effects,
    Message,
    Output,
    Position,
    Record,
    Stage,
    Streams,
)

PARTITIONS = 4
HOUR_SECONDS = 3600
STATE = struct.Struct(">QQ")  # last source offset, count
OUTPUT = struct.Struct(">QQQ")  # partition, source offset, number
POISON = b"poison"
UNREADABLE = b"unreadable"


@dataclass(frozen=True)
class Names:
    """The topics, group and store of one test; `prefix` keeps tests on one broker apart.

    `kept` is how stages keep their state while they run, as in TOCSIN_STATE.
    """

    url: str
    folder: Path
    prefix: str
    kept: str = "memory"

    def topic(self, name: str, *, compacted: bool = False) -> Topic:
        retention = None if compacted else HOUR_SECONDS
        return Topic(f"{self.prefix}.{name}", "test", "fingerprint", "none", retention, PARTITIONS)

    @property
    def source(self) -> Topic:
        return self.topic("source")

    @property
    def state(self) -> Topic:
        return self.topic("state", compacted=True)

    @property
    def output(self) -> Topic:
        return self.topic("output")

    @property
    def stage(self) -> str:
        return f"{self.prefix}-tally"

    @property
    def sink(self) -> str:
        return f"{self.prefix}-sink"

    @property
    def topics(self) -> tuple[Topic, ...]:
        return (self.source, self.state, self.output, REJECTED)

    def store(self) -> Store:
        return Store(f"sqlite:///{self.folder / 'effects.db'}")

    def streams(self, store: Store) -> Streams:
        return open_streams(self.url, store, open_state=open_state(self.kept, self.folder))


def tally(names: Names, seconds_per_record: float = 0.0) -> Stage:
    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        outputs: list[Output] = []
        changes: dict[bytes, bytes | None] = {}
        for record in chunk.records:
            if record.value == POISON:
                raise ItemRefused("test-poison", "this record is poison", where="/value")
            last, count = STATE.unpack(changes.get(record.key) or state.get(record.key) or STATE.pack(0, 0))
            if count and record.offset <= last:
                continue
            changes[record.key] = STATE.pack(record.offset, count + 1)
            value = UNREADABLE if record.value == UNREADABLE else b""
            outputs.append(
                Output(
                    names.output.name,
                    record.key,
                    value or OUTPUT.pack(chunk.partition, record.offset, count + 1),
                )
            )
        if seconds_per_record:
            time.sleep(seconds_per_record * len(chunk.records))
        return Effects(outputs, changes)

    return Stage(names.stage, names.source, names.state, (names.output,), step, lambda value: None, names.output)


SCHEMA = (
    "CREATE TABLE IF NOT EXISTS effects (key BLOB, number INTEGER, partition INTEGER, source_offset INTEGER,"
    " PRIMARY KEY (key, number)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS effects_by_offset ON effects (partition, source_offset)",
    "CREATE TABLE IF NOT EXISTS contradictions (what TEXT)",
    "CREATE TABLE IF NOT EXISTS at (topic TEXT, partition INTEGER, epoch INTEGER, last INTEGER,"
    " PRIMARY KEY (topic, partition)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS watermarks (partition INTEGER PRIMARY KEY, mark INTEGER)",
)


class EffectsSink:
    """`gapless` checks watermarks: every source offset up to one must have its effect."""

    def __init__(self, names: Names, store: Store, *, gapless: bool = True) -> None:
        self.name = names.sink
        self.sources = (names.output,)
        self._store = store
        self._gapless = gapless

    def decode(self, topic: str, record: Record) -> Any:
        if record.value == UNREADABLE:
            raise ItemRefused("test-unreadable", "this output cannot be read")
        return OUTPUT.unpack(record.value)

    async def positions(self, topic: str) -> dict[int, Position]:
        rows = await self._store.read(
            lambda c: c.exec_driver_sql("SELECT partition, epoch, last FROM at WHERE topic = ?", (topic,)).all()
        )
        return {partition: Position(epoch, last) for partition, epoch, last in rows}

    async def apply(self, batch: Batch) -> None:
        await self._store.write(lambda connection: self._apply(connection, batch))

    def _apply(self, connection: Connection, batch: Batch) -> None:
        sql = connection.exec_driver_sql
        stored = sql(
            "SELECT epoch, last FROM at WHERE topic = ? AND partition = ?", (batch.topic, batch.partition)
        ).first()
        if stored and tuple(batch.position) <= tuple(stored):
            return
        for key, (partition, offset, number) in batch.items:
            known = sql(
                "SELECT partition, source_offset FROM effects WHERE key = ? AND number = ?", (key, number)
            ).first()
            if known is None:
                sql("INSERT INTO effects VALUES (?, ?, ?, ?)", (key, number, partition, offset))
            elif tuple(known) != (partition, offset):
                self._contradict(connection, f"{key.hex()} {number}: {tuple(known)} and {(partition, offset)}")
        sql("INSERT OR REPLACE INTO at VALUES (?, ?, ?, ?)", (batch.topic, batch.partition, *batch.position))
        if batch.watermark is not None:
            self._watermark(connection, batch.partition, batch.watermark)

    def _watermark(self, connection: Connection, partition: int, mark: int) -> None:
        sql = connection.exec_driver_sql
        there = sql(
            "SELECT count(*) FROM effects WHERE partition = ? AND source_offset <= ?", (partition, mark)
        ).scalar()
        if self._gapless and there != mark + 1:
            self._contradict(connection, f"watermark {partition}/{mark} with {there} effects")
        sql("INSERT OR REPLACE INTO watermarks VALUES (?, ?)", (partition, mark))

    def _contradict(self, connection: Connection, what: str) -> None:
        connection.exec_driver_sql("INSERT INTO contradictions VALUES (?)", (what,))


def prepare(store: Store) -> None:
    with store.engine.begin() as connection:
        for statement in SCHEMA:
            connection.exec_driver_sql(statement)


def count_effects(store: Store) -> int:
    with store.engine.connect().execution_options(tocsin_read=True) as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM effects").scalar() or 0)


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    with store.engine.connect().execution_options(tocsin_read=True) as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def messages(count: int, keys: int = 0, start: int = 0) -> list[Message]:
    """`count` messages over `keys` different keys (0: each its own)."""
    return [
        Message((i % keys if keys else i).to_bytes(16, "big"), b"value %d " % i + b"x" * 200)
        for i in range(start, start + count)
    ]


Placed = tuple[bytes, tuple[int, int]]


async def append(streams: Streams, topic: Topic, some: Sequence[Message]) -> list[Placed]:
    """Appends in portions; each key with its partition and offset."""
    placed: list[Placed] = []
    for start in range(0, len(some), 5_000):
        portion = some[start : start + 5_000]
        places = await streams.append(topic, portion)
        placed.extend((message.key, place) for message, place in zip(portion, places, strict=True))
    return placed


def expected(placed: Iterable[Placed]) -> set[tuple[bytes, int, int, int]]:
    """The rows of `effects` that these records must have made."""
    numbers: Counter[bytes] = Counter()
    wanted = set()
    for key, (partition, offset) in sorted(placed, key=lambda one: one[1]):
        numbers[key] += 1
        wanted.add((key, numbers[key], partition, offset))
    return wanted


def assert_exactly_once(store: Store, placed: Iterable[Placed]) -> None:
    wanted = expected(placed)
    found = set(rows(store, "SELECT key, number, partition, source_offset FROM effects"))
    assert rows(store, "SELECT what FROM contradictions LIMIT 5") == []
    lost, extra = wanted - found, found - wanted
    assert not lost, f"{len(lost)} of {len(wanted)} lost, such as {sorted(lost)[:3]}"
    assert not extra, f"{len(extra)} too many, such as {sorted(extra)[:3]}"


async def wait_for_effects(store: Store, count: int, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while (there := await asyncio.to_thread(count_effects, store)) < count:
        assert time.monotonic() < deadline, f"{there} of {count} effects after {seconds} s"
        await asyncio.sleep(0.05)
