"""State, due keys, positions and epochs, across restarts and crashes, on both drivers, in memory and in RocksDB."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from schemas.errors import ItemRefused
from schemas.rejected import Rejected
from schemas.topics import REJECTED
from services.store import Store
from services.stream.log import CLAIM_KEY, Draft, Drafts, Kind, Stamp
from services.stream.types import (
    Chunk,
    Effects,
    Message,
    Output,
    Stage,
    Streams,
)
from tests.contract.streams.conftest import Start
from tests.contract.streams.reading import contents, records
from tests.contract.streams.running import port_of, running, until
from tests.contract.streams.tally import (
    OUTPUT,
    STATE,
    EffectsSink,
    Names,
    append,
    assert_exactly_once,
    messages,
    tally,
    wait_for_effects,
)
from tests.contract.streams.worker_process import KILLED


@pytest.fixture(params=["memory", "rocksdb"])
def kept(request: pytest.FixtureRequest) -> str:
    if request.param == "rocksdb":
        pytest.importorskip("rocksdict", reason="the package rocksdict is not installed (extra rocksdb)")
    return str(request.param)


async def test_a_stopped_worker_goes_on_where_it_was(names: Names, store: Store, streams: Streams) -> None:
    """The state is recovered, and what is done is not seen again."""
    placed = await append(streams, names.source, messages(3_000, 700))
    async with running(streams, tally(names), EffectsSink(names, store)):
        await wait_for_effects(store, len(placed))
    placed += await append(streams, names.source, messages(2_000, 700, start=3_000))
    async with running(streams, tally(names), EffectsSink(names, store)) as (stage, _):
        await wait_for_effects(store, len(placed))
        assert stage.stats.records_in == 2_000
        assert stage.stats.recovered_keys == 700
    assert_exactly_once(store, placed)


async def test_due_keys_and_ticks_need_no_records(names: Names, store: Store, streams: Streams) -> None:
    """A key is handed out when its time has come, once, and again only after its value was set; also after a
    restart. An idle partition is called once a second."""
    handed: list[tuple[bytes, int]] = []
    calls: list[int] = []

    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        calls.append(chunk.now_ms)
        handed.extend((key, chunk.now_ms) for key in chunk.due)
        changes: dict[bytes, bytes | None] = {record.key: record.value for record in chunk.records}
        for key in chunk.due:
            assert key in state
            changes[key] = b"never" if key == b"once" else None
        return Effects([], changes)

    def due_ms(value: bytes) -> int | None:
        return None if value == b"never" else int(value)

    stage = Stage(names.stage, names.source, names.state, (names.output,), step, due_ms, names.output)
    now = int(time.time() * 1000)
    later = now + 2_500
    await append(
        streams,
        names.source,
        [
            Message(b"at once", b"0"),
            Message(b"once", str(now + 700).encode()),
            Message(b"replaced", b"%d" % (now + 100_000)),
            Message(b"replaced", b"%d" % (now + 900)),
            Message(b"cleared", b"%d" % (now + 900)),
            Message(b"cleared", b"never"),
            Message(b"after the restart", b"%d" % later),
        ],
    )
    async with running(streams, stage):
        await until(lambda: {key for key, _ in handed} == {b"at once", b"once", b"replaced"})
        assert all(at >= now + (700 if key == b"once" else 900) for key, at in handed if key != b"at once")
        assert len(handed) == 3
    handed.clear()
    async with running(streams, stage):
        await until(lambda: bool(handed))
        assert [key for key, _ in handed] == [b"after the restart"]
        assert handed[0][1] >= later
        calls.clear()
        await asyncio.sleep(3.0)
        assert 4 * 2 <= len(calls) <= 4 * 5
    assert len(handed) == 1


async def test_a_due_key_that_fails_is_rejected_with_its_key(names: Names, store: Store, streams: Streams) -> None:
    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        if b"bad" in chunk.due:
            raise ItemRefused("test-due", "cannot be decided again")
        changes: dict[bytes, bytes | None] = {record.key: record.value for record in chunk.records}
        return Effects([], changes | dict.fromkeys(chunk.due))

    stage = Stage(names.stage, names.source, names.state, (names.output,), step, lambda v: 0, names.output)
    await append(streams, names.source, [Message(key, b"x") for key in (b"good", b"bad", b"fine")])
    async with running(streams, stage) as (service,):
        await until(lambda: service.stats.rejected == 1)
    await streams.stop()
    last = {e.record.key: e.record.value for e in await records(names, store, names.state)}
    assert (last[b"good"], last[b"fine"], last[b"bad"]) == (b"", b"", b"x")
    [one] = [
        rejected
        for e in await records(names, store, REJECTED)
        if (rejected := Rejected.from_bytes(e.record.value)).stage == names.stage
    ]
    assert one.code == "test-due"
    assert one.origin.startswith(names.state.name) and one.origin.endswith(b"bad".hex())
    assert one.origin_topic == "" and one.value == ""
    await streams.start()


async def test_a_sink_goes_on_where_its_database_says(names: Names, store: Store, streams: Streams) -> None:
    """Not where its group committed: a database from a backup gets again what it lacks."""
    placed = await append(streams, names.source, messages(1_000))
    async with running(streams, tally(names), EffectsSink(names, store)):
        await wait_for_effects(store, len(placed))
        await asyncio.sleep(1.2)  # the group's own commit
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM effects WHERE source_offset >= 100")
        connection.exec_driver_sql("DELETE FROM watermarks")
        connection.exec_driver_sql("UPDATE at SET last = 50")
    async with running(streams, EffectsSink(names, store, gapless=False)) as (service,):
        await wait_for_effects(store, len(placed))
        assert 0 < service.stats.records_in < 1_200
    assert_exactly_once(store, placed)


async def test_a_sink_that_is_ahead_of_the_log_begins_anew(
    names: Names, store: Store, streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    with store.engine.begin() as connection:
        for partition in range(4):
            connection.exec_driver_sql("INSERT INTO at VALUES (?, ?, 5, 1000000)", (names.output.name, partition))
    placed = await append(streams, names.source, messages(200))
    with caplog.at_level(logging.WARNING, "services.stream"):
        async with running(streams, tally(names), EffectsSink(names, store)):
            await wait_for_effects(store, len(placed))
    assert "outside of the log" in caplog.text
    assert_exactly_once(store, placed)


async def test_what_a_lower_epoch_writes_after_a_claim_is_ignored(
    names: Names, store: Store, streams: Streams
) -> None:
    """By sinks at once, by recovery ever after: it writes the good value again behind the late one."""

    placed = await append(streams, names.source, messages(400, 200))
    late = Stamp(1_000)
    key, (partition, _) = placed[0]
    other = next(k for k, (p, _) in placed if p == partition and k != key)
    stage, sink = tally(names), EffectsSink(names, store)
    async with running(streams, stage, sink) as (service, _):
        await wait_for_effects(store, len(placed))
        port = port_of(service)
        await port.write(
            [
                Drafts(
                    names.output.name,
                    partition,
                    [
                        Draft(key, OUTPUT.pack(partition, 99, 99), late),
                        Draft(b"", b"", Stamp(1_000, Kind.WATERMARK, 10**6)),
                        Draft(CLAIM_KEY, b"\x01", Stamp(1_000, Kind.CLAIM)),
                    ],
                ),
                Drafts(
                    names.state.name,
                    partition,
                    [
                        Draft(key, STATE.pack(99, 99), late),
                        Draft(other, b"", late),
                        Draft(b"a new key", STATE.pack(99, 99), late),
                    ],
                ),
            ]
        )
        placed += await append(streams, names.source, messages(400, 200))
        await wait_for_effects(store, len(placed))
    assert_exactly_once(store, placed)
    async with running(streams, stage, EffectsSink(names, store)):
        placed += await append(streams, names.source, messages(400, 200))
        await wait_for_effects(store, len(placed))
    assert_exactly_once(store, placed)
    await streams.stop()
    last = {e.record.key: e.record.value for e in await contents(names, store, names.state)}
    assert last[b"a new key"] == b""
    assert {STATE.unpack(v)[1] for k, v in last.items() if len(k) == 16} == {6}
    await streams.start()


@asynccontextmanager
async def opened(names: Names, store: Store) -> AsyncIterator[Streams]:
    """For as long as needed: on SQLite nobody else may have the log open meanwhile."""
    streams = names.streams(store)
    await streams.start()
    await streams.create_topics(names.topics)
    yield streams
    await streams.stop()


async def test_a_crash_leaves_no_state_but_the_changelog_s(names: Names, store: Store, start_worker: Start) -> None:
    """What a killed process left in its folders is not believed, and what it had not yet written is not missed."""
    async with opened(names, store) as streams:
        placed = await append(streams, names.source, messages(2_000, 500))
    crash = {"at": "transaction" if names.url == "sqlite:" else "state", "after": 3}
    assert await start_worker(names, crash=crash).ended() == KILLED
    left = list(names.folder.glob(f"state/{names.stage}-?"))
    assert bool(left) == (names.kept == "rocksdb")
    for folder in left:
        await asyncio.to_thread(_write_nonsense, folder)
    async with opened(names, store) as streams:
        placed += await append(streams, names.source, messages(1_000, 600))
        async with running(streams, tally(names), EffectsSink(names, store)):
            await wait_for_effects(store, len(placed))
    assert_exactly_once(store, placed)
    assert not list(names.folder.glob(f"state/{names.stage}-?"))


def _write_nonsense(folder: Path) -> None:
    """Counts for keys that there are and for keys still to come."""
    import rocksdict

    database = rocksdict.Rdict(str(folder), rocksdict.Options(raw_mode=True))
    for key, _ in messages(600):
        database[key] = STATE.pack(0, 99)
    database.close()


async def test_keys_of_any_length_are_kept(names: Names, store: Store, streams: Streams) -> None:
    """A fingerprint with something behind it, one byte, many; handed out when due, recovered, rejected, deleted."""
    fingerprint = bytes(range(16))
    keys = [b"\x00", b"k", fingerprint, fingerprint + b"\x00", fingerprint + b"page\xff", b"l" * 5_000]
    bad = fingerprint + b"bad"
    handed: list[bytes] = []

    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        if bad in chunk.due:
            raise ItemRefused("test-due", "cannot be decided again")
        handed.extend(key for key in chunk.due if state.get(key) == b"here")
        changes: dict[bytes, bytes | None] = {}
        for record in chunk.records:
            changes[record.key] = None if record.value == b"gone" else record.value
        return Effects([], changes)

    stage = Stage(names.stage, names.source, names.state, (names.output,), step, lambda v: 0, names.output)
    await append(streams, names.source, [Message(key, b"here") for key in (*keys, bad)])
    for _ in range(2):
        handed.clear()
        async with running(streams, stage) as (service,):
            await until(lambda: len(handed) == len(keys) and service.stats.rejected == 1)
        assert set(handed) == set(keys)
    assert service.stats.recovered_keys == len(keys) + 1
    await append(streams, names.source, [Message(key, b"gone") for key in (*keys, bad)])
    async with running(streams, stage) as (service,):
        await until(lambda: service.stats.records_in == len(keys) + 1)
    async with running(streams, stage) as (service,):
        await asyncio.sleep(0.5)
        assert service.stats.recovered_keys == 0
    await streams.stop()
    rejected = [Rejected.from_bytes(e.record.value) for e in await records(names, store, REJECTED)]
    assert {r.key_bytes for r in rejected if r.stage == names.stage} == {bad}
    await streams.start()


@pytest.mark.timeout(200)
async def test_a_million_keys_are_recovered(
    names: Names, store: Store, streams: Streams, capsys: pytest.CaptureFixture[str]
) -> None:

    count, seen = 1_000_000, set[int]()

    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        seen.add(chunk.partition)
        if chunk.records:
            assert all(state[(n * 4 + chunk.partition).to_bytes(16, "big")] for n in range(0, count // 4, 9_999))
        return Effects([Output(names.output.name, r.key, b"") for r in chunk.records], {})

    stage = Stage(names.stage, names.source, names.state, (names.output,), step, lambda v: None, names.output)
    port = port_of(streams.run(stage))
    if names.url != "sqlite:":
        await port.start()
    size = 5_000
    for start in range(0, count // 4, size):
        await port.write(
            [
                Drafts(
                    names.state.name,
                    p,
                    [
                        Draft((n * 4 + p).to_bytes(16, "big"), n.to_bytes(8, "big") * 8, Stamp(7))
                        for n in range(start, start + size)
                    ],
                )
                for p in range(4)
            ]
        )
    if names.url != "sqlite:":
        await port.stop()
    began = time.perf_counter()
    async with running(streams, stage) as (service,):
        await until(lambda: len(seen) == 4, seconds=60)
        seconds = time.perf_counter() - began
        assert service.stats.recovered_keys == count
        await append(streams, names.source, messages(100))
        await until(lambda: service.stats.records_out == 100)
        assert service.stats.rejected == 0
    with capsys.disabled():
        where = f"{names.url.partition(':')[0]}, {names.kept}"
        print(f"\n1,000,000 keys recovered in {seconds:.1f} s ({where})")
