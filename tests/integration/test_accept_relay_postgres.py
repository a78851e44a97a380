"""The relay where several processes share the outbox: one relays at a time, and another takes over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.accept.agent import Relay
from services.hub import Hub
from services.store import Store
from services.tables import metadata
from tests.fakes import FakeStreams, make_hub
from tests.unit.accept.test_accept_relay import drafts, drain, put, reports, rounds, submit

OTHERS_LOCKS = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"


@pytest.fixture
async def hub(postgres_url: str, tmp_path: Path) -> AsyncIterator[Hub]:
    local = make_hub(tmp_path, [])
    local.store.close()
    store = Store(postgres_url)
    metadata.create_all(store.engine)
    yield replace(local, store=store)
    store.close()


async def test_two_relays_send_everything_once_and_in_order(hub: Hub) -> None:
    streams = FakeStreams(partitions=1)
    relays = Relay(hub, streams), Relay(hub, streams)
    for relay in relays:
        await relay.start()
    seqs = await asyncio.gather(*(submit(hub, f"s{n}", drafts(f"h{n}-", 10)) for n in range(40)))
    await drain(hub)
    for relay in relays:
        await relay.stop()
    assert [report.seq for report in reports(streams)] == [seq for seq in sorted(seqs) for _ in range(10)]


async def test_what_is_urgent_overtakes_here_too(hub: Hub) -> None:
    await put(hub, *"aabBb")
    assert await rounds(hub, 10**9) == [["b2", "B3", "a0", "a1"], ["b4"]]


async def test_the_other_takes_over(hub: Hub) -> None:
    streams = FakeStreams(partitions=1)
    first, second = Relay(hub, streams), Relay(hub, streams)
    await first.start()
    await submit(hub, "before", drafts("before", 3))
    await drain(hub)
    await second.start()
    await first.stop()
    await submit(hub, "after", drafts("after", 3))
    await drain(hub)
    await second.stop()
    assert len(reports(streams)) == 6


async def test_a_broken_connection_gives_the_lock_back(hub: Hub) -> None:
    streams = FakeStreams(partitions=1)
    relay = Relay(hub, streams)
    await relay.start()
    await submit(hub, "before", drafts("before", 3))
    await drain(hub)
    await hub.store.write(lambda connection: connection.execute(sa.text(OTHERS_LOCKS)))
    await submit(hub, "after", drafts("after", 3))
    await drain(hub)
    await relay.stop()
    assert len(reports(streams)) == 6
