"""A feed as MISP fetches it from a web server: `manifest.json`, `hashes.csv` and a file for each event.

A MISP reads the manifest and then the events that are newer than what it has. So events take their places before
the manifest that names them, what it names no more goes after it, and an event whose content changed gets a newer
time (`modified` would not do: what is added may be older). What was written is remembered in the folder itself.

One event after the other grows on the disk, so that the memory does not grow with the feed.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson

from connectors.base import Tools
from connectors.files import MODE, NewFiles, folder_failed, in_thread, sync_folder
from connectors.misp import mapping
from schemas.feed import FeedRow, Head
from schemas.markings import Tlp

MANIFEST, HASHES, MEMORY = "manifest.json", "hashes.csv", ".tocsin"
_START = b'{"Event":{"Attribute":[\n'


class _Settings(Protocol):
    @property
    def folder(self) -> Path: ...


async def open_publisher(settings: _Settings, _tools: Tools) -> StaticFeed:
    return StaticFeed(settings.folder)


class Written(NamedTuple):
    """What is remembered of an event: a digest of its attributes, and the time that it was given (s since 1970)."""

    digest: str
    timestamp: int


class _Growing:
    """An event that is being written to a file beside its place."""

    def __init__(self, folder: Path, uuid: str, day: str) -> None:
        self.uuid = uuid
        self.day = day
        self.place = folder / f"{uuid}.json"
        self.part = folder / f".{uuid}.json.part"
        self.tlp: Tlp | None = None
        self._digest = blake2b(digest_size=16)
        self._any = False

    def add(self, rows: Sequence[tuple[FeedRow, bytes]]) -> None:
        data = b",\n".join(attribute for _, attribute in rows)
        self._digest.update(data + b",")
        for row, _ in rows:
            self.tlp = mapping.strictest(self.tlp, row)
        self._append((b",\n" if self._any else _START) + data)
        self._any = True

    def finish(self, partner: str, before: Written | None, now: int) -> tuple[mapping.Document, Written]:
        """Takes its place, if it says something else than what is there; gives the event without its attributes."""
        self._digest.update(str(self.tlp).encode())
        digest = self._digest.hexdigest()
        if before is not None and before.digest == digest and self.place.exists():
            self.part.unlink()
            return mapping.event(partner, self.day, self.day, before.timestamp, self.tlp), before
        written = Written(digest, now if before is None else max(now, before.timestamp + 1))
        event = mapping.event(partner, self.day, self.day, written.timestamp, self.tlp)
        self._append(b"\n]," + orjson.dumps(event)[1:] + b"}\n", durable=True)
        self.part.replace(self.place)
        return event, written

    def _append(self, data: bytes, *, durable: bool = False) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | (0 if self._any else os.O_EXCL)
        with os.fdopen(os.open(self.part, flags, MODE), "ab") as stream:
            os.fchmod(stream.fileno(), MODE)
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())


class StaticFeed:
    """Writes a feed into a folder, which must be there and hold nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def publish(self, head: Head, pages: AsyncIterator[Sequence[FeedRow]]) -> None:
        growing: dict[str, _Growing] = {}
        try:
            await in_thread(self._clear_parts)
            with NewFiles(self._folder, [HASHES, MANIFEST, MEMORY]) as files:
                async for page in pages:
                    await in_thread(partial(self._add, page, head.partner, growing, files))
                await in_thread(partial(self._finish, head, growing, files))
        except OSError as error:
            raise folder_failed(error, self._folder) from None
        finally:
            await in_thread(self._clear_parts)

    def _add(self, page: Sequence[FeedRow], partner: str, growing: dict[str, _Growing], files: NewFiles) -> None:
        by_day: dict[str, list[tuple[FeedRow, bytes]]] = defaultdict(list)
        for row in page:
            if (attribute := mapping.attribute(row)) is None:
                continue
            day = mapping.day(row)
            by_day[day].append((row, orjson.dumps(attribute)))
            if row.live:
                files.write(HASHES, mapping.hash_line(attribute, mapping.event_uuid(partner, day)))
        for day, rows in by_day.items():
            uuid = mapping.event_uuid(partner, day)
            if uuid not in growing:
                growing[uuid] = _Growing(self._folder, uuid, day)
            growing[uuid].add(rows)

    def _finish(self, head: Head, growing: Mapping[str, _Growing], files: NewFiles) -> None:
        before = self._remembered()
        now = head.at_ms // 1_000
        manifest: dict[str, Any] = {}
        memory: dict[str, Written] = {}
        for uuid, event in growing.items():
            document, memory[uuid] = event.finish(head.partner, before.get(uuid), now)
            manifest[uuid] = mapping.manifest_entry(document)
        sync_folder(self._folder)
        files.write(MANIFEST, orjson.dumps(manifest) + b"\n")
        # what is gone is remembered: if it comes again, it has to be newer than what a MISP has
        files.write(MEMORY, orjson.dumps({**before, **memory}, default=list) + b"\n")
        files.replace()
        for uuid in before.keys() - memory.keys():
            with suppress(FileNotFoundError):
                (self._folder / f"{uuid}.json").unlink()

    def _remembered(self) -> dict[str, Written]:
        """Nothing where the file was lost or damaged: then all events count as new, which does no harm."""
        try:
            found = orjson.loads((self._folder / MEMORY).read_bytes())
            return {str(UUID(uuid)): Written(str(digest), int(at)) for uuid, (digest, at) in found.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return {}

    def _clear_parts(self) -> None:
        """Of events: what a crash, or a failure, left behind."""
        for file in self._folder.glob(".*.json.part"):
            if len(file.name) == len(".json.part") + 37:
                file.unlink()

    async def close(self) -> None:
        """Nothing is open."""
