"""Random agreements and items for properties of the sharing policy.

What may narrow is drawn seldom enough that much is permitted: what nobody gets shows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from schemas.agreement import Agreement, Policy
from schemas.handling import PURPOSES
from schemas.known import Contribution, Known, Sent
from schemas.markings import Pap, Tlp, marking_id
from schemas.timestamps import format_time
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, contribution

STATES = ("XA", "XB", "XC", "XD")
KINDS = ("platform", "government", "ngo", "cert")
CATEGORIES = ("phishing", "spyware", "shutdown", "ddos", "doxxing")
UNKNOWN = "marking-definition--00000000-0000-4000-8000-000000000000"
STATEMENT = "marking-definition--fa42a846-8d90-4e51-bc29-71d5b4802168"
SOURCES = ("alpha", "beta", "delta")
T = TypeVar("T")


def seldom(r: Random, one_in: int = 5) -> bool:
    return r.randrange(one_in) == 0


def some(r: Random, values: Sequence[T], least: int = 0) -> list[T]:
    return r.sample(values, r.randint(least, len(values)))


def recipients(r: Random, count: int = 7) -> list[Agreement]:
    return [_recipient(r, f"p{number}") for number in range(count)]


def _recipient(r: Random, name: str) -> Agreement:
    return agreement(
        name,
        kind=r.choice(KINDS),
        jurisdiction=r.choice(STATES),
        controlled_by=some(r, STATES)[:2] if seldom(r, 3) else [],
        tlp=r.choice(("clear", "green", "amber", "amber+strict", "red", "red")),
        pap=r.choice(("clear", "green", "amber", "red", "red")),
        onward=r.choice(("none", "none", "clients", "community")),
        purposes=some(r, PURPOSES, 1),
        categories=["*"] if not seldom(r, 3) else some(r, CATEGORIES),
        types=["*"] if not seldom(r, 4) else some(r, ("indicator", "malware")),
        max_age_days=r.choice((3650, 3650, 90, 2)),
        min_confidence=r.choice((0, 0, 0, 50)),
        ends="2026-06-01" if seldom(r, 15) else "2027-01-01",
    )


def sources(r: Random) -> list[Agreement]:
    """Of reliability A, C and D; the last may be on probation."""
    return [
        agreement(
            name,
            receives=False,
            contributes={
                "reliability": reliability,
                "probation": name == "delta" and seldom(r, 3),
                "defaults": _defaults(r),
            },
        )
        for name, reliability in zip(SOURCES, "ACD", strict=True)
    ]


def _defaults(r: Random) -> dict[str, Any]:
    offered: dict[str, Any] = {
        "tlp": r.choice(("clear", "green", "amber")),
        "pap": r.choice(("clear", "green", "red")),
        "purposes": some(r, PURPOSES, 1),
        "consent": r.choice(("not-required", "unknown", "granted")),
        "category": r.choice(CATEGORIES),
        "affected": some(r, STATES),
        "published": False,
        "confidence": r.choice((10, 50, 90)),
    }
    return {name: value for name, value in offered.items() if seldom(r, 4)}


def policy(r: Random) -> Policy:
    pacts = [tuple(r.sample(STATES, 2)) for _ in range(r.randrange(3))]
    return Policy.model_validate({"pacts": pacts, "state_capable": some(r, CATEGORIES)})


def markings(r: Random) -> tuple[str, ...]:
    if seldom(r, 15):
        return ()
    levels = [r.choice((Tlp.CLEAR, Tlp.CLEAR, Tlp.GREEN, Tlp.AMBER, Tlp.AMBER_STRICT, Tlp.RED))]
    ids = [marking_id(level) for level in levels]
    if seldom(r):
        ids.append(marking_id(r.choice(list(Tlp))))
    if seldom(r, 3):
        ids.append(marking_id(r.choice(list(Pap))))
    ids += [id_ for id_ in (UNKNOWN, STATEMENT) if seldom(r, 12)]
    return tuple(r.sample(ids, len(ids)))


def handling(r: Random, partners: Sequence[str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if not seldom(r, 4):
        said["category"] = r.choice(CATEGORIES)
    if seldom(r, 2):
        said["suspects"] = {state: r.randint(1, 100) for state in some(r, STATES)[:2]}
    if seldom(r, 3):
        said["affected"] = some(r, STATES)[:2]
    if not seldom(r, 8):
        said["consent"] = consent(r)
    if seldom(r, 3):
        said["named"] = some(r, partners)
    if seldom(r, 5):
        until_ms = NOW_MS + r.choice((-1, 0, 1, 10 * DAY_MS))
        said["embargo"] = {"until": format_time(until_ms), "group": some(r, partners)}
    if seldom(r, 5):
        said["personal"] = {"labels": r.choice(("deny", "drop"))}
    if seldom(r):
        said["purposes"] = some(r, PURPOSES)
    if seldom(r, 3):
        said["published"] = not seldom(r, 3)
    return said


def consent(r: Random) -> dict[str, Any]:
    if not seldom(r, 3):
        return {"status": "not-required"}
    if seldom(r):
        return {"status": r.choice(("unknown", "withdrawn"))}
    grant: dict[str, Any] = {"status": "granted"}
    if not seldom(r, 8):
        grant["kinds"] = some(r, KINDS, 1)
    if seldom(r, 3):
        grant["purposes"] = some(r, PURPOSES)
    if seldom(r, 3):
        grant["until"] = format_time(NOW_MS + r.choice((-DAY_MS, 1, DAY_MS)))
    return grant


def word(r: Random, partners: Sequence[str], **fields: Any) -> Contribution:
    age_ms = r.choice(
        (0, 0, DAY_MS, DAY_MS, 2 * DAY_MS, 2 * DAY_MS + 1, 90 * DAY_MS, 90 * DAY_MS + 1, 100 * DAY_MS)
    )
    confidence = {} if seldom(r, 4) else {"confidence": r.choice((0, 49, 50, 90))}
    return contribution(
        markings=markings(r),
        handling=handling(r, partners),
        modified_ms=NOW_MS - age_ms,
        last_seen_ms=NOW_MS - max(age_ms - r.choice((0, 0, DAY_MS)), 0),
        revoked=seldom(r, 20),
        **{**confidence, **fields},
    )


def item(r: Random, partners: Sequence[str]) -> Known:
    """An indicator or malware of one to three sources."""
    words = {source: word(r, partners) for source in some(r, SOURCES, 1)}
    kind, type_ = ("domain", "indicator") if not seldom(r) else ("stix:malware", "malware")
    return Known(kind=kind, value="lure.example", type=type_, contributions=words, sent=Sent(numbering="test"))
