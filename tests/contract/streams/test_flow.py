"""What a stage and a sink can count on while nothing crashes, on both drivers."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from aiokafka.partitioner import murmur2

from schemas.rejected import Rejected
from schemas.topics import REJECTED
from services.store import Store
from services.stream.log import Kind
from services.stream.types import (
    MAX_VALUE_BYTES,
    Chunk,
    Effects,
    Message,
    Output,
    Stage,
    Streams,
)
from tests.contract.streams.reading import contents, records
from tests.contract.streams.running import Collector, running, until
from tests.contract.streams.tally import (
    POISON,
    UNREADABLE,
    EffectsSink,
    Names,
    append,
    assert_exactly_once,
    messages,
    tally,
    wait_for_effects,
)


async def test_each_record_once_and_in_order(names: Names, store: Store, streams: Streams) -> None:
    async with running(streams, tally(names), EffectsSink(names, store)):
        placed = await append(streams, names.source, messages(20_000, 3_000))
        await wait_for_effects(store, len(placed))
    assert_exactly_once(store, placed)


async def test_append_places_keys_as_kafka_clients_do(names: Names, store: Store, streams: Streams) -> None:
    some = messages(1_000, 100)
    placed = await append(streams, names.source, some)
    assert [partition for _, (partition, _) in placed] == [
        (murmur2(message.key) & 0x7FFFFFFF) % 4 for message in some
    ]
    for partition in range(4):
        assert [o for _, (p, o) in placed if p == partition] == list(
            range(sum(p == partition for _, (p, _) in placed))
        )
    await streams.stop()
    found = {(e.record.key, e.record.value) for e in await contents(names, store, names.source)}
    assert found == {(message.key, message.value) for message in some}
    await streams.start()


async def test_poison_is_rejected_and_the_stream_goes_on(names: Names, store: Store, streams: Streams) -> None:
    """In the step and in `decode`, alone and in crowds, at the edges of a slice."""
    await streams.stop()
    before = {e.record.key for e in await records(names, store, REJECTED)}
    await streams.start()
    bad = {0: POISON, 1: POISON, 500: UNREADABLE, 501: POISON, 777: b"crash", 998: UNREADABLE, 999: POISON}
    some = [m._replace(value=bad.get(i, m.value)) for i, m in enumerate(messages(1_000))]
    stage = tally(names)

    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        if any(record.value == b"crash" for record in chunk.records):
            raise KeyError("secret " * 100)
        return stage.step(chunk, state)

    placed = await append(streams, names.source, some)
    sink = EffectsSink(names, store, gapless=False)
    tested = Stage(stage.name, stage.source, stage.state, stage.outputs, step, stage.due_ms, stage.watermark)
    async with running(streams, tested, sink) as services:
        await wait_for_effects(store, len(placed) - len(bad))
        await until(lambda: sum(service.stats.rejected for service in services) == len(bad))
    assert_exactly_once(store, [one for i, one in enumerate(placed) if i not in bad])
    await streams.stop()
    found = [
        Rejected.from_bytes(e.record.value)
        for e in await records(names, store, REJECTED)
        if e.record.key not in before
    ]
    await streams.start()
    assert len(found) == len({one.id for one in found}) == len(bad)
    by_origin = {one.origin: one for one in found if one.stage == names.stage}
    for i, value in bad.items():
        partition, offset = placed[i][1]
        if value == UNREADABLE:
            continue
        one = by_origin[f"{names.source.name}/{partition}/{offset}"]
        assert one.code == ("test-poison" if value == POISON else "unexpected-KeyError")
        assert one.origin_topic == names.source.name
        assert (one.key_bytes, one.value_bytes) == (some[i].key, value)
        assert len(one.reason) <= 200
        assert one.where == ("/value" if value == POISON else "")
    unreadable = [one for one in found if one.stage == names.sink]
    assert [one.code for one in unreadable] == ["test-unreadable"] * 2
    assert all(one.origin.startswith(f"{names.output.name}/") for one in unreadable)
    assert {b64decode(one.value) for one in unreadable} == {UNREADABLE}


async def test_a_result_that_is_too_large_rejects_its_record(names: Names, store: Store, streams: Streams) -> None:
    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        return Effects([Output(names.output.name, r.key, b"x" * int(r.value)) for r in chunk.records], {})

    stage = Stage(names.stage, names.source, names.state, (names.output,), step, lambda v: None, names.output)
    collector = Collector(names.sink, names.output)
    sizes = [10, MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1, 20, 2_000_000, 2_000_000]
    some = [Message(b"key", str(size).encode()) for size in sizes]
    await append(streams, names.source, some)
    async with running(streams, stage, collector) as (service, _):
        await until(lambda: len(collector.got) == 5)
        await until(lambda: service.stats.rejected == 1)  # counted when all of the chunk is through
    assert [len(value) for *_, value in collector.got] == [size for size in sizes if size <= MAX_VALUE_BYTES]


async def test_watermarks_stand_behind_what_they_cover(names: Names, store: Store, streams: Streams) -> None:
    placed = await append(streams, names.source, messages(3_000, 50))
    async with running(streams, tally(names), EffectsSink(names, store)):
        await wait_for_effects(store, len(placed))
    await streams.stop()
    there: dict[int, int] = dict.fromkeys(range(4), -1)
    partition_of = {key: partition for key, (partition, _) in placed}
    last = -1
    current = 0
    for entry in await contents(names, store, names.output):
        if entry.stamp.kind is Kind.RECORD:
            current = partition_of[entry.record.key]
            there[current] += 1
            last = int.from_bytes(entry.record.value[8:16], "big")
        elif entry.stamp.kind is Kind.WATERMARK:
            assert entry.stamp.mark == last == there[current]
    ends = {p: max(o for _, (q, o) in placed if q == p) for p in partition_of.values()}
    assert {p: n for p, n in there.items() if n >= 0} == ends
    await streams.start()


async def test_a_slow_step_leaves_room_for_others_in_the_loop(names: Names, store: Store, streams: Streams) -> None:
    """4 partitions of records that cost 1 ms each take turns of 20 ms, one in each round of the loop."""
    await append(streams, names.source, messages(2_000))
    waits: list[float] = []
    async with running(streams, tally(names, seconds_per_record=0.001)) as (service,):
        await until(lambda: service.stats.records_in > 200)
        while service.stats.records_in < 1_800:
            began = time.perf_counter()
            await asyncio.sleep(0)
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)
    assert median(waits) < 0.06  # a yield lasts two turns: what is left of this round of the loop, and the next


async def test_one_step_in_each_round_of_the_loop(names: Names, store: Store, streams: Streams) -> None:
    loop, tested = asyncio.get_running_loop(), tally(names)
    steps, most, over = 0, 0, False

    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        nonlocal steps
        steps += 1
        return tested.step(chunk, state)

    def each_round() -> None:
        nonlocal steps, most
        steps, most = 0, max(most, steps)
        if not over:
            loop.call_soon(each_round)

    each_round()
    stage = Stage(names.stage, names.source, names.state, tested.outputs, step, tested.due_ms, names.output)
    async with running(streams, stage) as (service,):
        for start in range(0, 2_000, 100):
            await append(streams, names.source, messages(100, start=start))
        await until(lambda: service.stats.records_in == 2_000)
    over = True
    assert most <= 2, "rounds are counted from the middle of one to the middle of the next"


async def test_the_lag_of_every_group_is_known(names: Names, store: Store, streams: Streams) -> None:
    placed = await append(streams, names.source, messages(1_000))
    group = f"tocsin.{names.stage}"
    async with running(streams, tally(names)) as (service,):
        await until(lambda: service.stats.records_in == 1_000)
    assert {lag.behind for lag in await streams.lag() if lag.group == group} == {0}
    placed += await append(streams, names.source, messages(1_000, start=1_000))
    behind = {lag.partition: lag.behind for lag in await streams.lag() if lag.group == group}
    wanted = {p: sum(q == p for _, (q, _) in placed[1_000:]) for p in range(4)}
    assert behind == wanted
    assert {lag.topic for lag in await streams.lag() if lag.group == group} == {names.source.name}


def _marking(names: Names, mark: bytes) -> Stage:
    """A stage that marks each key it meets; a key with another mark is due at once."""

    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        keys = [record.key for record in chunk.records] + list(chunk.due)
        changes: dict[bytes, bytes | None] = dict.fromkeys(keys, mark)
        return Effects([Output(names.output.name, key, mark) for key in keys], changes)

    return replace(tally(names), step=step, due_ms=lambda value: None if value == mark else 0)


async def test_other_rules_take_effect_without_a_restart(names: Names, store: Store, streams: Streams) -> None:
    collected = Collector(names.sink, names.output)
    async with running(streams, _marking(names, b"old"), collected) as (service, _):
        await append(streams, names.source, messages(400, 300))
        await until(lambda: len(collected.got) == 400)
        service.renew(_marking(names, b"new"))
        await until(lambda: len(collected.got) == 700)
        more = await append(streams, names.source, messages(10, 10, start=400))
        await until(lambda: len(collected.got) == 700 + len(more))
    assert Counter(value for *_, value in collected.got) == {b"old": 400, b"new": 310}
