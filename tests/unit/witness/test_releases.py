"""What staff release over HTTP, in the version that they looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from schemas.reference import Letter
from services import bodies
from services.accept.framing import unpack
from services.hub import Hub
from services.tables import outbox
from services.witness import releases
from services.witness.agent import WitnessSink
from tests.fakes import bearer, rows, token_for
from tests.unit.share.world import key_of
from tests.unit.witness.test_witness_http import client_of, either_hub
from tests.unit.witness.world import batch, decision, group, of_source

__all__ = ["either_hub"]
PATH = releases.PATH
MINE, OTHER = "0a" * 16, "0b" * 16


async def decided(hub: Hub, counter: int, **words: str) -> None:
    judged = [of_source(name, group("deny", 0, 1, rules=("P00",))) for name in words]
    made = decision(
        *judged, fingerprint=key_of("a.example").hex(), id="indicator--a", value="a.example", counter=counter,
        probation=tuple(words), words=words,
    )  # fmt: skip
    await (sink := WitnessSink(hub)).apply(batch(sink, counter, made))


async def ask(hub: Hub, method: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    async with client_of(hub) as client:
        token = bearer(await token_for(hub, "staff", "staff"))
        data = orjson.dumps(body) if isinstance(body, dict) else body
        response = await client.request(method, PATH, data=data, headers={**token, **headers})
        return response.status, orjson.loads(await response.read())


async def listed(hub: Hub) -> dict[str, Any]:
    [row] = (await ask(hub, "GET"))[1]["waiting"]
    return dict(row)


async def letters(hub: Hub) -> list[Letter]:
    return [Letter.from_bytes(p.value) for row in await rows(hub, outbox) for p in unpack(row.messages)]


@pytest.mark.parametrize("source", ["", "giver", "nobody"])
async def test_the_word_that_was_looked_at_is_released(either_hub: Hub, source: str) -> None:
    await decided(either_hub, 1, giver=MINE, other=OTHER)
    row = await listed(either_hub)
    assert (row["id"], row["value"], row["sources"]) == ("indicator--a", "a.example", ["giver", "other"])
    asked = {"items": [{"id": row["id"], "version": row["version"]}], **({"source": source} if source else {})}
    of = {"": {"giver": MINE, "other": OTHER}, "giver": {"giver": MINE}, "nobody": {}}[source]
    assert await ask(either_hub, "POST", asked) == (202, {"released": len(of), "unknown": []})
    assert {letter.release: letter.word for letter in await letters(either_hub)} == of


async def test_what_changed_since_is_looked_at_again(either_hub: Hub) -> None:
    await decided(either_hub, 1, giver=MINE)
    seen = await listed(either_hub)
    await decided(either_hub, 2, giver=OTHER)
    items = [{"id": "indicator--none", "version": "x"}, {"id": seen["id"], "version": seen["version"]}]
    status, problem = await ask(either_hub, "POST", {"items": items})
    assert (status, problem["code"], problem["where"]) == (409, "changed-since", "/items/1/version")
    assert "look again" in problem["hint"]
    assert await letters(either_hub) == []
    again = await listed(either_hub)
    assert again["version"] != seen["version"]
    assert (await ask(either_hub, "POST", {"items": [{"id": again["id"], "version": again["version"]}]}))[0] == 202
    assert [letter.word for letter in await letters(either_hub)] == [OTHER]


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (None, 400, ""),
        ({"items": ["indicator--a"]}, 400, "/items/0"),
        ({"items": [{"id": "indicator--a"}]}, 400, "/items/0/version"),
        ({"items": [{"id": "a\0", "version": "b"}]}, 400, "/items/0/id"),
        ({"items": [{"id": "a", "version": "b"}], "source": "\0"}, 400, "/source"),
        ({"items": []}, 400, "/items"),
        (b'{"items": [{"id": "\\ud800", "version": "b"}]}', 400, "line 1 column 20"),
        (b'{"items": ' + b"[" * 50 + b"]" * 50 + b"}", 400, ""),
        (b'{"items": [], "items": []}', 400, "/items"),
        (b" " * 4096, 413, ""),
    ],
)
async def test_a_body_that_is_none_is_refused(
    either_hub: Hub, monkeypatch: pytest.MonkeyPatch, body: Any, status: int, where: str
) -> None:
    monkeypatch.setattr(releases, "MAX_BODY_BYTES", 4095)
    found, problem = await ask(either_hub, "POST", body)
    assert (found, problem["where"]) == (status, where)
    assert problem["detail"] and problem["hint"]


async def test_a_body_comes_in_time_and_as_it_is(either_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "TIMEOUT_SECONDS", 0.2)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    status, problem = await ask(either_hub, "POST", slowly())
    assert (status, problem["code"]) == (408, "too-slow")
    status, problem = await ask(either_hub, "POST", b"{}", **{"Content-Encoding": "gzip"})
    assert (status, problem["code"]) == (415, "encoding-unknown")
