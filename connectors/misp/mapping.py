"""Rows of a feed as attributes and events of MISP. Pure.

One indicator is one attribute. Its UUID is that of the indicator's STIX id, so that it is known again, also by
another hub. `to_ids` asks machines to act, so it is set only where the copy may be blocked (`schemas.acting`). A
withdrawal has nothing but its id: it becomes a deleted attribute of that UUID with a neutral value, so that a MISP
deletes and overwrites the one that it has.

Events are by the day of the indicator's `created`, which no later version and no withdrawal changes. So an
attribute never moves from one event to another (MISP refuses an attribute whose UUID it has elsewhere), and an
event keeps its UUID however many rows are added. What belongs together in the world (category, family) is in tags.

Source: the MISP core format (draft-dulaunoy-misp-core-format), and `describeTypes.json` of PyMISP 2.5 for types and
their categories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import md5
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid5

import orjson

from schemas.acting import extension, may_be_blocked, pap_of
from schemas.enrichment import ENRICHMENT_ID
from schemas.feed import FeedRow, Format, Head
from schemas.handling import HANDLING_ID
from schemas.markings import Tlp, level_named
from schemas.timestamps import format_time, parse_time

NAMESPACE = UUID("5f1a6f0a-9a0e-4b0c-8d7e-2c1b5a90c6d1")
ORGANISATION: Mapping[str, str] = MappingProxyType(
    {"name": "Tocsin", "uuid": "b4bb0ea4-6b60-5ae2-9b4e-8f3bb2a1a4d6"}
)
MAX_COMMENT_CHARS = 2_000
UNDEFINED, COMPLETED, OWN_ORGANISATION = "4", "2", "0"
"""Of threat level, analysis and distribution; who takes an event widens its distribution, or not."""

Document = dict[str, Any]

_NETWORK, _DELIVERY, _INSTALLATION = "Network activity", "Payload delivery", "Payload installation"
_TYPES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "domain": ("domain", _NETWORK),
        **dict.fromkeys(("ipv4", "ipv6", "cidr"), ("ip-dst", _NETWORK)),
        "url": ("url", _NETWORK),
        "asn": ("AS", _NETWORK),
        "email": ("email", _DELIVERY),
        "email-subject": ("email-subject", _DELIVERY),
        **{name: (name, _DELIVERY) for name in ("md5", "sha1", "sha256", "sha512")},
        **{f"cert-{name}": (f"x509-fingerprint-{name}", _NETWORK) for name in ("md5", "sha1", "sha256")},
        **dict.fromkeys(("file-name", "file-path"), ("filename", _DELIVERY)),
        "registry-key": ("regkey", "Persistence mechanism"),
        "app-id": ("mobile-application-id", _DELIVERY),
        "phone-number": ("phone-number", "Other"),
        "ja3": ("ja3-fingerprint-md5", _NETWORK),
        "pattern:yara": ("yara", _INSTALLATION),
        "pattern:sigma": ("sigma", _INSTALLATION),
        "pattern:snort": ("snort", _NETWORK),
        "pattern:suricata": ("suricata", _NETWORK),
    }
)
_OF_ACCOUNTS: Mapping[str, str] = MappingProxyType(
    {"github": "github-username", "twitter": "twitter-id", "xmpp": "jabber-id"}
)
_CURRENCIES = frozenset({"btc", "dash", "xmr"})
_MAC_CHARS = 17


# --- attributes -------------------------------------------------------------------------------------------------


def attribute(row: FeedRow) -> Document | None:
    """The attribute of an indicator, or of its withdrawal; None for an object of another type."""
    if row.type != "indicator":
        return None
    uuid = row.stix_id.partition("--")[2]
    if not row.live:
        return _deleted(uuid, row)
    body = orjson.loads(row.body)
    type_, category, value = _typed(row, body)
    return {
        "uuid": uuid,
        "type": type_,
        "category": category,
        "value": value,
        "to_ids": may_be_blocked(body),
        "comment": _comment(body),
        "timestamp": str(parse_time(row.modified) // 1_000),
        "deleted": False,
        "disable_correlation": False,
        **({"first_seen": row.first_seen} if row.first_seen else {}),
        **({"last_seen": row.last_seen} if row.last_seen else {}),
        "Tag": [{"name": name} for name in _tags(row, body)],
    }


def _deleted(uuid: str, row: FeedRow) -> Document:
    return {
        "uuid": uuid,
        "type": "comment",
        "category": "Other",
        "value": f"withdrawn {uuid}",  # MISP takes no two attributes of one value in an event
        "to_ids": False,
        "comment": "",
        # MISP takes only what is newer by a second than what it has
        "timestamp": str(parse_time(row.modified) // 1_000 + 1),
        "deleted": True,
        "disable_correlation": True,
        "Tag": [],
    }


def _typed(row: FeedRow, body: Mapping[str, Any]) -> tuple[str, str, str]:
    """Type, category and value; what MISP has no type for goes as the STIX pattern."""
    if known := _TYPES.get(row.kind):
        return *known, row.value
    name, _, rest = row.value.partition("/")
    match row.kind:
        case "mac":
            return "mac-address" if len(row.value) == _MAC_CHARS else "mac-eui-64", _NETWORK, row.value
        case "social-account" if name in _OF_ACCOUNTS:
            return _OF_ACCOUNTS[name], "Social network", rest
        case "crypto-address" if name in _CURRENCIES:
            return name, "Financial fraud", rest
        case _:
            type_ = "stix2-pattern" if body.get("pattern_type", "stix") == "stix" else "other"
            return type_, _DELIVERY, str(body.get("pattern", row.value))


def _comment(body: Mapping[str, Any]) -> str:
    said = (str(body.get(name, "")).strip() for name in ("name", "description"))
    return "\n".join(filter(None, said))[:MAX_COMMENT_CHARS]


def _tags(row: FeedRow, body: Mapping[str, Any]) -> Iterator[str]:
    if row.tlp:
        yield f"tlp:{row.tlp}"
    if pap := pap_of(body):
        yield f"PAP:{pap.label.upper()}"
    if row.category:
        yield _machine_tag("category", row.category)
    for purpose in extension(body, HANDLING_ID).get("purposes", ()):
        yield _machine_tag("purpose", str(purpose))
    for family in extension(body, ENRICHMENT_ID).get("families", ()):
        yield _machine_tag("family", str(family))


def _machine_tag(name: str, value: str) -> str:
    return f'tocsin:{name}="{value.replace(chr(34), chr(39))}"'


# --- events -----------------------------------------------------------------------------------------------------


def day(row: FeedRow) -> str:
    """The day (YYYY-MM-DD) of the event in which a row's attribute is, and stays."""
    return str(orjson.loads(row.body)["created"])[:10]


def event_uuid(partner: str, name: str) -> str:
    """Of a partner's event of a day, or of all its feed (`name` empty): always the same, and no other partner's."""
    return str(uuid5(NAMESPACE, f"{partner}/{name}"))


def event(partner: str, name: str, date: str, timestamp: int, tlp: Tlp | None = None) -> Document:
    """All of an event but its attributes; `name` as of `event_uuid`, `timestamp` in seconds since 1970."""
    return {
        "uuid": event_uuid(partner, name),
        "info": f"Tocsin: {name}" if name else "Tocsin",
        "date": date,
        "threat_level_id": UNDEFINED,
        "analysis": COMPLETED,
        "distribution": OWN_ORGANISATION,
        "published": True,
        "timestamp": str(timestamp),
        "publish_timestamp": str(timestamp),
        "extends_uuid": "",
        "Orgc": dict(ORGANISATION),
        "Tag": [{"name": f"tlp:{tlp.label}"}] if tlp else [],
    }


def manifest_entry(of: Document) -> Document:
    """What a feed's `manifest.json` says of an event, under its UUID."""
    return {name: of[name] for name in ("Orgc", "Tag", "info", "date", "analysis", "threat_level_id", "timestamp")}


def hash_line(of: Document, uuid: str) -> bytes:
    """What a feed's `hashes.csv` says of an attribute: the MD5 of its value, and the UUID of its event."""
    digest = md5(of["value"].encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return f"{digest.hexdigest()},{uuid}\n".encode()


def strictest(one: Tlp | None, row: FeedRow) -> Tlp | None:
    """The stricter of `one` and a row's TLP."""
    level = level_named(row.tlp)
    if not isinstance(level, Tlp):
        return one
    return level if one is None else max(one, level)


# --- all of a feed in one event -----------------------------------------------------------------------------------


def _begin(head: Head) -> bytes:
    whole = event(head.partner, "", format_time(head.at_ms)[:10], head.at_ms // 1_000)
    return b'{"response":[{"Event":%b,"Attribute":[\n' % orjson.dumps(whole)[:-1]


def _rows(rows: Sequence[FeedRow], more: bool) -> bytes:
    written = b",\n".join(orjson.dumps(each) for row in rows if (each := attribute(row)) is not None)
    return b",\n" + written if written and more else written


def _end(_any_rows: bool) -> bytes:
    return b"\n]}}]}\n"


FORMATS: Mapping[str, Format] = MappingProxyType(
    {"misp": Format("application/json", "json", True, _begin, _rows, _end)}
)
