"""From rows of a feed to MISP's attributes and events, as its REST API takes them. Pure.

The MISP core format (draft-dulaunoy-misp-core-format) names fields and types. An attribute's uuid follows from
recipient and STIX id alone, since a withdrawal tells no more; an event's from recipient, category and the month in
which the object was made, so that it stays the same when rows are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import orjson

from schemas.enrichment import ENRICHMENT_ID
from schemas.errors import ItemRefused
from schemas.feed import FeedRow
from schemas.handling import HANDLING_ID
from schemas.markings import Pap, resolve
from schemas.timestamps import parse_time

_NAMESPACE = UUID("6f0c2e0a-5f0f-5b7e-9a55-3f1c0d2b7a90")
_INHERIT = 5
_UNKNOWN_YET = "1970-01"

TYPES: Mapping[str, tuple[str, str]] = {
    "domain": ("domain", "Network activity"),
    "ipv4": ("ip-dst", "Network activity"),
    "ipv6": ("ip-dst", "Network activity"),
    "cidr": ("ip-dst", "Network activity"),
    "url": ("url", "Network activity"),
    "asn": ("AS", "Network activity"),
    "email": ("email-src", "Payload delivery"),
    "email-subject": ("email-subject", "Payload delivery"),
    "md5": ("md5", "Payload delivery"),
    "sha1": ("sha1", "Payload delivery"),
    "sha256": ("sha256", "Payload delivery"),
    "sha512": ("sha512", "Payload delivery"),
    "cert-md5": ("x509-fingerprint-md5", "Network activity"),
    "cert-sha1": ("x509-fingerprint-sha1", "Network activity"),
    "cert-sha256": ("x509-fingerprint-sha256", "Network activity"),
    "file-name": ("filename", "Payload delivery"),
    "app-id": ("mobile-application-id", "Payload delivery"),
    "phone-number": ("phone-number", "Person"),
    "registry-key": ("regkey", "Persistence mechanism"),
    "ja3": ("ja3-fingerprint-md5", "Network activity"),
}
"""Of an indicator's kind: MISP's type and category."""


class Attribute(NamedTuple):
    """One attribute as it is to be, and the uuid of the event that it belongs to."""

    event: str
    fields: Mapping[str, Any]

    @property
    def uuid(self) -> str:
        return str(self.fields["uuid"])


def attribute_uuid(row: FeedRow, partner: str) -> str:
    return str(uuid5(_NAMESPACE, f"attribute/{partner}/{row.stix_id}"))


def attribute_of(row: FeedRow, partner: str) -> Attribute | None:
    """None where MISP has no attribute for such a row, or the row is a withdrawal."""
    known = TYPES.get(row.kind)
    if not row.live or row.type != "indicator" or known is None or not row.value:
        return None
    body = orjson.loads(row.body)
    type_, category = known
    fields = {
        "uuid": attribute_uuid(row, partner),
        "type": type_,
        "category": category,
        "value": row.value,
        "to_ids": _may_be_acted_on(body),
        "distribution": str(_INHERIT),
        "timestamp": str(_seconds(row.modified)),
        "comment": "",
        "Tag": [{"name": tag} for tag in _tags(row, body)],
    }
    seen = {"first_seen": row.first_seen, "last_seen": row.last_seen}
    return Attribute(_event_uuid(row, body, partner), fields | {name: time for name, time in seen.items() if time})


def _event_uuid(row: FeedRow, body: Mapping[str, Any], partner: str) -> str:
    return str(uuid5(_NAMESPACE, f"event/{partner}/{row.category}/{_month(body)}"))


def _month(body: Mapping[str, Any]) -> str:
    return str(body.get("created", _UNKNOWN_YET))[:7]


def event_of(rows: Sequence[FeedRow], distribution: int, partner: str) -> dict[str, Any]:
    """The event of rows that share one, without its attributes."""
    body = orjson.loads(rows[0].body)
    month, category = _month(body), rows[0].category or "unclassified"
    return {
        "uuid": _event_uuid(rows[0], body, partner),
        "info": f"{category}, {month}",
        "date": f"{month}-01",
        "distribution": str(distribution),
        "threat_level_id": "4",
        "analysis": "2",
        "published": False,
    }


def _may_be_acted_on(body: Mapping[str, Any]) -> bool:
    """Whether its PAP lets recipients act on it visibly, and to block it does no harm; what does not say so, no."""
    pap = resolve(body.get("object_marking_refs", ())).pap
    said, found = _extension(body, HANDLING_ID), _extension(body, ENRICHMENT_ID)
    permitted = pap in (Pap.CLEAR, Pap.GREEN) and "protect" in said.get("purposes", ("protect",))
    return permitted and not found.get("do_not_block") and not found.get("warning_lists")


def _extension(body: Mapping[str, Any], id_: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = body.get("extensions", {}).get(id_, {})
    return found


def _tags(row: FeedRow, body: Mapping[str, Any]) -> list[str]:
    pap = resolve(body.get("object_marking_refs", ())).pap
    named = (
        f"tlp:{row.tlp}" if row.tlp else "",
        f"PAP:{pap.name}" if pap is not None else "",
        f'tocsin:category="{row.category}"' if row.category else "",
    )
    return [tag for tag in named if tag]


def _seconds(time: str) -> int:
    try:
        return parse_time(time) // 1000
    except ItemRefused:
        return 0
