"""What tests of pullers share: a server that answers as it is told, what the runtime lends, and the door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from connectors.base import MAX_BODY_BYTES, Manifest, Pulled, Tools
from connectors.http import Http, Limits
from connectors.registry import CONNECTORS
from schemas.report import Report
from schemas.topics import REPORTS
from services.accept.framing import unpack
from services.hub import Hub
from services.tables import outbox
from tests.fakes import NOW_MS, accept_client, bearer, make_hub, rows, source_agreement, token_for

SHORT = Limits(body_bytes=4 * 1024 * 1024, connect_seconds=2, idle_seconds=0.5, whole_seconds=2)
SECRET_FILE = Path("/secrets/of-a-partner")
SECRET = b"a-secret-that-nobody-may-read"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The address of a server that answers everything by `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@asynccontextmanager
async def opened(
    name: str,
    settings: Mapping[str, Any],
    now_ms: int = NOW_MS,
    limits: Limits | None = None,
    private: bool = False,
) -> AsyncIterator[Any]:
    """A puller of the connector as the runtime opens it."""
    manifest: Manifest = CONNECTORS[name]
    read = manifest.settings.model_validate(settings)
    assert manifest.pull is not None
    async with Http(manifest.hosts(read), private=private, limits=limits) as http:
        tools = Tools(http=http, secret=lambda _: SECRET, now_ms=lambda: now_ms, partner="alpha")
        puller = await manifest.pull(read, tools)
        try:
            yield puller
        finally:
            await puller.close()


async def pull(
    name: str,
    settings: Mapping[str, Any],
    checkpoint: Mapping[str, Any] | None = None,
    *,
    at_most: int = 1_000_000,
    **how: Any,
) -> list[Pulled]:
    """What one pull gives, or the first pieces of it; checkpoints go through JSON as they do when they are kept."""
    got: list[Pulled] = []
    async with opened(name, settings, **how) as puller, aclosing(puller.pull(kept(checkpoint or {}))) as pieces:
        async for piece in pieces:
            assert len(piece.body) <= MAX_BODY_BYTES and len(piece.feed) <= 100
            if piece.checkpoint is not None:
                piece = piece._replace(checkpoint=kept(piece.checkpoint))
            got.append(piece)
            if len(got) >= at_most:
                break
    return got


def kept(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(orjson.dumps(checkpoint))
    return read


def last_checkpoint(pieces: Sequence[Pulled], otherwise: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    told = [piece.checkpoint for piece in pieces if piece.checkpoint is not None]
    return told[-1] if told else (otherwise or {})


def bodies(pieces: Sequence[Pulled]) -> list[bytes]:
    return [piece.body for piece in pieces if piece.body]


def objects(pieces: Sequence[Pulled]) -> list[dict[str, Any]]:
    """All STIX objects in what was pulled."""
    return [each for body in bodies(pieces) for each in orjson.loads(body)["objects"]]


class AtTheDoor:
    """A hub's door, to which pieces are brought as the runtime brings them."""

    def __init__(
        self, hub: Hub, client: TestClient[web.Request, web.Application], token: Mapping[str, str]
    ) -> None:
        self.hub = hub
        self._client = client
        self._token = token

    async def take(self, pieces: Sequence[Pulled]) -> None:
        for piece in pieces:
            if not piece.body and not piece.snapshot:
                continue
            empty = not piece.body
            params = {"name": piece.filename, "feed": piece.feed} | ({"empty": "true"} if empty else {})
            headers = {**self._token, "Content-Type": piece.media_type or "application/json"}
            body = piece.body or b'{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000000"}'
            path = "/api/v1/submissions"
            async with self._client.post(path, data=body, params=params, headers=headers) as answer:
                assert answer.status == 202, await answer.text()
                assert (await answer.json())["refused"] == 0, await answer.text()

    async def live(self) -> dict[bytes, str]:
        """The items that the source says now, with the type of each."""
        found: dict[bytes, str] = {}
        for row in sorted(await rows(self.hub, outbox), key=lambda row: row.seq):
            for parcel in unpack(row.messages):
                if parcel.topic is REPORTS:
                    report = Report.from_bytes(parcel.value)
                    if report.gone or report.revoked:
                        found.pop(parcel.key, None)
                    else:
                        found[parcel.key] = report.type
        return found

    async def withdrawn(self) -> int:
        """How often anything was."""
        reports = [
            Report.from_bytes(parcel.value)
            for row in await rows(self.hub, outbox)
            for parcel in unpack(row.messages)
            if parcel.topic is REPORTS
        ]
        return sum(report.gone or report.revoked for report in reports)


@asynccontextmanager
async def door(folder: Path, **contributes: Any) -> AsyncIterator[AtTheDoor]:
    hub = make_hub(folder, [source_agreement("alpha", **contributes)])
    async with accept_client(hub) as client:
        yield AtTheDoor(hub, client, bearer(await token_for(hub, "alpha")))
    hub.store.close()


async def trickle(request: web.Request, pieces: AsyncIterator[bytes], **how: Any) -> web.StreamResponse:
    """An answer that is sent piece by piece; that nobody reads it any more is no fault."""
    response = web.StreamResponse(**how)
    await response.prepare(request)
    try:
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    except (ConnectionError, asyncio.CancelledError):
        pass
    return response
