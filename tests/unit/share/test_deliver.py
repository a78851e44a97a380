"""Rows of a feed on their way to a partner's system: in order, urgent first, tried again, given up, never lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.base import DELIVERED, Manifest, Outcome, Settings
from schemas.errors import Misconfigured, PartnerFailed
from schemas.feed import FeedRow, Head
from services import connector_states as states
from services.hub import Hub
from services.instances import Instance
from services.share.deliver import Delivering, Publishing
from services.tables import receipts
from tests.fakes import NOW_MS
from tests.unit.share.world import Feeder, domain, feeds_hub, recipient, stix_id, suspend, withdrawn

DAY_MS = 86_400_000
NAME = "meadow-hook"


@dataclass
class Clock:
    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Partner:
    """A partner's system: `answer` says what becomes of a row."""

    answer: Callable[[FeedRow], Outcome] = lambda _row: DELIVERED
    down: bool = False
    got: list[FeedRow] = field(default_factory=list)

    async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        if self.down:
            raise PartnerFailed("unreachable", "it can't be reached")
        self.got += rows
        return [self.answer(row) for row in rows]

    async def close(self) -> None: ...

    @property
    def names(self) -> list[str]:
        return [row.value or row.stix_id for row in self.got]


def instance(partner: str = "meadow", *, acknowledges: bool = True, push_rows: int = 2) -> Instance:
    manifest = Manifest("made-up", "", Settings, acknowledges=acknowledges, push_rows=push_rows)
    return Instance(NAME, manifest, partner, "push", Settings(), 60, False, None, "en", "d", "")


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Hub, Feeder, Clock]]:
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else ""
    clock = Clock()
    hub = feeds_hub(tmp_path, [recipient("meadow"), recipient("ridge")], url, clock)
    with hub.store.engine.begin() as connection:
        states.enter(connection, [instance()], clock())
    yield hub, Feeder(hub), clock
    hub.store.close()


World = tuple[Hub, Feeder, Clock]


def delivering(hub: Hub, partner: Partner, **options: Any) -> Delivering:
    return Delivering(hub, instance(**options), partner, Random(1))


async def all_rounds(work: Delivering) -> None:
    for _ in range(50):
        if not await work.round():
            return
    raise AssertionError("it never ends")


def state(hub: Hub) -> states.State:
    with hub.store.engine.begin() as connection:
        found = states.state(connection, NAME)
    assert found is not None
    return found


def counted(hub: Hub) -> dict[str, int]:
    with hub.store.engine.begin() as connection:
        return dict(states.waiting(connection).get(NAME, {}))


async def test_rows_come_in_order_once_and_are_acknowledged(world: World) -> None:
    hub, feeder, _ = world
    names = [f"{number}.lure.example" for number in range(5)]
    for name in names:
        await feeder.put(domain(name, [0]))
    await feeder.put(domain("other.example", [1]))
    partner = Partner()
    await all_rounds(delivering(hub, partner))
    assert partner.names == names
    assert (state(hub).went, state(hub).refused, counted(hub)) == (5, 0, {})
    with hub.store.engine.begin() as connection:
        said = {row.stix_id: row.status for row in connection.execute(sa.select(receipts))}
    assert said == {stix_id(name): "received" for name in names}
    await all_rounds(delivering(hub, partner))  # after a restart
    assert partner.names == names


async def test_nothing_is_acknowledged_for_a_system_that_only_takes_post(world: World) -> None:
    hub, feeder, _ = world
    await feeder.put(domain("lure.example", [0]))
    await all_rounds(delivering(hub, Partner(), acknowledges=False))
    with hub.store.engine.begin() as connection:
        assert connection.execute(sa.select(receipts)).all() == []


async def test_a_crash_before_it_is_written_pushes_the_same_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, feeder, _ = world
    await feeder.put(domain("lure.example", [0]))
    partner = Partner()
    work = delivering(hub, partner)
    with monkeypatch.context() as broken, pytest.raises(RuntimeError):
        broken.setattr(work, "_settle", _crash)
        await work.round()
    await all_rounds(delivering(hub, partner))
    assert [(row.stix_id, row.modified) for row in partner.got] == [
        (stix_id("lure.example"), "2026-11-01T00:00:01.000Z")
    ] * 2
    assert state(hub).went == 1


def _crash(*_: object) -> None:
    raise RuntimeError("killed")


async def test_what_is_urgent_overtakes_and_does_not_come_again(world: World) -> None:
    hub, feeder, _ = world
    for number in range(6):
        await feeder.put(domain(f"{number}.lure.example", [0]))
    await feeder.put(domain("urgent.example", [0], urgent=True))
    partner = Partner()
    work = delivering(hub, partner)
    await work.round()
    assert partner.names[0] == "urgent.example"
    await all_rounds(work)
    assert sorted(partner.names) == sorted([f"{n}.lure.example" for n in range(6)] + ["urgent.example"])
    with hub.store.engine.begin() as connection:
        assert states.of_rows(connection, NAME, [stix_id("urgent.example")]) == {}


async def test_what_can_t_be_taken_now_is_tried_again_later_and_holds_up_nothing(world: World) -> None:
    hub, feeder, clock = world
    for name in ("a.example", "b.example", "c.example"):
        await feeder.put(domain(name, [0]))
    partner = Partner(lambda row: Outcome("retry", "busy", 60) if row.value == "a.example" else DELIVERED)
    await all_rounds(delivering(hub, partner))
    assert partner.names == ["a.example", "b.example", "c.example"]
    assert counted(hub) == {"pending": 1}
    clock.now_ms += 30_000
    await all_rounds(delivering(hub, partner))
    assert len(partner.got) == 3  # it asked for a minute
    clock.now_ms += 60_000
    partner.answer = lambda _row: DELIVERED
    await all_rounds(delivering(hub, partner))
    assert partner.names[3:] == ["a.example"]
    assert (counted(hub), state(hub).went) == ({}, 3)


async def test_it_is_given_up_after_a_day_and_can_be_tried_again(world: World) -> None:
    hub, feeder, clock = world
    await feeder.put(domain("a.example", [0]))
    partner = Partner(lambda _row: Outcome("retry", "busy"))
    tries = 0
    while counted(hub) != {"dead": 1}:
        await delivering(hub, partner).round()
        clock.now_ms += 3_700_000
        tries += 1
        assert tries < 40
    assert tries >= 20  # once an hour at least
    assert (clock.now_ms - NOW_MS) / DAY_MS == pytest.approx(1, abs=0.2)
    before = len(partner.got)
    await delivering(hub, partner).round()
    assert len(partner.got) == before
    with hub.store.engine.begin() as connection:
        assert states.retry(connection, NAME, clock()) == 1
    partner.answer = lambda _row: DELIVERED
    await all_rounds(delivering(hub, partner))
    assert counted(hub) == {}


@pytest.mark.parametrize("outcome", ["refused", "retry"])
async def test_a_withdrawal_is_never_given_up(world: World, outcome: Any) -> None:
    hub, feeder, clock = world
    await feeder.put(domain("a.example", [0]))
    await all_rounds(delivering(hub, Partner()))
    await feeder.put(withdrawn("a.example", [0]))
    partner = Partner(lambda _row: Outcome(outcome, "no-such-object"))
    for _ in range(60):
        await delivering(hub, partner).round()
        clock.now_ms += 3_700_000
    assert counted(hub) == {"pending": 1}
    assert len(partner.got) > 20
    partner.answer = lambda _row: DELIVERED
    clock.now_ms += 2 * 3_700_000
    await all_rounds(delivering(hub, partner))
    assert counted(hub) == {}


async def test_what_is_refused_is_kept_with_its_reason(world: World) -> None:
    hub, feeder, _ = world
    await feeder.put(domain("a.example", [0]))
    await all_rounds(delivering(hub, Partner(lambda _row: Outcome("refused", "not-their-kind"))))
    with hub.store.engine.begin() as connection:
        [kept] = states.dead(connection, NAME, 10)
    assert (kept.stix_id, kept.standing, kept.code) == (stix_id("a.example"), "dead", "not-their-kind")
    assert state(hub).refused == 1


async def test_a_newer_version_takes_the_place_of_one_that_waits(world: World) -> None:
    hub, feeder, clock = world
    await feeder.put(domain("a.example", [0]))
    partner = Partner(lambda _row: Outcome("retry", "busy"))
    await all_rounds(delivering(hub, partner))
    await feeder.put(domain("a.example", [0], counter=2))
    partner.answer = lambda _row: DELIVERED
    await all_rounds(delivering(hub, partner))
    clock.now_ms += DAY_MS
    await all_rounds(delivering(hub, partner))
    assert [row.modified[-7:] for row in partner.got] == ["01.000Z", "02.000Z"]
    assert counted(hub) == {}


async def test_what_waits_and_is_withdrawn_is_never_sent(world: World) -> None:
    hub, feeder, clock = world
    await feeder.put(domain("a.example", [0]))
    partner = Partner(lambda _row: Outcome("retry", "busy"))
    await all_rounds(delivering(hub, partner))
    await feeder.put(withdrawn("a.example", [0]))
    partner.answer = lambda _row: DELIVERED
    clock.now_ms += DAY_MS
    await all_rounds(delivering(hub, partner))
    assert [row.live for row in partner.got] == [True, False]


async def test_a_system_that_is_down_loses_nothing(world: World) -> None:
    hub, feeder, _ = world
    for name in ("a.example", "b.example"):
        await feeder.put(domain(name, [0]))
    partner = Partner(down=True)
    with pytest.raises(PartnerFailed):
        await delivering(hub, partner).round()
    assert (state(hub).mark, counted(hub)) == (-1, {})
    partner.down = False
    await all_rounds(delivering(hub, partner))
    assert partner.names == ["a.example", "b.example"]


async def test_after_a_day_down_what_waited_a_day_is_set_aside_but_for_withdrawals(world: World) -> None:
    hub, feeder, clock = world
    await feeder.put(domain("gone.example", [0]))
    await all_rounds(delivering(hub, Partner()))
    await feeder.put(withdrawn("gone.example", [0]))
    await feeder.put(domain("old.example", [0]))
    work = delivering(hub, Partner(down=True))
    clock.now_ms = _last_added(hub) // 1_000 + DAY_MS + 1
    await work.give_up()
    assert counted(hub) == {"dead": 1, "pending": 1}
    partner = Partner()
    await all_rounds(delivering(hub, partner))
    assert partner.names == [stix_id("gone.example")]
    assert counted(hub) == {"dead": 1}


def _last_added(hub: Hub) -> int:
    with hub.store.engine.begin() as connection:
        return int(connection.scalar(sa.text("SELECT max(added) FROM feed")))


async def test_who_is_suspended_gets_withdrawals_only(world: World) -> None:
    hub, feeder, _ = world
    await feeder.put(domain("a.example", [0]))
    await all_rounds(delivering(hub, Partner()))
    await feeder.put(domain("b.example", [0]))
    await feeder.put(withdrawn("a.example", [0]))
    suspend(hub, "meadow")
    partner = Partner()
    await all_rounds(delivering(hub, partner))
    assert [(row.stix_id, row.live) for row in partner.got] == [(stix_id("a.example"), False)]


async def test_a_connector_that_forgets_rows_counts_as_failing(world: World) -> None:
    hub, feeder, _ = world

    class Forgetful(Partner):
        async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
            return []

    await feeder.put(domain("a.example", [0]))
    with pytest.raises(PartnerFailed):
        await delivering(hub, Forgetful()).round()
    assert state(hub).mark == -1


def test_there_is_nothing_to_deliver_for_a_partner_that_nobody_knows(world: World) -> None:
    hub, _, _ = world
    with pytest.raises(Misconfigured):
        Delivering(hub, instance("stranger"), Partner(), Random(1))


# --- whole files --------------------------------------------------------------------------------------------------


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
