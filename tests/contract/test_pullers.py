"""What every connector that pulls has to hold: see `connectors.base.Puller`. A new one needs a world."""

from __future__ import annotations

import asyncio
import csv
import io
import logging
from collections.abc import Iterable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from connectors.base import Pulled
from connectors.registry import MANIFESTS
from schemas.errors import PartnerFailed
from tests.contract.puller_worlds import CANARY, GIB, WORLDS, World
from tests.pulled import SECRET, bodies, last_checkpoint, opened, pull, serving

PULLERS = [manifest.name for manifest in MANIFESTS if manifest.pull is not None]
MAX_GROWN_BYTES = 320 * 1024 * 1024


def items(pieces: Iterable[Pulled]) -> list[str]:
    """The items in bodies, in whichever form they are."""
    found: list[str] = []
    for body in (piece.body for piece in pieces if piece.body):
        if body.startswith(b"{"):
            document = orjson.loads(body)
            held = document["Event"]["Attribute"] if "Event" in document else document["objects"]
            found += [orjson.dumps(each).decode() for each in held]
        else:
            found += [repr(row) for row in list(csv.reader(io.StringIO(body.decode(), newline="")))[1:]]
    return found


@pytest.fixture(params=PULLERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(name: str) -> World:
    assert name in WORLDS, f"{name} pulls, and has no world in tests/contract/puller_worlds.py"
    return WORLDS[name]


async def answer(world: World, request: web.Request) -> web.StreamResponse:
    return world.answer(request)


async def test_all_there_is_comes_once_and_then_nothing(name: str, world: World, tmp_path: Path) -> None:
    async with serving(partial(answer, world)) as url:
        settings = world.settings(url, tmp_path)
        pieces = await pull(name, settings)
        found = items(pieces)
        assert len(found) == len(set(found)) == world.whole
        for _ in range(2):  # the first may look again at what came last
            later = await pull(name, settings, last_checkpoint(pieces))
            assert items(later) == []
            pieces += later


async def test_from_each_checkpoint_the_rest_comes(name: str, world: World, tmp_path: Path) -> None:
    """A process that is killed has stored some pieces, and the checkpoint of one of them: nothing is lost by it."""
    async with serving(partial(answer, world)) as url:
        settings = world.settings(url, tmp_path)
        pieces = await pull(name, settings)
        whole = set(items(pieces))
        for count in range(1, len(pieces) + 1):
            stored = pieces[:count]
            rest = await pull(name, settings, last_checkpoint(stored))
            assert set(items(stored)) | set(items(rest)) == whole
            after_that = await pull(name, settings, last_checkpoint(rest, last_checkpoint(stored)))
            assert items(after_that) == []


async def test_a_checkpoint_that_makes_no_sense_starts_anew(name: str, world: World, tmp_path: Path) -> None:
    async with serving(partial(answer, world)) as url:
        pieces = await pull(name, world.settings(url, tmp_path), {"of another": ["version"]})
        assert len(set(items(pieces))) == world.whole


async def test_it_may_be_ended_at_any_moment(name: str, world: World, tmp_path: Path) -> None:
    async with serving(partial(answer, world)) as url:
        settings = world.settings(url, tmp_path)
        count = len(await pull(name, settings))
        for at_most in range(1, count + 1):
            assert len(await pull(name, settings, at_most=at_most)) == at_most


async def test_it_may_be_cancelled_while_it_waits(name: str, world: World, tmp_path: Path) -> None:
    stuck = asyncio.Event()

    async def never(_: web.Request) -> web.StreamResponse:
        stuck.set()
        await asyncio.sleep(3_600)
        raise AssertionError

    async def drain(settings: Any) -> None:
        async with opened(name, settings) as puller, aclosing(puller.pull({})) as pieces:
            async for _ in pieces:
                stuck.set()
                await asyncio.sleep(3_600)

    async with serving(never) as url:
        task = asyncio.create_task(drain(world.settings(url, tmp_path)))
        await asyncio.wait_for(stuck.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_what_fails_has_a_code_and_says_nothing_secret(
    name: str, world: World, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": "77"}, text=f"{CANARY} {SECRET.decode()}")

    caplog.set_level(logging.DEBUG)
    async with serving(fails) as url:
        settings = world.settings(url, tmp_path)
        if not any(url in str(value) for value in settings.values()):
            return
        with pytest.raises(PartnerFailed) as raised:
            await pull(name, settings)
    said = " ".join([str(raised.value), raised.value.code, *map(str, raised.value.args)])
    assert raised.value.code and CANARY not in said and SECRET.decode() not in said
    assert raised.value.after_seconds in ((77,) if status in (429, 500, 503) else (0, 77))
    assert_silent(caplog)


async def test_nothing_of_the_content_is_in_logs(
    name: str, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(partial(answer, world)) as url:
        assert bodies(await pull(name, world.settings(url, tmp_path)))
    assert_silent(caplog)


def assert_silent(caplog: pytest.LogCaptureFixture) -> None:
    ours = [record for record in caplog.records if record.name not in ("aiohttp.access", "aiohttp.server")]
    said = " ".join(record.getMessage() for record in ours)
    assert CANARY not in said and SECRET.decode() not in said


@pytest.mark.parametrize("huge", [name for name in PULLERS if name in WORLDS and WORLDS[name].huge])
async def test_memory_is_bounded_where_there_is_a_gib(huge: str, tmp_path: Path) -> None:
    world = WORLDS[huge]
    assert world.huge is not None
    came_bytes, largest = 0, 0
    code = ""
    async with serving(world.huge) as url:
        settings = world.settings(url, tmp_path)
        before = resident_bytes()
        async with opened(huge, settings) as puller, aclosing(puller.pull({})) as pieces:
            try:
                async for piece in pieces:
                    came_bytes += len(piece.body)
                    largest = max(largest, resident_bytes() - before)
            except PartnerFailed as error:
                code = error.code
        largest = max(largest, resident_bytes() - before)
    assert code == world.refuses_huge
    if not code or huge == "misp":
        assert came_bytes > (GIB if not code else 0.9 * GIB)
    assert largest < MAX_GROWN_BYTES


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
