"""What both drivers change in Faust's consumer: chunks instead of messages, and commits of what is really done.

Faust keeps the group, the assignment, the rebalance and the commit timer. Changed are four things, by overriding
private methods of the pinned version (its extension point is subclassing, so this is a mixin):

* `_drain_messages` hands an agent all records fetched from one partition as one event, and never sleeps 1 s
  when every partition is full.
* `ack` does nothing: stock Faust acknowledges events that it skips or whose agent failed. Only `done`, which the
  inner loop calls behind its last durable write, moves the offset that is committed.
* `_new_offset` commits that offset as it is; offsets with gaps (compaction, transactions) don't matter.
* `perform_seek` starts where the sink's database says, or where the group stopped; never outside of the log.

Whether fetched records are still wanted is told by `seeks`, which counts the seeks at the place where records are
taken from the log: what was taken before the last seek is dropped, since that seek brings it again. (The
generation number can't tell: a fetch begun before a rebalance may return records from behind the seek after it.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from faust.types import TP, ConsumerMessage

from services.stream.log import Done, Entry
from services.stream.runner import Place, Runner

log = logging.getLogger(__name__)

FETCH_SECONDS = 0.5
REVOKE_GRACE_SECONDS = 3.0
SEEK_SECONDS = 25.0  # less than Faust's own limit, behind which it would stand still without a word

if TYPE_CHECKING:
    Base = Any
else:
    Base = object


class Fetched(NamedTuple):
    """Entries by place, and the number of seeks before they were taken from the log."""

    seeks: int
    entries: Mapping[Place, Sequence[Entry]]


class Bounds(NamedTuple):
    """Of one partition: the first offset that is left, the next one to be written, where the group stopped."""

    earliest: int
    end: int
    committed: int | None


class ChunkConsumer(Base):  # type: ignore[misc]
    """To be mixed in before a Faust consumer; the driver adds `_fetch`, `_bounds` and `_seek_all`."""

    logger = logging.getLogger("faust")

    def __post_init__(self) -> None:
        self.seeks = 0
        self._revocations = 0
        self._room = asyncio.Event()
        self.runner: Runner = self.transport.runner
        self.runner.throttle = self._throttle
        self.runner.commit = self._done

    async def _fetch(self, active: set[TP], seconds: float) -> Fetched:
        raise NotImplementedError

    async def _bounds(self, tps: set[TP]) -> dict[TP, Bounds]:
        raise NotImplementedError

    async def _seek_all(self, offsets: Mapping[TP, int]) -> None:
        """Must count up `seeks` where records are taken, at the same moment."""
        raise NotImplementedError

    async def _drain_messages(self, fetcher: Any) -> None:
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active:
                await self.wait(self.can_resume_flow)
                continue
            active = set(self._get_active_partitions())
            if not active:
                await self._wait_for_room()
                continue
            fetched = await self._fetch(active, FETCH_SECONDS)
            await asyncio.sleep(0)
            for place, entries in fetched.entries.items():
                if self.flow_active and fetched.seeks == self.seeks:
                    message = self._chunk(TP(*place), entries)
                    await self.wait_first(self.callback(message), self.suspend_flow.wait())

    def _chunk(self, tp: TP, entries: Sequence[Entry]) -> ConsumerMessage:
        last = entries[-1].record
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp_ms / 1000,
            0,
            [],
            None,
            entries,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _wait_for_room(self) -> None:
        self._room.clear()
        try:
            await asyncio.wait_for(self._room.wait(), 0.1)
        except TimeoutError:
            return

    def _throttle(self, place: Place, full: bool) -> None:
        if full:
            self.on_buffer_full(TP(*place))
        else:
            self.on_buffer_drop(TP(*place))
            self._room.set()

    def ack(self, message: Any) -> bool:
        return False

    def _done(self, done: Done) -> None:
        self._acked[TP(done.topic, done.partition)] = [done.offset]

    def _new_offset(self, tp: TP) -> int | None:
        acked: list[int] | None = self._acked.pop(tp, None)
        return acked[-1] if acked else None

    async def perform_seek(self) -> None:
        revocations = self._revocations
        async with asyncio.timeout(SEEK_SECONDS):
            bounds = await self._bounds(self.assignment())
            wanted = await self.runner.starts(bounds)
            starts = {tp: _start(tp, bound, wanted.get(tp)) for tp, bound in bounds.items()}
            await self._seek_all(starts)
        if revocations == self._revocations:
            self._committed_offset.update({tp: bound.committed for tp, bound in bounds.items()})
            self.runner.begin(starts)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._revocations += 1
        try:
            await self.runner.end(REVOKE_GRACE_SECONDS)
            await self.commit()
        except Exception as error:
            self.runner.fail(error)
        await super().on_partitions_revoked(revoked)


def _start(tp: TP, bounds: Bounds, wanted: int | None) -> int:
    """The offset to begin at: the wanted or committed one, if the log has it; else the earliest there is."""
    start = wanted if wanted is not None else bounds.committed
    if start is None:
        return bounds.earliest
    if bounds.earliest <= start <= bounds.end:
        return start
    log.warning(
        "%s/%d: the position %d is outside of the log (%d to %d); going on from its beginning",
        tp.topic,
        tp.partition,
        start,
        bounds.earliest,
        bounds.end,
    )
    return bounds.earliest
