"""The pure parts of the inner loop, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from schemas.errors import ItemRefused, Misconfigured
from services.stream.due import LOOK_KEYS, WINDOW_MS, DueKeys
from services.stream.kafka_client import headers, stamp
from services.stream.log import CLAIM_KEY, PLAIN, RESERVED_KEYS, Entry, Kind, Stamp
from services.stream.narrow import Overlay, Rejection, attempt, work
from services.stream.progress import STALL_SECONDS, Progress
from services.stream.recovery import Recovered
from services.stream.rejecting import of_key, of_record
from services.stream.state import MemoryState
from services.stream.types import Chunk, Effects, Output, Record, Stage
from services.stream.worker import MAX_SLICE, TURN_SECONDS, Pace, sift
from tests.contract.streams.tally import Names


def entry(key: bytes, value: bytes = b"v", epoch: int = 0, kind: Kind = Kind.RECORD, mark: int = -1) -> Entry:
    return Entry(Record(key, value, 0, 0), Stamp(epoch, kind, mark) if epoch else PLAIN)


def claim(epoch: int) -> Entry:
    return entry(CLAIM_KEY, b"\x01", epoch, Kind.CLAIM)


@pytest.mark.parametrize(
    ("entries", "state", "epoch", "repairs"),
    [
        ([], {}, 0, []),
        ([entry(b"a", b"1", 5), entry(b"a", b"2", 5)], {b"a": b"2"}, 5, []),
        ([entry(b"a", b"1", 5), entry(b"a", b"", 5)], {}, 5, []),
        ([entry(b"a", b"1", 5), claim(7)], {b"a": b"1"}, 7, []),
        ([claim(5), entry(b"a", b"1", 5), claim(7), entry(b"a", b"2", 7)], {b"a": b"2"}, 7, []),
        # a late write is ignored and repaired, with the good value or with none
        ([claim(7), entry(b"a", b"1", 7), entry(b"a", b"2", 5)], {b"a": b"1"}, 7, [(b"a", b"1")]),
        ([claim(7), entry(b"a", b"2", 5)], {}, 7, [(b"a", b"")]),
        ([entry(b"a", b"1", 5), claim(7), entry(b"a", b"", 5)], {b"a": b"1"}, 7, [(b"a", b"1")]),
        # and no longer, once a good value lies behind it
        ([claim(7), entry(b"a", b"2", 5), entry(b"a", b"3", 7)], {b"a": b"3"}, 7, []),
        # a claim that compaction has removed is known from what its owner wrote
        ([entry(b"b", b"1", 7), entry(b"a", b"2", 5), claim(9)], {b"b": b"1"}, 9, [(b"a", b"")]),
        ([claim(9), claim(7)], {}, 9, []),
        ([claim(9), entry(b"a", b"1")], {b"a": b"1"}, 9, []),
    ],
)
def test_recovery(entries: Sequence[Entry], state: dict[bytes, bytes], epoch: int, repairs: object) -> None:
    for size in (1, 2, len(entries) or 1):
        recovered, kept = Recovered(), MemoryState()
        for start in range(0, len(entries), size):
            kept.change(recovered.apply(entries[start : start + size]))
        assert (kept.view, recovered.epoch, recovered.repairs(kept.view)) == (state, epoch, repairs)


@pytest.mark.parametrize(
    ("entries", "before", "keys", "after", "mark"),
    [
        ([entry(b"a"), entry(b"b")], 9, [b"a", b"b"], 9, -1),
        ([claim(7), entry(b"a", epoch=7), entry(b"b", epoch=5)], 5, [b"a"], 7, -1),
        ([entry(b"a", epoch=5), claim(7), entry(b"b", epoch=5)], 0, [b"a"], 7, -1),
        ([entry(b"", epoch=7, kind=Kind.WATERMARK, mark=4)], 7, [], 7, 4),
        ([entry(b"", epoch=5, kind=Kind.WATERMARK, mark=4)], 7, [], 7, -1),
        ([entry(b"", epoch=7, kind=Kind.WATERMARK, mark=m) for m in (4, 9, 6)], 0, [], 7, 9),
    ],
)
def test_sift(entries: Sequence[Entry], before: int, keys: list[bytes], after: int, mark: int) -> None:
    sifted = sift(entries, before)
    assert ([record.key for record in sifted.records], sifted.epoch, sifted.mark) == (keys, after, mark)


class Kept:
    """A state that is nothing but when each key is due, and its due keys."""

    def __init__(self, due_ms: Mapping[bytes, int | None]) -> None:
        self.state = dict(due_ms)
        self.due = DueKeys(lambda: iter(list(self.state)), self.state.get)

    def set(self, key: bytes, due: int | None) -> None:
        self.state[key] = due
        self.due.update([(key, due)])


def test_due_keys_come_once_in_order_and_only_as_last_set() -> None:
    kept = Kept({b"a": 30, b"b": 10})
    due = kept.due
    assert due.pop(0, 10) == []
    for key, at in ((b"c", 20), (b"b", 40), (b"d", 15), (b"d", None)):
        kept.set(key, at)
    assert due.wait_ms(5, 1_000) == 5
    assert due.pop(19, 10) == []
    assert due.pop(40, 1) == [b"c"]
    assert due.pop(40, 10) == [b"a", b"b"]
    assert due.pop(10**7, 10) == []
    kept.set(b"a", 50)
    kept.set(b"a", 50)
    assert due.pop(50, 10) == [b"a"]
    assert due.pop(50, 10) == []
    kept.set(b"a", 50)
    assert due.pop(50, 10) == [b"a"]
    assert due.pop(10**7, 10) == []
    assert due.wait_ms(10**7, 1_000) == 1_000


HOUR_MS = 3_600_000


def walk(due: DueKeys, start: int, end: int, limit: int = 10, step: int = HOUR_MS // 4) -> dict[bytes, list[int]]:
    """Every key that is handed out on a walk through time, and when."""
    handed: dict[bytes, list[int]] = {}
    for now in range(start, end, step):
        while keys := due.pop(now, limit) or due.wait_ms(now, 1) == 0:
            for key in keys if isinstance(keys, list) else ():
                handed.setdefault(key, []).append(now)
    return handed


def test_due_keys_of_the_days_to_come_are_found_in_time_and_once() -> None:
    keys = {b"%d" % i: i * HOUR_MS for i in range(200)}
    kept = Kept({**keys, b"never": None, b"much later": 10**15})
    handed = walk(kept.due, 3 * HOUR_MS, 250 * HOUR_MS)
    assert handed == {key: [max(due, 3 * HOUR_MS)] for key, due in keys.items()}


def test_due_keys_that_are_not_due_for_long_take_no_room() -> None:
    kept = Kept({b"%d" % i: WINDOW_MS + i for i in range(5_000)})
    for _ in range(10):
        assert kept.due.pop(0, 10) == []
    for key in list(kept.state):
        kept.set(key, 2 * WINDOW_MS)
    assert kept.due.wait_ms(0, 1_000) == 1_000
    assert not kept.due._heap and not kept.due._due_ms and not kept.due._updated


def test_due_keys_may_be_set_while_the_state_is_looked_through() -> None:
    """Those that were handed out, put off or forgotten before the look has come to them are not found again."""
    kept = Kept({b"%05d" % i: 5 for i in range(3 * LOOK_KEYS)})
    last = [b"%05d" % (3 * LOOK_KEYS - i) for i in range(1, 5)]
    assert len(kept.due.pop(10, 1)) == 1
    kept.set(last[0], 1)
    kept.set(last[1], 20)
    kept.set(last[2], None)
    kept.set(last[3], WINDOW_MS + 100)
    kept.set(b"new", 2)
    assert kept.due.pop(10, 2) == [last[0], b"new"]
    handed = walk(kept.due, 10, 30, limit=500, step=10)
    assert len(handed) == 3 * LOOK_KEYS - 4
    assert all(len(times) == 1 for times in handed.values())
    assert handed[last[1]] == [20]
    assert not {last[0], last[2], last[3], b"new"} & set(handed)


def test_a_key_that_is_always_due_holds_up_no_other() -> None:
    kept = Kept({b"always": 0, **{b"%d" % i: 7 for i in range(50)}})
    handed = set()
    for now in range(10, 200):
        for key in kept.due.pop(now, 2):
            handed.add(key)
            kept.set(key, 8 if key == b"always" else None)
    assert len(handed) == 51


def test_all_that_is_due_at_once_is_not_laid_out_at_once() -> None:
    """As after a change of policy, when everything is to be decided again."""
    kept = Kept(dict.fromkeys((b"%d" % i for i in range(20_000)), 0))
    handed = 0
    while keys := kept.due.pop(10**6, 100):
        handed += len(keys)
        assert len(kept.due._heap) <= LOOK_KEYS
        for key in keys:
            kept.set(key, 10**12)
        assert not kept.due._updated
    assert handed == 20_000


@pytest.mark.parametrize("key", sorted(RESERVED_KEYS))
def test_a_step_cannot_set_the_changelog_s_own_keys(any_names: Names, key: bytes) -> None:
    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        return Effects([], {record.key: b"1" for record in chunk.records})

    tested = stage(any_names, frozenset(), [])
    setting = Stage("s", tested.source, tested.state, (), step, tested.due_ms, tested.watermark)
    records = [Record(b"a", b"", 0, 0), Record(key, b"", 1, 0), Record(key + b"0", b"", 2, 0)]
    worked = work(setting, Chunk(0, records, (), 0, 1), {})
    assert worked.changes == {b"a": b"1", key + b"0": b"1"}
    assert [getattr(rejection.error, "code", "") for rejection in worked.rejected] == ["key-reserved"]


def stage(names: Names, bad: frozenset[bytes], calls: list[int]) -> Stage:
    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        calls.append(len(chunk.records) + len(chunk.due))
        keys = [record.key for record in chunk.records] + list(chunk.due)
        if bad & set(keys):
            raise ItemRefused("test-bad", "bad")
        number = int(state.get(b"n", b"0"))
        outputs = [Output("out", key, b"%d" % (number + i)) for i, key in enumerate(keys)]
        return Effects(outputs, {b"n": b"%d" % (number + len(keys))} if keys else {})

    return Stage("s", names.source, names.state, (names.output,), step, lambda value: int(value), names.output)


@pytest.fixture
def any_names(tmp_path: object) -> Names:
    return Names("sqlite:", tmp_path, "t")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad_records", "bad_due"),
    [
        ((), ()),
        ((0,), ()),
        ((99,), ()),
        ((50, 51), (0,)),
        (tuple(range(100)), ()),
        ((), (0, 1, 2)),
        ((3, 97), (2,)),
    ],
)
def test_narrowing_leaves_out_what_fails_and_nothing_else(
    any_names: Names, bad_records: tuple[int, ...], bad_due: tuple[int, ...]
) -> None:
    records = [Record(b"r%d" % i, b"", i, 0) for i in range(100)]
    due = [b"d%d" % i for i in range(3)]
    bad = frozenset([b"r%d" % i for i in bad_records] + [b"d%d" % i for i in bad_due])
    calls: list[int] = []
    worked = work(stage(any_names, bad, calls), Chunk(0, records, due, 0, 1), {b"n": b"7"})
    good = [key for key in [*(record.key for record in records), *due] if key not in bad]
    assert [output.key for output in worked.outputs] == good
    assert [int(output.value) for output in worked.outputs] == list(range(7, 7 + len(good)))
    assert {rejection.key for rejection in worked.rejected} == bad
    assert worked.changes == ({b"n": b"%d" % (7 + len(good))} if good else {})
    assert len(calls) <= 1 + 2 * 8 * max(1, len(bad))


def test_what_is_not_the_record_s_fault_is_raised(any_names: Names) -> None:
    def misconfigured(*_: object) -> Effects:
        raise Misconfigured("numbering-unknown", "another numbering")

    tested = stage(any_names, frozenset(), [])
    broken = Stage("s", tested.source, tested.state, (), misconfigured, tested.due_ms, tested.watermark)
    with pytest.raises(Misconfigured):
        work(broken, Chunk(0, [Record(b"", b"", 0, 0)], (), 0, 1), {})
    with pytest.raises(Misconfigured):
        attempt(misconfigured, [Record(b"", b"", 0, 0)])


def test_a_step_that_fails_on_nothing_ends_the_worker(any_names: Names) -> None:
    def fails(*_: object) -> Effects:
        raise KeyError

    tested = stage(any_names, frozenset(), [])
    broken = Stage("s", tested.source, tested.state, (), fails, tested.due_ms, tested.watermark)
    with pytest.raises(RuntimeError, match="empty chunk"):
        work(broken, Chunk(0, (), (), 0, 1), {})


def test_state_that_due_ms_cannot_read_does_not_come_in(any_names: Names) -> None:
    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        return Effects([], {record.key: record.value for record in chunk.records})

    tested = stage(any_names, frozenset(), [])
    reading = Stage("s", tested.source, tested.state, (), step, tested.due_ms, tested.watermark)
    records = [Record(b"a", b"1", 0, 0), Record(b"b", b"not a number", 1, 0), Record(b"c", b"3", 2, 0)]
    worked = work(reading, Chunk(0, records, (), 0, 1), {})
    assert worked.changes == {b"a": b"1", b"c": b"3"}
    assert worked.due_ms == [(b"a", 1), (b"c", 3)]
    assert [rejection.key for rejection in worked.rejected] == [b"b"]


def test_an_overlay_is_the_state_with_the_changes() -> None:
    overlay = Overlay({b"a": b"1", b"b": b"2"}, {b"a": None, b"c": b"3"})
    assert dict(overlay) == {b"b": b"2", b"c": b"3"}
    assert len(overlay) == 2
    assert overlay.get(b"a") is None
    assert b"a" not in overlay


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (ItemRefused("too-odd", "too\nodd", where="/x"), "too-odd", "too\\nodd"),
        (KeyError("k"), "unexpected-KeyError", "'k'"),
        (ValueError("x" * 1_000), "unexpected-ValueError", "x" * 79 + "…"),
        (ItemRefused("long", "y" * 1_000), "long", "y" * 199 + "…"),
    ],
)
def test_a_rejection_says_what_and_where_from(error: Exception, code: str, reason: str) -> None:
    rejection = Rejection(b"\xffkey", Record(b"\xffkey", b"\x00value", 12, 0), error)
    one = of_record("core", "tocsin.reports", 3, rejection, 1_795_000_000_123)
    assert (one.stage, one.code, one.reason) == ("core", code, reason)
    assert (one.origin, one.origin_topic) == ("tocsin.reports/3/12", "tocsin.reports")
    assert (one.key_bytes, one.value_bytes) == (b"\xffkey", b"\x00value")
    assert one.at == "2026-11-18T11:06:40.123Z"
    assert one.id == of_record("core", "tocsin.reports", 3, rejection, 0).id
    others = [
        of_record("share", "tocsin.reports", 3, rejection, 0),
        of_record("core", "tocsin.reports", 4, rejection, 0),
        of_key("core", "tocsin.reports", 3, rejection, 0),
    ]
    assert len({one.id, *(other.id for other in others)}) == 4


def test_pace_finds_the_size_of_a_turn() -> None:
    pace, seconds_per_record = Pace(), 0.001
    for _ in range(20):
        pace.took(pace.size, pace.size * seconds_per_record)
    assert 0.4 * TURN_SECONDS <= pace.size * seconds_per_record <= TURN_SECONDS
    for _ in range(20):
        pace.took(pace.size, 0.0)
    assert pace.size == MAX_SLICE
    pace.took(pace.size, 1_000.0)
    assert pace.size == 1
    pace.took(1, 1.0)
    assert pace.size == 1


@pytest.mark.parametrize(
    "given",
    [PLAIN, Stamp(7), Stamp(2**63, Kind.CLAIM), Stamp(7, Kind.WATERMARK, 0), Stamp(7, Kind.WATERMARK, 2**40)],
)
def test_stamps_survive_kafka_s_headers(given: Stamp) -> None:
    assert stamp(headers(given)) == given


@pytest.mark.parametrize(
    "strange", [[("epoch", b"")], [("claim", b"")], [("watermark", b"x" * 8)], [("other", b"x")]]
)
def test_strange_headers_are_no_stamp(strange: list[tuple[str, bytes]]) -> None:
    assert stamp(strange) == PLAIN


def test_a_consumer_that_stands_still_in_front_of_records_is_found() -> None:
    progress, place, other = Progress(), ("t", 0), ("t", 1)
    assert progress.stalled(0, {place: 5, other: 5}, {place: 9, other: 5}) is None
    assert progress.stalled(STALL_SECONDS, {place: 5, other: 5}, {place: 9, other: 5}) is None
    assert progress.stalled(STALL_SECONDS + 1, {place: 6, other: 5}, {place: 9, other: 5}) is None
    assert progress.stalled(STALL_SECONDS + 2, {other: 5}, {other: 9}) is None
    assert progress.stalled(2 * STALL_SECONDS, {place: 6, other: 5}, {place: 9, other: 9}) is None
    assert progress.stalled(4 * STALL_SECONDS, {place: 6, other: 7}, {place: 9, other: 9}) == place
