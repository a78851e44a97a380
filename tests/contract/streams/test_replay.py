"""A stage's state read from outside is what the stage has, on both drivers, while it runs and afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2

from schemas.errors import Misconfigured, Unavailable
from services.store import Store
from services.stream.log import CLAIM_KEY, SOURCE_EPOCH_KEY, Draft, Drafts, Kind, Stamp
from services.stream.replay import Remembered, replay
from services.stream.types import Message, Streams
from tests.contract.streams.running import port_of, running
from tests.contract.streams.tally import (
    PARTITIONS,
    STATE,
    EffectsSink,
    Names,
    append,
    messages,
    tally,
    wait_for_effects,
)


async def read(names: Names, store: Store) -> tuple[Remembered, list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    return await replay(names.url, store, None, names.state, lambda *at: told.append(at)), told


def counted(remembered: Remembered) -> dict[bytes, int]:
    """By key how many records the stage had of it; keys lie where the broker puts them."""
    found: dict[bytes, int] = {}
    for partition, state in enumerate(remembered.state):
        for key, value in state.items():
            assert remembered.partition_of(key) == partition == (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
            assert key not in (CLAIM_KEY, SOURCE_EPOCH_KEY)
            found[key] = STATE.unpack(value)[1]
    return found


async def test_it_is_what_the_stage_remembers(names: Names, store: Store, streams: Streams) -> None:
    sent = messages(3_000, 700)
    wanted: dict[bytes, int] = {}
    for message in sent:
        wanted[message.key] = wanted.get(message.key, 0) + 1
    placed = await append(streams, names.source, sent)
    async with running(streams, tally(names), EffectsSink(names, store)):
        await wait_for_effects(store, len(placed))
        while_it_runs, told = await read(names, store)
        assert counted(while_it_runs) == wanted
        assert told[-1][0] == told[-1][1] >= len(wanted)
        placed += await append(streams, names.source, [Message(sent[0].key, b"again")])
        await wait_for_effects(store, len(placed))
    afterwards, _ = await read(names, store)
    assert counted(afterwards) == wanted | {sent[0].key: wanted[sent[0].key] + 1}
    assert afterwards.epoch == while_it_runs.epoch > 0


async def test_what_a_worker_wrote_too_late_does_not_count(names: Names, store: Store, streams: Streams) -> None:
    async with running(streams, tally(names)) as (service,):
        port = port_of(service)
        late = [Draft(b"a", STATE.pack(1, 99), Stamp(1)), Draft(b"b", b"", Stamp(1))]
        drafts = [
            Draft(b"a", STATE.pack(1, 1), Stamp(5_000_000_000_000)),
            Draft(b"b", STATE.pack(1, 2), Stamp(5_000_000_000_000)),
            Draft(b"c", STATE.pack(1, 3), Stamp(5_000_000_000_000)),
            Draft(CLAIM_KEY, b"\x01", Stamp(5_000_000_000_001, Kind.CLAIM)),
            *late,
            Draft(b"c", b"", Stamp(5_000_000_000_001)),
        ]
        await port.write([Drafts(names.state.name, 2, drafts)])
    found, _ = await read(names, store)
    assert {key: STATE.unpack(value)[1] for key, value in found.state[2].items()} == {b"a": 1, b"b": 2}
    assert found.epoch == 5_000_000_000_001


async def test_a_topic_that_nothing_was_written_to_is_empty(names: Names, store: Store, streams: Streams) -> None:
    found, told = await read(names, store)
    assert (found.state, found.epoch, told) == ([{} for _ in range(PARTITIONS)], 0, [])


async def test_a_topic_that_is_not_there_is_an_error(names: Names, store: Store) -> None:
    with pytest.raises(Misconfigured, match=r"has no topic"):
        await read(names, store)


async def test_a_broker_that_is_not_there_is_an_error(tmp_path: Path, store: Store) -> None:
    with pytest.raises(Unavailable, match="no Kafka broker answers"):
        await read(Names("kafka://127.0.0.1:1", tmp_path, "nothing"), store)
