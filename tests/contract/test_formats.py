"""What every file format must hold: it can be had from a running application, streams, and fails at no row."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner

from connectors import registry
from schemas.cleared import Cleared
from schemas.feed import FeedRow, Format
from schemas.markings import Pap, marking_id
from services import web
from services.cli import cli
from services.hub import Hub
from services.share.formats import FORMATS as OWN
from tests.fakes import NOW_MS, bearer, token_for
from tests.unit.connectors.rows import HEAD, indicator, other, tombstone, written
from tests.unit.share.world import Feeder, body, cleared, copy, feeds_hub, recipient, withdrawn

FORMATS = {**OWN, **registry.FORMATS}
MEGABYTE = 1 << 20

ROWS = [
    indicator("evil.example"),
    indicator("https://evil.example/?a=1", "url"),
    indicator("203.0.113.7", "ipv4"),
    indicator("com.evil", "app-id"),
    indicator("c" * 64, "sha256"),
    indicator("rule x {}", "pattern:yara"),
    indicator("x.example")._replace(kind="complex", value="[a:b = '1' AND a:c = '2']"),
    indicator("x.example", confidence=None, score=None, first_seen="", last_seen="", category="")._replace(tlp=""),
    *(other(type_, "x", name="x") for type_ in ("malware", "identity", "relationship", "note", "sighting")),
    *(tombstone("y.example", type_) for type_ in ("indicator", "malware", "relationship", "report")),
]


def test_no_two_have_one_name() -> None:
    names = [name for manifest in registry.MANIFESTS for name in manifest.formats]
    assert len(set(names)) == len(names) and not set(names) & OWN.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_no_row_breaks_it_however_they_come(name: str) -> None:
    format_ = FORMATS[name]
    assert written(format_, ROWS) == written(format_, *([row] for row in ROWS), []) == written(format_, [], ROWS)
    for row in ROWS:
        written(format_, [row])


def test_what_is_withdrawn_is_said_by_nothing_but_its_id() -> None:
    for name, format_ in FORMATS.items():
        said = written(format_, [tombstone("y.example", kind="domain")])
        assert b"y.example" not in said, name


def _large(format_: Format, pages: int, page: list[FeedRow]) -> Iterator[bytes]:
    yield format_.begin(HEAD)
    any_rows = False
    for _ in range(pages):
        piece = format_.rows(page, any_rows)
        any_rows = any_rows or bool(piece)
        yield piece
    yield format_.end(any_rows)


@pytest.mark.parametrize("name", FORMATS)
def test_memory_does_not_grow_with_the_feed(name: str) -> None:
    """By the page only: what a format would keep of each page shows after some."""
    page = [indicator(f"n{i}.example", body={"description": "x" * 500}) for i in range(200)]
    peaks = []
    for pages in (2, 40):
        tracemalloc.start()
        for piece in _large(FORMATS[name], pages, page):
            del piece
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + MEGABYTE // 4


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = feeds_hub(tmp_path, [recipient("alpha")])
    yield made
    made.store.close()


def shared(name: str, active_until: str = "", counter: int = 1) -> Cleared:
    content = body(name) | {"object_marking_refs": [marking_id(Pap.GREEN)]}
    return cleared(name, counter, copy([0], content, active_until=active_until, tlp="green")).model_copy(
        update={"registrable_domain": name}
    )


async def test_each_is_fetched_with_a_tag_that_follows_it(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(shared("evil.example"), shared("old.example", "2026-11-18T11:06:41.000Z"))
    token = bearer(await token_for(hub, "alpha"))
    async with TestClient(TestServer(web.application(hub, lambda: None))) as client:
        get = partial(client.get, "/api/v1/feed")
        tags = {}
        for name, format_ in FORMATS.items():
            async with get(params={"format": name}, headers=token) as response:
                content = await response.read()
                assert response.status == 200 and response.content_type == format_.media_type.partition(";")[0]
                assert f'"tocsin.{format_.suffix}"' in response.headers["Content-Disposition"]
                assert (b"evil.example" in content) == (name not in ("ips", "urls")), name
                assert (b"old.example" in content) == (name not in ("ips", "urls")), name
                tags[name] = response.headers["ETag"]
        hub.clock = lambda: NOW_MS + 2_000  # by now the second has run out
        for name, format_ in FORMATS.items():
            async with get(params={"format": name}, headers={**token, "If-None-Match": tags[name]}) as response:
                content = await response.read()
                assert response.status == (200 if format_.active else 304), name
                assert b"old.example" not in content
        await feeder.put(withdrawn("evil.example", [0]))
        for name in FORMATS:
            async with get(params={"format": name}, headers={**token, "If-None-Match": tags[name]}) as response:
                assert response.status == 200 and b"evil.example" not in await response.read()


def test_the_command_knows_each() -> None:
    said = CliRunner().invoke(cli, ["feed", "--help"]).output
    assert all(name in said for name in FORMATS)
