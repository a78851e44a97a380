"""The runner of a stage in memory: order of time, the post between partitions, and that it comes to an end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from schemas.errors import TocsinError
from schemas.topics import CLEARED, DECISIONS, KNOWN, PARTITIONS, REFERENCES, REPORTS
from services.rehearsal import MAX_ROUNDS, SLICE, Rehearsal
from services.stream.types import Chunk, Effects, Output, Stage


def stage(step: Callable[[Chunk, Mapping[bytes, bytes]], Effects]) -> Stage:
    """State values are the time at which they are due; 0 means never."""
    return Stage(
        name="made-up",
        source=REPORTS,
        state=KNOWN,
        outputs=(CLEARED, DECISIONS, REFERENCES),
        step=step,
        due_ms=lambda value: int(value) or None,
        watermark=CLEARED,
    )


def key(partition: int, number: int = 0) -> bytes:
    return bytes([partition]) + b"\x08" * number


def test_letters_go_to_the_partition_of_their_key_until_there_are_none() -> None:
    seen: list[tuple[int, bytes, bytes]] = []

    def pass_on(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        outputs = []
        for record in chunk.records:
            seen.append((chunk.partition, record.key, record.value))
            if left := int(record.value):
                outputs.append(Output(REFERENCES.name, key(left), str(left - 1).encode()))
        return Effects(outputs, {})

    rehearsal = Rehearsal(stage(pass_on), now_ms=0)
    rehearsal.work([(key(7), b"3")])
    assert seen == [(7, key(7), b"3"), (3, key(3), b"2"), (2, key(2), b"1"), (1, key(1), b"0")]
    assert rehearsal.letters == 3


def test_it_keeps_the_last_of_what_is_said_of_each_item() -> None:
    def say(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        return Effects(
            [Output(topic, r.key, r.value) for r in chunk.records for topic in (CLEARED.name, DECISIONS.name)], {}
        )

    rehearsal = Rehearsal(stage(say), now_ms=0)
    rehearsal.work([(key(1), b"a"), (key(2), b"b"), (key(1), b"c")])
    assert rehearsal.cleared == rehearsal.decisions == {key(1): b"c", key(2): b"b"}
    assert rehearsal.versions == 3


def test_time_passes_in_its_order_and_what_is_due_is_visited_once() -> None:
    visited: list[tuple[int, bytes]] = []

    def visit(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        visited.extend((chunk.now_ms, each) for each in chunk.due)
        again = dict.fromkeys(chunk.due, b"0" if chunk.now_ms >= 30 else b"30")
        return Effects([], again | {record.key: record.value for record in chunk.records})

    rehearsal = Rehearsal(stage(visit), now_ms=5)
    rehearsal.work([(key(3), b"20"), (key(1), b"10"), (key(2), b"0"), (key(4), b"40"), (key(1, 1), b"3")])
    rehearsal.pass_time(0)
    assert visited == [(5, key(1, 1))], "only what is due"
    rehearsal.pass_time(30)
    assert visited[1:] == [(10, key(1)), (20, key(3)), *((30, each) for each in (key(1), key(1, 1), key(3)))]
    assert rehearsal.now_ms == 35
    rehearsal.pass_time(100)
    assert visited[6:] == [(40, key(4))], "what was set to never is not due any more"


def test_keys_are_visited_where_they_lie_and_in_slices() -> None:
    chunks: list[tuple[int, int]] = []

    def count(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        chunks.append((chunk.partition, len(chunk.due)))
        return Effects([], {})

    rehearsal = Rehearsal(stage(count), now_ms=0)
    keys = [n.to_bytes(4, "big") for n in range(SLICE + 1)]
    for each in keys:
        rehearsal.put(key(5), each, b"0")
    rehearsal.decide([*keys, b"unknown"])
    assert chunks == [(5, SLICE), (5, 1)]
    assert len(rehearsal.state) == PARTITIONS


def test_what_never_comes_to_rest_is_an_error() -> None:
    def for_ever(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        return Effects([Output(REFERENCES.name, record.key, b"again") for record in chunk.records], {})

    rehearsal = Rehearsal(stage(for_ever), now_ms=0)
    with pytest.raises(TocsinError) as caught:
        rehearsal.work([(key(1), b"")])
    assert (caught.value.code, rehearsal.letters) == ("not-at-rest", MAX_ROUNDS)


def test_what_is_always_due_is_an_error() -> None:
    def now(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        return Effects([], dict.fromkeys((*(r.key for r in chunk.records), *chunk.due), b"1"))

    rehearsal = Rehearsal(stage(now), now_ms=9)
    rehearsal.work([(key(1), b"")])
    with pytest.raises(TocsinError):
        rehearsal.pass_time(0)
