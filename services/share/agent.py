"""The sink of tocsin.cleared: every record goes into the feeds together with its position. And what reminds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random, SystemRandom

from sqlalchemy import Connection

from schemas.topics import CLEARED, Topic
from services import positions
from services.hub import Hub
from services.owed import patience_us
from services.share import entry, feeds, receipts
from services.share.entry import Entry
from services.share.numbering import check_numbering
from services.stream.types import Batch, Position, Record

ROUND_ROWS = 500
LOOK_SECONDS, PAUSE_SECONDS = 60.0, 5.0


class ShareSink:
    """Applies what govern cleared. `clock_us` gives µs since 1970; `random` is only drawn from in `apply`."""

    name = "share"
    sources: tuple[Topic, ...] = (CLEARED,)

    def __init__(
        self,
        hub: Hub,
        *,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        random: Random | None = None,
    ) -> None:
        self._hub = hub
        self._clock_us = clock_us
        # the system's: from a few hundred values of a seeded one all others could be reckoned
        self._random = random or SystemRandom()

    def decode(self, topic: str, record: Record) -> Entry:
        return entry.read(record.value)

    async def positions(self, topic: str) -> dict[int, Position]:
        return await positions.load(self._hub.store, self.name, topic)

    async def apply(self, batch: Batch) -> None:
        """Raises `Misconfigured` for recipients under a numbering that is not this hub's: nothing may go on."""
        entries: list[Entry] = [value for _, value in batch.items]
        for item in entries:
            check_numbering(item.numbering, self._hub.directory.numbering, f"{batch.topic}/{batch.partition}")
        await self._hub.store.write(lambda connection: self._apply(connection, batch, entries))

    def _apply(self, connection: Connection, batch: Batch, entries: list[Entry]) -> None:
        if not positions.advance(connection, self.name, batch.topic, batch.partition, batch.position):
            return
        feeds.apply(connection, entries, self._clock_us(), self._random)
        if batch.watermark is not None:
            feeds.reach(connection, batch.partition, batch.watermark)


RENEWED_AT_ONCE = 2_000
DAY_MS = 86_400_000


async def renew(hub: Hub, partner: str, since_ms: int, *, random: Random | None = None) -> None:
    """See `feeds.renew`: some rows at a time, so that others can write in between.

    From a day before `since_ms`, as the partner may not have read everything by then; places that it has read to
    are known to nobody but itself.
    """
    bit = hub.directory.bit_of[partner]
    chance, until = random or SystemRandom(), await hub.store.read(feeds.newest)

    def some(connection: Connection) -> int:
        now_us = time.time_ns() // 1_000
        return feeds.renew(connection, bit, (since_ms - DAY_MS) * 1_000, until, RENEWED_AT_ONCE, now_us, chance)

    while await hub.store.write(some):
        pass


class Reminder:
    """Puts withdrawals that are not acknowledged into the feeds anew. A service, see `stream.types.Service`.

    A round looks at `ROUND_ROWS` rows of each recipient at most. Several processes may remind at once: who comes
    second finds the rows moved.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        random: Random | None = None,
    ) -> None:
        self._hub = hub
        self._clock_us = clock_us
        self._random = random or SystemRandom()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="share-reminder")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task

    async def failed(self) -> BaseException:
        if self._task is None:
            raise RuntimeError("the reminder was not started")
        await asyncio.wait([self._task])
        if self._task.cancelled():
            await asyncio.Event().wait()
        return self._task.exception() or RuntimeError("the reminder ended")

    async def _run(self) -> None:
        while True:
            more = await self.round()
            await asyncio.sleep(PAUSE_SECONDS if more else LOOK_SECONDS)

    async def round(self) -> bool:
        """Does what there is to do; false where that was nothing."""
        directory, now_us = self._hub.directory, self._clock_us()
        known = [(bit, directory.agreements.get(name)) for name, bit in directory.bit_of.items()]
        patience = {bit: patience_us(agreement) for bit, agreement in known if agreement is not None}
        responds = [bit for bit, agreement in known if agreement is not None and agreement.respond is not None]
        todo = await self._hub.store.read(
            lambda connection: receipts.look(connection, patience, responds, now_us, ROUND_ROWS)
        )
        if todo.nothing:
            return False

        def work(connection: Connection) -> None:
            reminded = feeds.remind(connection, todo.rows, patience, now_us, self._random)
            receipts.move_marks(connection, todo.marks, reminded)
            if todo.prune:
                receipts.prune(connection, now_us // 1_000)

        await self._hub.store.write(work)
        return True
