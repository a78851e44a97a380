"""Fetches a file of CSV, piece by piece, where it changed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from aiohttp import hdrs

from connectors import slices
from connectors.access import token_of
from connectors.base import Checkpoint, Pulled, Tools
from connectors.csv_feed import mapping
from connectors.fetch import Place, Stamp, fetch, opened, origin
from schemas.errors import PartnerFailed

MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024
CSV = "text/csv"


class _Settings(Protocol):
    @property
    def url(self) -> str | None: ...
    @property
    def file(self) -> Path | None: ...
    @property
    def snapshot(self) -> bool: ...
    @property
    def about(self) -> str: ...
    @property
    def delimiter(self) -> str: ...
    @property
    def token_file(self) -> Path | None: ...
    @property
    def max_bytes(self) -> int: ...


class Taken(Checkpoint):
    """Which version of the file was handed over: of a snapshot the names of its parts (and what
    `mapping.unknown_header` says of it), else its pieces' hashes.

    A piece that is in `pieces` need not go again: the file has grown at its end, or a pull was interrupted.
    """

    stamp: Stamp = Stamp()
    parts: tuple[str, ...] = ()
    header: str = ""
    pieces: tuple[str, ...] = ()


async def open_puller(settings: _Settings, tools: Tools) -> CsvFeedPuller:
    return CsvFeedPuller(settings, tools)


class CsvFeedPuller:
    """Gives the file where it changed: as a snapshot, or those pieces that it did not have before."""

    def __init__(self, settings: _Settings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._place: Place = settings.file or settings.url or ""
        self._feed = slices.feed_name("csv", self._place)
        self._delimiter = settings.delimiter.encode()
        self._headers: Mapping[str, str] | None = None
        if settings.token_file is not None:
            token = token_of(tools.secret(settings.token_file), str(settings.token_file))
            self._headers = {hdrs.AUTHORIZATION: f"Bearer {token}"}

    async def pull(self, checkpoint: Mapping[str, Any]) -> AsyncGenerator[Pulled]:
        before = Taken.of(checkpoint)
        pulling = self._whole(before) if self._settings.snapshot else self._pieces(before)
        try:
            async for pulled in pulling:
                yield pulled
        finally:
            await pulling.aclose()

    async def _whole(self, before: Taken) -> AsyncGenerator[Pulled]:
        most = min(MAX_SNAPSHOT_BYTES, self._settings.max_bytes)
        try:
            found = await fetch(self._tools.http, self._place, before.stamp, max_bytes=most, headers=self._headers)
        except PartnerFailed as error:
            if error.code == "answer-too-large":
                error.hint = "set `snapshot = false`: then nothing is withdrawn because it is missing"
            raise
        if found is None:
            return
        if not found.body.strip():
            raise slices.all_gone(origin(self._place))
        read = (found.body, self._settings.about, self._delimiter)
        parts = await asyncio.to_thread(mapping.parts, *read)
        if not parts and before.parts:
            raise slices.all_gone(origin(self._place))
        header = await asyncio.to_thread(mapping.unknown_header, *read)
        if before.parts and header not in ("", before.header):
            raise self._another_table()
        names = tuple(part.name for part in parts)
        held = tuple(dict.fromkeys((*before.parts, *names)))
        if held != before.parts:  # noted before any of it is there: what is not known of could never end
            yield Pulled(checkpoint=before.model_copy(update={"parts": held}).dump())
        for pulled in slices.hand_over(self._feed, parts, held, snapshot=True, media_type=CSV, suffix=".csv"):
            yield pulled
        yield Pulled(checkpoint=Taken(stamp=found.stamp, parts=names, header=header).dump())

    def _another_table(self) -> PartnerFailed:
        """A page that says that something is broken is no table, and must not withdraw one."""
        what = "no column of it says what a row is about, and its header is another one than it was"
        hint = "look at the file; set `about` to the column that says it"
        return PartnerFailed("header-unknown", what, where=origin(self._place), hint=hint)

    async def _pieces(self, before: Taken) -> AsyncGenerator[Pulled]:
        had = set(before.pieces)
        now: list[str] = []
        rows, pieces = mapping.Rows(self._delimiter), mapping.Pieces()
        async with opened(
            self._tools.http,
            self._place,
            before.stamp,
            max_bytes=self._settings.max_bytes,
            headers=self._headers,
        ) as found:
            if found is None:
                return
            async for body in _bodies(found.pieces, rows, pieces):
                now.append(hashlib.sha256(body).hexdigest()[:32])
                if now[-1] not in had:
                    had.add(now[-1])
                    so_far = Taken(stamp=before.stamp, pieces=tuple(dict.fromkeys((*before.pieces, *now))))
                    yield Pulled(body, CSV, "part.csv", feed=self._feed, checkpoint=so_far.dump())
            stamp = found.stamp
        yield Pulled(checkpoint=Taken(stamp=stamp, pieces=tuple(dict.fromkeys(now))).dump())

    async def close(self) -> None:
        """Nothing is open."""


async def _bodies(
    chunks: AsyncIterator[bytes], rows: mapping.Rows, pieces: mapping.Pieces
) -> AsyncGenerator[bytes]:
    async for chunk in chunks:
        for body in pieces.add(rows.feed(chunk)):
            yield body
    for body in (*pieces.add(rows.end()), *pieces.end()):
        yield body
