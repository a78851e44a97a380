"""Pulling from real TAXII 2.1 servers: medallion in a process of its own, and a feed of this hub."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import requests
from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors.base import Pulled, Tools
from connectors.http import Http
from connectors.registry import CONNECTORS
from services.accept.collection import OwnCollection
from services.accept.door import Door
from services.problems import problem_documents
from services.share import http as share
from services.tokens import Authenticator
from tests.contract.puller_worlds import indicator, uuid
from tests.fakes import NOW_MS, token_for
from tests.pulled import SECRET, bodies, door, last_checkpoint, objects, pull
from tests.unit.share.world import Feeder, domain, feeds_hub, recipient, stix_id, withdrawn

MEDIA_TYPE = "application/taxii+json;version=2.1"
SERVE = """
import sys
import medallion
from werkzeug.serving import make_server

server = make_server("127.0.0.1", 0, medallion.load_app(sys.argv[1]), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""
COLLECTION = uuid(77)


@pytest.fixture
def medallion(tmp_path: Path) -> Iterator[str]:
    held = {"id": COLLECTION, "title": "made up", "can_read": True, "can_write": True, "media_types": []}
    data = {
        "/discovery": {"title": "made up", "default": "/api1/", "api_roots": ["/api1/"]},
        "api1": {
            "information": {"title": "made up", "versions": [MEDIA_TYPE], "max_content_length": 10_000_000},
            "status": [],
            "collections": [held | {"objects": [], "manifest": []}],
        },
    }
    (tmp_path / "data.json").write_text(json.dumps(data))
    backend = {"module": "medallion.backends.memory_backend", "module_class": "MemoryBackend"}
    config = {
        "backend": backend | {"filename": str(tmp_path / "data.json"), "session_timeout": 1, "check_interval": 1},
        "users": {"hub": SECRET.decode()},
        "taxii": {"max_page_size": 20},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", SERVE, str(tmp_path / "config.json")]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path) as process,
    ):
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def add(url: str, *added: Mapping[str, Any]) -> None:
    def post() -> None:
        answer = requests.post(
            f"{url}/api1/collections/{COLLECTION}/objects/",
            json={"objects": list(added)},
            auth=("hub", SECRET.decode()),
            headers={"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE},
            timeout=30,
        )
        assert answer.status_code == 202, answer.text
        assert answer.json()["failure_count"] == 0

    await asyncio.to_thread(post)


def ids(pieces: Sequence[Pulled]) -> list[str]:
    return [each["id"] for each in objects(pieces)]


async def test_medallion(medallion: str, now_ms: int) -> None:
    """It keeps one `next` for all pages, one date for all that is added at once, and forgets a `next` soon."""
    settings = {"url": f"{medallion}/taxii2/", "user": "hub", "password_file": "/x", "page": 20}
    expected = []
    for start in (0, 30, 60):
        await add(medallion, *(indicator(number) for number in range(start, start + 30)))
        expected += [indicator(number)["id"] for number in range(start, start + 30)]
    first = await pull("taxii", settings, now_ms=now_ms)
    assert ids(first) == expected and len(bodies(first)) == 5
    again = await pull("taxii", settings, last_checkpoint(first), now_ms=now_ms)
    assert ids(again) == []
    await add(medallion, indicator(100), {**indicator(3), "modified": "2026-11-02T00:00:00.000Z", "revoked": True})
    more = await pull("taxii", settings, last_checkpoint(again, last_checkpoint(first)), now_ms=now_ms)
    assert sorted(ids(more)) == sorted([indicator(3)["id"], indicator(100)["id"]])
    # interrupted, and come back when its `next` is forgotten
    part = await pull("taxii", settings, at_most=2, now_ms=now_ms)
    await asyncio.sleep(2.5)
    rest = await pull("taxii", settings, last_checkpoint(part), now_ms=now_ms)
    assert set(ids(part)) | set(ids(rest)) == {*expected, indicator(100)["id"]}


@pytest.fixture
def now_ms() -> int:
    """Of this machine: medallion goes by it."""
    return time.time_ns() // 1_000_000


class Served:
    def __init__(self, url: str, token: str, feeder: Feeder) -> None:
        self.settings = {"url": f"{url}/taxii2/", "token_file": "/token", "page": 7}
        self.token = token
        self.feeder = feeder

    async def pull(self, checkpoint: Mapping[str, Any]) -> list[Pulled]:
        manifest = CONNECTORS["taxii"]
        read = manifest.settings.model_validate(self.settings)
        assert manifest.pull is not None
        async with Http(manifest.hosts(read)) as http:
            tools = Tools(http, lambda _: self.token.encode(), lambda: NOW_MS * 2, "alpha")
            puller = await manifest.pull(read, tools)
            return [piece async for piece in puller.pull(checkpoint)]


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    folder = tmp_path / "there"
    folder.mkdir()
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    hub = feeds_hub(folder, map(recipient, ("alpha", "beta")), url)
    app = web.Application(middlewares=[problem_documents])
    share.attach(app, hub, Authenticator(hub.store, hub.clock), OwnCollection(Door(hub, lambda: None)))
    async with TestServer(app) as server:
        yield Served(str(server.make_url("")).rstrip("/"), await token_for(hub, "alpha"), Feeder(hub))
    hub.store.close()


async def test_another_hub(served: Served, tmp_path: Path) -> None:
    """What one hub shares with another comes into it, and is withdrawn there when it is withdrawn here."""
    async with door(tmp_path) as at_the_door:
        checkpoint: Mapping[str, Any] = {}

        async def step() -> list[str]:
            nonlocal checkpoint
            pieces = await served.pull(checkpoint)
            checkpoint = last_checkpoint(pieces, checkpoint)
            await at_the_door.take(pieces)
            return ids(pieces)

        names = [f"h{number}.example" for number in range(20)]
        for name in names:
            await served.feeder.put(domain(name, [0, 1]), domain(f"not-{name}", [1]))
        assert await step() == [stix_id(name) for name in names]
        assert len(await at_the_door.live()) == 20
        assert await step() == []
        await served.feeder.put(withdrawn("h3.example", [0, 1], 2))
        await served.feeder.put(domain("new.example", [0]))
        assert await step() == [stix_id("h3.example"), stix_id("new.example")]
        assert len(await at_the_door.live()) == 20
        assert await step() == []
