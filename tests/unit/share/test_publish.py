"""A feed that is written as a whole, where it changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from schemas.errors import PartnerFailed
from schemas.feed import FeedRow, Head
from services.share.deliver import Publishing
from tests.unit.share.delivering import DAY_MS, World, instance, opened, state
from tests.unit.share.world import domain, suspend


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from opened(request, tmp_path)


@dataclass
class Place:
    written: list[list[str]] = field(default_factory=list)
    down: bool = False

    async def publish(self, head: Head, pages: AsyncIterator[Sequence[FeedRow]]) -> None:
        if self.down:
            raise PartnerFailed("disk-full", "it can't be written")
        assert head.partner == "meadow"
        self.written.append([row.value async for page in _flat(pages) for row in page])

    async def close(self) -> None: ...


async def _flat(pages: AsyncIterator[Sequence[FeedRow]]) -> AsyncIterator[Sequence[FeedRow]]:
    async for page in pages:
        yield page


async def test_a_file_is_written_when_the_feed_changes_and_not_else(world: World) -> None:
    hub, feeder, clock = world
    await feeder.put(domain("a.example", [0], active_until="2026-11-19T00:00:00.000Z"))
    place = Place()

    async def turn() -> None:
        await Publishing(hub, instance(), place, state(hub)).round()

    await turn()
    await turn()
    assert place.written == [["a.example"]]
    await feeder.put(domain("other.example", [1]))
    await turn()
    assert len(place.written) == 1
    place.down = True
    await feeder.put(domain("b.example", [0]))
    with pytest.raises(PartnerFailed):
        await turn()
    place.down = False
    await turn()
    assert place.written[1:] == [["a.example", "b.example"]]
    clock.now_ms += 2 * DAY_MS  # something ran out
    await turn()
    assert len(place.written) == 3


async def test_a_file_into_which_something_came_while_it_was_written_is_written_again(world: World) -> None:
    """Else one that was cut off, and let in again before the next look, would keep half of it."""
    hub, feeder, _ = world
    await feeder.put(domain("a.example", [0]))

    class Slow(Place):
        async def publish(self, head: Head, pages: AsyncIterator[Sequence[FeedRow]]) -> None:
            suspend(hub, "meadow", since_ms=None if self.written else 1)
            await super().publish(head, pages)

    place = Slow()
    await Publishing(hub, instance(), place, state(hub)).round()
    suspend(hub, "meadow", since_ms=None)
    await Publishing(hub, instance(), place, state(hub)).round()
    assert place.written == [[], ["a.example"]]
