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

    async def confirmations(request: web.Request) -> web.Response:
        document = await request.json()
        told.append((request.headers["Authorization"], document))
        if document["hash"] != "pending":
            return problem(409, "not-pending", "Not pending", "the hub waits with no such rules", hint="look again")
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/api/v1/policy/confirmations", confirmations)
    async with TestServer(app) as server:
        yield str(server.make_url("")), told


async def test_a_hub_that_waits_with_these_rules_is_told_who_is_accepted(asked: Any) -> None:
    url, told = asked
    assert await confirm(Settings(url=url, token="t"), "pending", ("meadow", "alpha", "meadow"))
    assert told == [("Bearer t", {"hash": "pending", "names": ["alpha", "meadow"]})]


async def test_a_hub_that_waits_with_others_says_so(asked: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url, _ = asked
    assert not await confirm(Settings(url=url, token="t"), "other", ("meadow",))
    assert "the hub waits with no such rules" in capsys.readouterr().err


async def test_no_hub_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not await confirm(Settings(data=tmp_path), "pending", ("meadow",))
    assert "there is no token" in capsys.readouterr().err
    (tmp_path / "staff.token").write_text("t\n")
    assert not await confirm(Settings(data=tmp_path, url="http://127.0.0.1:1"), "pending", ("meadow",))
    assert "no hub answers" in capsys.readouterr().err
