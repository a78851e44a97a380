"""What sources of measurements have in common: incidents in STIX, and answers of their servers. Pure.

No text names the country of an incident: it stands in `affected` alone, where the sharing policy can take it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID, uuid5

import orjson

from schemas.errors import BodyRefused, PartnerFailed
from schemas.handling import HANDLING_ID
from schemas.safejson import loads
from schemas.timestamps import format_time

if TYPE_CHECKING:
    from connectors.http import Answer

_NAMESPACE = UUID("2b1d6a0e-6f0b-4f53-9a55-7b8f3c1d9e24")
MAX_OBJECTS = 500
"""Of one bundle."""
MEDIA_TYPE = "application/json"
JSON_TYPES = ("application/json", "text/json")


class Version(NamedTuple):
    """What all objects of one event share. Times are ms since 1970; `key` is the same for all its versions."""

    key: tuple[str, ...]
    category: Literal["shutdown", "censorship"]
    country: str
    created_ms: int
    modified_ms: int
    revoked: bool = False


def id_of(stix_type: str, *key: str) -> str:
    """The id of an object about an event: the same key, the same id."""
    return f"{stix_type}--{uuid5(_NAMESPACE, orjson.dumps([stix_type, *key]).decode())}"


def about(version: Version, stix_type: str, **properties: Any) -> dict[str, Any]:
    """A STIX 2.1 object about an event, under an id of its own and with its handling."""
    handling = {"category": version.category, "affected": [version.country]}
    return {
        "type": stix_type,
        "spec_version": "2.1",
        "id": id_of(stix_type, *version.key),
        "created": format_time(version.created_ms),
        "modified": format_time(version.modified_ms),
        **({"revoked": True} if version.revoked else {}),
        **properties,
        "extensions": {HANDLING_ID: {"extension_type": "property-extension", **handling}},
    }


def bundles(events: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[bytes]:
    """STIX bundles of bounded size; the objects of one event stay together."""
    lot: list[Mapping[str, Any]] = []
    for objects in events:
        if lot and len(lot) + len(objects) > MAX_OBJECTS:
            yield _bundle(lot)
            lot = []
        lot += objects
    if lot:
        yield _bundle(lot)


def _bundle(objects: Sequence[Mapping[str, Any]]) -> bytes:
    keys = (text for each in objects for text in (each["id"], each["modified"]))
    return orjson.dumps({"type": "bundle", "id": id_of("bundle", *keys), "objects": list(objects)})


def document(answer: Answer, where: str) -> Any:
    """The JSON of an answer. Raises `PartnerFailed` for another status than 200, another media type, and what is no
    JSON or more than is sensible; `where` is whose answer it is."""
    if answer.status != 200:
        raise PartnerFailed(
            f"status-{answer.status}",
            f"it answers with status {answer.status}",
            where=where,
            hint="it is tried again later; see whether the address is right if that goes on",
            after_seconds=answer.after_seconds,
        )
    if answer.media_type not in JSON_TYPES:
        raise PartnerFailed("not-json", "its answer is of another media type than JSON", where=where, hint=_ADDRESS)
    try:
        return loads(answer.body)
    except (BodyRefused, UnicodeDecodeError) as error:
        code = error.code if isinstance(error, BodyRefused) else "not-json"
        raise PartnerFailed(code, "its answer is no JSON that can be read", where=where, hint=_ADDRESS) from None


_ADDRESS = "is that the address of its API?"


def malformed(what: str, where: str) -> PartnerFailed:
    """For an answer that is JSON, and not what was asked for; `what` quotes nothing of it."""
    return PartnerFailed("answer-unexpected", what, where=where, hint="has its API changed? see the documentation")
