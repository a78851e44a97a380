"""Who was cut off and is let in again finds what came meanwhile behind all that it read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from services.hub import Hub
from services.share import agent, feeds
from services.share.rows import Match, View
from tests.unit.share.world import Feeder, domain, feeds_hub, recipient, stix_id, suspend, withdrawn


@pytest.fixture(params=["sqlite", "postgresql"])
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(agent, "RENEWED_AT_ONCE", 2)
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else ""
    hub = feeds_hub(tmp_path, [recipient("meadow"), recipient("ridge")], url)
    yield hub
    hub.store.close()


def rows(hub: Hub, bit: int, after: int = -1) -> list[tuple[str, int]]:
    with hub.store.engine.begin() as connection:
        view = feeds.view(connection, bit, True)
        return [(row.stix_id, row.added) for row in feeds.page(connection, view, Match(after=after), 100).rows]


async def test_nothing_is_passed_over(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("gone.example", [0, 1]))
    [(_, read_to)] = rows(hub, 0)
    suspend(hub, "meadow")
    names = [f"{number}.lure.example" for number in range(5)]
    for name in names:
        await feeder.put(domain(name, [0, 1]))
    await feeder.put(domain("mine.example", [0]))
    await feeder.put(domain("theirs.example", [1]))
    await feeder.put(withdrawn("gone.example", [0, 1]))
    [(id_, read_to)] = rows(hub, 0, read_to)
    assert id_ == stix_id("gone.example")
    before = rows(hub, 1)
    suspend(hub, "meadow", since_ms=None)
    assert rows(hub, 0, read_to) == []  # this is what would be lost
    await agent.renew(hub, "meadow", 86_400_000, random=Random(1))
    assert {id_ for id_, _ in rows(hub, 0, read_to)} == {stix_id(name) for name in (*names, "mine.example")}
    assert rows(hub, 1) == before
    assert len({id_ for id_, _ in rows(hub, 0)}) == len(rows(hub, 0))


async def test_a_later_version_takes_its_place_as_ever(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0, 1]))
    await agent.renew(hub, "meadow", 86_400_000, random=Random(1))
    await feeder.put(domain("a.example", [0, 1], counter=2))
    assert [len(rows(hub, bit)) for bit in (0, 1)] == [1, 1]
    await feeder.put(withdrawn("a.example", [0, 1], counter=3))
    with hub.store.engine.begin() as connection:
        shown = [feeds.page(connection, View(bit, True), Match(), 10).rows for bit in (0, 1)]
    assert [[row.live for row in each] for each in shown] == [[False], [False]]
