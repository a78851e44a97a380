"""Files of a source: fetched only where they changed, within bounds, and with a code for whatever goes wrong."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from connectors.fetch import Stamp, fetch, origin, unpacked
from connectors.http import Http
from schemas.errors import PartnerFailed
from tests.pulled import SHORT, serving

BODY = b"some indicators"


async def test_a_file_is_fetched_once_by_its_tag_its_time_or_its_content() -> None:
    asked: list[dict[str, str]] = []
    named: dict[str, str] = {}

    async def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.headers))
        given = request.headers
        if named and (
            given.get("If-None-Match") == named.get("ETag", "none")
            or given.get("If-Modified-Since") == named.get("Last-Modified", "none")
        ):
            return web.Response(status=304)
        return web.Response(body=BODY, headers=named)

    async with serving(answer) as url, Http([url]) as http:
        for named in ({"ETag": 'W/"1"'}, {"Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}, {}):  # noqa: B007
            first = await fetch(http, url, Stamp(), max_bytes=100)
            assert first is not None and first.body == BODY
            assert await fetch(http, url, first.stamp, max_bytes=100) is None
        assert "If-None-Match" in asked[1] and "If-Modified-Since" in asked[3]
        named = {"ETag": "x" * 5_000}
        found = await fetch(http, url, Stamp(), max_bytes=100)
        assert found is not None and found.stamp.etag == "", "what can't be sent back is not kept"


async def test_a_304_that_nobody_asked_for_is_a_fault() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=304)

    async with serving(answer) as url, Http([url]) as http:
        with pytest.raises(PartnerFailed, match="304"):
            await fetch(http, url, Stamp(), max_bytes=100)


async def test_what_is_packed_is_unpacked_within_bounds(tmp_path: Path) -> None:
    async with Http([]) as http:
        file = tmp_path / "x.json.gz"
        file.write_bytes(gzip.compress(BODY))
        found = await fetch(http, file, Stamp(), max_bytes=100)
        assert found is not None and found.body == BODY
        assert await fetch(http, file, found.stamp, max_bytes=100) is None
        for content, whole in [
            (gzip.compress(b"some ") + gzip.compress(b"") + gzip.compress(b"indicators"), BODY),
            (gzip.compress(BODY) + bytes(512), BODY),  # as what writes in blocks fills up the last one
            (b"1", b"1"),
            (b"", b""),
        ]:
            file.write_bytes(content)
            found = await fetch(http, file, Stamp(), max_bytes=100)
            assert found is not None and found.body == whole
        for content, code in [
            (gzip.compress(BODY) + b"more", "not-gzip"),
            (gzip.compress(BODY) + gzip.compress(BODY)[:-1], "cut-off"),
            (gzip.compress(b"") * 2_000, "not-gzip"),
            (gzip.compress(BODY[:3]) * 34, "answer-too-large"),
            (gzip.compress(b"0" * 1_000_000), "answer-too-large"),
            (gzip.compress(BODY)[:-9], "cut-off"),
            (b"\x1f\x8bnonsense", "not-gzip"),
            (b"0" * 101, "answer-too-large"),
        ]:
            file.write_bytes(content)
            with pytest.raises(PartnerFailed) as failed:
                await fetch(http, file, Stamp(), max_bytes=100)
            assert failed.value.code == code


async def test_how_a_file_is_cut_into_pieces_does_not_matter() -> None:
    packed = gzip.compress(b"some ") + gzip.compress(b"indicators") + bytes(3)

    async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    for body, size in itertools.product((packed, BODY), (1, 2, 7, 1_000)):
        assert b"".join([plain async for plain in unpacked(pieces(body, size), 100, "x")]) == BODY


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    async with Http([]) as http:
        for path in (tmp_path / "none", tmp_path):
            with pytest.raises(PartnerFailed) as failed:
                await fetch(http, path, Stamp(), max_bytes=100)
            assert failed.value.code == "file-unreadable" and failed.value.where == str(path)


async def test_what_lets_us_in_does_not_follow_a_redirect_to_others() -> None:
    seen: list[str | None] = []

    async def other(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=BODY)

    async with serving(other) as there:

        async def here(request: web.Request) -> web.Response:
            if request.path == "/own":
                return await other(request)
            raise web.HTTPFound("/own" if request.path == "/a" else f"{there}/x")

        async with serving(here) as url, Http([url, there], limits=SHORT) as http:
            headers = {"Authorization": "Bearer x"}
            for path in ("a", "b"):
                assert await fetch(http, f"{url}/{path}", Stamp(), max_bytes=100, headers=headers)
    assert seen == ["Bearer x", None]


def test_only_the_origin_of_an_address_is_named() -> None:
    assert origin("https://user:pw@feeds.example/secret?key=1") == "https://feeds.example"
    assert origin(Path("/srv/feed.csv")) == "/srv/feed.csv"
    assert origin("not an address") == ""
