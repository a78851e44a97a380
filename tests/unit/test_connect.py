"""Connectors side by side: schedules, states, and that one which fails holds up none of the others."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from yarl import URL

from connectors.base import DELIVERED, Manifest, Outcome, Pulled, Settings, Tools
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow
from schemas.withdrawal import Withdrawal
from services import connect, connect_http
from services import connector_states as states
from services.accept import pull
from services.accept.door import Door
from services.connect import ConnectService
from services.connector_states import DAY_MS
from services.hub import Hub
from services.instances import read_instances
from services.problems import problem_documents
from services.share import deliver
from services.tables import connectors, snapshots, submissions
from services.tokens import Authenticator
from tests.fakes import NOW_MS, agreement, bearer, rows, token_for
from tests.unit.share.world import RECEIVES, Feeder, domain, feeds_hub, suspend

SECRET = "hunter2-and-more"


@dataclass
class World:
    """Everything that the made-up connectors see and do."""

    hub: Hub
    file: Path
    clock: list[int]
    pieces: list[Pulled] = field(default_factory=list)
    checkpoints: list[Mapping[str, Any]] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    fault: Callable[[], BaseException | None] = lambda: None
    opened: int = 0
    closed: int = 0
    hang: bool = False
    stubborn: bool = False
    close_fault: Callable[[], BaseException | None] = lambda: None

    async def closing(self) -> None:
        self.closed += 1
        if error := self.close_fault():
            raise error

    def manifests(self) -> dict[str, Manifest]:
        world = self

        class Pusher:
            async def push(self, given: Sequence[FeedRow]) -> Sequence[Outcome]:
                if world.hang:
                    await asyncio.Event().wait()
                while world.stubborn:
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(0.05)
                if error := world.fault():
                    raise error
                world.pushed += [row.value for row in given]
                return [DELIVERED] * len(given)

            async def close(self) -> None:
                await world.closing()

        class Puller:
            async def pull(self, checkpoint: Mapping[str, Any]) -> AsyncGenerator[Pulled]:
                world.checkpoints.append(checkpoint)
                for piece in world.pieces:
                    yield piece
                if error := world.fault():
                    raise error

            async def close(self) -> None:
                await world.closing()

        async def push(_settings: Any, _tools: Tools) -> Pusher:
            world.opened += 1
            return Pusher()

        async def pull(_settings: Any, _tools: Tools) -> Puller:
            world.opened += 1
            return Puller()

        return {"made-up": Manifest("made-up", "", MadeUp, push=push, pull=pull, destination=("url",))}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        service = ConnectService(self.hub, self.manifests(), Door(self.hub, lambda: None), random=Random(1))
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    async def states(self) -> dict[str, dict[str, Any]]:
        answer = await self.hub.store.read(connect_http.overview)
        return {one["name"]: one for one in answer["connectors"]}

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(20):
            while not await condition():  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.01)

    async def health(self, name: str, wanted: str) -> dict[str, Any]:
        async def is_so() -> bool:
            found = await self.states()
            return name in found and found[name]["health"] == wanted

        await self.until(is_so)
        return (await self.states())[name]


class MadeUp(Settings):
    url: str = "https://here.example"


def table(name: str, **values: Any) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"connector": "made-up", **values}.items()]
    return "\n".join([f"[{name}]", *lines, ""])


@pytest.fixture(params=["sqlite", "postgresql"])
def either_world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else ""
    return _world(tmp_path, monkeypatch, url)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return _world(tmp_path, monkeypatch)


def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str = "") -> World:
    monkeypatch.setattr(connect, "LOOK_SECONDS", 0.02)
    clock = [NOW_MS]
    partners = [agreement("meadow", receives=RECEIVES), agreement("kestrel", contributes=CONTRIBUTES)]
    hub = feeds_hub(tmp_path, partners, clock=lambda: clock[0], database=url)
    hub.settings = hub.settings.model_copy(update={"connectors": tmp_path / "connectors.toml"})
    return World(hub, tmp_path / "connectors.toml", clock)


CONTRIBUTES = {
    "reliability": "B",
    "defaults": {"tlp": "green", "consent": "not-required", "category": "phishing"},
    "snapshot": True,
}


@asynccontextmanager
async def staff(world: World) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application(middlewares=[problem_documents])
    connect_http.attach(app, world.hub, Authenticator(world.hub.store, world.hub.clock))
    async with TestClient(TestServer(app), headers=bearer(await token_for(world.hub, "staff", "staff"))) as client:
        yield client


def bundle(*names: str) -> bytes:
    return "\n".join(["type,value", *(f"domain,{name}" for name in names)]).encode()


# --- out ----------------------------------------------------------------------------------------------------------


async def test_nothing_goes_out_until_staff_let_it_and_again_when_its_place_changes(world: World) -> None:
    await Feeder(world.hub).put(domain("a.example", [0]))
    world.file.write_text(table("out", partner="meadow", does="push", url="https://one.example"))
    async with world.running(), staff(world) as client:
        await world.health("out", "waits")
        assert (await client.post("/api/v1/connectors/out/run")).status == 409
        assert world.opened == 0
        shown = await (await client.get("/api/v1/connectors/out")).json()
        stale = await client.post("/api/v1/connectors/out/acceptance", params={"destination": "0" * 64})
        assert (stale.status, (await stale.json())["code"]) == (409, "destination-changed")
        good = await client.post("/api/v1/connectors/out/acceptance", params={"destination": shown["destination"]})
        assert good.status == 200
        await world.health("out", "idle")
        assert world.pushed == ["a.example"]
        world.file.write_text(table("out", partner="meadow", does="push", url="https://two.example"))
        await world.health("out", "waits")
        await Feeder(world.hub).put(domain("b.example", [0], counter=9))
        await asyncio.sleep(0.1)
        assert world.pushed == ["a.example"]
    assert world.opened == world.closed


async def test_one_that_hangs_or_dies_holds_up_no_other(world: World) -> None:
    await Feeder(world.hub).put(domain("a.example", [0]))
    world.hang = True
    world.pieces = [Pulled(bundle("in.example"), "text/csv", "in.csv", checkpoint={"at": 1})]
    world.file.write_text(table("out", partner="meadow", does="push") + table("in", partner="kestrel", does="pull"))
    async with world.running(), staff(world) as client:
        await accept(client, "out")
        assert (await world.health("in", "idle"))["went"] == 1
        assert (await world.states())["out"]["health"] == "running"
    assert world.opened == world.closed  # also what was cut off in the middle


async def accept(client: TestClient[web.Request, web.Application], name: str) -> None:
    async with asyncio.timeout(10):
        path = f"/api/v1/connectors/{name}"
        while (shown := await client.get(path)).status != 200:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
    destination = (await shown.json())["destination"]
    answer = await client.post(f"/api/v1/connectors/{name}/acceptance", params={"destination": destination})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            PartnerFailed("slow", "it did not answer in time", where="https://here.example", hint="is it up?"),
            "slow",
        ),
        (ValueError(SECRET), "connector-error"),
        (RecursionError(SECRET), "connector-error"),
        (MemoryError(SECRET), "connector-error"),
        (asyncio.CancelledError(SECRET), "connector-error"),
        (BaseExceptionGroup(SECRET, [asyncio.CancelledError(SECRET)]), "connector-error"),
        (SystemExit(SECRET), "connector-error"),
        (OperationalError(SECRET, {}, ValueError(SECRET)), "connector-error"),
    ],
)
async def test_a_failure_is_a_state_with_what_to_do_and_later_tries(
    world: World, error: BaseException, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world.fault = lambda: error
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    async with world.running():
        first = await world.health("in", "failing")
        assert first["problem"]["code"] == code
        assert first["failures"] == 1
        assert 3_000 < first["next_ms"] - world.clock[0] < 7_000
        for failures in range(2, 5):
            world.clock[0] = (await world.states())["in"]["next_ms"] + 1
            async with staff(world) as client:
                await client.post("/api/v1/connectors/in/run")

            async def failed_again(wanted: int = failures) -> bool:
                return bool((await world.states())["in"]["failures"] >= wanted)

            await world.until(failed_again)
        last = (await world.states())["in"]
        assert last["next_ms"] - world.clock[0] > 20_000
        assert last["since_ms"] == first["since_ms"]
        world.fault = lambda: None
        async with staff(world) as client:
            await client.post("/api/v1/connectors/in/run")
        healed = await world.health("in", "idle")
        assert (healed["failures"], healed["problem"]) == (0, None)
    assert SECRET not in caplog.text
    assert SECRET not in json.dumps(last)


async def test_how_it_closes_changes_nothing_about_how_it_went(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.close_fault = lambda: ValueError(SECRET)
    world.fault = lambda: PartnerFailed("tls-invalid", "its certificate is not valid")
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    async with world.running():
        assert (await world.health("in", "failing"))["problem"]["code"] == "tls-invalid"
        world.fault = lambda: None
        world.clock[0] += 10_000_000
        async with staff(world) as client:
            await client.post("/api/v1/connectors/in/run")
        await world.health("in", "idle")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("how", ["close", "stubborn"])
async def test_no_connector_holds_up_the_end_or_the_others(
    world: World, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that raises instead of being cancelled, and one that does not let itself be cancelled at all."""
    monkeypatch.setattr(connect, "END_SECONDS", 0.2)
    monkeypatch.setattr(deliver, "END_SECONDS", 0.1)
    await Feeder(world.hub).put(domain("a.example", [0]))
    world.hang, world.stubborn = how == "close", how == "stubborn"
    world.close_fault = lambda: ValueError(SECRET)
    out = table("out", partner="meadow", does="push")
    world.file.write_text(out)
    loop = asyncio.get_running_loop()
    async with world.running(), staff(world) as client:
        await accept(client, "out")
        await world.health("out", "running")
        await asyncio.sleep(0.05)
        world.file.write_text(out + "every_seconds = 7\n" + table("in", partner="kestrel", does="pull"))
        await world.health("in", "idle")
        ending = loop.time()
    assert loop.time() - ending < 3
    world.stubborn = False
    await asyncio.sleep(0.1)


async def test_what_was_let_start_is_what_runs(world: World) -> None:
    """The file says another place already, which staff had let it send to; what runs knows the old one still."""
    await Feeder(world.hub).put(domain("a.example", [0]))
    world.file.write_text(table("out", partner="meadow", does="push", url="https://old.example"))
    async with world.running():
        await world.health("out", "waits")
        monday = read_instances(world.file, world.manifests())["out"]
        new = monday._replace(destination="f" * 64)

        def change(connection: Connection) -> None:
            states.enter(connection, [new], NOW_MS)
            states.change(connection, "out", accepted=new.destination, health="new", asked_ms=NOW_MS + 9)

        await world.hub.store.write(change)
        await asyncio.sleep(0.3)
    assert (world.opened, world.pushed) == (0, [])


async def test_what_waited_for_a_day_is_tried_before_it_is_given_up(world: World) -> None:
    await Feeder(world.hub).put(domain("a.example", [0]))
    world.fault = lambda: PartnerFailed("unreachable", "it can't be reached")
    world.file.write_text(table("out", partner="meadow", does="push"))
    async with world.running(), staff(world) as client:
        await accept(client, "out")
        await world.health("out", "failing")
    world.clock[0] = time.time_ns() // 1_000_000 + 2 * DAY_MS  # the feed goes by the real time
    world.fault = lambda: None
    async with world.running():
        state = await world.health("out", "idle")
    assert (state["dead"], world.pushed) == (0, ["a.example"])


@pytest.mark.parametrize("change", ["schedule", "clock"])
async def test_a_time_that_is_too_far_away_is_none(world: World, change: str) -> None:
    long = 7 * 86_400 if change == "schedule" else 60
    if change == "clock":
        world.clock[0] += 3_650 * DAY_MS
    world.file.write_text(table("in", partner="kestrel", does="pull", every_seconds=long))
    async with world.running():
        await world.until(lambda: done(world))
        runs = world.opened
        world.clock[0] = NOW_MS + 120_000
        world.file.write_text(table("in", partner="kestrel", does="pull", every_seconds=61))

        async def again() -> bool:
            return world.opened > runs

        await world.until(again)


async def done(world: World) -> bool:
    return "in" in (found := await world.states()) and found["in"]["health"] in ("idle", "failing")


async def test_a_partner_s_wish_to_be_left_alone_is_heard(world: World) -> None:
    world.fault = lambda: PartnerFailed("busy", "it is busy", after_seconds=7_200)
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    async with world.running():
        state = await world.health("in", "failing")
    assert state["next_ms"] - world.clock[0] >= 5_000_000


async def test_what_is_new_goes_out_at_once_whatever_the_schedule(world: World) -> None:
    world.file.write_text(table("out", partner="meadow", does="push", every_seconds=86_400))
    async with world.running(), staff(world) as client:
        await accept(client, "out")
        await world.health("out", "idle")
        await Feeder(world.hub).put(domain("a.example", [0]))

        async def is_out() -> bool:
            return world.pushed == ["a.example"]

        await world.until(is_out)
        await world.health("out", "idle")
        opened = world.opened
        await Feeder(world.hub).put(domain("theirs.example", [1], counter=5))
        await asyncio.sleep(0.2)
        assert world.opened == opened


# --- in -----------------------------------------------------------------------------------------------------------


async def test_a_pull_goes_on_from_where_it_was_stored_to(world: World) -> None:
    world.pieces = [
        Pulled(bundle("a.example"), "text/csv", "a.csv", checkpoint={"page": 1}),
        Pulled(bundle("b.example"), "text/csv", "a.csv", checkpoint={"page": 2}),
    ]
    world.fault = lambda: PartnerFailed("cut-off", "its answer was cut off")
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    async with world.running():
        state = await world.health("in", "failing")
    assert state["went"] == 2
    world.fault = lambda: None
    world.pieces = []
    world.clock[0] += 10_000_000
    async with world.running():
        await world.health("in", "idle")
    assert world.checkpoints[0] == {}
    assert world.checkpoints[-1] == {"page": 2}
    assert len(await rows(world.hub, submissions)) == 2


async def test_whether_a_piece_is_a_snapshot_is_said_by_the_piece(world: World) -> None:
    """The agreement says that what kestrel sends are snapshots; two pages of one feed are none."""
    world.pieces = [
        Pulled(bundle("a.example"), "text/csv", "a.csv", feed="f"),
        Pulled(bundle("b.example"), "text/csv", "a.csv", feed="f"),
    ]
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    async with world.running():
        await world.health("in", "idle")
    assert [row.taken for row in await rows(world.hub, submissions)] == [1, 1]  # a withdrawal would be a third
    world.pieces = [Pulled(bundle("b.example"), "text/csv", "a.csv", feed="g", snapshot=True)]
    world.pieces.append(Pulled(bundle("c.example"), "text/csv", "a.csv", feed="g", snapshot=True))
    world.clock[0] += 10_000_000
    async with world.running(), staff(world) as client:
        await client.post("/api/v1/connectors/in/run")

        async def two_more() -> bool:
            return len(await rows(world.hub, submissions)) >= 4

        await world.until(two_more)


async def test_feeds_of_two_connectors_do_not_withdraw_each_other_s_items(world: World) -> None:
    world.pieces = [Pulled(bundle("a.example"), "text/csv", "a.csv", feed="f", snapshot=True)]
    world.file.write_text(table("one", partner="kestrel", does="pull"))
    async with world.running():
        await world.health("one", "idle")
        world.pieces = [Pulled(bundle("b.example"), "text/csv", "a.csv", feed="f", snapshot=True)]
        world.file.write_text(table("two", partner="kestrel", does="pull"))
        await world.health("two", "idle")
    assert len(await rows(world.hub, snapshots)) == 2  # the second in the place of the first would be one


def test_the_names_of_feeds_are_told_apart_by_all_of_them() -> None:
    long = "https://feeds.example/" + "x" * 200
    names = {pull.feed_name("in", Pulled(feed=feed)) for feed in (long + "1", long + "2", "", "f")}
    assert len(names) == 4
    assert max(map(len, names)) <= 100


@pytest.mark.parametrize("how", ["suspended", "gone"])
async def test_who_may_not_contribute_any_more_brings_nothing_more_in(world: World, how: str) -> None:
    """In the middle of a fetch, which may take hours."""
    directory = world.hub.directory

    def cut_off() -> bytes:
        if how == "suspended":
            suspend(world.hub, "kestrel")
        else:
            world.hub.directory = replace(directory, agreements={"meadow": directory.agreements["meadow"]})
        return bundle("b.example")

    class Pieces(list[Pulled]):
        def __iter__(self) -> Iterator[Pulled]:
            yield Pulled(bundle("a.example"), "text/csv", "a.csv", checkpoint={"page": 1})
            yield Pulled(cut_off(), "text/csv", "b.csv", checkpoint={"page": 2})

    world.pieces = Pieces()
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    async with world.running():
        state = await world.health("in", "failing")
    assert state["problem"]["code"] in ("partner-unknown", "agreement-not-in-force")
    assert [row.taken for row in await rows(world.hub, submissions)] == [1]


async def test_a_checkpoint_is_nothing_to_whoever_has_the_name_now(world: World) -> None:
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    mine = read_instances(world.file, world.manifests())["in"]
    with world.hub.store.engine.begin() as connection:
        states.enter(connection, [mine], NOW_MS)
        [before] = states.states(connection)
        states.enter(connection, [mine._replace(partner="meadow")], NOW_MS)
    puller = await world.manifests()["made-up"].pull(None, cast("Tools", None))  # type: ignore[misc]
    world.pieces = [Pulled(bundle("a.example"), "text/csv", "a.csv", checkpoint={"page": 1})]
    await pull.Pulling(world.hub, mine, puller, before, Door(world.hub, lambda: None)).round()
    assert [(row.checkpoint, row.went) for row in await rows(world.hub, connectors)] == [("", 0)]


async def test_what_a_source_deleted_is_withdrawn(world: World) -> None:
    world.pieces = [
        Pulled(bundle("a.example"), "text/csv", "a.csv", checkpoint={"page": 1}),
        Pulled(withdrawal=Withdrawal(ids=("indicator--x",), why="revoked"), checkpoint={"page": 2}),
    ]
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    async with world.running():
        await world.health("in", "idle")
    assert len(await rows(world.hub, submissions)) == 2


async def test_what_can_t_be_read_is_kept_and_the_next_piece_comes(world: World) -> None:
    world.pieces = [Pulled(b"\x00\x01", "", "x.bin"), Pulled(bundle("a.example"), "text/csv", "a.csv")]
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    async with world.running():
        state = await world.health("in", "idle")
    assert (state["went"], state["refused"]) == (1, 1)


@pytest.mark.parametrize("partner", ["stranger", "meadow"])
async def test_who_may_not_contribute_brings_nothing_in(world: World, partner: str) -> None:
    world.pieces = [Pulled(bundle("a.example"), "text/csv", "a.csv")]
    world.file.write_text(table("in", partner=partner, does="pull"))
    async with world.running():
        state = await world.health("in", "failing")
    assert state["problem"]["code"] in ("partner-unknown", "not-a-contributor")
    assert await rows(world.hub, submissions) == []


# --- the file -----------------------------------------------------------------------------------------------------


async def test_a_file_that_is_wrong_changes_nothing_and_is_said_to_be(world: World) -> None:
    world.file.write_text(table("in", partner="kestrel", does="pull"))
    async with world.running():
        await world.health("in", "idle")
        world.file.write_text(table("in", partner="kestrel", does="pull", colour="red"))

        async def told() -> bool:
            return bool((await world.hub.store.read(connect_http.overview))["problem"])

        await world.until(told)
        world.file.write_text(table("in", partner="kestrel", does="pull", every_seconds=5))

        async def mended() -> bool:
            return not await told()

        await world.until(mended)


async def test_a_file_that_overwhelms_its_reader_ends_nobody(world: World) -> None:
    world.file.write_text(table("in", partner="kestrel", does="pull", every_seconds=1))
    async with world.running():
        await world.health("in", "idle")
        world.file.write_text("x = " + "[" * 20_000)

        async def told() -> bool:
            return bool((await world.hub.store.read(connect_http.overview))["problem"])

        await world.until(told)
        world.clock[0] += 10_000
        async with staff(world) as client:
            asked_ms = (await (await client.post("/api/v1/connectors/in/run")).json())["asked_ms"]

        async def ran() -> bool:
            return bool((await world.states())["in"]["done_ms"] >= asked_ms)

        await world.until(ran)


async def test_what_is_not_set_up_any_more_is_off_and_may_come_back(world: World) -> None:
    world.fault = lambda: PartnerFailed("slow", "it did not answer in time")
    text = table("in", partner="kestrel", does="pull")
    world.file.write_text(text)
    async with world.running(), staff(world) as client:
        await world.health("in", "failing")
        world.file.write_text(text + "off = true")
        shown = await world.health("in", "off")
        assert (shown["problem"], shown["failures"]) == (None, 0)
        refused = await client.post("/api/v1/connectors/in/run")
        assert (refused.status, (await refused.json())["code"]) == (409, "connector-off")
        world.fault = lambda: None
        world.clock[0] += 10_000
        world.file.write_text(text)
        await world.health("in", "idle")


async def test_staff_only(either_world: World) -> None:
    world = either_world
    app = web.Application(middlewares=[problem_documents])
    connect_http.attach(app, world.hub, Authenticator(world.hub.store, world.hub.clock))
    paths = [("GET", ""), ("GET", "/x"), ("POST", "/x/run"), ("POST", "/x/acceptance"), ("POST", "/x/retry")]
    async with TestClient(TestServer(app), headers=bearer(await token_for(world.hub, "meadow"))) as client:
        for method, path in paths:
            answer = await client.request(method, f"/api/v1/connectors{path}")
            assert answer.status == 404, path
            assert (await answer.json())["code"] == "not-found"
    async with staff(world) as client:
        for name in ("x", "a%00b", "%F0%9F%A6%A2", "x" * 4_000, "%2e%2e", "a%2Fb"):
            for method, path in paths[1:]:
                url = URL(f"/api/v1/connectors{path.replace('x', name)}", encoded=True)
                answer = await client.request(method, url)
                assert (answer.status, (await answer.json())["code"]) == (404, "connector-unknown"), (path, name)
