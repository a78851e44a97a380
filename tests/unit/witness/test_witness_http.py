"""What staff can ask, and that nobody else can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from schemas.fingerprint import Ioc, fingerprint
from schemas.rejected import Rejected, encode
from schemas.timestamps import parse_time
from schemas.topics import REPORTS
from services.accept.aliases import look_up
from services.accept.framing import unpack
from services.accept.inbox import find_submission, insert
from services.hub import Hub
from services.problems import problem_documents
from services.tables import outbox, rejected
from services.tokens import Authenticator
from services.witness import http as witness
from services.witness.agent import WitnessSink
from tests.fakes import NOW_MS, bearer, rows, source_agreement, token_for
from tests.unit.share.world import Feeder, domain, feeds_hub, key_of, recipient, stix_id, suspend, withdrawn
from tests.unit.witness.world import batch, decision, group, of_source, refusal

Client = TestClient[web.Request, web.Application]


def made_hub(folder: Path, database: str = "") -> Hub:
    giver = source_agreement("giver", defaults={"tlp": "green"})
    return feeds_hub(folder, [recipient("alpha"), recipient("beta"), giver], database)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = made_hub(tmp_path)
    yield made
    made.store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def either_hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    made = made_hub(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgres" else "")
    yield made
    made.store.close()


@asynccontextmanager
async def client_of(hub: Hub, woken: list[None] | None = None) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[problem_documents])
    wake = (lambda: None) if woken is None else (lambda: woken.append(None))
    witness.attach(app, hub, Authenticator(hub.store, hub.clock), wake, witness.Door(look_up, insert))
    async with TestClient(TestServer(app)) as client:
        yield client


async def ask(hub: Hub, path: str, method: str = "GET", who: str = "staff", **params: str) -> tuple[int, Any]:
    async with client_of(hub) as client:
        headers = bearer(await token_for(hub, who, "staff" if who == "staff" else "partner"))
        response = await client.request(method, path, params=params, headers=headers)
        return response.status, orjson.loads(await response.read())


PATHS = [
    ("GET", "/api/v1/explain?item=a.example"),
    ("GET", "/api/v1/explain"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/rejected"),
    ("GET", "/api/v1/rejected/x"),
    ("POST", "/api/v1/rejected/x/replay"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_for_others_it_does_not_exist(hub: Hub, method: str, path: str) -> None:
    assert await ask(hub, path, method, "alpha") == await ask(hub, "/api/v1/no-such-thing", method, "alpha")
    async with client_of(hub) as client:
        assert (await client.request(method, path)).status == 401


async def decide(hub: Hub, name: str = "a.example") -> None:
    key = fingerprint(hub.secret, Ioc("domain", name))
    judged = of_source("giver", group("permit", 0, rules=("P00",)), group("deny", 1, rules=("F02",)))
    sink = WitnessSink(hub)
    made = decision(judged, fingerprint=key.hex(), id=stix_id(name), value=name)
    await sink.apply(batch(sink, 1, made))
    feeder = Feeder(hub)
    record = domain(name, [0]).model_copy(update={"fingerprint": key.hex()})
    await feeder.put(record)


@pytest.mark.parametrize("asked", ["a.example", "A[.]example", "[domain-name:value = 'a.example']", "id", "key"])
async def test_explain(hub: Hub, asked: str) -> None:
    await decide(hub)
    [stored] = (await ask(hub, "/api/v1/explain", item="a.example"))[1]["items"]
    asked = {"id": stix_id("a.example"), "key": stored["fingerprint"]}.get(asked, asked)
    status, found = await ask(hub, "/api/v1/explain", item=asked)
    [item] = found["items"]
    alpha, beta = item["partners"]
    assert (status, item["kind"], item["value"], item["id"]) == (200, "domain", "a.example", stix_id("a.example"))
    assert (alpha["partner"], alpha["outcome"], alpha["rules"]) == ("alpha", "permit", ["P00"])
    assert [(copy["live"], copy["object"]["id"]) for copy in alpha["feed"]] == [(True, stix_id("a.example"))]
    assert beta == {
        "partner": "beta",
        "outcome": "deny",
        "rules": ["F02"],
        "obligations": {},
        "contributions": [{"source": "giver", "outcome": "deny", "rules": ["F02"], "obligations": {}}],
        "feed": [],
    }


async def test_explain_for_one_partner(hub: Hub) -> None:
    await decide(hub)
    _, found = await ask(hub, "/api/v1/explain", item="a.example", partner="beta")
    assert [p["partner"] for p in found["items"][0]["partners"]] == ["beta"]
    _, found = await ask(hub, "/api/v1/explain", item="a.example", partner="giver")
    assert found["items"][0]["partners"] == [
        {"partner": "giver", "outcome": "deny", "rules": [], "obligations": {}, "contributions": [], "feed": []}
    ]


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({}, 400, "item-missing"),
        ({"item": "nothing.example"}, 404, "item-unknown"),
        ({"item": "'; DROP TABLE feed"}, 404, "item-unknown"),
        ({"item": "[" * 9_000}, 404, "item-unknown"),
        ({"item": "a.example", "partner": "nobody"}, 404, "partner-unknown"),
    ],
)
async def test_explain_refuses(hub: Hub, params: dict[str, str], status: int, code: str) -> None:
    found = await ask(hub, "/api/v1/explain", **{k: v[:2_000] for k, v in params.items()})
    assert (found[0], found[1]["code"]) == (status, code)


async def test_explain_finds_a_copy_by_the_id_it_went_out_under(either_hub: Hub) -> None:
    sink = WitnessSink(either_hub)
    key = key_of("b.example").hex()
    await sink.apply(batch(sink, 1, decision(fingerprint=key, id="indicator--other", value="b.example")))
    await Feeder(either_hub).put(withdrawn("b.example", [1]))
    _, found = await ask(either_hub, "/api/v1/explain", item=stix_id("b.example"))
    [item] = found["items"]
    assert [(p["partner"], [c["live"] for c in p["feed"]]) for p in item["partners"]] == [("beta", [False])]


NOTHING = {"withdrawals": 0, "acknowledge": 0, "act": 0, "more": [], "oldest_hours": None, "reminders": 0}


async def test_status(either_hub: Hub) -> None:
    await decide(either_hub)
    sink = WitnessSink(either_hub)
    await sink.apply(batch(sink, 9, refusal("r1")))
    feeder = Feeder(either_hub)
    await feeder.sink.apply(feeder.batch(watermark=5)._replace(partition=3))
    suspend(either_hub, "beta")
    status, found = await ask(either_hub, "/api/v1/status")
    assert status == 200 and found == {
        "counts": {"denied.F02": 1, "items": 1, "outcome.deny": 1, "outcome.permit": 1, "versions": 1},
        "rejected": 1,
        "outbox": 0,
        "watermarks": {"3": 5},
        "policy": "0" * 64,
        "policy_version": 0,
        "policy_problem": None,
        "policy_waits": [],
        "connectors": {"connectors": [], "problem": None},
        "partners": [
            {"id": "alpha", "suspended": False, "receives": True, "owes": NOTHING},
            {"id": "beta", "suspended": True, "receives": False, "owes": NOTHING},
            {"id": "giver", "suspended": False, "receives": False, "owes": NOTHING},
        ],
    }


REPORT = {"seq": 3, "index": 0, "type": "indicator", "kind": "domain", "value": "a.example", "source": "giver"}


def rejected_report(id_: str = "r1") -> Rejected:
    value = encode(orjson.dumps(REPORT))
    fields = {"origin_topic": REPORTS.name, "key": encode(key_of("a.example")), "value": value, "source": "giver"}
    return refusal(id_, **fields)


async def keep(hub: Hub, *records: Rejected) -> None:
    sink = WitnessSink(hub)
    await sink.apply(batch(sink, 100, *records))


async def test_list_and_show(either_hub: Hub) -> None:
    await keep(either_hub, refusal("old", at="2026-10-01T00:00:00.000Z"), rejected_report("new"))
    _, found = await ask(either_hub, "/api/v1/rejected")
    assert [(r["id"], r["reason"], r["replayed_ms"]) for r in found["rejected"]] == [
        ("new", "no", None),
        ("old", "no", None),
    ]
    assert not any("value" in r for r in found["rejected"])
    assert [r["id"] for r in (await ask(either_hub, "/api/v1/rejected", limit="1", offset="1"))[1]["rejected"]] == [
        "old"
    ]
    status, shown = await ask(either_hub, "/api/v1/rejected/new")
    assert status == 200 and Rejected.model_validate(
        {k: v for k, v in shown.items() if k != "replayed_ms"}
    ) == rejected_report("new")
    assert (await ask(either_hub, "/api/v1/rejected/none"))[0] == 404
    assert (await ask(either_hub, "/api/v1/rejected", limit="many"))[0] == 400


async def test_a_report_is_replayed_as_it_was(either_hub: Hub) -> None:
    await keep(either_hub, rejected_report())
    woken: list[None] = []
    async with client_of(either_hub, woken) as client:
        headers = bearer(await token_for(either_hub, "staff", "staff"))
        response = await client.post("/api/v1/rejected/r1/replay", headers=headers)
        answer = orjson.loads(await response.read())
    assert response.status == 202 and len(woken) == 1
    [row] = await rows(either_hub, outbox)
    [parcel] = unpack(row.messages)
    assert (parcel.topic, parcel.key, orjson.loads(parcel.value)) == (REPORTS, key_of("a.example"), REPORT)
    stored = await find_submission(either_hub, answer["id"])
    assert stored and (stored.seq, stored.source, stored.taken) == (row.seq, "giver", 1)
    assert [r.replayed_ms for r in await rows(either_hub, rejected)] == [NOW_MS]


async def test_what_the_door_refused_goes_through_the_door_again(hub: Hub) -> None:
    indicator = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": "indicator--5b3f2b5e-0c1f-4d0a-9b0e-2a3b4c5d6e7f",
        "created": "2026-11-01T00:00:00.000Z",
        "modified": "2026-11-01T00:00:00.000Z",
        "pattern": "[domain-name:value = 'a.example']",
        "pattern_type": "stix",
        "valid_from": "2026-11-01T00:00:00.000Z",
    }
    await keep(hub, refusal("r1", stage="accept", source="giver", value=encode(orjson.dumps(indicator))))
    status, answer = await ask(hub, "/api/v1/rejected/r1/replay", "POST")
    assert status == 202, answer
    [row] = await rows(hub, outbox)
    [parcel] = unpack(row.messages)
    report = orjson.loads(parcel.value)
    assert (report["source"], report["kind"], report["value"]) == ("giver", "domain", "a.example")
    assert report["submission"] == answer["id"]


async def test_what_is_sent_through_again_is_no_newer_than_it_was(either_hub: Hub) -> None:
    """Else an old word of a source, mended, would take the place of a stricter one that it has sent since."""
    row = b"kind,value,tlp\ndomain,a.example,green\n"
    at = "2026-11-01T00:00:00.000Z"
    await keep(either_hub, refusal("r1", stage="accept", source="giver", value=encode(row), at=at))
    status, answer = await ask(either_hub, "/api/v1/rejected/r1/replay", "POST")
    assert status == 202, answer
    [waiting] = await rows(either_hub, outbox)
    [parcel] = unpack(waiting.messages)
    report = orjson.loads(parcel.value)
    times = ("received_ms", "created_ms", "modified_ms", "first_seen_ms", "last_seen_ms")
    assert {report[name] for name in times} == {parse_time(at)}
    stored = await find_submission(either_hub, answer["id"])
    assert stored and stored.received_ms == NOW_MS
    assert [r.replayed_ms for r in await rows(either_hub, rejected)] == [NOW_MS]


SIGHTING = {
    "type": "sighting",
    "spec_version": "2.1",
    "id": "sighting--5b3f2b5e-0c1f-4d0a-9b0e-2a3b4c5d6e7f",
    "created": "2026-11-01T00:00:00.000Z",
    "modified": "2026-11-01T00:00:00.000Z",
    "sighting_of_ref": "indicator--5b3f2b5e-0c1f-4d0a-9b0e-2a3b4c5d6e7f",
}


@pytest.mark.parametrize(
    "record",
    [
        refusal("r1", stage="accept", source="giver", value=encode(b"kind,value\nurl,http://a.example\n"), at="?"),
        refusal("r1", stage="accept", source="giver", value=encode(b"not anything {")),
        refusal("r1", stage="accept", source="giver", value=encode(b'{"type":"indicator"}')),
        refusal("r1", stage="accept", source="giver", value=encode(orjson.dumps(SIGHTING))),
        refusal("r1", stage="accept", source="giver"),
        refusal("r1", stage="accept", source="nobody", value=encode(b"a.example")),
        refusal("r1", stage="share", origin_topic="tocsin.cleared", value=encode(b"{}")),
        refusal("r1", stage="core", origin_topic=REPORTS.name, value=encode(b"\xff")),
        refusal("r1", stage="core", origin_topic=REPORTS.name, value=encode(b"[]")),
    ],
    ids=range(9),
)
async def test_what_can_not_be_replayed(hub: Hub, record: Rejected) -> None:
    await keep(hub, record)
    status, answer = await ask(hub, "/api/v1/rejected/r1/replay", "POST")
    assert (status, answer["code"]) == (409, "not-replayable") and answer["detail"]
    assert await rows(hub, outbox) == [] and [r.replayed_ms for r in await rows(hub, rejected)] == [None]
