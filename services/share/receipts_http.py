"""Receipts over HTTP: what a partner says that it did with its items, and what it is waited for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import orjson
from aiohttp import hdrs, web
from sqlalchemy import Connection

from schemas.errors import BodyRefused
from schemas.timestamps import format_time
from services.hub import Hub
from services.owed import Marks, all_marks, document, owed, times
from services.problems import RequestRefused
from services.share import answers, cursor, feeds, receipts
from services.share.access import may_receive
from services.share.answers import Answer
from services.share.receipts import Page, What
from services.share.rows import View
from services.tokens import Authenticator, Principal

PATH = "/api/v1/receipts"
MAX_BODY_BYTES = 4 * 1024 * 1024
BODY_TIMEOUT_SECONDS = 60
MAX_BODIES_PER_PARTNER = 4
RETRY_AFTER_SECONDS = 2
DEFAULT_LISTED, MAX_LISTED = 100, 1_000
WHAT: tuple[What, ...] = get_args(What)


def attach(app: web.Application, hub: Hub, authenticator: Authenticator) -> None:
    """Adds the resource to the application."""
    coming = Counter[str]()

    def whose(principal: Principal) -> tuple[str, int]:
        bit = hub.directory.bit_of.get(principal.name) if principal.scope == "partner" else None
        if bit is None:
            raise web.HTTPNotFound
        return principal.name, bit

    def view_of(connection: Connection, partner: str, bit: int) -> View:
        return feeds.view(connection, bit, may_receive(hub.directory.agreements, partner, hub.clock()))

    async def give(request: web.Request) -> web.Response:
        """Says what you did with items: one receipt, or a list of up to 1,000; each is answered by itself.

        A receipt for a withdrawn item acknowledges the withdrawal. `result` is `taken`, `kept` (what was said
        before stands), `withdrawn` (its time is before the withdrawal), `unknown` (no item of yours) or `refused`.
        """
        partner, bit = whose(await authenticator.authenticate(request))
        with _admitted(coming, partner):
            body = await _body(request, hub.settings.max_body_bytes)
            entries = await asyncio.to_thread(answers.read, body)
        now_ms = hub.clock()
        found = await hub.store.write(
            lambda connection: receipts.take(connection, view_of(connection, partner, bit), entries, now_ms)
        )
        return _json({"results": [_answer(answer) for answer in found]})

    async def expected(request: web.Request) -> web.Response:
        """What you are waited for: `what` is `withdrawal` (default), `acknowledge` or `act`; `limit`, `next`.

        `owed` counts all three. A page may be empty and have a `next` all the same. Staff give `item`, and get what
        each partner said of it.
        """
        principal = await authenticator.authenticate(request)
        if principal.scope == "staff":
            item = request.query.get("item", "")
            return _json({"receipts": await hub.store.read(lambda c: _said(hub, c, item))})
        partner, bit = whose(principal)
        what, limit, after = _asked(request, hub.secret, partner)
        now_ms = hub.clock()

        def read(connection: Connection) -> tuple[dict[str, Any], Page]:
            view = view_of(connection, partner, bit)
            mark = all_marks(connection).get(bit, Marks())
            late = times(hub.directory.agreements.get(partner), view.live, now_ms * 1_000)
            counted = document(owed(connection, bit, mark, late), now_ms * 1_000)
            return dict(counted), receipts.expected(connection, view, mark, late, what, after, limit)

        counted, page = await hub.store.read(read)
        next_ = {} if page.next_us is None else {"next": cursor.seal(hub.secret, partner, page.next_us)}
        return _json({"what": what, "owed": counted, "expected": _listed(page, what), **next_})

    app.router.add_post(PATH, give)
    app.router.add_get(PATH, expected)


def _said(hub: Hub, connection: Connection, item: str) -> list[dict[str, Any]]:
    name_of = {bit: name for name, bit in hub.directory.bit_of.items()}
    return [
        {
            "partner": name_of.get(bit, f"#{bit}"),
            "status": word.status,
            "time": format_time(word.at_ms),
            "reason": word.reason,
            "withdrawal_acknowledged": None if word.withdrawn_ms is None else format_time(word.withdrawn_ms),
            "history": [{"status": status, "time": format_time(at_ms)} for status, at_ms in word.history],
        }
        for bit, word in receipts.said(connection, item)
    ]


def _answer(answer: Answer) -> dict[str, Any]:
    return {"item": answer.item, "result": answer.result, "note": answer.note, "withdrawn": answer.withdrawn}


def _listed(page: Page, what: What) -> list[dict[str, Any]]:
    return [
        {
            "id": each.id,
            "type": each.type,
            "since": format_time(each.since_us // 1_000),
            **({"reminded": each.reminded} if what == "withdrawal" else {}),
        }
        for each in page.expected
    ]


def _asked(request: web.Request, secret: bytes, partner: str) -> tuple[What, int, int]:
    """Kind, limit, and the place (µs) to go on behind."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise _invalid(name[:20], "is given once")
        given[name] = value
    what = next((each for each in WHAT if each == given.get("what", WHAT[0])), None)
    if what is None:
        raise _invalid("what", f"is one of {', '.join(WHAT)}")
    text = given.get("limit", str(DEFAULT_LISTED))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LISTED):
        raise _invalid("limit", f"is a number from 1 to {MAX_LISTED}")
    after = cursor.unseal(secret, partner, given["next"]) if "next" in given else -1
    if after is None:
        raise _invalid("next", "is what the page before gave you")
    return what, int(text), after


def _invalid(name: str, what: str) -> RequestRefused:
    return RequestRefused(400, "parameter-invalid", f"{name} {what}", where=name, hint="mend it, or leave it out")


@contextmanager
def _admitted(coming: Counter[str], partner: str) -> Iterator[None]:
    """Bounds what one partner can make the hub hold at once; raises `RequestRefused` (503)."""
    if coming[partner] >= MAX_BODIES_PER_PARTNER:
        raise RequestRefused(
            503,
            "busy",
            f"{MAX_BODIES_PER_PARTNER} bodies of yours are being taken in already",
            hint=f"send it again in {RETRY_AFTER_SECONDS} seconds",
            headers={hdrs.RETRY_AFTER: str(RETRY_AFTER_SECONDS)},
        )
    coming[partner] += 1
    try:
        yield
    finally:
        coming[partner] -= 1


async def _body(request: web.Request, max_bytes: int) -> bytes:
    most = min(max_bytes, MAX_BODY_BYTES)
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() != "identity":
        raise BodyRefused("encoding-unknown", "receipts come uncompressed", where=hdrs.CONTENT_ENCODING, status=415)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > most:
                    what = f"the body has more than {most:,} bytes"
                    raise BodyRefused("too-large", what, hint="send fewer receipts at a time", status=413)
    except TimeoutError:
        what = f"the body did not arrive within {BODY_TIMEOUT_SECONDS} seconds"
        raise BodyRefused("too-slow", what, hint="send fewer receipts at a time", status=408) from None
    except web.RequestPayloadError:
        raise BodyRefused("body-incomplete", "the body was cut off", hint="send it again") from None
    return bytes(body)


def _json(document: dict[str, Any]) -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "private, no-store"}
    return web.Response(body=orjson.dumps(document), content_type="application/json", headers=headers)
