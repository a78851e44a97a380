"""What each stage costs by itself: its pure part called in this process, on the same input."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple, TypeVar

import orjson
from aiokafka.partitioner import murmur2

from schemas.agreement import Agreement, Rulebook
from schemas.report import Report, with_seq
from schemas.topics import CLEARED, DECISIONS, PARTITIONS, REPORTS, TOPICS
from services.accept import formats
from services.accept.framing import unpack
from services.accept.names import Origin
from services.accept.packing import prepare
from services.data import load
from services.directory import numbered, read_agreements, read_policy_file
from services.govern.compile import compile_policy
from services.govern.settle import Rules
from services.hub import Directory, Hub
from services.migrate import upgrade
from services.pipeline import core
from services.settings import Settings
from services.share import feeds
from services.share.agent import ShareSink
from services.store import Store
from services.stream import open_streams
from services.stream.types import Batch, Chunk, Message, Output, Position, Record
from services.witness.agent import WitnessSink
from tests.bench.incoming import Bundle

ROOT = Path(__file__).resolve().parents[2]
SLICE = 100
MAX_BODY_BYTES = 16 * 1024 * 1024
SECRET = bytes(32)

Outputs = dict[str, list[list[Output]]]
"""The outputs of each slice by topic."""


T = TypeVar("T")


class Cost(NamedTuple):
    """µs per indicator that was sent: of CPU, and on the wall clock (more, where a disk is waited for)."""

    cpu_us: float
    wall_us: float


class Costs(NamedTuple):
    """Of each stage, and of the ceilings: what the libraries underneath take for the same bytes."""

    stages: dict[str, Cost]
    ceilings: dict[str, Cost]


class _Meter:
    """Adds up what is spent inside `running`."""

    def __init__(self) -> None:
        self._cpu = self._wall = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self._cpu += time.process_time() - cpu
        self._wall += time.perf_counter() - wall

    def cost(self, items: int) -> Cost:
        return Cost(self._cpu / items * 1e6, self._wall / items * 1e6)


def measure(folder: Path, agreements: Path, bundles: Sequence[Bundle], now_ms: int) -> Costs:
    """Runs the bundles through every stage in turn, without HTTP, threads and log. `folder` is for databases."""
    folder.mkdir()
    gc.collect()
    items = sum(bundle.size for bundle in bundles)
    store = Store(f"sqlite:///{folder / 'stages.db'}")
    try:
        upgrade(store.engine)
        partners = introduced(store, agreements)
        hub = Hub(Settings(data=folder, agreements=agreements), store, SECRET, partners)
        stages: dict[str, Cost] = {}
        packed, stages["accept.read"], stages["accept.pack"] = accept(partners.agreements, bundles, now_ms)
        messages = messages_of(packed)
        stages["relay.append"] = asyncio.run(_append(folder, messages))
        outputs, stages["core"] = _core(partners, messages, now_ms)
        cleared = [slice_ for slice_ in outputs[CLEARED.name] if slice_]
        stages["share.decode"], stages["share.apply"] = _share(hub, cleared)
        stages["witness"] = asyncio.run(_witness(hub, outputs[DECISIONS.name]))
    finally:
        store.close()
    values = [value for _, value in messages]
    ceilings = {
        "orjson": _each(lambda bundle: orjson.dumps(orjson.loads(bundle.body)), bundles, items),
        "pydantic": _each(Report.from_bytes, values, items),
        "sqlite": _sqlite(folder / "ceiling.db", messages),
    }
    return Costs(stages, ceilings)


def introduced(store: Store, agreements: Path) -> Directory:
    """The partners, numbered in the store."""
    with store.engine.begin() as connection:
        rules = Rulebook(read_agreements(agreements), read_policy_file(ROOT / "deploy" / "policy.toml"))
        return numbered(connection, rules)


def accept(
    agreements: Mapping[str, Agreement], bundles: Sequence[Bundle], now_ms: int
) -> tuple[list[bytes], Cost, Cost]:
    reading, packing = _Meter(), _Meter()
    packed: list[bytes] = []
    for number, bundle in enumerate(bundles):
        agreement = agreements[bundle.source.id]
        with reading.running():
            read = formats.read(bundle.body, "application/json", "", agreement, now_ms, MAX_BODY_BYTES)
        with packing.running():
            packed.append(prepare(read, Origin(f"bench-{number}", agreement.id, now_ms), SECRET).messages)
    items = sum(bundle.size for bundle in bundles)
    return packed, reading.cost(items), packing.cost(items)


def messages_of(packed: Sequence[bytes]) -> list[Message]:
    """What the relay would append of it, in order."""
    return [
        Message(parcel.key, with_seq(parcel.value, seq))
        for seq, messages in enumerate(packed, 1)
        for parcel in unpack(messages)
    ]


async def _append(folder: Path, messages: Sequence[Message]) -> Cost:
    store = Store(f"sqlite:///{folder / 'log.db'}")
    streams = open_streams("sqlite:", store)
    await streams.start()
    await streams.create_topics(TOPICS)
    meter = _Meter()
    try:
        with meter.running():
            for start in range(0, len(messages), 1_000):
                await streams.append(REPORTS, messages[start : start + 1_000])
    finally:
        await streams.stop()
        store.close()
    return meter.cost(len(messages))


def _core(partners: Directory, messages: Sequence[Message], now_ms: int) -> tuple[Outputs, Cost]:
    stage = core(Rules(compile_policy(partners), load(None), SECRET))
    meter = _Meter()
    outputs: Outputs = {CLEARED.name: [], DECISIONS.name: []}
    for partition, records in enumerate(by_partition(messages, now_ms)):
        state: dict[bytes, bytes] = {}
        for start in range(0, len(records), SLICE):
            chunk = Chunk(partition, records[start : start + SLICE], (), now_ms, 1)
            with meter.running():
                effects = stage.step(chunk, state)
                for changed in effects.changes.values():
                    if changed:
                        stage.due_ms(changed)
            state.update((key, value) for key, value in effects.changes.items() if value)
            for topic, slices in outputs.items():
                slices.append([output for output in effects.outputs if output.topic == topic])
    return outputs, meter.cost(len(messages))


def partition_of(key: bytes) -> int:
    return int(murmur2(key) & 0x7FFFFFFF) % PARTITIONS


def by_partition(messages: Sequence[Message], now_ms: int) -> list[list[Record]]:
    """The records of each partition."""
    partitions: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for key, value in messages:
        records = partitions[partition_of(key)]
        records.append(Record(key, value, len(records), now_ms))
    return partitions


def _share(hub: Hub, slices: Sequence[Sequence[Output]]) -> tuple[Cost, Cost]:
    """Per record of tocsin.cleared that came of it, which are fewer than reports: a repetition makes none."""
    sink = ShareSink(hub)
    decoding, applying = _Meter(), _Meter()
    random = SystemRandom()
    for outputs in slices:
        with decoding.running():
            entries = [sink.decode(CLEARED.name, Record(key, value, 0, 0)) for _, key, value in outputs]
        with applying.running(), hub.store.engine.begin() as connection:
            feeds.apply(connection, entries, time.time_ns() // 1_000, random)
    count = sum(map(len, slices))
    return decoding.cost(count), applying.cost(count)


async def _witness(hub: Hub, slices: Sequence[Sequence[Output]]) -> Cost:
    """Per decision."""
    sink = WitnessSink(hub)
    meter = _Meter()
    with meter.running():
        for number, outputs in enumerate(slices):
            records = [(key, sink.decode(DECISIONS.name, Record(key, value, 0, 0))) for _, key, value in outputs]
            await sink.apply(Batch(DECISIONS.name, 0, records, Position(1, number), None))
    return meter.cost(sum(map(len, slices)))


def _each(work: Callable[[T], object], inputs: Sequence[T], items: int) -> Cost:
    meter = _Meter()
    with meter.running():
        for one in inputs:
            work(one)
    return meter.cost(items)


def _sqlite(file: Path, messages: Sequence[Message]) -> Cost:
    """Bare durable appends: the same records, a thousand in a transaction."""
    meter = _Meter()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, key BLOB, value BLOB)")
        with meter.running():
            for start in range(0, len(messages), 1_000):
                connection.execute("BEGIN IMMEDIATE")
                rows = messages[start : start + 1_000]
                connection.executemany("INSERT INTO records (key, value) VALUES (?, ?)", rows)
                connection.execute("COMMIT")
    return meter.cost(len(messages))
