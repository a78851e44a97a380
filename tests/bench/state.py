"""`python -m tests.bench state`: how long the core's state takes to come back, and what an item costs in memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, NamedTuple

import click
import orjson

from schemas.compact import expand, squeeze
from schemas.known import HEADER_BYTES
from schemas.topics import CLEARED, DECISIONS, KNOWN, PARTITIONS, REFERENCES, TOPICS
from services.data import load
from services.govern import campaign
from services.govern.askers import is_page
from services.govern.compile import compile_policy
from services.govern.settle import Rules
from services.hub import Directory
from services.migrate import upgrade
from services.pipeline import WINDOW_MS, core
from services.store import Store
from services.stream import now_ms
from services.stream.changelog import Changelog
from services.stream.log import Draft, Drafts, Stamp
from services.stream.sqlite import SqlitePort
from services.stream.sqlite_log import SqliteLog
from services.stream.state import MemoryState
from services.stream.types import Chunk, Message
from tests.bench import isolated, machine, report
from tests.bench.incoming import MADE_UP, Feeds, Shape
from tests.bench.partners import SOURCES, receivers, write_agreements
from tests.bench.processes import ROOT
from tests.bench.recovering import Recovered
from tests.bench.report import Figure
from tests.bench.shapes import real_shapes

MAX_SECONDS, MAX_BYTES = 60.0, 1_000
"""The bars, for a million items."""
PARTNERS = 50
REPORTS, SLICE = 20_000, 1_000
OUT = ROOT / "bench-out"


class Values(NamedTuple):
    """Values of the core's state, as its changelog has them, `per_item` for each item, and means over them."""

    values: Sequence[bytes]
    per_item: float
    json_bytes: float
    value_bytes: float
    live: float
    squeeze_us: float
    expand_us: float


class Measured(NamedTuple):
    """A process that took nothing over, and one that took all."""

    idle: Recovered
    full: Recovered


@click.command
@click.option(
    "--items", default=1_000_000, show_default=True, type=click.IntRange(1_000), help="Items that are known."
)
@click.option(
    "--sources",
    default=2,
    show_default=True,
    type=click.IntRange(1, len(SOURCES)),
    help="How many say each item; with more of them there are more copies of it.",
)
@click.option("--made-up", is_flag=True, help="Made-up shapes even where the public feeds are there.")
def state(items: int, sources: int, made_up: bool) -> None:
    """Measure how the core's state comes back after a restart, in memory and in RocksDB.

    Example: make bench ARGS="state --items 100000"
    """
    facts = machine.facts(ROOT)
    shapes = MADE_UP if made_up else real_shapes() or MADE_UP
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        folder, empty = Path(name, "full"), Path(name, "empty")
        write_agreements(Path(name, "agreements"), receivers(PARTNERS))
        click.echo(f"the core decides {REPORTS:,} reports for {PARTNERS} partners", err=True)
        folder.mkdir()
        empty.mkdir()
        made = asyncio.run(_fill(folder, shapes, sources, items))
        asyncio.run(_fill(empty, shapes, sources, 0))
        log_bytes = (folder / "tocsin.db").stat().st_size
        measured = {}
        for kept in ("memory", "rocksdb"):
            click.echo(f"a new process takes over, state in {kept}", err=True)
            keys = round(items * made.per_item)
            measured[kept] = Measured(_recover(empty, kept, 0), _recover(folder, kept, keys))
    figures = _of_values(made, log_bytes / items)
    problems = []
    for kept, one in measured.items():
        figures += _of_recovery(kept, one, items)
        if one.full.keys != keys or one.full.decided:
            problems.append(f"{kept}: {one.full.keys:,} keys recovered, {one.full.decided:,} decided again")
    settings = {
        "bench": "state",
        "items": items,
        "partners": PARTNERS,
        "sources": sources,
        "shapes": "made up" if shapes is MADE_UP else "public feeds",
    }
    _finish(figures, problems, facts, settings)


# -- what lies in the changelog -----------------------------------------------------------------------------


async def _fill(folder: Path, shapes: Sequence[Shape], sources: int, items: int) -> Values:
    """A database whose changelog holds `items`, written as a worker of the core writes it."""
    store = Store(f"sqlite:///{folder / 'tocsin.db'}")
    upgrade(store.engine)
    log = SqliteLog(store)
    await log.open()
    try:
        await log.create(TOPICS)
        partners = isolated.introduced(store, folder.parent / "agreements")
        made = _values(_decided(partners, shapes, sources))
        await _write(SqlitePort(log, "tocsin.core"), made.values, round(items * made.per_item))
    finally:
        await log.close()
        store.close()
    return made


def _decided(partners: Directory, shapes: Sequence[Shape], sources: int) -> list[bytes]:
    """The core's state behind REPORTS of generated bundles, each of which several sources send: items, and the
    campaigns to which they might belong."""
    now = now_ms()
    bundles = [
        bundle._replace(source=SOURCES[(SOURCES.index(bundle.source) + other) % len(SOURCES)])
        for bundle in Feeds(shapes, now).bundles(REPORTS // sources)
        for other in range(sources)
    ]
    packed, _, _ = isolated.accept(partners.agreements, bundles, now)
    stage = core(Rules(compile_policy(partners), load(None), bytes(32)))
    kept = [MemoryState() for _ in range(PARTITIONS)]

    def step(chunk: Chunk) -> list[Message]:
        effects = stage.step(chunk, kept[chunk.partition].view)
        kept[chunk.partition].change(effects.changes)
        return [Message(o.key, o.value) for o in effects.outputs if o.topic == REFERENCES.name]

    messages = isolated.messages_of(packed)
    while messages:  # and the letters that items write each other
        chunks = [
            Chunk(partition, records[start : start + isolated.SLICE], (), now, 1)
            for partition, records in enumerate(isolated.by_partition(messages, now))
            for start in range(0, len(records), isolated.SLICE)
        ]
        messages = [letter for chunk in chunks for letter in step(chunk)]
    later = now + WINDOW_MS  # nothing is left that waits
    for partition, state in enumerate(kept):
        due = [key for key, value in state.view.items() if (at := stage.due_ms(value)) is not None and at <= later]
        step(Chunk(partition, (), due, later, 1))
    return [value for state in kept for value in state.view.values() if not is_page(value)]


def _values(decided: Sequence[bytes]) -> Values:
    documents = [expand(value[HEADER_BYTES:]) for value in decided]
    squeezed, squeeze_us = _timed(squeeze, documents)
    _, expand_us = _timed(expand, squeezed)
    values = [value[:HEADER_BYTES] + body for value, body in zip(decided, squeezed, strict=True)]
    items = sum(orjson.loads(document)["kind"] != campaign.KIND for document in documents)
    return Values(
        values=values,
        per_item=len(values) / items,
        json_bytes=fmean(map(len, documents)),
        value_bytes=fmean(map(len, values)),
        live=fmean(len(orjson.loads(document)["sent"]["live"]) for document in documents),
        squeeze_us=squeeze_us,
        expand_us=expand_us,
    )


def _timed(work: Callable[[bytes], bytes], inputs: Sequence[bytes]) -> tuple[list[bytes], float]:
    """The results, and µs for each."""
    began = time.process_time()
    results = [work(one) for one in inputs]
    return results, (time.process_time() - began) / len(inputs) * 1e6


async def _write(port: SqlitePort, values: Sequence[bytes], count: int) -> None:
    """Each value as often as it takes, under another fingerprint each time: none is packed together with another,
    in the log, in memory or in RocksDB, so an equal one comes no cheaper."""
    random = Random(1)
    outputs = sorted((CLEARED.name, DECISIONS.name))
    changelogs = [Changelog(port, KNOWN.name, partition, outputs) for partition in range(PARTITIONS)]
    for changelog in changelogs:
        await changelog.take_over(now_ms, MemoryState())
    for start in range(0, count, SLICE * PARTITIONS):
        slices: list[list[Draft]] = [[] for _ in changelogs]
        for number in range(start, min(count, start + SLICE * PARTITIONS)):
            key = random.randbytes(16)
            partition = isolated.partition_of(key)
            stamp = Stamp(changelogs[partition].epoch)
            slices[partition].append(Draft(key, values[number % len(values)], stamp))
        changes = [Drafts(KNOWN.name, partition, drafts) for partition, drafts in enumerate(slices) if drafts]
        await asyncio.gather(*(port.settle([], [one], None) for one in changes))


# -- what it takes to take it over --------------------------------------------------------------------------


def _recover(folder: Path, kept: str, items: int) -> Recovered:
    """In a process of its own."""
    given = {
        "folder": str(folder),
        "agreements": str(folder.parent / "agreements"),
        "kept": kept,
        "items": items,
    }
    command = [sys.executable, "-m", "tests.bench.recovering", json.dumps(given)]
    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Recovered(**json.loads(printed))


def _of_values(made: Values, log_bytes: float) -> list[Figure]:
    return [
        Figure("values.per_item", made.per_item, "values/item", "state values", "campaigns have their own"),
        Figure("values.json_bytes", made.json_bytes, "B/value", "JSON of what is known", f"{made.live:.1f} copies"),
        Figure(
            "values.bytes",
            made.value_bytes,
            "B/value",
            "state value",
            f"{made.value_bytes / made.json_bytes:.0%} of the JSON",
        ),
        Figure("values.squeeze_us", made.squeeze_us, "µs CPU", "  to squeeze"),
        Figure("values.expand_us", made.expand_us, "µs CPU", "  to expand"),
        Figure("values.log_bytes", log_bytes, "B/item", "on disk, the embedded log"),
    ]


def _of_recovery(kept: str, one: Measured, items: int) -> list[Figure]:
    idle, full = one
    rss = (full.rss_bytes - idle.rss_bytes) / items
    files = (full.file_bytes - idle.file_bytes) / items
    figures = [
        Figure(
            f"{kept}.recovery_seconds",
            full.seconds,
            "s",
            f"{kept}: recovered",
            f"{items / full.seconds:,.0f} items/s; {full.seconds / MAX_SECONDS:.0%} of the {MAX_SECONDS:.0f} s"
            " that a million may take",
        ),
        Figure(f"{kept}.recovery_cpu_us", full.cpu_seconds / items * 1e6, "µs CPU/item", "  CPU"),
        Figure(
            f"{kept}.rss_bytes",
            rss,
            "B/item",
            f"{kept}: memory (RSS)",
            f"{rss / MAX_BYTES:.0%} of the {MAX_BYTES:,} B that an item may cost",
        ),
        Figure(f"{kept}.file_bytes", files, "B/item", "  of it pages of files", "may be dropped by the system"),
        Figure(f"{kept}.peak_bytes", (full.peak_bytes - idle.peak_bytes) / items, "B/item", "  at most, meanwhile"),
        Figure(f"{kept}.idle_mib", idle.rss_bytes / 2**20, "MiB", "  taken off: without items"),
    ]
    if full.disk_bytes:
        figures.append(Figure(f"{kept}.disk_bytes", full.disk_bytes / items, "B/item", "  on disk"))
    return figures


def _finish(
    figures: Sequence[Figure], problems: Sequence[str], facts: dict[str, Any], settings: dict[str, Any]
) -> None:
    at = datetime.now(UTC)
    document = report.document(
        at=at.isoformat(timespec="seconds"), machine=facts, settings=settings, figures=figures, problems=problems
    )
    OUT.mkdir(exist_ok=True)
    file = OUT / f"bench-{at:%Y%m%d-%H%M%S}-state.json"
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    click.echo(
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Python {facts['python']}; "
        f"{settings['items']:,} items of {settings['sources']} sources, {settings['partners']} partners, "
        f"shapes: {settings['shapes']}\n"
    )
    click.echo(report.table(figures))
    command = f'make bench ARGS="state --items {settings["items"]} --sources {settings["sources"]}"'
    click.echo(f"\n{command}; kept in {file.relative_to(ROOT)}")
    for problem in problems:
        click.echo(f"worth nothing: {problem}", err=True)
    if problems:
        sys.exit(1)
