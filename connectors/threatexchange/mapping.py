"""Rows of a feed in the form of Meta's ThreatExchange: updates of indicators, each with the hub's descriptor. Pure.

An update says what is shared (an indicator, and one descriptor: the hub's opinion of it) or, with `should_delete`,
that its reader has to delete what it has under that id. Of what is withdrawn nothing but the id is known, so that
`indicator` and `type` are empty there: a reader has to delete by id, as ThreatExchange says.

Ids are numbers there: 63 bits of a hash of the STIX id. TLP becomes `share_level`, which has no AMBER+STRICT: that
becomes RED, since a level may only ever get stricter.

Source: the Graph API's `/threat_updates`, ThreatDescriptor, IndicatorType and ShareLevelType
(https://developers.facebook.com/docs/threat-exchange/reference/apis/), and Meta's client, `threatexchange` 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final

import orjson

from schemas.acting import extension, pap_of
from schemas.enrichment import ENRICHMENT_ID
from schemas.feed import FeedRow, Format, Head
from schemas.handling import HANDLING_ID
from schemas.timestamps import parse_time

OWNER: Final = MappingProxyType({"id": "7023616", "name": "Tocsin"})
MALICIOUS_FROM: Final = 70
"""The confidence from which an opinion says that something is malicious, and not only suspicious."""
MAX_DESCRIPTION_CHARS: Final = 2_000

TYPES: Mapping[str, str] = MappingProxyType(
    {
        "domain": "DOMAIN",
        **dict.fromkeys(("ipv4", "ipv6"), "IP_ADDRESS"),
        "cidr": "IP_SUBNET",
        "url": "URI",
        "email": "EMAIL_ADDRESS",
        "asn": "AS_NUMBER",
        "md5": "HASH_MD5",
        "sha1": "HASH_SHA1",
        "sha256": "HASH_SHA256",
        "pdq": "HASH_PDQ",
        "tmk": "HASH_TMK",
        "file-name": "FILE_NAME",
        "process-cmd": "CMD_LINE",
        "registry-key": "REGISTRY_KEY",
        "phone-number": "TELEPHONE",
    }
)
"""ThreatExchange's types by kind of indicator; what has none there is left out."""

_SHARE_LEVELS: Mapping[str, str] = MappingProxyType(
    {"clear": "WHITE", "green": "GREEN", "amber": "AMBER", "amber+strict": "RED", "red": "RED"}
)

Document = dict[str, Any]


def update(row: FeedRow, updated_seconds: int) -> Document | None:
    """The update that a row is, `updated_seconds` (since 1970) its time; None where ThreatExchange has no such."""
    if row.type != "indicator" or (row.live and row.kind not in TYPES):
        return None
    body = orjson.loads(row.body)
    created_seconds = parse_time(body["created"]) // 1_000
    of_both = {
        "id": str(_number(row.stix_id)),
        "indicator": row.value if row.live else "",
        "type": TYPES[row.kind] if row.live else "",
        "creation_time": created_seconds,
        "last_updated": updated_seconds,
        "should_delete": not row.live,
    }
    if not row.live:
        return of_both
    descriptor = _descriptor(row, body, created_seconds, updated_seconds)
    return {
        **of_both,
        "status": descriptor["status"],
        "tags": descriptor["tags"],
        "applications_with_opinions": [OWNER["id"]],
        "descriptors": {"data": [descriptor]},
    }


def _number(stix_id: str) -> int:
    return int.from_bytes(blake2b(stix_id.encode(), digest_size=8).digest(), "big") >> 1


def _descriptor(row: FeedRow, body: Mapping[str, Any], created_seconds: int, updated_seconds: int) -> Document:
    return {
        "id": str(_number(row.stix_id)),
        "owner": dict(OWNER),
        "raw_indicator": row.value,
        "type": TYPES[row.kind],
        "status": _status(row),
        "share_level": _SHARE_LEVELS.get(row.tlp, "RED"),
        "privacy_type": "HAS_PRIVACY_GROUP",
        "review_status": "UNREVIEWED",
        "confidence": row.confidence,
        "description": _description(body),
        "tags": {"data": [{"id": str(n), "text": text} for n, text in enumerate(_tags(row, body), start=1)]},
        "added_on": _time(created_seconds),
        "last_updated": _time(updated_seconds),
        "first_active": row.first_seen or None,
        "last_active": row.last_seen or None,
        "expired_on": row.active_until or None,
        "reactions": [],
    }


def _status(row: FeedRow) -> str:
    return "MALICIOUS" if row.confidence is not None and row.confidence >= MALICIOUS_FROM else "SUSPICIOUS"


def _description(body: Mapping[str, Any]) -> str:
    said = (str(body.get(name, "")).strip() for name in ("name", "description"))
    return "\n".join(filter(None, said))[:MAX_DESCRIPTION_CHARS]


def _tags(row: FeedRow, body: Mapping[str, Any]) -> list[str]:
    pap = pap_of(body)
    return [
        *([f"tlp:{row.tlp}"] if row.tlp else []),
        *([f"pap:{pap.label}"] if pap else []),
        *([row.category] if row.category else []),
        *(f"purpose:{purpose}" for purpose in extension(body, HANDLING_ID).get("purposes", ())),
        *map(str, extension(body, ENRICHMENT_ID).get("families", ())),
    ]


def _time(seconds: int) -> str:
    """As the Graph API writes times: `2026-11-01T00:00:00+0000`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


# --- answers of the API -----------------------------------------------------------------------------------------


def page(updates: Sequence[Document], fields: Sequence[str], next_url: str) -> bytes:
    """An answer of `/threat_updates`; `fields` are those wanted of each update (none: all), beside its id.

    `next_url` is where the next page is, empty on the last one.
    """
    paging = {"next": next_url} if next_url else {}
    wanted = {"id", *fields}
    shown = [{name: u[name] for name in u if name in wanted} for u in updates] if fields else updates
    return orjson.dumps({"data": shown, "paging": paging})


def fields_of(text: str) -> tuple[str, ...]:
    """The names at the top of `fields`, as in `id,descriptors{id,owner{id}}`; what braces hold is all given."""
    names, depth, name = [], 0, ""
    for character in text:
        if character == "," and depth == 0:
            names.append(name)
            name = ""
        elif character in "{}":
            depth += 1 if character == "{" else -1
        elif depth == 0:
            name += character
    return tuple(n for n in (each.strip() for each in (*names, name)) if n)


def group(number: int, since_seconds: int) -> Document:
    """The privacy group that stands for a partner's feed."""
    return {
        "id": str(number),
        "name": "Tocsin",
        "description": "What is shared with you",
        "members_can_see": False,
        "members_can_use": False,
        "added_on": _time(since_seconds),
        "last_updated": _time(since_seconds),
        "threat_updates_enabled": True,
    }


# --- a whole feed -------------------------------------------------------------------------------------------------


def _begin(_head: Head) -> bytes:
    return b'{"data":[\n'


def _rows(rows: Sequence[FeedRow], more: bool) -> bytes:
    found = (update(row, parse_time(row.modified) // 1_000) for row in rows if row.type == "indicator")
    written = b",\n".join(orjson.dumps(each) for each in found if each is not None)
    return b",\n" + written if written and more else written


def _end(_any_rows: bool) -> bytes:
    return b'\n],"paging":{}}\n'


FORMATS: Mapping[str, Format] = MappingProxyType(
    {"threatexchange": Format("application/json", "json", True, _begin, _rows, _end)}
)
FILE = "threat_updates.json"
