"""What is meant to hurt a TAXII server: it is refused, in TAXII's own form, and the next request is served."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientError
from yarl import URL

from services.accept import intake
from tests.contract.taxii_world import API, FED, MAX_BYTES, MEDIA_TYPE, POSTED, World, indicator, taxii_world


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with taxii_world(tmp_path) as made:
        yield made


async def is_well(w: World) -> None:
    got = await w.get(f"{w.own}objects/")
    assert got.status == 200 and POSTED[0] in got.ids


def nested(levels: int) -> bytes:
    return b'{"objects":[' + b'{"a":' * levels + b"1" + b"}" * levels + b"]}"


BODIES: list[tuple[str, bytes, int]] = [
    ("deep", nested(100), 422),
    ("far too deep", nested(9_000), 422),
    ("brackets alone", b'{"objects":' + b"[" * 90_000, 422),
    ("very many small objects", orjson.dumps({"objects": [{}] * 30_000}), 202),
    ("very many numbers", b'{"objects":[' + b"1," * 45_000 + b"1]}", 202),
    ("too large", b" " * (MAX_BYTES + 1), 413),
    ("a zip bomb", gzip.compress(b"0" * 50_000_000), 413),
    ("cut-off gzip", gzip.compress(b'{"objects":[]}')[:-5], 422),
    ("a NUL", b'{"objects":[]}\0', 422),
    ("a lone surrogate", b'{"objects":[{"type":"indicator","id":"\\ud800"}]}', 422),
    ("a BOM and nothing", b"\xef\xbb\xbf", 422),
    ("UTF-16", '{"objects":[]}'.encode("utf-16"), 422),
    ("an infinity", b'{"objects":[1e999]}', 422),
    ("objects twice", b'{"objects":[],"objects":[]}', 422),
]


@pytest.mark.parametrize(("body", "status"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
async def test_envelopes(world: World, body: bytes, status: int) -> None:
    got = await world.ask("POST", f"{world.own}objects/", data=body)
    assert (got.status, got.headers["content-type"]) == (status, MEDIA_TYPE)
    if status == 202:
        counts = [got.json[f"{name}_count"] for name in ("success", "failure", "pending")]
        assert got.json["total_count"] == sum(counts) and counts[0] == 0
    await is_well(world)


OBJECTS: list[tuple[str, Any]] = [
    ("NUL in an id", indicator(9, id="indicator--\0")),
    ("a NUL in a text", indicator(9, description="a\0b")),
    ("an id of 10,000 characters", indicator(9, id="x" * 10_000)),
    ("an id that is a list", indicator(9, id=[1])),
    ("a type that is an object", indicator(9, type={})),
    ("a version that is a number", indicator(9, modified=7)),
    ("a version that is no time", indicator(9, modified="2026-99-99T00:00:00.000Z")),
    ("a version of the year 9999", indicator(9, modified="9999-01-01T00:00:00.000Z")),
    ("a pattern of a thousand brackets", indicator(9, pattern="[" + "(" * 1_000 + "a:b = 'c'")),
    ("a thousand properties", indicator(9, **{f"x_{n}": n for n in range(2_000)})),
    ("a tag for a type", indicator(9, type="<script>")),
    (
        "a bundle",
        {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "objects": [indicator(9)]},
    ),
    ("null", None),
    ("a text", "indicator"),
    ("a list", [indicator(9)]),
]


@pytest.mark.parametrize("bad", [row[1] for row in OBJECTS], ids=[row[0] for row in OBJECTS])
async def test_one_bad_object_breaks_nothing(world: World, bad: Any) -> None:
    got = await world.post(indicator(7), bad, indicator(8))
    assert (got.status, got.json["success_count"], got.json["failure_count"]) == (202, 2, 1)
    [failed] = got.json["failures"]
    assert len(failed["id"]) <= 300 and failed["version"] and len(failed["message"]) <= 400
    assert (await world.get(f"{API}status/{got.json['id']}/")).json == got.json
    assert (await world.get(f"{world.own}objects/")).ids[-2:] == [indicator(7)["id"], indicator(8)["id"]]
    assert (await world.get(f"{world.own}manifest/")).status == 200


ODD = [
    *("%00", "%ff", "%ED%A0%80", "%2e%2e%2f", "%2F", "a" * 5_000, "indicator--%00", quote("índicator--é"), "'--"),
    *("%25", "*", "[", "indicator--" + "0" * 36, "%0d%0aX:%20y"),
]


@pytest.mark.parametrize("odd", ODD)
async def test_paths(world: World, odd: str) -> None:
    collections = (f"{API}collections/{odd}/", f"{world.feed}objects/{odd}/", f"{world.own}objects/{odd}/")
    for path in (*collections, f"{collections[0]}objects/", f"{collections[2]}versions/", f"{API}status/{odd}/"):
        for method in ("GET", "DELETE", "POST"):
            got = await world.ask(method, URL(path, encoded=True))  # type: ignore[arg-type]
            assert got.status in (403, 404, 405), (method, path, got.body)
            assert got.headers["content-type"] == MEDIA_TYPE
    await is_well(world)


VALUES = ["%00", "%ff", "a" * 5_000, "," * 3_000, "%ED%A0%80", "1" * 3_000, "-1", "٣", "'; --", "9" * 18, "%0a"]


@pytest.mark.parametrize("value", VALUES)
async def test_queries(world: World, value: str) -> None:
    names = ("added_after", "limit", "next", "match[id]", "match[type]", "match[version]", "match[spec_version]")
    for base, one in ((world.feed, FED[0]), (world.own, POSTED[0])):
        for path in ("objects/", "manifest/", f"objects/{one}/", f"objects/{one}/versions/"):
            for name in (*names, "x"):
                url = URL(f"{base}{path}?{quote(name)}={value}", encoded=True)
                got = await world.ask("GET", url)  # type: ignore[arg-type]
                assert got.status in (200, 400), (path, name, got.body)
    for name in names[5:]:
        url = URL(f"{world.own}objects/{POSTED[0]}/?{quote(name)}={value}", encoded=True)
        assert (await world.ask("DELETE", url)).status in (400, 404)  # type: ignore[arg-type]
    await is_well(world)


async def test_many_ids_are_one_filter(world: World) -> None:
    many = ",".join(f"indicator--00000000-0000-4000-8000-{number:012}" for number in range(80))
    got = await world.get(f"{world.own}objects/", **{"match[id]": f"{many},{POSTED[0]}"})
    assert got.ids == [POSTED[0]]


@pytest.mark.parametrize("headers", [
    {f"X-{n}": "y" for n in range(400)},
    {"X-Long": "y" * 60_000},
    {"Accept": "application/taxii+json;version=2.1," * 200},
    {"Accept": ";" * 5_000},
    {"Authorization": "Basic " + "A" * 7_000},
    {"Content-Type": MEDIA_TYPE + ";a=b" * 1_500},
    {"Content-Encoding": "br"},
    {"Content-Encoding": "gzip"},
])  # fmt: skip
async def test_headers(world: World, headers: dict[str, str]) -> None:
    """What aiohttp refuses before anybody looks at the path is answered in its own form."""
    with suppress(ClientError):
        assert (await world.post(indicator(7), headers=headers)).status < 500
    await asyncio.sleep(0.1)  # until the client knows which connections were closed
    await is_well(world)


async def test_a_slow_body_is_given_up_and_shuts_out_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "BODY_TIMEOUT_SECONDS", 0.3)

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"objects":['
        await asyncio.sleep(5)
        yield b"]}"

    headers = {"Content-Type": MEDIA_TYPE, "Authorization": f"Bearer {world.tokens['alpha']}"}

    async def post() -> int:
        async with world.client.post(f"{world.own}objects/", data=slow(), headers=headers) as response:
            assert response.headers["Content-Type"] == MEDIA_TYPE
            return response.status

    posts = [asyncio.create_task(post()) for _ in range(intake.MAX_BODIES_PER_SOURCE + 1)]
    await asyncio.sleep(0.1)
    assert (await world.post(indicator(7), by="beta")).status == 202
    found = sorted(await asyncio.gather(*posts))
    assert found == [408] * intake.MAX_BODIES_PER_SOURCE + [503]
    assert (await world.post(indicator(7))).status == 202
