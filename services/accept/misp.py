"""MISP event JSON: one draft for each IoC of an event's attributes.

Source: the MISP core format (draft-dulaunoy-misp-core-format). `to_ids` says what a source does with an
attribute, not what it is; it is not asked. A deleted attribute only takes back what it said before; proposals
(ShadowAttribute) are no word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from schemas.agreement import Agreement
from schemas.errors import ItemRefused, clip
from schemas.markings import PINNED, Tlp, from_misp_distribution
from schemas.safejson import control_character
from services.accept.indicators import Word, by_misp_type, drafts, split_tags
from services.accept.reading import Aside, Gathering, Reading
from services.accept.times import read_time

FORMAT = "misp"
DELETED = "deleted by its source"

Part = Mapping[str, Any]

MAX_CERTIFICATES = 20
_INHERITED = ("uuid", "date", "timestamp", "distribution", "Tag")


def events_in(document: Any) -> list[tuple[str, Any]] | None:
    """The events in a document as they came, with their JSON pointers; None where it is not MISP's.

    Takes `{"Event": …}`, `{"response": [{"Event": …}]}`, a list of these, and an event by itself. Of a list that
    holds an event every entry is given, whatever it is.
    """
    if isinstance(document, dict) and "response" in document and "type" not in document:
        return _events_below("/response", document["response"])
    return _events_below("", document)


def _events_below(pointer: str, part: Any) -> list[tuple[str, Any]] | None:
    if isinstance(part, list):
        if not any(_is_event(entry) for entry in part):
            return None
        return [(f"{pointer}/{index}", entry) for index, entry in enumerate(part)]
    return [(pointer, part)] if _is_event(part) else None


def _is_event(part: Any) -> bool:
    if not isinstance(part, dict) or "type" in part:
        return False
    return "Event" in part or ("info" in part and ("Attribute" in part or "Object" in part))


def read(events: Sequence[tuple[str, Any]], agreement: Agreement, now_ms: int) -> Reading:
    """Never raises for what is inside an event: a fault refuses its attribute, or the event it is in."""
    gathering = Gathering()
    for pointer, part in events:
        before = len(gathering.items)
        wrapped = isinstance(part, dict) and "Event" in part
        where = f"{pointer}/Event" if wrapped else pointer
        with gathering.refusing(where, partial(orjson.dumps, part)):
            if not _is_event(part):
                raise _no_event()
            _read_event(where, part["Event"] if wrapped else part, agreement, now_ms, gathering)
            if len(gathering.items) == before:
                gathering.add(Aside(where, "skipped", "this event has no attributes"))
    return Reading(FORMAT, tuple(gathering.items))


def _no_event() -> ItemRefused:
    return ItemRefused(
        "misp-invalid",
        "this stands in a list of MISP events and is none",
        hint="send what is not MISP in a submission of its own",
    )


class _Tags(NamedTuple):
    markings: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    has_tlp: bool = False


_NO_TAGS = _Tags()


class _Event(NamedTuple):
    """What all attributes of an event inherit."""

    fields: Mapping[str, Any]
    tags: _Tags
    at_ms: int | None
    distribution_marks: bool
    uuid: str = ""
    certificates: tuple[str, ...] = ()
    """The hashes of the certificate that the object tells of in which an attribute stands."""


def _read_event(pointer: str, fields: Any, agreement: Agreement, now_ms: int, gathering: Gathering) -> None:
    fields = _dict(fields, "an event")
    ignores = agreement.contributes is not None and agreement.contributes.distribution == "ignore"
    event = _Event(
        fields=fields,
        tags=_tags(fields),
        at_ms=_time(fields, "timestamp") or _time(fields, "date"),
        distribution_marks=not ignores,
        uuid=_uuid(fields.get("uuid")),
    )
    around = (fields.get("distribution"),)
    _read_attributes(pointer, fields, around, event, now_ms, gathering, _in_event)
    for number, part in enumerate(_list(fields, "Object")):
        where = f"{pointer}/Object/{number}"
        with gathering.refusing(where, partial(_alone, {"Object": [part]}, event)):
            misp_object = _dict(part, "an object")
            if _is_true(misp_object.get("deleted")):
                _delete(where, misp_object, event, now_ms, gathering)
                continue
            chain = (*around, misp_object.get("distribution"))
            holding = partial(_in_object, misp_object)
            of_object = event._replace(certificates=_certificates(misp_object))
            _read_attributes(where, misp_object, chain, of_object, now_ms, gathering, holding)


def _read_attributes(
    pointer: str,
    holder: Mapping[str, Any],
    around: tuple[Any, ...],
    event: _Event,
    now_ms: int,
    gathering: Gathering,
    holding: Callable[[Any], Part],
) -> None:
    """The attributes of an event or object; `around` are the distributions that they are within.

    `holding` gives as much of the holder as one attribute needs around it to mean what it means.
    """
    for index, attribute in enumerate(_list(holder, "Attribute")):
        where = f"{pointer}/Attribute/{index}"
        with gathering.refusing(where, partial(_alone, holding(attribute), event)):
            _read_attribute(where, attribute, around, event, now_ms, gathering)


def _in_event(attribute: Any) -> Part:
    return {"Attribute": [attribute]}


def _in_object(misp_object: Part, attribute: Any) -> Part:
    return {"Object": [{"distribution": misp_object.get("distribution"), "Attribute": [attribute]}]}


def _alone(part: Part, event: _Event) -> bytes:
    """A body with only this part of an event, and what it inherits."""
    kept = {name: event.fields[name] for name in _INHERITED if name in event.fields}
    return orjson.dumps({"Event": {"info": "", **kept, **part}})


def _read_attribute(
    where: str, attribute: Any, around: tuple[Any, ...], event: _Event, now_ms: int, gathering: Gathering
) -> None:
    attribute = _dict(attribute, "an attribute")
    if _is_true(attribute.get("deleted")):
        gathering.add(_aside(where, attribute, event, now_ms, DELETED, revoked=True))
        return
    name, value = _text(attribute, "type"), _text(attribute, "value")
    _refuse_control_characters(attribute)
    parsed = by_misp_type(name, value)
    if not parsed.iocs:
        reason = f"an attribute of type {clip(name)!r} is not an indicator"
        gathering.add(_aside(where, attribute, event, now_ms, reason))
        return
    for draft in drafts(where, parsed, _word(attribute, around, event), now_ms):
        gathering.add(draft)


def _delete(where: str, misp_object: Part, event: _Event, now_ms: int, gathering: Gathering) -> None:
    """A deleted object takes its attributes with it, whether they say so or not."""
    gathering.add(Aside(where, "skipped", DELETED))
    for index, attribute in enumerate(_list(misp_object, "Attribute")):
        if isinstance(attribute, dict) and _stix_id(attribute.get("uuid")):
            newer = (part for part in (attribute, misp_object) if _time(part, "timestamp"))
            at = max(newer, key=lambda part: _time(part, "timestamp") or 0, default=attribute)
            word = {**attribute, "timestamp": at.get("timestamp")}
            gathering.add(_aside(f"{where}/Attribute/{index}", word, event, now_ms, DELETED, revoked=True))


def _aside(where: str, attribute: Part, event: _Event, now_ms: int, reason: str, revoked: bool = False) -> Aside:
    """An attribute that is no indicator, or none any more: its id may have named one."""
    at_ms = _time(attribute, "timestamp") or event.at_ms or now_ms
    return Aside(where, "skipped", reason, id=_stix_id(attribute.get("uuid")), modified_ms=at_ms, revoked=revoked)


def _refuse_control_characters(part: Any) -> None:
    if pointer := control_character(part):
        raise ItemRefused(
            "control-character", "there is a control character in this text", where=pointer, hint="remove it"
        )


def _word(attribute: Mapping[str, Any], around: tuple[Any, ...], event: _Event) -> Word:
    tags = _joined(event.tags, _tags(attribute))
    markings = tags.markings
    if event.distribution_marks and not tags.has_tlp:
        markings += _by_distribution((*around, attribute.get("distribution")))
    at_ms = _time(attribute, "timestamp") or event.at_ms
    return Word(
        id=_stix_id(attribute.get("uuid")),
        created_ms=at_ms,
        modified_ms=at_ms,
        first_seen_ms=_time(attribute, "first_seen"),
        last_seen_ms=_time(attribute, "last_seen"),
        description=_text(attribute, "comment", optional=True).strip(),
        markings=markings,
        labels=tags.labels,
        event=event.uuid,
        joins=tuple(("certificate", value) for value in event.certificates),
    )


def _certificates(misp_object: Part) -> tuple[str, ...]:
    """The hashes of certificates among the attributes of an object; what is no attribute is refused elsewhere."""
    found: dict[str, None] = {}
    for attribute in _list(misp_object, "Attribute"):
        if not isinstance(attribute, dict) or _is_true(attribute.get("deleted")):
            continue
        name, value = attribute.get("type"), attribute.get("value")
        if isinstance(name, str) and isinstance(value, str) and name.startswith("x509-fingerprint-"):
            with suppress(ItemRefused):
                found.update((ioc.value, None) for ioc in by_misp_type(name, value).iocs)
    return tuple(found)[:MAX_CERTIFICATES]


def _by_distribution(chain: tuple[Any, ...]) -> tuple[str, ...]:
    """The marking of the narrowest link: who can't see an event sees none of its attributes, whatever they say."""
    for distribution in chain:
        if distribution is not None and (marking := from_misp_distribution(distribution)):
            return (marking,)
    return ()


def _stix_id(uuid: Any) -> str:
    known = _uuid(uuid)
    return f"indicator--{known}" if known else ""


def _uuid(uuid: Any) -> str:
    try:
        return str(UUID(uuid)) if isinstance(uuid, str) and len(uuid) == 36 else ""
    except ValueError:
        return ""


def _tags(fields: Mapping[str, Any]) -> _Tags:
    tags = _list(fields, "Tag")
    if not tags:
        return _NO_TAGS
    _refuse_control_characters(tags)
    # a tag that can't be read may have been a marking: it must not be left out
    names = [_text(_dict(tag, "a tag"), "name") for tag in tags]
    markings, labels = split_tags(names)
    return _Tags(markings, labels, any(isinstance(PINNED.get(marking), Tlp) for marking in markings))


def _joined(of_event: _Tags, own: _Tags) -> _Tags:
    if own is _NO_TAGS:
        return of_event
    markings = tuple(dict.fromkeys(of_event.markings + own.markings))
    return _Tags(markings, of_event.labels + own.labels, of_event.has_tlp or own.has_tlp)


def _time(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None or value is False:
        return None
    try:
        return read_time(str(value) if isinstance(value, int) else _text(fields, name))
    except ItemRefused as error:
        error.where, error.field = f"/{name}", name
        raise


def _is_true(value: Any) -> bool:
    return value in (True, 1, "1", "true")


def _dict(part: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(part, dict):
        raise ItemRefused("misp-invalid", f"{what} must be a JSON object", hint="send events as MISP exports them")
    return part


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    part = fields.get(name)
    if part is None:
        return []
    if not isinstance(part, list):
        raise ItemRefused(
            "misp-invalid",
            f"`{name}` must be a list",
            where=f"/{name}",
            hint="send events as MISP exports them",
            field=name,
        )
    return part


def _text(fields: Mapping[str, Any], name: str, optional: bool = False) -> str:
    value = fields.get(name)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        raise ItemRefused(
            "misp-invalid",
            f"`{name}` must be a text",
            where=f"/{name}",
            hint="send events as MISP exports them",
            field=name,
        )
    return value
