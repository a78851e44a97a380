"""The relay: in order, nothing lost, a crash repeats under the same number, a broken broker only delays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path

import pytest
import sqlalchemy as sa

from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.rejected import Rejected
from schemas.report import Report
from schemas.topics import REJECTED, REPORTS
from services.accept import agent, inbox
from services.accept.agent import Relay
from services.accept.inbox import find_submission, store_submission
from services.accept.names import Origin
from services.accept.packing import prepare
from services.accept.reading import Draft, Item, Reading, Refusal
from services.hub import Hub
from services.tables import outbox, submission_positions, submissions, watermarks
from tests.fakes import NOW_MS, SECRET, FakeStreams, make_hub, rows


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    monkeypatch.setattr(agent, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(agent, "LONGEST_PAUSE_SECONDS", 0.02)
    made = make_hub(tmp_path, [])
    yield made
    made.store.close()


def drafts(prefix: str, count: int) -> list[Item]:
    return [
        Draft(f"/objects/{n}", "domain", f"{prefix}{n}.example", "indicator", {"type": "indicator"}, 1, 1, 1, 1,
              Ioc("domain", f"{prefix}{n}.example"))
        for n in range(count)
    ]  # fmt: skip


async def submit(hub: Hub, name: str, items: list[Item]) -> int:
    origin = Origin(name, "alpha", NOW_MS)
    return await store_submission(hub, origin, prepare(Reading("stix", tuple(items)), origin, SECRET))


async def drain(hub: Hub) -> None:
    """Waits until the outbox is empty."""
    for _ in range(2000):
        if not await rows(hub, outbox):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the outbox does not get empty")


def reports(streams: FakeStreams) -> list[Report]:
    return [Report.from_bytes(message.value) for message in streams.messages(REPORTS)]


async def test_everything_arrives_once_in_order_with_its_number(hub: Hub) -> None:
    streams = FakeStreams(partitions=1)
    seqs = [await submit(hub, f"s{n}", drafts(f"h{n}-", 20)) for n in range(5)]
    relay = Relay(hub, streams)
    await relay.start()
    await drain(hub)
    seqs.append(await submit(hub, "later", drafts("later-", 3)))
    relay.wake.set()
    await drain(hub)
    await relay.stop()
    assert seqs == sorted(seqs)
    assert [(r.seq, r.index) for r in reports(streams)] == [
        (seq, index) for seq in seqs for index in range(20 if seq != seqs[-1] else 3)
    ]
    assert len(await rows(hub, submissions)) == 6
    assert all(row.relayed_ms == NOW_MS for row in await rows(hub, submissions))


async def test_many_waiting_submissions_go_in_one_append(hub: Hub) -> None:
    streams = FakeStreams()
    for n in range(30):
        await submit(hub, f"s{n}", drafts(f"h{n}-", 2))
    relay = Relay(hub, streams)
    await relay.start()
    await drain(hub)
    await relay.stop()
    assert streams.appends == [(REPORTS.name, 60)]


async def test_a_large_submission_goes_in_parts(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "APPEND_MESSAGES", 10)
    streams = FakeStreams()
    await submit(hub, "s", drafts("h", 25))
    relay = Relay(hub, streams)
    await relay.start()
    await drain(hub)
    await relay.stop()
    assert streams.appends == [(REPORTS.name, 10), (REPORTS.name, 10), (REPORTS.name, 5)]


async def test_positions_are_the_last_in_each_partition(hub: Hub) -> None:
    streams = FakeStreams(partitions=3)
    await submit(hub, "before", drafts("x", 10))
    seq = await submit(hub, "s", drafts("h", 40))
    relay = Relay(hub, streams)
    await relay.start()
    await drain(hub)
    await relay.stop()
    stored = {row.partition: row.offset for row in await rows(hub, submission_positions) if row.seq == seq}
    last = {
        partition: max(n for n, m in enumerate(messages) if Report.from_bytes(m.value).seq == seq)
        for partition, messages in streams.written[REPORTS.name].items()
    }
    assert stored == last


async def test_rejections_go_to_their_topic_unchanged(hub: Hub) -> None:
    streams = FakeStreams()
    await submit(hub, "s", [*drafts("h", 1), Refusal("/objects/1", ItemRefused("made-up", "x"), lambda: b"{}")])
    relay = Relay(hub, streams)
    await relay.start()
    await drain(hub)
    await relay.stop()
    assert len(reports(streams)) == 1
    [message] = streams.messages(REJECTED)
    assert Rejected.from_bytes(message.value).code == "made-up"
    assert len(await rows(hub, submission_positions)) == 1


async def test_a_crash_between_append_and_delete_repeats_the_same(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = FakeStreams(partitions=1)
    await submit(hub, "s", drafts("h", 3))

    async def crash(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(agent, "mark_relayed", crash)
        relay = Relay(hub, streams)
        await relay.start()
        assert str(await relay.failed()) == "power cut"
        await relay.stop()
    assert len(await rows(hub, outbox)) == 1
    assert (await rows(hub, submissions))[0].relayed_ms is None
    second = Relay(hub, streams)
    await second.start()
    await drain(hub)
    await second.stop()
    messages = streams.messages(REPORTS)
    assert len(messages) == 6
    assert messages[:3] == messages[3:]
    [position] = await rows(hub, submission_positions)
    assert position.offset == 5


async def test_a_broker_that_is_down_delays_and_loses_nothing(hub: Hub) -> None:
    streams = FakeStreams(partitions=1, down=ConnectionError("no broker"))
    relay = Relay(hub, streams)
    await relay.start()
    for n in range(4):
        await submit(hub, f"s{n}", drafts(f"h{n}-", 2))
        relay.wake.set()
        await asyncio.sleep(0.02)
    assert len(await rows(hub, outbox)) == 4
    streams.down = None
    await drain(hub)
    await relay.stop()
    found = reports(streams)
    assert len(found) == 8
    assert [(r.seq, r.index) for r in found] == sorted((r.seq, r.index) for r in found)


async def test_stopping_while_the_broker_is_down_ends_at_once(hub: Hub) -> None:
    relay = Relay(hub, FakeStreams(down=OSError()))
    await submit(hub, "s", drafts("h", 1))
    await relay.start()
    await asyncio.sleep(0.02)
    async with asyncio.timeout(1):
        await relay.stop()
    assert len(await rows(hub, outbox)) == 1


async def test_one_round_takes_what_fits_and_at_least_one(hub: Hub) -> None:
    for n in range(3):
        await submit(hub, f"s{n}", drafts(f"h{n}-", 10))
    assert len(await inbox.next_waiting(hub, 1)) == 1
    assert len(await inbox.next_waiting(hub, 10**9)) == 3


@pytest.mark.parametrize(
    ("reached", "state"), [({}, "relayed"), ({0: 3}, "relayed"), ({0: 4}, "done"), ({0: 9, 1: 0}, "done")]
)
async def test_done_when_the_feeds_show_it_all(hub: Hub, reached: dict[int, int], state: str) -> None:
    await submit(hub, "s", drafts("h", 5))
    before = await find_submission(hub, "s")
    assert before is not None
    assert before.state == "stored"
    relay = Relay(hub, FakeStreams(partitions=1))
    await relay.start()
    await drain(hub)
    await relay.stop()

    def mark(connection: sa.Connection) -> None:
        for partition, offset in reached.items():
            connection.execute(watermarks.insert().values(partition=partition, offset=offset))

    await hub.store.write(mark)
    after = await find_submission(hub, "s")
    assert after is not None
    assert after.state == state


# --- what is urgent -----------------------------------------------------------------------------------------------


async def put(hub: Hub, *who: str, size: int = 1) -> list[str]:
    """Stores a submission of each of these sources, in this order; a capital letter is an urgent one."""
    names = []
    for number, source in enumerate(who):
        name = f"{source}{number}"
        items = [
            item._replace(handling={"urgent": source.isupper()})
            for item in drafts(name, size)
            if isinstance(item, Draft)
        ]
        origin = Origin(name, source.lower(), NOW_MS)
        await store_submission(hub, origin, prepare(Reading("stix", tuple(items)), origin, SECRET))
        names.append(name)
    return names


async def rounds(hub: Hub, max_bytes: int) -> list[list[str]]:
    """What each round takes, until nothing is left."""
    names = {row.seq: row.id for row in await rows(hub, submissions)}
    found = []
    while head := await inbox.next_waiting(hub, max_bytes):
        found.append([names[waiting.seq] for waiting in head])
        await inbox.mark_relayed(hub, {waiting.seq: {} for waiting in head})
    return found


@pytest.mark.parametrize(
    ("who", "order"),
    [
        ("abab", "a0 b1 a2 b3"),
        ("aabB", "b2 B3 a0 a1"),
        ("aabBb", "b2 B3 a0 a1 b4"),
        ("abAcBc", "a0 b1 A2 B4 c3 c5"),
    ],
)
async def test_what_is_urgent_pulls_along_what_its_source_sent_before(hub: Hub, who: str, order: str) -> None:
    await put(hub, *who)
    assert " ".join(chain(*await rounds(hub, 10**9))) == order


@pytest.mark.parametrize("fitting", [1, 2, 3, 5, 100])
async def test_sources_keep_their_order_and_none_stands_still(hub: Hub, fitting: int) -> None:
    names = await put(hub, *"aabbbBbbAcacBbC", size=20)
    size = max(len(row.messages) for row in await rows(hub, outbox))
    taken = await rounds(hub, size * fitting)
    flat = list(chain(*taken))
    assert sorted(flat) == sorted(names)
    for source in "abc":
        of_source = [int(name[1:]) for name in flat if name[0].lower() == source]
        assert of_source == sorted(of_source)
    calm = await put(hub, "z", *"AB" * 5, size=20)
    # however much is urgent, what is not goes along
    assert calm[0] in (await rounds(hub, size * fitting))[0]


async def test_an_urgent_item_among_others_makes_its_submission_urgent(hub: Hub) -> None:
    for name, urgent in (("s", False), ("t", True)):
        [first, second] = [item for item in drafts(name, 2) if isinstance(item, Draft)]
        await submit(hub, name, [first, second._replace(handling={"urgent": urgent})])
    assert [row.urgent for row in await rows(hub, outbox)] == [False, True]
