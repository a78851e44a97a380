"""Killed, frozen and replaced workers: nothing is lost, and no effect happens twice."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence

import pytest

from services.store import Store
from services.stream.log import Entry
from services.stream.types import Streams
from tests.contract.streams.conftest import Start, Worker
from tests.contract.streams.reading import contents, records
from tests.contract.streams.tally import (
    Names,
    Placed,
    append,
    assert_exactly_once,
    count_effects,
    messages,
    rows,
    wait_for_effects,
)
from tests.contract.streams.worker_process import DIED, KILLED
from tests.integration.kafka_broker import Broker

KILLS = 10
SLOW = 0.0002  # seconds per record, so that there is a middle to be killed in


async def fill(names: Names, store: Store, count: int, keys: int) -> list[Placed]:
    """Creates the topics and appends; on SQLite nobody else may have the log open meanwhile."""
    streams = names.streams(store)
    await streams.start()
    await streams.create_topics(names.topics)
    placed = await append(streams, names.source, messages(count, keys))
    await streams.stop()
    return placed


@pytest.mark.timeout(300)
async def test_killed_ten_times_in_mid_stream(names: Names, store: Store, start_worker: Start) -> None:
    count = 20_000
    placed = await fill(names, store, count, keys=3_000)
    moments = random.Random(20_261_118)
    in_mid_stream = 0
    for kill in range(KILLS):
        worker = start_worker(names, seconds_per_record=SLOW)
        if kill % 5 == 4:
            await worker.wait_until("started")
        else:
            await worker.wait_until("working")
        await asyncio.sleep(moments.uniform(0.0, 0.25))
        in_mid_stream += 0 < count_effects(store) < count
        assert await worker.end(signal.SIGKILL) == -signal.SIGKILL
    assert in_mid_stream == KILLS, "the stream was over before the last kill: slow it down"
    worker = start_worker(names)
    await wait_for_effects(store, count)
    assert await worker.end(signal.SIGTERM) == 0
    assert_exactly_once(store, placed)
    ends = {partition: max(o for _, (p, o) in placed if p == partition) for _, (partition, _) in placed}
    assert dict(rows(store, "SELECT partition, mark FROM watermarks")) == ends


@pytest.mark.parametrize("at", ["outputs", "state"])
async def test_kafka_crash_between_outputs_state_and_commit(
    kafka_names: Names, store: Store, start_worker: Start, at: str
) -> None:
    """What is ahead in the order is there, what is behind is not; the repetition has no second effect."""
    names = kafka_names
    placed = await fill(names, store, 2_000, keys=500)
    worker = start_worker(names, crash={"at": at, "after": 3})
    assert await worker.ended() == KILLED
    outputs = {(entry.record.key, entry.record.value) for entry in await records(names, store, names.output)}
    state = await records(names, store, names.state)
    assert outputs
    missing = state_without_output(state, outputs)
    assert not missing, "state was written before its output"
    if at == "outputs":
        assert len(outputs) > sum(count_of(entry) for entry in last_values(state).values())
    worker = start_worker(names)
    await wait_for_effects(store, len(placed))
    assert await worker.end(signal.SIGTERM) == 0
    assert_exactly_once(store, placed)


async def test_sqlite_crash_in_the_transaction(sqlite_names: Names, store: Store, start_worker: Start) -> None:
    """Outputs, state and position are one transaction: of a broken one nothing is there."""
    names = sqlite_names
    placed = await fill(names, store, 2_000, keys=500)
    worker = start_worker(names, crash={"at": "transaction", "after": 3})
    assert await worker.ended() == KILLED
    outputs = await records(names, store, names.output)
    state = last_values(await records(names, store, names.state))
    assert outputs
    assert len(outputs) == sum(count_of(entry) for entry in state.values())
    done = rows(store, f"SELECT sum(next_offset) FROM log_offsets WHERE topic = '{names.source.name}'")
    assert done == [(len(outputs),)]
    worker = start_worker(names)
    await wait_for_effects(store, len(placed))
    assert await worker.end(signal.SIGTERM) == 0
    assert_exactly_once(store, placed)


async def test_an_error_of_the_sink_ends_the_worker_and_commits_nothing(
    names: Names, store: Store, start_worker: Start
) -> None:
    placed = await fill(names, store, 200, keys=200)
    store.engine.dispose()
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE effects RENAME TO away")
    worker = start_worker(names)
    assert await worker.ended() == DIED
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO effects")
    worker = start_worker(names)
    await wait_for_effects(store, len(placed))
    assert await worker.end(signal.SIGTERM) == 0
    assert_exactly_once(store, placed)


@pytest.mark.timeout(300)
async def test_kafka_workers_join_die_and_leave_under_load(
    kafka_names: Names, store: Store, start_worker: Start
) -> None:
    names = kafka_names
    placed = await fill(names, store, 10_000, keys=2_000)
    streams = names.streams(store)
    await streams.start()
    load = asyncio.create_task(keep_appending(streams, names, start=10_000, portions=60, size=500))
    first = start_worker(names, seconds_per_record=SLOW)
    await first.wait_until("working")
    second = start_worker(names, seconds_per_record=SLOW)
    await second.wait_until("working")
    third = start_worker(names, seconds_per_record=SLOW)
    await asyncio.sleep(1.0)
    assert await second.end(signal.SIGKILL) == -signal.SIGKILL
    await third.wait_until("working")
    await asyncio.sleep(1.0)
    assert await first.end(signal.SIGTERM) == 0
    placed += await load
    third = await supervised(third, start_worker, names, store, len(placed))
    assert await third.end(signal.SIGTERM) == 0
    await streams.stop()
    assert_exactly_once(store, placed)


async def supervised(worker: Worker, start: Start, names: Names, store: Store, count: int) -> Worker:
    """Waits for the effects; a worker that ends by itself is started again. Kafka's consumers are known to stand
    still at times after a rebalance: the worker notices (`stream/progress.py`), its supervisor does the rest."""
    waiting = asyncio.create_task(wait_for_effects(store, count, seconds=200))
    while not waiting.done():
        if worker.process.poll() is not None:
            worker = start(names, seconds_per_record=SLOW)
        await asyncio.wait([waiting], timeout=0.5)
    await waiting
    return worker


async def keep_appending(streams: Streams, names: Names, start: int, portions: int, size: int) -> list[Placed]:
    placed: list[Placed] = []
    for portion in range(portions):
        placed += await append(streams, names.source, messages(size, 2_000, start + portion * size))
        await asyncio.sleep(0.2)
    return placed


@pytest.mark.timeout(300)
async def test_kafka_broker_stalls_and_comes_back(
    kafka: Broker, kafka_names: Names, store: Store, start_worker: Start
) -> None:
    if not kafka.pid:
        pytest.skip("the broker of TOCSIN_TEST_KAFKA is not ours to freeze")
    names = kafka_names
    placed = await fill(names, store, 10_000, keys=2_000)
    worker = start_worker(names, seconds_per_record=SLOW)
    await worker.wait_until("working")
    with kafka.frozen():
        await asyncio.sleep(8.0)
    await asyncio.sleep(1.0)
    if worker.process.poll() is not None:
        assert worker.process.returncode == DIED
        worker = start_worker(names)
    await wait_for_effects(store, len(placed), seconds=90)
    assert await worker.end(signal.SIGTERM) == 0
    assert_exactly_once(store, placed)


async def test_kafka_a_silent_broker_does_not_keep_a_worker_from_stopping(
    kafka: Broker, kafka_names: Names, store: Store, start_worker: Start
) -> None:
    if not kafka.pid:
        pytest.skip("the broker of TOCSIN_TEST_KAFKA is not ours to freeze")
    placed = await fill(kafka_names, store, 5_000, keys=500)
    worker = start_worker(kafka_names, seconds_per_record=SLOW)
    await worker.wait_until("working")
    with kafka.frozen():
        assert await worker.end(signal.SIGTERM, seconds=60) == 0
    worker = start_worker(kafka_names)
    await wait_for_effects(store, len(placed), seconds=90)
    assert await worker.end(signal.SIGTERM) == 0
    assert_exactly_once(store, placed)


@pytest.mark.timeout(300)
async def test_kafka_late_writes_of_a_frozen_worker_are_ignored(
    kafka_names: Names, store: Store, start_worker: Start
) -> None:
    """Frozen until its partitions have another owner, then awake again with writes in its hands."""
    names = kafka_names
    placed = await fill(names, store, 12_000, keys=2_000)
    sink = start_worker(names, parts=["sink"])
    old = start_worker(names, parts=["stage"], seconds_per_record=SLOW)
    await old.wait_until("working")
    await asyncio.sleep(0.3)
    old.send(signal.SIGSTOP)
    frozen_at = count_effects(store)
    new = start_worker(names, parts=["stage"], seconds_per_record=SLOW)
    await new.wait_until("working")
    await asyncio.sleep(0.3)
    assert frozen_at < count_effects(store) < len(placed)
    old.send(signal.SIGCONT)
    await wait_for_effects(store, len(placed), seconds=90)
    assert await new.end(signal.SIGTERM) == 0
    if old.process.poll() is None:
        old.send(signal.SIGTERM)
    assert await old.ended() in (0, DIED)
    late = [ignored(await contents(names, store, topic)) for topic in (names.output, names.state)]
    assert any(late), "nothing was written late: the test shows nothing"
    assert_exactly_once(store, placed)
    third = start_worker(names, parts=["stage"])
    streams = names.streams(store)
    await streams.start()
    placed += await append(streams, names.source, messages(2_000, 2_000))
    await streams.stop()
    await wait_for_effects(store, len(placed), seconds=90)
    for worker in (third, sink):
        assert await worker.end(signal.SIGTERM) == 0
    assert_exactly_once(store, placed)


def ignored(entries: Sequence[Entry]) -> int:
    """How many entries lie behind a higher epoch, partition by partition."""
    late, epoch, offset = 0, 0, -1
    for record, stamp in entries:
        epoch = max(epoch, stamp.epoch) if record.offset > offset else stamp.epoch
        late += stamp.epoch < epoch
        offset = record.offset
    return late


def last_values(entries: Sequence[Entry]) -> dict[bytes, Entry]:
    return {entry.record.key: entry for entry in entries}


def count_of(entry: Entry) -> int:
    return int.from_bytes(entry.record.value[8:], "big")


def state_without_output(state: Sequence[Entry], outputs: set[tuple[bytes, bytes]]) -> list[bytes]:
    numbers = {(key, value[16:]) for key, value in outputs}
    return [entry.record.key for entry in state if (entry.record.key, entry.record.value[8:]) not in numbers]
