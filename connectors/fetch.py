"""Files that a source keeps at an address or in a folder: read piece by piece, and only where they changed."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from aiohttp import hdrs
from pydantic import BaseModel, ConfigDict

from connectors.gunzip import CHUNK_BYTES, Gunzip
from connectors.http import Answer, Http
from connectors.http import place as origin_of
from schemas.errors import PartnerFailed

GZIP = b"\x1f\x8b"
MAX_VALIDATOR_CHARS = 512
LATER = (408, 425, 429)
NOT_LET_IN = (401, 403, 407)

Place = str | Path
"""The address of a file, or its path."""


class Stamp(BaseModel):
    """Which version of a file was read: what its server calls it, or when it was written; and its SHA-256 (hex)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    etag: str = ""
    modified: str = ""
    digest: str = ""


class Opened(NamedTuple):
    """A file whose content is read piece by piece, unpacked where it is gzip; `stamp` is without a digest."""

    stamp: Stamp
    pieces: AsyncIterator[bytes]


class Fetched(NamedTuple):
    """A file as a whole."""

    stamp: Stamp
    body: bytes


async def fetch(
    http: Http, place: Place, stamp: Stamp, *, max_bytes: int, headers: Mapping[str, str] | None = None
) -> Fetched | None:
    """A file of at most `max_bytes`; None where it is the version of `stamp`. Raises `PartnerFailed`."""
    async with opened(http, place, stamp, max_bytes=max_bytes, headers=headers) as found:
        if found is None:
            return None
        body = b"".join([piece async for piece in found.pieces])
    digest = hashlib.sha256(body).hexdigest()
    if digest == stamp.digest:
        return None
    return Fetched(found.stamp.model_copy(update={"digest": digest}), body)


@asynccontextmanager
async def opened(
    http: Http, place: Place, stamp: Stamp, *, max_bytes: int, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Opened | None]:
    """As `fetch`, for files that are read piece by piece; its server, or the file's time, says if it changed."""
    if isinstance(place, Path):
        async with _file(place, stamp, max_bytes) as found:
            yield found
        return
    asked = {**(headers or {}), **_condition(stamp)}
    async with http.stream("GET", place, headers=asked, max_bytes=max_bytes) as answer:
        if answer.status == 304 and _condition(stamp):
            yield None
            return
        refuse(Answer(answer.status, answer.headers, b""), place)
        named = {name.lower(): value for name, value in answer.headers.items()}
        now = Stamp(etag=_validator(named.get("etag")), modified=_validator(named.get("last-modified")))
        yield Opened(now, unpacked(answer.pieces, max_bytes, origin(place)))


def origin(place: Place) -> str:
    """What of a place may stand in a log or an error: paths and queries of addresses may hold secrets."""
    return str(place) if isinstance(place, Path) else origin_of(place)


def refuse(answer: Answer, place: Place) -> None:
    """Raises `PartnerFailed` unless the answer is a 200 (RFC 9110 section 15)."""
    status, where = answer.status, origin(place)
    if status == 200:
        return
    if status in NOT_LET_IN:
        hint = "ask the partner whether what we show it is still good"
        raise PartnerFailed("not-let-in", f"it does not let us in (status {status})", where=where, hint=hint)
    if status in (404, 410):
        raise PartnerFailed(
            "not-there", f"there is nothing (status {status})", where=where, hint="check the address"
        )
    if status in LATER or status >= 500:
        raise PartnerFailed(
            f"status-{status}",
            f"it can't answer now (status {status})",
            where=where,
            after_seconds=answer.after_seconds,
        )
    hint = "is that the address that the partner gave?"
    raise PartnerFailed("status-unexpected", f"it answers with status {status}", where=where, hint=hint)


async def unpacked(pieces: AsyncIterator[bytes], max_bytes: int, where: str) -> AsyncGenerator[bytes]:
    """A file's content: as it is, or where it begins like gzip what is packed in it, of at most `max_bytes`."""
    unpack: Gunzip | None = None
    head, size, decided = b"", 0, False
    async for piece in pieces:
        if not decided:
            head += piece
            if len(head) < len(GZIP):
                continue
            decided, piece = True, head
            unpack = Gunzip() if piece.startswith(GZIP) else None
        try:
            for plain in (piece,) if unpack is None else unpack.feed(piece):
                size += len(plain)
                if size > max_bytes:
                    raise too_large(max_bytes, where)
                if plain:
                    yield plain
        except zlib.error:
            raise PartnerFailed("not-gzip", "the file is damaged", where=where) from None
    if not decided and head:
        yield head
    if unpack is not None and not unpack.whole:
        raise PartnerFailed("cut-off", "the file was cut off", where=where)


def too_large(max_bytes: int, where: str) -> PartnerFailed:
    return PartnerFailed("answer-too-large", f"it has more than {max_bytes:,} bytes", where=where)


def _condition(stamp: Stamp) -> Mapping[str, str]:
    """RFC 9110 section 13.1: by the entity tag where there is one, else by the time."""
    if stamp.etag:
        return {hdrs.IF_NONE_MATCH: stamp.etag}
    return {hdrs.IF_MODIFIED_SINCE: stamp.modified} if stamp.modified else {}


def _validator(text: str | None) -> str:
    """What a server calls a version, if it can be sent back to it."""
    if text and len(text) <= MAX_VALIDATOR_CHARS and text.isascii() and text.isprintable():
        return text
    return ""


@asynccontextmanager
async def _file(path: Path, stamp: Stamp, max_bytes: int) -> AsyncIterator[Opened | None]:
    try:
        stream = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        found = await asyncio.to_thread(path.stat)
        now = Stamp(modified=f"{found.st_mtime_ns} {found.st_size}")
        if now.modified == stamp.modified:
            yield None
        else:

            async def pieces() -> AsyncGenerator[bytes]:
                try:
                    while piece := await asyncio.to_thread(stream.read, CHUNK_BYTES):
                        yield piece
                except OSError as error:
                    raise _unreadable(path, error) from None

            yield Opened(now, unpacked(pieces(), max_bytes, str(path)))
    finally:
        stream.close()


def _unreadable(path: Path, error: OSError) -> PartnerFailed:
    what = f"the file can't be read: {error.strerror}"
    return PartnerFailed("file-unreadable", what, where=str(path), hint="mend the file, or its path")
