"""The workers of one stage or sink in this process: one per partition that the group has given it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from schemas.topics import Topic
from services.stream.log import Done, Entry, Port
from services.stream.state import OpenState
from services.stream.types import Position, Sink, Stage
from services.stream.worker import Context, Inbox, SinkWorker, StageWorker, Stats

Place = tuple[str, int]
"""Topic and partition."""


class Runner:
    """Between Faust, which assigns, delivers and commits, and the workers.

    `throttle(place, full)` and `commit(done)` are the consumer's. `failure` completes with the first error.
    """

    def __init__(
        self, what: Stage | Sink, port: Port, turn: asyncio.Lock, clock: Callable[[], int], open_state: OpenState
    ) -> None:
        self.what = what
        self.stats = Stats()
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.throttle: Callable[[Place, bool], None] = lambda place, full: None
        self.commit: Callable[[Done], None] = lambda done: None
        self._context = Context(port, turn, clock, self.stats, lambda done: self.commit(done), open_state)
        self._positions: dict[Place, Position] = {}
        self._inboxes: dict[Place, Inbox] = {}
        self._tasks: dict[asyncio.Task[None], StageWorker | SinkWorker] = {}

    @property
    def topics(self) -> tuple[Topic, ...]:
        return (self.what.source,) if isinstance(self.what, Stage) else self.what.sources

    async def starts(self, places: Iterable[Place]) -> dict[Place, int]:
        """Where a sink's database says to go on; of a stage, the log itself knows."""
        if isinstance(self.what, Stage):
            return {}
        self._positions = {
            (topic.name, partition): position
            for topic in self.topics
            for partition, position in (await self.what.positions(topic.name)).items()
        }
        return {place: self._positions[place].offset + 1 for place in places if place in self._positions}

    def begin(self, starts: Mapping[Place, int]) -> None:
        """Starts a worker for each place; its first delivery will be at or behind the given offset."""
        for place, start in starts.items():
            inbox = self._inboxes[place] = Inbox(partial(self._throttle, place))
            worker = self._worker(place, start, inbox)
            task = asyncio.create_task(worker.run(), name=f"{self.what.name}{place}")
            self._tasks[task] = worker
            task.add_done_callback(self._ended)

    def renew(self, stage: Stage) -> None:
        """Goes on with another stage of the same name and topics: all partitions from their next slices on."""
        self.what = stage
        for worker in self._tasks.values():
            if isinstance(worker, StageWorker):
                worker.renew(stage)

    def deliver(self, place: Place, entries: Sequence[Entry]) -> None:
        """Entries in offset order; those of a partition that was taken away are dropped."""
        inbox = self._inboxes.get(place)
        if inbox is not None and not inbox.closed:
            inbox.put(entries)

    async def end(self, grace_seconds: float) -> None:
        """Lets the slices in flight come to their end and drops the rest: another owner takes it from there."""
        for inbox in self._inboxes.values():
            inbox.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._inboxes.clear()

    def fail(self, error: BaseException) -> None:
        """Ends everything; what is not acknowledged by now never will be by this process."""
        if not self.failure.done():
            self.failure.set_result(error)
        for inbox in self._inboxes.values():
            inbox.close()
        for task in self._tasks:
            task.cancel()

    def _worker(self, place: Place, start: int, inbox: Inbox) -> StageWorker | SinkWorker:
        name, partition = place
        if isinstance(self.what, Stage):
            return StageWorker(self.what, partition, self._context, inbox)
        topic = next(topic for topic in self.topics if topic.name == name)
        position = Position(self._positions.get(place, Position()).epoch, start - 1)
        return SinkWorker(self.what, topic, partition, position, self._context, inbox)

    def _throttle(self, place: Place, full: bool) -> None:
        self.throttle(place, full)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
