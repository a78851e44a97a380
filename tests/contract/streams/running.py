"""Runs stages and sinks inside of a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.stream.types import (
    Batch,
    Position,
    Record,
    Service,
    Sink,
    Stage,
    Streams,
)


@asynccontextmanager
async def running(streams: Streams, *workers: Stage | Sink) -> AsyncIterator[list[Any]]:
    """Runs the workers; an error of one fails the test."""
    services: list[Service] = []
    try:
        for worker in workers:
            services.append(streams.run(worker))
            await services[-1].start()
        yield services
        for service in services:
            failed = asyncio.ensure_future(service.failed())
            await asyncio.sleep(0)
            assert not failed.done(), failed.result()
            failed.cancel()
    finally:
        for service in services:
            await service.stop()


async def until(true: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.01)


class Collector:
    """A sink in memory."""

    def __init__(self, name: str, *topics: Any) -> None:
        self.name = name
        self.sources = topics
        self.got: list[tuple[str, int, bytes, bytes]] = []
        self.batches: list[Batch] = []

    def decode(self, topic: str, record: Record) -> bytes:
        return record.value

    async def positions(self, topic: str) -> dict[int, Position]:
        return {}

    async def apply(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.got.extend((batch.topic, batch.partition, key, value) for key, value in batch.items)


def port_of(service: Any) -> Any:
    """The way to the log that a running service uses."""
    inner = getattr(service, "_service", service)
    return inner._runner._context.port
