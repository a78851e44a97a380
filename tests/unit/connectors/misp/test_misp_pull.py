"""Reading from a MISP and from a static feed: what is fetched, what is withdrawn, and what a lying one gets.

The fake follows MISP 2.5's OpenAPI for `events/restSearch` and `events/index`, and the shapes of `pymisp`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from pymisp import MISPEvent

from connectors import slices
from connectors.base import Pulled
from connectors.misp import pull_mapping as mapping
from connectors.registry import CONNECTORS
from schemas.errors import PartnerFailed
from services.accept import formats
from tests.contract.puller_worlds import misp_event, uuid
from tests.fakes import NOW_MS, source_agreement
from tests.pulled import SECRET, bodies, door, last_checkpoint, opened, pull, serving

AT = 1_700_000_000
HOUR_MS = 3_600_000


@dataclass
class Misp:
    """The events of a MISP, by number; one that is `hidden` is there and not shown."""

    events: dict[int, dict[str, Any]] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    ignores_pages: bool = False
    broken: set[str] = field(default_factory=set)

    def put(self, number: int, at: int = AT, attributes: int = 3, **more: Any) -> None:
        self.events[number] = {**misp_event(number, at, attributes), "id": str(number), "published": True, **more}

    def remove(self, number: int, attribute: int, at: int, soft: bool = False) -> None:
        event = self.events[number]
        if soft:
            event["Attribute"][attribute] |= {"deleted": True, "timestamp": str(at)}
        else:
            del event["Attribute"][attribute]
        event["timestamp"] = str(at)

    @property
    def shown(self) -> list[dict[str, Any]]:
        return [event for number, event in sorted(self.events.items()) if number not in self.hidden]

    async def rest(self, request: web.Request) -> web.StreamResponse:
        self.keys.add(request.headers.get("Authorization"))
        asked = orjson.loads(await request.read())
        self.asked.append({"path": request.path, **asked})
        if request.path == "/events/index":
            assert asked == {"minimal": 1}
            names = ("id", "uuid", "timestamp", "published")
            return web.json_response([{name: e[name] for name in names} for e in self.shown if e["Attribute"]])
        assert request.path == "/events/restSearch" and asked["returnFormat"] == "json"
        found = [e for e in self.shown if e["published"] or not asked.get("published")]
        if "uuid" in asked:
            self.fetched.append(asked["uuid"])
            assert asked["deleted"] == [0, 1]
            found = [e for e in found if e["uuid"] == asked["uuid"]]
            if asked["uuid"] in self.broken:
                return web.Response(status=500)
            return web.json_response({"response": [{"Event": e} for e in found]})
        assert asked["metadata"] is True
        if "tags" in asked:
            found = [e for e in found if {tag["name"] for tag in e.get("Tag", ())} & set(asked["tags"])]
        found = [e for e in found if int(e["timestamp"]) >= asked.get("timestamp", 0)]
        start = 0 if self.ignores_pages else (asked["page"] - 1) * asked["limit"]
        found = found[start : start + asked["limit"]]
        bare = [{name: value for name, value in e.items() if name != "Attribute"} for e in found]
        return web.json_response({"response": [{"Event": e} for e in bare]})

    async def static(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/feed/")
        if name == "manifest.json":
            return web.json_response(
                {e["uuid"]: {"info": e["info"], "timestamp": e["timestamp"]} for e in self.shown}
            )
        self.fetched.append(name.removesuffix(".json"))
        found = [e for e in self.shown if name == f"{e['uuid']}.json"]
        if not found or found[0]["uuid"] in self.broken:
            return web.Response(status=404)
        kept = [a for a in found[0]["Attribute"] if not a.get("deleted")]
        return web.json_response({"Event": {**found[0], "Attribute": kept}})


WAYS = ("rest", "static")


def settings(way: str, url: str, **more: Any) -> Mapping[str, Any]:
    if way == "static":
        return {"feed": f"{url}/feed", **more}
    return {"url": url, "key_file": "/key", "gone_hours": 0, "look_hours": 0, "page": 2, **more}


def values(pieces: Sequence[Pulled]) -> list[str]:
    events = [orjson.loads(body)["Event"] for body in bodies(pieces)]
    return [a["value"] for event in events for a in event["Attribute"] if not a.get("deleted")]


def pulls(way: str, url: str, **more: Any) -> Any:
    checkpoint: Mapping[str, Any] = {}

    async def step(**how: Any) -> list[Pulled]:
        nonlocal checkpoint
        pieces = await pull("misp", settings(way, url, **more), checkpoint, **how)
        checkpoint = last_checkpoint(pieces, checkpoint)
        return pieces

    return step


@pytest.mark.parametrize("way", WAYS)
async def test_only_events_that_changed_are_fetched(way: str) -> None:
    misp = Misp()
    for number in range(7):
        misp.put(number, AT + number)
    async with serving(getattr(misp, way)) as url:
        step = pulls(way, url)
        assert len(values(await step())) == 21
        assert misp.fetched == [uuid(number) for number in range(7)]
        for _ in range(2):
            misp.fetched.clear()
            assert values(await step()) == [] and misp.fetched == []
        misp.put(3, AT + 50, attributes=4)
        misp.put(9, AT + 2)  # older than what was seen, and new
        assert len(values(await step())) == 4 + (3 if way == "static" else 0)
        if way == "rest":
            misp.put(9, AT + 51)
            assert len(values(await step())) == 3
    assert misp.keys == (set() if way == "static" else {SECRET.decode()})


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("way", WAYS)
async def test_what_is_deleted_is_withdrawn(way: str, soft: bool, tmp_path: Path) -> None:
    misp = Misp()
    for number in range(4):
        misp.put(number, AT + number)
    # two events name one value: it stands as long as one of them does
    misp.events[1]["Attribute"][0]["value"] = misp.events[0]["Attribute"][0]["value"]
    async with serving(getattr(misp, way)) as url, door(tmp_path, snapshot=True) as at_the_door:
        step = pulls(way, url)

        async def live() -> int:
            await at_the_door.take(await step())
            return len(await at_the_door.live())

        assert await live() == 11
        misp.remove(2, 1, AT + 60, soft)
        assert await live() == 10
        misp.remove(0, 0, AT + 61, soft)
        assert await live() == 10
        for attribute in (2, 1, 0) if soft else (1, 0):
            misp.remove(2, attribute, AT + 62, soft)
        misp.events[2]["Attribute"].append(
            {"type": "text", "value": "nothing more", "uuid": uuid(5), "timestamp": "1"}
        )
        before = len(await at_the_door.live())
        assert await live() == before - 2, "an event without indicators holds nothing"
        del misp.events[3]
        assert await live() == before - 5
        misp.put(3, AT + 70)
        assert await live() == before - 2, "it is back"


@pytest.mark.parametrize("way", WAYS)
async def test_all_gone_at_once_is_a_fault(way: str) -> None:
    misp = Misp()
    misp.put(1)
    async with serving(getattr(misp, way)) as url:
        step = pulls(way, url)
        await step()
        misp.events.clear()
        with pytest.raises(PartnerFailed) as failed:
            await step()
    assert failed.value.code == "all-gone"


async def test_an_event_that_is_hidden_for_a_while_is_not_withdrawn() -> None:
    misp = Misp()
    misp.put(1)
    misp.put(2)
    async with serving(misp.rest) as url:
        step = pulls("rest", url, gone_hours=24)
        await step()
        misp.hidden = {2}
        for hours in (1, 20):
            assert not any(piece.feed for piece in await step(now_ms=NOW_MS + hours * HOUR_MS))
        misp.hidden = set()
        await step(now_ms=NOW_MS + 23 * HOUR_MS)
        misp.hidden = {2}
        for hours, ends in ((26, 0), (49, 0), (51, 1), (52, 0)):
            pieces = await step(now_ms=NOW_MS + hours * HOUR_MS)
            assert sum(bool(piece.feed) for piece in pieces) == ends, hours


async def test_what_is_not_published_is_not_read_and_not_withdrawn() -> None:
    misp = Misp()
    misp.put(1)
    misp.put(2, published=False)
    async with serving(misp.rest) as url:
        step = pulls("rest", url)
        assert len(values(await step())) == 3
        misp.put(1, AT + 9, attributes=1, published=False)
        assert not any(piece.feed for piece in await step())
        misp.events[1]["published"] = True
        assert len(values(await step())) == 1


async def test_filters_say_what_begins_to_be_read() -> None:
    misp = Misp()
    misp.put(1, Tag=[{"name": "tlp:green"}])
    misp.put(2, Tag=[{"name": "tlp:red"}])
    async with serving(misp.rest) as url:
        step = pulls("rest", url, filters={"tags": ["tlp:green"]})
        assert len(values(await step())) == 3
        # a source that narrows its word must be heard, though the filter no longer matches
        misp.put(1, AT + 9, Tag=[{"name": "tlp:red"}])
        [body] = bodies(await step())
        assert orjson.loads(body)["Event"]["Tag"] == [{"name": "tlp:red"}]


@pytest.mark.parametrize("way", WAYS)
async def test_one_event_that_can_not_be_had_holds_up_no_other(way: str) -> None:
    misp = Misp()
    for number in range(3):
        misp.put(number)
    misp.broken = {uuid(1)}
    async with serving(getattr(misp, way)) as url:
        got = []
        async with opened("misp", settings(way, url)) as puller, aclosing(puller.pull({})) as pieces:
            with pytest.raises(PartnerFailed) as failed:
                async for piece in pieces:
                    got.append(piece)
        assert failed.value.code in ("status-500", "not-there") and len(values(got)) == 6
        misp.broken.clear()
        misp.fetched.clear()
        rest = await pull("misp", settings(way, url), last_checkpoint(got))
        assert len(values(rest)) == 3 and misp.fetched == [uuid(1)]


async def test_a_server_that_knows_no_pages_or_whose_clock_is_ahead() -> None:
    misp = Misp(ignores_pages=True)
    misp.put(1, AT)
    misp.put(2, 4_000_000_000)
    async with serving(misp.rest) as url:
        step = pulls("rest", url)
        assert len(values(await step())) == 6
        await step()
        misp.put(3, NOW_MS // 1_000 + 5)
        misp.put(2, NOW_MS // 1_000 + 6, attributes=1)
        misp.ignores_pages = False
        assert len(values(await step())) == 4
    assert len(misp.asked) < 20


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ([], "not-misp"),
        ({"not a uuid": {"timestamp": 1}}, "not-misp"),
        ({"../../etc/passwd": {"timestamp": 1}}, "not-misp"),
        ({uuid(1): {}}, "not-misp"),
        ({uuid(1): {"timestamp": -5}}, "not-misp"),
        ({uuid(1): {"timestamp": "1e5"}}, "not-misp"),
        ({uuid(number): {"timestamp": 1} for number in range(50_001)}, "too-many-events"),
    ],
)
async def test_what_is_no_manifest(document: Any, code: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=orjson.dumps(document))

    async with serving(answer) as url:
        with pytest.raises(PartnerFailed) as failed:
            await pull("misp", {"feed": url})
    assert failed.value.code == code


async def test_another_event_than_the_one_that_was_asked_for() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("manifest.json"):
            return web.json_response({uuid(1): {"timestamp": 1}})
        return web.json_response({"Event": misp_event(2)})

    async with serving(answer) as url:
        with pytest.raises(PartnerFailed) as failed:
            await pull("misp", {"feed": url})
    assert failed.value.code == "not-misp"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"url": "https://a.example"},
        {"feed": "https://a.example", "key_file": "/k"},
        {"feed": "https://a.example", "url": "https://b.example"},
    ],
)
def test_settings_that_say_too_little_or_too_much(given: Any) -> None:
    with pytest.raises(ValueError, match=r"set one of|go together"):
        CONNECTORS["misp"].settings.model_validate(given)


def test_an_event_in_several_bodies_keeps_what_attributes_inherit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", 10)
    held = [{**each, "object_relation": "domain"} for each in misp_event(9)["Attribute"]]
    event = misp_event(1, attributes=35) | {
        "Tag": [{"name": "tlp:amber"}],
        "distribution": "0",
        "RelatedEvent": [{"Event": {"info": "of somebody else"}}],
        "Object": [{"name": "domain-ip", "uuid": uuid(7), "Attribute": held}],
    }
    parts = [part for part in mapping.parts(event) if part.body]
    assert len(parts) > 3
    said: list[tuple[str, Any]] = []
    for part in parts:
        assert b"of somebody else" not in part.body
        MISPEvent().load(part.body)  # as MISP's own library reads it
        reading = formats.read(part.body, "application/json", "x", source_agreement(), NOW_MS, 1 << 24)
        said += [(draft.value, draft.markings) for draft in reading.drafts]
    whole = formats.read(
        orjson.dumps({"Event": event}), "application/json", "x", source_agreement(), NOW_MS, 1 << 24
    )
    assert sorted(said) == sorted((draft.value, draft.markings) for draft in whole.drafts)
    assert len(said) == 38


@pytest.mark.parametrize("name", ["citizenlab_KeyBoy", "citizenlab_MissingLink", "eset_oceanlotus"])
def test_real_events_say_the_same_in_several_bodies(
    name: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", 20)
    raw = (shared / "data" / "misp" / f"{name}.json").read_bytes()

    def said(body: bytes) -> set[tuple[str, str, tuple[str, ...]]]:
        reading = formats.read(body, "application/json", "x", source_agreement(), NOW_MS, 1 << 24)
        return {(draft.kind, draft.value, draft.markings) for draft in reading.drafts}

    events = mapping.found(mapping.loads(raw, "x"), "x")
    parts = [part.body for event in events for part in mapping.parts(event) if part.body]
    assert len(parts) > 1 and set().union(*map(said, parts)) == said(raw)
