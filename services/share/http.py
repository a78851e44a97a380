"""How partners fetch their feeds over HTTP: TAXII 2.1 under /taxii2/, whole files under /api/v1/feed.

Whatever a partner may not see is answered as if it did not exist, from the same code.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import traceback
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from aiohttp import hdrs, web
from sqlalchemy import Connection

from schemas.errors import BodyRefused, TocsinError, Unavailable, clip
from schemas.feed import Format, Head
from schemas.timestamps import format_time
from services.hub import Hub
from services.problems import RequestRefused, unknown_partner
from services.share import cursor, feeds, receipts_http, taxii
from services.share.access import may_receive
from services.share.formats import FORMATS
from services.share.rows import Match, Page, View
from services.tokens import Authenticator, Principal

log = logging.getLogger(__name__)

API_ROOT = "/taxii2/api/"
ROWS_AT_ONCE = 1_000
MAX_SCORE = 100
READS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
NOT_FOUND = "there is nothing here that you may see"


class Recipient(NamedTuple):
    """A partner as the feeds know it."""

    partner: str
    bit: int


def attach(app: web.Application, hub: Hub, authenticator: Authenticator) -> None:
    """Adds the routes of this stage to the application."""
    _attach_taxii(app, hub, authenticator)
    _attach_files(app, hub, authenticator)
    receipts_http.attach(app, hub, authenticator)


def _recipient(hub: Hub, partner: str) -> Recipient | None:
    bit = hub.directory.bit_of.get(partner)
    return None if bit is None else Recipient(partner, bit)


def _view(connection: Connection, hub: Hub, who: Recipient) -> View:
    """Made anew for every read: a suspension or the end of an agreement holds from that moment."""
    return feeds.view(connection, who.bit, may_receive(hub.directory.agreements, who.partner, hub.clock()))


# --- TAXII --------------------------------------------------------------------------------------------------------

TaxiiHandler = Callable[[web.Request, Recipient | None], Awaitable[web.Response]]
Writer = Callable[[Page, str], bytes]


def _attach_taxii(app: web.Application, hub: Hub, authenticator: Authenticator) -> None:
    async def discovery(request: web.Request, _who: Recipient | None) -> web.Response:
        _only_reads(request)
        return _resource(
            {
                "title": "Tocsin",
                "description": "Threat information about attacks on human rights defenders",
                "default": API_ROOT,
                "api_roots": [API_ROOT],
            }
        )

    async def api_root(request: web.Request, _who: Recipient | None) -> web.Response:
        _only_reads(request)
        size = hub.settings.max_body_bytes
        return _resource({"title": "Tocsin", "versions": [taxii.MEDIA_TYPE], "max_content_length": size})

    async def collections(request: web.Request, who: Recipient | None) -> web.Response:
        _only_reads(request)
        ids = [taxii.collection_id(hub.secret, who.partner)] if who else []
        return _resource({"collections": [taxii.collection(id_) for id_ in ids]} if ids else {})

    async def collection(request: web.Request, who: Recipient | None) -> web.Response:
        id_, _ = _own_collection(request, who)
        _only_reads(request)
        return _resource(taxii.collection(id_))

    def listing(
        write: Writer, known: frozenset[str], *, bodies: bool = False, one: bool = False, writes: str = ""
    ) -> TaxiiHandler:
        async def handle(request: web.Request, who: Recipient | None) -> web.Response:
            _, reader = _own_collection(request, who)
            _only_reads(request, writes)
            query = taxii.read_query(
                request.query.items(), known, lambda text: cursor.unseal(hub.secret, reader.partner, text)
            )
            page = await _read(hub, reader, query, _object_id(request) if one else None, bodies)
            next_ = cursor.seal(hub.secret, reader.partner, page.rows[-1].added) if page.more else ""
            return _dated(page, write(page, next_))

        return handle

    def _own_collection(request: web.Request, who: Recipient | None) -> tuple[str, Recipient]:
        id_ = taxii.collection_id(hub.secret, who.partner if who else "")
        if who is None or not hmac.compare_digest(id_.encode(), request.match_info["id"].encode()):
            raise _not_found()
        return id_, who

    async def nothing(_request: web.Request, _who: Recipient | None) -> web.Response:
        raise _not_found()

    def add(path: str, handler: TaxiiHandler) -> None:
        async def respond(request: web.Request) -> web.Response:
            try:
                principal = await authenticator.authenticate(request)
                if not taxii.accepts(request.headers.get(hdrs.ACCEPT)):
                    raise BodyRefused(
                        "not-acceptable", f"this server writes {taxii.MEDIA_TYPE} only", where="Accept", status=406
                    )
                who = _recipient(hub, principal.name) if principal.scope == "partner" else None
                return await handler(request, who)
            except TocsinError as error:
                return _refusal(error)
            except Exception as error:
                return _failure(error)

        app.router.add_route("*", path, respond)

    objects = API_ROOT + "collections/{id}/objects"
    one = objects + "/{object}"
    add("/taxii2", discovery)
    add("/taxii2/", discovery)  # by itself: the router would look at the catch-all before a pattern of both
    add("/taxii2/api{slash:/?}", api_root)
    add(API_ROOT + "collections{slash:/?}", collections)
    add(API_ROOT + "collections/{id}{slash:/?}", collection)
    add(API_ROOT + "collections/{id}/manifest{slash:/?}", listing(taxii.manifest, taxii.OF_OBJECTS))
    add(objects + "{slash:/?}", listing(taxii.envelope, taxii.OF_OBJECTS, bodies=True, writes=hdrs.METH_POST))
    add(
        one + "{slash:/?}", listing(taxii.envelope, taxii.OF_OBJECT, bodies=True, one=True, writes=hdrs.METH_DELETE)
    )
    add(one + "/versions{slash:/?}", listing(taxii.versions, taxii.OF_VERSIONS, one=True))
    add("/taxii2/{rest:.*}", nothing)


async def _read(hub: Hub, who: Recipient, query: taxii.Query, object_id: str | None, bodies: bool) -> Page:
    """Raises 404 for one object that this recipient has no version of."""
    match = query.match._replace(ids=(object_id,)) if object_id else query.match

    def read(connection: Connection) -> Page:
        view = _view(connection, hub, who)
        if object_id and not feeds.page(connection, view, Match(ids=(object_id,)), 1, bodies=False).rows:
            raise _not_found()
        return Page([], False) if query.nothing else feeds.page(connection, view, match, query.limit, bodies=bodies)

    return await hub.store.read(read)


def _object_id(request: web.Request) -> str:
    object_id = request.match_info["object"]
    if not taxii.is_object_id(object_id):
        raise _not_found()
    return object_id


def _only_reads(request: web.Request, writes: str = "") -> None:
    """`writes` is the method that the endpoint has for collections that can be written to: ours can't."""
    if request.method == writes:
        raise BodyRefused("read-only", "this collection can't be written to", status=403)
    if request.method not in READS:
        raise RequestRefused(
            405,
            "method-not-allowed",
            f"{clip(request.method)} is not a method of this endpoint",
            headers={hdrs.ALLOW: "GET, HEAD"},
        )


def _not_found() -> BodyRefused:
    return BodyRefused("not-found", NOT_FOUND, status=404)


def _resource(document: Mapping[str, Any]) -> web.Response:
    return _answer(200, orjson.dumps(document))


def _dated(page: Page, body: bytes) -> web.Response:
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


# --- whole files ------------------------------------------------------------------------------------------------


def _attach_files(app: web.Application, hub: Hub, authenticator: Authenticator) -> None:
    async def feed(request: web.Request) -> web.StreamResponse:
        """`?format=` one of FORMATS, `&active=true`, `&min_score=` 1 to 100; staff add `&partner=ID`.

        `active` leaves out what is not active at the time of the request, `min_score` indicators that are less
        believed. Withdrawals are in what can show them all the same. Staff get what that partner would.
        """
        principal = await authenticator.authenticate(request)
        who = _whose(hub, request, principal)
        name, chosen = _format(request)
        match = _match(request, hub.clock())
        state = await hub.store.read(lambda connection: _state(connection, hub, who, match, chosen))
        tag = hmac.digest(hub.secret, f"feed\0{name}\0{who.partner}\0".encode() + state, "sha256")
        response = web.StreamResponse(
            headers={hdrs.CACHE_CONTROL: "private, no-cache", hdrs.VARY: hdrs.AUTHORIZATION}
        )
        response.etag = etag = tag[:16].hex()
        if any(known.value in (etag, "*") for known in request.if_none_match or ()):
            response.set_status(304)
            return response
        response.headers[hdrs.CONTENT_TYPE] = chosen.media_type
        response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="tocsin.{chosen.suffix}"'
        await response.prepare(request)
        if request.method == hdrs.METH_GET:
            head = Head(str(UUID(bytes=tag[16:], version=4)), hub.clock(), who.partner)
            await _stream(response, hub, who, match, chosen, head)
        return response

    app.router.add_get("/api/v1/feed", feed)


async def _stream(
    response: web.StreamResponse, hub: Hub, who: Recipient, match: Match, chosen: Format, head: Head
) -> None:
    """Page by page, so that a slow reader holds neither memory nor a transaction. What changes meanwhile comes
    again at the end, in its new version."""
    await response.write(chosen.begin(head))
    page = Page([], True)
    while page.more:
        page = await hub.store.read(
            lambda connection, match=match: feeds.page(  # type: ignore[misc]
                connection, _view(connection, hub, who), match, ROWS_AT_ONCE
            )
        )
        await response.write(chosen.rows(page.rows, match.after >= 0))
        if page.rows:
            match = match._replace(after=page.rows[-1].added)
    await response.write(chosen.end(match.after >= 0))
    await response.write_eof()


def _state(connection: Connection, hub: Hub, who: Recipient, match: Match, chosen: Format) -> bytes:
    """A digest of all that the file will say: it changes if and only if what this recipient may see does."""
    total = blake2b(digest_size=16)
    feeds.digest(connection, _view(connection, hub, who), match, chosen.details, total.update)
    return total.digest()


def _whose(hub: Hub, request: web.Request, principal: Principal) -> Recipient:
    """Staff may name any partner; for a partner there is its own feed and no other."""
    asked = _single(request, "partner")
    if principal.scope == "staff" and asked is None:
        raise RequestRefused(
            400, "partner-missing", "whose feed?", where="partner", hint="add partner=ID to the address"
        )
    who = _recipient(hub, principal.name if asked is None else asked)
    if who is None and principal.scope == "staff":
        raise unknown_partner(str(asked))
    if who is None or (principal.scope != "staff" and who.partner != principal.name):
        raise web.HTTPNotFound
    return who


def _format(request: web.Request) -> tuple[str, Format]:
    name = _single(request, "format") or "stix"
    if name not in FORMATS:
        raise RequestRefused(
            400,
            "format-unknown",
            f"there is no format {clip(name)!r}",
            where="format",
            hint=f"choose one of {', '.join(FORMATS)}",
        )
    return name, FORMATS[name]


def _match(request: web.Request, now_ms: int) -> Match:
    """What the request wants of the feed. The time is looked at once, so that all pages are of one moment."""
    active, least = _single(request, "active"), _single(request, "min_score")
    if active not in ("true", "false", None):
        raise _invalid("active", "is true or false")
    if least is None:
        least = "0"
    elif not (least.isascii() and least.isdigit() and len(least) <= 3 and int(least) <= MAX_SCORE):
        raise _invalid("min_score", f"is a whole number from 0 to {MAX_SCORE}")
    return Match(active_at=format_time(now_ms) if active == "true" else "", min_score=int(least))


def _invalid(name: str, what: str) -> RequestRefused:
    return RequestRefused(400, "parameter-invalid", f"{name} {what}", where=name, hint="mend it, or leave it out")


def _single(request: web.Request, name: str) -> str | None:
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise RequestRefused(400, "parameter-twice", f"{name} is given twice", where=name, hint="give it once")
    return values[0] if values else None
