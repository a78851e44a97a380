"""Connectors with the real outgoing client, beside systems that lie: none holds up the others."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from connectors.base import DELIVERED, Manifest, Outcome, Pulled, Settings, Tools
from connectors.http import Http, Limits
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow
from services import connect, connect_http
from services.accept.door import Door
from services.connect import ConnectService
from services.hub import Hub
from services.problems import problem_documents
from services.tokens import Authenticator
from tests.fakes import agreement, bearer, token_for
from tests.unit.connectors.raw_server import server_context
from tests.unit.share.world import RECEIVES, Feeder, domain, feeds_hub

LIMITS = Limits(body_bytes=100_000, connect_seconds=1, idle_seconds=0.5, whole_seconds=1)
MAX_PAGES = 20


class Address(Settings):
    url: str


class Pusher:
    def __init__(self, url: str, tools: Tools) -> None:
        self._url, self._http = url, tools.http

    async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        for row in rows:
            await self._http.request("GET", self._url, params={"id": row.stix_id})
        return [DELIVERED] * len(rows)

    async def close(self) -> None: ...


class Puller:
    """Pages, each of which names the next."""

    def __init__(self, url: str, tools: Tools) -> None:
        self._url, self._http = url, tools.http

    async def pull(self, _checkpoint: Mapping[str, Any]) -> AsyncGenerator[Pulled]:
        url = self._url
        for _ in range(MAX_PAGES):
            answer = await self._http.request("GET", url)
            yield Pulled(b"type,value\ndomain,a.example", "text/csv", "a.csv", checkpoint={"url": url})
            if not (onward := answer.headers.get("X-Next")):
                return
            url = self._url + onward
        raise PartnerFailed(
            "endless", f"it has more than {MAX_PAGES} pages", where=self._url, hint="tell the partner"
        )

    async def close(self) -> None: ...


async def _push(settings: Address, tools: Tools) -> Pusher:
    return Pusher(settings.url, tools)


async def _pull(settings: Address, tools: Tools) -> Puller:
    return Puller(settings.url, tools)


MANIFEST = Manifest(
    "web", "", Address, lambda settings: (settings.url,), push=_push, pull=_pull, destination=("url",)
)


async def never(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 50_000)


async def elsewhere(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://169.254.169.254/latest/secret-path")


async def loop(_request: web.Request) -> web.StreamResponse:
    return web.Response(headers={"X-Next": "?again"})


@asynccontextmanager
async def systems(certificate: ssl.SSLContext) -> AsyncIterator[tuple[dict[str, str], list[str]]]:
    got: list[str] = []

    async def good(request: web.Request) -> web.StreamResponse:
        got.append(request.query["id"])
        return web.Response()

    app = web.Application()
    for handler in (never, endless, elsewhere, loop, good):
        app.router.add_get(f"/{handler.__name__}", handler)
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(TestServer(app))
        empty = await stack.enter_async_context(TestServer(web.Application()))
        shut = str(empty.make_url("/"))
        await empty.close()
        other = web.Application()
        other.router.add_get("/", never)
        tls = TestServer(other, scheme="https")
        await tls.start_server(ssl=certificate)
        stack.push_async_callback(tls.close)
        names = ("never", "endless", "elsewhere", "loop", "good")
        yield (
            {name: str(plain.make_url(f"/{name}")) for name in names}
            | {"invalid": str(tls.make_url("/")), "shut": shut, "private": f"http://localhost:{plain.port}/good"},
            got,
        )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(connect, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(connect, "Http", lambda *args, **options: Http(*args, **options, limits=LIMITS))
    contributes = {"reliability": "B", "defaults": {"tlp": "green", "consent": "not-required"}}
    partners = [agreement("meadow", receives=RECEIVES), agreement("kestrel", contributes=contributes)]
    hub = feeds_hub(tmp_path, partners)
    hub.settings = hub.settings.model_copy(update={"connectors": tmp_path / "connectors.toml"})
    return hub


CODES = {
    "never": "slow",
    "endless": "answer-too-large",
    "elsewhere": "redirect-elsewhere",
    "invalid": "tls-invalid",
    "shut": "unreachable",
    "private": "address-private",
    "loop": "endless",
}


async def test_one_that_works_delivers_beside_all_that_lie(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0]))
    app = web.Application(middlewares=[problem_documents])
    connect_http.attach(app, hub, Authenticator(hub.store, hub.clock))
    service = ConnectService(hub, {"web": MANIFEST}, Door(hub, lambda: None), random=Random(1))
    token = bearer(await token_for(hub, "staff", "staff"))
    async with systems(server_context()) as (urls, got), TestClient(TestServer(app), headers=token) as client:

        async def shown() -> dict[str, Any]:
            answer = await (await client.get("/api/v1/connectors")).json()
            return {one["name"]: one for one in answer["connectors"]}

        hub.settings.connectors.write_text("\n".join(_table(name, url) for name, url in urls.items()))
        await service.start()
        try:
            async with asyncio.timeout(20):
                while len(await shown()) < len(urls):  # noqa: ASYNC110 - the database tells nobody
                    await asyncio.sleep(0.02)
                began = time.monotonic()
                for name, one in (await shown()).items():
                    path = f"/api/v1/connectors/{name}/acceptance"
                    assert (await client.post(path, params={"destination": one["destination"]})).status == 200
                while not got:  # noqa: ASYNC110 - the partner tells nobody
                    await asyncio.sleep(0.02)
                assert time.monotonic() - began < 5
                while {name for name, one in (await shown()).items() if one["problem"]} != CODES.keys():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            found = await shown()
        finally:
            await service.stop()
    assert {name: found[name]["problem"]["code"] for name in CODES} == CODES
    assert (found["good"]["health"], found["good"]["went"], len(got)) == ("idle", 1, 1)
    assert all(found[name]["health"] == "failing" and found[name]["next_ms"] > hub.clock() for name in CODES)
    said = json.dumps([found[name]["problem"] for name in CODES if name != "loop"])
    assert "secret-path" not in said
    assert "indicator--" not in said


def _table(name: str, url: str) -> str:
    does, partner = ("pull", "kestrel") if name == "loop" else ("push", "meadow")
    return f'[{name}]\nconnector = "web"\npartner = "{partner}"\ndoes = "{does}"\nurl = "{url}"\n'
