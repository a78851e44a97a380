"""A made-up object of every type that leaves the hub, with all the properties that its type has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.fingerprint import Ioc
from schemas.known import Contribution
from schemas.objects import take_references
from schemas.timestamps import parse_time
from services.enrich.context import Context
from services.govern.redact import Subject, whole

URL = "https://login.lure.example/u/amina-k"

_REFERENCES = [
    {"source_name": "case file", "external_id": "C-7", "description": "How Amina came to it."},
    {"source_name": "web", "url": "https://report.example/cases/amina", "hashes": {"SHA-256": "0" * 64}},
]
_PHASES = [
    {"kill_chain_name": "lockheed-martin-cyber-kill-chain", "phase_name": "delivery"},
    {"kill_chain_name": "lockheed-martin-cyber-kill-chain", "phase_name": "exploitation"},
]
_SEEN = {"first_seen": "2026-10-03T21:14:05.123Z", "last_seen": "2026-11-04T06:40:11.000Z"}
_NAMED = {"name": "Quiet Heron", "description": "Was found on the phone of Amina K."}
_ALIASES = {"aliases": ["Grey Heron", "Still Heron"]}
_MOTIVES = {
    "goals": ["to know who meets whom", "to frighten"],
    "resource_level": "government",
    "primary_motivation": "ideology",
    "secondary_motivations": ["dominance", "revenge"],
}


def _id(type_: str, number: int = 1) -> str:
    return f"{type_}--{number:08x}-0000-4000-8000-000000000000"


_INDICATOR = _id("indicator", 7)
_REFS = {"object_refs": [_INDICATOR, _id("malware", 8), _id("tool", 9)]}
_OWN: Mapping[str, Mapping[str, Any]] = {
    "indicator": {
        **_NAMED,
        "indicator_types": ["malicious-activity", "attribution"],
        "pattern": f"[url:value = '{URL}']",
        "pattern_type": "stix",
        "pattern_version": "2.1",
        "valid_from": "2026-11-03T21:14:05Z",
        "valid_until": "2026-11-20T00:00:00.5Z",
        "kill_chain_phases": _PHASES,
    },
    "malware": {
        **_NAMED,
        **_ALIASES,
        **_SEEN,
        "malware_types": ["spyware", "trojan"],
        "is_family": True,
        "kill_chain_phases": _PHASES,
        "operating_system_refs": [_id("software", 3)],
        "architecture_execution_envs": ["arm", "x86-64"],
        "implementation_languages": ["c", "swift"],
        "capabilities": ["captures-input-peripherals", "exfiltrates-data"],
        "sample_refs": [_id("file", 4), _id("artifact", 5)],
    },
    "tool": {
        **_NAMED,
        **_ALIASES,
        "tool_types": ["remote-access"],
        "kill_chain_phases": _PHASES,
        "tool_version": "1.2",
    },
    "attack-pattern": {**_NAMED, **_ALIASES, "kill_chain_phases": _PHASES},
    "campaign": {**_NAMED, **_ALIASES, **_SEEN, "objective": "to know who meets whom"},
    "intrusion-set": {**_NAMED, **_ALIASES, **_SEEN, **_MOTIVES},
    "threat-actor": {
        **_NAMED,
        **_ALIASES,
        **_SEEN,
        **_MOTIVES,
        "threat_actor_types": ["nation-state"],
        "roles": ["director", "agent"],
        "sophistication": "advanced",
        "personal_motivations": ["revenge"],
    },
    "identity": {
        **_NAMED,
        "roles": ["lawyer", "board member"],
        "identity_class": "individual",
        "sectors": ["non-profit"],
        "contact_information": "amina@ngo.example",
    },
    "vulnerability": _NAMED,
    "course-of-action": _NAMED,
    "infrastructure": {
        **_NAMED,
        **_ALIASES,
        **_SEEN,
        "infrastructure_types": ["command-and-control"],
        "kill_chain_phases": _PHASES,
    },
    "relationship": {
        "relationship_type": "indicates",
        "description": "By the hand of Amina K.",
        "source_ref": _INDICATOR,
        "target_ref": _id("malware", 8),
        "start_time": "2026-11-03T21:14:05Z",
        "stop_time": "2026-11-03T21:14:05.000001Z",
    },
    "sighting": {
        "description": "On the phone of Amina K.",
        **_SEEN,
        "count": 37,
        "sighting_of_ref": _INDICATOR,
        "observed_data_refs": [_id("observed-data", 2)],
        "where_sighted_refs": [_id("location", 3), _id("identity", 4)],
        "summary": False,
    },
    "report": {**_NAMED, "report_types": ["campaign"], "published": "2026-11-03T21:14:05Z", **_REFS},
    "grouping": {**_NAMED, "context": "suspicious-activity", **_REFS},
    "note": {"abstract": "In short", "content": "Amina K. told us.", "authors": ["A. Writer"], **_REFS},
    "opinion": {"explanation": "Amina K. told us.", "authors": ["A. Writer"], "opinion": "agree", **_REFS},
    "location": {
        "name": "The office",
        "description": "Where Amina K. works.",
        "latitude": 12.5,
        "longitude": -7.25,
        "precision": 100.0,
        "region": "western-africa",
        "country": "XA",
        "administrative_area": "XA-12",
        "city": "Old Town",
        "street_address": "7 Well Street",
        "postal_code": "1234",
    },
    "observed-data": {
        "first_observed": "2026-11-03T21:14:05Z",
        "last_observed": "2026-11-04T21:14:05Z",
        "number_observed": 250,
        "object_refs": [_id("domain-name", 4), _id("url", 5)],
    },
    "incident": _NAMED,
}
FULL: Mapping[str, Mapping[str, Any]] = {
    type_: {
        "type": type_,
        "spec_version": "2.1",
        "id": _id(type_),
        "created_by_ref": _id("identity"),
        "created": "2026-11-01T10:11:12.000Z",
        "modified": "2026-11-10T10:11:12.345Z",
        **own,
        "labels": ["seen-by-amina", "phishing"],
        "confidence": 60,
        "lang": "en",
        "external_references": _REFERENCES,
    }
    for type_, own in _OWN.items()
}


def taken(body: Mapping[str, Any], **fields: Any) -> tuple[Contribution, dict[str, str]]:
    """A contribution as the hub would keep it, and the ids of what it refers to by their made-up fingerprints."""
    kept = dict(body)
    ends = {f"{number:032x}": pair for number, pair in enumerate(take_references(kept))}
    kinds: Sequence[str] = kept.get(f"{kept['type'].replace('-', '_')}_types", ())
    contribution = Contribution(
        seq=1,
        index=0,
        object=kept,
        references=tuple((name, end) for end, (name, _) in ends.items()),
        labels=(*kept.get("labels", ()), *kinds),
        context=("Quiet Heron",),
        joins=(("report", "amina"),),
        created_ms=parse_time(kept["created"]),
        modified_ms=parse_time(kept["modified"]),
        first_seen_ms=_time(kept, ("valid_from", "first_seen", "first_observed", "start_time"), "created"),
        last_seen_ms=_time(kept, ("last_seen", "last_observed", "stop_time"), "modified"),
        **fields,
    )
    return contribution, {end: id_ for end, (_, id_) in ends.items()}


def _time(body: Mapping[str, Any], names: Sequence[str], otherwise: str) -> int:
    return parse_time(next((body[name] for name in names if name in body), body[otherwise]))


def contribution_of(type_: str, **changes: Any) -> Contribution:
    """Of a full object; None takes a property away."""
    return taken({name: value for name, value in {**FULL[type_], **changes}.items() if value is not None})[0]


def subject_of(contribution: Contribution, kind: str = "", value: str = "") -> Subject:
    """Of an indicator it is that of its URL, unless another is given."""
    type_ = contribution.object["type"]
    default = ("url", URL) if type_ == "indicator" else (f"stix:{type_}", "v")
    affected = contribution.handling.get("affected", ("XA", "XB"))
    return Subject(type_, kind or default[0], value or default[1], whole(contribution, affected))


def nothing_known(ioc: Ioc) -> Context:
    """Local data that say nothing."""
    return Context()


def given_back(contribution: Contribution, ids: Mapping[str, str]) -> dict[str, Any]:
    """The object with its references as ids again."""
    body = dict(contribution.object)
    for name, end in contribution.references:
        if name.endswith("_refs"):
            body[name] = [*body.get(name, ()), ids[end]]
        else:
            body[name] = ids[end]
    return body
