"""The driver for Apache Kafka: streams, and a stage's way to its topics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.partitioner import murmur2

from schemas.errors import Unavailable
from schemas.topics import DAY_SECONDS, Topic
from services.stream.app import StreamService
from services.stream.kafka_client import MAX_MESSAGE_BYTES, Client, entries, send
from services.stream.kafka_transport import SETTINGS, Transport
from services.stream.log import Done, Draft, Drafts, Entry
from services.stream.runner import Runner
from services.stream.state import OpenState
from services.stream.types import Lag, Message, Sink, Stage, StageService
from services.stream.worker import Stats

GROUP_PREFIX = "tocsin."
COMPACTION_LAG_MS = 3 * DAY_SECONDS * 1000  # see recovery.py
STOP_SECONDS = 10.0
LEADER_SECONDS = 30.0

log = logging.getLogger(__name__)


class KafkaStreams:
    """See `types.Streams`."""

    def __init__(self, servers: str, security: str | None, clock: Callable[[], int], open_state: OpenState) -> None:
        self._client = Client(servers, security or "plaintext")
        self._client.settings()
        self._clock = clock
        self._open_state = open_state
        self._turn = asyncio.Lock()
        self._admin: Any = None
        self._producer: Any = None

    async def start(self) -> None:
        self._admin = AIOKafkaAdminClient(**self._client.settings())
        try:
            await self._admin.start()
        except (KafkaError, OSError) as error:
            await self._admin.close()
            raise Unavailable(
                "broker-unavailable",
                f"no Kafka broker answers: {type(error).__name__}",
                where=self._client.servers,
                hint="is it running, and is TOCSIN_BROKER right?",
            ) from None

    async def stop(self) -> None:
        if self._producer is not None:
            await stop_producer(self._producer)
        await self._admin.close()

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        brokers = len((await self._admin.describe_cluster())["brokers"])
        replicas = 3 if brokers >= 3 else 1
        wanted = [NewTopic(t.name, t.partitions, replicas, topic_configs=_config(t, replicas)) for t in topics]
        response = await self._admin.create_topics(wanted)
        for name, code, *rest in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise Unavailable("topic-not-created", f"{error.__name__}: {rest[0] if rest else ''}", where=name)
        await self._wait_for_leaders([topic.name for topic in topics])

    async def _wait_for_leaders(self, topics: list[str]) -> None:
        deadline = time.monotonic() + LEADER_SECONDS
        while True:
            described = await self._admin.describe_topics(topics)
            waiting = [t["topic"] for t in described if not _has_leaders(t)]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise Unavailable("topic-without-leader", "no broker leads some partitions", where=waiting[0])
            await asyncio.sleep(0.1)

    async def append(self, topic: Topic, messages: Sequence[Message]) -> list[tuple[int, int]]:
        """After an error the producer is replaced: what it still holds in flight may or may not be written."""
        if self._producer is None:
            producer = self._client.producer()
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                await producer.stop()
                raise Unavailable("broker-unavailable", type(error).__name__, where=self._client.servers) from None
            self._producer = producer
        try:
            return await _append(self._producer, topic, messages)
        except BaseException:
            producer, self._producer = self._producer, None
            if producer is not None:
                await stop_producer(producer)
            raise

    def run(self, worker: Stage | Sink) -> StageService:
        port = KafkaPort(self._client)
        runner = Runner(worker, port, self._turn, self._clock, self._open_state)
        if isinstance(worker, Stage):
            port.compacted.add(worker.state.name)
        make = partial(Transport, self._client, runner)
        return KafkaService(port, StreamService(f"{GROUP_PREFIX}{worker.name}", runner, make, **SETTINGS))

    async def lag(self) -> list[Lag]:
        groups = sorted(
            name for name, *_ in await self._admin.list_consumer_groups() if name.startswith(GROUP_PREFIX)
        )
        committed = {group: await self._admin.list_consumer_group_offsets(group) for group in groups}
        places = {tp for offsets in committed.values() for tp in offsets}
        reader = self._client.reader()
        await reader.start()
        try:
            ends = await reader.end_offsets(list(places)) if places else {}
        finally:
            await reader.stop()
        return [
            Lag(group, tp.topic, tp.partition, max(0, ends[tp] - offset.offset))
            for group, offsets in committed.items()
            for tp, offset in sorted(offsets.items())
            if offset.offset >= 0
        ]


class KafkaPort:
    """See `log.Port`. The position is left to the consumer's commit. Topics in `compacted` hold state."""

    def __init__(self, client: Client) -> None:
        self.compacted: set[str] = set()
        self._client = client
        self._producer: Any = None

    async def start(self) -> None:
        self._producer = self._client.producer()
        await self._producer.start()

    async def stop(self) -> None:
        if self._producer is not None:
            await stop_producer(self._producer)

    async def write(self, batches: Sequence[Drafts]) -> list[int]:
        sent = [
            await send(self._producer, topic, partition, drafts, topic in self.compacted)
            for topic, partition, drafts in batches
        ]
        futures = [future for futures in sent for future, _ in futures]
        await asyncio.gather(*futures)
        return [futures[0][0].result().offset for futures in sent]

    async def settle(self, outputs: Sequence[Drafts], changes: Sequence[Drafts], done: Done | None) -> int | None:
        if outputs:
            await self.write(outputs)
        return (await self.write(changes))[0] if changes else None

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Sequence[Entry]]:
        tp = TopicPartition(topic, partition)
        reader = self._client.reader()
        await reader.start()
        try:
            reader.assign([tp])
            earliest = (await reader.beginning_offsets([tp]))[tp]
            reader.seek(tp, max(start, earliest))
            while await reader.position(tp) < end:
                records = (await reader.getmany(tp, timeout_ms=1000, max_records=2_000)).get(tp, ())
                yield entries(record for record in records if record.offset < end)
        finally:
            await reader.stop()


class KafkaService:
    """A stream service with its producer."""

    def __init__(self, port: KafkaPort, service: StreamService) -> None:
        self._port = port
        self._service = service
        self._watch: asyncio.Task[None] | None = None

    @property
    def stats(self) -> Stats:
        return self._service.stats

    async def start(self) -> None:
        await self._port.start()
        await self._service.start()
        self._watch = asyncio.create_task(self._service.consumer.watch(), name="kafka-watch")

    async def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._service.stop()
        await self._port.stop()

    async def failed(self) -> BaseException:
        return await self._service.failed()

    def renew(self, stage: Stage) -> None:
        self._service.renew(stage)


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Flushes and closes it; a broker that does not answer is not waited for."""
    with suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)


async def _append(producer: AIOKafkaProducer, topic: Topic, messages: Sequence[Message]) -> list[tuple[int, int]]:
    partitions = len(await producer.partitions_for(topic.name))
    by_partition: dict[int, list[int]] = {}
    for i, message in enumerate(messages):
        by_partition.setdefault((murmur2(message.key) & 0x7FFFFFFF) % partitions, []).append(i)
    sent = {
        number: await send(producer, topic.name, number, [Draft(*messages[i]) for i in some], topic.compacted)
        for number, some in by_partition.items()
    }
    await asyncio.gather(*[future for futures in sent.values() for future, _ in futures])
    places: list[tuple[int, int]] = [(0, 0)] * len(messages)
    for number, futures in sent.items():
        offsets = [future.result().offset + nth for future, count in futures for nth in range(count)]
        for i, offset in zip(by_partition[number], offsets, strict=True):
            places[i] = (number, offset)
    return places


def _has_leaders(described: Mapping[str, Any]) -> bool:
    partitions = described["partitions"]
    return bool(partitions) and all(p["error_code"] == 0 and p["leader"] >= 0 for p in partitions)


def _config(topic: Topic, replicas: int) -> dict[str, str]:
    config = {
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "min.insync.replicas": "2" if replicas == 3 else "1",
    }
    if topic.retention_seconds is None:
        return {**config, "cleanup.policy": "compact", "min.compaction.lag.ms": str(COMPACTION_LAG_MS)}
    return {**config, "cleanup.policy": "delete", "retention.ms": str(topic.retention_seconds * 1000)}
