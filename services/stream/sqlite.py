"""The embedded driver: Faust's transport over the log in SQLite. One process, which has every partition."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka.partitioner import murmur2
from faust.transport import base
from faust.types import TP

from schemas.topics import Topic
from services.store import Store
from services.stream.app import StreamService
from services.stream.consumer import Bounds, ChunkConsumer, Fetched
from services.stream.log import Done, Draft, Drafts, Entry
from services.stream.runner import Place, Runner
from services.stream.sqlite_log import SqliteLog
from services.stream.state import OpenState
from services.stream.types import Lag, Message, Sink, Stage, StageService


class SqliteStreams:
    """See `types.Streams`. Outputs, state and position of a stage are one transaction of the Store."""

    def __init__(self, store: Store, clock: Callable[[], int], open_state: OpenState) -> None:
        self._log = SqliteLog(store)
        self._clock = clock
        self._open_state = open_state
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        await self._log.open()

    async def stop(self) -> None:
        await self._log.close()

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        await self._log.create(topics)

    async def append(self, topic: Topic, messages: Sequence[Message]) -> list[tuple[int, int]]:
        partitions = self._log.partitions(topic.name)
        by_partition: dict[int, list[int]] = {}
        for i, message in enumerate(messages):
            by_partition.setdefault((murmur2(message.key) & 0x7FFFFFFF) % partitions, []).append(i)
        firsts = await self._log.write(
            [Drafts(topic.name, p, [Draft(*messages[i]) for i in some]) for p, some in by_partition.items()]
        )
        places: list[tuple[int, int]] = [(0, 0)] * len(messages)
        for first, (number, some) in zip(firsts, by_partition.items(), strict=True):
            for nth, i in enumerate(some):
                places[i] = (number, first + nth)
        return places

    def run(self, worker: Stage | Sink) -> StageService:
        group = f"tocsin.{worker.name}"
        runner = Runner(worker, SqlitePort(self._log, group), self._turn, self._clock, self._open_state)
        return StreamService(group, runner, partial(_transport, self._log, runner))

    async def lag(self) -> list[Lag]:
        return [Lag(lag.group, *lag.place, lag.behind) for lag in await self._log.lags()]


class SqlitePort:
    """See `log.Port`."""

    def __init__(self, log: SqliteLog, group: str) -> None:
        self._log = log
        self._group = group

    async def write(self, batches: Sequence[Drafts]) -> list[int]:
        return await self._log.write(batches)

    async def settle(self, outputs: Sequence[Drafts], changes: Sequence[Drafts], done: Done | None) -> int | None:
        firsts = await self._log.write([*outputs, *changes], self._group, [done] if done else [])
        return firsts[-1] if changes else None

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Sequence[Entry]]:
        place = (topic, partition)
        while start < end:
            entries, start = (await self._log.read({place: start}))[place]
            yield entries if start <= end else [entry for entry in entries if entry.record.offset < end]


def _transport(log: SqliteLog, runner: Runner, app: Any) -> Any:
    app.assignor = Assignor()
    return Transport(log, runner, app)


class Consumer(ChunkConsumer, base.Consumer):  # type: ignore[misc]
    """Has all partitions of its topics from the beginning; commits are rows of the log."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._log: SqliteLog = self.transport.log
        self._assigned: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._grown = asyncio.Event()

    async def subscribe(self, topics: Iterable[str]) -> None:
        names = set(topics)
        self._assigned = {TP(topic, p) for topic in names for p in range(self._log.partitions(topic))}
        self._log.listen(names, self._grown)
        self.app.on_rebalance_start()
        self.app.consumer_generation_id = generation = (self.app.consumer_generation_id or 0) + 1
        self.add_future(self.on_partitions_assigned(self._assigned, generation))

    async def on_stop(self) -> None:
        self._log.forget(self._grown)
        await super().on_stop()

    async def _fetch(self, active: set[TP], seconds: float) -> Fetched:
        ready = self._ready(active)
        if not ready:
            self._grown.clear()
            try:
                await asyncio.wait_for(self._grown.wait(), seconds)
            except TimeoutError:
                return Fetched(self.seeks, {})
            ready = self._ready(active)
        seeks = self.seeks
        found = await self._log.read(ready)
        entries: dict[Place, Sequence[Entry]] = {}
        if seeks == self.seeks:
            for place, (some, go_on) in found.items():
                self._positions[TP(*place)] = go_on
                if some:
                    entries[place] = some
        return Fetched(seeks, entries)

    def _ready(self, active: set[TP]) -> dict[Place, int]:
        return {tp: p for tp in active if (p := self._positions.get(tp)) is not None and p < self._log.end(tp)}

    async def _bounds(self, tps: set[TP]) -> dict[TP, Bounds]:
        committed = await self._log.committed(self.app.conf.id, [tuple(tp) for tp in tps])
        return {tp: Bounds(self._log.earliest(tp), self._log.end(tp), committed[tp]) for tp in tps}

    async def _seek_all(self, offsets: Mapping[TP, int]) -> None:
        self._positions.update(offsets)
        self.seeks += 1

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        await self._log.write(
            [], self.app.conf.id, [Done(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        )
        return True

    def assignment(self) -> set[TP]:
        return self._assigned

    def highwater(self, tp: TP) -> int:
        return self._log.end(tp)

    async def position(self, tp: TP) -> int | None:
        return self._positions.get(tp)

    def topic_partitions(self, topic: str) -> int:
        return self._log.partitions(topic)

    def _unused(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("only Faust's tables and its own fetching call this")

    _getmany = _new_topicpartition = _seek = _to_message = create_topic = _unused
    earliest_offsets = highwaters = key_partition = seek_to_committed = seek_wait = _unused


class Assignor:
    """All is ours."""

    def assigned_standbys(self) -> set[TP]:
        return set()

    def assigned_actives(self) -> set[TP]:
        return set()


class Producer(base.Producer):  # type: ignore[misc]
    """Faust starts, flushes and stops one, and has nothing to write: the inner loop uses `SqlitePort`."""

    logger = logging.getLogger("faust")


class Transport(base.Transport):  # type: ignore[misc]
    Consumer = Consumer
    Producer = Producer
    driver_version = "sqlite=1"
    default_port = 0

    def __init__(self, log: SqliteLog, runner: Runner, app: Any) -> None:
        super().__init__([], app)
        self.log = log
        self.runner = runner
