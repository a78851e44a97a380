"""A small local server in the place of a partner's, and the tools that the runtime would lend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from connectors.base import Pulled, Tools
from connectors.http import Http, Limits

NOW_MS = 1_795_000_000_000  # 2026-11-18T11:06:40Z
SHORT = Limits(body_bytes=1 << 20, connect_seconds=1, idle_seconds=0.4, whole_seconds=3, connections=2)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, *, ssl: Any = None) -> AsyncIterator[str]:
    """The address of a server that answers everything by `handler`."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http{'s' if ssl else ''}://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def tools(*urls: str, now_ms: int = NOW_MS, limits: Limits = SHORT) -> AsyncIterator[Tools]:
    async with Http(urls, limits=limits) as http:
        yield Tools(http=http, secret=Path.read_bytes, now_ms=lambda: now_ms, partner="source")


async def pulled(
    manifest: Any, lent: Tools, checkpoint: Mapping[str, Any] | None = None, **said: Any
) -> list[Pulled]:
    """All that one pull gives, by settings as an operator writes them."""
    puller = await manifest.pull(manifest.settings.model_validate(said), lent)
    try:
        return [one async for one in puller.pull(checkpoint or {})]
    finally:
        await puller.close()


def objects(pieces: list[Pulled]) -> list[dict[str, Any]]:
    return [one for piece in pieces for one in orjson.loads(piece.body)["objects"]]


def of_type(pieces: list[Pulled], stix_type: str) -> list[dict[str, Any]]:
    return [one for one in objects(pieces) if one["type"] == stix_type]
