"""TAXII 2.1 under /taxii2/: a partner's feed, parts of it, and what it contributed itself.

Whatever a partner may not see is answered as if it did not exist, from the same code.
"""

from __future__ import annotations

import logging
import re
import secrets
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import orjson
from aiohttp import hdrs, web
from sqlalchemy import Connection

from schemas.errors import BodyRefused, TocsinError, Unavailable, clip
from services.hub import Hub
from services.problems import RequestRefused
from services.share import contributions, cursor, feeds, taxii
from services.share.access import may_contribute, may_receive
from services.share.rows import Match
from services.share.taxii import Held, Listing, Query, Versions
from services.tokens import Authenticator

log = logging.getLogger(__name__)

API_ROOT = "/taxii2/api/"
READS = (hdrs.METH_GET, hdrs.METH_HEAD)
NOT_FOUND = "there is nothing here that you may see"

_submission_id = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


class Answer(Protocol):
    """What a source is told of what it posted."""

    @property
    def id(self) -> str: ...
    @property
    def received_ms(self) -> int: ...
    @property
    def told(self) -> Sequence[taxii.Outcome]: ...


class Contributing(Protocol):
    """How a collection of one's own is written to: see `services.accept.collection.OwnCollection`."""

    async def add(self, request: web.Request, source: str) -> Answer: ...

    async def delete(
        self, source: str, stix_id: str, choose: Callable[[Collection[int]], Collection[int]]
    ) -> bool: ...

    async def status(self, source: str, submission: str) -> Answer | None: ...


Writer = Callable[[Listing, str], bytes]


def attach(app: web.Application, hub: Hub, authenticator: Authenticator, contributing: Contributing) -> None:
    """Adds the routes of TAXII to the application."""
    server = _Server(hub, authenticator, contributing)
    objects = API_ROOT + "collections/{id}/objects"
    one = objects + "/{object}"
    for path, allowed, handler in (
        ("/taxii2", READS, server.discovery),
        ("/taxii2/", READS, server.discovery),  # by itself: the router would look at the catch-all before a pattern
        ("/taxii2/api{slash:/?}", READS, server.api_root),
        (API_ROOT + "status/{id}{slash:/?}", READS, server.status),
        (API_ROOT + "collections{slash:/?}", READS, server.collections),
        (API_ROOT + "collections/{id}{slash:/?}", READS, server.collection),
        (API_ROOT + "collections/{id}/manifest{slash:/?}", READS, server.manifest),
        (objects + "{slash:/?}", (*READS, hdrs.METH_POST), server.objects),
        (one + "{slash:/?}", (*READS, hdrs.METH_DELETE), server.object),
        (one + "/versions{slash:/?}", READS, server.versions),
        ("/taxii2/{rest:.*}", None, server.nothing),
    ):
        app.router.add_route("*", path, server.responding(allowed, handler))


class _Asked:
    """A request, and the partner whose it is; empty for staff and strangers, who have nothing here."""

    def __init__(self, request: web.Request, partner: str, allowed: Sequence[str] | None) -> None:
        self.request = request
        self.partner = partner
        self._allowed = allowed

    def check_method(self) -> None:
        """Looked at once it is known that the address is there."""
        if self._allowed is not None and self.request.method not in self._allowed:
            raise RequestRefused(
                405,
                "method-not-allowed",
                f"{clip(self.request.method)} is not a method of this endpoint",
                headers={hdrs.ALLOW: ", ".join(self._allowed)},
            )


Handler = Callable[[_Asked], Awaitable[web.Response]]


class _Server:
    def __init__(self, hub: Hub, authenticator: Authenticator, contributing: Contributing) -> None:
        self._hub = hub
        self._authenticator = authenticator
        self._contributing = contributing

    def responding(
        self, allowed: Sequence[str] | None, handler: Handler
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def respond(request: web.Request) -> web.Response:
            try:
                principal = await self._authenticator.authenticate(request)
                if not taxii.accepts(request.headers.get(hdrs.ACCEPT)):
                    raise BodyRefused(
                        "not-acceptable", f"this server writes {taxii.MEDIA_TYPE} only", where="Accept", status=406
                    )
                is_partner = principal.scope == "partner" and principal.name in self._hub.directory.bit_of
                return await handler(_Asked(request, principal.name if is_partner else "", allowed))
            except TocsinError as error:
                return _refusal(error)
            except Exception as error:
                return _failure(error)

        return respond

    # --- the server -----------------------------------------------------------------------------------------------

    async def discovery(self, asked: _Asked) -> web.Response:
        asked.check_method()
        return _resource(
            {
                "title": "Tocsin",
                "description": "Threat information about attacks on human rights defenders",
                "default": API_ROOT,
                "api_roots": [API_ROOT],
            }
        )

    async def api_root(self, asked: _Asked) -> web.Response:
        asked.check_method()
        size = self._hub.settings.max_body_bytes
        return _resource({"title": "Tocsin", "versions": [taxii.MEDIA_TYPE], "max_content_length": size})

    async def status(self, asked: _Asked) -> web.Response:
        id_ = asked.request.match_info["id"]
        if not asked.partner or not _submission_id(id_):
            raise _not_found()
        answer = await self._contributing.status(asked.partner, id_)
        if answer is None:
            raise _not_found()
        asked.check_method()
        return _resource(taxii.status(answer.id, answer.received_ms, answer.told))

    async def nothing(self, _asked: _Asked) -> web.Response:
        raise _not_found()

    # --- collections ----------------------------------------------------------------------------------------------

    async def collections(self, asked: _Asked) -> web.Response:
        asked.check_method()
        found = [held.resource() for held in await self._held(asked.partner)]
        return _resource({"collections": found} if found else {})

    async def collection(self, asked: _Asked) -> web.Response:
        held = await self._collection(asked)
        asked.check_method()
        return _resource(held.resource())

    async def _held(self, partner: str) -> list[Held]:
        """Who is suspended, or whose agreement is over, has none of its contributions: a token may be a thief's."""
        if not partner:
            return []
        agreements = self._hub.directory.agreements
        contributes = may_contribute(agreements, partner, self._hub.clock())
        if contributes:
            contributes = not await self._hub.store.read(lambda c: contributions.is_suspended(c, partner))
        agreement = agreements.get(partner)
        categories = agreement.receives.collections if agreement and agreement.receives else ()
        return taxii.collections(self._hub.secret, partner, categories, contributes=contributes)

    async def _collection(self, asked: _Asked) -> Held:
        id_ = asked.request.match_info["id"]
        for held in await self._held(asked.partner):
            if held.id == id_:
                return held
        raise _not_found()

    # --- objects --------------------------------------------------------------------------------------------------

    async def manifest(self, asked: _Asked) -> web.Response:
        return await self._list(asked, taxii.manifest, taxii.OF_OBJECTS, bodies=False)

    async def objects(self, asked: _Asked) -> web.Response:
        if asked.request.method == hdrs.METH_POST:
            return await self._add(asked)
        return await self._list(asked, taxii.envelope, taxii.OF_OBJECTS)

    async def object(self, asked: _Asked) -> web.Response:
        if asked.request.method == hdrs.METH_DELETE:
            return await self._delete(asked)
        return await self._list(asked, taxii.envelope, taxii.OF_OBJECT, one=True)

    async def versions(self, asked: _Asked) -> web.Response:
        otherwise = taxii.ALL
        return await self._list(
            asked, taxii.versions, taxii.OF_VERSIONS, bodies=False, one=True, otherwise=otherwise
        )

    async def _list(
        self,
        asked: _Asked,
        write: Writer,
        known: frozenset[str],
        *,
        bodies: bool = True,
        one: bool = False,
        otherwise: Versions = taxii.LAST,
    ) -> web.Response:
        held = await self._collection(asked)
        asked.check_method()
        query = self._query(asked, held, known, otherwise)
        page = await self._page(asked.partner, held, query, _object_id(asked.request) if one else None, bodies)
        next_ = cursor.seal(self._hub.secret, held.id, page.rows[-1].added) if page.more else ""
        return _dated(page, write(page, next_))

    def _query(self, asked: _Asked, held: Held, known: frozenset[str], otherwise: Versions) -> Query:
        def unseal(text: str) -> int | None:
            return cursor.unseal(self._hub.secret, held.id, text)

        query = taxii.read_query(asked.request.query.items(), known, unseal, otherwise)
        return query._replace(match=query.match._replace(category=held.category))

    async def _page(self, partner: str, held: Held, query: Query, object_id: str | None, bodies: bool) -> Listing:
        """Raises 404 for one object that is in no version in this collection."""
        match = query.match._replace(ids=(object_id,)) if object_id else query.match

        def read(connection: Connection) -> Listing:
            if object_id and not self._read(connection, partner, held, _any(held, object_id), bodies=False).rows:
                raise _not_found()
            if query.nothing:
                return contributions.Page([], False)
            return self._read(connection, partner, held, query._replace(match=match), bodies=bodies)

        return await self._hub.store.read(read)

    def _read(self, connection: Connection, partner: str, held: Held, query: Query, *, bodies: bool) -> Listing:
        """A suspension or the end of an agreement holds from that moment: it is looked at anew."""
        match, limit = query.match, query.limit
        if held.own:
            return contributions.page(connection, partner, match, query.versions, limit, bodies=bodies)
        directory = self._hub.directory
        allowed = may_receive(directory.agreements, partner, self._hub.clock())
        view = feeds.view(connection, directory.bit_of[partner], allowed)
        return feeds.page(connection, view, match, limit, bodies=bodies)

    # --- writing --------------------------------------------------------------------------------------------------

    async def _add(self, asked: _Asked) -> web.Response:
        await self._writable(asked)
        if not taxii.is_taxii(asked.request.headers.get(hdrs.CONTENT_TYPE)):
            raise BodyRefused(
                "media-type-unknown",
                "this endpoint takes TAXII 2.1 only",
                where=hdrs.CONTENT_TYPE,
                hint=f"send {taxii.MEDIA_TYPE}",
                status=415,
            )
        try:
            answer = await self._contributing.add(asked.request, asked.partner)
        except BodyRefused as refusal:
            if refusal.status == 400:  # of what is sent the standard says 422, and 400 of what is asked
                refusal.status = 422
            raise
        resource = taxii.status(answer.id, answer.received_ms, answer.told)
        return _answer(202, orjson.dumps(resource))

    async def _delete(self, asked: _Asked) -> web.Response:
        held = await self._writable(asked)
        query = self._query(asked, held, taxii.OF_DELETED, taxii.ALL)
        object_id = _object_id(asked.request)
        if query.nothing or not await self._contributing.delete(asked.partner, object_id, query.versions.choose):
            raise _not_found()
        return _answer(200, b"")

    async def _writable(self, asked: _Asked) -> Held:
        held = await self._collection(asked)
        if not held.own:
            raise BodyRefused("read-only", "this collection can't be written to", status=403)
        return held


def _any(held: Held, object_id: str) -> Query:
    return Query(Match(ids=(object_id,), category=held.category), 1, versions=taxii.ALL)


def _object_id(request: web.Request) -> str:
    object_id = request.match_info["object"]
    if not taxii.is_object_id(object_id):
        raise _not_found()
    return object_id


def _not_found() -> BodyRefused:
    return BodyRefused("not-found", NOT_FOUND, status=404)


def _resource(document: Mapping[str, Any]) -> web.Response:
    return _answer(200, orjson.dumps(document))


def _dated(page: Listing, body: bytes) -> web.Response:
    """With the headers of section 3.2, which only have a value where there is an object."""
    if not page.rows:
        return _answer(200, body)
    dates = {
        "X-TAXII-Date-Added-First": taxii.date_added(page.rows[0].added),
        "X-TAXII-Date-Added-Last": taxii.date_added(page.rows[-1].added),
    }
    return _answer(200, body, dates)


def _refusal(error: TocsinError) -> web.Response:
    description = f"{error.what} ({error.hint})" if error.hint else error.what
    match error:
        case RequestRefused():
            status, headers = error.status, error.headers
        case BodyRefused():
            status, headers = error.status, {}
        case Unavailable():
            status, headers = 503, {hdrs.RETRY_AFTER: "5"}
        case _:
            return _failure(error)
    return _answer(status, taxii.error(status, error.code, description), headers)


def _failure(error: BaseException) -> web.Response:
    """Without content; the log has the place in the code under the id that the answer names."""
    incident = secrets.token_hex(8)
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("incident %s: %s\n%s", incident, type(error).__name__, frames)
    what = f"something went wrong in the hub; its log names it incident {incident}"
    return _answer(500, taxii.error(500, "internal-error", what))


def _answer(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    response = web.Response(status=status, body=body, headers=headers)
    response.headers[hdrs.CONTENT_TYPE] = taxii.MEDIA_TYPE
    response.headers[hdrs.CACHE_CONTROL] = "private, no-store"
    return response
