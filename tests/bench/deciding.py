"""How long it takes to decide items for many recipients: the rules alone, on one core.

What the rules ask for is worked out too (who has to be sent what), the copies are not made.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import click

from schemas.agreement import Agreement, Policy
from schemas.bits import to_hex
from schemas.handling import CATEGORIES
from schemas.known import Contribution, Known, Sent
from schemas.markings import Tlp, marking_id
from services.data import load
from services.directory import hash_of
from services.enrich.context import EnrichmentData, look
from services.govern.compile import Compiled, compile_policy
from services.govern.facts import Around, facts_of
from services.govern.policy import Verdict, decide
from services.hub import Directory
from tests.bench import machine
from tests.bench.processes import ROOT

NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000
STATES = [f"X{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
SOURCE = "source"


def _agreement(number: int, random: Random) -> Agreement:
    kind = random.choice(["platform", "ngo", "ngo", "cert", "government"])
    state = random.choice(STATES)
    return Agreement.model_validate(
        {
            "partner": {
                "id": f"partner-{number}",
                "name": f"Partner {number}",
                "kind": kind,
                "jurisdiction": state,
                "controlled_by": [state] if kind == "cert" else [],
                "starts": "2026-01-01",
                "ends": random.choice(["2027-01-01", "2028-01-01"]),
            },
            "receives": {
                "tlp": random.choice(["green", "amber", "amber+strict", "red"]),
                "pap": random.choice(["green", "amber", "red"]),
                "onward": random.choice(["none", "none", "clients", "community"]),
                "purposes": random.sample(["detect", "protect", "assist", "respond"], random.randint(1, 4)),
                "categories": random.choice([["*"], ["*"], random.sample(CATEGORIES, 4)]),
                "types": random.choice([["*"], ["indicator"]]),
                "max_age_days": random.choice([30, 90, 365, 3650]),
                "min_confidence": random.choice([0, 0, 50, 80]),
            },
        }
    )


def partners(count: int, random: Random) -> Compiled:
    """Made-up recipients of all kinds, and one source."""
    agreements = {a.id: a for a in (_agreement(number, random) for number in range(count))}
    source = {"reliability": "A", "defaults": {"consent": "not-required"}}
    document = agreements["partner-0"].model_dump() | {"receives": None, "contributes": source}
    document["partner"] |= {"id": SOURCE}
    agreements[SOURCE] = Agreement.model_validate(document)
    policy = Policy(pacts=(("XA", "XB"), ("XC", "XD")))
    bits = {name: bit for bit, name in enumerate(agreements)}
    return compile_policy(Directory(agreements, policy, hash_of(agreements, policy), "bench", bits))


def items(count: int, random: Random) -> Iterator[Known]:
    """Made-up items; of four one is personal or partly marked, and one of eight suspects a state."""
    for number in range(count):
        handling: dict[str, Any] = {"category": random.choice(CATEGORIES)}
        if number % 4 == 0:
            handling["personal"] = {"description": random.choice(["drop", "pseudonymise"])}
        if number % 8 == 1:
            handling["suspects"] = {random.choice(STATES): 50}
        if number % 8 == 5:
            handling["affected"] = random.sample(STATES, 2)
        granular = ((marking_id(Tlp.RED), ("name",)),) if number % 8 == 2 else ()
        at_ms = NOW_MS - random.randrange(400) * DAY_MS
        body = {
            "type": "indicator",
            "id": f"indicator--{number}",
            "pattern": f"[domain-name:value = 'h{number}.example']",
            "name": "a name",
            "description": "a description",
            "confidence": random.randrange(101),
        }
        word = Contribution(
            seq=number,
            index=0,
            object=body,
            markings=(marking_id(random.choice([Tlp.CLEAR, Tlp.GREEN, Tlp.AMBER, Tlp.AMBER_STRICT])),),
            granular=granular,
            handling=handling,
            created_ms=at_ms,
            modified_ms=at_ms,
            first_seen_ms=at_ms,
            last_seen_ms=at_ms,
        )
        sent = Sent(numbering="bench")
        yield Known(
            kind="domain", value=f"h{number}.example", type="indicator", contributions={SOURCE: word}, sent=sent
        )


def decide_one(known: Known, compiled: Compiled, data: EnrichmentData) -> Verdict:
    """One item for all recipients."""
    around = Around("", False, "", lambda ioc: look(data, *ioc), NOW_MS)
    return decide(facts_of(known, SOURCE, known.contributions[SOURCE], compiled, around), compiled)


@click.command()
@click.option("--items", "count", default=100_000, show_default=True, type=click.IntRange(1))
@click.option("--partners", "recipients", default=1_000, show_default=True, type=click.IntRange(1, 10_000))
def deciding(count: int, recipients: int) -> None:
    """Decide items for many recipients, on one core.

    Example: make bench ARGS="deciding --items 20000"
    """
    random = Random(1)
    compiled, data = partners(recipients, random), load(None)
    known = list(items(count, random))
    permitted = parts = 0
    began, cpu = time.perf_counter(), time.process_time()
    with click.progressbar(known, label="deciding", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for item in bar:
            verdict = decide_one(item, compiled, data)
            permitted += verdict.permitted.bit_count()
            parts += len(verdict.parts)
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - began
    click.echo(
        f"{count:,} items for {recipients:,} recipients ({len(to_hex(compiled.everyone)) * 4} bits): "
        f"{cpu_s:.1f} s CPU, {wall_s:.1f} s on the clock, {cpu_s / count * 1e6:.0f} µs an item, "
        f"{cpu_s / count / recipients * 1e9:.0f} ns a decision; {permitted / count:.0f} recipients and "
        f"{parts / count:.1f} forms an item ({machine.facts(ROOT)['cpu']})"
    )
