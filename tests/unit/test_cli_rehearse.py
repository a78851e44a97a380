"""How a running hub is told that a gain is accepted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.cli_rehearse import confirm
from services.problems import problem
from services.settings import Settings


@pytest.fixture
async def asked() -> AsyncIterator[tuple[str, list[tuple[str, Any]]]]:
    """A hub that waits with the rules `pending`: its address, and what it was told by whom."""
    told: list[tuple[str, Any]] = []

    async def state(request: web.Request) -> web.Response:
        waiting = [{"name": name} for name in ("alpha", "meadow", "policy")]
        return web.json_response({"pending": {"hash": "pending", "names": waiting}})

    async def confirmations(request: web.Request) -> web.Response:
        told.append((request.headers["Authorization"], await request.json()))
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/api/v1/policy", state)
    app.router.add_post("/api/v1/policy/confirmations", confirmations)
    async with TestServer(app) as server:
        yield str(server.make_url("")), told


async def test_a_hub_that_waits_with_these_rules_is_told_who_is_accepted(
    asked: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    url, told = asked
    assert await confirm(Settings(url=url, token="t"), "pending", ("meadow", "policy", "other", "meadow"))
    assert told == [("Bearer t", {"hash": "pending", "names": ["meadow", "policy"]})]
    assert capsys.readouterr().err.splitlines()[0].endswith("--accept alpha")


@pytest.mark.parametrize(("hash_", "names"), [("other", ("meadow",)), ("pending", ("other",))])
async def test_nothing_else_is_confirmed(asked: Any, hash_: str, names: tuple[str, ...]) -> None:
    url, told = asked
    assert not await confirm(Settings(url=url, token="t"), hash_, names)
    assert told == []


async def test_a_hub_in_which_nothing_waits(capsys: pytest.CaptureFixture[str]) -> None:
    async def state(request: web.Request) -> web.Response:
        return web.json_response({"pending": None})

    app = web.Application()
    app.router.add_get("/api/v1/policy", state)
    async with TestServer(app) as server:
        assert not await confirm(Settings(url=str(server.make_url("")), token="t"), "pending", ("meadow",))
    assert "nothing of these rules waits" in capsys.readouterr().err


async def test_a_hub_that_refuses_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    async def state(request: web.Request) -> web.Response:
        return problem(409, "files-wrong", "Conflict", "the files are wrong", hint="mend them")

    app = web.Application()
    app.router.add_get("/api/v1/policy", state)
    async with TestServer(app) as server:
        assert not await confirm(Settings(url=str(server.make_url("")), token="t"), "pending", ("meadow",))
    assert "the files are wrong" in capsys.readouterr().err


async def test_no_hub_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not await confirm(Settings(data=tmp_path), "pending", ("meadow",))
    assert "there is no token" in capsys.readouterr().err
    (tmp_path / "staff.token").write_text("t\n")
    assert not await confirm(Settings(data=tmp_path, url="http://127.0.0.1:1"), "pending", ("meadow",))
    assert "no hub answers" in capsys.readouterr().err
