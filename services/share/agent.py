"""The sink of tocsin.cleared: every record goes into the feeds together with its position."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random, SystemRandom

from sqlalchemy import Connection

from schemas.topics import CLEARED, Topic
from services import positions
from services.hub import Hub
from services.share import entry, feeds
from services.share.entry import Entry
from services.share.numbering import check_numbering
from services.stream.types import Batch, Position, Record


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
