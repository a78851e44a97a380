"""What MISP's answers to a push mean, and what is to be done after a search. Pure.

Attributes: app/Controller/AttributesController.php of MISP. Events: as PyMISP 2.5, MISP's own client, reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from schemas.errors import BodyRefused, PartnerFailed
from schemas.safejson import loads

BUSY = (408, 425, 429, 502, 503, 504)
COMPARED = ("type", "category", "value", "to_ids", "comment", "distribution", "first_seen", "last_seen")


class Held(NamedTuple):
    """An attribute as MISP holds it; `event` is the event's uuid."""

    event: str
    deleted: bool
    timestamp: int
    fields: Mapping[str, Any]


def search(uuids: Iterable[str]) -> dict[str, Any]:
    """The body of attributes/restSearch for these attributes, whether they were deleted or not."""
    return {"returnFormat": "json", "uuid": list(uuids), "deleted": [0, 1]}


def found(body: bytes, where: str) -> dict[str, Held]:
    """By uuid what the search gave. Raises `PartnerFailed`."""
    listed = _attributes(_within(read(body, where), "response"))
    try:
        return {str(UUID(fields["uuid"])): _held(fields) for fields in listed}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise not_misp(where) from None


def search_event(uuid: str) -> dict[str, Any]:
    """The body of events/restSearch for an event without its attributes."""
    return {"returnFormat": "json", "uuid": uuid, "metadata": 1}


def found_event(body: bytes, uuid: str, where: str) -> Mapping[str, Any] | None:
    """The fields of the event that was searched; None where there is none. Raises `PartnerFailed`."""
    listed = _within(read(body, where), "response")
    if not isinstance(listed, list):
        raise not_misp(where)
    events = (_within(entry, "Event") for entry in listed)
    return next((one for one in events if isinstance(one, dict) and one.get("uuid") == uuid), None)


def _held(fields: Mapping[str, Any]) -> Held:
    event = fields.get("Event") or {}
    return Held(
        event=str(UUID(event["uuid"])) if "uuid" in event else "",
        deleted=_flag(fields.get("deleted", False)),
        timestamp=int(fields.get("timestamp", 0)),
        fields=fields,
    )


def taken(body: bytes, where: str) -> frozenset[str]:
    """The uuids of the attributes in an answer to attributes/add: one attribute, or a list."""
    answer = read(body, where)
    return frozenset(str(fields.get("uuid", "")).lower() for fields in _attributes(answer))


def _attributes(answer: Any) -> list[Mapping[str, Any]]:
    listed = _within(answer, "Attribute")
    return [fields for fields in (listed if isinstance(listed, list) else [listed]) if isinstance(fields, dict)]


def _within(answer: Any, name: str) -> Any:
    return answer.get(name, {}) if isinstance(answer, dict) else {}


def says_invalid(body: bytes, where: str) -> bool:
    """Whether an answer of 403 speaks of what was sent (it then has `errors`), and not of who sent it."""
    answer = read(body, where)
    return isinstance(answer, dict) and bool(answer.get("errors"))


def same(held: Held, fields: Mapping[str, Any]) -> bool:
    """Whether MISP holds an attribute as it is to be. Its time alone does not say so: MISP puts its own, also where
    somebody there did something to the attribute, and what we say no more may still be in it."""
    return (
        int(fields["timestamp"]) <= held.timestamp
        and all(_plain(held.fields.get(name)) == _plain(fields.get(name)) for name in COMPARED)
        and _tags(fields) <= _tags(held.fields)
    )


def _tags(fields: Mapping[str, Any]) -> set[str]:
    """Without case, as MISP tells them apart."""
    listed = fields.get("Tag")
    tags = listed if isinstance(listed, list) else []
    return {str(tag.get("name")).casefold() for tag in tags if isinstance(tag, dict)}


def edited(held: Held, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body of attributes/edit. MISP takes none whose time is not newer than its own: such a time is left out,
    and MISP puts its own."""
    newer = int(fields["timestamp"]) > held.timestamp
    return {name: value for name, value in fields.items() if name != "timestamp" or newer}


def emptied(uuid: str) -> dict[str, Any]:
    """What an attribute becomes before it is deleted: a soft deletion keeps what it said, and is the only one that
    reaches the other servers to which MISP had passed it on."""
    return {
        "type": "comment",
        "category": "Other",
        "value": f"withdrawn {uuid}",
        "to_ids": False,
        "comment": "",
        "first_seen": None,
        "last_seen": None,
    }


def read(body: bytes, where: str) -> Any:
    try:
        return loads(body)
    except BodyRefused:
        raise not_misp(where) from None


def not_misp(where: str) -> PartnerFailed:
    return PartnerFailed("not-misp", "its answer is none of MISP", where=where, hint="is `url` where MISP is?")


def _flag(value: object) -> bool:
    return value not in (False, None, 0, "0", "", "false")


def _plain(value: object) -> object:
    if isinstance(value, bool) or value in ("0", "1"):
        return _flag(value)
    # MISP writes times with other digits: 2026-11-01T00:00:00.000000+00:00
    return value[:19] if isinstance(value, str) and value[10:11] == "T" and value[4:5] == "-" else value
