"""What only one of the drivers can have: gaps of its own kind, pruning, locks, wrong settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from schemas.errors import Misconfigured, Unavailable
from services.store import Store
from services.stream import open_streams
from tests.contract.streams.reading import records
from tests.contract.streams.running import Collector, running, until
from tests.contract.streams.tally import (
    EffectsSink,
    Names,
    append,
    assert_exactly_once,
    messages,
    rows,
    tally,
    wait_for_effects,
)


async def test_kafka_gaps_in_the_offsets(kafka_names: Names, store: Store) -> None:
    """Commit markers, an aborted transaction, and deleted records leave gaps; the rest comes through once."""
    names = kafka_names
    streams = names.streams(store)
    await streams.start()
    await streams.create_topics(names.topics)
    servers = names.url.removeprefix("kafka://")
    deleted = await append(streams, names.source, messages(400, 100))
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    ends = {p: 1 + max(o for _, (q, o) in deleted if q == p) for p in range(4)}
    await admin.delete_records(
        {TopicPartition(names.source.name, p): RecordsToDelete(end) for p, end in ends.items()}
    )
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=names.prefix)
    await producer.start()
    placed = []
    for round_ in range(12):
        await producer.begin_transaction()
        for message in messages(80, 300, start=round_ * 80):
            metadata = await producer.send_and_wait(
                names.source.name, message.value, message.key, partition=message.key[-1] % 4
            )
            if round_ % 3:
                placed.append((message.key, (metadata.partition, metadata.offset)))
        await (producer.commit_transaction() if round_ % 3 else producer.abort_transaction())
    await producer.stop()
    sink = EffectsSink(names, store, gapless=False)
    async with running(streams, tally(names), sink) as (service, _):
        await wait_for_effects(store, len(placed))
        assert service.stats.records_in == len(placed)
    assert_exactly_once(store, placed)
    async with running(streams, tally(names)) as (service,):
        more = await append(streams, names.source, messages(100))
        await until(lambda: service.stats.records_in >= len(more))
        assert service.stats.records_in == len(more), "the group's position was stuck in front of a gap"
    await streams.stop()


async def test_sqlite_gaps_in_the_offsets(sqlite_names: Names, store: Store) -> None:
    names = sqlite_names
    streams = names.streams(store)
    await streams.start()
    await streams.create_topics(names.topics)
    placed = await append(streams, names.source, messages(4_000, 300))
    offset = "(log_records.id & ((1 << 40) - 1))"
    gap = f"{offset} < 100 OR {offset} BETWEEN 200 AND 400 OR {offset} % 7 = 3 OR {offset} > 900"
    with store.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM log_records WHERE {gap}")
    left = [one for one in placed if not ((o := one[1][1]) < 100 or 200 <= o <= 400 or o % 7 == 3 or o > 900)]
    async with running(streams, tally(names), EffectsSink(names, store, gapless=False)) as (service, _):
        await wait_for_effects(store, len(left))
        assert service.stats.records_in == len(left)
        more = await append(streams, names.source, messages(100, 300))
        await wait_for_effects(store, len(left) + len(more))
    assert_exactly_once(store, left + more)
    await streams.stop()


async def test_sqlite_a_second_process_is_refused(sqlite_names: Names, store: Store) -> None:
    streams, second = sqlite_names.streams(store), sqlite_names.streams(store)
    await streams.start()
    with pytest.raises(Misconfigured, match="another process") as refused:
        await second.start()
    assert refused.value.code == "hub-already-running"
    assert "hub.lock" in refused.value.where
    await streams.stop()
    await second.start()
    await second.stop()


async def test_sqlite_prunes_what_all_groups_have_passed(sqlite_names: Names, store: Store) -> None:
    names = sqlite_names
    streams: Any = names.streams(store)
    await streams.start()
    await streams.create_topics(names.topics)
    await append(streams, names.source, messages(5_000, 100))
    slow = Collector(f"{names.prefix}-slow", names.source)
    async with running(streams, slow):
        await until(lambda: len(slow.got) == 5_000)
    await append(streams, names.source, messages(5_000, 100))
    async with running(streams, tally(names)) as (service,):
        await until(lambda: service.stats.records_in == 10_000)
        await asyncio.sleep(1.2)
    await streams._log.sweeper.prune()
    left = "SELECT count(*) FROM log_records r JOIN log_partitions p ON r.id >> 40 = p.id WHERE topic = "
    assert rows(store, f"{left} '{names.source.name}'") == [(5_000,)]
    async with running(streams, slow):
        await until(lambda: len(slow.got) == 10_000)
    await streams._log.sweeper.prune()
    assert rows(store, f"{left} '{names.source.name}'") == [(0,)]
    placed = await append(streams, names.source, messages(10))
    assert min(offset for _, (_, offset) in placed) > 1_000
    await streams.stop()


async def test_sqlite_compacts_state_and_keeps_the_last_values(sqlite_names: Names, store: Store) -> None:
    names = sqlite_names
    streams: Any = names.streams(store)
    await streams.start()
    await streams.create_topics(names.topics)
    placed = await append(streams, names.source, messages(6_000, 100))
    async with running(streams, tally(names), EffectsSink(names, store)):
        await wait_for_effects(store, len(placed))
        await streams._log.sweeper.compact(min_dirty=1)
        placed += await append(streams, names.source, messages(1_000, 100))
        await wait_for_effects(store, len(placed))
    await streams._log.sweeper.compact(min_dirty=1)
    await streams.stop()
    state = await records(names, store, names.state)
    assert len(state) == len({entry.record.key for entry in state}) == 100
    await streams.start()
    async with running(streams, tally(names), EffectsSink(names, store)):
        placed += await append(streams, names.source, messages(1_000, 100))
        await wait_for_effects(store, len(placed))
    assert_exactly_once(store, placed)
    await streams.stop()


@pytest.mark.parametrize(
    ("url", "security", "code"),
    [
        ("redis://x", None, "broker-unknown"),
        ("sqlite:", None, "broker-needs-sqlite"),
        ("kafka://127.0.0.1:9", "rot13", "kafka-security-unknown"),
        ("kafka://127.0.0.1:9", "ssl:/nowhere/ca.pem", "kafka-security-unreadable"),
    ],
)
async def test_wrong_settings_say_what_is_wrong(url: str, security: str | None, code: str) -> None:
    with pytest.raises(Misconfigured) as wrong:
        open_streams(url, None, security)
    assert wrong.value.code == code
    assert wrong.value.where.startswith("TOCSIN_")


async def test_no_broker_is_said_at_the_start(tmp_path: Path) -> None:

    with pytest.raises(Unavailable) as unavailable:
        await open_streams("kafka://127.0.0.1:9", None).start()
    assert unavailable.value.code == "broker-unavailable"
