"""Receipts over HTTP: hostile bodies, other people's ids, and what a partner can work through."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from schemas.timestamps import format_time
from services.accept.collection import OwnCollection
from services.accept.door import Door
from services.hub import Hub
from services.openapi import describe
from services.problems import problem_documents
from services.share import http as share
from services.share import receipts
from services.share.receipts_http import MAX_BODY_BYTES, PATH
from services.tokens import Authenticator
from tests.fakes import NOW_MS, agreement, bearer, rows, token_for
from tests.unit.share.world import (
    RECEIVES,
    Feeder,
    cleared,
    domain,
    feeds_hub,
    recipient,
    stix_id,
    suspend,
    withdrawn,
)

Client = TestClient[web.Request, web.Application]
LONG_AFTER_MS = NOW_MS + 20 * 365 * 86_400_000


@pytest.fixture(params=["sqlite", "postgres"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    made = feeds_hub(tmp_path, [recipient("alpha"), recipient("beta"), agreement("giver")], url)
    yield made
    made.store.close()


@asynccontextmanager
async def client_of(hub: Hub) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[problem_documents], client_max_size=hub.settings.max_body_bytes)
    share.attach(app, hub, Authenticator(hub.store, hub.clock), OwnCollection(Door(hub, lambda: None)))
    async with TestClient(TestServer(app)) as client:
        yield client


async def send(hub: Hub, body: Any, who: str = "alpha", **headers: str) -> tuple[int, Any]:
    async with client_of(hub) as client:
        token = await token_for(hub, who, "staff" if who == "staff" else "partner")
        data = io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body))
        response = await client.post(PATH, data=data, headers=bearer(token) | headers)
        return response.status, await _document(response)


async def ask(hub: Hub, who: str = "alpha", **params: str) -> tuple[int, Any]:
    async with client_of(hub) as client:
        token = await token_for(hub, who, "staff" if who == "staff" else "partner")
        response = await client.get(PATH, params=params, headers=bearer(token))
        return response.status, await _document(response)


async def _document(response: ClientResponse) -> Any:
    return orjson.loads(await response.read())


def said(name: str, status: str = "received", **more: Any) -> dict[str, Any]:
    return {"item": stix_id(name), "status": status, **more}


async def test_each_receipt_is_answered_by_itself_and_in_order(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0]), domain("b.example", [1]), withdrawn("c.example", [0]))
    body = [
        said("c.example"),
        said("b.example", "acted"),
        {"item": "nonsense", "status": "acted"},
        said("a.example", "acted", reason="blocked", time="2026-11-01T00:00:00Z"),
        said("nothing.example", "acted"),
        said("a.example"),
        7,
    ]
    status, found = await send(hub, body)
    results = found["results"]
    assert status == 200
    assert [(r["item"], r["result"], r["withdrawn"]) for r in results] == [
        (stix_id("c.example"), "taken", True),
        (stix_id("b.example"), "unknown", False),
        (None, "refused", False),
        (stix_id("a.example"), "taken", False),
        (stix_id("nothing.example"), "unknown", False),
        (stix_id("a.example"), "kept", False),
        (None, "refused", False),
    ]
    theirs, nobodys = results[1], results[4]
    assert {**theirs, "item": ""} == {**nobodys, "item": ""}
    again = (await send(hub, body[0]))[1]["results"]
    assert [(r["result"], r["withdrawn"]) for r in again] == [("taken", True)]


async def test_what_is_theirs_is_answered_in_the_same_bytes_and_headers(hub: Hub) -> None:
    await Feeder(hub).put(domain("b.example", [1]), withdrawn("c.example", [1]), domain("d.example", [1]))
    await Feeder(hub).put(cleared("d.example", 2))
    async with client_of(hub) as client:
        answers = set()
        headers = bearer(await token_for(hub, "alpha"))
        for name in ("b.example", "c.example", "d.example", "never.example"):
            response = await client.post(PATH, json=said(name, "acted", reason="x"), headers=headers)
            text = (await response.text()).replace(stix_id(name), "ID")
            answers.add((response.status, text, tuple(k for k in response.headers if k != "Date")))
    assert len(answers) == 1
    assert await rows(hub, receipts.receipts) == []


REFUSED = [
    (b"", 400, "not-json"),
    (b"[" * 200_000, 400, "not-json"),
    (b"{}{}", 400, "not-json"),
    (b"[]", 400, "receipts-missing"),
    (b'"x"', 400, "receipts-missing"),
    (orjson.dumps([said("a.example")] * 1_001), 413, "too-many-receipts"),
    (b" " * (MAX_BODY_BYTES + 1), 413, "too-large"),
]


@pytest.mark.parametrize(("body", "status", "code"), REFUSED, ids=range(len(REFUSED)))
async def test_bodies_that_are_refused(hub: Hub, body: bytes, status: int, code: str) -> None:
    found = await send(hub, body)
    assert (found[0], found[1]["code"]) == (status, code) and found[1]["hint"]


async def test_compressed_bodies_are_refused(hub: Hub) -> None:
    status, found = await send(hub, b"x", **{"Content-Encoding": "gzip"})
    assert (status, found["code"]) == (415, "encoding-unknown")


async def test_bodies_that_come_slowly_are_bounded_for_each_partner(hub: Hub) -> None:
    stop = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"["
        await stop.wait()
        yield b"]"

    async with client_of(hub) as client:
        alpha, beta = [bearer(await token_for(hub, name)) for name in ("alpha", "beta")]

        def begun() -> asyncio.Future[ClientResponse]:
            return asyncio.ensure_future(client.post(PATH, data=slowly(), headers=alpha))

        slow = [begun() for _ in range(4)]
        for _ in range(2_000):
            slow = [begun() if each.done() else each for each in slow]  # ours below may have taken its place
            refused = await client.post(PATH, data=b"[]", headers=alpha)
            if refused.status == 503:
                break
            await asyncio.sleep(0.01)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
        assert (await client.post(PATH, data=b"[]", headers=beta)).status == 400
        stop.set()
        assert [(await each).status for each in slow] == [400] * 4
        assert (await client.post(PATH, data=b"[]", headers=alpha)).status == 400


async def test_a_thousand_at_once(hub: Hub) -> None:
    await Feeder(hub).put(*(domain(f"h{n}.example", [0]) for n in range(1_000)))
    status, found = await send(hub, [said(f"h{n}.example", reason="é" * 500) for n in range(1_000)])
    assert status == 200 and {r["result"] for r in found["results"]} == {"taken"}
    assert len(await rows(hub, receipts.receipts)) == 1_000


async def test_only_partners_speak_for_themselves(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0]))
    assert (await send(hub, said("a.example"), "staff"))[0] == 404
    assert (await send(hub, said("a.example", partner="alpha"), "beta"))[1]["results"][0]["result"] == "refused"
    async with client_of(hub) as client:
        assert [(await client.post(PATH)).status, (await client.get(PATH)).status] == [401, 401]
    assert await rows(hub, receipts.receipts) == []


async def test_staff_read_what_was_said_and_partners_do_not(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0, 1]))
    await send(hub, said("a.example", "acting", reason="asking upstream"))
    status, found = await ask(hub, "staff", item=stix_id("a.example"))
    [word] = await rows(hub, receipts.receipts)
    time = format_time(word.at_ms)
    assert status == 200 and found["receipts"] == [
        {
            "partner": "alpha",
            "status": "acting",
            "time": time,
            "reason": "asking upstream",
            "withdrawal_acknowledged": None,
            "history": [{"status": "acting", "time": time}],
        }
    ]
    for who in ("alpha", "beta"):
        assert "upstream" not in str(await ask(hub, who, item=stix_id("a.example")))
    assert (await ask(hub, "staff"))[1] == {"receipts": []}


async def test_reasons_are_not_logged(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await Feeder(hub).put(domain("a.example", [0]))
    await send(hub, [said("a.example", reason="a secret reason"), said("a.example", reason="a secret reason\0")])
    assert "secret" not in caplog.text


async def test_a_partner_works_through_what_it_owes(hub: Hub) -> None:
    await Feeder(hub).put(*(withdrawn(f"w{n}.example", [0, 1]) for n in range(5)), domain("a.example", [1]))
    found, params = list[dict[str, Any]](), {"limit": "2"}
    while True:
        status, page = await ask(hub, **params)
        assert status == 200 and page["what"] == "withdrawal" and page["owed"]["withdrawals"] == 5
        found += page["expected"]
        if "next" not in page:
            break
        params["next"] = page["next"]
    assert {each["id"] for each in found} == {stix_id(f"w{n}.example") for n in range(5)} and len(found) == 5
    assert all(each["type"] == "indicator" and each["reminded"] == 0 and each["since"] for each in found)
    await send(hub, [{"item": each["id"], "status": "received"} for each in found])
    _, page = await ask(hub)
    assert page["expected"] == [] and page["owed"] == {
        "withdrawals": 0,
        "acknowledge": 0,
        "act": 0,
        "more": [],
        "oldest_hours": None,
        "reminders": 0,
    }
    assert (await ask(hub, "beta"))[1]["owed"]["withdrawals"] == 5


async def test_what_is_overdue_and_that_a_suspended_partner_is_not_told_of_it(tmp_path: Path) -> None:
    ends = {"partner": {**agreement("alpha").partner.model_dump(mode="json"), "ends": "2099-01-01"}}
    alpha = agreement("alpha", receives=RECEIVES, respond={"ack_hours": 1, "act_hours": 2})
    alpha = type(alpha).model_validate({**alpha.model_dump(mode="json"), **ends})
    hub = feeds_hub(tmp_path, [alpha], clock=lambda: LONG_AFTER_MS)
    await Feeder(hub).put(domain("a.example", [0]), domain("b.example", [0]))
    await send(hub, said("b.example"))
    for what, names in (("acknowledge", ["a.example"]), ("act", ["a.example", "b.example"])):
        _, page = await ask(hub, what=what)
        assert [each["id"] for each in page["expected"]] == [stix_id(name) for name in names]
        assert page["owed"][what] == len(names) and "reminded" not in page["expected"][0]
    suspend(hub, "alpha")
    for what in ("acknowledge", "act"):
        _, page = await ask(hub, what=what)
        assert page["expected"] == [] and page["owed"][what] == 0
    hub.store.close()


PARAMETERS = [
    {"what": "all"},
    {"what": ""},
    {"limit": "0"},
    {"limit": "1001"},
    {"limit": "٣"},
    {"limit": "-1"},
    {"next": "x"},
    {"next": "A" * 32},
]


@pytest.mark.parametrize("params", PARAMETERS, ids=str)
async def test_parameters_that_are_none(hub: Hub, params: dict[str, str]) -> None:
    status, found = await ask(hub, **params)
    assert (status, found["code"], found["where"]) == (400, "parameter-invalid", next(iter(params)))


async def test_the_place_in_ones_feed_is_of_no_use_to_others(hub: Hub) -> None:
    await Feeder(hub).put(*(withdrawn(f"w{n}.example", [0, 1]) for n in range(3)))
    _, page = await ask(hub, limit="1")
    assert (await ask(hub, "beta", next=page["next"]))[0] == 400


async def test_both_are_described(hub: Hub) -> None:
    async with client_of(hub) as client:
        assert client.app is not None
        paths = describe(client.app, "0")["paths"][PATH]
    assert {"get", "post"} == set(paths) and all(paths[method]["summary"] for method in paths)
