"""A small made-up world for tests of govern: partners, contributions and the clock."""

from __future__ import annotations

from typing import Any

from schemas.agreement import Agreement, Policy
from schemas.bits import Bits, members
from schemas.handling import HANDLING_ID
from schemas.known import Contribution, Known, Sent
from services.data import load
from services.directory import hash_of
from services.enrich.context import look
from services.govern.compile import Compiled, compile_policy
from services.govern.facts import Around, Facts, facts_of
from services.hub import Directory

NOW_MS = 1_795_000_000_000  # 2026-11-18
DAY_MS = 86_400_000
DATA = load(None)
SECRET = b"s" * 32


def agreement(name: str, *, contributes: dict[str, Any] | None = None, **receives: Any) -> Agreement:
    terms: dict[str, Any] = {
        "tlp": "red",
        "pap": "red",
        "onward": "none",
        "purposes": ["detect", "protect", "assist", "respond"],
        "categories": ["*"],
        "types": ["*"],
        "max_age_days": 3650,
        "min_confidence": 0,
    }
    partner = {
        "id": name,
        "name": name.title(),
        "kind": receives.pop("kind", "ngo"),
        "jurisdiction": receives.pop("jurisdiction", "XN"),
        "controlled_by": receives.pop("controlled_by", []),
        "starts": receives.pop("starts", "2026-01-01"),
        "ends": receives.pop("ends", "2027-01-01"),
    }
    document: dict[str, Any] = {"partner": partner}
    if contributes is not None:
        document["contributes"] = {"reliability": "A", **contributes}
    if receives.pop("receives", True):
        document["receives"] = terms | receives
    return Agreement.model_validate(document)


SOURCE = agreement("source", receives=False, contributes={"defaults": {"consent": "not-required"}})


def world(*agreements: Agreement, policy: Policy | None = None) -> Compiled:
    everyone = {a.id: a for a in (SOURCE, *agreements)}
    rules = policy or Policy()
    return compile_policy(
        Directory(
            agreements=everyone,
            policy=rules,
            policy_hash=hash_of(everyone, rules),
            numbering="test",
            bit_of={name: bit for bit, name in enumerate(sorted(everyone))},
        )
    )


def names(bits: Bits, compiled: Compiled) -> set[str]:
    by_bit = {int(bit): name for name, bit in compiled.number.items()}
    return {by_bit[1 << number] for number in members(bits)}


def facts_in(
    item: Known,
    source: str,
    compiled: Compiled,
    *,
    protected: bool = False,
    enriched: str = "",
    now_ms: int = NOW_MS,
) -> Facts:
    """The facts of one contribution of an item."""
    around = Around("", protected, enriched, lambda ioc: look(DATA, *ioc), now_ms)
    return facts_of(item, source, item.contributions[source], compiled, around)


OWN = ("granular", "revoked", "gone", "labels", "count", "index", "references", "joins")


def contribution(
    *, markings: tuple[str, ...] = (), handling: dict[str, Any] | None = None, seq: int = 1, **fields: Any
) -> Contribution:
    times = {
        name: fields.pop(name, NOW_MS - DAY_MS)
        for name in ("created_ms", "modified_ms", "first_seen_ms", "last_seen_ms")
    }
    own = {name: fields.pop(name) for name in OWN if name in fields}
    return Contribution(
        seq=seq,
        **{"index": 0, **own},
        object={"type": "indicator", "id": "indicator--1", **fields},
        markings=markings,
        handling=handling or {},
        **times,
    )


def known(*, kind: str = "domain", value: str = "lure.example", **contributions: Contribution) -> Known:
    return Known(kind=kind, value=value, type="indicator", contributions=contributions, sent=Sent(numbering="test"))


__all__ = [
    "DATA",
    "DAY_MS",
    "HANDLING_ID",
    "NOW_MS",
    "SOURCE",
    "agreement",
    "contribution",
    "facts_in",
    "known",
    "names",
    "world",
]
