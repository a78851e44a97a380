"""From what a step or `decode` raised to the record for `tocsin.rejected`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b

from schemas.errors import TocsinError, clip
from schemas.rejected import Rejected, encode
from services.stream.narrow import Rejection

MAX_REASON_CHARS = 200


def of_record(stage: str, topic: str, partition: int, rejection: Rejection, now_ms: int) -> Rejected:
    """A record that can be replayed: its origin is `<topic>/<partition>/<offset>`."""
    record = rejection.record
    if record is None:
        raise ValueError("the rejection of a due key has no record")
    return _rejected(
        stage,
        f"{topic}/{partition}/{record.offset}",
        rejection,
        now_ms,
        {"origin_topic": topic, "key": encode(record.key), "value": encode(record.value)},
    )


def of_key(stage: str, topic: str, partition: int, rejection: Rejection, now_ms: int) -> Rejected:
    """A due key of a state topic: its origin is `<topic>/<partition>/<key in hex>`; nothing is there to replay."""
    origin = f"{topic}/{partition}/{rejection.key.hex()}"
    return _rejected(stage, origin, rejection, now_ms, {"key": encode(rejection.key)})


def _rejected(stage: str, origin: str, rejection: Rejection, now_ms: int, payload: Mapping[str, str]) -> Rejected:
    error = rejection.error
    known = isinstance(error, TocsinError)
    return Rejected(
        id=blake2b(f"{stage} {origin}".encode(), digest_size=16).hexdigest(),
        stage=stage,
        code=error.code if isinstance(error, TocsinError) else f"unexpected-{type(error).__name__}",
        reason=clip(error.what, MAX_REASON_CHARS) if isinstance(error, TocsinError) else clip(error),
        origin=origin,
        at=datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        where=clip(error.where) if known and isinstance(error, TocsinError) else "",
        **payload,
    )
