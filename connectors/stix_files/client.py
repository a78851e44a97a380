"""Fetches files of STIX, each only where it changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Protocol

from aiohttp import hdrs
from pydantic import BaseModel, ConfigDict

from connectors import slices
from connectors.access import token_of
from connectors.base import Checkpoint, Pulled, Tools
from connectors.fetch import Place, Stamp, fetch, origin
from connectors.stix_files import mapping
from schemas.errors import PartnerFailed


class _Settings(Protocol):
    @property
    def url(self) -> str | None: ...
    @property
    def index(self) -> str | None: ...
    @property
    def folder(self) -> Path | None: ...
    @property
    def suffixes(self) -> tuple[str, ...]: ...
    @property
    def snapshot(self) -> bool: ...
    @property
    def token_file(self) -> Path | None: ...
    @property
    def max_bytes(self) -> int: ...


class Taken(BaseModel):
    """What was handed over of one file: which version of it, and as which parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stamp: Stamp = Stamp()
    parts: tuple[str, ...] = ()


class Files(Checkpoint):
    """By the name of a file's feed."""

    files: dict[str, Taken] = {}  # noqa: RUF012 - pydantic copies it

    def having(self, feed: str, taken: Taken | None) -> Files:
        files = {name: each for name, each in self.files.items() if name != feed}
        return Files(files=files if taken is None else {**files, feed: taken})


async def open_puller(settings: _Settings, tools: Tools) -> StixFilesPuller:
    return StixFilesPuller(settings, tools)


class StixFilesPuller:
    """Gives the files that changed. One that can't be had or read holds up no other; it is told of at the end."""

    def __init__(self, settings: _Settings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._headers: Mapping[str, str] | None = None
        if settings.token_file is not None:
            token = token_of(tools.secret(settings.token_file), str(settings.token_file))
            self._headers = {hdrs.AUTHORIZATION: f"Bearer {token}"}

    async def pull(self, checkpoint: Mapping[str, Any]) -> AsyncGenerator[Pulled]:
        state = Files.of(checkpoint)
        places = await self._places()
        if state.files and not places:
            raise PartnerFailed("all-gone", "all its files are gone at once", hint="if so it is, withdraw them")
        fault: PartnerFailed | None = None
        for feed, place in places.items():
            try:
                async for pulled in self._file(feed, place, state):
                    if pulled.checkpoint is not None:
                        state = Files.of(pulled.checkpoint)
                    yield pulled
            except PartnerFailed as error:
                fault = fault or error
        if fault is not None:
            raise fault  # what seems gone may only have moved to where nothing could be read
        for feed in [feed for feed in state.files if feed not in places]:
            ending = slices.hand_over(
                feed, (), state.files[feed].parts, snapshot=self._settings.snapshot, media_type="", suffix=""
            )
            for pulled in ending:
                yield pulled
            state = state.having(feed, None)
            yield Pulled(checkpoint=state.dump())

    async def _file(self, feed: str, place: Place, state: Files) -> AsyncGenerator[Pulled]:
        before = state.files.get(feed, Taken())
        headers = None if place != (self._settings.url or self._settings.index) else self._headers
        found = await fetch(
            self._tools.http, place, before.stamp, max_bytes=self._settings.max_bytes, headers=headers
        )
        if found is None:
            return
        parts = await asyncio.to_thread(mapping.parts, found.body, origin(place))
        if not parts and before.parts and self._settings.snapshot:
            raise slices.all_gone(origin(place))
        names = tuple(part.name for part in parts)
        held = tuple(dict.fromkeys((*before.parts, *names)))
        if held != before.parts:  # noted before any of it is there: what is not known of could never end
            state = state.having(feed, Taken(stamp=before.stamp, parts=held))
            yield Pulled(checkpoint=state.dump())
        snapshot = self._settings.snapshot
        for pulled in slices.hand_over(
            feed, parts, held, snapshot=snapshot, media_type=slices.JSON, suffix=".json"
        ):
            yield pulled
        state = state.having(feed, Taken(stamp=found.stamp, parts=names))
        yield Pulled(checkpoint=state.dump())

    async def _places(self) -> Mapping[str, Place]:
        """Where the files are, by the names of their feeds."""
        settings = self._settings
        found: list[Place]
        if settings.folder is not None:
            found = [*await asyncio.to_thread(_files, settings.folder, settings.suffixes)]
        elif settings.index is not None:
            index = await fetch(
                self._tools.http,
                settings.index,
                Stamp(),
                max_bytes=settings.max_bytes,
                headers=self._headers,
            )
            found = [*mapping.addresses(b"" if index is None else index.body, origin(settings.index))]
        else:
            found = [settings.url or ""]
        return {slices.feed_name("stix", place): place for place in found}

    async def close(self) -> None:
        """Nothing is open."""


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix in suffixes and path.is_file())
    except OSError as error:
        what = f"the folder can't be read: {error.strerror}"
        raise PartnerFailed("folder", what, where=str(folder), hint="mend the folder") from None
    if len(found) > mapping.MAX_FILES:
        raise PartnerFailed("folder", f"there are more than {mapping.MAX_FILES:,} files in it", where=str(folder))
    return found
