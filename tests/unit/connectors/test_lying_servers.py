"""Servers that lie to pullers: each gives a `PartnerFailed` with a clear code, and soon."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors.base import Pulled
from schemas.errors import PartnerFailed
from tests.pulled import SHORT, pull, serving, trickle

PULLERS: Mapping[str, Callable[[str], Mapping[str, Any]]] = {
    "stix_files": lambda url: {"url": f"{url}/x.json", "max_bytes": 4 * 1024 * 1024},
    "stalkerware": lambda url: {"url": f"{url}/ioc.yaml"},
    "csv_feed": lambda url: {"url": f"{url}/x.csv", "snapshot": True, "max_bytes": 4 * 1024 * 1024},
    "taxii": lambda url: {"url": f"{url}/taxii2/"},
    "misp": lambda url: {"feed": f"{url}/feed"},
    "misp (REST)": lambda url: {"url": url, "key_file": "/key"},
}
JSON = {"Content-Type": "application/taxii+json;version=2.1"}


async def endless(request: web.Request) -> web.StreamResponse:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    return await trickle(request, pieces(), headers=JSON)


async def slow_loris(request: web.Request) -> web.StreamResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(600):
            yield b" "
            await asyncio.sleep(0.1)

    return await trickle(request, pieces(), headers=JSON)


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError


async def truncated_gzip(_: web.Request) -> web.StreamResponse:
    return web.Response(body=gzip.compress(b"[]" * 1000)[:-10], headers={**JSON, "Content-Encoding": "gzip"})


async def bomb(_: web.Request) -> web.StreamResponse:
    return web.Response(body=gzip.compress(b"0" * 80_000_000), headers={**JSON, "Content-Encoding": "gzip"})


async def half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={**JSON, "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"[")
    assert request.transport is not None
    request.transport.close()
    return response


async def elsewhere(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://169.254.169.254/latest/meta-data")


async def in_circles(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(request.path)


async def a_page(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html><title>Please log in</title></html>", content_type="text/html")


async def nothing(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"", headers=JSON)


async def deep(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"[" * 100_000, headers=JSON)


LIES: Mapping[str, tuple[Callable[[web.Request], Awaitable[web.StreamResponse]], set[str]]] = {
    "an endless body": (endless, {"answer-too-large", "slow"}),
    "a body that trickles": (slow_loris, {"slow"}),
    "no answer": (never, {"slow"}),
    "gzip that is cut off": (truncated_gzip, {"cut-off"}),
    "gzip that swells": (bomb, {"answer-too-large"}),
    "a body that breaks off": (half, {"cut-off"}),
    "a redirect to a private address": (elsewhere, {"redirect-elsewhere", "status-unexpected"}),
    "redirects in circles": (in_circles, {"redirects", "status-unexpected"}),
    "a page to log in": (a_page, {"media-type", "not-json", "not-yaml", "not-a-list"}),
    "nothing": (nothing, {"not-json", "empty", "not-a-list", "media-type"}),
    "brackets": (deep, {"too-deep", "not-yaml", "media-type"}),
}
TLS = Path(__file__).resolve().parents[2] / "fixtures" / "connectors" / "tls"
TAKES_ANY_TEXT = {("csv_feed", "a page to log in"), ("csv_feed", "brackets")}
"""That it is no table is for accept to say."""


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", PULLERS)
async def test_a_server_that_lies(name: str, lie: str) -> None:
    handler, codes = LIES[lie]
    if (name, lie) in TAKES_ANY_TEXT:
        codes = set()
    got: list[Pulled] = []
    code = ""
    started = time.monotonic()
    async with serving(handler) as url:
        try:
            got = await pull(name.partition(" ")[0], PULLERS[name](url), limits=SHORT)
        except PartnerFailed as error:
            code = error.code
            assert url.startswith(error.where) or error.where.startswith((url, "http://169.254.169.254"))
    assert code in codes if codes else got
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("name", PULLERS)
async def test_a_certificate_that_nobody_vouches_for(name: str) -> None:
    self_signed = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    self_signed.load_cert_chain(TLS / "server.pem")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", nothing)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=self_signed)
    try:
        with pytest.raises(PartnerFailed) as failed:
            await pull(name.partition(" ")[0], PULLERS[name](str(server.make_url("")).rstrip("/")), limits=SHORT)
        assert failed.value.code == "tls-invalid"
    finally:
        await server.close()


@pytest.mark.parametrize("name", PULLERS)
async def test_a_name_that_leads_into_this_machine(name: str) -> None:
    with pytest.raises(PartnerFailed) as failed:
        await pull(name.partition(" ")[0], PULLERS[name]("http://localhost:1"), limits=SHORT)
    assert failed.value.code == "address-private"


@pytest.mark.parametrize("name", ["stix_files", "taxii", "misp"])
async def test_an_object_of_50_megabytes(name: str) -> None:
    large = {"type": "note", "id": "note--1", "created": "2026-11-01T00:00:00Z", "content": "x" * 50_000_000}
    uuid = "00000000-0000-4000-8000-000000000001"
    paths: Mapping[str, Any] = {
        "/x.json": {"type": "bundle", "objects": [large]},
        "/taxii2/": {"versions": [], "max_content_length": 1},
        "/taxii2/collections/": {"collections": [{"id": "c"}]},
        "/taxii2/collections/c/objects/": {"objects": [large]},
        "/feed/manifest.json": {uuid: {"timestamp": 1}},
        f"/feed/{uuid}.json": {"Event": {"uuid": uuid, "Attribute": [{"comment": "x" * 50_000_000}]}},
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        dates = {"X-TAXII-Date-Added-Last": "2026-11-01T00:00:00.000000Z"}
        return web.Response(body=orjson.dumps(paths[request.path]), headers={**JSON, **dates})

    settings = {**PULLERS[name](""), "max_bytes": 64 * 1024 * 1024} if name == "stix_files" else None
    async with serving(answer) as url:
        asked = PULLERS[name](url) if settings is None else {**settings, "url": f"{url}/x.json"}
        with pytest.raises(PartnerFailed) as failed:
            await pull(name, asked)
    assert failed.value.code == "object-too-large"
