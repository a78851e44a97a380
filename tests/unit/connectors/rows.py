"""Rows of a feed, made up, and files made of them as the hub makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import orjson

from schemas.enrichment import extension
from schemas.feed import FeedRow, Format, Head, is_active
from schemas.fingerprint import Ioc
from schemas.handling import HANDLING_ID
from schemas.markings import Pap, Tlp, marking_id
from schemas.patterns import generate

FEED_ID = "7b1c9f6e-3f0d-4f5e-8a54-0a1b2c3d4e5f"
NOW_MS = 1_795_000_000_000  # 2026-11-18T11:06:40Z
HEAD = Head(FEED_ID, NOW_MS, "meadow")


def stix_id(name: str, type_: str = "indicator") -> str:
    return f"{type_}--{uuid5(NAMESPACE_DNS, name)}"


def indicator(
    value: str,
    kind: str = "domain",
    *,
    pap: Pap | None = Pap.GREEN,
    tlp: Tlp = Tlp.GREEN,
    purposes: Sequence[str] | None = None,
    enrichment: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
    **fields: Any,
) -> FeedRow:
    """A live indicator as govern lets it out."""
    extensions: dict[str, Any] = extension(**(enrichment or {}))  # type: ignore[typeddict-item]
    if purposes is not None:
        extensions[HANDLING_ID] = {"extension_type": "property-extension", "purposes": sorted(purposes)}
    said = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": stix_id(value),
        "created": "2026-11-01T00:00:00.000Z",
        "modified": "2026-11-02T00:00:00.000Z",
        "pattern": value if kind.startswith("pattern:") else generate(Ioc(kind, value)),
        "pattern_type": kind.removeprefix("pattern:") if kind.startswith("pattern:") else "stix",
        "valid_from": "2026-11-01T00:00:00.000Z",
        "object_marking_refs": [marking_id(tlp), *([marking_id(pap)] if pap else [])],
        **({"extensions": extensions} if extensions else {}),
        **(body or {}),
    }
    given: dict[str, Any] = {
        "added": 1_794_000_000_000_000,
        "stix_id": said["id"],
        "type": "indicator",
        "live": True,
        "modified": said["modified"],
        "kind": kind,
        "value": value,
        "category": "phishing",
        "confidence": 80,
        "first_seen": "2026-10-01T00:00:00.000Z",
        "last_seen": "2026-11-01T00:00:00.000Z",
        "tlp": tlp.label,
        "score": 64,
        "active_until": "",
        "registrable_domain": ".".join(value.split(".")[-2:]) if kind == "domain" else "",
        "urgent": False,
        "body": orjson.dumps(said),
    }
    return FeedRow(**{**given, **fields})


def tombstone(name: str, type_: str = "indicator", **fields: Any) -> FeedRow:
    """A withdrawal of what `indicator(name)` said."""
    said = {
        "type": type_,
        "spec_version": "2.1",
        "id": stix_id(name, type_),
        "created": "2026-11-01T00:00:00.000Z",
        "modified": "2026-11-02T00:00:00.500Z",
        "revoked": True,
        "pattern": "[domain-name:value = 'withdrawn.invalid']",
        "pattern_type": "stix",
        "valid_from": "2026-11-01T00:00:00.000Z",
    }
    given: dict[str, Any] = {
        **dict.fromkeys(FeedRow._fields, ""),
        "added": 1_794_000_000_000_001,
        "stix_id": said["id"],
        "type": type_,
        "live": False,
        "modified": said["modified"],
        "confidence": None,
        "score": None,
        "urgent": False,
        "body": orjson.dumps(said),
    }
    return FeedRow(**{**given, **fields})


def other(type_: str, name: str, /, **said: Any) -> FeedRow:
    """A live object that is no indicator."""
    body = {
        "type": type_,
        "spec_version": "2.1",
        "id": stix_id(name, type_),
        "created": "2026-11-01T00:00:00.000Z",
        "modified": "2026-11-02T00:00:00.000Z",
        **said,
    }
    row = tombstone(name, type_)
    return row._replace(live=True, modified=body["modified"], body=orjson.dumps(body))


def written(format_: Format, *pages: Sequence[FeedRow], head: Head = HEAD) -> bytes:
    """The file that the hub would make of these pages."""
    any_rows, parts = False, [format_.begin(head)]
    for page in pages:
        rows = [row for row in page if is_active(row, head.at_ms)] if format_.active else page
        parts.append(format_.rows(rows, any_rows))
        any_rows = any_rows or bool(parts[-1])
    return b"".join([*parts, format_.end(any_rows)])


async def paged(pages: Iterable[Sequence[FeedRow]]) -> AsyncIterator[Sequence[FeedRow]]:
    for page in pages:
        yield page
