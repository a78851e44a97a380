"""Small JSON bodies of requests, read within bounds of size and time; and addresses that no database can take."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp import hdrs, web

from schemas.errors import BodyRefused, clip
from schemas.safejson import loads
from services.problems import OWN_ERRORS, Handler, RequestRefused

TIMEOUT_SECONDS = 30
MAX_DEPTH = 8
NO_TEXT = re.compile("[\0\ud800-\udfff]").search
"""PostgreSQL has no text with NUL, and UTF-8 none with lone surrogates: nothing that is kept has such a name."""


async def small_json(request: web.Request, max_bytes: int, hint: str) -> Any:
    """The JSON of a body; raises `BodyRefused` where it is larger, slow, compressed, cut off or no JSON.

    `hint` says what the body should be.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() != "identity":
        what = "this address takes no compressed body"
        raise BodyRefused(
            "encoding-unknown", what, where=hdrs.CONTENT_ENCODING, hint="send it as it is", status=415
        )
    raw = bytearray()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            async for piece in request.content.iter_any():
                raw += piece
                if len(raw) > max_bytes:
                    what = f"the body has more than {max_bytes:,} bytes"
                    raise BodyRefused("too-large", what, hint="send fewer names at once", status=413)
    except TimeoutError:
        what = f"the body did not arrive within {TIMEOUT_SECONDS} seconds"
        raise BodyRefused("too-slow", what, hint="send it again", status=408) from None
    except web.RequestPayloadError:
        raise BodyRefused("body-incomplete", "the body was cut off", hint="send it again") from None
    if not raw:
        raise BodyRefused("body-missing", "the request has no body", hint=hint)
    return loads(bytes(raw), max_depth=MAX_DEPTH)


@web.middleware
async def only_text(request: web.Request, handler: Handler) -> web.StreamResponse:
    """aiohttp middleware: what is addressed by no text is not there, and a parameter that is none is refused.

    Paths with errors of their own look at what they take themselves.
    """
    if request.path.startswith(OWN_ERRORS):
        return await handler(request)
    if NO_TEXT(request.path):
        raise web.HTTPNotFound
    for name, value in request.query.items():
        if NO_TEXT(name) or NO_TEXT(value):
            raise RequestRefused(
                400,
                "parameter-invalid",
                "a parameter is text in UTF-8, without NUL",
                where=clip(name),
                hint="mend it, or leave it out",
            )
    return await handler(request)
