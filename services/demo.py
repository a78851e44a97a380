"""A small made-up feed that shows what the hub does."""

from __future__ import annotations

from typing import Any

from schemas.handling import HANDLING_ID
from schemas.markings import Tlp, marking_id

VALUES = (
    "mail-security-check.example",
    "8d0f6c1be1bfa5a2c7ffb9a1a4e4f1b9b4a4c5ad1f7b52b7a5f0c9f5b0f6a3d1",
    "https://forms.relief-fund.example/login",
    "203.0.113.77",
    "safe-contacts.example",
    "https://sign-in.lure.example/for/amina-k",
    "update-server.example",
    "not-yet.example",
)
"""What the demo asks the journeys of, in the order in which it tells them."""

_DAY = "2026-11-02T09:00:00.000Z"


def bundles() -> list[tuple[str, dict[str, Any]]]:
    """(source, STIX 2.1 bundle) pairs: made-up indicators of two sources, one of them not understandable."""
    domain, sha256, url, address, contacts, lure, suspected, later = VALUES
    kestrel = [
        _indicator(1, f"[domain-name:value = '{domain}']", Tlp.GREEN, name="Fake mail login", category="phishing"),
        _indicator(
            2,
            f"[file:hashes.'SHA-256' = '{sha256}']",
            Tlp.CLEAR,
            name="Spyware dropper",
            category="spyware",
            published=True,
        ),
        _indicator(3, "[domain-name:value = ", Tlp.GREEN, name="Cut off in the middle"),
    ]
    lantern = [
        _indicator(4, f"[domain-name:value = '{domain}']", Tlp.RED, name="Seen by a client", named=["horizon"]),
        _indicator(5, f"[url:value = '{url}']", Tlp.AMBER, name="Lure sent to an editor", category="phishing"),
        _indicator(
            6, f"[ipv4-addr:value = '{address}']", Tlp.AMBER_STRICT, name="Control server", category="spyware"
        ),
        _indicator(
            7, f"[domain-name:value = '{contacts}']", Tlp.GREEN, name="Consent not yet given", consent="unknown"
        ),
        _indicator(
            8,
            f"[url:value = '{lure}']",
            Tlp.GREEN,
            name="A lure that names its victim",
            category="phishing",
            suspects={},
            consent={"status": "granted", "kinds": ["platform", "ngo"]},
            personal={"pattern": "host-only"},
        ),
        _indicator(
            9,
            f"[domain-name:value = '{suspected}']",
            Tlp.GREEN,
            name="Behind it may be XA",
            category="spyware",
            suspects={"XA": 60},
        ),
        _indicator(
            10,
            f"[domain-name:value = '{later}']",
            Tlp.GREEN,
            name="Under embargo until the people are safe",
            category="intrusion",
            suspects={},
            embargo={"until": "2035-01-01T00:00:00Z", "group": ["horizon"]},
        ),
    ]
    return [("kestrel", _bundle(1, kestrel)), ("lantern", _bundle(2, lantern))]


def _bundle(number: int, objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "bundle", "id": f"bundle--00000000-0000-4000-8000-{number:012d}", "objects": objects}


def _indicator(
    number: int, pattern: str, tlp: Tlp, *, name: str, consent: str | dict[str, Any] = "", **handling: Any
) -> dict[str, Any]:
    if consent:
        handling["consent"] = {"status": consent} if isinstance(consent, str) else consent
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
