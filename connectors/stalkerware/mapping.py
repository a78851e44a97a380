"""ECHAP's list of stalkerware to STIX 2.1: an app is malware, and its packages, certificates and hosts indicate it.

Source: `ioc.yaml` of github.com/AssoEchap/stalkerware-indicators and what its `scripts/linter.py` asks of it.
Values that are no indicators are handed on as they are written; accept refuses them, and keeps why. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from connectors.slices import Part, stix_parts
from schemas import fingerprint, patterns, safeyaml
from schemas.errors import BodyRefused, ItemRefused, PartnerFailed
from schemas.fingerprint import Ioc
from schemas.timestamps import format_time

MAX_APPS = 20_000
FRAME: Mapping[str, Any] = {"type": "bundle", "id": "stalkerware"}

_NAMESPACE = UUID("9c6a53f0-3f5a-4a0e-8f0c-0e6d1a6c0f57")
_HOSTS = (("websites",), ("distribution",), ("c2", "domains"), ("c2", "ips"))


class App(NamedTuple):
    """`values` are (kind, value, what it is there for), as written."""

    name: str
    names: tuple[str, ...]
    type: str
    values: tuple[tuple[str, str, str], ...]


def parts(body: bytes, at_ms: int, where: str) -> list[Part]:
    """The list in bodies for accept; `at_ms` is when it was published. Raises `PartnerFailed` where it is none."""
    return stix_parts(list(objects(apps(body, where), at_ms)), FRAME)


def apps(body: bytes, where: str) -> list[App]:
    try:
        document = safeyaml.loads(body)
    except BodyRefused as refusal:
        place = f"{where} {refusal.where}".strip()
        raise PartnerFailed(refusal.code, f"its list: {refusal.what}", where=place) from None
    if not isinstance(document, list) or not document or len(document) > MAX_APPS:
        raise PartnerFailed("not-a-list", f"it is no list of 1 to {MAX_APPS:,} apps", where=where)
    return [_app(entry, f"{where} entry {number}") for number, entry in enumerate(document, 1)]


def _app(entry: Any, where: str) -> App:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise PartnerFailed("app-invalid", "an app of its list has no name", where=where)
    values = [("app-id", value, "package") for value in _texts(entry, "packages", where)]
    values += [("certificate", value, "certificate") for value in _texts(entry, "certificates", where)]
    for path in _HOSTS:
        holder = entry
        for step in path[:-1]:
            holder = holder.get(step) or {}
            if not isinstance(holder, dict):
                raise PartnerFailed("app-invalid", f"`{step}` of an app is no map", where=where)
        values += [("host", value, path[0].removesuffix("s")) for value in _texts(holder, path[-1], where)]
    names = tuple(dict.fromkeys(each for each in _texts(entry, "names", where) if each != name))
    type_ = entry.get("type")
    return App(name.strip(), names, type_ if isinstance(type_, str) and type_ else "stalkerware", tuple(values))


def _texts(entry: Mapping[str, Any], name: str, where: str) -> Sequence[str]:
    found = entry.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise PartnerFailed("app-invalid", f"`{name}` of an app is no list of texts", where=where)
    return [each.strip() for each in found if each.strip()]


def objects(found: Sequence[App], at_ms: int) -> Iterator[Mapping[str, Any]]:
    """Malware, then indicators, then relationships; their ids follow from what they say, and stay."""
    at = {"spec_version": "2.1", "created": format_time(at_ms), "modified": format_time(at_ms)}
    indicators: dict[str, dict[str, None]] = {}
    links: dict[str, Mapping[str, Any]] = {}
    malware: dict[str, Mapping[str, Any]] = {}
    for app in found:
        own = _id("malware", app.name.casefold())
        malware[own] = {
            "type": "malware",
            **at,
            "id": own,
            "name": app.name,
            **({"aliases": [*app.names]} if app.names else {}),
            "malware_types": ["spyware"],
            "labels": [app.type],
            "is_family": True,
        }
        for kind, value, use in app.values:
            pattern = _pattern(kind, value)
            indicators.setdefault(pattern, {})[use] = None
            link = _id("relationship", pattern, own)
            links[link] = {
                "type": "relationship",
                **at,
                "id": link,
                "relationship_type": "indicates",
                "source_ref": _id("indicator", pattern),
                "target_ref": own,
            }
    yield from malware.values()
    for pattern, uses in indicators.items():
        yield {
            "type": "indicator",
            **at,
            "id": _id("indicator", pattern),
            "indicator_types": ["malicious-activity"],
            "labels": sorted(uses),
            "pattern": pattern,
            "pattern_type": "stix",
            "valid_from": at["created"],
        }
    yield from links.values()


def _pattern(kind: str, value: str) -> str:
    try:
        if kind == "host":
            ioc = fingerprint.host(value) or Ioc("domain", value)
        elif kind == "certificate":
            ioc = fingerprint.file_hash(value, certificate=True) or Ioc("cert-sha1", value)
        else:
            ioc = Ioc(kind, value)
    except ItemRefused:  # accept refuses it in its turn, and keeps why
        ioc = Ioc({"host": "domain", "certificate": "cert-sha1"}.get(kind, kind), value)
    return patterns.generate(ioc)


def _id(type_: str, *words: str) -> str:
    return f"{type_}--{uuid5(_NAMESPACE, chr(0).join((type_, *words)))}"
