"""The inner loop: works off one partition for a stage or a sink, on any driver.

One slice is in flight per partition; partitions run side by side. A slice is cut so that one call of `step`
takes about TURN_SECONDS, and all partitions of a process take turns, so that HTTP in the same event loop never
waits for more than one of them. Nothing is caught here that is not a record's own fault: an error of the log or
the database ends the worker, `Runner` tells, and the process ends before anything is acknowledged that is not done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

from schemas.rejected import Rejected
from schemas.topics import REJECTED, Topic
from services.stream.changelog import Changelog
from services.stream.due import DueKeys
from services.stream.log import (
    PLAIN,
    SOURCE_EPOCH_KEY,
    Done,
    Draft,
    Drafts,
    Entry,
    Kind,
    Port,
    Stamp,
    watermark,
)
from services.stream.narrow import Worked, attempt, work
from services.stream.rejecting import of_key, of_record
from services.stream.state import OpenState, State
from services.stream.types import Batch, Chunk, Position, Record, Sink, Stage

TURN_SECONDS = 0.02
TICK_MS = 1_000
MAX_SLICE = 1_000
FULL_RECORDS, FULL_BYTES = 2_000, 8 * 1024 * 1024


@dataclass
class Stats:
    """What a service has done since it started."""

    records_in: int = 0
    records_out: int = 0
    rejected: int = 0
    slices: int = 0
    recovered_keys: int = 0
    recovery_seconds: float = 0.0
    step_seconds: float = 0.0


@dataclass(frozen=True)
class Context:
    """What the workers of a service share. `commit(topic, partition, offset)` says how far one is done."""

    port: Port
    turn: asyncio.Lock
    clock: Callable[[], int]
    stats: Stats
    commit: Callable[[Done], None]
    open_state: OpenState


class Sifted(NamedTuple):
    """What counts of some entries: records, the highest epoch seen, and the highest watermark (-1: none)."""

    records: list[Record]
    epoch: int
    mark: int


def sift(entries: Sequence[Entry], epoch: int) -> Sifted:
    """Leaves out marks and what a lower epoch than the highest one wrote."""
    records: list[Record] = []
    mark = -1
    for record, stamp in entries:
        if stamp is not PLAIN and stamp.epoch:
            if stamp.epoch < epoch:
                continue
            epoch = stamp.epoch
            if stamp.kind is not Kind.RECORD:
                mark = max(mark, stamp.mark)
                continue
        records.append(record)
    return Sifted(records, epoch, mark)


class Pace:
    """How many records make a slice: as many as TURN_SECONDS allow, found by doing."""

    def __init__(self) -> None:
        self.size = 50

    def took(self, count: int, seconds: float) -> None:
        if seconds > TURN_SECONDS:
            self.size = max(1, int(min(count, self.size) * TURN_SECONDS / seconds))
        elif count >= self.size and seconds < TURN_SECONDS / 2:
            self.size = min(MAX_SLICE, self.size * 2)


class Inbox:
    """What was fetched and waits for its turn; tells when it is full and when there is room again."""

    def __init__(self, throttle: Callable[[bool], None]) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._throttle = throttle
        self._full = False
        self._filled = asyncio.Event()
        self.closed = False

    def put(self, entries: Sequence[Entry]) -> None:
        self._entries.extend(entries)
        self._bytes += sum(len(entry.record.value) for entry in entries)
        self._filled.set()
        self._watch()

    def close(self) -> None:
        self.closed = True
        self._filled.set()

    async def wait(self, seconds: float | None) -> None:
        """Until something is there, the time is over, or the inbox was closed."""
        if not self._entries and not self.closed:
            self._filled.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._filled.wait(), seconds)

    def take(self, limit: int) -> list[Entry]:
        taken = [self._entries.popleft() for _ in range(min(limit, len(self._entries)))]
        self._bytes -= sum(len(entry.record.value) for entry in taken)
        self._watch()
        return taken

    def _watch(self) -> None:
        full = len(self._entries) >= FULL_RECORDS or self._bytes >= FULL_BYTES
        room = len(self._entries) <= FULL_RECORDS // 2 and self._bytes <= FULL_BYTES // 2
        if full != self._full and (full or room):
            self._full = full
            self._throttle(full)


class StageWorker:
    """One partition of a stage."""

    def __init__(self, stage: Stage, partition: int, context: Context, inbox: Inbox) -> None:
        self.inbox = inbox
        self._stage = stage
        self._partition = partition
        self._context = context
        self._pace = Pace()
        self._state: State
        self._due: DueKeys
        outputs = sorted({topic.name for topic in (*stage.outputs, stage.watermark)})
        self._changelog = Changelog(context.port, stage.state.name, partition, outputs)
        self._source_epoch = 0
        self._next_tick_ms = 0
        self._next_stage: Stage | None = None

    def renew(self, stage: Stage) -> None:
        """Goes on with another stage of the same name and topics from the next slice on."""
        self._next_stage = stage

    async def run(self) -> None:
        clock = self._context.clock
        with closing(self._context.open_state(self._stage.name, self._partition)) as self._state:
            await self._take_over()
            while not self.inbox.closed:
                await self.inbox.wait(self._due.wait_ms(now := clock(), max(0, self._next_tick_ms - now)) / 1000)
                if not self.inbox.closed:
                    await self._slice()

    async def _take_over(self) -> None:
        context, state = self._context, self._state
        began = perf_counter()
        await self._changelog.take_over(context.clock, state)
        self._source_epoch = int.from_bytes(state.view.get(SOURCE_EPOCH_KEY, b""), "big")
        state.change({SOURCE_EPOCH_KEY: None})
        self._due = DueKeys(state.keys, self._due_of)
        count = await asyncio.to_thread(len, state.view)
        context.stats.recovered_keys += count
        context.stats.recovery_seconds += perf_counter() - began

    def _due_of(self, key: bytes) -> int | None:
        value = self._state.view.get(key)
        return self._stage.due_ms(value) if value else None

    async def _slice(self) -> None:
        context = self._context
        async with context.turn:
            if self._next_stage is not None:
                self._stage, self._next_stage = self._next_stage, None
                self._due = DueKeys(self._state.keys, self._due_of)  # other rules, other times
            now = context.clock()
            entries = self.inbox.take(self._pace.size)
            due = self._due.pop(now, self._pace.size)
            if not entries and not due and now < self._next_tick_ms:
                return
            began = perf_counter()
            sifted = sift(entries, self._source_epoch)
            chunk = Chunk(self._partition, sifted.records, due, now, self._changelog.epoch)
            worked = work(self._stage, chunk, self._state.view)
            seconds = perf_counter() - began
            await asyncio.sleep(0)  # the turn lasts until the loop has been round once
        self._next_tick_ms = now + TICK_MS
        self._pace.took(len(entries) + len(due), seconds)
        context.stats.step_seconds += seconds
        await self._settle(entries, worked, sifted.epoch, now)

    async def _settle(self, entries: Sequence[Entry], worked: Worked, source_epoch: int, now: int) -> None:
        offset = entries[-1].record.offset if entries else None
        outputs = self._outputs(worked, offset, now)
        changes = self._changes(worked, source_epoch)
        done = None if offset is None else Done(self._stage.source.name, self._partition, offset + 1)
        first = await self._context.port.settle(outputs, changes, done) if outputs or changes or done else None
        self._state.change(worked.changes)
        self._due.update(worked.due_ms)
        self._source_epoch = source_epoch
        if first is not None:
            await self._changelog.watch(first, len(changes[0].drafts), self._recorded)
        if done:
            self._context.commit(done)
        stats = self._context.stats
        stats.slices += 1
        stats.records_in += len(entries)
        stats.records_out += len(worked.outputs)
        stats.rejected += len(worked.rejected)

    def _outputs(self, worked: Worked, offset: int | None, now: int) -> list[Drafts]:
        stage, stamp = self._stage, Stamp(self._changelog.epoch)
        drafts: dict[str, list[Draft]] = {topic.name: [] for topic in (*stage.outputs, stage.watermark)}
        for topic, key, value in worked.outputs:
            drafts[topic].append(Draft(key, value, stamp))
        if offset is not None:
            drafts[stage.watermark.name].append(watermark(self._changelog.epoch, offset))
        batches = [Drafts(topic, self._partition, some) for topic, some in drafts.items() if some]
        rejected = [
            of_record(stage.name, stage.source.name, self._partition, rejection, now)
            if rejection.record
            else of_key(stage.name, stage.state.name, self._partition, rejection, now)
            for rejection in worked.rejected
        ]
        return batches + _rejected_drafts(rejected, self._partition)

    def _changes(self, worked: Worked, source_epoch: int) -> list[Drafts]:
        stamp = Stamp(self._changelog.epoch)
        drafts = [Draft(key, value or b"", stamp) for key, value in worked.changes.items()]
        if source_epoch != self._source_epoch:
            drafts.append(Draft(SOURCE_EPOCH_KEY, source_epoch.to_bytes(8, "big"), stamp))
        return [Drafts(self._stage.state.name, self._partition, drafts)] if drafts else []

    def _recorded(self, key: bytes) -> bytes:
        """What the changelog should hold last for a key; empty: nothing."""
        if key == SOURCE_EPOCH_KEY:
            return self._source_epoch.to_bytes(8, "big") if self._source_epoch else b""
        return self._state.view.get(key, b"")


class SinkWorker:
    """One partition of one of a sink's topics, from behind its stored position on."""

    def __init__(
        self, sink: Sink, topic: Topic, partition: int, position: Position, context: Context, inbox: Inbox
    ) -> None:
        self.inbox = inbox
        self._sink = sink
        self._topic = topic.name
        self._partition = partition
        self._position = position
        self._context = context
        self._pace = Pace()

    async def run(self) -> None:
        while not self.inbox.closed:
            await self.inbox.wait(None)
            if not self.inbox.closed:
                await self._slice()

    async def _slice(self) -> None:
        context = self._context
        async with context.turn:
            entries = self.inbox.take(self._pace.size)
            if not entries:
                return
            began = perf_counter()
            sifted = sift(entries, self._position.epoch)
            decoded, rejections = attempt(self._decode, sifted.records)
            seconds = perf_counter() - began
            await asyncio.sleep(0)
        self._pace.took(len(entries), seconds)
        position = Position(sifted.epoch, entries[-1].record.offset)
        if rejections:
            now = context.clock()
            rejected = [of_record(self._sink.name, self._topic, self._partition, r, now) for r in rejections]
            await context.port.write(_rejected_drafts(rejected, self._partition))
        mark = None if sifted.mark < 0 else sifted.mark
        await self._sink.apply(Batch(self._topic, self._partition, decoded, position, mark))
        self._position = position
        context.commit(Done(self._topic, self._partition, position.offset + 1))
        stats = context.stats
        stats.slices += 1
        stats.step_seconds += seconds
        stats.records_in += len(entries)
        stats.records_out += len(decoded)
        stats.rejected += len(rejections)

    def _decode(self, record: Record) -> tuple[bytes, object]:
        return record.key, self._sink.decode(self._topic, record)


def _rejected_drafts(rejected: Sequence[Rejected], partition: int) -> list[Drafts]:
    drafts = [Draft(one.id.encode(), one.to_bytes()) for one in rejected]
    return [Drafts(REJECTED.name, partition % REJECTED.partitions, drafts)] if drafts else []
