"""What a stage remembers, read from its changelog without taking the partitions over: for a look from outside.

The stage may be running meanwhile. Nothing is written, and no lock is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from sqlalchemy import Connection

from schemas.errors import Misconfigured, Unavailable
from schemas.topics import Topic
from services.store import Store
from services.stream import sqlite_rows
from services.stream.kafka import KafkaPort
from services.stream.kafka_client import Client
from services.stream.log import RESERVED_KEYS, Entry
from services.stream.recovery import Recovered

Progress = Callable[[int, int], None]
"""Told how many records were read, and of how many."""


class Remembered(NamedTuple):
    """The state of each partition, in the order of their numbers, and the highest epoch in any of them."""

    state: list[dict[bytes, bytes]]
    epoch: int

    def partition_of(self, key: bytes) -> int:
        """Where the broker puts a record with this key."""
        return int((murmur2(key) & 0x7FFFFFFF) % len(self.state))


async def replay(url: str, store: Store, security: str | None, topic: Topic, progress: Progress) -> Remembered:
    """Reads a state topic of the broker at `url` (see `open_streams`) as it is now.

    Raises `Misconfigured` where the topic is not there, `Unavailable` where the broker does not answer.
    """
    if url.startswith("kafka://"):
        found = await _from_kafka(Client(url.removeprefix("kafka://"), security or "plaintext"), topic, progress)
    else:
        found = await store.read(partial(_from_sqlite, topic=topic, progress=progress))
    if not found:
        raise Misconfigured(
            "topic-missing",
            f"the broker has no topic {topic.name}",
            where="TOCSIN_BROKER",
            hint="is this the hub's broker? `tocsin migrate` makes the topics of a new one",
        )
    return Remembered([state.values for state in found], max(state.recovered.epoch for state in found))


class _Partition:
    def __init__(self) -> None:
        self.recovered = Recovered()
        self.values: dict[bytes, bytes] = {}

    def apply(self, entries: Iterable[Entry]) -> None:
        for key, value in self.recovered.apply(entries).items():
            if not value:
                self.values.pop(key, None)
            elif key not in RESERVED_KEYS:
                self.values[key] = value


def _from_sqlite(connection: Connection, topic: Topic, progress: Progress) -> list[_Partition]:
    """On one snapshot, whatever is written meanwhile."""
    if not connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'log_partitions'").first():
        return []
    rows = connection.exec_driver_sql(
        "SELECT id, first_offset, next_offset FROM log_partitions WHERE topic = ? ORDER BY partition", (topic.name,)
    ).all()
    total = sum(end - first for _, first, end in rows)
    read = 0
    found: list[_Partition] = []
    for number, (id_, first, end) in enumerate(rows):
        one = _Partition()
        base = id_ << sqlite_rows.OFFSET_BITS
        at = first
        while at < end:
            place = (topic.name, number)
            entries, go_on = sqlite_rows.read(connection, [(place, base + at, base + end)])[place]
            one.apply(entries)
            read += go_on - at
            at = go_on
            progress(read, total)
        found.append(one)
    return found


async def _from_kafka(client: Client, topic: Topic, progress: Progress) -> list[_Partition]:
    try:
        bounds = await _bounds(client, topic)
        total, read = sum(end - first for first, end in bounds), 0

        async def of(number: int, first: int, end: int) -> _Partition:
            nonlocal read
            one, at = _Partition(), first
            async for entries in KafkaPort(client).read(topic.name, number, first, end):
                one.apply(entries)
                if entries:
                    read += entries[-1].record.offset + 1 - at
                    at = entries[-1].record.offset + 1
                    progress(read, total)
            return one

        return await asyncio.gather(*(of(number, *bound) for number, bound in enumerate(bounds)))
    except (KafkaError, OSError) as error:
        raise Unavailable(
            "broker-unavailable",
            f"no Kafka broker answers: {type(error).__name__}",
            where=client.servers,
            hint="is it running, and is TOCSIN_BROKER right?",
        ) from None


async def _bounds(client: Client, topic: Topic) -> list[tuple[int, int]]:
    """The first offset that is left in each partition, and the next one to be written."""
    admin: Any = AIOKafkaAdminClient(**client.settings())
    try:
        await admin.start()
        [described] = await admin.describe_topics([topic.name])
    finally:
        await admin.close()
    places = [TopicPartition(topic.name, number) for number in range(len(described["partitions"]))]
    if not places:
        return []
    reader = client.reader()
    await reader.start()
    try:
        firsts, ends = await reader.beginning_offsets(places), await reader.end_offsets(places)
        return [(firsts[place], ends[place]) for place in places]
    finally:
        await reader.stop()
