"""Rows as the feeds really have them, on their way to every partner's system: shared, changed, withdrawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.feed import FeedRow
from services.hub import Hub
from services.share import feeds
from services.share.rows import Match
from tests.partners.worlds import WORLDS
from tests.unit.share.world import Feeder, domain, feeds_hub, recipient, stix_id, withdrawn


def rows_of(hub: Hub) -> list[FeedRow]:
    with hub.store.engine.connect() as connection:
        view = feeds.view(connection, 0, in_force=True)
        return list(feeds.page(connection, view, Match(), 100).rows)


@pytest.mark.parametrize("name", WORLDS)
async def test_what_a_feed_shows_goes_its_whole_way(name: str, tmp_path: Path) -> None:
    hub = feeds_hub(tmp_path, [recipient("alpha")])
    feeder = Feeder(hub)
    async with WORLDS[name].make(tmp_path) as world:
        pusher = await world.pusher()
        await feeder.put(domain("one.example", [0]), domain("two.example", [0], urgent=True))
        first = rows_of(hub)
        assert {outcome.state for outcome in await pusher.push(first)} == {"delivered"}
        await feeder.put(domain("one.example", [0], counter=2), withdrawn("two.example", [0]))
        second = rows_of(hub)
        assert {(row.stix_id, row.live) for row in second} == {
            (stix_id("one.example"), True),
            (stix_id("two.example"), False),
        }
        assert {outcome.state for outcome in await pusher.push(second)} == {"delivered"}
        assert world.partner.held()
    hub.store.close()
