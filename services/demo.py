"""A small made-up feed that shows what the hub does: the six threats it is for, and what holds an item back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.incidents import id_of
from connectors.ioda import mapping as ioda
from connectors.ooni import mapping as ooni
from schemas.handling import HANDLING_ID
from schemas.markings import Tlp, marking_id
from schemas.timestamps import parse_time

_DAY = "2026-11-02T09:00:00.000Z"
_DAY_S = parse_time(_DAY) // 1000

_FAKE_LOGIN = "mail-security-check.example"
_DROPPER = "8d0f6c1be1bfa5a2c7ffb9a1a4e4f1b9b4a4c5ad1f7b52b7a5f0c9f5b0f6a3d1"
_LURE = "https://forms.relief-fund.example/login"
_CONTROL = "203.0.113.77"
_CONTACTS = "safe-contacts.example"
_LURE_FOR_ONE = "https://sign-in.lure.example/for/amina-k"
_SUSPECTED = "update-server.example"
_LATER = "not-yet.example"
_POST = "https://social.example/posts/where-she-lives"
_DOXXER = "anonymous-anger"
_LIAR = "truth-daily"
_FORGERY = "3f2c1e7d9a0b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5"
_OUTAGE = id_of("incident", "ioda", "country/XA", str(_DAY_S - 6 * 3600))
_BLOCKING = id_of("incident", "ooni", "XB", ooni.SITE, "news.example", str(parse_time("2026-11-02T00:00:00Z")))

JOURNEYS: tuple[tuple[str, str], ...] = (
    ("A shutdown: an outage that IODA measured", _OUTAGE),
    ("Censorship: a site that OONI found blocked", _BLOCKING),
    ("A cyberattack: a domain that phishes, of which two sources know", _FAKE_LOGIN),
    ("Surveillance: spyware that is published already", _DROPPER),
    ("Surveillance: spyware behind which a state may be", _SUSPECTED),
    ("Doxxing: the post that gives an address away", _POST),
    ("Doxxing: the account that posted it", f"indicator--00000000-0000-4000-8000-{12:012d}"),
    ("Defamation: an account of a network", f"indicator--00000000-0000-4000-8000-{13:012d}"),
    ("Defamation: the picture that the network spreads", _FORGERY),
    ("Held back: TLP:AMBER, above what a platform is cleared for", _LURE),
    ("Held back: TLP:AMBER+STRICT, and a state may be behind it", _CONTROL),
    ("Held back: nobody was asked for consent", _CONTACTS),
    ("Held back in part: the address names its victim", _LURE_FOR_ONE),
    ("Held back for now: an embargo", _LATER),
)
"""What the demo asks the journeys of, in the order in which it tells them: (heading, value or id)."""


def bundles() -> list[tuple[str, dict[str, Any]]]:
    """(source, STIX 2.1 bundle) pairs: made-up objects of two sources, one of them not understandable."""
    agreed = {"status": "granted", "kinds": ["platform", "ngo"]}
    lie: dict[str, Any] = {"category": "defamation", "purposes": ["protect"]}
    kestrel = [
        _indicator(1, _domain(_FAKE_LOGIN), Tlp.GREEN, name="Fake mail login", category="phishing"),
        _indicator(2, _file(_DROPPER), Tlp.CLEAR, name="Spyware dropper", category="spyware", published=True),
        _indicator(3, "[domain-name:value = ", Tlp.GREEN, name="Cut off in the middle"),
        _indicator(13, _account(_LIAR), Tlp.GREEN, name="Spreads a forged picture", **lie),
        _indicator(14, _file(_FORGERY), Tlp.GREEN, name="The forged picture", **lie),
        *_outage(),
        *_blocking(),
    ]
    lantern = [
        _indicator(4, _domain(_FAKE_LOGIN), Tlp.RED, name="Seen by a client", named=["horizon"]),
        _indicator(5, _url(_LURE), Tlp.AMBER, name="Lure sent to an editor", category="phishing"),
        _indicator(
            6, f"[ipv4-addr:value = '{_CONTROL}']", Tlp.AMBER_STRICT, name="Control server", category="spyware"
        ),
        _indicator(7, _domain(_CONTACTS), Tlp.GREEN, name="Consent not yet given", consent={"status": "unknown"}),
        _indicator(
            8,
            _url(_LURE_FOR_ONE),
            Tlp.GREEN,
            name="A lure that names its victim",
            category="phishing",
            suspects={},
            consent=agreed,
            personal={"pattern": "host-only"},
        ),
        _indicator(
            9, _domain(_SUSPECTED), Tlp.GREEN, name="Behind it may be XA", category="spyware", suspects={"XA": 60}
        ),
        _indicator(
            10,
            _domain(_LATER),
            Tlp.GREEN,
            name="Under embargo until the people are safe",
            category="intrusion",
            suspects={},
            embargo={"until": "2035-01-01T00:00:00Z", "group": ["horizon"]},
        ),
        _indicator(
            11, _url(_POST), Tlp.GREEN, name="To be taken down", category="doxxing", consent=agreed, urgent=True
        ),
        _indicator(12, _account(_DOXXER), Tlp.GREEN, name="Posted it", category="doxxing", consent=agreed),
    ]
    return [("kestrel", _bundle(1, kestrel)), ("lantern", _bundle(2, lantern))]


def _outage() -> Iterator[dict[str, Any]]:
    """What the connector of IODA makes of two signals that fell."""
    event = {"location": "country/XA", "start": _DAY_S - 6 * 3600, "duration": 4 * 3600, "score": 21000.0}
    events = [{**event, "datasource": signal, "location_name": "Ashland"} for signal in ("bgp", "ping-slash24")]
    found = ioda.outages(events, "", _DAY_S, "")
    changed, _ = ioda.follow(ioda.Checkpoint(), found, _DAY_S, 0, ioda.Bounds(2, 1000, 3600))
    return (one for incident in changed for one in ioda.objects(incident))


def _blocking() -> Iterator[dict[str, Any]]:
    """What the connector of OONI makes of what twelve volunteers measured."""
    tally = ooni.Tally(0, _DAY_S * 1000)
    flags = {
        "anomaly": True,
        "confirmed": False,
        "failure": False,
        "scores": {"analysis": {"blocking_type": "dns"}},
    }
    for number in range(12):
        who = {"probe_cc": "XB", "probe_asn": f"AS{64500 + number % 3}", "report_id": f"run-{number}"}
        what = {"test_name": ooni.SITE, "input": "https://news.example/", "measurement_start_time": _DAY}
        tally.add(ooni.listed({**flags, **who, **what}, ""))
    changed, _ = ooni.follow(ooni.Checkpoint(), tally.counts, 0, ooni.Bounds(5, 2, 0.5))
    return (one for event in changed for one in ooni.objects(event))


def _domain(name: str) -> str:
    return f"[domain-name:value = '{name}']"


def _url(address: str) -> str:
    return f"[url:value = '{address}']"


def _file(sha256: str) -> str:
    return f"[file:hashes.'SHA-256' = '{sha256}']"


def _account(login: str) -> str:
    return f"[user-account:account_type = 'social' AND user-account:account_login = '{login}']"


def _bundle(number: int, objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"type": "bundle", "id": f"bundle--00000000-0000-4000-8000-{number:012d}", "objects": list(objects)}


def _indicator(number: int, pattern: str, tlp: Tlp, *, name: str, **handling: Any) -> dict[str, Any]:
    extension = {HANDLING_ID: {"extension_type": "property-extension", **handling}}
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--00000000-0000-4000-8000-{number:012d}",
        "created": _DAY,
        "modified": _DAY,
        "name": name,
        "pattern": pattern,
        "pattern_type": "stix",
        "valid_from": _DAY,
        "confidence": 80,
        "object_marking_refs": [marking_id(tlp)],
        **({"extensions": extension} if handling else {}),
    }
