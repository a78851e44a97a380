"""Receipts, what is owed and reminders in the database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.agreement import Agreement
from schemas.cleared import Cleared
from schemas.feed import FeedRow
from schemas.receipt import Receipt
from schemas.timestamps import format_time
from schemas.topics import CLEARED
from services import owed as owing
from services.owed import Count, Marks, Owed, Times, all_marks, budget, document, owed, patience_us, times
from services.share import feeds, receipts
from services.share.agent import Reminder
from services.share.answers import Answer
from services.share.receipts import FORMER_DAYS, What
from services.share.rows import Match, View
from services.tables import audiences, feed, former, marks, metadata
from tests.fakes import NOW_MS, agreement, rows
from tests.unit.share.world import (
    RECEIVES,
    Feeder,
    as_record,
    body,
    cleared,
    copy,
    domain,
    feeds_hub,
    stix_id,
    suspend,
    withdrawn,
)

NAMES = ("alpha", "beta", "gamma")
HOUR_MS = 3_600_000
NOTHING = Owed(Count(0, False), None, Count(0, False), Count(0, False), 0)


def partner(name: str, ack_hours: int = 24, act_hours: int = 72) -> Agreement:
    return agreement(name, receives=RECEIVES, respond={"ack_hours": ack_hours, "act_hours": act_hours})


class World:
    """A hub whose clock stands still until it is moved."""

    def __init__(self, folder: Path, database: str = "", patience: tuple[int, ...] = (24, 24, 24)) -> None:
        self.now_ms = NOW_MS
        partners = [partner(name, hours) for name, hours in zip(NAMES, patience, strict=True)]
        self.hub = feeds_hub(folder, partners, database, lambda: self.now_ms)
        self.offset = 0
        self.random = random.Random(1)
        self.reminder = Reminder(self.hub, clock_us=lambda: self.now_ms * 1_000, random=self.random)

    async def put(self, *records: Cleared) -> None:
        sink = Feeder(self.hub).sink
        entries = [sink.decode(CLEARED.name, as_record(record)) for record in records]
        work = partial(feeds.apply, entries=entries, now_us=self.now_ms * 1_000, random=self.random)
        await self.hub.store.write(work)

    async def say(self, bit: int, name: str, status: str = "received", *, live: bool = True, **more: Any) -> Answer:
        receipt = Receipt.model_validate({"item": stix_id(name), "status": status, **more})
        view = View(bit, live)
        [answer] = await self.hub.store.write(lambda c: receipts.take(c, view, [receipt], self.now_ms))
        return answer

    async def owes(self, bit: int, most: int = 10_000) -> Owed:
        directory = self.hub.directory
        late = times(directory.agreements[NAMES[bit]], True, self.now_ms * 1_000)
        return await self.hub.store.read(lambda c: owed(c, bit, all_marks(c).get(bit, Marks()), late, most))

    async def expected(self, bit: int, what: What, after: int = -1, limit: int = 100) -> receipts.Page:
        late = times(self.hub.directory.agreements[NAMES[bit]], True, self.now_ms * 1_000)
        return await self.hub.store.read(
            lambda c: receipts.expected(
                c, View(bit, True), all_marks(c).get(bit, Marks()), late, what, after, limit
            )
        )

    async def ids(self, bit: int, what: What) -> list[str]:
        return [each.id for each in (await self.expected(bit, what)).expected]

    async def seen(self, bit: int) -> list[FeedRow]:
        return (await self.hub.store.read(lambda c: feeds.page(c, View(bit, True), Match(), 10_000))).rows

    async def remind(self) -> None:
        while await self.reminder.round():
            pass

    def later(self, hours: float) -> None:
        self.now_ms += int(hours * HOUR_MS)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, database)
    yield made
    made.hub.store.close()


# --- receipts -------------------------------------------------------------------------------------------------


async def test_an_id_of_others_is_answered_like_one_that_nobody_has(world: World) -> None:
    await world.put(domain("a.example", [0]))
    assert (await world.say(0, "a.example")).result == "taken"
    theirs, nobodys = await world.say(1, "a.example", "acted"), await world.say(1, "nothing.example", "acted")
    assert theirs._replace(item=None) == nobodys._replace(item=None) == Answer(None, "unknown")
    assert [row.bit for row in await rows(world.hub, receipts.receipts)] == [0]


async def test_receipts_are_kept_by_recipient_and_the_latest_word_counts(world: World) -> None:
    await world.put(domain("a.example", [0, 1]))
    await world.say(0, "a.example")
    world.later(1)
    await world.say(0, "a.example", "declined", reason="it is ours")
    await world.say(1, "a.example", "acting")
    said = await world.hub.store.read(lambda c: receipts.said(c, stix_id("a.example")))
    assert [(bit, w.status, w.reason) for bit, w in said] == [(0, "declined", "it is ours"), (1, "acting", "")]
    first = said[0][1]
    assert (first.first_ms, first.at_ms) == (NOW_MS, NOW_MS + HOUR_MS)
    assert first.history == (("received", NOW_MS), ("declined", NOW_MS + HOUR_MS))
    before = await rows(world.hub, receipts.receipts)
    again = await world.say(0, "a.example", "received", time=format_time(NOW_MS))
    assert again.result == "kept" and await rows(world.hub, receipts.receipts) == before


async def test_what_left_the_feed_in_silence_can_still_be_answered(world: World) -> None:
    await world.put(domain("a.example", [0, 1]), domain("b.example", [0]))
    await world.put(domain("a.example", [1], counter=2), cleared("b.example", 2))
    for name in ("a.example", "b.example"):
        answer = await world.say(0, name, "acted", reason=f"blocked {name}")
        assert answer.result == "taken" and not answer.withdrawn
    assert (await world.say(2, "a.example")).result == "unknown"
    assert not await world.seen(0)
    stored = repr([await rows(world.hub, table) for table in (former, receipts.receipts)])
    assert "a.example" not in stored and "b.example" not in stored
    world.later(24 * FORMER_DAYS + 1)
    await world.remind()
    assert await rows(world.hub, former) == []
    assert (await world.say(0, "b.example")).result == "unknown"


async def test_who_is_suspended_speaks_of_withdrawals_only(world: World) -> None:
    await world.put(domain("a.example", [0]), withdrawn("b.example", [0]), domain("c.example", [0]))
    await world.put(cleared("c.example", 2))
    found = [(await world.say(0, name, live=False)).result for name in ("a.example", "b.example", "c.example")]
    assert found == ["unknown", "taken", "unknown"]


async def test_several_receipts_for_one_item_in_one_body(world: World) -> None:
    await world.put(domain("a.example", [0]))
    entries = [Receipt.model_validate({"item": stix_id("a.example"), "status": s}) for s in ("acted", "acting")]
    found = await world.hub.store.write(lambda c: receipts.take(c, View(0, True), entries, world.now_ms))
    assert [answer.result for answer in found] == ["taken", "kept"]
    [row] = await rows(world.hub, receipts.receipts)
    assert row.status == "acted"


async def test_two_bodies_at_once(world: World) -> None:
    await world.put(*(domain(f"h{n}.example", [0]) for n in range(20)))
    entries = [Receipt(item=stix_id(f"h{n}.example"), status="received") for n in range(20)]

    async def send(order: list[Receipt]) -> list[Answer]:
        return await world.hub.store.write(lambda c: receipts.take(c, View(0, True), order, world.now_ms))

    answers = await asyncio.gather(*(send(order) for order in (entries, entries[::-1], entries)))
    assert {answer.result for found in answers for answer in found} == {"taken"}
    assert len(await rows(world.hub, receipts.receipts)) == 20


# --- erasing --------------------------------------------------------------------------------------------------


async def test_nothing_is_left_of_what_was_withdrawn(world: World) -> None:
    """No table of this stage has a body, a value or a reason of it when the transaction has committed."""
    shown = {"value": "secret.example", "registrable_domain": "secret.example", "category": "phishing"}
    await world.put(
        cleared("secret.example", 1, copy([0, 1], body("secret.example"), **shown)), domain("kept.example", [0])
    )
    for bit in (0, 1):
        await world.say(bit, "secret.example", "declined", reason="secret.example is ours")
    await world.say(0, "kept.example", "declined", reason="kept.example is ours")
    await world.put(withdrawn("secret.example", [0, 1]))
    await world.say(0, "secret.example", "acted", reason="secret.example: gone")
    world.later(25)
    await world.remind()
    everything = {table.name: repr(await rows(world.hub, table)) for table in metadata.sorted_tables}
    assert [name for name, text in everything.items() if "secret.example" in text] == []
    assert "kept.example is ours" in everything["receipts"]


async def test_only_who_lost_the_item_loses_its_reason(world: World) -> None:
    await world.put(domain("a.example", [0, 1]))
    for bit in (0, 1):
        await world.say(bit, "a.example", "declined", reason="ours")
    await world.put(domain("a.example", [1], counter=2))
    assert {row.bit: row.reason for row in await rows(world.hub, receipts.receipts)} == {0: "", 1: "ours"}


# --- what is owed -----------------------------------------------------------------------------------------------


async def test_a_withdrawal_is_owed_for_until_it_is_acknowledged(world: World) -> None:
    await world.put(domain("a.example", [0, 1]))
    await world.say(0, "a.example", "acted")
    assert await world.owes(0) == NOTHING
    await world.put(withdrawn("a.example", [0, 1]))
    world.later(30.1)
    for bit in (0, 1):
        found = await world.owes(bit)
        assert found.withdrawals == Count(1, False) and document(found, world.now_ms * 1_000)["oldest_hours"] == 30
        assert await world.ids(bit, "withdrawal") == [stix_id("a.example")]
    assert (await world.say(0, "a.example")).withdrawn
    assert await world.owes(0) == NOTHING and await world.ids(0, "withdrawal") == []
    assert (await world.owes(1)).withdrawals == Count(1, False)


async def test_overdue_answers(world: World) -> None:
    names = ("silent.example", "received.example", "acting.example", "declined.example", "gone.example")
    await world.put(*(domain(name, [0]) for name in names))
    for name, status in (("received.example", "received"), ("acting.example", "acting")):
        await world.say(0, name, status)
    await world.say(0, "declined.example", "declined")
    await world.put(cleared("gone.example", 2))
    table: list[tuple[float, list[str], list[str]]] = [
        (23.9, [], []),
        (0.2, ["silent.example"], []),
        (47.8, ["silent.example"], []),
        (0.2, ["silent.example"], ["silent.example", "received.example", "acting.example"]),
    ]
    for hours, acknowledge, act in table:
        world.later(hours)
        await world.remind()
        found = await world.owes(0)
        assert (found.acknowledge, found.act) == (Count(len(acknowledge), False), Count(len(act), False))
        assert set(await world.ids(0, "acknowledge")) == set(map(stix_id, acknowledge))
        assert set(await world.ids(0, "act")) == set(map(stix_id, act))


async def test_nothing_is_overdue_where_no_times_were_agreed_or_nothing_may_be_received(world: World) -> None:
    late = times(partner("x"), True, NOW_MS * 1_000)
    assert late == Times(NOW_MS * 1_000 - 24 * owing.HOUR_US, NOW_MS * 1_000 - 72 * owing.HOUR_US)
    free = partner("x").model_copy(update={"respond": None})
    assert times(free, True, 0) == times(partner("x"), False, 0) == times(None, True, 0) == Times(None, None)
    assert patience_us(free) == 24 * owing.HOUR_US and patience_us(partner("x", 5)) == 5 * owing.HOUR_US
    await world.put(domain("a.example", [0]))
    nothing = await world.hub.store.read(lambda c: owed(c, 0, Marks(), Times(None, None)))
    assert nothing == NOTHING


async def test_counting_ends_at_its_bound(world: World) -> None:
    await world.put(*(domain(f"h{n}.example", [0]) for n in range(6)))
    await world.put(*(withdrawn(f"w{n}.example", [0]) for n in range(4)))
    world.later(100)
    found = await world.owes(0, most=4)
    assert (found.withdrawals, found.acknowledge, found.act) == (Count(4, True),) * 3
    assert document(found, world.now_ms * 1_000)["more"] == ["withdrawals", "acknowledge", "act"]
    assert [budget(n) for n in (0, 1, 5, 50, 10_000)] == [10_000, 10_000, 10_000, 1_000, 1_000]


async def test_marks_go_past_what_is_answered_and_change_no_count(world: World) -> None:
    for turn in range(4):
        await world.put(*(domain(f"h{turn}-{n}.example", [0, 1] if n % 2 else [0]) for n in range(4)))
    for turn in range(3):
        for n in range(4):
            await world.say(0, f"h{turn}-{n}.example", "acted" if turn < 2 else "received")
    world.later(100)
    before = await world.owes(0)
    assert (before.acknowledge, before.act) == (Count(4, False), Count(8, False))
    await world.remind()
    assert await world.owes(0) == before
    at = [row.added for row in await world.seen(0)]
    found = {row.bit: (row.acknowledged, row.acted) for row in await rows(world.hub, marks)}
    assert found == {0: (at[11], at[7])}


async def test_pages_of_what_is_owed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "LOOKED_AT", 3)
    await world.put(*(withdrawn(f"w{n}.example", [0, 1]) for n in range(10)))
    for n in (0, 1, 2, 3, 4, 8):
        await world.say(0, f"w{n}.example")
    found, after, pages = [], -1, 0
    while True:
        page = await world.expected(0, "withdrawal", after, 2)
        found += [each.id for each in page.expected]
        assert len(page.expected) <= 2
        pages += 1
        if page.next_us is None:
            break
        assert page.next_us > after
        after = page.next_us
    assert sorted(found) == sorted(stix_id(f"w{n}.example") for n in (5, 6, 7, 9)) and pages >= 4


# --- reminders --------------------------------------------------------------------------------------------------


async def test_who_has_not_acknowledged_finds_the_withdrawal_anew(world: World) -> None:
    await world.put(domain("a.example", [0, 1, 2]), domain("other.example", [0, 1, 2]))
    await world.put(withdrawn("a.example", [0, 1, 2]))
    await world.say(1, "a.example")
    before = [(await world.seen(bit))[-1] for bit in range(3)]
    assert len(set(before)) == 1
    world.later(23.9)
    await world.remind()
    assert [(await world.seen(bit))[-1] for bit in range(3)] == before
    world.later(0.2)
    await world.remind()
    first, acknowledged, third = [(await world.seen(bit))[-1] for bit in range(3)]
    assert acknowledged == before[1] and first == third
    assert first.added > before[0].added and first._replace(added=0) == before[0]._replace(added=0)
    for bit in range(3):
        assert [row.stix_id for row in await world.seen(bit)].count(stix_id("a.example")) == 1
    [each] = (await world.expected(0, "withdrawal")).expected
    assert (each.reminded, each.since_us) == (1, before[0].added)
    assert [(await world.owes(bit)).reminders for bit in range(3)] == [1, 0, 1]
    assert document(await world.owes(0), world.now_ms * 1_000)["oldest_hours"] == 24
    world.later(25)
    await world.remind()
    assert [(await world.owes(bit)).reminders for bit in range(3)] == [2, 0, 2]
    await world.say(0, "a.example")
    world.later(25)
    await world.remind()
    assert [(await world.owes(bit)).reminders for bit in range(3)] == [2, 0, 3]


async def test_each_is_reminded_in_its_own_time(database: str, tmp_path: Path) -> None:
    world = World(tmp_path, database, patience=(5, 24, 24))
    await world.put(withdrawn("a.example", [0, 1, 2]))
    for _ in range(5):
        world.later(5.01)
        await world.remind()
    assert [(await world.owes(bit)).reminders for bit in range(3)] == [5, 1, 1]
    for bit in range(3):
        assert len(await world.seen(bit)) == 1
    world.hub.store.close()


async def test_a_split_row_stays_through_the_items_next_versions(world: World) -> None:
    gone = withdrawn("a.example", [0, 1])
    await world.put(domain("a.example", [0, 1]))
    await world.put(gone)
    await world.say(0, "a.example")
    world.later(25)
    await world.remind()
    before = [await world.seen(bit) for bit in range(2)]
    # shared again under another id, with the withdrawal as it was; then to one more
    again = cleared("a.example", 3, *gone.copies, copy([0, 1, 2], body("again.example")))
    await world.put(again)
    for bit in range(2):
        assert (await world.seen(bit))[0] == before[bit][0] and len(await world.seen(bit)) == 2
    assert (await world.owes(1)).withdrawals == Count(1, False) and (await world.owes(0)).withdrawals.number == 0
    await world.put(cleared("a.example", 4, copy([1], body("again.example"))))
    assert [len(await world.seen(bit)) for bit in range(3)] == [0, 1, 0]


async def test_a_suspended_partner_is_reminded_and_one_without_agreement_is_not(world: World) -> None:
    suspend(world.hub, "alpha")
    await world.put(withdrawn("a.example", [0, 9]))
    world.later(25)
    await world.remind()
    [told] = (await world.hub.store.read(lambda c: feeds.page(c, View(0, False), Match(), 10))).rows
    [other] = (await world.hub.store.read(lambda c: feeds.page(c, View(9, False), Match(), 10))).rows
    assert told.added > other.added


async def test_a_round_is_bounded_and_the_next_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.share.agent.ROUND_ROWS", 3)
    await world.put(*(withdrawn(f"w{n}.example", [0]) for n in range(8)))
    old = [row.added for row in await world.seen(0)]
    world.later(25)
    left = []
    while await world.reminder.round():
        left.append(len({row.added for row in await world.seen(0)} & set(old)))
    assert left[:3] == [5, 2, 0] and (await world.owes(0)).reminders == 8
    assert len(await world.seen(0)) == 8


async def test_two_that_remind_at_once_remind_once(world: World) -> None:
    await world.put(*(withdrawn(f"w{n}.example", [0, 1]) for n in range(30)))
    world.later(25)
    second = Reminder(world.hub, clock_us=lambda: world.now_ms * 1_000)
    await asyncio.gather(*(each.round() for each in (world.reminder, second, world.reminder)))
    for bit in (0, 1):
        assert len(await world.seen(bit)) == 30 and (await world.owes(bit)).reminders == 30


async def test_reminding_while_items_change(world: World) -> None:
    """Whatever comes first, in the end everyone finds each item as its last version says, once."""
    count = 20
    await world.put(*(withdrawn(f"w{n}.example", [0, 1], counter=1) for n in range(count)))
    await world.say(1, "w0.example")
    for turn in range(2, 8):
        world.later(25)
        changes = (
            cleared(f"w{n}.example", turn, *withdrawn(f"w{n}.example", [0, 1] if turn % 2 else [1], 1).copies)
            for n in range(count)
        )
        await asyncio.gather(world.reminder.round(), *map(world.put, changes), world.reminder.round())
    for bit in (0, 1):
        assert len({row.stix_id for row in await world.seen(bit)}) == len(await world.seen(bit)) == count
    assert len(await rows(world.hub, audiences)) <= 8


async def test_the_service_reminds_by_itself_and_stops(world: World) -> None:
    await world.put(withdrawn("a.example", [0]))
    world.later(25)
    await world.reminder.start()
    for _ in range(1_000):
        if (await world.owes(0)).reminders:
            break
        await asyncio.sleep(0.02)
    await world.reminder.stop()
    assert (await world.owes(0)).reminders == 1


async def test_the_service_says_of_what_it_died(world: World) -> None:
    await world.hub.store.write(lambda c: c.execute(sa.text("DROP TABLE marks")))
    await world.reminder.start()
    async with asyncio.timeout(20):
        assert isinstance(await world.reminder.failed(), sa.exc.SQLAlchemyError)


async def test_rows_from_before_are_told_of_without_a_date_of_their_own(world: World) -> None:
    await world.put(withdrawn("a.example", [0]))
    [row] = await rows(world.hub, feed)
    assert row.since is None
    [each] = (await world.expected(0, "withdrawal")).expected
    assert each.since_us == row.added


async def test_since_lasts_through_the_versions_of_an_item(world: World) -> None:
    await world.put(domain("a.example", [0]))
    [first] = await rows(world.hub, feed)
    world.later(5)
    await world.put(domain("a.example", [0, 1], counter=2))
    early = format_time(NOW_MS + HOUR_MS)
    assert (await world.say(0, "a.example", time=early)).note == ""
    [row] = await rows(world.hub, feed)
    assert row.since == first.added < row.added
    world.later(1)
    await world.put(withdrawn("a.example", [0, 1], counter=3))
    [row] = await rows(world.hub, feed)
    assert row.since is None
    assert (await world.say(0, "a.example", time=early)).result == "withdrawn"
