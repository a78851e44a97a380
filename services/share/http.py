"""How partners fetch their feeds over HTTP: whole files under /api/v1/feed, and TAXII 2.1 (see `taxii_http`).

Whatever a partner may not see is answered as if it did not exist, from the same code.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from aiohttp import hdrs, web
from sqlalchemy import Connection

from schemas.errors import clip
from schemas.feed import Format, Head
from schemas.timestamps import format_time
from services.hub import Hub
from services.problems import RequestRefused, unknown_partner
from services.share import feeds, receipts_http, taxii_http
from services.share.access import may_receive
from services.share.formats import FORMATS
from services.share.rows import Match, Page, View
from services.share.taxii_http import Contributing
from services.tokens import Authenticator, Principal

ROWS_AT_ONCE = 1_000
MAX_SCORE = 100


class Recipient(NamedTuple):
    """A partner as the feeds know it."""

    partner: str
    bit: int


def attach(
    app: web.Application,
    hub: Hub,
    authenticator: Authenticator,
    contributing: Contributing,
    formats: Mapping[str, Format] = FORMATS,
) -> None:
    """Adds the routes of this stage to the application. `formats` are those of whole files, by name."""
    taxii_http.attach(app, hub, authenticator, contributing)
    _attach_files(app, hub, authenticator, formats)
    receipts_http.attach(app, hub, authenticator)


def _recipient(hub: Hub, partner: str) -> Recipient | None:
    bit = hub.directory.bit_of.get(partner)
    return None if bit is None else Recipient(partner, bit)


def _view(connection: Connection, hub: Hub, who: Recipient) -> View:
    """Made anew for every read: a suspension or the end of an agreement holds from that moment."""
    return feeds.view(connection, who.bit, may_receive(hub.directory.agreements, who.partner, hub.clock()))


# --- whole files ------------------------------------------------------------------------------------------------


def _attach_files(
    app: web.Application, hub: Hub, authenticator: Authenticator, formats: Mapping[str, Format]
) -> None:
    async def feed(request: web.Request) -> web.StreamResponse:
        """`?format=` one of the formats, `&active=true`, `&min_score=` 1 to 100; staff add `&partner=ID`.

        `active` leaves out what is not active at the time of the request, as some formats always do; `min_score`
        indicators that are less believed. Withdrawals are in what can show them all the same. Staff get what that
        partner would.
        """
        principal = await authenticator.authenticate(request)
        who = _whose(hub, request, principal)
        name, chosen = _format(request, formats)
        match = _match(request, hub.clock(), chosen)
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
    page, any_rows = Page([], True), False
    while page.more:
        page = await hub.store.read(
            lambda connection, match=match: feeds.page(  # type: ignore[misc]
                connection, _view(connection, hub, who), match, ROWS_AT_ONCE
            )
        )
        written = chosen.rows(page.rows, any_rows)
        await response.write(written)
        any_rows = any_rows or bool(written)
        if page.rows:
            match = match._replace(after=page.rows[-1].added)
    await response.write(chosen.end(any_rows))
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


def _format(request: web.Request, formats: Mapping[str, Format]) -> tuple[str, Format]:
    name = _single(request, "format") or "stix"
    if name not in formats:
        raise RequestRefused(
            400,
            "format-unknown",
            f"there is no format {clip(name)!r}",
            where="format",
            hint=f"choose one of {', '.join(formats)}",
        )
    return name, formats[name]


def _match(request: web.Request, now_ms: int, chosen: Format) -> Match:
    """What the request wants of the feed. The time is looked at once, so that all pages are of one moment."""
    active, least = _single(request, "active"), _single(request, "min_score")
    if active not in ("true", "false", None):
        raise _invalid("active", "is true or false")
    if least is None:
        least = "0"
    elif not (least.isascii() and least.isdigit() and len(least) <= 3 and int(least) <= MAX_SCORE):
        raise _invalid("min_score", f"is a whole number from 0 to {MAX_SCORE}")
    only_active = active == "true" or chosen.active
    return Match(active_at=format_time(now_ms) if only_active else "", min_score=int(least))


def _invalid(name: str, what: str) -> RequestRefused:
    return RequestRefused(400, "parameter-invalid", f"{name} {what}", where=name, hint="mend it, or leave it out")


def _single(request: web.Request, name: str) -> str | None:
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise RequestRefused(400, "parameter-twice", f"{name} is given twice", where=name, hint="give it once")
    return values[0] if values else None
