"""IODA's API, read page by page."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from yarl import URL

from connectors.base import Pulled, Tools
from connectors.incidents import MEDIA_TYPE, bundles, document
from connectors.ioda import mapping
from schemas.errors import PartnerFailed

MAX_PAGES = 50
MAX_ANSWER_BYTES = 16 * 1024 * 1024


class _Settings(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def countries(self) -> tuple[str, ...]: ...
    @property
    def regions(self) -> bool: ...
    @property
    def lookback_hours(self) -> int: ...
    @property
    def bounds(self) -> mapping.Bounds: ...


async def open_puller(settings: _Settings, tools: Tools) -> IodaPuller:
    return IodaPuller(settings, tools)


class IodaPuller:
    """Asks for all events since the beginning of what still goes on, and says what is new of them."""

    def __init__(self, settings: _Settings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._url = str(URL(settings.url) / "outages" / "events")
        self._where = str(URL(settings.url).origin())

    async def pull(self, checkpoint: Mapping[str, Any]) -> AsyncIterator[Pulled]:
        known = mapping.resume(checkpoint)
        until_s = self._tools.now_ms() // 1000
        from_s = mapping.since(known, until_s, self._settings.lookback_hours * 3600)
        found: list[mapping.Outage] = []
        for query, country in mapping.queries(self._settings.countries, self._settings.regions):
            window = {"from": str(from_s), "until": str(until_s), "format": "codf", "overall": "false"}
            async for events in self._pages(query | window):
                found += mapping.outages(events, country, until_s, self._where)
                if len(found) > mapping.MAX_EVENTS:
                    raise self._too_many()
        try:
            changed, after = mapping.follow(known, found, until_s, from_s, self._settings.bounds)
        except OverflowError:
            raise self._too_many() from None
        bodies = list(bundles([mapping.objects(incident) for incident in changed]))
        for number, body in enumerate(bodies, 1):
            # remembered only when all of it is stored: what comes again is the same
            state = after.model_dump() if number == len(bodies) else None
            yield Pulled(body, MEDIA_TYPE, "ioda.json", feed="outages", checkpoint=state)

    async def _pages(self, query: Mapping[str, str]) -> AsyncIterator[list[Any]]:
        seen: set[bytes] = set()
        for page in range(MAX_PAGES):
            params = {**query, "limit": str(mapping.LIMIT), "page": str(page)}
            answer = await self._tools.http.request("GET", self._url, params=params, max_bytes=MAX_ANSWER_BYTES)
            events = mapping.rows(document(answer, self._where), self._where)
            if events:
                yield events
            if len(events) < mapping.LIMIT:
                return
            digest = hashlib.sha256(repr(events).encode()).digest()
            if digest in seen:
                raise PartnerFailed("pages-loop", "it gives the same page again and again", where=self._where)
            seen.add(digest)
        raise self._too_many()

    def _too_many(self) -> PartnerFailed:
        hint = "name fewer countries, or raise `min_score`"
        return PartnerFailed("too-many", "it has more events than can be read", where=self._where, hint=hint)

    async def close(self) -> None:
        """What is open belongs to who lent it."""
