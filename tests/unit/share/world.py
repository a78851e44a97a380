"""A hub whose feeds are filled by hand, as if govern had cleared something."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from schemas.agreement import Agreement
from schemas.bits import of, to_hex
from schemas.cleared import Cleared, Copy
from schemas.topics import CLEARED
from services.hub import Hub
from services.share.agent import ShareSink
from services.stream.types import Batch, Position, Record
from services.tables import partners
from tests.fakes import NOW_MS, agreement, make_hub

RECEIVES = {
    "tlp": "amber",
    "pap": "amber",
    "onward": "none",
    "purposes": ["detect"],
    "categories": ["*"],
    "max_age_days": 180,
}
NUMBERING = "n0"


def recipient(name: str) -> Agreement:
    return agreement(name, receives=RECEIVES)


def feeds_hub(
    folder: Path,
    recipients: Iterable[Agreement],
    database: str = "",
    clock: Callable[[], int] = lambda: NOW_MS,
) -> Hub:
    """A hub that has numbered these recipients 0, 1, 2 …"""
    hub = make_hub(folder, recipients, clock, database=database)
    numbered = [{"bit": bit, "id": name} for name, bit in hub.directory.bit_of.items()]
    with hub.store.engine.begin() as connection:
        connection.execute(partners.insert(), numbered)
    return hub


def suspend(hub: Hub, name: str, since_ms: int | None = 1) -> None:
    """None lets it in again."""
    with hub.store.engine.begin() as connection:
        connection.execute(sa.update(partners).where(partners.c.id == name).values(suspended_ms=since_ms))


def key_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16]


def stix_id(name: str, type_: str = "indicator") -> str:
    return f"{type_}--{UUID(bytes=key_of(name), version=4)}"


def body(name: str, modified: str = "2026-11-01T00:00:00.000Z", type_: str = "indicator") -> dict[str, Any]:
    return {
        "type": type_,
        "spec_version": "2.1",
        "id": stix_id(name, type_),
        "created": "2026-11-01T00:00:00.000Z",
        "modified": modified,
        "pattern": f"[domain-name:value = '{name}']",
        "pattern_type": "stix",
        "valid_from": "2026-11-01T00:00:00.000Z",
    }


def copy(to: Iterable[int], content: Mapping[str, Any], *, live: bool = True, **shown: Any) -> Copy:
    """One body for the recipients with these numbers; a withdrawal where not `live`."""
    whole = dict(content) | (
        {} if live else {"revoked": True, "pattern": "[domain-name:value = 'withdrawn.invalid']"}
    )
    digest = hashlib.sha256(repr(sorted(whole.items())).encode()).hexdigest()[:24]
    return Copy(to=to_hex(of(to)), live=live, digest=digest, body=whole, **shown)


def cleared(
    name: str, counter: int, *copies: Copy, epoch: int = 1, type_: str = "indicator", numbering: str = NUMBERING
) -> Cleared:
    return Cleared(
        fingerprint=key_of(name).hex(),
        type=type_,
        kind="domain",
        value=name,
        epoch=epoch,
        counter=counter,
        numbering=numbering,
        copies=copies,
    )


def domain(name: str, to: Iterable[int], counter: int = 1, **shown: Any) -> Cleared:
    """A domain that these recipients may have; each `counter` makes another body."""
    modified = f"2026-11-01T00:00:{counter % 60:02}.000Z"
    return cleared(name, counter, copy(to, body(name, modified), **shown))


def withdrawn(name: str, to: Iterable[int], counter: int = 2) -> Cleared:
    modified = f"2026-11-02T00:00:{counter % 60:02}.000Z"
    return cleared(name, counter, copy(to, body(name, modified), live=False))


class Feeder:
    """Puts records into the feeds by the real sink, each call as one batch at the next offset."""

    def __init__(self, hub: Hub) -> None:
        self.sink = ShareSink(hub)
        self.offset = -1

    def batch(self, *records: Cleared, watermark: int | None = None) -> Batch:
        items = [(key_of(r.value), self.sink.decode(CLEARED.name, as_record(r))) for r in records]
        self.offset += max(1, len(records))
        return Batch(CLEARED.name, 0, items, Position(1, self.offset), watermark)

    async def put(self, *records: Cleared) -> None:
        await self.sink.apply(self.batch(*records))


def as_record(value: Cleared, offset: int = 0) -> Record:
    return Record(bytes.fromhex(value.fingerprint), value.to_bytes(), offset, 0)
