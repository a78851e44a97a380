"""The sample's input and output: files in a folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from connectors.base import DELIVERED, MAX_BODY_BYTES, Outcome, Pulled, Tools
from connectors.sample import mapping
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow

OUTBOX = "outbox.jsonl"


class _Settings(Protocol):
    @property
    def folder(self) -> Path: ...


async def open_pusher(settings: _Settings, _tools: Tools) -> SamplePusher:
    return SamplePusher(settings.folder)


async def open_puller(settings: _Settings, _tools: Tools) -> SamplePuller:
    return SamplePuller(settings.folder)


class SamplePusher:
    """Appends a line for each row; what was written before is not written again."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / OUTBOX
        self._written: set[tuple[str, Any]] | None = None

    async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        writing = asyncio.create_task(asyncio.to_thread(self._append, rows))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # a thread can't be stopped, and the next push must not write beside it
            await asyncio.wait([writing])
            raise
        except OSError as error:
            raise _failed(error, self._file) from None
        return [DELIVERED] * len(rows)

    def _append(self, rows: Sequence[FeedRow]) -> None:
        if self._written is None:
            self._written = _keys(self._file)
        new = {(row.stix_id, row.modified): row for row in rows}
        lines = [mapping.line(row) for key, row in new.items() if key not in self._written]
        with self._file.open("a+b") as stream:
            stream.writelines([*([b"\n"] if _is_cut_off(stream) else []), *lines])
            stream.flush()
            os.fsync(stream.fileno())
        self._written |= new.keys()

    async def close(self) -> None:
        """Nothing is open."""


def _is_cut_off(stream: BinaryIO) -> bool:
    """Whether a crash left the last line without its end: what is appended to it would be lost with it."""
    if not stream.seek(0, os.SEEK_END):
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) != b"\n"


def _keys(file: Path) -> set[tuple[str, Any]]:
    try:
        with file.open("rb") as stream:
            return {key for line in stream if (key := mapping.key(line)) is not None}
    except FileNotFoundError:
        return set()


class SamplePuller:
    """Gives every `*.json` of the folder that changed since the last time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def pull(self, checkpoint: Mapping[str, Any]) -> AsyncGenerator[Pulled]:
        seen = dict(checkpoint.get("seen", {}))
        try:
            for file in await asyncio.to_thread(lambda: sorted(self._folder.glob("*.json"))):
                stamp = str((await asyncio.to_thread(file.stat)).st_mtime_ns)
                if seen.get(file.name) == stamp:
                    continue
                body = await asyncio.to_thread(_read, file)
                seen[file.name] = stamp
                yield Pulled(body, "application/json", file.name, feed=file.name, checkpoint={"seen": seen})
        except OSError as error:
            raise _failed(error, self._folder) from None

    async def close(self) -> None:
        """Nothing is open."""


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        body = stream.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise PartnerFailed("file-too-large", "a file is too large", where=file.name, hint="split it")
    return body


def _failed(error: OSError, path: Path) -> PartnerFailed:
    return PartnerFailed("folder", f"it can't be used: {error.strerror}", where=str(path), hint="mend the folder")
