"""A record of tocsin.cleared made ready for the feed: checked, bodies as the bytes that go out. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson

from schemas.bits import Bits, from_hex
from schemas.cleared import Cleared, Copy
from schemas.fingerprint import FINGERPRINT_BYTES
from services.share.plan import Wanted

# of one width and to the millisecond: the feed compares such times as texts
_sorts_as_text = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z").fullmatch


class EntryCopy(NamedTuple):
    """One copy; `modified` is the body's version (STIX 2.1 section 3.6; `created` for types without), or empty."""

    wanted: Wanted
    live: bool
    stix_id: str
    modified: str
    body: bytes
    value: str
    kind: str
    registrable_domain: str
    urgent: bool


class Entry(NamedTuple):
    """The whole state of one item in `version` (epoch, counter)."""

    fingerprint: bytes
    version: tuple[int, int]
    numbering: str
    type: str
    copies: tuple[EntryCopy, ...]


def read(raw: bytes) -> Entry:
    """Raises `ValueError` (pydantic's is one) for anything that no feed could show."""
    cleared = Cleared.from_bytes(raw)
    fingerprint = bytes.fromhex(cleared.fingerprint)
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise ValueError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(fingerprint)}")
    return Entry(
        fingerprint=fingerprint,
        version=(cleared.epoch, cleared.counter),
        numbering=cleared.numbering,
        type=cleared.type,
        copies=tuple(_copy(copy, cleared) for copy in cleared.copies),
    )


def _copy(copy: Copy, item: Cleared) -> EntryCopy:
    body = copy.body
    stix_id, modified = body.get("id"), body.get("modified", body.get("created", ""))
    if not isinstance(stix_id, str) or not isinstance(modified, str):
        raise ValueError("a body needs an `id`, and its `modified` must be a text")
    if (to := from_hex(copy.to)) < 0:
        raise ValueError("a set of recipients can't be negative")
    if copy.active_until and not _sorts_as_text(copy.active_until):
        raise ValueError("`active_until` must be a time in UTC with milliseconds")
    seen = (copy.category, copy.confidence, copy.first_seen, copy.last_seen, copy.tlp)
    details = (*seen, copy.score, copy.active_until, copy.urgent)
    return EntryCopy(
        wanted=Wanted(copy.digest, details, Bits(to)),
        live=copy.live,
        stix_id=stix_id,
        modified=modified,
        body=orjson.dumps(body),
        # what is withdrawn is erased: of the item, the feed keeps no more than its id
        value=(copy.value or item.value) if copy.live else "",
        kind=(copy.kind or item.kind) if copy.live else "",
        registrable_domain=(copy.registrable_domain or item.registrable_domain) if copy.live else "",
        urgent=copy.urgent,
    )
