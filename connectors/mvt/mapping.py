"""Rows of a feed as a STIX2 file for the Mobile Verification Toolkit (MVT). Pure.

In it are the active indicators of the kinds that MVT looks for on a telephone, malware, and what says that the one
indicates the other, so that MVT can name what it found. It ignores `revoked` and `valid_until`, so that what is
withdrawn or has run out must not be there. Looking through a copy of a telephone is nothing that can be noticed
from outside: every PAP permits it, but the item has to be open to the purpose `detect`.

MVT takes a pattern apart at its `=`, and gives up the whole file at one with none or two; quotes it deletes
wherever they stand, and escapes it does not undo. So patterns are written for it here, and a value with any of
these is left out.

Source: `mvt/common/indicators.py` of MVT 2026.10 (`Indicators.parse_stix2`, and the checks that use what it read).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson

from schemas.acting import may_be_used
from schemas.feed import FeedRow, Format, Head

PATHS: Mapping[str, str] = MappingProxyType(
    {
        "domain": "domain-name:value",
        "ipv4": "ipv4-addr:value",
        "url": "url:value",
        "email": "email-addr:value",
        "process-name": "process:name",
        "file-name": "file:name",
        "file-path": "file:path",
        # in the spelling that all versions of it take
        "md5": "file:hashes.md5",
        "sha1": "file:hashes.sha1",
        "sha256": "file:hashes.sha256",
        "cert-md5": "app:cert.md5",
        "cert-sha1": "app:cert.sha1",
        "cert-sha256": "app:cert.sha256",
        "app-id": "app:id",
        "ios-profile-id": "configuration-profile:id",
        "android-property": "android-property:name",
    }
)
"""What MVT looks for, by kind of indicator. Of certificates it knows those that apps are signed with."""


_HUB = {
    "type": "identity",
    "spec_version": "2.1",
    "id": "identity--b4bb0ea4-6b60-5ae2-9b4e-8f3bb2a1a4d6",
    "created": "2026-01-01T00:00:00.000Z",
    "modified": "2026-01-01T00:00:00.000Z",
    "name": "Tocsin",
    "identity_class": "system",
}


def pattern(row: FeedRow) -> str | None:
    """The pattern of an indicator as MVT reads it; None where it would not, or would read something else."""
    path, value = PATHS.get(row.kind), row.value
    if path is None or not value or value != value.strip() or not value.isprintable():
        return None
    if any(character in value for character in "='\\"):
        return None
    if row.kind == "file-path" and not value.strip("/"):
        return None  # a path counts as found where another begins with it: every one begins with this
    return f"[{path}='{value}']"


def _objects(rows: Sequence[FeedRow]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        if not row.live or row.type not in ("indicator", "malware", "relationship"):
            continue
        body = orjson.loads(row.body)
        if row.type == "indicator":
            if (written := pattern(row)) and may_be_used(body, "detect"):
                yield {**body, "pattern": written}
        elif row.type == "malware":
            if body.get("name"):
                yield body
        elif _indicates(body):
            yield body


def _indicates(body: Mapping[str, Any]) -> bool:
    ends = str(body.get("source_ref")), str(body.get("target_ref"))
    return ends[0].startswith("indicator--") and ends[1].startswith("malware--")


def _begin(head: Head) -> bytes:
    # one object is always there: how many of the rows are to follow, nobody knows before
    return b'{"type":"bundle","id":"bundle--%b","objects":[\n%b' % (head.feed_id.encode(), orjson.dumps(_HUB))


def _rows(rows: Sequence[FeedRow], _more: bool) -> bytes:
    return b"".join(b",\n" + orjson.dumps(each) for each in _objects(rows))


def _end(_any_rows: bool) -> bytes:
    return b"\n]}\n"


FORMATS: Mapping[str, Format] = MappingProxyType(
    {"mvt": Format("application/stix+json;version=2.1", "stix2", False, _begin, _rows, _end, active=True)}
)
FILE = "tocsin.stix2"
