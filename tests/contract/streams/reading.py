"""Looks into the logs from outside."""

from __future__ import annotations

from aiokafka import TopicPartition

from schemas.topics import Topic
from services.store import Store
from services.stream.kafka import KafkaPort
from services.stream.kafka_client import Client
from services.stream.log import Entry, Kind, Port
from services.stream.sqlite import SqlitePort
from services.stream.sqlite_log import SqliteLog
from tests.contract.streams.tally import Names


async def records(names: Names, store: Store, topic: Topic) -> list[Entry]:
    """All records of a topic, without marks."""
    return [entry for entry in await contents(names, store, topic) if entry.stamp.kind is Kind.RECORD]


async def contents(names: Names, store: Store, topic: Topic) -> list[Entry]:
    """All entries of a topic, partition by partition. On SQLite nobody else may have the log open."""
    if names.url != "sqlite:":
        client = Client(names.url.removeprefix("kafka://"))
        reader = client.reader()
        await reader.start()
        try:
            ends = await reader.end_offsets([TopicPartition(topic.name, p) for p in range(topic.partitions)])
        finally:
            await reader.stop()
        return await _read(KafkaPort(client), topic, {tp.partition: end for tp, end in ends.items()})
    log = SqliteLog(store)
    await log.open()
    try:
        ends = {p: log.end((topic.name, p)) for p in range(topic.partitions)}
        return await _read(SqlitePort(log, "reading"), topic, ends)
    finally:
        await log.close()


async def _read(port: Port, topic: Topic, ends: dict[int, int]) -> list[Entry]:
    entries: list[Entry] = []
    for partition, end in sorted(ends.items()):
        async for some in port.read(topic.name, partition, 0, end):
            entries.extend(some)
    return entries
