"""The TAXII client against servers that a test makes: their ways, their faults, and their lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aiohttp import web
from pydantic import ValidationError

from connectors.base import Pulled
from connectors.taxii import MANIFEST, client, mapping
from schemas.errors import PartnerFailed
from tests.contract.puller_worlds import indicator
from tests.fakes import NOW_MS
from tests.pulled import SECRET, bodies, last_checkpoint, objects, opened, pull, serving

TAXII = "application/taxii+json;version=2.1"
START = datetime(2026, 11, 1, tzinfo=UTC)


def date(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass
class Server:
    """A server with one collection of objects and the times at which they were added, and with its ways."""

    added: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    gives_next: bool = True
    gives_more: bool = True
    gives_dates: bool = True
    heeds_added_after: bool = True
    loops: bool = False
    same_token: bool = False
    """As medallion: a `next` that stays the same while the server counts on."""
    forgets: bool = False
    ahead: timedelta = timedelta(0)
    cuts_dates: bool = False
    media_type: str = TAXII
    asked: list[Mapping[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    counted: int = 0

    def add(self, *numbers: int, at: float | None = None) -> None:
        self.added += [(date(number if at is None else at), indicator(number)) for number in numbers]
        self.added.sort(key=lambda entry: entry[0])

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(request.headers)
        if request.path == "/taxii2/":
            return self.json({"title": "a", "default": "/api/", "api_roots": ["/api/"]})
        if request.path == "/api/":
            return self.json({"title": "a", "versions": [TAXII], "max_content_length": 1000})
        if request.path == "/api/collections/":
            listed = [
                {"id": "c1", "title": "One", "alias": "first", "can_read": True},
                {"id": "c2", "title": "Two", "can_read": False},
            ]
            return self.json({"collections": listed})
        if request.path != "/api/collections/c1/objects/":
            return web.Response(status=404)
        self.asked.append(dict(request.query))
        return self.page(request.query)

    def page(self, query: Mapping[str, str]) -> web.Response:
        start = 0
        if "added_after" in query and self.heeds_added_after:
            after = datetime.fromisoformat(query["added_after"])
            start = sum(at <= after for at, _ in self.added)
        if token := query.get("next"):
            if self.forgets:
                return self.json({"title": "next not valid"}, 400)
            start = self.counted if self.same_token else int(token)
        if self.loops:
            start = 0
        found = self.added[start : start + int(query["limit"])]
        self.counted = start + len(found)
        document: dict[str, Any] = {"objects": [each for _, each in found]} if found else {}
        more = self.loops or self.counted < len(self.added)
        if self.gives_more and found:
            document["more"] = more
        if more and self.gives_next:
            document["next"] = "token" if self.same_token else str(self.counted)
        dates = {}
        if found and self.gives_dates:
            first, last = (self.shown(at) for at in (found[0][0], found[-1][0]))
            dates = {"X-TAXII-Date-Added-First": first, "X-TAXII-Date-Added-Last": last}
        return self.json(document, **dates)

    def shown(self, at: datetime) -> str:
        at += self.ahead
        return at.strftime("%Y-%m-%dT%H:%M:%SZ") if self.cuts_dates else mapping.written(at)

    def json(self, document: Any, status: int = 200, **headers: str) -> web.Response:
        body = orjson.dumps(document)
        return web.Response(body=body, status=status, headers={**headers, "Content-Type": self.media_type})


def numbers(pieces: Sequence[Pulled]) -> list[int]:
    return [int(each["pattern"].partition("-")[2].rpartition("-")[2].partition(".")[0]) for each in shown(pieces)]


def shown(pieces: Sequence[Pulled]) -> list[dict[str, Any]]:
    return [{**each, "pattern": each["pattern"].replace("domain-name", "domain")} for each in objects(pieces)]


WAYS: Mapping[str, Callable[[Server], None]] = {
    "as the standard has it": lambda server: None,
    "no more, only next": lambda server: setattr(server, "gives_more", False),
    "no next, only more": lambda server: setattr(server, "gives_next", False),
    "one next for all pages": lambda server: setattr(server, "same_token", True),
    "a media type without a version": lambda server: setattr(server, "media_type", "application/taxii+json"),
    "the media type of 2.0": lambda server: setattr(server, "media_type", "application/vnd.oasis.taxii+json"),
    "dates that are cut off": lambda server: setattr(server, "cuts_dates", True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [6, 50])
async def test_each_object_comes_once_whatever_the_ways_of_the_server(way: str, size: int) -> None:
    server = Server()
    WAYS[way](server)
    server.add(*range(10))
    server.add(*range(10, 14), at=11)  # several at one instant
    async with serving(server.answer) as url:
        settings = {"url": f"{url}/taxii2/", "page": size}
        first = await pull("taxii", settings)
        assert sorted(numbers(first)) == list(range(14))
        checkpoint = last_checkpoint(first)
        if not server.cuts_dates:
            server.add(14, at=11)  # at the very instant that was the last one
        server.add(15, 16)
        second = await pull("taxii", settings, checkpoint)
        assert sorted(numbers(second)) == ([15, 16] if server.cuts_dates else [14, 15, 16])
        third = await pull("taxii", settings, last_checkpoint(second))
        assert numbers(third) == []
        quiet = await pull("taxii", settings, last_checkpoint(third, last_checkpoint(second)))
        assert quiet == []


async def test_a_new_version_comes_and_a_revocation() -> None:
    server = Server()
    server.add(1, 2)
    async with serving(server.answer) as url:
        settings = {"url": f"{url}/api/"}
        first = await pull("taxii", settings)
        server.added.append((date(60), {**indicator(1), "modified": "2026-11-02T00:00:00.000Z", "revoked": True}))
        second = await pull("taxii", settings, last_checkpoint(first))
        assert [(each["id"], each["revoked"]) for each in objects(second)] == [(indicator(1)["id"], True)]


async def test_a_walk_goes_on_by_next_where_it_was_interrupted() -> None:
    server = Server()
    server.add(*range(10))
    async with serving(server.answer) as url:
        settings = {"url": f"{url}/api/", "page": 3}
        first = await pull("taxii", settings, at_most=2)
        rest = await pull("taxii", settings, last_checkpoint(first))
        assert numbers(first) + numbers(rest) == list(range(10))
        assert server.asked[-2]["next"] == "6"


async def test_a_next_that_was_forgotten_costs_nothing() -> None:
    server = Server()
    server.add(*range(6))
    server.add(*range(6, 12), at=7)
    async with serving(server.answer) as url:
        settings = {"url": f"{url}/api/", "page": 4}
        first = await pull("taxii", settings, at_most=2)
        server.forgets = True
        with pytest.raises(PartnerFailed) as failed:  # it forgets what it gives at once
            await pull("taxii", settings, last_checkpoint(first))
        assert failed.value.code == "next-refused"
        rest = await pull("taxii", {**settings, "page": 50}, last_checkpoint(first))
        assert sorted(numbers(first) + numbers(rest)) == list(range(12))


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({"loops": True}, "pages-loop"),
        ({"loops": True, "gives_next": False}, "page-stuck"),
        ({"loops": True, "same_token": True}, "pages-loop"),
        ({"ahead": timedelta(days=400)}, "clock-ahead"),
        ({"gives_dates": False}, "dates-missing"),
        ({"media_type": "text/html"}, "media-type"),
    ],
)
async def test_lies(lie: Mapping[str, Any], code: str) -> None:
    server = Server(**lie)
    server.add(*range(10))
    async with serving(server.answer) as url:
        with pytest.raises(PartnerFailed) as failed:
            await pull("taxii", {"url": f"{url}/api/", "page": 4 if server.loops else 50})
    assert failed.value.code == code and len(server.asked) < 10


@pytest.mark.parametrize("size", [4, 50])
async def test_a_server_that_ignores_added_after(size: int) -> None:
    server = Server()
    server.add(*range(10))
    async with serving(server.answer) as url:
        settings = {"url": f"{url}/api/", "page": size}
        checkpoint = last_checkpoint(await pull("taxii", settings))
        server.heeds_added_after = False
        with pytest.raises(PartnerFailed) as failed:
            await pull("taxii", settings, checkpoint)
    assert failed.value.code == "added-after-ignored"


async def test_more_at_one_instant_than_fits_on_a_page_without_next() -> None:
    server = Server(gives_next=False)
    server.add(*range(10), at=1)
    async with serving(server.answer) as url:
        with pytest.raises(PartnerFailed) as failed:
            await pull("taxii", {"url": f"{url}/api/", "page": 4})
        assert failed.value.code == "page-stuck"
        assert sorted(numbers(await pull("taxii", {"url": f"{url}/api/", "page": 50}))) == list(range(10))


NO_TIMES = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
)
"""Next to these nothing can be reckoned with."""


@pytest.mark.parametrize("document", [[], {"objects": {}}, {"objects": [1]}, {"next": 5}, {"next": "x" * 3_000}])
async def test_what_is_no_page(document: Any) -> None:
    server = Server()
    server.page = lambda query: server.json(document)  # type: ignore[method-assign]
    async with serving(server.answer) as url:
        with pytest.raises(PartnerFailed) as failed:
            await pull("taxii", {"url": f"{url}/api/"})
    assert failed.value.code in ("not-taxii", "next-invalid")


@pytest.mark.parametrize("text", ["yesterday", "2026-11-01T00:00:00", "2026-11-01", "x" * 100, *NO_TIMES])
async def test_what_is_no_date(text: str) -> None:
    server = Server()
    server.page = lambda query: server.json(  # type: ignore[method-assign]
        {"objects": [indicator(1)]}, **{"X-TAXII-Date-Added-Last": text}
    )
    async with serving(server.answer) as url:
        with pytest.raises(PartnerFailed) as failed:
            await pull("taxii", {"url": f"{url}/api/"})
    assert failed.value.code == "date-invalid"


async def test_collections_by_id_alias_or_title() -> None:
    server = Server()
    server.add(1)
    async with serving(server.answer) as url:
        for name in ("c1", "first", "One"):
            assert numbers(await pull("taxii", {"url": f"{url}/taxii2/", "collections": [name]})) == [1]
        for names in (["c2"], ["nothing"], ["c1", "nothing"]):
            got = []
            async with (
                opened("taxii", {"url": f"{url}/taxii2/", "collections": names}) as puller,
                aclosing(puller.pull({})) as pieces,
            ):
                with pytest.raises(PartnerFailed) as failed:
                    async for piece in pieces:
                        got.append(piece)
            assert failed.value.code == "collection-missing" and numbers(got) == ([1] if "c1" in names else [])


@pytest.mark.parametrize(
    ("settings", "shown_as"),
    [
        ({"token_file": "/x"}, f"Bearer {SECRET.decode()}"),
        ({"user": "hub", "password_file": "/x"}, "Basic aHViOmEtc2VjcmV0LXRoYXQtbm9ib2R5LW1heS1yZWFk"),
        ({}, None),
    ],
)
async def test_how_it_is_let_in(settings: Mapping[str, str], shown_as: str | None) -> None:
    server = Server()
    async with serving(server.answer) as url:
        await pull("taxii", {"url": f"{url}/taxii2/", **settings})
    assert {headers.get("Authorization") for headers in server.headers} == {shown_as}
    assert {headers["Accept"] for headers in server.headers} == {TAXII}


def test_what_lets_us_in_is_shown_to_no_host_in_the_clear() -> None:
    def settings(host: str) -> object:
        return MANIFEST.settings(url="https://a.example/taxii2/", hosts=[host], token_file="/x")  # type: ignore[call-arg]

    assert settings("https://b.example")
    with pytest.raises(ValidationError, match="https"):
        settings("http://b.example")


async def test_pages_that_are_too_large_become_smaller() -> None:
    server = Server()
    server.added = [(date(number), indicator(number, description="x" * 1_000_000)) for number in range(100)]
    async with serving(server.answer) as url:
        got = await pull("taxii", {"url": f"{url}/api/", "page": 100})
    assert len(objects(got)) == 100 and len(bodies(got)) > 6
    assert {asked["limit"] for asked in server.asked} == {"100", "50"}


@pytest.mark.parametrize("gives_next", [True, False])
async def test_a_date_in_the_future_hides_nothing_that_comes_before_it(gives_next: bool) -> None:
    server = Server(gives_next=gives_next)
    now = (datetime.fromtimestamp(NOW_MS / 1_000, UTC) - START).total_seconds()
    for number in range(9):
        server.add(number, at=now - 60 + number)
    server.add(9, at=now + 80_000)
    async with serving(server.answer) as url:
        settings = {"url": f"{url}/api/", "page": 4}
        first = await pull("taxii", settings)
        assert sorted(numbers(first)) == list(range(10))
        server.add(10, at=now + 60)
        second = await pull("taxii", settings, last_checkpoint(first))
        assert numbers(second) == [10]
        assert numbers(await pull("taxii", settings, last_checkpoint(second))) == []


async def test_names_and_addresses_that_are_none() -> None:
    server = Server()
    listed: dict[str, Any] = {"collections": [{"id": "c1", "alias": ["first"], "title": {}}]}
    for resource in ({"api_roots": ["http://["]}, {"default": "https://[::1"}):
        with pytest.raises(PartnerFailed, match="no resource of TAXII"):
            mapping.api_roots(resource, "https://a.example/", "x")
    assert mapping.collections(listed, ["first"], "x") == {} and server.asked == []


async def test_what_is_kept_of_many_collections_is_bounded_too() -> None:
    ids = [f"c{number}" for number in range(600)]

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/api/":
            document: Any = {"title": "a", "versions": [TAXII], "max_content_length": 1000}
        elif request.path == "/api/collections/":
            document = {"collections": [{"id": id_, "title": id_, "can_read": True} for id_ in ids]}
        else:
            document = {"objects": [{"type": "x", "id": number} for number in range(200)]}
        added = {"X-TAXII-Date-Added-Last": "2026-11-01T00:00:00Z", "Content-Type": TAXII}
        return web.Response(body=orjson.dumps(document), headers=added)

    async with serving(answer) as url:
        settings = {"url": f"{url}/api/"}
        checkpoint = last_checkpoint(await pull("taxii", settings))
        assert len(checkpoint["collections"]) == 600 and len(orjson.dumps(checkpoint)) < 2_000_000
        ids[:] = ["c1", "another"]
        assert len(last_checkpoint(await pull("taxii", settings, checkpoint))["collections"]) == 2
        ids[:] = map(str, range(1_000))
        ids.append("one more")
        with pytest.raises(PartnerFailed):
            await pull("taxii", settings)


def test_what_is_kept_of_a_walk_is_bounded() -> None:
    walk = client.Walk()
    for start in range(0, 20_000, 1_000):
        keys = [f"{number:016x}" for number in range(start, start + 1_000)]
        page = mapping.Page([{}], True, "next", None, datetime.fromtimestamp(NOW_MS / 1_000, UTC), keys, "")
        walk = walk.turned(page, True, "x", NOW_MS)
    assert len(walk.seen) == mapping.MAX_SEEN and walk.seen[-1] == f"{19_999:016x}"
    assert len(orjson.dumps(walk.model_dump(mode="json"))) < 100_000
