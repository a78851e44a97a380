"""Between rows of a feed and lines of the sample's file. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.feed import FeedRow


def line(row: FeedRow) -> bytes:
    """One line of JSON: what happened to which object, and the object itself."""
    return orjson.dumps({"event": event(row), "id": row.stix_id, "object": orjson.loads(row.body)}) + b"\n"


def event(row: FeedRow) -> str:
    return "shared" if row.live else "withdrawn"


def key(line_: bytes) -> tuple[str, Any] | None:
    """(id, version) of a line that was written before; None for one that a crash cut off."""
    try:
        document = orjson.loads(line_)
        return document["id"], document["object"].get("modified", document["object"].get("created", ""))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None
