"""Rows of a feed, and what the runtime lends to a connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import orjson

from connectors.base import Tools
from connectors.http import Http, Limits
from schemas.feed import FeedRow
from schemas.markings import Pap, Tlp, marking_id
from tests.fakes import NOW_MS

PARTNER = "horizon"
QUICK = Limits(body_bytes=16 * 1024 * 1024, connect_seconds=2, idle_seconds=2, whole_seconds=5)
_IDS = UUID("0b0c9a3e-4e0f-5d6b-8a54-0a1b2c3d4e5f")


def stix_id(name: str, type_: str = "indicator") -> str:
    return f"{type_}--{uuid5(_IDS, name)}"


def row(name: str, /, version: int = 1, **fields: Any) -> FeedRow:
    """A domain that is shared."""
    modified = f"2026-11-{version:02}T00:00:00.000Z"
    body = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": stix_id(name),
        "created": "2026-11-01T00:00:00.000Z",
        "modified": modified,
        "pattern": f"[domain-name:value = '{name}']",
        "pattern_type": "stix",
        "valid_from": "2026-11-01T00:00:00.000Z",
        "object_marking_refs": [marking_id(Tlp.GREEN), marking_id(Pap.GREEN)],
    }
    given = {
        "added": version,
        "stix_id": body["id"],
        "type": "indicator",
        "live": True,
        "modified": modified,
        "kind": "domain",
        "value": name,
        "category": "phishing",
        "confidence": 40,
        "first_seen": "2026-10-01T00:00:00.000Z",
        "last_seen": "2026-11-01T00:00:00.000Z",
        "tlp": "green",
        "score": 64,
        "active_until": "",
        "registrable_domain": name,
        "urgent": False,
        "body": orjson.dumps(body),
    }
    return FeedRow(**{**given, **fields})


def withdrawn(name: str, /, version: int = 2, **fields: Any) -> FeedRow:
    """Its tombstone: nothing of what it said is left."""
    live = row(name, version)
    kept = orjson.loads(live.body)
    tombstone = {
        name: kept[name] for name in ("type", "spec_version", "id", "created", "modified", "pattern_type")
    } | {
        "revoked": True,
        "pattern": "[domain-name:value = 'withdrawn.invalid']",
        "valid_from": "2026-11-01T00:00:00.000Z",
    }
    nothing = {
        "live": False,
        "kind": "",
        "value": "",
        "category": "",
        "confidence": None,
        "first_seen": "",
        "last_seen": "",
        "tlp": "",
        "score": None,
        "registrable_domain": "",
        "body": orjson.dumps(tombstone),
    }
    return live._replace(**{**nothing, **fields})


def batches(count: int, size: int, body_bytes: int) -> Iterator[Sequence[FeedRow]]:
    """A feed of many large rows, made as they are read."""
    note = b',"description":"' + b"x" * body_bytes + b'"}'
    for start in range(0, count, size):
        plain = [row(f"host-{number}.example") for number in range(start, min(start + size, count))]
        yield [one._replace(body=one.body[:-1] + note) for one in plain]


@asynccontextmanager
async def lent(
    hosts: Iterable[str],
    clock: Callable[[], int] = lambda: NOW_MS,
    limits: Limits = QUICK,
    language: str = "en",
    ca_file: Path | None = None,
) -> AsyncIterator[Tools]:
    """What a connector works with; secrets are read from files as they are, without the line's end."""
    async with Http(hosts, private=True, limits=limits, ca_file=ca_file) as http:
        yield Tools(http, lambda path: path.read_bytes().rstrip(b"\r\n"), clock, PARTNER, language)
