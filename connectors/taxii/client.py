"""Pages through the collections of a TAXII 2.1 server, from where it stopped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from aiohttp import hdrs
from pydantic import BaseModel, ConfigDict, Field

from connectors import slices
from connectors.access import token_of
from connectors.base import Checkpoint, Pulled, Tools
from connectors.fetch import origin, refuse
from connectors.http import Answer
from connectors.taxii import mapping
from schemas.errors import PartnerFailed

MAX_PAGES = 10_000
"""Of one collection in one pull; the next one goes on."""
FORGOTTEN = (400, 404, 410, 422)
"""What servers answer to a `next` that they no longer know."""
INSTANT = timedelta(microseconds=1)


class _Settings(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def collections(self) -> tuple[str, ...]: ...
    @property
    def token_file(self) -> Path | None: ...
    @property
    def user(self) -> str: ...
    @property
    def password_file(self) -> Path | None: ...
    @property
    def page(self) -> int: ...


class Walk(BaseModel):
    """How far one collection was read.

    All that was added up to `after` is known, but for what else may have been added in that very instant, where
    `again` is set. Beyond it a walk is under way where there is a `next`; it has come to `upto`. `seen` are the
    objects of the last pages (see `mapping.key`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: str = ""
    again: bool = False
    next: str = ""
    upto: str = ""
    seen: tuple[str, ...] = Field(default=(), max_length=mapping.MAX_SEEN)

    def asks(self, where: str) -> datetime | None:
        """After what to ask for."""
        base = mapping.moment(self.after, where)
        return base - INSTANT if base is not None and self.again else base

    def restarted(self) -> Walk:
        """From where it came to: what comes is sorted by when it was added (section 3.4)."""
        upto = self.upto or self.after
        return Walk(after=upto, again=bool(upto), seen=self.seen)

    def turned(self, page: mapping.Page, new: bool, where: str, now_ms: int) -> Walk:
        """Where it is after a page; `new` says that something had come since the last walk ended.

        No walk ends in the future: of what is added until then nothing would come.
        """
        known = (mapping.moment(text, where) for text in (self.after, self.upto))
        upto = max((at for at in (*known, page.last) if at is not None), default=None)
        seen = tuple(dict.fromkeys((*self.seen, *page.keys)))[-mapping.MAX_SEEN :]
        walk = self.model_copy(update={"upto": "" if upto is None else mapping.written(upto), "seen": seen})
        if page.more and page.next:
            return walk.model_copy(update={"next": page.next})
        if upto is not None and not page.more:
            upto = min(upto, datetime.fromtimestamp(now_ms / 1_000, UTC))
        return Walk(after="" if upto is None else mapping.written(upto), again=new or page.more, seen=seen)


class Walks(Checkpoint):
    """By the address of the collection, hashed."""

    collections: dict[str, Walk] = {}  # noqa: RUF012 - pydantic copies it

    def having(self, name: str, walk: Walk, most_seen: int) -> Walks:
        """Of what was seen, the last `most_seen`: what comes again for that changes nothing."""
        kept = walk.model_copy(update={"seen": walk.seen[-most_seen:]})
        return Walks(collections={**self.collections, name: kept})

    def of_only(self, names: Collection[str]) -> Walks:
        return Walks(collections={name: walk for name, walk in self.collections.items() if name in names})


async def open_puller(settings: _Settings, tools: Tools) -> TaxiiPuller:
    headers: dict[str, str] = {hdrs.ACCEPT: mapping.ACCEPT}
    if settings.token_file is not None:
        token = token_of(tools.secret(settings.token_file), str(settings.token_file))
        headers[hdrs.AUTHORIZATION] = f"Bearer {token}"
    elif settings.password_file is not None:
        pair = settings.user.encode() + b":" + tools.secret(settings.password_file)
        headers[hdrs.AUTHORIZATION] = f"Basic {b64encode(pair).decode()}"
    return TaxiiPuller(settings, tools, headers)


class TaxiiPuller:
    """Gives what was added to each collection. One that fails holds up no other; it is told of at the end."""

    def __init__(self, settings: _Settings, tools: Tools, headers: Mapping[str, str]) -> None:
        self._settings = settings
        self._tools = tools
        self._headers = headers

    async def pull(self, checkpoint: Mapping[str, Any]) -> AsyncGenerator[Pulled]:
        walks = Walks.of(checkpoint)
        found, fault = await self._collections()
        names = {url: slices.feed_name("taxii", url) for url in found}
        if fault is None:  # else what seems gone may be back at the next pull
            walks = walks.of_only(names.values())
        most_seen = mapping.seen_of_each(len(names))
        for url, name in names.items():
            try:
                async for pulled, walk in self._collection(url, name, walks.collections.get(name, Walk())):
                    walks = walks.having(name, walk, most_seen)
                    yield pulled._replace(checkpoint=walks.dump())
            except PartnerFailed as error:
                fault = fault or error
        if fault is not None:
            raise fault

    async def _collections(self) -> tuple[list[str], PartnerFailed | None]:
        """The addresses of the collections that are wanted, and what went wrong on the way to others."""
        url = self._settings.url
        resource = await self._resource(url)
        found: dict[str, None] = {}
        missing = set(self._settings.collections)
        fault: PartnerFailed | None = None
        for root in mapping.api_roots(resource, url, origin(url)):
            try:
                listed = await self._resource(f"{root}collections/")
                ids = mapping.collections(listed, self._settings.collections, origin(root))
            except PartnerFailed as error:
                fault = fault or error
                continue
            missing.difference_update(ids)
            found.update((f"{root}collections/{quote(id_, safe='')}/", None) for id_ in ids.values())
        if len(found) > mapping.MAX_COLLECTIONS:
            what = f"it has more than {mapping.MAX_COLLECTIONS:,} collections"
            raise PartnerFailed("too-many-collections", what, where=origin(url), hint="name them in `collections`")
        if missing and fault is None:
            what = f"{len(missing)} of the collections are not there, or can't be read"
            fault = PartnerFailed("collection-missing", what, where=origin(url), hint="check `collections`")
        return list(found), fault

    async def _resource(self, url: str) -> Mapping[str, Any]:
        answer = await self._tools.http.request("GET", url, headers=self._headers)
        refuse(answer, url)
        return mapping.document(answer.body, answer.media_type, origin(url))

    async def _collection(self, url: str, name: str, walk: Walk) -> AsyncGenerator[tuple[Pulled, Walk]]:
        """What is new on the pages from where the walk is, each with where it is then."""
        where = origin(url)
        marks, new = set[str](), bool(walk.next)
        for _ in range(MAX_PAGES):
            page = await self._page(url, walk)
            if page is None:
                if walk.restarted() == walk or walk.upto in marks:
                    raise PartnerFailed("next-refused", "it refuses the `next` that it gave", where=where)
                marks = {walk.upto}
                walk = walk.restarted()
                continue
            seen = set(walk.seen)
            fresh = [stix for stix, key in zip(page.objects, page.keys, strict=True) if key not in seen]
            if page.more and not page.next and not fresh:
                what = "more objects were added in one instant than it gives in one page"
                raise PartnerFailed("page-stuck", what, where=where, hint="set a larger `page`")
            if page.mark in marks and (page.objects or page.more):
                raise PartnerFailed("pages-loop", "it gives the same page again and again", where=where)
            marks.add(page.mark)
            now_ms = self._tools.now_ms()
            mapping.check_dates(page, walk.asks(where), now_ms, bool(fresh), where)
            new = new or bool(fresh)
            following = walk.turned(page, new, where, now_ms)
            *first, last = self._pulled(fresh, name, page.mark)
            for pulled in first:
                yield pulled, walk
            if last.body or following != walk:
                yield last, following
            if not page.more:
                return
            walk = following

    def _pulled(self, fresh: Sequence[Mapping[str, Any]], name: str, mark: str) -> list[Pulled]:
        """At least one."""
        if not fresh:
            return [Pulled()]
        parts = mapping.parts(fresh, mark)
        return [*slices.hand_over(name, parts, (), snapshot=False, media_type=slices.JSON, suffix=".json")]

    async def _page(self, url: str, walk: Walk) -> mapping.Page | None:
        """None where the server no longer knows its `next`."""
        asked = {"limit": str(self._settings.page)}
        if (after := walk.asks(origin(url))) is not None:
            asked["added_after"] = mapping.written(after)
        if walk.next:
            asked["next"] = walk.next
        answer = await self._answer(f"{url}objects/", asked)
        if walk.next and answer.status in FORGOTTEN:
            return None
        refuse(answer, url)
        resource = mapping.document(answer.body, answer.media_type, origin(url))
        return mapping.page(resource, answer.headers, origin(url))

    async def _answer(self, url: str, asked: Mapping[str, str]) -> Answer:
        """With fewer objects where so many are too large."""
        limit = int(asked["limit"])
        while True:
            try:
                params = {**asked, "limit": str(limit)}
                return await self._tools.http.request("GET", url, headers=self._headers, params=params)
            except PartnerFailed as error:
                if error.code != "answer-too-large" or limit == 1:
                    raise
                limit //= 2

    async def close(self) -> None:
        """Nothing is open."""
