"""`python -m tests.bench`: measures the hub, prints a table, leaves the figures in bench-out/."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import click
import orjson

from tests.bench import isolated, machine, report
from tests.bench.completeness import wrong_feeds
from tests.bench.deciding import deciding
from tests.bench.incoming import MADE_UP, Feeds, Shape
from tests.bench.isolated import Costs
from tests.bench.load import Client, Rate, Submitted, full_load, open_load, singles
from tests.bench.paging import paging
from tests.bench.partners import SOURCES, Receiver, receivers, write_agreements
from tests.bench.processes import ROOT, RunningHub, running_hub
from tests.bench.report import Figure, percentile, weighted_percentile
from tests.bench.servers import broker_settings, database_settings
from tests.bench.shapes import real_shapes
from tests.bench.state import state

OUT = ROOT / "bench-out"
WARM_UP = 500
QUIET_SECONDS, LOOK_SECONDS = 30, 0.5


@dataclass(frozen=True)
class Plan:
    """How much is measured. `latency_seconds` is how long the open load lasts."""

    items: int
    partners: int
    latency_seconds: float
    singles: int
    isolated_items: int


class Measured(NamedTuple):
    """What a running hub showed. CPU in µs for an indicator, of all its processes and of the bench itself.

    `other_cores` is how many cores were busy with anything else, the servers that we use included.
    """

    rate: Rate
    per_second: float
    hub_cpu_us: dict[str, float]
    bench_cpu_us: float
    other_cores: float
    half_load: list[Submitted]
    singles: list[Submitted]
    peak_bytes: int
    read_objects: int
    read_seconds: float
    problems: list[str]


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--items", default=20_000, show_default=True, type=click.IntRange(100), help="Indicators at full load."
)
@click.option("--partners", default=10, show_default=True, type=click.IntRange(1, 10_000), help="Who receives.")
@click.option("--broker", default="embedded", show_default=True, type=click.Choice(["embedded", "kafka"]))
@click.option("--database", default="sqlite", show_default=True, type=click.Choice(["sqlite", "postgres"]))
@click.option("--quick", is_flag=True, help="A smoke run of a few seconds; its figures say little.")
@click.option("--made-up", is_flag=True, help="Made-up shapes even where the public feeds are there.")
@click.pass_context
def bench(
    context: click.Context, items: int, partners: int, broker: str, database: str, quick: bool, made_up: bool
) -> None:
    """Measure speed, latency and memory of the hub on this machine.

    Example: make bench ARGS="--items 50000 --broker kafka"
    """
    if context.invoked_subcommand:
        return
    plan = Plan(1_000, partners, 2, 10, 500) if quick else Plan(items, partners, 20, 100, min(items, 10_000))
    facts = machine.facts(ROOT)
    shapes = MADE_UP if made_up else real_shapes() or MADE_UP
    settings = {
        "items": plan.items,
        "partners": partners,
        "broker": broker,
        "database": database,
        "shapes": "made up" if shapes is MADE_UP else "public feeds",
        "quick": quick,
    }
    people = receivers(partners)
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        write_agreements(folder / "agreements", people)
        costs = _isolated(folder, plan, shapes)
        hub = stack.enter_context(
            running_hub(
                folder,
                folder / "agreements",
                {
                    **stack.enter_context(broker_settings(broker)),
                    **stack.enter_context(database_settings(database)),
                },
                apart=broker != "embedded",
            )
        )
        _say(f"the hub runs: {', '.join(f'{role} is process {pid}' for role, pid in hub.pids.items())}")
        measured = asyncio.run(_measure(hub, people, Feeds(shapes, _now_ms()), plan))
    _finish(measured, costs, facts, settings)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _isolated(folder: Path, plan: Plan, shapes: Sequence[Shape]) -> Costs:
    _say("each stage by itself")
    now_ms = _now_ms()
    bundles = list(Feeds(shapes, now_ms).bundles(plan.isolated_items))
    return isolated.measure(folder / "isolated", folder / "agreements", bundles, now_ms)


async def _measure(hub: RunningHub, partners: Sequence[Receiver], feeds: Feeds, plan: Plan) -> Measured:
    pids = list(hub.pids.values())
    async with Client(hub.url, hub.staff_token) as client:
        await client.introduce([*(source.id for source in SOURCES), *(partner.id for partner in partners)])
        await full_load(client, list(feeds.bundles(WARM_UP)), lambda _: None)
        await _quiet(hub)
        bundles = list(feeds.bundles(plan.items))
        with _bar(plan.items, "full load") as bar:
            use = await _use_of(hub, full_load(client, bundles, bar.update))
        rate = use.result
        per_second = rate.indicators / rate.visible_seconds
        arriving = list(feeds.bundles(max(10, round(per_second / 2 * plan.latency_seconds))))
        with _bar(sum(bundle.size for bundle in arriving), "half load") as bar:
            half = await open_load(client, arriving, per_second / 2, Random(1), bar.update)
        await _quiet(hub)
        with _bar(plan.singles, "one at a time") as bar:
            alone = await singles(client, feeds, plan.singles, bar.update)
        began = time.perf_counter()
        with _bar(len(partners), "reading the feeds") as bar:
            problems, objects = await wrong_feeds(client, partners, feeds.sent, bar.update)
        seconds = time.perf_counter() - began
    peak = machine.peak_bytes(pids)
    spent = {role: cpu / plan.items * 1e6 for role, cpu in use.hub_seconds.items()}
    return Measured(
        rate=rate,
        per_second=per_second,
        hub_cpu_us=spent,
        bench_cpu_us=use.bench_seconds / plan.items * 1e6,
        other_cores=use.other_cores,
        half_load=half,
        singles=alone,
        peak_bytes=peak,
        read_objects=objects,
        read_seconds=seconds,
        problems=problems,
    )


class Use(NamedTuple):
    """What ran gave, and the CPU time that went into it, until nothing of it was left to do."""

    result: Rate
    hub_seconds: dict[str, float]
    bench_seconds: float
    other_cores: float


async def _use_of(hub: RunningHub, run: Awaitable[Rate]) -> Use:
    began, before, bench_before, busy_before = (
        time.perf_counter(),
        _cpu(hub),
        time.process_time(),
        machine.busy_seconds(),
    )
    result = await run
    await _quiet(hub)
    spent = {role: cpu - before[role] for role, cpu in _cpu(hub).items()}
    bench = time.process_time() - bench_before
    busy = machine.busy_seconds() - busy_before
    others = max(0.0, busy - bench - sum(spent.values())) / (time.perf_counter() - began)
    return Use(result, spent, bench, others)


async def _quiet(hub: RunningHub) -> None:
    """Waits until the hub does nothing any more: what is visible may still have to be counted and tidied up."""
    last = -1.0
    deadline = time.perf_counter() + QUIET_SECONDS
    while (now := sum(_cpu(hub).values())) - last > 0.05 * LOOK_SECONDS and time.perf_counter() < deadline:
        last = now
        await asyncio.sleep(LOOK_SECONDS)


def _cpu(hub: RunningHub) -> dict[str, float]:
    return {role: machine.cpu_seconds([pid]) for role, pid in hub.pids.items()}


def _finish(measured: Measured, costs: Costs, facts: dict[str, Any], settings: dict[str, Any]) -> None:
    figures = [*_of_the_hub(measured), *_of_the_stages(costs), *_of_the_ceilings(costs)]
    at = datetime.now(UTC)
    document = report.document(
        at=at.isoformat(timespec="seconds"),
        machine=facts,
        settings=settings,
        figures=figures,
        problems=measured.problems,
    )
    OUT.mkdir(exist_ok=True)
    file = OUT / f"bench-{at:%Y%m%d-%H%M%S}-{settings['broker']}-{settings['database']}.json"
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    click.echo(
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Python {facts['python']}; "
        f"broker {settings['broker']}, database {settings['database']}, {settings['partners']} partners, "
        f"shapes: {settings['shapes']}\n"
    )
    click.echo(report.table(figures))
    click.echo(f"\nkept in {file.relative_to(ROOT)}")
    if measured.problems:
        click.echo("\nThe feeds are not complete, so these figures are worth nothing:", err=True)
        for problem in measured.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(1)


def _of_the_hub(measured: Measured) -> list[Figure]:
    rate = measured.rate
    half = [one.visible - one.began for one in measured.half_load]
    weighted = [(one.visible - one.began, one.size) for one in measured.half_load]
    answered = [one.accepted - one.began for one in measured.half_load]
    alone = [one.visible - one.began for one in measured.singles]
    span = max(one.visible for one in measured.half_load) - min(one.began for one in measured.half_load)
    offered = sum(one.size for one in measured.half_load) / span
    cpu = measured.hub_cpu_us
    by_role = ", ".join(f"{role} {us:,.0f}" for role, us in cpu.items()) if len(cpu) > 1 else ""
    return [
        Figure(
            "rate.visible_per_second",
            measured.per_second,
            "indicators/s",
            "accept to visible in all feeds",
            f"{rate.indicators:,} in {rate.bundles} bundles of 4 sources",
        ),
        Figure(
            "rate.accepted_per_second", rate.indicators / rate.accepted_seconds, "indicators/s", "answered with 202"
        ),
        Figure("cpu.hub_us", sum(cpu.values()), "µs/indicator", "CPU of all our processes", by_role),
        *(
            Figure(f"cpu.by_role_us.{role}", us, "µs/indicator", f"CPU of {role}")
            for role, us in cpu.items()
            if by_role
        ),
        Figure(
            "cpu.bench_us", measured.bench_cpu_us, "µs/indicator", "CPU of the bench itself", "on the same cores"
        ),
        Figure(
            "cpu.other_cores", measured.other_cores, "cores", "busy with anything else", "servers we use included"
        ),
        Figure(
            "half_load.p50_ms",
            1000 * percentile(half, 50),
            "ms",
            "half load: sent to visible, p50",
            f"{len(half)} bundles, {offered:,.0f} indicators/s",
        ),
        Figure("half_load.p99_ms", 1000 * percentile(half, 99), "ms", "half load: sent to visible, p99"),
        Figure(
            "half_load.by_indicator.p50_ms", 1000 * weighted_percentile(weighted, 50), "ms", "  by indicator, p50"
        ),
        Figure(
            "half_load.by_indicator.p99_ms", 1000 * weighted_percentile(weighted, 99), "ms", "  by indicator, p99"
        ),
        Figure("half_load.accepted.p50_ms", 1000 * percentile(answered, 50), "ms", "  sent to 202, p50"),
        Figure("half_load.accepted.p99_ms", 1000 * percentile(answered, 99), "ms", "  sent to 202, p99"),
        Figure(
            "single.p50_ms",
            1000 * percentile(alone, 50),
            "ms",
            "one alone: sent to visible, p50",
            f"of {len(alone)}",
        ),
        Figure("single.p99_ms", 1000 * percentile(alone, 99), "ms", "one alone: sent to visible, p99"),
        Figure("memory.peak_mib", measured.peak_bytes / 2**20, "MiB", "most memory of all our processes"),
        Figure(
            "taxii.objects_per_second",
            measured.read_objects / measured.read_seconds,
            "objects/s",
            "feeds read by TAXII",
            f"{measured.read_objects:,} objects, complete" if not measured.problems else "NOT COMPLETE",
        ),
    ]


LABELS = {
    "accept.read": ("accept: parse and validate", ""),
    "accept.pack": ("accept: fingerprint and pack", ""),
    "relay.append": ("relay: append to the embedded log", ""),
    "core": ("dedupe, enrich, govern", ""),
    "share.decode": ("share: decode", "per cleared item"),
    "share.apply": ("share: write the feeds", "per cleared item"),
    "witness": ("witness", "per decision"),
}


def _of_the_stages(costs: Costs) -> list[Figure]:
    return [
        Figure(f"stages.{name}.cpu_us", cost.cpu_us, "µs CPU", label, _on_the_clock(cost, note))
        for name, cost in costs.stages.items()
        for label, note in [LABELS[name]]
    ]


def _on_the_clock(cost: isolated.Cost, note: str) -> str:
    waits = f"{cost.wall_us:.0f} µs on the clock" if cost.wall_us > 1.3 * cost.cpu_us else ""
    return ", ".join(part for part in (note, waits) if part)


def _of_the_ceilings(costs: Costs) -> list[Figure]:
    stages, ceilings = costs.stages, costs.ceilings
    accept = stages["accept.read"].cpu_us + stages["accept.pack"].cpu_us
    pairs = (
        ("orjson", "ceiling: orjson parse and dump", "accept", accept),
        ("pydantic", "ceiling: pydantic, the report's model", "dedupe, enrich, govern", stages["core"].cpu_us),
        ("sqlite", "ceiling: SQLite, bare append", "share's writing", stages["share.apply"].cpu_us),
    )
    return [
        figure
        for name, label, what, ours in pairs
        for ceiling in [ceilings[name].cpu_us]
        for figure in (
            Figure(f"ceilings.{name}.cpu_us", ceiling, "µs CPU", label, f"{what}: {ours / ceiling:.1f} times this"),
        )
    ]


def _bar(length: int, label: str) -> Any:
    return click.progressbar(length=length, label=label.ljust(18), file=sys.stderr, hidden=not sys.stderr.isatty())


def _say(text: str) -> None:
    click.echo(text, err=True)


bench.add_command(deciding)
bench.add_command(state)
bench.add_command(paging)

if __name__ == "__main__":
    bench()
