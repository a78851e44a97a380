"""What is on its way in: bodies are read within bounds of size and time, for each source and for all together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import hdrs, web
from aiohttp.http_exceptions import ContentEncodingError

from schemas.errors import BodyRefused
from services.accept.unzip import too_large
from services.problems import RequestRefused

MAX_BODIES_PER_SOURCE = 4
MAX_RECEIVED_BYTES = 256 * 1024 * 1024  # of all bodies that are coming in, or wait to be read
BODY_TIMEOUT_SECONDS = 120
RETRY_AFTER_SECONDS = 2
ENCODINGS = ("", "identity", "gzip", "x-gzip")  # gzip stays as it is: it is known by its first bytes


def busy(what: str) -> RequestRefused:
    return RequestRefused(
        503,
        "busy",
        what,
        hint=f"send it again in {RETRY_AFTER_SECONDS} seconds",
        headers={hdrs.RETRY_AFTER: str(RETRY_AFTER_SECONDS)},
    )


@dataclass
class Intake:
    """Bounds what is on its way in, so that a source whose bodies come slowly shuts the door on itself alone."""

    bodies: Counter[str] = field(default_factory=Counter)
    received_bytes: int = 0

    @contextmanager
    def admitted(self, source: str) -> Iterator[Callable[[int], None]]:
        """Gives the function that is to be told of every piece that comes in.

        Both raise `RequestRefused` (503): where the source has `MAX_BODIES_PER_SOURCE` on their way already, and
        where all together are `MAX_RECEIVED_BYTES` long.
        """
        if self.bodies[source] >= MAX_BODIES_PER_SOURCE:
            raise busy(f"{MAX_BODIES_PER_SOURCE} submissions of this source are being taken in already")
        of_this = 0

        def received(size: int) -> None:
            nonlocal of_this
            if self.received_bytes + size > MAX_RECEIVED_BYTES:
                raise busy("the hub is taking in as much as it can at once")
            self.received_bytes += size
            of_this += size

        self.bodies[source] += 1
        try:
            yield received
        finally:
            self.bodies[source] -= 1
            self.received_bytes -= of_this


async def read_body(request: web.Request, max_bytes: int, received: Callable[[int], None]) -> bytes:
    """The body; refused as soon as it is known to be larger than `max_bytes`. `received` is told what came in."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() not in ENCODINGS:
        raise BodyRefused(
            "encoding-unknown",
            "the hub does not know this content encoding",
            where=hdrs.CONTENT_ENCODING,
            hint="send gzip, or no encoding",
            status=415,
        )
    if (request.content_length or 0) > max_bytes:
        raise too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > max_bytes:
                    raise too_large(max_bytes)
                received(len(chunk))
    except TimeoutError:
        raise BodyRefused(
            "too-slow",
            f"the body did not arrive within {BODY_TIMEOUT_SECONDS} seconds",
            hint="send less at a time",
            status=408,
        ) from None
    except (ContentEncodingError, web.RequestPayloadError):
        raise BodyRefused(
            "encoding-invalid",
            "the body is not what its content encoding says",
            where=hdrs.CONTENT_ENCODING,
            hint="compress it again, or send it uncompressed",
        ) from None
    return bytes(body)
