"""A partner's feed as a stream of server-sent events (WHATWG HTML, section 9.2): `GET /api/v1/stream`.

Each event's id is a place in that partner's feed, so a client that sends it back as `Last-Event-ID` goes on behind
it: nothing is left out, nothing comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from aiohttp import hdrs, web
from sqlalchemy import Connection

from schemas.feed import FeedRow
from services.hub import Hub
from services.problems import RequestRefused, unknown_partner
from services.share import cursor, feeds
from services.share.access import may_receive
from services.share.rows import Match, Page
from services.tokens import Authenticator

ROWS_AT_ONCE = 500
LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
WRITE_SECONDS = 30.0
LONGEST_SECONDS = 3_600.0
"""Then the client comes again, with its token looked at anew."""
MAX_STREAMS = 4
"""Of one partner at once."""
log = logging.getLogger(__name__)


def attach(app: web.Application, hub: Hub, authenticator: Authenticator) -> None:
    streams = Counter[str]()

    async def stream(request: web.Request) -> web.StreamResponse:
        """The feed as server-sent events: what there is (or came after `Last-Event-ID`), and then what comes.

        Events are called `shared` and `withdrawn`; their data is one STIX object. Staff add `?partner=ID`.
        """
        principal = await authenticator.authenticate(request)
        name = request.query.get("partner") if principal.scope == "staff" else principal.name
        if name is None:
            raise RequestRefused(
                400, "partner-missing", "whose feed?", where="partner", hint="add partner=ID to the address"
            )
        bit = hub.directory.bit_of.get(name)
        if bit is None:
            raise unknown_partner(name) if principal.scope == "staff" else web.HTTPNotFound
        after = _after(request, hub.secret, name)
        if streams[name] >= MAX_STREAMS:
            raise RequestRefused(
                429,
                "too-many-streams",
                f"{MAX_STREAMS} streams of this feed are open already",
                hint="close one",
                headers={hdrs.RETRY_AFTER: "30"},
            )
        streams[name] += 1
        try:
            return await _follow(request, hub, name, bit, after)
        finally:
            streams[name] -= 1

    app.router.add_get("/api/v1/stream", stream)


def _after(request: web.Request, secret: bytes, partner: str) -> int:
    text = request.headers.get("Last-Event-ID", "")
    if not text:
        return -1
    place = cursor.unseal(secret, partner, text)
    if place is None:
        raise RequestRefused(
            400,
            "last-event-id-unknown",
            "this is no id of an event of this feed",
            where="Last-Event-ID",
            hint="leave it out to begin at the beginning",
        )
    return place


async def _follow(request: web.Request, hub: Hub, name: str, bit: int, after: int) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
            hdrs.CACHE_CONTROL: "private, no-store",
            "X-Accel-Buffering": "no",  # a proxy that gathers events would hold them back
        }
    )

    def read(connection: Connection) -> Page:
        allowed = may_receive(hub.directory.agreements, name, hub.clock())
        return feeds.page(connection, feeds.view(connection, bit, allowed), Match(after=after), ROWS_AT_ONCE)

    await response.prepare(request)
    loop = asyncio.get_running_loop()
    began = quiet_since = loop.time()
    try:
        await _write(response, b"retry: 5000\n\n")
        while loop.time() - began < LONGEST_SECONDS and not _is_gone(request):
            page = await hub.store.read(read)
            if page.rows:
                await _write(response, events(page.rows, hub.secret, name))
                after, quiet_since = page.rows[-1].added, loop.time()
            elif loop.time() - quiet_since >= HEARTBEAT_SECONDS:
                await _write(response, b": nothing new\n\n")
                quiet_since = loop.time()
            if not page.more:
                await asyncio.sleep(LOOK_SECONDS)
    except (ConnectionError, TimeoutError):
        log.debug("a stream ended: its reader is gone, or too slow")
    return response


def _is_gone(request: web.Request) -> bool:
    """Nothing is written to a quiet stream, so nobody else would notice for a while."""
    return request.transport is None or request.transport.is_closing()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(data)


def events(rows: Sequence[FeedRow], secret: bytes, partner: str) -> bytes:
    """Bodies are JSON in one line, so each is one line of data."""
    return b"".join(
        b"id: %b\nevent: %b\ndata: %b\n\n"
        % (
            cursor.seal(secret, partner, row.added).encode(),
            b"shared" if row.live else b"withdrawn",
            row.body,
        )
        for row in rows
    )
