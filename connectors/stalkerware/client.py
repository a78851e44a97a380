"""Fetches ECHAP's list where it changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol

from connectors import slices
from connectors.base import Checkpoint, Pulled, Tools
from connectors.fetch import Place, Stamp, fetch, origin
from connectors.stalkerware import mapping
from schemas.safeyaml import MAX_BYTES


class _Settings(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def file(self) -> Path | None: ...


class Taken(Checkpoint):
    """Which version of the list was handed over, and as which parts."""

    stamp: Stamp = Stamp()
    parts: tuple[str, ...] = ()


async def open_puller(settings: _Settings, tools: Tools) -> StalkerwarePuller:
    return StalkerwarePuller(settings, tools)


class StalkerwarePuller:
    """Gives the whole list as a snapshot, where it changed: what is no longer on it is withdrawn."""

    def __init__(self, settings: _Settings, tools: Tools) -> None:
        self._place: Place = settings.file or settings.url
        self._tools = tools

    async def pull(self, checkpoint: Mapping[str, Any]) -> AsyncGenerator[Pulled]:
        before = Taken.of(checkpoint)
        found = await fetch(self._tools.http, self._place, before.stamp, max_bytes=MAX_BYTES)
        if found is None:
            return
        at_ms = _published_ms(found.stamp, self._tools.now_ms())
        parts = await asyncio.to_thread(mapping.parts, found.body, at_ms, origin(self._place))
        names = tuple(part.name for part in parts)
        held = tuple(dict.fromkeys((*before.parts, *names)))
        if held != before.parts:  # noted before any of it is there: what is not known of could never end
            yield Pulled(checkpoint=Taken(stamp=before.stamp, parts=held).dump())
        feed = slices.feed_name("stalkerware", self._place)
        for pulled in slices.hand_over(feed, parts, held, snapshot=True, media_type=slices.JSON, suffix=".json"):
            yield pulled
        yield Pulled(checkpoint=Taken(stamp=found.stamp, parts=names).dump())

    async def close(self) -> None:
        """Nothing is open."""


def _published_ms(stamp: Stamp, now_ms: int) -> int:
    """When the list was last changed, as far as its server says so; no time to come."""
    try:
        said_ms = round(parsedate_to_datetime(stamp.modified).timestamp() * 1_000)
    except (ValueError, OverflowError):
        return now_ms
    return said_ms if 0 < said_ms < now_ms else now_ms
