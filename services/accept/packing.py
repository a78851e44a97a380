"""A reading made ready for the inbox: reports and rejections as bytes, and what the source will be told."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from schemas.errors import BodyRefused, ItemRefused
from schemas.fingerprint import fingerprint, named_fingerprint
from schemas.rejected import Rejected
from schemas.rejected import encode as base64_text
from schemas.timestamps import format_time
from schemas.topics import REJECTED, REPORTS
from services.accept.framing import Parcel, pack
from services.accept.reading import Aside, Draft, Reading, Refusal

MAX_REPORT_BYTES = 128 * 1024  # the core keeps one of each source, and a broker refuses records over 1 MiB
MAX_KEPT_BYTES = 512 * 1024  # of one refused item
MAX_TOTAL_BYTES = 128 * 1024 * 1024
MAX_RAW_BYTES = 16 * 1024 * 1024
MAX_LISTED = 100
MAX_AHEAD_MS = 24 * 3_600_000  # clocks differ, and a day ends sooner in the east
_TIMES = ("created", "modified", "first_seen", "last_seen")

Fate = dict[str, Any]


class Origin(NamedTuple):
    """What all items of a submission have in common."""

    submission: str
    source: str
    received_ms: int


@dataclass(frozen=True)
class Packed:
    """What one submission stores, and what its source is told at once.

    `messages` are framed for the outbox; `fates` has one entry per item in the order of the body, compressed.
    `skipped` counts what makes no report and is no error. `refusals` are the first `MAX_LISTED`.
    """

    format: str
    messages: bytes
    fates: bytes
    taken: int
    refused: int
    skipped: int
    refusals: list[Fate]
    notes: tuple[str, ...]


def prepare(reading: Reading, origin: Origin, secret: bytes) -> Packed:
    """Pure; linear in what was read.

    Raises `BodyRefused` (413) where a body unfolds to more than `MAX_TOTAL_BYTES`: one long object with very
    many alternatives would, since each makes a report.
    """
    packer = _Packer(origin, secret)
    for index, item in enumerate(reading.items):
        match item:
            case Draft():
                packer.take(index, not_ahead(item, origin.received_ms))
            case Refusal():
                packer.refuse(item)
            case Aside():
                packer.put_aside(item)
    return Packed(
        format=reading.format,
        messages=pack(packer.parcels),
        fates=compress_fates(packer.fates, reading.notes),
        taken=packer.taken,
        refused=packer.refused,
        skipped=len(packer.fates) - packer.taken - packer.refused,
        refusals=[fate for fate in packer.fates if fate["fate"] == "refused"][:MAX_LISTED],
        notes=reading.notes,
    )


def compress_fates(fates: Iterable[Fate], notes: Iterable[str]) -> bytes:
    return zlib.compress(orjson.dumps({"items": list(fates), "notes": list(notes)}), 1)


def decompress_fates(stored: bytes) -> tuple[list[Fate], list[str]]:
    document = orjson.loads(zlib.decompress(stored))
    return document["items"], document["notes"]


def not_ahead(draft: Draft, received_ms: int) -> Draft:
    """The draft without times that lie ahead: what is said to be of the future would never age.

    More than `MAX_AHEAD_MS` after its receipt nothing can have been made or seen. Then no time of the draft may
    be later than its receipt, so that they stay in their order.
    """
    bound_ms = received_ms + MAX_AHEAD_MS
    times = (draft.created_ms, draft.modified_ms, draft.first_seen_ms, draft.last_seen_ms)
    if max(times) <= bound_ms:
        return draft
    ahead = ", ".join(name for name, at_ms in zip(_TIMES, times, strict=True) if at_ms > bound_ms)
    return draft._replace(
        created_ms=min(draft.created_ms, received_ms),
        modified_ms=min(draft.modified_ms, received_ms),
        first_seen_ms=min(draft.first_seen_ms, received_ms),
        last_seen_ms=min(draft.last_seen_ms, received_ms),
        notes=(*draft.notes, f"time-in-future: {ahead}; the time of receipt counts"),
    )


def report_bytes(draft: Draft, index: int, origin: Origin) -> bytes:
    """The bytes that `Report.to_bytes` would give; written out, because a model costs ten times as much."""
    return orjson.dumps(
        {
            "index": index,
            "submission": origin.submission,
            "pointer": draft.pointer,
            "source": origin.source,
            "received_ms": origin.received_ms,
            "kind": draft.kind,
            "value": draft.value,
            "type": draft.type,
            "object": draft.object,
            "markings": draft.markings,
            "granular": draft.granular,
            "handling": draft.handling,
            "revoked": draft.revoked,
            "created_ms": draft.created_ms,
            "modified_ms": draft.modified_ms,
            "first_seen_ms": draft.first_seen_ms,
            "last_seen_ms": draft.last_seen_ms,
            "labels": draft.labels,
        }
    )


@dataclass
class _Packer:
    origin: Origin
    secret: bytes
    parcels: list[Parcel] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)
    taken: int = 0
    refused: int = 0
    total_bytes: int = 0
    raw_bytes: int = 0

    def take(self, index: int, draft: Draft) -> None:
        value = report_bytes(draft, index, self.origin)
        if len(value) > MAX_REPORT_BYTES:
            self.refuse(Refusal(draft.pointer, _too_large(len(value)), lambda: b""), draft)
            return
        self._spend(len(value), draft.pointer)
        key = (
            fingerprint(self.secret, draft.identity)
            if draft.identity
            else named_fingerprint(self.secret, draft.kind, draft.value)
        )
        self.parcels.append(Parcel(REPORTS, key, value))
        self.taken += 1
        fate: Fate = {
            "pointer": draft.pointer,
            "kind": draft.kind,
            "value": draft.value,
            "type": draft.type,
            "key": key.hex(),
            "fate": "taken",
        }
        if draft.notes:
            fate["notes"] = draft.notes
        self.fates.append(fate)

    def refuse(self, refusal: Refusal, draft: Draft | None = None) -> None:
        error = refusal.error
        where = _where(refusal)
        raw = self._raw(refusal)
        record = Rejected(
            id=f"{self.origin.submission}-{self.refused}",
            stage="accept",
            code=error.code,
            reason=error.what,
            origin=f"submission {self.origin.submission} {refusal.pointer}",
            at=format_time(self.origin.received_ms),
            source=self.origin.source,
            submission=self.origin.submission,
            where=where,
            key=base64_text(self.origin.submission.encode()),
            value=base64_text(raw),
        ).to_bytes()
        self._spend(len(record), refusal.pointer)
        self.parcels.append(Parcel(REJECTED, self.origin.submission.encode(), record))
        self.refused += 1
        self.fates.append(
            {
                "pointer": refusal.pointer,
                "kind": draft.kind if draft else "",
                "value": "",
                "fate": "refused",
                "code": error.code,
                "where": where,
                "reason": error.what,
                "hint": error.hint,
            }
        )

    def _raw(self, refusal: Refusal) -> bytes:
        """What was refused, to be kept; nothing where it is too much, the refusal goes on record all the same."""
        if self.raw_bytes > MAX_RAW_BYTES:
            return b""
        raw = refusal.raw()
        self.raw_bytes += len(raw)
        return raw if len(raw) <= MAX_KEPT_BYTES else b""

    def put_aside(self, aside: Aside) -> None:
        self.fates.append(
            {
                "pointer": aside.pointer,
                "kind": aside.kind,
                "value": aside.value,
                "fate": aside.fate,
                "reason": aside.reason,
            }
        )

    def _spend(self, size: int, pointer: str) -> None:
        self.total_bytes += size
        if self.total_bytes > MAX_TOTAL_BYTES:
            raise BodyRefused(
                "too-large-unfolded",
                f"this unfolds to more than {MAX_TOTAL_BYTES // 2**20} MiB of reports",
                where=pointer,
                hint="send long patterns with many alternatives in submissions of their own",
                status=413,
            )


def _where(refusal: Refusal) -> str:
    """The place in the body: readers say it from the item on, or from the top."""
    within, pointer = refusal.error.where, refusal.pointer
    if not within.startswith("/"):
        return pointer
    return within if within == pointer or within.startswith(f"{pointer}/") else pointer + within


def _too_large(size: int) -> ItemRefused:
    return ItemRefused(
        "object-too-large",
        f"this object makes a report of {size:,} bytes; {MAX_REPORT_BYTES:,} are the most",
        hint="shorten its longest texts",
    )
