"""What makes two STIX objects that are no indicators the same item, and what an object refers to.

| type | its identity |
|---|---|
| `malware` | family or instance, and its name |
| `tool` | its name |
| `attack-pattern` | its ATT&CK id, else its name |
| `vulnerability` | its CVE id |
| `identity` | its class and its name, shown only as a hash |
| `relationship` | its type and the fingerprints of its ends |
| `sighting` | what was seen, by its fingerprint; the source; and when it was, else the id of the sighting |
| cyber-observables | the id, where it is the deterministic one (STIX 2.1, section 2.9) of what the object holds |
| all others, and those that lack what their type needs | the source and its id |

Names are folded: NFC, without case, runs of white space one blank. Two sources that name the same malware speak
of the same item; ids of other types are their source's, since nothing in them says that two are the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import orjson

from schemas.fingerprint import clean_text, named_fingerprint
from schemas.stix_types import TYPES
from schemas.timestamps import parse_time

OBSERVABLES = UUID("00abedb4-aa42-466c-9c01-fed23315a9b7")
"""The namespace of deterministic ids (STIX 2.1, section 2.9)."""
_NO_ITEMS = frozenset(("marking-definition", "extension-definition", "bundle"))
"""Types whose ids refer to no item: markings are resolved by id, extensions are known or not."""

ENDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "relationship": ("source_ref", "target_ref"),
        "sighting": ("sighting_of_ref",),
        "language-content": ("object_ref",),
        **dict.fromkeys(("opinion", "note", "report", "grouping"), ("object_refs",)),
    }
)
"""What an object of a type says nothing without: each of these, and of a list at least one entry."""


class Identity(NamedTuple):
    """`parts` are what the fingerprint is made of, `value` is what a person may see and look up."""

    parts: tuple[str, ...]
    value: str


# --- references -----------------------------------------------------------------------------------------------


def _is_reference(name: str) -> bool:
    return name.endswith(("_ref", "_refs")) and name != "object_marking_refs"


REFERENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        name: tuple(sorted(property_ for property_ in stix_type.checks if _is_reference(property_)))
        for name, stix_type in TYPES.items()
    }
)
"""By type, the properties that hold ids of other objects."""
_OF_ANY_TYPE = ("created_by_ref",)


def take_references(body: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Takes the references out of a validated body: (property, id), a list's entries one by one, in their order.

    What refers to no item is gone from the body, and in none of them.
    """
    found: list[tuple[str, str]] = []
    for name in REFERENCES.get(body["type"], _OF_ANY_TYPE):
        if name in body:
            value = body.pop(name)
            ids = dict.fromkeys(value) if isinstance(value, list) else (value,)
            found += [(name, id_) for id_ in ids if id_.partition("--")[0] not in _NO_ITEMS]
    return tuple(found)


# --- identities -----------------------------------------------------------------------------------------------


def identify(body: Mapping[str, Any], source: str) -> Identity:
    """The identity of any validated object but a relationship and a sighting: see `joined` and `seen`.

    The value of an `identity` object is empty: it is the fingerprint, which takes the hub's secret to make.
    Raises `ItemRefused` (`value-too-long`, `value-malformed`) where a name is one that nobody could read.
    """
    kind = f"stix:{body['type']}"
    rule = _RULES.get(body["type"])
    known_by = rule(body) if rule else None
    if known_by is None:
        value = f"{source}/{body['id']}"
        return Identity((kind, value), value)
    *how, value = known_by
    return Identity((kind, *how, value), "" if body["type"] == "identity" else value)


def joined(relationship_type: str, source: bytes, target: bytes) -> Identity:
    """The identity of a relationship between two items, by their fingerprints."""
    value = f"{relationship_type} {source.hex()} {target.hex()}"
    return Identity(("stix:relationship", value), value)


def seen(what: bytes, who: str, when: str) -> Identity:
    """The identity of a sighting; `when` as in `when_seen`."""
    value = f"{what.hex()} {who} {when}"
    return Identity(("stix:sighting", value), value)


def when_seen(body: Mapping[str, Any]) -> str:
    """When a sighting says that it was, in ms since 1970: `first/last`; else its id.

    Those of one export often are of one moment of creation, and of different places; counts change from version to
    version. Only the id keeps such sightings apart, and stays when one is sent again.
    """
    first, last = body.get("first_seen"), body.get("last_seen")
    if first is None and last is None:
        return str(body["id"])
    return "/".join("" if time is None else str(parse_time(time)) for time in (first, last))


def key_of(secret: bytes, identity: Identity) -> bytes:
    """The fingerprint of an object: 16 bytes."""
    return named_fingerprint(secret, *identity.parts)


def fold(name: str) -> str:
    """A name as it is compared. Raises `ItemRefused` as `clean_text`."""
    folded = unicodedata.normalize("NFC", clean_text(name).casefold())
    return " ".join(folded.split())


def _named(body: Mapping[str, Any], *how: str) -> tuple[str, ...] | None:
    name = fold(body.get("name", ""))
    return (*how, name) if name else None


def _malware(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    return _named(body, "family" if body.get("is_family") else "instance")


def _tool(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    return _named(body, "name")


def _identity(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    return _named(body, "class", fold(body.get("identity_class", "")))


_ATTACK = frozenset(("mitre-attack", "mitre-mobile-attack", "mitre-ics-attack"))
_technique = re.compile(r"T[0-9]{4}(?:\.[0-9]{3})?").fullmatch
_cve = re.compile(r"CVE-[0-9]{4}-[0-9]{4,19}").fullmatch


def _attack_pattern(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    for source_name, external_id in _external_ids(body):
        if source_name.lower() in _ATTACK and _technique(known := external_id.strip().upper()):
            return "attack", known
    return _named(body, "name")


def _vulnerability(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    ids = [external_id for source_name, external_id in _external_ids(body) if source_name.lower() == "cve"]
    for candidate in (*ids, body.get("name", "")):
        if _cve(known := candidate.strip().upper()):
            return "cve", known
    return None


def _external_ids(body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    references = body.get("external_references", ())
    return ((each["source_name"], each["external_id"]) for each in references if "external_id" in each)


# --- cyber-observables ----------------------------------------------------------------------------------------

_CONTRIBUTING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "artifact": ("hashes", "payload_bin"),
        "autonomous-system": ("number",),
        "directory": ("path",),
        "email-message": ("from_ref", "subject", "body"),
        "file": ("hashes", "name", "extensions", "parent_directory_ref"),
        "mutex": ("name",),
        "network-traffic": (
            *("start", "end", "src_ref", "dst_ref", "src_port", "dst_port", "protocols", "extensions"),
        ),
        "software": ("name", "cpe", "swid", "vendor", "version"),
        "user-account": ("account_type", "user_id", "account_login"),
        "windows-registry-key": ("key", "values"),
        "x509-certificate": ("hashes", "serial_number"),
        **dict.fromkeys(("domain-name", "email-addr", "ipv4-addr", "ipv6-addr", "mac-addr", "url"), ("value",)),
    }
)
"""By type, the properties of which a deterministic id is made (STIX 2.1, section 6)."""
_PREFERRED_HASHES = ("MD5", "SHA-1", "SHA-256", "SHA-512")


def _observable(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    """By the id, if it is the one that everybody would give: an id of another making says nothing."""
    id_: str = body["id"]
    if id_[-22] != "5":  # the version of a UUID (RFC 9562, section 4.2)
        return None
    parts = {name: body[name] for name in _CONTRIBUTING[body["type"]] if name in body}
    if "hashes" in parts:
        parts["hashes"] = _one_hash(parts["hashes"])
    if not parts:
        return None
    # RFC 8785; of the numbers there are whole ones only
    canonical = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS).decode()
    return ("content", id_) if id_ == f"{body['type']}--{uuid5(OBSERVABLES, canonical)}" else None


def _one_hash(hashes: Mapping[str, str]) -> Mapping[str, str]:
    name = next((name for name in _PREFERRED_HASHES if name in hashes), min(hashes))
    return {name: hashes[name]}


_RULES = MappingProxyType(
    {
        "malware": _malware,
        "tool": _tool,
        "identity": _identity,
        "attack-pattern": _attack_pattern,
        "vulnerability": _vulnerability,
        **dict.fromkeys(_CONTRIBUTING, _observable),
    }
)
