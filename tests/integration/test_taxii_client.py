"""A partner's own TAXII 2.1 client (taxii2-client) against the server over a real socket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio
import requests
from aiohttp import web
from aiohttp.test_utils import TestServer
from taxii2client.v21 import Collection, Server, as_pages

from services.accept.collection import OwnCollection
from services.accept.door import Door
from services.hub import Hub
from services.problems import problem_documents
from services.share import http as share
from services.share import taxii
from services.tokens import Authenticator
from tests.fakes import agreement, token_for
from tests.unit.share.world import RECEIVES, Feeder, body, domain, feeds_hub, recipient, stix_id, withdrawn

T = TypeVar("T")
NAMES = ("alpha", "beta")
"""Who only receives."""
PARTNER = agreement(
    "gamma", receives={**RECEIVES, "collections": ["spyware", "ddos"]}, contributes={"reliability": "B"}
)


class Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class Served:
    """A hub behind a real socket; what blocks, as its clients do, runs in threads."""

    def __init__(self, hub: Hub, url: str) -> None:
        self.hub = hub
        self.url = url
        self.feeder = Feeder(hub)

    async def server(self, name: str, scheme: str = "basic") -> Server:
        token = await token_for(self.hub, name)
        if scheme == "bearer":
            return Server(self.url + "/taxii2/", auth=Bearer(token))
        return Server(self.url + "/taxii2/", user=name, password=token)

    async def collection(self, name: str) -> Collection:
        server = await self.server(name)
        return await call(lambda: server.default.collections[0])


async def call(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    hub = feeds_hub(tmp_path, [*map(recipient, NAMES), PARTNER], url)
    app = web.Application(middlewares=[problem_documents])
    share.attach(app, hub, Authenticator(hub.store, hub.clock), OwnCollection(Door(hub, lambda: None)))
    async with TestServer(app) as server:
        yield Served(hub, str(server.make_url("")).rstrip("/"))
    hub.store.close()


def ids(envelope: dict[str, Any]) -> list[str]:
    return [o["id"] for o in envelope.get("objects", [])]


async def test_discovery_leads_to_the_own_collection_only(served: Served) -> None:
    found = {}
    for name in NAMES:
        server = await served.server(name)
        title, default, root_title = await call(lambda s=server: (s.title, s.default.url, s.default.title))
        collections = await call(lambda s=server: s.default.collections)
        assert title and root_title and default == served.url + "/taxii2/api/"
        assert len(collections) == 1 and collections[0].can_read and not collections[0].can_write
        found[name] = collections[0].id
    assert found["alpha"] != found["beta"]
    theirs = Collection(
        f"{served.url}/taxii2/api/collections/{found['beta']}/",
        user="a",
        password=await token_for(served.hub, "alpha"),
    )
    with pytest.raises(requests.HTTPError, match="404"):
        await call(lambda: theirs.title)


async def test_objects_manifest_versions_and_filters(served: Served) -> None:
    await served.feeder.put(domain("a.example", [0, 1]), domain("b.example", [0]))
    await served.feeder.put(domain("c.example", [0, 1]), withdrawn("d.example", [0]))
    alpha, beta = await served.collection("alpha"), await served.collection("beta")
    a, b, c, d = (stix_id(f"{letter}.example") for letter in "abcd")
    assert ids(await call(alpha.get_objects)) == [a, b, c, d]
    assert ids(await call(beta.get_objects)) == [a, c]
    assert ids(await call(partial(alpha.get_object, b))) == [b]
    with pytest.raises(requests.HTTPError, match="404"):
        await call(partial(beta.get_object, b))
    manifest = await call(alpha.get_manifest)
    assert ids(manifest) == [a, b, c, d]
    added = [entry["date_added"] for entry in manifest["objects"]]
    assert added == sorted(set(added))
    assert (await call(partial(alpha.object_versions, a)))["versions"] == ["2026-11-01T00:00:01.000Z"]
    for wanted, filters in [
        ([c, d], {"added_after": added[1]}),
        ([], {"added_after": added[3]}),
        ([a, c], {"id": [a, c]}),
        ([a, b, c, d], {"type": "indicator"}),
        ([], {"type": ["malware", "identity"]}),
        ([a, b, c], {"version": "2026-11-01T00:00:01.000Z"}),
        ([a, b, c, d], {"version": "all"}),
        ([a, b, c, d], {"spec_version": "2.1"}),
        ([], {"spec_version": "2.0"}),
    ]:
        assert ids(await call(partial(alpha.get_objects, **filters))) == wanted, filters
        assert ids(await call(partial(alpha.get_manifest, **filters))) == wanted, filters


async def test_pages(served: Served) -> None:
    names = [f"h{i}.example" for i in range(11)]
    for name in names:
        await served.feeder.put(domain(name, [0, 1]), domain(f"not-{name}", [1]))
    alpha = await served.collection("alpha")
    for get in (alpha.get_objects, alpha.get_manifest):
        for size in (1, 3, 10, 11, 50):
            pages = await call(partial(list, as_pages(get, per_request=size)))
            assert [len(ids(page)) for page in pages] == [min(size, 11 - start) for start in range(0, 11, size)]
            assert [id_ for page in pages for id_ in ids(page)] == [stix_id(name) for name in names]


async def test_a_client_that_follows_added_after_misses_nothing(served: Served) -> None:
    """The usual loop: page through, remember the header's date, ask for what was added after it; under a writer
    that adds, changes and withdraws, and moves items between audiences."""
    chance, counters, held = random.Random(5), dict[str, int](), dict[str, str]()
    token, base = await token_for(served.hub, "alpha"), taxii.collection_id(served.hub.secret, "alpha")
    url = f"{served.url}/taxii2/api/collections/{base}/objects/"
    writing = True

    async def write() -> None:
        nonlocal writing
        for _ in range(40):
            batch = []
            for name in {f"h{chance.randrange(60)}.example" for _ in range(chance.randint(1, 8))}:
                counters[name] = counters.get(name, 0) + 1
                to = chance.choice([[0], [1], [0, 1]])
                batch.append((withdrawn if chance.random() < 0.2 else domain)(name, to, counters[name]))
            await served.feeder.put(*batch)
            await asyncio.sleep(0.005)
        writing = False

    def ask(params: dict[str, str]) -> requests.Response:
        response = requests.get(url, params=params, auth=("alpha", token), timeout=30)
        response.raise_for_status()
        return response

    async def follow() -> None:
        params = {"limit": "7"}
        while True:
            last_round = not writing
            response = await asyncio.to_thread(ask, params)
            page = response.json()
            for found in page.get("objects", []):
                assert held.get(found["id"]) != found["modified"], "the same version twice"
                held[found["id"]] = found["modified"]
            if page.get("more"):
                params = {"limit": "7", "next": page["next"]}
            elif "X-TAXII-Date-Added-Last" in response.headers:
                params = {"limit": "7", "added_after": response.headers["X-TAXII-Date-Added-Last"]}
            elif last_round:
                return

    await asyncio.gather(write(), follow())
    final = await call((await served.collection("alpha")).get_objects)
    assert final["objects"] and all(held[o["id"]] == o["modified"] for o in final["objects"])


# --- the other collections ----------------------------------------------------------------------------------------


def indicator(number: int, day: int = 1) -> dict[str, Any]:
    return body(f"h{number}.example", f"2026-11-{day:02}T00:00:00.000Z")


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
async def test_what_a_partner_posts_it_gets_back_and_takes_back(served: Served, scheme: str) -> None:
    server = await served.server("gamma", scheme)
    *feeds, own = await call(lambda: server.default.collections)
    assert [(each.title, each.can_read, each.can_write) for each in (*feeds, own)] == [
        ("Your feed", True, False),
        ("Your feed: spyware", True, False),
        ("Your feed: ddos", True, False),
        ("Your contributions", True, True),
    ]
    posted = [indicator(number) for number in range(7)]
    status = await call(partial(own.add_objects, {"objects": posted}, wait_for_completion=True))
    assert bool(status) and (status.total_count, status.success_count) == (7, 7)
    assert [each["id"] for each in status.successes] == [each["id"] for each in posted]
    await call(status.refresh)
    assert bool(status) and status.success_count == 7
    await call(partial(own.add_objects, {"objects": [indicator(0, day=2), {"type": "indicator", "id": "x"}]}))
    for get in (own.get_objects, own.get_manifest):
        for size in (1, 3, 7, 20):
            pages = await call(partial(list, as_pages(get, per_request=size)))
            found = [id_ for page in pages for id_ in ids(page)]
            assert found == [stix_id(f"h{number}.example") for number in (1, 2, 3, 4, 5, 6, 0)]
    one = posted[0]["id"]
    assert (await call(partial(own.get_object, one)))["objects"] == [indicator(0, day=2)]
    assert (await call(partial(own.object_versions, one)))["versions"] == [
        f"2026-11-0{day}T00:00:00.000Z" for day in (1, 2)
    ]
    both = await call(partial(list, as_pages(partial(own.get_object, one), per_request=1, version="all")))
    assert [page["objects"] for page in both] == [[indicator(0)], [indicator(0, day=2)]]
    await call(partial(own.delete_object, one, version="first"))
    assert (await call(partial(own.object_versions, one)))["versions"] == ["2026-11-02T00:00:00.000Z"]
    await call(partial(own.delete_object, one))
    with pytest.raises(requests.HTTPError, match="404"):
        await call(partial(own.get_object, one))
    assert len(ids(await call(own.get_objects))) == 6


async def test_a_collection_by_category_holds_that_part_of_the_feed_and_what_is_withdrawn(served: Served) -> None:
    await served.feeder.put(
        domain("a.example", [2], category="spyware"),
        domain("b.example", [2], category="ddos"),
        domain("c.example", [0], category="spyware"),
        domain("d.example", [0, 2]),
    )
    await served.feeder.put(withdrawn("a.example", [2]), domain("e.example", [2], category="spyware"))
    server = await served.server("gamma")
    feed, spyware, ddos, own = await call(lambda: server.default.collections)
    a, b, d, e = (stix_id(f"{letter}.example") for letter in "abde")
    assert ids(await call(feed.get_objects)) == [b, d, a, e]
    assert ids(await call(spyware.get_objects)) == [a, e]
    assert ids(await call(ddos.get_objects)) == [b, a]
    assert ids(await call(own.get_objects)) == []
    pages = await call(partial(list, as_pages(spyware.get_manifest, per_request=1)))
    assert [ids(page) for page in pages] == [[a], [e]]
    with pytest.raises(requests.HTTPError, match="404"):
        await call(partial(spyware.get_object, b))
