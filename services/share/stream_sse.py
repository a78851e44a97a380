"""A partner's feed as a stream of server-sent events (WHATWG HTML, section 9.2): `GET /api/v1/stream`.

Each event's id is a place in that partner's feed, so a client that sends it back as `Last-Event-ID` goes on behind
it: nothing is left out, nothing comes again. To a partner that is cut off, withdrawals come under the last id that
it had before: they may come again, and what is live is not passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from aiohttp import hdrs, web
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from schemas.feed import FeedRow
from services.hub import Hub
from services.problems import RequestRefused, unknown_partner
from services.share import cursor, feeds
from services.share.access import may_receive
from services.share.rows import Match, Page, View
from services.tokens import Authenticator

ROWS_AT_ONCE = 100
LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
WRITE_SECONDS = 30.0
PIECE_BYTES = 64 * 1024
LONGEST_SECONDS = 3_600.0
"""Then the client comes again."""
CHECK_SECONDS = 10.0
"""So often is its token looked at; one that is not valid any more ends the stream."""
MAX_STREAMS = 4
"""Of one partner at once, and as many that staff open of it."""
log = logging.getLogger(__name__)


def attach(app: web.Application, hub: Hub, authenticator: Authenticator) -> None:
    streams = Counter[tuple[str, str]]()

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
        key = principal.scope, name
        if streams[key] >= MAX_STREAMS:
            raise RequestRefused(
                429,
                "too-many-streams",
                f"{MAX_STREAMS} streams of this feed are open already",
                hint="close one",
                headers={hdrs.RETRY_AFTER: "30"},
            )
        streams[key] += 1
        try:
            return await _follow(request, _Feed(hub, name, bit, after), authenticator)
        finally:
            streams[key] -= 1

    # a stream has no end, and so no head without it
    app.router.add_get("/api/v1/stream", stream, allow_head=False)


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


class _Feed:
    """A partner's feed from a place on."""

    def __init__(self, hub: Hub, name: str, bit: int, after: int) -> None:
        self._hub = hub
        self._name = name
        self._bit = bit
        self._after = self._told = after
        self._seen: tuple[View, int] | None = None

    async def next(self) -> tuple[bytes, bool]:
        """Events, as bytes, and whether there are more at once."""
        page, place = await self._hub.store.read(self._read)
        return events(page.rows, self._hub.secret, self._name, place), page.more

    def _read(self, connection: Connection) -> tuple[Page, int | None]:
        allowed = may_receive(self._hub.directory.agreements, self._name, self._hub.clock())
        view = feeds.view(connection, self._bit, allowed)
        newest = feeds.newest(connection)
        if (view, newest) == self._seen:  # many streams look every second: that has to cost next to nothing
            return Page([], False), None
        after = self._after if view.live else max(self._after, self._told)
        page = feeds.page(connection, view, Match(after=after), ROWS_AT_ONCE)
        last = page.rows[-1].added if page.rows else after
        if view.live:
            self._after = last
        else:
            self._told = last
        self._seen = None if page.more else (view, newest)
        return page, None if view.live else max(self._after, 0)


async def _follow(request: web.Request, feed: _Feed, authenticator: Authenticator) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
            hdrs.CACHE_CONTROL: "private, no-store",
            "X-Accel-Buffering": "no",  # a proxy that gathers events would hold them back
        }
    )
    await response.prepare(request)
    loop = asyncio.get_running_loop()
    began = quiet_since = checked = loop.time()
    try:
        await _write(response, b"retry: 5000\n\n")
        while loop.time() - began < LONGEST_SECONDS and not _is_gone(request):
            if loop.time() - checked >= CHECK_SECONDS:
                await authenticator.authenticate(request)
                checked = loop.time()
            found, more = await feed.next()
            if found:
                await _write(response, found)
                quiet_since = loop.time()
            elif loop.time() - quiet_since >= HEARTBEAT_SECONDS:
                await _write(response, b": nothing new\n\n")
                quiet_since = loop.time()
            if not more:
                await asyncio.sleep(LOOK_SECONDS)
    except (ConnectionError, TimeoutError):
        log.debug("a stream ended: its reader is gone, or too slow")
    except RequestRefused:
        log.debug("a stream ended: its token is not valid any more")
    except SQLAlchemyError as error:  # no answer can be given any more, this one has begun
        log.error("a stream ended: the database can't be asked: %s", type(error).__name__)
    return response


def _is_gone(request: web.Request) -> bool:
    """Nothing is written to a quiet stream, so nobody else would notice for a while."""
    return request.transport is None or request.transport.is_closing()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Piece by piece, so that no more than one of them waits for a slow reader."""
    for start in range(0, len(data), PIECE_BYTES):
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(data[start : start + PIECE_BYTES])


def events(rows: Sequence[FeedRow], secret: bytes, partner: str, place: int | None = None) -> bytes:
    """Bodies are JSON in one line, so each is one line of data. `place` is the id of all, else each has its own."""
    return b"".join(
        b"id: %b\nevent: %b\ndata: %b\n\n"
        % (
            cursor.seal(secret, partner, row.added if place is None else place).encode(),
            b"shared" if row.live else b"withdrawn",
            row.body,
        )
        for row in rows
    )
