"""Hostile requests to everything that withdraws, acknowledges, confirms, releases and explains, by every caller.

No answer is an error of the hub, and what is another's is answered like what is not there.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from services import bodies
from services.accept import intake
from services.hub import Hub
from services.migrate import upgrade
from services.run import open_hub
from services.settings import Settings
from services.share import receipts_http
from services.share.taxii import collection_id
from services.store import Store
from services.tokens import STAFF, STAFF_PREFIX
from services.web import application
from tests.fakes import bearer, token_for

ROOT = Path(__file__).resolve().parents[2]
UUID = "00000000-0000-4000-8000-000000000000"
ID = f"indicator--{UUID}"
MAX_BODY_BYTES = 256 * 1024
POSTS: dict[str, dict[str, Any]] = {
    "/api/v1/withdrawals": {"why": "revoked", "items": [ID]},
    "/api/v1/receipts": {"item": ID, "status": "acted"},
    "/api/v1/policy/confirmations": {"hash": "0" * 64, "names": ["meadow"]},
    "/api/v1/staff/tokens": {"name": "amina"},
    "/api/v1/releases": {"items": [{"id": ID, "version": "0" * 32}]},
    f"/api/v1/rejected/{UUID}/replay": {},
}
GETS = (
    "/api/v1/explain?item={}",
    "/api/v1/explain?item=a.example&partner={}",
    "/api/v1/receipts?item={}",
    "/api/v1/receipts?next={}",
    "/api/v1/receipts?limit={}",
    "/api/v1/rejected?limit={}",
    "/api/v1/rejected?offset={}",
    "/api/v1/rejected/{}",
    "/api/v1/submissions/{}",
    "/api/v1/releases?{}",
    "/api/v1/policy?{}",
    "/transparency/policy/{}",
    "/taxii2/api/collections/{}/objects/",
)
NAMES = {
    "NUL": "a%00b",
    "a lone surrogate": "%ED%A0%80",
    "no UTF-8": "%ff%fe",
    "large number": "9" * 40,
    "negative": "-1",
    "digits that are none": "%D9%A3",
    "injection": "'%20OR%201=1--",
    "long": "a" * 7_000,
    "path": "..%2f..%2fetc%2fpasswd",
    "empty": "",
    "id": ID,
    "uuid": UUID,
}
VALUES: dict[str, Any] = {
    "null": None,
    "number": 1,
    "large number": 10**18,
    "text": "x",
    "NUL": "a\0b",
    "list": [],
    "NUL in a list": ["a\0b"],
    "numbers": [1, 2.5, True],
    "lists": [[[]]],
    "object": {"a": {}},
    "objects": [{"id": "a\0", "version": "\0", "item": "\0"}],
    "long text": ["x" * 100_000],
    "many": ["x"] * 20_000,
}
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"\xff\xfe\x00",
    "a value": b"3",
    "an empty list": b"[]",
    "deep": b"[" * 100_000,
    "deep and closed": b'{"items":' + b"[" * 2_000 + b"]" * 2_000 + b"}",
    "twice": b'{"why":"revoked","why":"consent","items":[],"items":[],"name":"a","name":"b"}',
    "surrogate": b'{"items":["\\ud800"],"item":"\\ud800","name":"\\ud800","hash":"\\ud800"}',
    "huge number": b'{"items":[1' + b"0" * 5_000 + b'],"hash":1e999}',
    "unknown key": b'{"x\\u0000y":1}',
    "large": b'"' + b"x" * MAX_BODY_BYTES + b'"',
    "a bomb's beginning": b"\x1f\x8b\x08\x00",
}
HEADERS: tuple[dict[str, str], ...] = (
    {"Content-Type": "application/xml"},
    {"Content-Type": "text/plain; charset=no-such"},
    {"Content-Encoding": "br"},
    {"Content-Encoding": "gzip"},
)
TOKENS = ("", "x", "é", "tocsin_" + "a" * 43, "a" * 4_000)


class World(NamedTuple):
    hub: Hub
    client: TestClient[web.Request, web.Application]
    callers: dict[str, dict[str, str]]

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and document; raw paths go out as they are."""
        url = self.client.make_url("/").join(URL(path, encoded=True))
        async with self.client.session.request(method, url, **more) as response:
            raw = await response.read()
        assert response.status < 500, (method, path[:200], response.status, raw[:300])
        if response.status < 400 or path.startswith("/taxii2/"):
            return response.status, None
        if "Content-Encoding" in more.get("headers", {}) and response.content_type == "text/plain":
            return response.status, None  # the server itself can't unpack it, before there is a request
        assert response.content_type == "application/problem+json", (
            method,
            path[:99],
            more,
            response.status,
            raw[:99],
        )
        document = orjson.loads(raw)
        assert document["detail"] and document["status"] == response.status, (path, document)
        if response.status in (400, 413, 415, 422):
            assert document["hint"] or document["where"], (method, path[:200], document)
        return response.status, document


@pytest.fixture(params=["sqlite", "postgres"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    shutil.copytree(ROOT / "deploy" / "agreements", tmp_path / "agreements")
    settings = Settings(
        data=tmp_path, database=url, agreements=tmp_path / "agreements", policy=tmp_path / "policy.toml",
        max_body_bytes=MAX_BODY_BYTES,
    )  # fmt: skip
    store = Store(settings.database_url)
    upgrade(store.engine)
    yield open_hub(settings, store)
    store.close()


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[World]:
    async with TestClient(TestServer(application(hub, lambda: None))) as client:
        callers: dict[str, dict[str, str]] = {"nobody": {}}
        for name, scope in (("meadow", "partner"), ("kestrel", "partner"), (STAFF, "staff")):
            callers[name] = bearer(await token_for(hub, name, scope))  # type: ignore[arg-type]
        callers["amina"] = bearer(await token_for(hub, STAFF_PREFIX + "amina", "staff"))
        yield World(hub, client, callers)


async def test_no_body_is_an_error_of_the_hub(hub: Hub) -> None:
    async with serving(hub) as world:
        for caller, token in world.callers.items():
            for path, good in POSTS.items():
                made = {f"{key}: {name}": orjson.dumps({**good, key: value})
                        for key in good for name, value in VALUES.items()}  # fmt: skip
                for source in ("", "?source=kestrel", "?source=%00", "?source=nobody"):
                    for body in ({**BODIES, **made} if source in ("", "?source=kestrel") else BODIES).values():
                        status, _ = await world.ask("POST", path + source, data=body, headers=token)
                        assert caller != "nobody" or status in (400, 401)
                for header in HEADERS:
                    body = orjson.dumps(good)
                    await world.ask("POST", path, data=body, headers={**token, **header, "Connection": "close"})


async def test_no_address_is_an_error_of_the_hub(hub: Hub) -> None:
    async with serving(hub) as world:
        for token in world.callers.values():
            for path in GETS:
                for name in NAMES.values():
                    await world.ask("GET", path.format(name), headers=token)
            for partner, parameter in product(("meadow", "kestrel"), ("match[id]", "match[type]", "next", "limit")):
                objects = f"/taxii2/api/collections/{collection_id(hub.secret, partner)}/objects/"
                for name in NAMES.values():
                    await world.ask("GET", f"{objects}?{parameter}={name}", headers=token)
            for name in NAMES.values():
                await world.ask("POST", f"/api/v1/rejected/{name}/replay", headers=token)


async def test_a_token_that_is_none_is_told_in_one_form(hub: Hub) -> None:
    async with serving(hub) as world:
        for path in (*POSTS, "/api/v1/explain", "/api/v1/rejected", "/api/v1/releases", "/api/v1/policy"):
            method = "POST" if path in POSTS and path != "/api/v1/releases" else "GET"
            for token in TOKENS:
                status, document = await world.ask(method, path, headers={"Authorization": f"Bearer {token}"})
                assert (status, document["where"]) == (401, "Authorization")


async def test_what_is_anothers_is_answered_like_what_is_not_there(hub: Hub) -> None:
    async with serving(hub) as world:
        theirs, mine = world.callers["kestrel"], world.callers["meadow"]
        sent = await world.client.post(
            "/api/v1/submissions", data="a.example\n", headers={**theirs, "Content-Type": "text/plain"}
        )
        assert sent.status == 202, await sent.text()
        submission = (await sent.json())["id"]
        for path in ("/api/v1/submissions/{}", "/api/v1/rejected/{}", "/transparency/policy/{}"):
            assert await world.ask("GET", path.format(submission), headers=mine) == await world.ask(
                "GET", path.format(UUID), headers=mine
            )
        said = []
        for named in (submission, UUID):
            body = orjson.dumps({"why": "revoked", "submissions": [named], "items": [ID]})
            answer = await world.client.post("/api/v1/withdrawals", data=body, headers=mine)
            document = await answer.json()
            said.append((answer.status, document.keys(), document["named"], len(document["unknown"])))
        assert said[0] == said[1] == (202, said[0][1], 0, 2)
        for method, path in (*(("POST", path) for path in POSTS), ("GET", "/api/v1/explain?item=a.example")):
            if path not in ("/api/v1/withdrawals", "/api/v1/receipts"):
                nothing = await world.ask(method, "/api/v1/nothing", data=b"{}", headers=mine)
                assert await world.ask(method, path, data=b"{}", headers=mine) == nothing


async def test_a_slow_body_ends(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(intake, "BODY_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(receipts_http, "BODY_TIMEOUT_SECONDS", 0.1)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(3)

    async with serving(hub) as world:
        for path in POSTS:
            who = "meadow" if path in ("/api/v1/withdrawals", "/api/v1/receipts") else STAFF
            status, _ = await world.ask("POST", path, data=slowly(), headers=world.callers[who])
            assert status == 408 or "rejected" in path, path
