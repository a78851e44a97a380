"""Reads events from a MISP, or from a static feed, each only where it changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
from aiohttp import hdrs
from pydantic import BaseModel, ConfigDict

from connectors import slices
from connectors.access import token_of
from connectors.base import Checkpoint, Pulled, Tools
from connectors.fetch import Stamp, fetch, origin, refuse
from connectors.misp import pull_mapping as mapping
from schemas.errors import PartnerFailed

MAX_LISTING_BYTES = 64 * 1024 * 1024
HOUR_MS = 3_600_000
NOTED = 500
"""A checkpoint is as large as there are events: with many of them, not each is written down by itself."""


class _Settings(Protocol):
    @property
    def url(self) -> str | None: ...
    @property
    def key_file(self) -> Path | None: ...
    @property
    def feed(self) -> str | None: ...
    @property
    def published(self) -> bool: ...
    @property
    def filters(self) -> Mapping[str, Any]: ...
    @property
    def gone_hours(self) -> float: ...
    @property
    def look_hours(self) -> float: ...
    @property
    def page(self) -> int: ...
    @property
    def max_event_bytes(self) -> int: ...


class Event(BaseModel):
    """One event that was handed over: its version (s since 1970), as which parts where not as one, and since when
    (ms) it is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: int = -1
    parts: tuple[str, ...] = ("",)
    missing_ms: int = 0


class Events(Checkpoint):
    """By uuid.

    From a MISP is asked for what changed since `since`; `next_since` is the newest of what was seen then: each
    change is listed in two pulls, since a list that changes while it is paged through may leave one out.
    `looked_ms` is when the list of all was looked through. `manifest` is which version of a static feed's list was
    read.
    """

    events: dict[str, Event] = {}  # noqa: RUF012 - pydantic copies it
    since: int = 0
    next_since: int = 0
    looked_ms: int = 0
    manifest: Stamp = Stamp()


class _Listed(NamedTuple):
    """`changed` is what may have; `all` is all there is, None where that was not asked for."""

    changed: mapping.Listing
    all: mapping.Listing | None
    manifest: Stamp = Stamp()


class _Source(Protocol):
    gone_ms: float
    """How long an event has to be missing."""

    async def listed(self, state: Events, now_ms: int) -> _Listed | None:
        """None where nothing changed."""
        ...

    async def event(self, uuid: str) -> Mapping[str, Any] | None:
        """None where there is none of that uuid, or none that may be read now."""
        ...


async def open_puller(settings: _Settings, tools: Tools) -> MispPuller:
    source: _Source = _Rest(settings, tools) if settings.feed is None else _Feed(settings, settings.feed, tools)
    return MispPuller(slices.feed_name("misp", settings.feed or settings.url), tools, source)


class MispPuller:
    """Gives each event as a snapshot of its attributes. One that can't be had holds up no other; it is told of at
    the end."""

    def __init__(self, feed: str, tools: Tools, source: _Source) -> None:
        self._feed = feed
        self._tools = tools
        self._source = source

    async def pull(self, checkpoint: Mapping[str, Any]) -> AsyncGenerator[Pulled]:
        state = Events.of(checkpoint)
        now_ms = self._tools.now_ms()
        listed = await self._source.listed(state, now_ms)
        if listed is None:
            return
        known = dict(state.events)
        if known and listed.all is not None and not listed.all:
            raise PartnerFailed("all-gone", "all its events are gone at once", hint="if so it is, withdraw them")
        fresh = _fresh(listed, known)
        if new := [uuid for uuid in fresh if uuid not in known]:
            # noted before any of it is there: what is not known of could never end
            known.update((uuid, Event()) for uuid in new)
            yield Pulled(checkpoint=_dump(state, known))
        fault: PartnerFailed | None = None
        unwritten = 0
        for uuid, at in fresh.items():
            try:
                async for pulled in self._event(uuid, at, state, known):
                    yield pulled
            except PartnerFailed as error:
                fault = fault or error
            unwritten += 1
            if unwritten * NOTED >= len(known):
                unwritten = 0
                yield Pulled(checkpoint=_dump(state, known))
        if fault is not None:
            yield Pulled(checkpoint=_dump(state, known))
            raise fault
        if listed.all is not None:
            # only here: an attribute may have moved to an event that could not be had
            for pulled in self._gone(listed.all, known, now_ms):
                yield pulled
            state = state.model_copy(update={"looked_ms": now_ms})
        newest = min(max((state.next_since, *listed.changed.values())), now_ms // 1_000)
        update = {"since": state.next_since, "next_since": newest, "manifest": listed.manifest}
        yield Pulled(checkpoint=_dump(state.model_copy(update=update), known))

    async def _event(self, uuid: str, at: int, state: Events, known: dict[str, Event]) -> AsyncGenerator[Pulled]:
        event = await self._source.event(uuid)
        if event is None:
            return
        before = known[uuid].parts
        parts = await asyncio.to_thread(mapping.parts, event)
        names = tuple(part.name for part in parts)
        held = tuple(dict.fromkeys((*before, *names)))
        if held != before:
            known[uuid] = known[uuid].model_copy(update={"parts": held})
            yield Pulled(checkpoint=_dump(state, known))
        for pulled in slices.hand_over(
            f"{self._feed}/{uuid}", parts, held, snapshot=True, media_type=slices.JSON, suffix=".json"
        ):
            yield pulled
        known[uuid] = Event(at=at, parts=names)

    def _gone(self, listing: mapping.Listing, known: dict[str, Event], now_ms: int) -> Iterator[Pulled]:
        for uuid, event in list(known.items()):
            if uuid in listing:
                known[uuid] = event.model_copy(update={"missing_ms": 0})
            elif now_ms - (event.missing_ms or now_ms) < self._source.gone_ms:
                known[uuid] = event.model_copy(update={"missing_ms": event.missing_ms or now_ms})
            else:
                yield from slices.hand_over(
                    f"{self._feed}/{uuid}", (), event.parts, snapshot=True, media_type="", suffix=""
                )
                del known[uuid]

    async def close(self) -> None:
        """Nothing is open."""


def _fresh(listed: _Listed, known: Mapping[str, Event]) -> mapping.Listing:
    """What has to be fetched, the oldest first: what is new, and what is of another version than it was."""
    newest = dict(listed.changed)
    newest.update((uuid, at) for uuid, at in (listed.all or {}).items() if uuid in known)
    changed = [(at, uuid) for uuid, at in newest.items() if uuid not in known or known[uuid].at != at]
    return {uuid: at for at, uuid in sorted(changed)}


def _dump(state: Events, known: Mapping[str, Event]) -> Mapping[str, Any]:
    return state.model_copy(update={"events": known}).dump()


class _Feed:
    """A static feed: a folder with `manifest.json` and a file for each event."""

    def __init__(self, settings: _Settings, feed: str, tools: Tools) -> None:
        self._folder = feed.rstrip("/").removesuffix("/manifest.json")
        self._max_bytes = settings.max_event_bytes
        self._http = tools.http
        self.gone_ms = 0.0

    async def listed(self, state: Events, now_ms: int) -> _Listed | None:
        url = f"{self._folder}/manifest.json"
        found = await fetch(self._http, url, state.manifest, max_bytes=MAX_LISTING_BYTES)
        if found is None:
            return None
        listing = mapping.manifest(mapping.loads(found.body, origin(url)), origin(url))
        return _Listed(listing, listing, found.stamp)

    async def event(self, uuid: str) -> Mapping[str, Any] | None:
        url = f"{self._folder}/{uuid}.json"
        found = await fetch(self._http, url, Stamp(), max_bytes=self._max_bytes)
        document = await asyncio.to_thread(mapping.loads, b"" if found is None else found.body, origin(url))
        event = mapping.event(document, uuid, origin(url))
        if event is None:
            raise mapping.not_misp(origin(url))
        return event


class _Rest:
    """A MISP, by its REST API."""

    def __init__(self, settings: _Settings, tools: Tools) -> None:
        self._settings = settings
        self._url = (settings.url or "").rstrip("/")
        self._http = tools.http
        key = token_of(tools.secret(settings.key_file), str(settings.key_file)) if settings.key_file else ""
        self._headers = {
            str(hdrs.AUTHORIZATION): key,
            str(hdrs.ACCEPT): slices.JSON,
            str(hdrs.CONTENT_TYPE): slices.JSON,
        }
        self.gone_ms = settings.gone_hours * HOUR_MS

    async def listed(self, state: Events, now_ms: int) -> _Listed | None:
        changed: dict[str, int] = {}
        for number in range(1, mapping.MAX_EVENTS + 2):
            asked = {**self._settings.filters, **self._published(), "metadata": True}
            asked |= {"returnFormat": "json", "limit": self._settings.page, "page": number}
            if state.since:
                asked["timestamp"] = state.since
            answer = await self._ask("events/restSearch", asked, MAX_LISTING_BYTES)
            page = mapping.listed(mapping.found(answer, self._where), self._where)
            if page.keys() <= changed.keys():  # the end, or a server that knows no pages
                break
            changed.update(page)
            mapping.check_number(changed, self._where)
        everything = None
        if now_ms - state.looked_ms >= self._settings.look_hours * HOUR_MS:
            answer = await self._ask("events/index", {"minimal": 1}, MAX_LISTING_BYTES)
            everything = mapping.index(answer, self._where)
        return _Listed(changed, everything)

    async def event(self, uuid: str) -> Mapping[str, Any] | None:
        asked = {**self._published(), "uuid": uuid, "deleted": [0, 1], "returnFormat": "json"}
        answer = await self._ask("events/restSearch", asked, self._settings.max_event_bytes)
        return mapping.event(answer, uuid, self._where)

    def _published(self) -> dict[str, Any]:
        return {"published": True} if self._settings.published else {}

    async def _ask(self, what: str, asked: Mapping[str, Any], max_bytes: int) -> Any:
        answer = await self._http.request(
            "POST", f"{self._url}/{what}", headers=self._headers, body=orjson.dumps(asked), max_bytes=max_bytes
        )
        refuse(answer, self._url)
        if "json" not in answer.media_type:
            raise PartnerFailed("media-type", "it does not answer in JSON", where=self._where)
        return await asyncio.to_thread(mapping.loads, answer.body, self._where)

    @property
    def _where(self) -> str:
        return origin(self._url)
