"""The door: what a source is told, and what nobody else is."""

from __future__ import annotations

import gc
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from schemas.fingerprint import Ioc, fingerprint
from schemas.outgoing import outgoing_id
from schemas.rejected import Rejected, encode
from schemas.topics import REJECTED, REPORTS
from services.accept.agent import Relay
from services.accept.framing import unpack
from services.hub import Hub
from services.tables import outbox, rejected, submissions, watermarks
from tests.fakes import SECRET, FakeStreams, accept_client, bearer, make_hub, rows, source_agreement, token_for

PATH = "/api/v1/submissions"
TABLE = b"kind,value,tlp\ndomain,a.example,green\ndomain,b.example,\ncomplex,[broken,\nunheard-of,x,\n"


class World(NamedTuple):
    hub: Hub
    client: TestClient[web.Request, web.Application]
    alpha: dict[str, str]
    beta: dict[str, str]
    staff: dict[str, str]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    hub = make_hub(tmp_path, [source_agreement("alpha"), source_agreement("beta")])
    async with accept_client(hub) as client:
        yield World(
            hub,
            client,
            bearer(await token_for(hub, "alpha")),
            bearer(await token_for(hub, "beta")),
            bearer(await token_for(hub, "staff", "staff")),
        )
    hub.store.close()


async def send(world: World, body: bytes = TABLE, **more: Any) -> dict[str, Any]:
    response = await world.client.post(PATH, data=body, headers=more.pop("headers", world.alpha), **more)
    assert response.status == 202, await response.text()
    answer: dict[str, Any] = await response.json()
    assert response.headers["Location"] == answer["status_url"] == f"{PATH}/{answer['id']}"
    return answer


async def status(world: World, answer: dict[str, Any], query: str = "") -> dict[str, Any]:
    response = await world.client.get(answer["status_url"] + query, headers=world.alpha)
    assert response.status == 200
    document: dict[str, Any] = await response.json()
    return document


async def test_what_is_answered_is_stored(world: World) -> None:
    answer = await send(world)
    assert {name: answer[name] for name in ("format", "taken", "refused", "skipped")} == {
        "format": "csv",
        "taken": 2,
        "refused": 1,
        "skipped": 1,
    }
    assert [item["pointer"] for item in answer["items"]] == ["line 4"]
    [row] = await rows(world.hub, submissions)
    assert (row.id, row.source, row.taken, row.refused, row.relayed_ms) == (answer["id"], "alpha", 2, 1, None)
    [waiting] = await rows(world.hub, outbox)
    assert waiting.seq == row.seq
    assert [parcel.topic for parcel in unpack(waiting.messages)] == [REPORTS, REPORTS, REJECTED]


async def test_the_status_lists_every_item(world: World) -> None:
    document = await status(world, await send(world))
    assert (document["source"], document["state"], document["total"]) == ("alpha", "stored", 4)
    assert [item["fate"] for item in document["items"]] == ["taken", "taken", "refused", "skipped"]
    key = fingerprint(SECRET, Ioc("domain", "a.example"))
    assert document["items"][0] == {
        "id": outgoing_id("indicator", key),
        "pointer": "line 2",
        "kind": "domain",
        "value": "a.example",
        "fate": "taken",
    }


async def test_paging(world: World) -> None:
    rows_ = b"".join(b"domain,h%d.example\n" % n for n in range(250))
    answer = await send(world, b"kind,value\n" + rows_)
    seen = []
    for query in ("", "?offset=100", "?offset=200&limit=1000"):
        page = await status(world, answer, query)
        assert page["total"] == 250
        seen += [item["value"] for item in page["items"]]
    assert seen == [f"h{n}.example" for n in range(250)]
    assert (await status(world, answer, "?offset=900"))["items"] == []


@pytest.mark.parametrize("encoding", ["header", "body"])
async def test_gzip(world: World, encoding: str) -> None:
    headers = dict(world.alpha)
    if encoding == "header":
        headers["Content-Encoding"] = "gzip"
    assert (await send(world, gzip.compress(TABLE), headers=headers))["taken"] == 2


async def test_staff_speaks_for_a_source(world: World) -> None:
    answer = await send(world, headers=world.staff, params={"source": "alpha", "name": "t.csv"})
    assert (await status(world, answer))["source"] == "alpha"


async def test_a_name_tells_a_list_of_hosts(world: World) -> None:
    assert (await send(world, b"a.example\n", params={"name": "hosts.txt"}))["format"] == "hosts"


async def test_others_cannot_tell_a_submission_from_none(world: World) -> None:
    answer = await send(world)
    nobodys = f"{PATH}/11111111-2222-4333-8444-555555555555"
    answers = []
    for url in (answer["status_url"], nobodys, f"{PATH}/x", f"{PATH}/%00"):
        response = await world.client.get(url, headers=world.beta)
        headers = {name: value for name, value in response.headers.items() if name != "Date"}
        answers.append((response.status, await response.read(), headers))
    assert answers[0][0] == 404
    assert all(other == answers[0] for other in answers[1:])
    assert (await world.client.get(answer["status_url"], headers=world.staff)).status == 200


async def test_two_sources_are_told_the_same_about_the_same(world: World) -> None:
    """Who was first must not show."""
    first = await status(world, await send(world))
    response = await world.client.post(PATH, data=TABLE, headers=world.beta)
    second = await (await world.client.get(response.headers["Location"], headers=world.beta)).json()
    for document in (first, second):
        del document["id"], document["source"]
    assert first == second


async def test_states(world: World) -> None:
    answer = await send(world)
    streams = FakeStreams(partitions=1)
    relay = Relay(world.hub, streams)
    await relay._round()
    assert (await status(world, answer))["state"] == "relayed"
    await world.hub.store.write(lambda c: c.execute(watermarks.insert().values(partition=0, offset=0)))
    assert (await status(world, answer))["state"] == "relayed"
    await world.hub.store.write(lambda c: c.execute(watermarks.update().values(offset=1)))
    assert (await status(world, answer))["state"] == "done"


async def test_what_only_was_refused_is_done_when_relayed(world: World) -> None:
    response = await world.client.post(PATH, data=b"kind,value\ncomplex,[broken\n", headers=world.alpha)
    problem = await response.json()
    assert response.status == 422
    streams = FakeStreams()
    await Relay(world.hub, streams)._round()
    assert len(streams.messages(REJECTED)) == 1
    assert (await status(world, {"status_url": problem["instance"]}))["state"] == "done"


async def test_an_item_that_failed_behind_the_door_shows_as_refused_without_the_reason(world: World) -> None:
    answer = await send(world)
    record = Rejected(
        id="r1", stage="core", code="inner-secret", reason="beta protects it", origin="tocsin.reports/0/0",
        at="2026-11-18T11:06:40.000Z", source="alpha", submission=answer["id"],
        key=encode(fingerprint(SECRET, Ioc("domain", "b.example"))),
    )  # fmt: skip
    await world.hub.store.write(
        lambda c: c.execute(
            rejected.insert().values(
                id="r1",
                stage="core",
                code="x",
                source="alpha",
                submission=answer["id"],
                at="",
                record=record.to_bytes(),
            )
        )
    )
    document = await status(world, answer)
    assert (document["taken"], document["refused"], document["skipped"]) == (1, 2, 1)
    item = document["items"][1]
    assert (item["fate"], item["code"], item["where"]) == ("refused", "not-processed", "line 3")
    assert "beta" not in str(document)
    assert "inner-secret" not in str(document)


async def test_the_collector_is_as_before_whatever_came(world: World) -> None:
    usual = gc.get_threshold()
    await send(world)
    await world.client.post(PATH, data=b"\xff", headers=world.alpha)
    assert gc.get_threshold() == usual
