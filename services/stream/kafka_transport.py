"""Faust's aiokafka transport with our consumer. The inner loop writes through `kafka.KafkaPort`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport import base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import WorkerThread
from yarl import URL

from services.stream.consumer import Bounds, ChunkConsumer, Fetched
from services.stream.kafka_client import BATCH_BYTES, Client, entries
from services.stream.progress import Progress
from services.stream.runner import Runner

SESSION_SECONDS = 6.0  # a killed worker's partitions move after this and a rebalance
HEARTBEAT_SECONDS = 1.5
REBALANCE_SECONDS = 10.0
IDLE_SECONDS = 1_800.0  # a consumer that is held back fetches nothing; that alone does not make it dead
FETCH_RECORDS = 1_000
WATCH_SECONDS = 15.0

SETTINGS: Mapping[str, Any] = {
    "broker_session_timeout": SESSION_SECONDS,
    "broker_rebalance_timeout": REBALANCE_SECONDS,
    "broker_heartbeat_interval": HEARTBEAT_SECONDS,
    "broker_request_timeout": 30.0,
}


class DaemonThread(WorkerThread):  # type: ignore[misc]
    """Does not keep the process from ending where a broker that is silent keeps it from stopping."""

    def __init__(self, service: Any, **settings: Any) -> None:
        super().__init__(service, **settings)
        self.daemon = True


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The consumer's own thread and loop, where heartbeats go on whatever the hub's loop does."""

    logger = logging.getLogger("faust")
    Worker = DaemonThread

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **transport.client.settings(),
            group_id=self.app.conf.id,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=FETCH_RECORDS,
            max_poll_interval_ms=int(IDLE_SECONDS * 1000),
            max_partition_fetch_bytes=BATCH_BYTES,
            fetch_max_wait_ms=500,
            session_timeout_ms=int(SESSION_SECONDS * 1000),
            rebalance_timeout_ms=int(REBALANCE_SECONDS * 1000),
            heartbeat_interval_ms=int(HEARTBEAT_SECONDS * 1000),
        )

    async def fetch(self, active: set[TP], seconds: float) -> Fetched:
        records = await self._fetch_records(
            self._ensure_consumer(), active, timeout=seconds, max_records=FETCH_RECORDS
        )
        return Fetched(self.consumer.seeks, {tp: entries(some) for tp, some in records.items() if some})

    async def bounds(self, tps: set[TP]) -> dict[TP, Bounds]:
        consumer = self._ensure_consumer()
        places = [TopicPartition(*tp) for tp in tps]
        if not places:
            return {}
        earliest, ends, committed = await asyncio.gather(
            consumer.beginning_offsets(places),
            consumer.end_offsets(places),
            asyncio.gather(*[consumer.committed(place) for place in places]),
        )
        return {
            TP(*place): Bounds(earliest[place], ends[place], offset)
            for place, offset in zip(places, committed, strict=True)
        }

    async def look(self, tps: set[TP]) -> tuple[dict[TP, int], dict[TP, int]]:
        """Positions and ends."""
        consumer = self._ensure_consumer()
        places = [TopicPartition(*tp) for tp in tps]
        ends = await consumer.end_offsets(places) if places else {}
        return {TP(*place): await consumer.position(place) for place in places}, ends

    async def seek_all(self, offsets: Mapping[TP, int]) -> None:
        for tp, offset in offsets.items():
            self._ensure_consumer().seek(TopicPartition(*tp), offset)
        self.consumer.seeks += 1

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """False where the partitions have another owner by now: it repeats what we could not commit."""
        try:
            await self._ensure_consumer().commit(
                {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
            )
        except (CommitFailedError, IllegalStateError):
            return False
        return True


class Consumer(ChunkConsumer, driver.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _fetch(self, active: set[TP], seconds: float) -> Fetched:
        fetched: Fetched = await self._thread.call_thread(self._thread.fetch, active, seconds)
        return fetched

    async def _bounds(self, tps: set[TP]) -> dict[TP, Bounds]:
        bounds: dict[TP, Bounds] = await self._thread.call_thread(self._thread.bounds, tps)
        return bounds

    async def _seek_all(self, offsets: Mapping[TP, int]) -> None:
        await self._thread.call_thread(self._thread.seek_all, offsets)

    async def watch(self) -> None:
        """Fails the runner if records wait and are not fetched. A broker that does not answer proves nothing."""
        progress = Progress()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            with suppress(KafkaError, IllegalStateError, TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    free = self.assignment() - self._buffered_partitions
                    positions, ends = await self._thread.call_thread(self._thread.look, free)
                if place := progress.stalled(time.monotonic(), positions, ends):
                    self.runner.fail(RuntimeError(f"{place[0]}/{place[1]}: records wait and are not fetched"))


class Producer(base.Producer):  # type: ignore[misc]
    """Faust starts, flushes and stops one, and has nothing to write: the inner loop uses `KafkaPort`."""

    logger = logging.getLogger("faust")


class Transport(driver.Transport):  # type: ignore[misc]
    Consumer = Consumer
    Producer = Producer

    def __init__(self, client: Client, runner: Runner, app: Any) -> None:
        super().__init__([URL("kafka://unused")], app)
        self.client = client
        self.runner = runner
