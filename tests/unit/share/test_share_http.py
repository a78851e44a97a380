"""The feeds over HTTP: who gets what, and that nobody can tell what others get."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from aiohttp import ClientResponse, encode_basic_auth, web
from aiohttp.test_utils import TestClient, TestServer

from services.accept.collection import OwnCollection
from services.accept.door import Door
from services.hub import Hub
from services.openapi import describe
from services.problems import problem_documents
from services.share import http as share
from services.share import taxii
from services.share.formats import FORMATS
from services.tables import feed
from services.tokens import Authenticator
from tests.fakes import NOW_MS, agreement, bearer, token_for
from tests.unit.share.world import (
    Feeder,
    body,
    cleared,
    copy,
    domain,
    feeds_hub,
    recipient,
    stix_id,
    suspend,
    withdrawn,
)

Client = TestClient[web.Request, web.Application]
TAXII = "application/taxii+json;version=2.1"
DAY_MS = 86_400_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = feeds_hub(tmp_path, [recipient("alpha"), recipient("beta"), agreement("giver")])
    yield made
    made.store.close()


@asynccontextmanager
async def client_of(hub: Hub) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[problem_documents])
    share.attach(app, hub, Authenticator(hub.store, hub.clock), OwnCollection(Door(hub, lambda: None)))
    async with TestClient(TestServer(app)) as client:
        yield client


def root(hub: Hub, name: str) -> str:
    return f"/taxii2/api/collections/{taxii.collection_id(hub.secret, name)}/"


async def get(client: Client, hub: Hub, path: str, name: str = "alpha", **params: str) -> ClientResponse:
    return await client.get(path, params=params, headers=bearer(await token_for(hub, name)))


async def objects(client: Client, hub: Hub, name: str = "alpha", **params: str) -> dict[str, Any]:
    response = await get(client, hub, root(hub, name) + "objects/", name, **params)
    assert response.status == 200, await response.text()
    return orjson.loads(await response.read())


# --- TAXII ------------------------------------------------------------------------------------------------


async def test_the_way_to_the_objects(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0]))
    async with client_of(hub) as client:
        found = await (await get(client, hub, "/taxii2/")).json(content_type=None)
        api_root = await (await get(client, hub, found["default"])).json(content_type=None)
        [one] = (await (await get(client, hub, f"{found['default']}collections/")).json(content_type=None))[
            "collections"
        ]
        again = await (await get(client, hub, f"{found['default']}collections/{one['id']}/")).json(
            content_type=None
        )
        assert found["default"] in found["api_roots"]
        assert api_root["versions"] == [TAXII] and api_root["max_content_length"] > 0
        assert one == again and (one["can_read"], one["can_write"]) == (True, False)
        assert (await objects(client, hub))["objects"] == [domain("a.example", [0]).copies[0].body]


async def test_headers_of_a_page(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0]), domain("b.example", [0]))
    async with client_of(hub) as client:
        for path in ("objects/", "manifest/", f"objects/{stix_id('a.example')}/versions/"):
            response = await get(client, hub, root(hub, "alpha") + path)
            assert response.headers["Content-Type"] == TAXII
            added = await hub.store.read(lambda c: c.scalars(sa.select(feed.c.added).order_by(feed.c.added)).all())
            assert response.headers["X-TAXII-Date-Added-First"] == taxii.date_added(added[0])
            last = added[0] if "versions" in path else added[1]
            assert response.headers["X-TAXII-Date-Added-Last"] == taxii.date_added(last)
            assert re.fullmatch(r".*\.\d{6}Z", response.headers["X-TAXII-Date-Added-Last"])
        empty = await get(client, hub, root(hub, "beta") + "objects/", "beta")
        assert (empty.status, await empty.read()) == (200, b"{}")
        assert not [name for name in empty.headers if name.lower().startswith("x-taxii")]


async def test_one_object_its_versions_and_the_manifest(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0]), domain("b.example", [0, 1]))
    id_, base = stix_id("a.example"), root(hub, "alpha")
    async with client_of(hub) as client:
        one = await (await get(client, hub, f"{base}objects/{id_}/")).json(content_type=None)
        versions = await (await get(client, hub, f"{base}objects/{id_}/versions/")).json(content_type=None)
        manifest = await (await get(client, hub, f"{base}manifest/")).json(content_type=None)
        assert [o["id"] for o in one["objects"]] == [id_]
        assert versions == {"more": False, "versions": [one["objects"][0]["modified"]]}
        assert [(m["id"], m["version"]) for m in manifest["objects"]] == [
            (stix_id(name), "2026-11-01T00:00:01.000Z") for name in ("a.example", "b.example")
        ]
        other = await get(client, hub, f"{base}objects/{id_}/", **{"match[version]": "2020-01-01T00:00:00.000Z"})
        assert (other.status, await other.read()) == (200, b"{}")


async def test_pages(hub: Hub) -> None:
    await Feeder(hub).put(*(domain(f"h{i}.example", [0]) for i in range(5)))
    async with client_of(hub) as client:
        found, params = list[str](), {"limit": "2"}
        while True:
            page = await objects(client, hub, **params)
            found += [o["id"] for o in page["objects"]]
            assert page["more"] is ("next" in page)
            if not page["more"]:
                break
            params = {"limit": "2", "next": page["next"], "added_after": "2020-01-01T00:00:00Z"}
        assert found == [stix_id(f"h{i}.example") for i in range(5)]


# what is asked, as whom, and the answer's status; {alpha} and {beta} are their collections
ANSWERS = [
    ("GET", "/taxii2/", None, {}, 401),
    ("GET", "{alpha}objects/", None, {}, 401),
    ("GET", "/taxii2/nothing/", None, {}, 401),
    ("GET", "/taxii2/", "alpha", {"Accept": "application/taxii+json;version=2.0"}, 406),
    ("GET", "{alpha}objects/", "alpha", {"Accept": "application/json"}, 406),
    ("GET", "{alpha}objects/", "alpha", {"Accept": "application/taxii+json"}, 200),
    ("GET", "{alpha}objects", "alpha", {}, 200),
    ("GET", "/taxii2", "alpha", {}, 200),
    ("HEAD", "{alpha}objects/", "alpha", {}, 200),
    ("GET", "{alpha}objects/?limit=0", "alpha", {}, 400),
    ("GET", "{alpha}objects/?limit=1&limit=1", "alpha", {}, 400),
    ("GET", "{alpha}objects/?added_after=now", "alpha", {}, 400),
    ("GET", "{alpha}objects/?next=x", "alpha", {}, 400),
    ("GET", "{alpha}objects/?match[type]=A", "alpha", {}, 400),
    ("GET", "{alpha}objects/%ff/", "alpha", {}, 404),
    ("GET", "/taxii2/api/collections/%ff/", "alpha", {}, 404),
    ("GET", "/taxii2/api/collections/%ED%A0%80/objects/", "alpha", {}, 404),
    ("GET", "{alpha}objects/?match[id]=%ff", "alpha", {}, 400),
    ("GET", "{alpha}objects/nonsense/", "alpha", {}, 404),
    ("GET", "{alpha}nothing/", "alpha", {}, 404),
    ("GET", "/taxii2/api/status/1/", "alpha", {}, 404),
    ("GET", "/taxii2/other/collections/", "alpha", {}, 404),
    ("GET", "{beta}", "alpha", {}, 404),
    ("GET", "{beta}objects/", "alpha", {}, 404),
    ("GET", "{beta}objects/?limit=0", "alpha", {}, 404),
    ("GET", "{beta}manifest/", "alpha", {}, 404),
    ("POST", "{beta}objects/", "alpha", {}, 404),
    ("GET", "{alpha}objects/", "staff", {}, 404),
    ("POST", "{alpha}objects/", "alpha", {}, 403),
    ("DELETE", "{alpha}objects/indicator--5b3f2b5e-0c1f-4d0a-9b0e-2a3b4c5d6e7f/", "alpha", {}, 403),
    ("POST", "{alpha}manifest/", "alpha", {}, 405),
    ("DELETE", "{alpha}objects/", "alpha", {}, 405),
    ("PUT", "{alpha}", "alpha", {}, 405),
    ("POST", "/taxii2/", "alpha", {}, 405),
]


@pytest.mark.parametrize(("method", "path", "who", "headers", "status"), ANSWERS)
async def test_answers(
    hub: Hub, method: str, path: str, who: str | None, headers: dict[str, str], status: int
) -> None:
    sent = dict(headers)
    if who:
        sent |= bearer(await token_for(hub, who, "staff" if who == "staff" else "partner"))
    path = path.format(alpha=root(hub, "alpha"), beta=root(hub, "beta"))
    async with client_of(hub) as client:
        response = await client.request(method, path, headers=sent)
        content = await response.read()
    assert response.status == status, content
    assert response.headers["Content-Type"] == TAXII
    if status >= 400 and method != "HEAD":
        assert orjson.loads(content)["http_status"] == str(status)
    assert ("WWW-Authenticate" in response.headers) is (status == 401)
    assert ("Allow" in response.headers) is (status == 405)


async def test_basic_authentication(hub: Hub) -> None:
    async with client_of(hub) as client:
        auth = encode_basic_auth("whoever", await token_for(hub, "alpha"))
        assert (await client.get("/taxii2/", headers={"Authorization": auth})).status == 200


async def test_staff_and_strangers_have_no_collection(hub: Hub) -> None:
    async with client_of(hub) as client:
        for name, scope in (("staff", "staff"), ("stranger", "partner"), ("alpha", "staff")):
            headers = bearer(await token_for(hub, name, scope))  # type: ignore[arg-type]
            response = await client.get("/taxii2/api/collections/", headers=headers)
            assert (response.status, await response.read()) == (200, b"{}")


def shape(response: ClientResponse, content: bytes) -> tuple[Any, ...]:
    """All that a client can see of an answer, but for times."""
    headers = {k: v for k, v in response.headers.items() if k not in ("Date", "X-TAXII-Date-Added-First")}
    headers.pop("X-TAXII-Date-Added-Last", None)
    return response.status, headers, content


async def test_what_others_have_looks_like_what_does_not_exist(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [1]))
    unknown_collection = root(hub, "nobody")
    unknown, theirs = stix_id("nothing.example"), stix_id("a.example")
    pairs = [
        (root(hub, "beta"), unknown_collection),
        (root(hub, "beta") + "objects/", unknown_collection + "objects/"),
        (root(hub, "alpha") + f"objects/{theirs}/", root(hub, "alpha") + f"objects/{unknown}/"),
        (root(hub, "alpha") + f"objects/{theirs}/versions/", root(hub, "alpha") + f"objects/{unknown}/versions/"),
        (root(hub, "alpha") + f"objects/?match[id]={theirs}", root(hub, "alpha") + f"objects/?match[id]={unknown}"),
        ("/api/v1/feed?partner=beta", "/api/v1/feed?partner=nobody"),
        ("/api/v1/feed?partner=beta", "/api/v1/nothing"),
    ]
    async with client_of(hub) as client:
        for one, other in pairs:
            answers = [await get(client, hub, path) for path in (one, other)]
            assert shape(answers[0], await answers[0].read()) == shape(answers[1], await answers[1].read()), one


async def test_a_hub_that_holds_more_answers_like_one_that_holds_less(tmp_path: Path) -> None:
    """beta asks two hubs that differ only in what others get there: every answer is the same but for times."""
    transcripts = []
    for extra in (False, True):
        folder = tmp_path / str(extra)
        folder.mkdir()
        hub = feeds_hub(folder, [recipient("alpha"), recipient("beta")])
        feeder = Feeder(hub)
        for turn in range(4):
            mine = [domain(f"m{turn}-{i}.example", [0, 1]) for i in range(3)]
            hidden = [domain(f"x{turn}-{i}.example", [0]) for i in range(5 if extra else 0)]
            shared = domain("both.example", [1], counter=turn + 1)
            red = copy([0], {**body("both.example"), "description": f"seen {turn}"})
            if extra:
                shared = shared.model_copy(update={"copies": (*shared.copies, red)})
            await feeder.put(*hidden, *mine, shared)
        await feeder.put(withdrawn("m0-0.example", [0, 1]))
        transcripts.append(await transcript(hub))
        hub.store.close()
    assert transcripts[0] == transcripts[1]


async def transcript(hub: Hub) -> list[Any]:
    answers: list[Any] = []
    async with client_of(hub) as client:
        paths = ["/taxii2/", "/taxii2/api/", "/taxii2/api/collections/", root(hub, "beta")]
        paths += [root(hub, "beta") + f"{kind}/?{q}" for kind in ("objects", "manifest") for q in FILTERS]
        paths += [
            root(hub, "beta") + f"objects/{stix_id(n)}/" for n in ("m0-0.example", "x0-0.example", "both.example")
        ]
        paths += [f"/api/v1/feed?format={name}" for name in ("stix", "csv", "spreadsheet", "none")]
        for path in paths:
            response = await get(client, hub, path, "beta")
            content = await response.read()
            answers.append((path, shape(response, _without_times(content))[0], _visible_headers(response)))
            answers.append(_without_times(content))
            for _ in range(20):
                page = orjson.loads(content) if response.headers["Content-Type"] == TAXII else {}
                if "next" not in page:
                    break
                response = await get(client, hub, path, "beta", next=page["next"])
                content = await response.read()
                answers.append((_without_times(content), _visible_headers(response)))
    return answers


FILTERS = ["", "limit=1", "limit=2", "limit=5", "match[type]=indicator", "match[spec_version]=2.0", "limit=0"]


def _visible_headers(response: ClientResponse) -> dict[str, str]:
    """Names of all headers, and the values of those that are no times and not opaque; lengths are of bodies that
    are compared themselves."""
    free = ("date", "etag", "x-taxii-date-added-first", "x-taxii-date-added-last")
    return {name: ("" if name.lower() in free else value) for name, value in response.headers.items()}


def _without_times(content: bytes) -> bytes:
    content = re.sub(rb'"(date_added)":"[^"]*"', rb'"\1":""', content)
    return re.sub(rb'"next":"[^"]{32}"|bundle--[0-9a-f-]{36}', b'"next":""', content)


@pytest.mark.parametrize("why", ["suspended", "ended"])
async def test_who_may_not_receive_any_more_sees_withdrawals_only(tmp_path: Path, why: str) -> None:
    times = [NOW_MS]
    hub = feeds_hub(tmp_path, [recipient("alpha")], clock=lambda: times[0])
    await Feeder(hub).put(domain("a.example", [0]), domain("b.example", [0]), withdrawn("c.example", [0]))
    async with client_of(hub) as client:
        first = await objects(client, hub, limit="1")
        assert len((await objects(client, hub))["objects"]) == 3
        if why == "suspended":
            suspend(hub, "alpha")
        else:
            times[0] += 800 * DAY_MS
        for params in ({}, {"next": first["next"]}, {"match[id]": stix_id("c.example")}):
            page = await objects(client, hub, **params)
            assert [o["id"] for o in page["objects"]] == [stix_id("c.example")]
            assert page["objects"][0]["revoked"] is True
        base = root(hub, "alpha")
        assert (await get(client, hub, f"{base}objects/{stix_id('a.example')}/")).status == 404
        assert (await (await get(client, hub, "/api/v1/feed", format="csv")).text()).count("\r\n") == 1
    hub.store.close()


async def test_who_only_contributes_has_an_empty_feed(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [2]))
    async with client_of(hub) as client:
        assert await objects(client, hub, "giver") == {}


async def test_a_failure_tells_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a.example is secret")

    monkeypatch.setattr("services.share.feeds.page", fail)
    async with client_of(hub) as client:
        response = await get(client, hub, root(hub, "alpha") + "objects/")
        assert response.status == 500 and b"a.example" not in await response.read()
        assert response.headers["Content-Type"] == TAXII


# --- whole files --------------------------------------------------------------------------------------------


async def test_the_feed_as_a_file(hub: Hub) -> None:
    await Feeder(hub).put(
        *(domain(f"h{i:04}.example", [0, 1]) for i in range(2_500)),
        withdrawn("w.example", [0]),
        domain("b.example", [1]),
    )
    async with client_of(hub) as client:
        stix = await get(client, hub, "/api/v1/feed", format="stix")
        bundle = orjson.loads(await stix.read())
        table = (await (await get(client, hub, "/api/v1/feed", format="csv")).text()).split("\r\n")
    assert len(bundle["objects"]) == 2_501 and sum(o.get("revoked", False) for o in bundle["objects"]) == 1
    assert table[0].startswith("id,kind,value,pattern,") and len(table) == 2_502
    assert stix.headers["Content-Disposition"] == 'attachment; filename="tocsin.json"'


async def test_the_etag_changes_if_and_only_if_the_file_does(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0, 1]))
    async with client_of(hub) as client:
        token = bearer(await token_for(hub, "alpha"))

        async def ask(etag: str = "", format_: str = "csv") -> tuple[int, str, bytes]:
            headers = token | ({"If-None-Match": etag} if etag else {})
            response = await client.get("/api/v1/feed", params={"format": format_}, headers=headers)
            return response.status, response.headers["ETag"], await response.read()

        status, etag, content = await ask()
        assert (status, content.count(b"\r\n")) == (200, 2)
        assert await ask(etag) == (304, etag, b"")
        assert (await ask(f'"other", W/{etag}'))[0] == 304
        assert (await ask(etag, "stix"))[0] == 200
        await feeder.put(domain("b.example", [1]), domain("c.example", [1, 2]))
        assert await ask(etag) == (304, etag, b"")
        await feeder.put(domain("d.example", [0]))
        status, newer, _ = await ask(etag)
        assert status == 200 and newer != etag
        await feeder.put(cleared("d.example", 2))
        assert (await ask(etag))[0] == 304
        assert (await get(client, hub, "/api/v1/feed", "beta", format="csv")).headers["ETag"] != etag


async def test_what_is_active_is_known_at_the_time_of_the_request(tmp_path: Path) -> None:
    """With the passing of time alone the file changes, and with it the ETag, in every format."""
    times = [NOW_MS]
    hub = feeds_hub(tmp_path, [recipient("alpha")], clock=lambda: times[0])
    ends = {"short.example": "2026-11-19T00:00:00.000Z", "long.example": "2027-11-19T00:00:00.000Z"}
    await Feeder(hub).put(
        *(domain(name, [0], active_until=end) for name, end in ends.items()),
        domain("ever.example", [0]),
        withdrawn("gone.example", [0]),
    )
    async with client_of(hub) as client:
        token = bearer(await token_for(hub, "alpha"))
        for format_ in FORMATS:
            tags = set[str]()
            for days, names in ((0, ["short", "long", "ever"]), (30, ["long", "ever"]), (400, ["ever"])):
                times[0] = NOW_MS + days * DAY_MS
                params = {"format": format_, "active": "true"}
                response = await client.get("/api/v1/feed", params=params, headers=token)
                text, tag = await response.text(), response.headers["ETag"]
                assert [name for name in ("short", "long", "ever") if f"{name}.example" in text] == names
                assert ('"revoked":true' in text) is (format_ == "stix")
                again = await client.get("/api/v1/feed", params=params, headers=token | {"If-None-Match": tag})
                assert again.status == 304
                tags.add(tag)
                everything = await client.get("/api/v1/feed", params={"format": format_}, headers=token)
                text = await everything.text()
                assert all(f"{name}.example" in text for name in ("short", "long", "ever"))
            assert len(tags) == 3
        times[0] = NOW_MS
        assert len((await objects(client, hub, active="true", min_score="100"))["objects"]) == 4
    hub.store.close()


@pytest.mark.parametrize("format_", list(FORMATS))
async def test_what_is_believed(hub: Hub, format_: str) -> None:
    feeder = Feeder(hub)
    # more than a page, so that the choice holds for every page
    await feeder.put(*(domain(f"h{i:04}.example", [0], score=i % 100) for i in range(2_500)))
    async with client_of(hub) as client:

        async def ask(least: int) -> tuple[int, str]:
            response = await get(client, hub, "/api/v1/feed", format=format_, min_score=str(least))
            return (await response.text()).count("[domain-name:value"), response.headers["ETag"]

        (everything, all_), (half, of_half) = await ask(0), await ask(50)
        assert (everything, half, (await ask(100))[0]) == (2_500, 1_250, 0)
        lower = domain("h0099.example", [0], score=10).model_copy(update={"counter": 2})
        await feeder.put(lower)
        assert (await ask(50)) != (half, of_half) and (await ask(50))[0] == 1_249
        assert ((await ask(0))[1] == all_) is (format_ == "stix")


FEED_ANSWERS = [
    *(("alpha", "partner", f"active={v}", 400, "parameter-invalid") for v in ("", "yes", "True", "1", "true%00")),
    *(
        ("alpha", "partner", f"min_score={v}", 400, "parameter-invalid")
        for v in ("", "101", "-1", "1.5", "٣", "1e1")
    ),
    ("alpha", "partner", "min_score=00000000000000000001", 400, "parameter-invalid"),
    ("alpha", "partner", "active=true&active=true", 400, "parameter-twice"),
    ("alpha", "partner", "min_score=1&min_score=2", 400, "parameter-twice"),
    ("alpha", "partner", "active=false&min_score=100&format=csv", 200, ""),
    ("alpha", "partner", "active=true&min_score=0", 200, ""),
    ("stranger", "partner", "active=yes", 404, "not-found"),
    ("alpha", "partner", "format=pdf", 400, "format-unknown"),
    ("alpha", "partner", "format=csv&format=csv", 400, "parameter-twice"),
    ("alpha", "partner", "partner=alpha", 200, ""),
    ("alpha", "partner", "partner=beta", 404, "not-found"),
    ("alpha", "partner", "partner=nobody", 404, "not-found"),
    ("alpha", "partner", "partner=nobody&format=pdf", 404, "not-found"),
    ("stranger", "partner", "", 404, "not-found"),
    ("staff", "staff", "", 400, "partner-missing"),
    ("staff", "staff", "partner=beta", 200, ""),
    ("staff", "staff", "partner=nobody", 404, "partner-unknown"),
]


@pytest.mark.parametrize(("name", "scope", "query", "status", "code"), FEED_ANSWERS)
async def test_feed_answers(hub: Hub, name: str, scope: Any, query: str, status: int, code: str) -> None:
    async with client_of(hub) as client:
        response = await client.get(f"/api/v1/feed?{query}", headers=bearer(await token_for(hub, name, scope)))
        content = await response.read()
        assert response.status == status
        assert not code or orjson.loads(content)["code"] == code
        assert (await client.get(f"/api/v1/feed?{query}")).status == 401


async def test_head_of_a_feed(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0]))
    async with client_of(hub) as client:
        response = await client.head("/api/v1/feed", headers=bearer(await token_for(hub, "alpha")))
        assert response.status == 200 and response.headers["ETag"] and await response.read() == b""


async def test_the_interfaces_description_names_what_a_feed_can_be_asked(hub: Hub) -> None:
    async with client_of(hub) as client:
        paths = describe(client.app, "1")["paths"]
    summary = paths["/api/v1/feed"]["get"]["summary"]
    assert all(f"{name}=" in summary for name in ("format", "partner", "active", "min_score"))
