"""The feed as server-sent events: no gap, no repeat, nobody else's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy.exc import OperationalError

from services import tables, tokens
from services.hub import Hub
from services.problems import problem_documents
from services.share import feeds, stream_sse
from services.tokens import Authenticator
from tests.fakes import bearer, token_for
from tests.unit.share.world import Feeder, domain, feeds_hub, recipient, stix_id, suspend, withdrawn

Client = TestClient[web.Request, web.Application]


@pytest.fixture(params=["sqlite", "postgresql"])
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(stream_sse, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(stream_sse, "ROWS_AT_ONCE", 3)
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else ""
    hub = feeds_hub(tmp_path, [recipient("meadow"), recipient("ridge")], url)
    yield hub
    hub.store.close()


@asynccontextmanager
async def client_of(hub: Hub) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[problem_documents])
    stream_sse.attach(app, hub, Authenticator(hub.store, hub.clock))
    async with TestClient(TestServer(app)) as client:
        yield client


async def opened(client: Client, hub: Hub, name: str = "meadow", last: str = "", **options: Any) -> ClientResponse:
    headers = bearer(await token_for(hub, name, "staff" if name == "staff" else "partner"))
    return await client.get(
        "/api/v1/stream", headers=headers | ({"Last-Event-ID": last} if last else {}), **options
    )


async def read(answer: ClientResponse, count: int) -> list[dict[str, str]]:
    """The next events; comments and what is no event are left out."""
    found: list[dict[str, str]] = []
    event: dict[str, str] = {}
    async with asyncio.timeout(20):
        while len(found) < count:
            line = (await answer.content.readline()).decode().rstrip("\n")
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                event[name] = value
            elif not line:
                if "data" in event:
                    found.append(event)
                event = {}
    return found


async def test_what_is_there_and_what_comes(hub: Hub) -> None:
    feeder = Feeder(hub)
    names = [f"{number}.lure.example" for number in range(7)]
    for name in names:
        await feeder.put(domain(name, [0]))
    await feeder.put(domain("theirs.example", [1]))
    async with client_of(hub) as client:
        answer = await opened(client, hub)
        assert answer.content_type == "text/event-stream"
        first = await read(answer, 7)
        assert [orjson.loads(one["data"])["id"] for one in first] == [stix_id(name) for name in names]
        await feeder.put(withdrawn(names[0], [0]))
        [gone] = await read(answer, 1)
        assert (gone["event"], orjson.loads(gone["data"])["revoked"]) == ("withdrawn", True)
        answer.close()


async def test_a_reader_that_comes_back_misses_and_repeats_nothing_while_others_write(hub: Hub) -> None:
    feeder = Feeder(hub)
    names = [f"{number}.lure.example" for number in range(40)]

    async def write() -> None:
        for name in names:
            await feeder.put(domain(name, [0]))
            await feeder.put(domain(f"other-{name}", [1]))

    writing = asyncio.create_task(write())
    seen: list[str] = []
    last = ""
    async with client_of(hub) as client:
        while len(seen) < len(names):
            answer = await opened(client, hub, last=last)
            for event in await read(answer, min(5, len(names) - len(seen))):
                seen.append(orjson.loads(event["data"])["id"])
                last = event["id"]
            answer.close()
    await writing
    assert seen == [stix_id(name) for name in names]


async def test_a_place_is_good_for_its_own_feed_only(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0, 1]))
    async with client_of(hub) as client:
        answer = await opened(client, hub)
        [event] = await read(answer, 1)
        answer.close()
        for last in (event["id"], "x", "A" * 32):
            refused = await opened(client, hub, "ridge", last)
            assert (refused.status, (await refused.json())["code"]) == (400, "last-event-id-unknown")


async def test_who_is_suspended_while_it_reads_gets_withdrawals_only(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0]))
    async with client_of(hub) as client:
        answer = await opened(client, hub)
        await read(answer, 1)
        suspend(hub, "meadow")
        await feeder.put(domain("b.example", [0]))
        await feeder.put(withdrawn("a.example", [0]))
        [event] = await read(answer, 1)
        assert event["event"] == "withdrawn"
        answer.close()


async def test_streams_of_one_partner_are_bounded_and_given_back(hub: Hub) -> None:
    async with client_of(hub) as client:
        answers = [await opened(client, hub) for _ in range(stream_sse.MAX_STREAMS)]
        refused = await opened(client, hub)
        assert (refused.status, (await refused.json())["code"]) == (429, "too-many-streams")
        other = await opened(client, hub, "ridge")
        assert other.status == 200
        for answer in (*answers, other):
            answer.close()
        async with asyncio.timeout(10):
            while (again := await opened(client, hub)).status != 200:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        again.close()


async def test_staff_name_a_partner(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0]))
    async with client_of(hub) as client:
        assert (await opened(client, hub, "staff")).status == 400
        assert (await opened(client, hub, "staff", params={"partner": "nobody"})).status == 404
        answer = await opened(client, hub, "staff", params={"partner": "meadow"})
        assert len(await read(answer, 1)) == 1
        answer.close()
        assert (await client.get("/api/v1/stream")).status == 401


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_stream_ends_with_its_token(hub: Hub, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_sse, "CHECK_SECONDS", 0.05)
    start_ms, began = hub.clock(), time.monotonic()
    hub.clock = lambda: start_ms + round((time.monotonic() - began) * 1_000_000)  # so that 30 s are soon over
    async with client_of(hub) as client:
        answer = await opened(client, hub)
        await answer.content.readline()
        with hub.store.engine.begin() as connection:
            if how == "revoked":
                assert tokens.revoke(connection, "meadow", hub.clock()) == 1
            else:
                connection.execute(sa.update(tables.tokens).values(expires_ms=hub.clock()))
        async with asyncio.timeout(5):
            while await answer.content.read(1_000):
                pass


async def test_what_came_while_a_partner_was_cut_off_comes_when_it_is_let_in_again(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0]))
    async with client_of(hub) as client:
        answer = await opened(client, hub)
        await read(answer, 1)
        suspend(hub, "meadow")
        await feeder.put(domain("b.example", [0]))
        await feeder.put(withdrawn("a.example", [0]))
        [gone] = await read(answer, 1)
        suspend(hub, "meadow", since_ms=None)
        live = {event["event"]: orjson.loads(event["data"])["id"] for event in await read(answer, 2)}
        assert live["shared"] == stix_id("b.example")
        answer.close()
        again = await opened(client, hub, last=gone["id"])  # one that went away in between
        assert (await read(again, 1))[0]["event"] == "shared"
        again.close()


async def test_one_that_was_never_let_in_begins_at_the_beginning_later(hub: Hub) -> None:
    await Feeder(hub).put(domain("b.example", [0]), withdrawn("a.example", [0]))
    suspend(hub, "meadow")
    async with client_of(hub) as client:
        answer = await opened(client, hub)
        [gone] = await read(answer, 1)
        answer.close()
        suspend(hub, "meadow", since_ms=None)
        again = await opened(client, hub, last=gone["id"])
        assert sorted([event["event"] for event in await read(again, 2)]) == ["shared", "withdrawn"]
        again.close()


async def test_a_stream_has_no_head(hub: Hub) -> None:
    async with client_of(hub) as client:
        answer = await client.head("/api/v1/stream", headers=bearer(await token_for(hub, "meadow")))
        assert answer.status == 405


async def test_what_staff_read_takes_no_stream_from_the_partner(hub: Hub) -> None:
    async with client_of(hub) as client:
        answers = [
            await opened(client, hub, "staff", params={"partner": "meadow"}) for _ in range(stream_sse.MAX_STREAMS)
        ]
        mine = await opened(client, hub)
        assert mine.status == 200
        for answer in (*answers, mine):
            answer.close()


async def test_a_quiet_stream_costs_no_page(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many look every second."""
    pages = 0
    page = feeds.page

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal pages
        pages += 1
        return page(*args, **options)

    monkeypatch.setattr(feeds, "page", counted)
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0]))
    async with client_of(hub) as client:
        answer = await opened(client, hub)
        await read(answer, 1)
        await asyncio.sleep(0.3)
        assert pages <= 2
        await feeder.put(domain("b.example", [0]))
        await read(answer, 1)
        answer.close()


@pytest.mark.parametrize("last", ["%", "é" * 16, "=" * 32, "A" * 31 + "*", "x" * 7_000, "None", "-1"])
async def test_an_id_that_is_none_is_refused(hub: Hub, last: str) -> None:
    async with client_of(hub) as client:
        answer = await opened(client, hub, last=last)
        assert (answer.status, (await answer.json())["code"]) == (400, "last-event-id-unknown")


async def test_a_stream_whose_database_is_gone_ends(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    async with client_of(hub) as client:
        answer = await opened(client, hub)
        await answer.content.readline()

        def gone(*_: object) -> None:
            raise OperationalError("", {}, ValueError())

        monkeypatch.setattr(feeds, "newest", gone)
        async with asyncio.timeout(5):
            rest = b"".join([piece async for piece in answer.content.iter_any()])
        assert b"HTTP/" not in rest
