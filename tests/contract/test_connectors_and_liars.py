"""Connectors that push over HTTP, against servers that are none: soon, in little memory, and with a clear code."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from connectors.base import Outcome
from connectors.http import Limits
from connectors.registry import CONNECTORS
from schemas.errors import PartnerFailed
from tests.partners.rows import lent, row
from tests.partners.worlds import WORLDS
from tests.unit.connectors.raw_server import Answer, raw_server, saying

SHORT = Limits(connect_seconds=0.5, idle_seconds=0.3, whole_seconds=0.8)
ADDRESSES = {"misp_push": "url", "taxii_push": "api_root", "webhook": "url"}
"""The settings that say where each sends."""
ROWS = [row(f"canary-{number}.example") for number in range(3)]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNK = b"10000\r\n" + b" " * 65536 + b"\r\n"

LIES: dict[str, Answer] = {
    "an endless body": saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK, endless=True),
    "a head that trickles": saying(HEAD, b"X-More: yes\r\n", pause_seconds=0.05, endless=True),
    "nothing": saying(b"", pause_seconds=60),
    "goodbye": saying(b""),
    "another protocol": saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a redirect": saying(b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n"),
    "the wrong media type": saying(HEAD + b"Content-Length: 13\r\n\r\n<html></html>"),
    "a truncated gzip": saying(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"),
    "depth": saying(HEAD + b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000),
}
OF_NO_CONCERN = {
    # of a webhook's answer only the status counts
    ("webhook", lie)
    for lie in ("an endless body", "the wrong media type", "a truncated gzip", "depth")
}


@pytest.mark.parametrize("name", WORLDS)
async def test_every_connector_that_speaks_http_is_here(name: str, tmp_path: Path) -> None:
    async with WORLDS[name].make(tmp_path) as world:
        hosts = list(CONNECTORS[name].hosts(world.settings))
        assert hosts == ([getattr(world.settings, ADDRESSES[name])] if name in ADDRESSES else [])


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ADDRESSES)
async def test_a_liar_costs_little(name: str, lie: str, tmp_path: Path) -> None:
    manifest = CONNECTORS[name]
    assert manifest.push is not None
    async with WORLDS[name].make(tmp_path) as world, raw_server(LIES[lie]) as port:
        settings = world.settings.model_copy(
            update={ADDRESSES[name]: f"http://127.0.0.1:{port}/s3cret/?key=s3cret"}
        )
        async with lent(manifest.hosts(settings), limits=SHORT) as tools:
            pusher = await manifest.push(settings, tools)
            tracemalloc.start()
            began = time.monotonic()
            try:
                outcomes = await pusher.push(ROWS)
            except PartnerFailed as error:
                outcomes = [Outcome("retry", error.code)]
                assert "s3cret" not in str(error) and "canary" not in str(error)
            took = time.monotonic() - began
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert {outcome.state for outcome in outcomes} == {"delivered" if (name, lie) in OF_NO_CONCERN else "retry"}
    assert took < 4
    assert peak < 80_000_000
