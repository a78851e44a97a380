"""The feeds in the database, on SQLite and on PostgreSQL: what the sink writes is what each recipient reads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
import sqlalchemy as sa

from schemas.cleared import Cleared
from schemas.errors import Misconfigured
from schemas.feed import FeedRow
from schemas.topics import CLEARED
from services import stamps
from services.hub import Hub
from services.share import feeds
from services.share.agent import ShareSink
from services.share.rows import Match, Page, View
from services.stream.types import Batch, Position, Record
from services.tables import audiences, clock, feed, items, watermarks
from tests.fakes import NOW_MS, rows
from tests.unit.share.world import (
    Feeder,
    as_record,
    body,
    cleared,
    copy,
    domain,
    feeds_hub,
    recipient,
    stix_id,
    suspend,
    withdrawn,
)

NAMES = ("alpha", "beta", "gamma", "delta")


@pytest.fixture(params=["sqlite", "postgres"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    made = feeds_hub(tmp_path, map(recipient, NAMES), url)
    yield made
    made.store.close()


async def read(hub: Hub, bit: int, match: Match | None = None, limit: int = 1_000, *, live: bool = True) -> Page:
    return await hub.store.read(lambda c: feeds.page(c, View(bit, live), match or Match(), limit))


async def names(hub: Hub, bit: int, *, live: bool = True) -> list[str]:
    return [row.value for row in (await read(hub, bit, live=live)).rows]


async def test_each_recipient_reads_what_is_addressed_to_it(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0, 1]), domain("b.example", [1]), domain("c.example", [2]))
    assert [await names(hub, bit) for bit in range(4)] == [
        ["a.example"],
        ["a.example", "b.example"],
        ["c.example"],
        [],
    ]


async def test_a_row_says_all_that_the_record_does(hub: Hub) -> None:
    shown = {
        "category": "phishing",
        "confidence": 40,
        "first_seen": "2026-10-01T00:00:00.000Z",
        "tlp": "green",
        "score": 64,
        "active_until": "2026-12-01T00:00:00.000Z",
    }
    await Feeder(hub).put(domain("a.example", [0], **shown))
    [row] = (await read(hub, 0)).rows
    record = domain("a.example", [0], **shown)
    assert row == FeedRow(
        added=row.added,
        stix_id=stix_id("a.example"),
        type="indicator",
        live=True,
        modified="2026-11-01T00:00:01.000Z",
        kind="domain",
        value="a.example",
        last_seen="",
        registrable_domain="",
        urgent=False,
        body=orjson.dumps(record.copies[0].body),
        **shown,
    )


async def test_a_copys_own_spelling_stands_instead_of_the_items(hub: Hub) -> None:
    spelled = copy([0], body("a.example"), value="[a:b = 'x' AND a:c = 'y']")
    await Feeder(hub).put(cleared("a.example", 1, spelled, copy([1], body("a.example"))))
    assert [row.value for bit in (0, 1) for row in (await read(hub, bit)).rows] == [spelled.value, "a.example"]


async def test_what_is_withdrawn_says_not_even_of_what_kind_it_was(hub: Hub) -> None:
    """Else one that was reduced to a host would say of what it was."""
    gone = copy([0], body("h.example"), live=False)
    await Feeder(hub).put(cleared("http://h.example/x", 1, gone).model_copy(update={"kind": "url"}))
    [row] = (await read(hub, 0)).rows
    assert (row.live, row.kind, row.value, row.registrable_domain) == (False, "", "", "")


async def test_a_copys_own_kind_stands_instead_of_the_items(hub: Hub) -> None:
    reduced = copy([0], body("h.example"), value="h.example", kind="domain", registrable_domain="reg.example")
    whole = cleared("http://h.example/x", 1, reduced, copy([1], body("u")))
    await Feeder(hub).put(whole.model_copy(update={"kind": "url", "registrable_domain": "h.example"}))
    [first], [second] = (await read(hub, 0)).rows, (await read(hub, 1)).rows
    assert (first.kind, first.value, first.registrable_domain) == ("domain", "h.example", "reg.example")
    assert (second.kind, second.value, second.registrable_domain) == ("url", "http://h.example/x", "h.example")


async def test_what_is_urgent_comes_first_of_its_transaction(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("before.example", [0]))
    calm = [domain(f"calm{n}.example", [0]) for n in range(20)]
    await feeder.put(*calm, domain("urgent.example", [0], urgent=True))
    found = (await read(hub, 0)).rows
    assert [row.value for row in found[:2]] == ["before.example", "urgent.example"]
    assert [row.urgent for row in found] == [False, True] + [False] * 20


async def test_urgency_changes_in_place_and_no_file_changes_by_it(hub: Hub) -> None:
    def state(connection: sa.Connection) -> bytes:
        parts: list[bytes] = []
        feeds.digest(connection, View(0, True), Match(), True, parts.append)
        return b"".join(parts)

    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0]))
    [before], digest = (await read(hub, 0)).rows, await hub.store.read(state)
    again = domain("a.example", [0], urgent=True)
    await feeder.put(again.model_copy(update={"counter": 2}))
    assert (await read(hub, 0)).rows == [before._replace(urgent=True)]
    assert await hub.store.read(state) == digest


async def test_a_thousand_copies_of_one_item(hub: Hub) -> None:
    """As of an item that was redacted for each: every one of its recipients has a row of its own."""
    many = range(1_000)

    def each(counter: int) -> Cleared:
        copies = [copy([bit], body(f"{bit}.example", f"2026-11-01T00:00:0{counter}.000Z")) for bit in many]
        return cleared("a.example", counter, *copies)

    feeder = Feeder(hub)
    await feeder.put(each(1))
    assert await names(hub, 999) == ["a.example"] and len(await rows(hub, audiences)) == 1_000
    [first] = (await read(hub, 500)).rows
    await feeder.put(each(1).model_copy(update={"counter": 2}))
    assert (await read(hub, 500)).rows == [first]
    await feeder.put(each(3))
    [second] = (await read(hub, 500)).rows
    assert second.stix_id == first.stix_id == stix_id("500.example") and second.added > first.added
    assert len(await rows(hub, feed)) == 1_000


async def test_only_a_newer_version_changes_anything(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0], counter=5))
    before = await read(hub, 0)
    await feeder.put(domain("a.example", [1], counter=5), domain("a.example", [1], counter=4))
    assert await read(hub, 0) == before
    await feeder.put(cleared("a.example", 1, copy([1], body("a.example")), epoch=2))
    assert (await read(hub, 0)).rows == [] and await names(hub, 1) == ["a.example"]


async def test_of_several_versions_in_one_batch_the_newest_counts(hub: Hub) -> None:
    await Feeder(hub).put(
        domain("a.example", [0], counter=2),
        domain("a.example", [1], counter=3),
        domain("a.example", [2], counter=1),
    )
    assert [await names(hub, bit) for bit in range(3)] == [[], ["a.example"], []]


async def test_earlier_bodies_are_gone(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0, 1]))
    await feeder.put(withdrawn("a.example", [0, 1]))
    [row] = await rows(hub, feed)
    assert not row.live and "a.example" not in repr(row)
    await feeder.put(cleared("a.example", 3))
    assert await rows(hub, feed) == [] and len(await rows(hub, items)) == 1


async def test_who_keeps_its_copy_is_not_sent_it_again(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0, 1, 2]))
    [first] = (await read(hub, 0)).rows
    other = copy([2, 3], body("a.example", "2026-11-01T00:00:09.000Z"))
    same = domain("a.example", [0, 1]).copies[0]
    await feeder.put(cleared("a.example", 2, same, other))
    assert [(await read(hub, bit)).rows for bit in (0, 1)] == [[first], [first]]
    [second], [third] = (await read(hub, 2)).rows, (await read(hub, 3)).rows
    assert second == third and second.added > first.added


async def test_new_sightings_are_shown_without_sending_the_body_again(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0], last_seen="2026-11-01T00:00:00.000Z"))
    [before] = (await read(hub, 0)).rows
    seen_again = domain("a.example", [0], last_seen="2026-11-07T00:00:00.000Z")
    await feeder.put(seen_again.model_copy(update={"counter": 2}))
    assert (await read(hub, 0)).rows == [before._replace(last_seen="2026-11-07T00:00:00.000Z")]


async def test_added_rises_with_every_batch_and_within_it(hub: Hub) -> None:
    feeder = Feeder(hub)
    seen: list[int] = []
    for batch in range(5):
        await feeder.put(*(domain(f"h{batch}-{i}.example", [0]) for i in range(20)))
        added = [row.added for row in (await read(hub, 0, Match(after=max(seen, default=-1)))).rows]
        assert len(added) == 20
        seen += added
    assert all(a < b for a, b in pairwise(seen))
    [last] = await rows(hub, clock)
    assert seen[-1] <= last.value


async def test_steps_do_not_tell_how_many_rows_lie_between(hub: Hub) -> None:
    """Two batches of which one recipient gets ten rows, and another gets nothing or ninety in between: the
    spread of the ten is that of ten, not of a hundred."""
    spans: dict[int, list[int]] = {0: [], 9: []}
    now_us = NOW_MS * 1_000
    for turn in range(20):
        for between, found in spans.items():
            now_us += stamps.WINDOW_US
            mine = [domain(f"{turn}-{between}-{i}.example", [0]) for i in range(10)]
            others = [domain(f"{turn}-{between}-{i}.invalid", [1]) for i in range(10 * between)]
            feeder = Feeder(hub)
            entries = [feeder.sink.decode(CLEARED.name, as_record(r)) for r in [*mine, *others]]
            random.Random(turn).shuffle(entries)
            after = await newest(hub)
            await hub.store.write(partial(feeds.apply, entries=entries, now_us=now_us, random=random.Random(turn)))
            added = [row.added for row in (await read(hub, 0, Match(after=after))).rows]
            assert len(added) == 10
            found.append(added[-1] - added[0])
    means = {between: sum(found) / len(found) for between, found in spans.items()}
    assert 0.7 < means[9] / means[0] < 1.4


async def newest(hub: Hub) -> int:
    return await hub.store.read(lambda c: c.scalar(sa.select(sa.func.max(feed.c.added)))) or -1


async def test_a_clock_that_was_set_back_does_not_turn_added_back(hub: Hub) -> None:
    sink = ShareSink(hub, clock_us=lambda: 2_000_000_000_000_000)
    await sink.apply(Batch(CLEARED.name, 0, _items(sink, domain("a.example", [0])), Position(1, 0), None))
    sink = ShareSink(hub, clock_us=lambda: 1_000_000_000_000_000)
    await sink.apply(Batch(CLEARED.name, 0, _items(sink, domain("b.example", [0])), Position(1, 1), None))
    assert await names(hub, 0) == ["a.example", "b.example"]


def _items(sink: ShareSink, *records: object) -> list[tuple[bytes, object]]:
    return [(b"", sink.decode(CLEARED.name, as_record(r))) for r in records]  # type: ignore[arg-type]


POSITIONS = [
    (Position(1, 5), Position(1, 6), True),
    (Position(1, 5), Position(1, 5), False),
    (Position(1, 5), Position(1, 4), False),
    (Position(2, 5), Position(1, 9), False),
    (Position(1, 5), Position(2, 6), True),
]


@pytest.mark.parametrize(("stored", "new", "applied"), POSITIONS)
async def test_a_batch_is_applied_once(hub: Hub, stored: Position, new: Position, applied: bool) -> None:
    sink = ShareSink(hub)
    await sink.apply(Batch(CLEARED.name, 3, [], stored, 10))
    await sink.apply(Batch(CLEARED.name, 3, _items(sink, domain("a.example", [0])), new, 20))
    assert await names(hub, 0) == (["a.example"] if applied else [])
    assert await sink.positions(CLEARED.name) == {3: new if applied else stored}
    assert [(m.partition, m.offset) for m in await rows(hub, watermarks)] == [(3, 20 if applied else 10)]


async def test_a_failure_leaves_neither_rows_nor_position(hub: Hub) -> None:
    class Broken(random.Random):
        def sample(self, *_: object, **__: object) -> list[int]:  # type: ignore[override]
            raise OSError("no randomness")

    sink = ShareSink(hub, random=Broken())
    with pytest.raises(OSError, match="no randomness"):
        await sink.apply(Batch(CLEARED.name, 0, _items(sink, domain("a.example", [0])), Position(1, 0), 7))
    assert await sink.positions(CLEARED.name) == {}
    assert [await rows(hub, table) for table in (feed, items, audiences, watermarks)] == [[], [], [], []]


async def test_another_numbering_stops_the_process(hub: Hub) -> None:
    sink = ShareSink(hub)
    foreign = cleared("a.example", 1, copy([0], body("a.example")), numbering="another")
    with pytest.raises(Misconfigured, match="numbered under 'another'"):
        await sink.apply(Batch(CLEARED.name, 0, _items(sink, foreign), Position(1, 0), None))
    assert await rows(hub, feed) == []


POISON = [
    b"",
    b"{}",
    b"\xff",
    domain("a.example", [0]).to_bytes().replace(b'"id":', b'"di":'),
    domain("a.example", [0]).to_bytes().replace(b'"to":"1"', b'"to":"-1"'),
    domain("a.example", [0]).to_bytes().replace(b'"to":"1"', b'"to":"x"'),
    domain("a.example", [0]).model_copy(update={"fingerprint": "abcd"}).to_bytes(),
    domain("a.example", [0], active_until="soon").to_bytes(),
    domain("a.example", [0], active_until="2026-12-01T00:00:00Z").to_bytes(),
]


@pytest.mark.parametrize("value", POISON, ids=range(len(POISON)))
def test_what_can_not_be_shown_is_rejected(value: bytes, tmp_path: Path) -> None:
    hub = feeds_hub(tmp_path, [recipient("alpha")])
    with pytest.raises(ValueError):
        ShareSink(hub).decode(CLEARED.name, Record(b"k", value, 0, 0))
    hub.store.close()


async def test_filters(hub: Hub) -> None:
    malware = cleared("m", 1, copy([0, 1], body("m", type_="malware")), type_="malware")
    await Feeder(hub).put(
        domain("a.example", [0]), malware, domain("b.example", [0, 1]), withdrawn("c.example", [0])
    )
    a, m, b, c = (await read(hub, 0)).rows
    table = [
        (Match(), [a, m, b, c]),
        (Match(after=a.added), [m, b, c]),
        (Match(after=c.added), []),
        (Match(types=("malware",)), [m]),
        (Match(types=("malware", "indicator"), after=a.added), [m, b, c]),
        (Match(types=()), []),
        (Match(ids=(a.stix_id, b.stix_id)), [a, b]),
        (Match(ids=(a.stix_id,), types=("malware",)), []),
        (Match(ids=(a.stix_id,), after=a.added), []),
        (Match(versions=(a.modified,)), [a, b]),
        (Match(versions=("2020-01-01T00:00:00.000Z",)), []),
    ]
    for match, expected in table:
        assert (await read(hub, 0, match)).rows == expected, match
    assert (await read(hub, 1, Match(ids=(a.stix_id, b.stix_id)))).rows == [b]
    assert (await read(hub, 0, live=False)).rows == [c]
    assert (await read(hub, 0, Match(ids=(a.stix_id, c.stix_id)), live=False)).rows == [c]
    assert (await read(hub, 0, limit=2)) == Page([a, m], True)
    assert (await read(hub, 0, limit=4)) == Page([a, m, b, c], False)
    assert (await read(hub, 0, Match(ids=(a.stix_id, b.stix_id)), 1)) == Page([a], True)


async def test_more_speaks_of_the_own_feed_only(hub: Hub) -> None:
    await Feeder(hub).put(domain("a.example", [0, 1]), *(domain(f"x{i}.example", [0]) for i in range(30)))
    assert not (await read(hub, 1, limit=1)).more


@pytest.mark.parametrize(
    ("in_force", "suspended", "live"), [(True, False, True), (False, False, False), (True, True, False)]
)
async def test_suspension_is_looked_up_at_every_read(hub: Hub, in_force: bool, suspended: bool, live: bool) -> None:
    if suspended:
        suspend(hub, "alpha")
    assert await hub.store.read(lambda c: feeds.view(c, 0, in_force)) == View(0, live)


async def test_an_unknown_number_sees_withdrawals_at_most(hub: Hub) -> None:
    assert await hub.store.read(lambda c: feeds.view(c, 99, True)) == View(99, False)


async def test_the_digest_says_what_this_recipient_sees_and_nothing_else(hub: Hub) -> None:
    async def digest(bit: int, details: bool, chosen: Match | None = None) -> bytes:
        parts, match = list[bytes](), chosen or Match()
        await hub.store.read(lambda c: feeds.digest(c, View(bit, True), match, details, parts.append))
        return b"".join(parts)

    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0, 1]), domain("b.example", [1]))
    plain, whole = await digest(0, False), await digest(0, True)
    await feeder.put(domain("c.example", [1, 2]), domain("b.example", [2], counter=2))
    assert (await digest(0, False), await digest(0, True)) == (plain, whole)
    await feeder.put(domain("a.example", [0], last_seen="x").model_copy(update={"counter": 2}))
    assert await digest(0, False) == plain and await digest(0, True) != whole
    await feeder.put(domain("d.example", [0]))
    assert await digest(0, False) != plain
    await feeder.put(domain("e.example", [0], score=40))
    assert await digest(0, False, Match(min_score=40)) != await digest(0, False, Match(min_score=41))


SHOWN = {
    "ended.example": {"active_until": "2026-11-18T11:06:39.999Z", "score": 90},
    "now.example": {"active_until": "2026-11-18T11:06:40.000Z", "score": 60},
    "later.example": {"active_until": "2026-11-18T11:06:40.001Z", "score": 50},
    "never.example": {"score": 0},
    "unscored.example": {},
}
ACTIVE = ["later.example", "never.example", "unscored.example"]
CHOICES = [
    (Match(), [*SHOWN, "m"]),
    (Match(active_at="2026-11-18T11:06:40.000Z"), [*ACTIVE, "m"]),
    (Match(active_at="1999-01-01T00:00:00.000Z"), [*SHOWN, "m"]),
    (Match(min_score=1), ["ended.example", "now.example", "later.example", "m"]),
    (Match(min_score=60), ["ended.example", "now.example", "m"]),
    (Match(min_score=100), ["m"]),
    (Match(min_score=50, active_at="2026-11-18T11:06:40.000Z"), ["later.example", "m"]),
    (Match(min_score=50, types=("indicator",)), ["ended.example", "now.example", "later.example"]),
]


async def test_what_is_active_and_believed(hub: Hub) -> None:
    """Whatever is asked for, withdrawals are told: else who held the item would go on blocking it."""
    malware = cleared("m", 1, copy([0], body("m", type_="malware")), type_="malware")
    gone = domain("gone.example", [0], active_until="2026-01-01T00:00:00.000Z", score=0)
    gone = gone.model_copy(update={"copies": tuple(c.model_copy(update={"live": False}) for c in gone.copies)})
    await Feeder(hub).put(*(domain(name, [0], **shown) for name, shown in SHOWN.items()), malware, gone)
    for match, expected in CHOICES:
        withdrawals = [""] if match.types is None or "indicator" in match.types else []
        assert [row.value for row in (await read(hub, 0, match)).rows] == [*expected, *withdrawals], match
        ids = tuple(row.stix_id for row in (await read(hub, 0, match._replace(after=-1))).rows)
        assert len((await read(hub, 0, match._replace(ids=ids))).rows) == len(ids)


async def test_a_new_score_is_shown_without_sending_the_body_again(hub: Hub) -> None:
    feeder = Feeder(hub)
    await feeder.put(domain("a.example", [0], score=70))
    [before] = (await read(hub, 0)).rows
    again = domain("a.example", [0], score=60, active_until="2026-12-01T00:00:00.000Z")
    await feeder.put(again.model_copy(update={"counter": 2}))
    assert (await read(hub, 0)).rows == [before._replace(score=60, active_until="2026-12-01T00:00:00.000Z")]


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_paging_under_a_writer_neither_skips_nor_repeats(hub: Hub, limit: int) -> None:
    """A writer adds, changes, moves and withdraws items in many audiences while a reader pages: in the end the
    reader holds just what the feed says, and was given no version twice."""
    chance, feeder = random.Random(limit), Feeder(hub)
    counters: dict[str, int] = {}
    done = asyncio.Event()

    async def write() -> None:
        for _ in range(60):
            batch = []
            for name in {f"h{chance.randrange(80)}.example" for _ in range(chance.randint(1, 6))}:
                counters[name] = counters.get(name, 0) + 1
                to = [bit for bit in range(4) if chance.random() < 0.7]
                make = withdrawn if chance.random() < 0.2 else domain
                batch.append(make(name, to, counters[name]))
            await feeder.put(*batch)
        done.set()

    async def follow(bit: int) -> None:
        after, held, versions = -1, dict[str, FeedRow](), set[tuple[str, bytes]]()
        while True:
            finished = done.is_set()
            page = await read(hub, bit, Match(after=after), limit)
            for row in page.rows:
                assert row.added > after and (row.stix_id, row.body) not in versions
                after = row.added
                versions.add((row.stix_id, row.body))
                held[row.stix_id] = row
            if finished and not page.more:
                break
            await asyncio.sleep(0)
        final = {row.stix_id: row for row in (await read(hub, bit)).rows}
        assert {id_: held[id_] for id_ in final} == final

    await asyncio.gather(write(), *(follow(bit) for bit in range(3)))


async def test_two_writers_never_make_a_reader_skip(hub: Hub) -> None:
    """Two partitions written at once: whoever gets the later `added` also becomes visible later."""
    total, after, seen = 40, -1, 0

    async def write(partition: int) -> None:
        sink = ShareSink(hub)
        for offset in range(total):
            items_ = _items(sink, domain(f"p{partition}-{offset}.example", [0, 1]))
            await sink.apply(Batch(CLEARED.name, partition, items_, Position(1, offset), None))

    writers = asyncio.gather(write(0), write(1))
    while True:
        finished = writers.done()
        page = await read(hub, 0, Match(after=after))
        seen += len(page.rows)
        after = page.rows[-1].added if page.rows else after
        if finished:
            break
        await asyncio.sleep(0)
    await writers
    assert seen == 2 * total
