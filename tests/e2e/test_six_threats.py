"""The six threats, each from the system that saw it to those who can act on it: a shutdown, censorship, a
cyberattack, surveillance, doxxing and defamation. Who gets it, who does not, and by which rule."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from connectors import ioda, ooni, sample
from schemas.handling import HANDLING_ID
from schemas.markings import Tlp, marking_id
from schemas.timestamps import format_time
from tests.e2e.running_hub import RunningHub, running_hub
from tests.unit.connectors.measuring_server import pulled, serving, tools

NOW_S = int(time.time())
TODAY = format_time(NOW_S * 1000)
PARTNER = """[partner]
id = "{name}"
name = "{name}"
kind = "{kind}"
jurisdiction = "{state}"
controlled_by = {controlled_by}
starts = 2026-01-01
ends = 2036-01-01
"""
RECEIVES = """[receives]
tlp = "{tlp}"
pap = "red"
onward = "{onward}"
purposes = {purposes}
categories = ["*"]
types = ["*"]
max_age_days = 365
min_confidence = 0
"""
CONTRIBUTES = """[contributes]
reliability = "A"
defaults = {{ {defaults} }}
attribution = "may"
"""
ALL_PURPOSES = '["detect", "protect", "assist", "respond"]'
RECIPIENTS = {
    "network": {"kind": "ngo", "state": "XN", "tlp": "red", "onward": "none", "purposes": ALL_PURPOSES},
    "platform": {"kind": "platform", "state": "XC", "tlp": "green", "onward": "clients", "purposes": ALL_PURPOSES},
    "state-xa": {"kind": "government", "state": "XA", "tlp": "amber", "onward": "none", "purposes": ALL_PURPOSES},
    "state-xb": {"kind": "government", "state": "XB", "tlp": "amber", "onward": "none", "purposes": '["respond"]'},
}
SOURCES = {
    "outages": 'tlp = "green", consent = "not-required"',
    "measurements": 'tlp = "clear", consent = "not-required", published = true',
    "helpline": 'tlp = "green", consent = "not-required"',
}
"""The outages are made known to partners only: of a published source everybody might have all of it."""


def _agreements(folder: Path) -> Path:
    folder.mkdir()
    for name, terms in RECIPIENTS.items():
        controlled_by = f'["{terms["state"]}"]' if terms["kind"] == "government" else "[]"
        partner = PARTNER.format(name=name, controlled_by=controlled_by, **terms)
        (folder / f"{name}.toml").write_text(partner + RECEIVES.format(**terms))
    for name, defaults in SOURCES.items():
        partner = PARTNER.format(name=name, kind="ngo", state="XN", controlled_by="[]")
        (folder / f"{name}.toml").write_text(partner + CONTRIBUTES.format(defaults=defaults))
    return folder


# --- what is seen, where it is seen -------------------------------------------------------------------------------

URL = "https://sign-in.lure.example/for/amina-k"
SPYWARE = ("update.quiet-heron.example", "sync.quiet-heron.example")
POST = "https://social.example/posts/where-she-lives"
DOXXER = "anonymous-anger"
LIARS = ("truth-daily-1", "truth-daily-2")
PICTURE = "5f" * 32
PERSON = "amina"


def _outages(request: web.Request) -> web.Response:
    event = {"start": NOW_S - 6 * 3600, "duration": 6 * 3600, "score": 40000.0, "overlaps_window": True}
    named = {"location": f"country/{request.query['entityCode']}", "location_name": "Ashland"}
    return web.json_response(
        {"error": None, "data": [{**event, **named, "datasource": signal} for signal in ("bgp", "ping-slash24")]}
    )


def _measurements(request: web.Request) -> web.Response:
    fields = {"anomaly": True, "confirmed": False, "failure": False, "probe_cc": request.query["probe_cc"]}
    fields |= {"test_name": "web_connectivity", "measurement_start_time": TODAY[:19] + "Z", "scores": {}}
    rows = [
        {
            **fields,
            "input": f"https://{PERSON}@news.example/{n}",
            "probe_asn": f"AS{64500 + n}",
            "report_id": f"r{n}",
        }
        for n in range(6)
    ]
    return web.json_response({"metadata": {}, "results": rows})


async def _partner(request: web.Request) -> web.Response:
    return _outages(request) if request.path.endswith("/outages/events") else _measurements(request)


def _indicator(number: int, pattern: str, tlp: Tlp = Tlp.GREEN, **handling: Any) -> dict[str, Any]:
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--00000000-0000-4000-8000-{number:012d}",
        "created": TODAY,
        "modified": TODAY,
        "pattern": pattern,
        "pattern_type": "stix",
        "valid_from": TODAY,
        "object_marking_refs": [marking_id(tlp)],
        "extensions": {HANDLING_ID: {"extension_type": "property-extension", **handling}},
    }


def _account(number: int, name: str, **handling: Any) -> dict[str, Any]:
    login = f"user-account:account_type = 'social' AND user-account:account_login = '{name}'"
    return _indicator(number, f"[{login}]", **handling)


def _seen_by_the_helpline() -> list[dict[str, Any]]:
    consent = {"status": "granted", "kinds": ["platform", "ngo"]}
    lie: dict[str, Any] = {"category": "defamation", "purposes": ["protect"]}
    network = [
        *(_account(20 + n, name, **lie) for n, name in enumerate(LIARS)),
        _indicator(29, f"[file:hashes.'SHA-256' = '{PICTURE}']", **lie),
    ]
    grouping = {
        "type": "grouping",
        "spec_version": "2.1",
        "id": "grouping--00000000-0000-4000-8000-000000000030",
        "created": TODAY,
        "modified": TODAY,
        "name": "Accounts that spread one forged picture",
        "context": "suspicious-activity",
        "object_refs": [one["id"] for one in network],
        "extensions": {HANDLING_ID: {"extension_type": "property-extension", **lie}},
    }
    return [
        _indicator(
            1, f"[url:value = '{URL}']", category="phishing", consent=consent, personal={"pattern": "host-only"}
        ),
        *(
            _indicator(
                10 + n, f"[domain-name:value = '{name}']", Tlp.AMBER, category="spyware", suspects={"XA": 70}
            )
            for n, name in enumerate(SPYWARE)
        ),
        _indicator(15, f"[url:value = '{POST}']", category="doxxing", consent=consent, urgent=True),
        _account(16, DOXXER, category="doxxing", consent=consent),
        *network,
        grouping,
    ]


# --- from there to the partners -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """What the connectors hand over for accept, by the partner that they fetch for."""
    return asyncio.run(_fetch(tmp_path_factory.mktemp("helpline")))


async def _fetch(folder: Path) -> dict[str, list[bytes]]:
    document = {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000099"}
    (folder / "cases.json").write_bytes(orjson.dumps({**document, "objects": _seen_by_the_helpline()}))
    async with serving(_partner) as url, tools(url, now_ms=NOW_S * 1000) as lent:
        pieces = {
            "outages": await pulled(ioda.MANIFEST, lent, url=url, countries=["XA"]),
            "measurements": await pulled(
                ooni.MANIFEST, lent, url=url, countries=["XA"], tests=["web_connectivity"]
            ),
            "helpline": await pulled(sample.MANIFEST, lent, folder=str(folder)),
        }
    return {partner: [piece.body for piece in some] for partner, some in pieces.items()}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, brought: dict[str, list[bytes]]) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("six")
    with running_hub(folder / "data", TOCSIN_AGREEMENTS=str(_agreements(folder / "agreements"))) as running:
        for partner, bodies in brought.items():
            for number, body in enumerate(bodies):
                file = folder / f"{partner}-{number}.json"
                file.write_bytes(body)
                said = running.tocsin("push", file, "--source", partner, "--wait").stdout
                assert "refused" not in said, said
        yield running


def _ids(bodies: list[bytes], stix_type: str) -> list[str]:
    return [one["id"] for body in bodies for one in orjson.loads(body)["objects"] if one["type"] == stix_type]


def _fates(hub: RunningHub, item: str) -> dict[str, tuple[str, list[str]]]:
    """By recipient, whether it got the item, and the rules that say so."""
    answer = json.loads(hub.tocsin("explain", item, "--json").stdout)
    [explained] = answer["items"]
    return {
        row["partner"]: ("got" if any(copy["live"] for copy in row["feed"]) else row["outcome"], row["rules"])
        for row in explained["partners"]
        if row["partner"] in RECIPIENTS
    }


def _held(hub: RunningHub, partner: str) -> list[dict[str, Any]]:
    """Without the campaigns that the hub itself makes, some time after their members came."""
    objects = json.loads(hub.tocsin("feed", partner, "--format", "stix").stdout)["objects"]
    return [one for one in objects if not one.get("name", "").startswith("Indicators ")]


# --- who gets what ------------------------------------------------------------------------------------------------

Fates = dict[str, tuple[str, list[str]]]


def fates(**otherwise: tuple[str, list[str]]) -> Fates:
    """That everybody got it as it is, but for those who are named."""
    return {name: ("got", []) for name in RECIPIENTS} | {n.replace("_", "-"): fate for n, fate in otherwise.items()}


def _seen_as(brought: dict[str, list[bytes]], threat: str) -> list[str]:
    """The ids that the source gave, or values: `tocsin explain` finds an item by either."""
    measured = brought["measurements"]
    return {
        "shutdown": _ids(brought["outages"], "incident"),
        "censorship": [id_ for t in ("incident", "observed-data", "relationship") for id_ in _ids(measured, t)],
        "cyberattack": [URL],
        "surveillance": list(SPYWARE),
        "doxxing": [POST, "indicator--00000000-0000-4000-8000-000000000016"],
        "defamation": [
            PICTURE,
            *(f"indicator--00000000-0000-4000-8000-{20 + n:012d}" for n, _ in enumerate(LIARS)),
        ],
        "network of accounts": _ids(brought["helpline"], "grouping"),
    }[threat]


@pytest.mark.parametrize(
    ("threat", "expected"),
    [
        # the state in whose country it is may be behind it; another one is not told where it is
        ("shutdown", fates(state_xa=("deny", ["F05"]), state_xb=("got", ["F05"]))),
        # what OONI has published is no news to anybody
        ("censorship", fates()),
        # the address names its victim, who consents to help, and to no state
        ("cyberattack", fates(platform=("got", ["F10"]), state_xa=("deny", ["F03"]), state_xb=("deny", ["F03"]))),
        # a platform that is cleared for GREEN only, and a state that is suspected
        ("surveillance", fates(platform=("deny", ["F02"]), state_xa=("deny", ["F04"]))),
        ("doxxing", fates(state_xa=("deny", ["F03"]), state_xb=("deny", ["F03"]))),
        # to protect, and for nothing else: one state may only respond
        ("defamation", fates(state_xb=("deny", ["F08"]))),
        ("network of accounts", fates(state_xb=("deny", ["F08", "F11"]))),
    ],
)
def test_each_threat_reaches_whom_the_policy_lets_it(
    hub: RunningHub, brought: dict[str, list[bytes]], threat: str, expected: Fates
) -> None:
    items = _seen_as(brought, threat)
    assert items
    for item in items:
        assert _fates(hub, item) == expected, item


@pytest.mark.parametrize(
    ("partner", "types", "without"),
    [
        ("network", {"incident": 2, "observed-data": 1, "relationship": 1, "indicator": 8, "grouping": 1}, ()),
        (
            "platform",
            {"incident": 2, "observed-data": 1, "relationship": 1, "indicator": 6, "grouping": 1},
            (PERSON, *SPYWARE),
        ),
        (
            "state-xa",
            {"incident": 1, "observed-data": 1, "relationship": 1, "indicator": 3, "grouping": 1},
            (PERSON, *SPYWARE, "lure.example", POST, DOXXER, "Internet outage"),
        ),
        (
            "state-xb",
            {"incident": 2, "observed-data": 1, "relationship": 1, "indicator": 2},
            (PERSON, "lure.example", POST, DOXXER, *LIARS, PICTURE, "forged"),
        ),
    ],
)
def test_each_partner_holds_that_and_no_trace_of_the_rest(
    hub: RunningHub, partner: str, types: dict[str, int], without: tuple[str, ...]
) -> None:
    held = _held(hub, partner)
    counts = Counter(one["type"] for one in held if one["type"] != "marking-definition")
    assert counts == types
    text = json.dumps(held)
    assert [word for word in without if word in text] == []


def test_where_it_is_stands_only_where_the_policy_can_take_it_away(hub: RunningHub) -> None:
    [outage] = [one for one in _held(hub, "state-xb") if one.get("name") == "Internet outage"]
    assert "XA" not in json.dumps(outage)
    [outage] = [one for one in _held(hub, "network") if one.get("name") == "Internet outage"]
    assert outage["extensions"][HANDLING_ID]["affected"] == ["XA"]
    assert _fates(hub, outage["id"])["state-xa"] == ("deny", ["F05"]), (
        "it is found by the id that the hub gave it, too"
    )


def test_the_platform_gets_the_host_of_the_lure_alone(hub: RunningHub) -> None:
    patterns = {one.get("pattern") for one in _held(hub, "platform")}
    assert "[domain-name:value = 'sign-in.lure.example']" in patterns


def test_who_measured_is_nowhere(hub: RunningHub, brought: dict[str, list[bytes]]) -> None:
    for body in brought["measurements"]:
        assert not any(trace in body.decode() for trace in (PERSON, "AS645", '"r0"', TODAY[11:19]))


def test_the_same_again_changes_nothing(hub: RunningHub, brought: dict[str, list[bytes]], tmp_path: Path) -> None:
    before = {partner: sorted(map(json.dumps, _held(hub, partner))) for partner in RECIPIENTS}
    for partner in ("outages", "measurements"):
        file = tmp_path / f"{partner}.json"
        file.write_bytes(brought[partner][0])
        hub.tocsin("push", file, "--source", partner, "--wait")
    assert {partner: sorted(map(json.dumps, _held(hub, partner))) for partner in RECIPIENTS} == before
