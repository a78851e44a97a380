"""What a MISP lists and gives, and how an event becomes bodies for accept. Pure.

Sources: the MISP core format (draft-dulaunoy-misp-core-format) with its manifest, and MISP's OpenAPI for
`events/restSearch` and `events/index`. An event is a snapshot of its attributes: what is no longer in it, or is in
it as deleted, is withdrawn unless another event holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any
from uuid import UUID

import orjson

from connectors.slices import Element, Part, cut
from schemas import fingerprint, safejson
from schemas.errors import BodyRefused, ItemRefused, PartnerFailed

MAX_EVENTS = 50_000
_SPREAD = ("Attribute", "Object")
_UNUSED = ("RelatedEvent", "ShadowAttribute", "Feed", "EventReport", "CryptographicKey", "Galaxy")

Listing = Mapping[str, int]
"""Events by their uuids: when they were changed last, in seconds since 1970."""


def loads(body: bytes, where: str) -> Any:
    try:
        return safejson.loads(body)
    except BodyRefused as refusal:
        raise PartnerFailed(refusal.code, f"its answer: {refusal.what}", where=where) from None


def manifest(document: Any, where: str) -> Listing:
    """The events of a static feed, by its `manifest.json`."""
    if not isinstance(document, dict):
        raise not_misp(where)
    return _listing([{**entry, "uuid": uuid} for uuid, entry in document.items() if isinstance(entry, dict)], where)


def index(document: Any, where: str) -> Listing:
    """The events of `events/index` (with `minimal`)."""
    if not isinstance(document, list):
        raise not_misp(where)
    return _listing([entry.get("Event", entry) if isinstance(entry, dict) else {} for entry in document], where)


def found(document: Any, where: str) -> Sequence[Mapping[str, Any]]:
    """The events in an answer of `events/restSearch`."""
    events = document.get("response") if isinstance(document, dict) else document
    if not isinstance(events, list):
        raise not_misp(where)
    events = [each.get("Event") if isinstance(each, dict) else None for each in events]
    if not all(isinstance(event, dict) for event in events):
        raise not_misp(where)
    return events


def listed(events: Sequence[Mapping[str, Any]], where: str) -> Listing:
    return _listing(events, where)


def _listing(entries: Sequence[Mapping[str, Any]], where: str) -> Listing:
    check_number(entries, where)
    listing = {}
    for entry in entries:
        uuid = _uuid(entry.get("uuid"))
        try:
            at = int(entry.get("timestamp", -1))
        except (TypeError, ValueError):
            at = -1
        if not uuid or not 0 <= at < 2**40:
            raise not_misp(where)
        listing[uuid] = at
    return listing


def check_number(entries: Sized, where: str) -> None:
    if len(entries) > MAX_EVENTS:
        hint = "name fewer of them, by `filters`, or by a narrower user there"
        raise PartnerFailed("too-many-events", f"it has more than {MAX_EVENTS:,} events", where=where, hint=hint)


def _uuid(text: Any) -> str:
    """Also because it becomes a part of an address: only what is a UUID may."""
    try:
        return str(UUID(text)) if isinstance(text, str) and len(text) == 36 else ""
    except ValueError:
        return ""


def event(document: Any, uuid: str, where: str) -> Mapping[str, Any] | None:
    """The event of that uuid in an answer or file; None where it holds none."""
    if isinstance(document, dict) and isinstance(document.get("Event"), dict):
        events: Sequence[Mapping[str, Any]] = [document["Event"]]
    else:
        events = found(document, where)
    return next((each for each in events if _uuid(each.get("uuid")) == uuid), None)


def parts(whole: Mapping[str, Any]) -> list[Part]:
    """An event in bodies for accept, each with all that attributes inherit; one that names no indicator has none.

    What accept does not read is left out: proposals, reports and other events.
    """
    frame = {name: value for name, value in whole.items() if name not in (*_SPREAD, *_UNUSED)}
    elements = []
    for kind in _SPREAD:
        held = whole.get(kind)
        for number, each in enumerate(held if isinstance(held, list) else []):
            id_ = each.get("uuid") if isinstance(each, dict) else None
            elements.append(Element(f"{kind} {id_ or number}".encode(), orjson.dumps([kind, each])))
    return [Part(name, _body(frame, slice_)) for name, slice_ in cut(elements)]


def _body(frame: Mapping[str, Any], elements: Sequence[bytes]) -> bytes:
    spread: dict[str, list[Any]] = {name: [] for name in _SPREAD}
    for kind, each in map(orjson.loads, elements):
        spread[kind].append(each)
    # accept withdraws nothing by a body in which it finds nothing: that such a one is meant has to be said
    if not any(_names(kind, each) for kind in _SPREAD for each in spread[kind]):
        return b""
    return orjson.dumps({"Event": {"info": "", **frame, **spread}})


def _names(kind: str, part: Any) -> bool:
    """Whether an attribute or object names an indicator, or might: what makes no sense counts."""
    if not isinstance(part, dict):
        return True
    if part.get("deleted") in (True, 1, "1", "true"):
        return False
    if kind == "Object":
        held = part.get("Attribute", [])
        return not isinstance(held, list) or any(_names("Attribute", each) for each in held)
    name, value = part.get("type"), part.get("value")
    try:
        return not isinstance(name, str) or not isinstance(value, str) or bool(fingerprint.from_type(name, value))
    except ItemRefused:
        return True


def not_misp(where: str) -> PartnerFailed:
    return PartnerFailed("not-misp", "its answer is not what a MISP says", where=where, hint="check the address")
