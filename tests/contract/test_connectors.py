"""What every connector that pushes must hold, each against a partner's system of its own (tests/partners)."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import time
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from connectors.base import Manifest, Outcome, Settings
from connectors.registry import CONNECTORS, MANIFESTS
from schemas.errors import PartnerFailed, TocsinError
from schemas.feed import FeedRow
from tests.partners.rows import batches, row, withdrawn
from tests.partners.world import Mode, World
from tests.partners.worlds import WORLDS

ROOT = Path(__file__).resolve().parents[2]
PUSHERS = sorted(name for name, manifest in CONNECTORS.items() if manifest.push is not None)
CANARY = "canary-in-a-row"
ROWS = [
    row(f"{CANARY}-1.example", urgent=True),
    row(f"{CANARY}-2.example"),
    row(f"{CANARY}-3.example", category="spyware"),
    withdrawn(f"{CANARY}-4.example"),
]
is_code = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*").fullmatch


def behaving(*modes: Mode) -> pytest.MarkDecorator:
    """Each connector with each way in which its partner can behave, of these."""
    pairs = [(name, mode) for name in PUSHERS for mode in modes if name in WORLDS and mode in WORLDS[name].modes]
    return pytest.mark.parametrize("world", pairs, indirect=True, ids=lambda pair: "-".join(pair))


@pytest_asyncio.fixture(params=[(name, "takes") for name in PUSHERS], ids=PUSHERS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    name, mode = request.param
    async with WORLDS[name].make(tmp_path) as made:
        made.partner.mode = mode
        yield made


async def tried(world: World, rows: Sequence[FeedRow] = ROWS) -> Sequence[Outcome] | PartnerFailed:
    try:
        pusher = await world.pusher()
        outcomes = await pusher.push(rows)
        await pusher.close()
    except PartnerFailed as error:
        return error
    assert len(outcomes) == len(rows)
    return outcomes


# --- what is registered --------------------------------------------------------------------------------------


def test_every_pusher_has_a_world() -> None:
    assert sorted(WORLDS) == PUSHERS


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest.name)
def test_a_connector_says_what_it_is(manifest: Manifest) -> None:
    assert is_code(manifest.name.replace("_", "-"))
    assert manifest.summary and "\n" not in manifest.summary
    title = readme(manifest).splitlines()[0]
    assert title.startswith("# ") and manifest.name in title[2:].split(", ")
    assert issubclass(manifest.settings, Settings)
    assert set(manifest.destination) <= set(manifest.settings.model_fields)
    assert manifest.push or manifest.publish or manifest.pull or manifest.formats
    assert 1 <= manifest.push_rows <= 10_000 and manifest.every_seconds >= 1


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest.name)
def test_its_readme_names_every_setting(manifest: Manifest) -> None:
    for field in manifest.settings.model_fields:
        assert re.search(rf"\b{field}\b", readme(manifest)), f"{field} is not in its README.md"


def readme(manifest: Manifest) -> str:
    """Of the folder that it is in: what speaks with one kind of system in several ways is together."""
    folder = ROOT / "connectors" / manifest.settings.__module__.split(".")[1]
    return (folder / "README.md").read_text("utf-8")


def test_names_are_given_once() -> None:
    assert len(CONNECTORS) == len(MANIFESTS)


# --- what is pushed ------------------------------------------------------------------------------------------


async def test_what_is_taken_is_delivered(world: World) -> None:
    outcomes = await tried(world)
    assert not isinstance(outcomes, PartnerFailed)
    assert {outcome.state for outcome in outcomes} == {"delivered"}
    assert world.partner.held()


async def test_to_push_again_does_no_harm(world: World) -> None:
    pusher = await world.pusher()
    for rows in (ROWS, [ROWS[0]], ROWS[1:]):
        await pusher.push(rows)
    before = world.partner.held()
    for rows in (ROWS, ROWS, [ROWS[0]], ROWS[1:]):
        assert {outcome.state for outcome in await pusher.push(rows)} == {"delivered"}
    assert world.partner.held() == before


async def test_nothing_at_all_can_be_pushed(world: World) -> None:
    assert list(await (await world.pusher()).push([])) == []
    assert world.partner.held() == frozenset()


async def test_of_a_withdrawal_only_the_id_is_known(world: World) -> None:
    pusher = await world.pusher()
    outcomes = await pusher.push([withdrawn(f"{CANARY}-9.example")])
    assert outcomes[0].state in ("delivered", "nothing")
    assert f"{CANARY}-9" not in repr(world.partner.held())


@behaving("refuses")
async def test_what_the_partner_never_takes_is_refused(world: World) -> None:
    outcomes = await tried(world)
    assert not isinstance(outcomes, PartnerFailed)
    assert "refused" in {outcome.state for outcome in outcomes}
    assert {outcome.state for outcome in outcomes} <= {"refused", "delivered", "nothing"}
    assert all(is_code(outcome.reason) for outcome in outcomes if outcome.state == "refused")
    assert f"{CANARY}-2" not in repr(world.partner.held())


@behaving("later")
async def test_what_it_takes_later_comes_again_and_then_goes(world: World) -> None:
    match await tried(world):
        case PartnerFailed() as error:
            assert is_code(error.code) and error.after_seconds >= 0
        case outcomes:
            assert {outcome.state for outcome in outcomes} == {"retry"}
            assert all(is_code(outcome.reason) and outcome.after_seconds >= 0 for outcome in outcomes)
    world.partner.mode = "takes"
    outcomes = await tried(world)
    assert not isinstance(outcomes, PartnerFailed)
    assert {outcome.state for outcome in outcomes} == {"delivered"}


@behaving("lets-nobody-in", "talks-nonsense")
async def test_a_partner_that_fails_loses_nothing(world: World) -> None:
    failed = await tried(world)
    assert isinstance(failed, PartnerFailed)
    assert is_code(failed.code) and failed.what
    assert world.partner.held() == frozenset()


# --- what is said --------------------------------------------------------------------------------------------


@behaving("takes", "refuses", "later", "lets-nobody-in", "talks-nonsense")
async def test_no_log_or_error_has_contents_or_secrets(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await tried(world)
    # those of the partner's side are its own
    ours = [
        record for record in caplog.records if not record.name.startswith(("aiohttp.access", "mail", "asyncio"))
    ]
    said = [record.getMessage() + str(record.exc_text or "") for record in ours]
    if isinstance(answer, TocsinError):
        said += [str(answer), repr(answer), answer.where, answer.hint, *traceback.format_exception(answer)]
    else:
        said += [outcome.reason for outcome in answer]
    for secret in (CANARY, *world.secrets):
        assert not [line for line in said if secret in line], secret


async def test_settings_show_no_secret(world: World) -> None:
    for secret in world.secrets:
        if "path" not in secret:  # an address is a setting; what is in its path is the operator's to hide
            assert secret not in repr(world.settings)


# --- whatever may happen -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["steps", "time"])
async def test_it_can_be_cancelled_wherever_it_waits(world: World, by: str) -> None:
    """After one step of the loop, after two, and so on; or at many moments of the time that a push takes. What was
    interrupted is pushed again: in the end all is there, and nothing twice."""
    pusher, rounds = await world.pusher(), 30
    began = time.monotonic()
    await pusher.push(some_rows(0))
    took = time.monotonic() - began
    of_one_round = len(world.partner.held())
    for number in range(1, rounds):
        task = asyncio.create_task(pusher.push(some_rows(number)))
        if by == "time":
            await asyncio.sleep(took * number / rounds)
        else:
            for _ in range(number):
                await asyncio.sleep(0)
        task.cancel()
        (answer,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(answer, asyncio.CancelledError | list), answer
        assert {outcome.state for outcome in await pusher.push(some_rows(number))} == {"delivered"}
    assert len(world.partner.held()) == rounds * of_one_round


def some_rows(number: int) -> list[FeedRow]:
    names = [f"{letter}{number}.example" for letter in "abc"]
    return [row(names[0], urgent=True), row(names[1], category=f"of-{number}"), withdrawn(names[2])]


async def test_a_large_feed_takes_little_memory(world: World) -> None:
    pusher = await world.pusher()
    gc.collect()
    tracemalloc.start()
    pushed = 0
    for batch in batches(1_500, 50, 40_000):
        assert {outcome.state for outcome in await pusher.push(batch)} == {"delivered"}
        pushed += sum(len(one.body) for one in batch)
        world.partner.forget()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pushed > 60_000_000
    assert peak < 30_000_000
