"""A hub with two partners that receive and contribute, spoken to over HTTP as any TAXII client would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from aiohttp import ClientResponse, encode_basic_auth, web
from aiohttp.test_utils import TestClient, TestServer

from services.hub import Hub
from services.share import taxii
from services.tables import partners
from services.web import application
from tests.fakes import agreement, bearer, make_hub, token_for
from tests.unit.share.world import RECEIVES, Feeder, body, domain, stix_id

MEDIA_TYPE = "application/taxii+json;version=2.1"
API = "/taxii2/api/"
MAX_BYTES = 100_000
POSTED = [stix_id(f"p{number}.example") for number in range(3)]
UNKNOWN = "indicator--00000000-0000-4000-8000-00000000ffff"
VERSIONS = [f"2026-11-0{day}T00:00:00.000Z" for day in (1, 2, 3)]
"""Of the first object that was posted."""
FED = [stix_id(f"f{number}.example") for number in range(5)]


class Got(NamedTuple):
    """An answer. `json` is None where there is no body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body) if self.body else None

    @property
    def ids(self) -> list[str]:
        return [each["id"] for each in self.json.get("objects", [])]


class World:
    """Everything is asked as `alpha`, unless another is named."""

    def __init__(self, hub: Hub, client: TestClient[web.Request, web.Application], tokens: dict[str, str]) -> None:
        self.hub = hub
        self.client = client
        self.tokens = tokens

    def of(self, which: str = "", partner: str = "alpha") -> str:
        """The path of a collection."""
        return f"{API}collections/{taxii.collection_id(self.hub.secret, partner, which)}/"

    @property
    def feed(self) -> str:
        return self.of()

    @property
    def own(self) -> str:
        return self.of("contributions")

    async def ask(
        self,
        method: str,
        path: str,
        by: str = "alpha",
        data: Any = None,
        headers: dict[str, str] | None = None,
        **params: str,
    ) -> Got:
        given = {"Accept": MEDIA_TYPE, **(bearer(self.tokens[by]) if by else {}), **(headers or {})}
        if data is not None:
            given = {"Content-Type": MEDIA_TYPE, **given}
            data = data if isinstance(data, bytes) else orjson.dumps(data)
        response: ClientResponse = await self.client.request(
            method, path, data=data, params=params, headers={k: v for k, v in given.items() if v}
        )
        return Got(response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read())

    async def get(self, path: str, by: str = "alpha", **params: str) -> Got:
        return await self.ask("GET", path, by, **params)

    async def post(self, *objects: Any, by: str = "alpha", headers: dict[str, str] | None = None) -> Got:
        return await self.ask("POST", self.of("contributions", by) + "objects/", by, {"objects": objects}, headers)

    def basic(self, by: str = "alpha") -> dict[str, str]:
        return {"Authorization": encode_basic_auth("whoever", self.tokens[by])}


def indicator(number: int, day: int = 1, **more: Any) -> dict[str, Any]:
    return body(f"p{number}.example", f"2026-11-{day:02}T00:00:00.000Z") | more


@asynccontextmanager
async def taxii_world(folder: Path) -> AsyncIterator[World]:
    """alpha and beta have a feed of five objects, and posted three, the first of them in three versions."""
    terms = {"receives": {**RECEIVES, "collections": ["spyware"]}, "contributes": {"reliability": "B"}}
    names = ("alpha", "beta")
    hub = make_hub(
        folder,
        [*(agreement(name, **terms) for name in names), agreement("reader", receives=RECEIVES)],
        max_body_bytes=MAX_BYTES,
    )
    with hub.store.engine.begin() as connection:
        connection.execute(partners.insert(), [{"bit": b, "id": n} for n, b in hub.directory.bit_of.items()])
    tokens = {name: await token_for(hub, name) for name in (*names, "reader")}
    tokens["staff"] = await token_for(hub, "staff", "staff")
    feeder = Feeder(hub)
    for number in range(5):  # each in a batch of its own
        await feeder.put(domain(f"f{number}.example", [0, 1, 2], category="spyware" if number < 2 else "ddos"))
    async with TestClient(TestServer(application(hub, lambda: None))) as client:
        world = World(hub, client, tokens)
        for name in names:
            for objects in ([indicator(0)], [indicator(0, 2), indicator(1)], [indicator(2), indicator(0, 3)]):
                assert (await world.post(*objects, by=name)).status == 202
        yield world
    hub.store.close()


def paths(w: World) -> list[str]:
    """Every address that can be read."""
    one = f"{w.own}objects/{POSTED[0]}/"
    return [
        "/taxii2/", API, f"{API}collections/", w.feed, w.own, w.of("category spyware"), f"{w.feed}objects/",
        f"{w.feed}manifest/", f"{w.feed}objects/{FED[0]}/", f"{w.feed}objects/{FED[0]}/versions/",
        f"{w.own}objects/", f"{w.own}manifest/", one, f"{one}versions/",
    ]  # fmt: skip


async def modified_of_first(w: World, version: str) -> list[str]:
    got = await w.get(f"{w.own}objects/{POSTED[0]}/", **{"match[version]": version})
    return [each["modified"] for each in got.json.get("objects", [])]
