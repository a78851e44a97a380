"""A small made-up feed that shows what the hub does, and how a person is told of an item's journey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.handling import HANDLING_ID
from schemas.markings import PINNED, Tlp, marking_id

VALUES = (
    "mail-security-check.example",
    "8d0f6c1be1bfa5a2c7ffb9a1a4e4f1b9b4a4c5ad1f7b52b7a5f0c9f5b0f6a3d1",
    "https://forms.relief-fund.example/login",
    "203.0.113.77",
    "safe-contacts.example",
)
"""What the demo asks the journeys of, in the order in which it tells them."""

_DAY = "2026-11-02T09:00:00.000Z"


def bundles() -> list[tuple[str, dict[str, Any]]]:
    """(source, STIX 2.1 bundle) pairs: made-up indicators of two sources, one of them not understandable."""
    domain, sha256, url, address, contacts = VALUES
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
    ]
    return [("kestrel", _bundle(1, kestrel)), ("lantern", _bundle(2, lantern))]


def _bundle(number: int, objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "bundle", "id": f"bundle--00000000-0000-4000-8000-{number:012d}", "objects": objects}


def _indicator(
    number: int, pattern: str, tlp: Tlp, *, name: str, consent: str = "", **handling: Any
) -> dict[str, Any]:
    if consent:
        handling["consent"] = {"status": consent}
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


def journey(answer: Mapping[str, Any], rules: Mapping[str, str]) -> str:
    """The answer of `GET /api/v1/explain` for a person; `rules` says what each rule forbids."""
    return "\n\n".join(_item(item, rules) for item in answer["items"])


def _item(item: Mapping[str, Any], rules: Mapping[str, str]) -> str:
    lines = [f"{item['kind']} {item['value']}  ({item['id']})"]
    used: set[str] = set()
    for row in item["partners"]:
        copies = row["feed"]
        live = [copy["object"] for copy in copies if copy["live"]]
        if live:
            lines.append(f"  + {row['partner']:<16} got {_form(live[0])}")
        elif copies:
            lines.append(f"  x {row['partner']:<16} was told that it is withdrawn")
        else:
            lines.append(f"  - {row['partner']:<16} {row['outcome']}: {', '.join(row['rules'])}")
            used |= set(row["rules"])
    lines += [f"      {rule}: {rules.get(rule, '')}" for rule in sorted(used)]
    return "\n".join(lines)


def _form(body: Mapping[str, Any]) -> str:
    """What a copy looks like, in a few words."""
    marks = [PINNED[ref] for ref in body.get("object_marking_refs", ()) if ref in PINNED]
    shown = [f"{type(mark).__name__.upper()}:{mark.label.upper()}" for mark in marks]
    name = f"“{body['name']}”" if "name" in body else "no name"
    return ", ".join([f"STIX {body['type']}", *shown, name, f"created {body['created'][:10]}"])


def overview(answer: Mapping[str, Any]) -> str:
    """The answer of `GET /api/v1/status` for a person: whether all is well, and what to do if not."""
    counts = answer["counts"]
    waiting, kept = answer["outbox"], answer["rejected"]
    lines = [
        f"waiting for the broker  {waiting:,} submissions" + ("  <- is the broker up?" if waiting > 100 else ""),
        f"rejected                {kept:,}" + ("  <- `tocsin rejected list`" if kept else ""),
        f"decided                 {counts.get('versions', 0):,} item versions",
        f"errors in rules         {counts.get('errors', 0):,}"
        + ("  <- `tocsin explain ITEM --json` names them" if counts.get("errors") else ""),
        f"policy                  {answer['policy'][:16]}",
        "partners",
    ]
    for row in answer["partners"]:
        state = "suspended" if row["suspended"] else "receives" if row["receives"] else "receives nothing"
        lines.append(f"  {row['id']:<20} {state}")
    return "\n".join(lines)
