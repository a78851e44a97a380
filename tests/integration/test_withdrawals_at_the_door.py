"""What a source's ids live for: what stands in the end after several submissions, on both databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from schemas.errors import BodyRefused
from schemas.known import Known
from schemas.rejected import Rejected, encode
from schemas.report import Report, with_seq
from schemas.topics import REPORTS
from services.accept import aliases, inbox, packing, resolving
from services.accept import door as accept_door
from services.accept.framing import unpack
from services.accept.names import Overtaken
from services.dedupe.merge import merge
from services.hub import Hub
from services.store import Store
from services.tables import aliases as alias_table
from services.tables import metadata, outbox, rejected, snapshots, waiting, waiting_ends
from services.web import application
from tests.fakes import NOW_MS, accept_client, bearer, make_hub, rows, source_agreement, token_for

PATH = "/api/v1/submissions"
NEUTRAL = "withdrawn.invalid"
X, Y = "domain:x.example", "domain:y.example"
FAMILY = "stix:malware:m"


def day(number: int) -> str:
    return f"2026-01-{number:02}T00:00:00.000Z"


def id_of(type_: str, number: int) -> str:
    return f"{type_}--00000000-0000-4000-8000-{number:012}"


def thing(type_: str, number: int, at: int = 1, **more: Any) -> dict[str, Any]:
    head = {
        "type": type_,
        "spec_version": "2.1",
        "id": id_of(type_, number),
        "created": day(1),
        "modified": day(at),
    }
    return head | more


def host(number: int, *names: str, at: int = 1, **more: Any) -> dict[str, Any]:
    pattern = " OR ".join(f"domain-name:value = '{name}'" for name in names)
    return thing("indicator", number, at, pattern=f"[{pattern}]", pattern_type="stix", valid_from=day(1), **more)


def over(number: int, at: int, name: str = NEUTRAL) -> dict[str, Any]:
    return host(number, name, at=at, revoked=True)


def nothing(number: int, at: int) -> dict[str, Any]:
    return host(number, "x", at=at) | {"pattern": "[email-addr:value = 'nothing']"}


def link(at: int = 1, **more: Any) -> dict[str, Any]:
    ends = {"source_ref": id_of("indicator", 1), "target_ref": id_of("malware", 1)}
    return thing("relationship", 1, at, **({"relationship_type": "indicates"} | ends | more))


MALWARE = thing("malware", 1, name="m", is_family=True)


def bundle(*objects: Any) -> dict[str, Any]:
    return {"type": "bundle", "id": id_of("bundle", 0), "objects": list(objects)}


def event(*attributes: Any, **more: Any) -> dict[str, Any]:
    return {"Event": {"info": "made up", "timestamp": "1767225600", "Attribute": list(attributes), **more}}


def attribute(value: str, number: int = 0, at: int = 1, **more: Any) -> dict[str, Any]:
    uuid = {"uuid": f"00000000-0000-4000-8000-{number:012}"} if number else {}
    return {"type": "domain", "value": value, "timestamp": str(1767225600 + (at - 1) * 86400), **uuid, **more}


@dataclass
class World:
    """A source, and what the core would know of its items."""

    hub: Hub
    client: TestClient[web.Request, web.Application]
    token: dict[str, str]
    applied: int = 0
    known: dict[tuple[str, str], Known] = field(default_factory=dict)

    async def send(self, document: Any, status: int = 202, **params: str) -> dict[str, Any]:
        body = document if isinstance(document, bytes) else orjson.dumps(document)
        response = await self.client.post(PATH, data=body, params=params, headers=self.token)
        assert response.status == status, await response.text()
        await self.apply()
        answer: dict[str, Any] = await response.json()
        return answer

    async def apply(self) -> None:
        """What the relay and the core would do."""
        for row in sorted(await rows(self.hub, outbox), key=lambda row: row.seq):
            if row.seq <= self.applied:
                continue
            self.applied = row.seq
            for parcel in unpack(row.messages):
                if parcel.topic is REPORTS:
                    report = Report.from_bytes(with_seq(parcel.value, row.seq))
                    place = (parcel.key.hex(), report.identity)
                    heard = merge(self.known.get(place), report, parcel.key, "n", NOW_MS, 0)
                    if heard:
                        self.known[place] = heard.known

    @property
    def live(self) -> set[str]:
        found = set()
        for item in self.known.values():
            name = "link" if item.type == "relationship" else f"{item.kind}:{item.value}"
            words = {**item.contributions, **item.waiting}.values()
            found |= {name for word in words if not (word.gone or word.revoked or word.withdrawn)}
        return found

    async def status(self, answer: dict[str, Any]) -> dict[str, Any]:
        response = await self.client.get(f"{PATH}/{answer['id']}", headers=self.token)
        document: dict[str, Any] = await response.json()
        return document

    async def refused(self) -> list[Rejected]:
        """What the last submission refused, which the witness would keep."""
        last = max(await rows(self.hub, outbox), key=lambda row: row.seq)
        return [Rejected.from_bytes(p.value) for p in unpack(last.messages) if p.topic is not REPORTS]

    async def keep(self, record: Rejected) -> None:
        values = record.model_dump(include={"id", "stage", "code", "source", "submission", "at"})
        values["record"] = record.to_bytes()
        await self.hub.store.write(lambda connection: connection.execute(rejected.insert().values(values)))

    async def replay(self, document: Any, feed: str = "") -> int:
        """As if the door had refused it once. Gives the status of the answer."""
        number = len(await rows(self.hub, rejected))
        await self.keep(
            Rejected(
                id=f"r{number}", stage="accept", code="made-up", reason="", origin="submission s ", at=day(20),
                source="alpha", submission="s", feed=feed, value=encode(orjson.dumps(document)),
            )
        )  # fmt: skip
        app = application(self.hub, lambda: None)
        async with TestClient(TestServer(app)) as client:
            staff = bearer(await token_for(self.hub, "staff", "staff"))
            response = await client.post(f"/api/v1/rejected/r{number}/replay", headers=staff)
        await self.apply()
        return response.status


async def made(request: pytest.FixtureRequest, folder: Path, snapshot: bool) -> AsyncIterator[World]:
    hub = make_hub(folder, [source_agreement("alpha", snapshot=snapshot)])
    if request.param == "postgresql":
        hub.store.close()
        store = Store(str(request.getfixturevalue("postgres_url")))
        metadata.create_all(store.engine)
        hub = replace(hub, store=store)
    async with accept_client(hub) as client:
        yield World(hub, client, bearer(await token_for(hub, "alpha")))
    hub.store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for each in made(request, tmp_path, snapshot=False):
        yield each


@pytest.fixture(params=["sqlite", "postgresql"])
async def feeds(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for each in made(request, tmp_path, snapshot=True):
        yield each


# --- what stands --------------------------------------------------------------------------------------------------

BOTH = A, B = "x.example", "y.example"
CASES: list[tuple[str, list[Any], set[str]]] = [
    ("another id still names it", [bundle(host(1, A), host(2, A)), bundle(host(1, B, at=2))], {X, Y}),
    ("no other id names it", [bundle(host(1, A)), bundle(host(1, B, at=2))], {Y}),
    ("the other id of several names", [bundle(host(1, A), host(2, *BOTH)), bundle(over(1, 2))], {X, Y}),
    ("one of several names", [bundle(host(1, *BOTH)), bundle(host(1, A, at=2))], {X}),
    ("the id of several names moved on", [bundle(host(1, A), host(2, *BOTH)), bundle(host(2, "z.example", at=2)),
                                          bundle(over(1, 2))], {"domain:z.example"}),
    ("a row without id", [event(attribute(A, 1)), event(attribute(B, 1, at=2), attribute(A))],
     {X, Y}),
    ("a row without id, and a revocation", [event(attribute(A, 1)),
                                            event(attribute(A, 1, at=2, deleted=True), attribute(A))], {X}),
    ("an attribute is deleted", [event(attribute(A, 1)), event(attribute(A, 1, at=2, deleted=True))], set()),
    ("an object is deleted", [event(attribute(A, 1)),
                              event(Object=[{"deleted": True, "Attribute": [attribute(A, 1, at=2)]}])], set()),
    ("an attribute becomes a comment", [event(attribute(A, 1)),
                                        event(attribute("so so", 1, at=2, type="comment"))], set()),
    ("an older attribute was a comment", [event(attribute(A, 1, at=2)),
                                          event(attribute("so so", 1, type="comment"))], {X}),
    ("an older attribute was deleted", [event(attribute(A, 1, at=2)), event(attribute(A, 1, deleted=True))], {X}),
    ("an unknown attribute is deleted", [event(attribute(A, 1, deleted=True))], set()),
    ("deleted before it comes", [event(attribute(A, 1, at=2, deleted=True)), event(attribute(A, 1))], set()),
    ("deleted and back", [event(attribute(A, 1, deleted=True)), event(attribute(A, 1, at=2))], {X}),
    ("a pattern names nothing any more", [bundle(host(1, A)), bundle(nothing(1, 2))], set()),
    ("a pattern names nothing, another does", [bundle(host(1, A), host(2, A)), bundle(nothing(1, 2))], {X}),
    ("a revocation before its object", [bundle(over(1, 5)), bundle(host(1, A))], set()),
    ("a revocation before a newer object", [bundle(over(1, 5)), bundle(host(1, A, at=6))], {X}),
    ("revoked and sent again", [bundle(host(1, A)), bundle(over(1, 1)), bundle(host(1, A))], set()),
    ("revoked and newer", [bundle(host(1, A)), bundle(over(1, 2)), bundle(host(1, A, at=3))], {X}),
    ("revoked under an id, and another", [bundle(host(1, A)), bundle(over(1, 5)), bundle(host(9, A, at=3))],
     {X}),
    ("one of two is revoked", [bundle(host(1, A)), bundle(host(2, A)), bundle(over(2, 3))], {X}),
    ("one of two is revoked by its pattern", [bundle(host(1, A)), bundle(host(2, A)),
                                                bundle(over(2, 3, A))], {X}),
    ("the older word is revoked", [bundle(host(1, A)), bundle(host(2, A, at=2)), bundle(over(1, 3))], {X}),
    ("the newer word is revoked", [bundle(host(1, A, at=3)), bundle(host(2, A, at=2)), bundle(over(1, 4))],
     {X}),
    ("both are revoked", [bundle(host(1, A, at=3), host(2, A)), bundle(over(2, 4)), bundle(over(1, 4))],
     set()),
    ("both in the other order", [bundle(host(1, A)), bundle(host(2, A, at=2)), bundle(over(1, 4)),
                                 bundle(over(2, 4))], set()),
    ("an unknown id is revoked", [bundle(host(1, A)), bundle(over(2, 3, A))], {X}),
    ("one that waits is revoked", [bundle(link(1)), bundle(link(5, revoked=True)), bundle(host(1, A), MALWARE)],
     {X, FAMILY}),
    ("a revocation waits", [bundle(link(5, revoked=True)), bundle(link(1)), bundle(host(1, A), MALWARE)],
     {X, FAMILY}),
    ("what waits is not replaced by an older one",
     [bundle(link(5, relationship_type="uses")), bundle(link(1)), bundle(host(1, A), MALWARE)],
     {X, FAMILY, "link"}),
    ("too large", [bundle(host(1, A)), bundle(host(1, B, at=2, description="d" * 140_000))], {X}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sent", "live"), CASES, ids=[name for name, *_ in CASES])
async def test_what_stands(world: World, name: str, sent: list[Any], live: set[str]) -> None:
    for document in sent:
        refused = "too-large" if name == "too large" else name.startswith("a revocation before")
        status = 422 if refused and document is (sent[-1] if name == "too large" else sent[0]) else 202
        await world.send(document, status)
    assert world.live == live
    if "waits is not replaced" in name:
        assert [k.value.split()[0] for k in world.known.values() if k.type == "relationship"] == ["uses"]


async def test_it_is_said_what_a_revocation_does(world: World) -> None:
    await world.send(bundle(host(1, "x.example"), host(2, "x.example")))
    [item] = (await world.status(await world.send(bundle(over(2, 3)))))["items"]
    assert (item["fate"], "not withdrawn" in item["reason"]) == ("noted", True)
    await world.send(bundle(over(1, 3)))
    [item] = (await world.status(await world.send(bundle(host(1, "x.example")))))["items"]
    assert (item["fate"], "revoked this object" in item["reason"]) == ("skipped", True)


async def test_both_ids_let_go_at_once(world: World) -> None:
    """Neither submission may take the id that the other one changes for a live one."""
    await world.send(bundle(*(host(n, f"h{n % 5}.example") for n in range(15))))
    await asyncio.gather(
        world.send(bundle(*(over(n, 2) for n in range(5)))),
        world.send(bundle(*(host(n, "y.example", at=2) for n in range(5, 10)))),
        world.send(bundle(*(nothing(n, 2) for n in range(10, 15)))),
    )
    await world.apply()
    assert world.live == {Y}


async def test_an_id_that_moves_is_told(world: World) -> None:
    await world.send(bundle(host(1, "x.example"), MALWARE, link()))
    answer = await world.send(bundle(host(1, "y.example", at=2)))
    assert [note.partition(":")[0] for note in answer["notes"]] == ["ids-moved"]
    assert (await world.send(bundle(host(1, "y.example", at=3))))["notes"] == []


async def test_what_woke_and_is_refused_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await world.send(bundle(link()))
    monkeypatch.setattr(resolving, "MAX_PAIRS", 1)
    second = await world.send(bundle(host(1, *BOTH), MALWARE))
    assert second["notes"] == []
    [record] = await world.refused()
    await world.keep(record)
    document = await world.status(first)
    [item] = document["items"]
    assert (document["taken"], document["refused"], item["fate"], item["code"]) == (
        0,
        1,
        "refused",
        "too-many-pairs",
    )


# --- waiting ------------------------------------------------------------------------------------------------------


def uses(number: int) -> dict[str, Any]:
    ends = {"source_ref": id_of("malware", 1), "target_ref": id_of("tool", number)}
    return thing("relationship", number, relationship_type="uses") | ends


async def test_what_wakes_at_once_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "MAX_WOKEN", 4)
    await world.send(bundle(*map(uses, range(10))))
    left = []
    for _ in range(4):
        await world.send(bundle(MALWARE))
        left.append((len(await rows(world.hub, waiting_ends)), sum(r.ripe for r in await rows(world.hub, waiting))))
    assert left == [(16, 6), (12, 2), (10, 0), (10, 0)], "each is looked at once for each end that comes"
    await world.send(bundle(*(thing("tool", n, name=f"t{n}") for n in range(10))))
    for _ in range(2):
        await world.send(bundle(host(1, "x.example")))
    assert (await rows(world.hub, waiting), await rows(world.hub, waiting_ends)) == ([], [])
    assert sum(item.type == "relationship" for item in world.known.values()) == 10


async def test_looking_for_what_waits_uses_its_ends(world: World) -> None:
    await world.send(bundle(*map(uses, range(200))))
    asked: list[str] = []
    sa.event.listen(world.hub.store.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    await world.send(bundle(*(host(n, f"h{n}.example") for n in range(100))))
    [query] = [text for text in asked if "FROM waiting_ends JOIN waiting" in text]
    assert "waiting.source" not in query.partition("WHERE")[2]


async def test_what_is_refused_after_others_came_first_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.send(bundle(host(1, A)))
    store, prepare, called = inbox.store_submission, packing.prepare, Counter[str]()

    async def overtaken(*args: Any) -> int:
        called["store"] += 1
        if called["store"] == 1:
            raise Overtaken
        return await store(*args)

    def refusing(*args: Any) -> packing.Packed:
        called["prepare"] += 1
        if called["prepare"] == 2:
            raise BodyRefused("too-large-unfolded", "", hint="", status=413)
        return prepare(*args)

    monkeypatch.setattr(accept_door, "store_submission", overtaken)
    monkeypatch.setattr(accept_door, "prepare", refusing)
    answer = await world.send(bundle(host(2, B)), 413)
    assert answer["code"] == "too-large-unfolded"
    assert [record.code for record in await world.refused()] == ["too-large-unfolded"]


# --- snapshots ----------------------------------------------------------------------------------------------------


async def test_an_id_of_two_feeds(feeds: World) -> None:
    await feeds.send(bundle(host(1, "x.example")), feed="f")
    await feeds.send(b"kind,value\ndomain,x.example\n", feed="g")
    await feeds.send(bundle(host(1, "y.example", at=2)), feed="f")
    assert feeds.live == {X, Y}, "a row of another feed still says it"
    await feeds.send(bundle(host(1, "x.example", at=3)), feed="f")
    await feeds.send(bundle(over(1, 4), host(3, "z.example")), feed="f")
    assert feeds.live == {"domain:z.example"}


async def test_an_id_that_left_its_feed_names_nothing(feeds: World) -> None:
    await feeds.send(bundle(host(1, "x.example"), host(2, *BOTH), host(3, "z.example")), feed="f")
    await feeds.send(bundle(host(3, "z.example")), feed="f")
    assert feeds.live == {"domain:z.example"}
    await feeds.send(bundle(host(3, "z.example"), host(4, "x.example")), feed="f")
    await feeds.send(bundle(host(3, "z.example"), over(4, 2)), feed="f")
    assert feeds.live == {"domain:z.example"}
    await feeds.send(bundle(host(3, "z.example"), host(1, "x.example"), host(5, "x.example")), feed="f")
    await feeds.send(bundle(host(3, "z.example"), host(1, "x.example"), over(5, 2)), feed="f")
    assert feeds.live == {X, "domain:z.example"}, "it came again, and lives again"


async def test_what_waits_and_is_in_the_feed_no_more(feeds: World) -> None:
    await feeds.send(bundle(link(), host(1, "x.example")), feed="f")
    await feeds.send(bundle(host(1, "x.example"), MALWARE), feed="f")
    assert (feeds.live, await rows(feeds.hub, waiting)) == ({X, FAMILY}, [])


async def test_what_wakes_is_held_by_its_feed(feeds: World) -> None:
    await feeds.send(bundle(link(), host(1, "x.example")), feed="f")
    await feeds.send(bundle(MALWARE), feed="g")
    assert feeds.live == {X, FAMILY, "link"}
    await feeds.send(bundle(MALWARE, thing("tool", 1, name="t")), feed="g")
    assert feeds.live == {X, FAMILY, "link", "stix:tool:t"}
    await feeds.send(bundle(host(1, "x.example")), feed="f")
    assert feeds.live == {X, FAMILY, "stix:tool:t"}


async def test_names_of_feeds(feeds: World) -> None:
    first = await feeds.send(bundle(host(1, "x.example"), host(2, "y.example")), feed="f", name="24.json")
    second = await feeds.send(bundle(host(2, "y.example")), feed="f", name="25.json")
    assert ["first snapshot under the name 'f'" in note for note in first["notes"]] == [True]
    assert (second["notes"], feeds.live) == (["snapshot: 1 items that this feed holds no more are withdrawn"], {Y})
    for bad in ("", "f" * 101):
        assert (await feeds.send(bundle(), 400, feed=bad))["code"] == "parameter-invalid"


EMPTY = [
    bundle(),
    event(attribute("x.example", 1, at=1, deleted=True)),
    b"kind,value\n",
]


@pytest.mark.parametrize("empty", EMPTY, ids=["bundle", "event", "table"])
async def test_an_empty_snapshot(feeds: World, empty: Any) -> None:
    await feeds.send(bundle(host(7, "x.example"), host(8, "y.example")), feed="f")
    answer = await feeds.send(empty, feed="f")
    assert (feeds.live, "empty=true" in answer["notes"][-1]) == ({X, Y}, True)
    answer = await feeds.send(empty, feed="f", empty="true")
    assert (feeds.live, "2 items" in answer["notes"][-1]) == (set(), True)


async def test_partly_refused_snapshots_do_not_pile_up(feeds: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_HELD", 12)
    for n in range(5):
        await feeds.send(bundle(*(host(10 * n + i, f"h{n}-{i}.example") for i in range(5)), {"type": "indicator"}))
    assert (len(await rows(feeds.hub, snapshots)), len(feeds.live)) == (12, 12)


async def test_very_much_is_withdrawn_in_portions(feeds: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await feeds.send(bundle(*(host(i, f"h{i}.example") for i in range(30))))
    monkeypatch.setattr(packing, "MAX_TOTAL_BYTES", 6_000)
    counts, notes = [], []
    for _ in range(4):
        notes += (await feeds.send(bundle(host(99, "x.example"))))["notes"]
        counts.append(len(feeds.live))
    assert 1 < counts[1] < counts[0] < 31 and counts[-1] == 1
    assert ["more with the next" in note for note in notes] == [n > 1 for n in counts]


# --- replay -------------------------------------------------------------------------------------------------------


async def test_what_is_replayed_can_be_changed_and_revoked(world: World) -> None:
    assert await world.replay(host(1, "x.example")) == 202
    await world.send(bundle(host(1, "y.example", at=2)))
    assert world.live == {Y}
    assert await world.replay(host(1, "x.example")) == 409, "a newer version has come since"
    assert world.live == {Y}
    assert await world.replay(over(1, 3)) == 202
    assert world.live == set()


async def test_what_is_replayed_belongs_to_its_feed(feeds: World) -> None:
    await feeds.send(bundle(host(2, "y.example")), feed="f")
    assert await feeds.replay(host(1, "x.example"), feed="f") == 202
    assert feeds.live == {X, Y}, "a part of a snapshot withdraws nothing"
    await feeds.send(bundle(host(2, "y.example")), feed="f")
    assert feeds.live == {Y}


async def test_a_rejection_keeps_the_name_of_its_feed(feeds: World) -> None:
    await feeds.send(bundle(host(1, "x.example"), {"type": "indicator"}), feed="f")
    assert [record.feed for record in await feeds.refused()] == ["f"]
    await feeds.send(b"<x/>", 415, feed="g")
    assert [record.feed for record in await feeds.refused()] == ["g"]


# --- bounds -------------------------------------------------------------------------------------------------------


async def test_ids_of_a_source_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "MAX_ALIASES", 20)
    monkeypatch.setattr(aliases, "COUNTED_EVERY", 1)
    for n in range(10):
        await world.send(
            bundle(*(host(10 * n + i, f"h{i}.example", at=n + 1) for i in range(4)), over(900 + n, 1, "o.example"))
        )
    kept = await rows(world.hub, alias_table)
    assert len(kept) == 20
    assert sum(row.state for row in kept) == 0, "what is revoked goes first"
    assert len(world.live) == 4
    await world.send(bundle(*(over(90 + i, 20) for i in range(4))))
    assert world.live == {f"domain:h{i}.example" for i in range(4)}, "newer ids than these are live"
