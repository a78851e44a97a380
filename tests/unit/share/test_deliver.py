"""Rows of a feed on their way to a partner's system: in order, urgent first, tried again, given up, never lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.base import DELIVERED, Outcome
from schemas.errors import Misconfigured, PartnerFailed
from schemas.feed import FeedRow
from services import connector_states as states
from services.hub import Hub
from services.share import deliver
from services.share.deliver import Delivering
from services.tables import receipts
from tests.fakes import NOW_MS
from tests.unit.share.delivering import DAY_MS, NAME, World, instance, opened, state
from tests.unit.share.world import domain, stix_id, suspend, withdrawn


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


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from opened(request, tmp_path)


def delivering(hub: Hub, partner: Partner, **options: Any) -> Delivering:
    return Delivering(hub, instance(**options), partner, Random(1))


async def all_rounds(work: Delivering) -> None:
    for _ in range(50):
        if not await work.round():
            return
    raise AssertionError("it never ends")


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


async def test_what_a_pusher_remembers_is_kept_with_what_became_of_the_rows(world: World) -> None:
    hub, feeder, _ = world
    await feeder.put(domain("a.example", [0]))
    partner, memory = Partner(down=True), {"digest_ms": 7}
    with pytest.raises(PartnerFailed):
        await all_rounds(Delivering(hub, instance(), partner, Random(1), memory))
    assert state(hub).checkpoint == ""
    partner.down = False
    await all_rounds(Delivering(hub, instance(), partner, Random(1), memory))
    assert json.loads(state(hub).checkpoint) == memory


async def test_what_waits_for_its_turn_is_not_given_up(world: World) -> None:
    hub, feeder, clock = world
    await feeder.put(domain("a.example", [0]))
    partner = Partner(lambda _row: Outcome("wait", "digest-later", 7 * 86_400))
    for days in range(7):
        await all_rounds(delivering(hub, partner))
        assert (len(partner.got), counted(hub)) == (days + 1, {"pending": 1})
        clock.now_ms += DAY_MS
    partner.answer = lambda _row: Outcome("retry", "busy")  # only now does its day begin
    await delivering(hub, partner).round()
    assert (len(partner.got), counted(hub)) == (8, {"pending": 1})
    partner.answer = lambda _row: DELIVERED
    clock.now_ms += DAY_MS // 2
    await all_rounds(delivering(hub, partner))
    assert (len(partner.got), counted(hub)) == (9, {})


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


async def test_what_is_withdrawn_while_it_is_on_its_way_is_not_taken_for_acknowledged(world: World) -> None:
    hub, feeder, _ = world
    await feeder.put(domain("a.example", [0]), domain("b.example", [0]))

    class Slow(Partner):
        async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
            if not self.got:
                await feeder.put(withdrawn("a.example", [0]))
            return await super().push(rows)

    partner = Slow()
    work = delivering(hub, partner)
    batch = await hub.store.read(work._fresh)
    assert batch is not None
    await work._push(batch)
    assert _acknowledged(hub) == {stix_id("b.example"): None}
    await all_rounds(work)
    assert [row.live for row in partner.got] == [True, True, False]
    assert _acknowledged(hub)[stix_id("a.example")] is not None


def _acknowledged(hub: Hub) -> dict[str, int | None]:
    with hub.store.engine.begin() as connection:
        return {row.stix_id: row.withdrawn_ms for row in connection.execute(sa.select(receipts))}


async def test_what_came_while_a_partner_was_cut_off_comes_when_it_is_let_in_again(world: World) -> None:
    hub, feeder, clock = world
    partner = Partner(lambda row: Outcome("retry", "busy") if row.value == "late.example" else DELIVERED)
    gone = [f"{number}.gone.example" for number in range(5)]
    for name in gone:
        await feeder.put(domain(name, [0]))
    await feeder.put(domain("late.example", [0]))
    await all_rounds(delivering(hub, partner))
    suspend(hub, "meadow")
    await feeder.put(domain("meanwhile.example", [0]))
    for name in gone:
        await feeder.put(withdrawn(name, [0]))
    clock.now_ms += DAY_MS // 2
    partner.answer = lambda _row: DELIVERED
    partner.got.clear()
    await all_rounds(delivering(hub, partner))
    await all_rounds(delivering(hub, partner))
    assert partner.names == [stix_id(name) for name in gone]
    suspend(hub, "meadow", since_ms=None)
    partner.got.clear()
    await all_rounds(delivering(hub, partner))
    assert sorted(partner.names) == ["late.example", "meanwhile.example"]
    assert counted(hub) == {}
    with hub.store.engine.begin() as connection:
        assert states.of_rows(connection, NAME, [stix_id(name) for name in gone]) == {}


async def test_nothing_is_given_up_while_a_partner_is_cut_off(world: World) -> None:
    hub, feeder, clock = world
    await feeder.put(domain("a.example", [0]))
    suspend(hub, "meadow")
    await feeder.put(withdrawn("b.example", [0]))
    clock.now_ms = _last_added(hub) // 1_000 + DAY_MS + 1
    await delivering(hub, Partner(down=True)).give_up()
    suspend(hub, "meadow", since_ms=None)
    partner = Partner()
    await all_rounds(delivering(hub, partner))
    assert partner.names == ["a.example", stix_id("b.example")]


async def test_who_is_cut_off_while_rows_are_on_their_way_gets_no_more_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "LOOK_SECONDS", 0.01)
    hub, feeder, _ = world
    await feeder.put(domain("a.example", [0]), domain("b.example", [0]))

    class Slow(Partner):
        async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
            for row in rows:
                self.got.append(row)
                suspend(hub, "meadow")
                await asyncio.sleep(5)
            return [DELIVERED] * len(rows)

    partner = Slow()
    async with asyncio.timeout(4):
        await all_rounds(delivering(hub, partner))
    assert len(partner.got) == 1
    assert (state(hub).mark, state(hub).went) == (-1, 0)


async def test_all_that_is_urgent_overtakes_however_much_it_is(world: World) -> None:
    hub, feeder, _ = world
    for number in range(12):
        await feeder.put(domain(f"{number}.lure.example", [0]))
    urgent = [f"{number}.urgent.example" for number in range(5)]
    for name in urgent:
        await feeder.put(domain(name, [0], urgent=True))
    partner = Partner()
    work = delivering(hub, partner)
    for _ in range(3):
        await work.round()
    assert [name for name in partner.names if "urgent" in name] == urgent
    await feeder.put(domain("newest.example", [0], urgent=True))
    await work.round()
    assert "newest.example" in partner.names
    await all_rounds(work)
    assert len(partner.names) == len(set(partner.names)) == 18


@pytest.mark.parametrize("field", ["partner", "destination"])
async def test_what_was_under_way_is_nothing_to_whoever_has_the_name_now(world: World, field: str) -> None:
    hub, feeder, _ = world
    await feeder.put(domain("a.example", [0, 1]), domain("b.example", [0, 1]))
    other = instance("ridge") if field == "partner" else instance()._replace(destination="elsewhere")
    was_there = Partner()

    class Renamed(Partner):
        async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
            with hub.store.engine.begin() as connection:
                states.enter(connection, [other], NOW_MS)
            was_there.got += rows
            return [Outcome("retry", "busy")] * len(rows)

    await delivering(hub, Renamed())._push(await _first(hub))
    assert (state(hub).mark, counted(hub)) == (-1, {})
    partner = Partner()
    await all_rounds(Delivering(hub, other, partner, Random(1)))
    assert partner.names == ["a.example", "b.example"]


async def _first(hub: Hub) -> Any:
    return await hub.store.read(delivering(hub, Partner())._fresh)


async def test_what_was_brought_to_one_place_is_brought_to_the_next(world: World) -> None:
    hub, feeder, _ = world
    await feeder.put(domain("a.example", [0]), domain("b.example", [0]))
    await all_rounds(delivering(hub, Partner(lambda _row: Outcome("refused", "no-such-place"))))
    assert counted(hub) == {"dead": 2}
    moved = instance()._replace(destination="elsewhere")
    with hub.store.engine.begin() as connection:
        states.enter(connection, [moved], NOW_MS)
    partner = Partner()
    await all_rounds(Delivering(hub, moved, partner, Random(1)))
    assert partner.names == ["a.example", "b.example"]
    assert counted(hub) == {}


async def test_a_row_that_the_connector_stumbles_over_holds_up_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    hub, feeder, clock = world
    names = ["a.example", "bad.example", "c.example"]
    for name in names:
        await feeder.put(domain(name, [0]))

    def answer(row: FeedRow) -> Outcome:
        if row.value == "bad.example":
            raise KeyError(row.value)
        return DELIVERED

    partner = Partner(answer)
    await all_rounds(delivering(hub, partner, push_rows=3))
    assert (state(hub).went, counted(hub)) == (2, {"pending": 1})
    assert "bad.example" not in caplog.text
    assert stix_id("bad.example") in caplog.text
    await feeder.put(domain("d.example", [0]))
    clock.now_ms += 60_000
    await all_rounds(delivering(hub, partner, push_rows=3))
    assert (state(hub).went, counted(hub)) == (3, {"pending": 1})


async def test_a_connector_that_stumbles_over_everything_fails_as_a_whole(world: World) -> None:
    hub, feeder, _ = world
    await feeder.put(domain("a.example", [0]), domain("b.example", [0]))

    def answer(row: FeedRow) -> Outcome:
        raise KeyError(row.value)

    with pytest.raises(KeyError):
        await delivering(hub, Partner(answer)).round()
    assert (state(hub).mark, counted(hub)) == (-1, {})


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
async def test_a_pause_that_is_no_time_is_none_or_a_day(world: World, seconds: float) -> None:
    hub, feeder, clock = world
    await feeder.put(domain("a.example", [0]))
    await all_rounds(delivering(hub, Partner(lambda _row: Outcome("retry", "busy", seconds))))
    with hub.store.engine.begin() as connection:
        [kept] = states.dead(connection, NAME, 10)
    assert 0 < kept.next_ms - clock() <= 1.25 * DAY_MS


async def test_a_clock_that_is_set_back_holds_up_nothing(world: World) -> None:
    hub, feeder, clock = world
    clock.now_ms += 3_650 * DAY_MS
    await feeder.put(withdrawn("a.example", [0]))
    suspend(hub, "meadow")  # the agreement ran out by then
    await all_rounds(delivering(hub, Partner(lambda _row: Outcome("retry", "busy"))))
    clock.now_ms -= 3_650 * DAY_MS
    partner = Partner()
    await all_rounds(delivering(hub, partner))
    assert len(partner.got) == 1


def test_there_is_nothing_to_deliver_for_a_partner_that_nobody_knows(world: World) -> None:
    hub, _, _ = world
    with pytest.raises(Misconfigured):
        Delivering(hub, instance("stranger"), Partner(), Random(1))
