"""The feed's rows after any sequence of states of one item."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bits import NOBODY, Bits, of
from services.share.plan import Changes, Inserted, Narrowed, Row, Wanted, plan


def row(added: int, digest: str, *to: int, details: tuple[object, ...] = ()) -> Row:
    return Row(added, digest, details, of(to))


def copy(digest: str, *to: int, details: tuple[object, ...] = ()) -> Wanted:
    return Wanted(digest, details, of(to))


CASES = [
    ("new", [], [copy("a", 0, 1)], Changes([], [], [Inserted(0, of([0, 1]))])),
    ("the same again", [row(1, "a", 0, 1)], [copy("a", 0, 1)], Changes([], [], [])),
    ("nobody", [row(1, "a", 0)], [], Changes([], [1], [])),
    ("a copy for nobody", [], [copy("a")], Changes([], [], [])),
    ("one more recipient", [row(1, "a", 0)], [copy("a", 0, 1)], Changes([], [], [Inserted(0, of([1]))])),
    ("one less", [row(1, "a", 0, 1)], [copy("a", 1)], Changes([Narrowed(1, of([1]), 0)], [], [])),
    ("another body", [row(1, "a", 0, 1)], [copy("b", 0, 1)], Changes([], [1], [Inserted(0, of([0, 1]))])),
    (
        "a part gets another body",
        [row(1, "a", 0, 1, 2)],
        [copy("a", 0, 2), copy("b", 1)],
        Changes([Narrowed(1, of([0, 2]), 0)], [], [Inserted(1, of([1]))]),
    ),
    (
        "new sightings are shown in place",
        [row(1, "a", 0, details=("monday",))],
        [copy("a", 0, details=("tuesday",))],
        Changes([Narrowed(1, of([0]), 0)], [], []),
    ),
    (
        "one body with two kinds of sightings: one of them keeps the row",
        [row(1, "a", 0, 1, details=("monday",))],
        [copy("a", 1, details=("tuesday",)), copy("a", 0, details=("monday",))],
        Changes([Narrowed(1, of([0]), 1)], [], [Inserted(0, of([1]))]),
    ),
]


@pytest.mark.parametrize(("rows", "copies", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_changes(rows: list[Row], copies: list[Wanted], expected: Changes) -> None:
    assert plan(rows, copies) == expected


RECIPIENTS = 5
# each recipient has a copy (body, details), or none
states = st.lists(
    st.none() | st.tuples(st.sampled_from("abc"), st.sampled_from(("monday", "tuesday"))),
    min_size=RECIPIENTS,
    max_size=RECIPIENTS,
)


def wanted(state: list[tuple[str, str] | None]) -> list[Wanted]:
    sets: dict[tuple[str, str], Bits] = {}
    for bit, held in enumerate(state):
        if held:
            sets[held] = Bits(sets.get(held, NOBODY) | 1 << bit)
    return [Wanted(digest, (details,), to) for (digest, details), to in sets.items()]


def carried_out(rows: list[Row], copies: list[Wanted], stamps: itertools.count[int]) -> list[Row]:
    changes = plan(rows, copies)
    by_added = {r.added: r for r in rows}
    for added in changes.deleted:
        del by_added[added]
    for narrowed in changes.narrowed:
        assert narrowed.to and narrowed.to & by_added[narrowed.added].to == narrowed.to
        details = copies[narrowed.copy].details
        by_added[narrowed.added] = by_added[narrowed.added]._replace(to=narrowed.to, details=details)
    new = [Row(next(stamps), copies[i.copy].digest, copies[i.copy].details, i.to) for i in changes.inserted if i.to]
    assert len(new) == len(changes.inserted)
    return [*by_added.values(), *new]


def seen(rows: list[Row], bit: int) -> list[Row]:
    return [r for r in rows if r.to >> bit & 1]


@given(st.lists(states, min_size=1, max_size=8))
def test_each_recipient_sees_the_last_state_and_nothing_twice(history: list[list[tuple[str, str] | None]]) -> None:
    stamps, rows = itertools.count(1), list[Row]()
    for state in history:
        before, rows = rows, carried_out(rows, wanted(state), stamps)
        split = {digest for digest, _ in filter(None, state)}
        split = {d for d in split if len({held for held in state if held and held[0] == d}) > 1}
        for bit, held in enumerate(state):
            now = seen(rows, bit)
            assert [(r.digest, *r.details) for r in now] == ([held] if held else [])
            was = seen(before, bit)
            if was and held and was[0].digest == held[0] and held[0] not in split:
                assert now[0].added == was[0].added


@given(states, states)
def test_the_same_state_twice_changes_nothing(
    first: list[tuple[str, str] | None], second: list[tuple[str, str] | None]
) -> None:
    rows = carried_out(carried_out([], wanted(first), itertools.count(1)), wanted(second), itertools.count(100))
    assert plan(rows, wanted(second)) == Changes([], [], [])


@given(states, st.lists(st.integers(0, RECIPIENTS - 1), max_size=RECIPIENTS), states)
def test_rows_that_were_split_stay_as_they_are(
    first: list[tuple[str, str] | None], moved: list[int], second: list[tuple[str, str] | None]
) -> None:
    """As reminders leave them: one body in several rows, each for others. Whoever still has it keeps its place."""
    rows = carried_out([], wanted(first), itertools.count(1))
    stamps, apart = itertools.count(100), of(moved)
    split = [
        part
        for r in rows
        for part in (r._replace(to=r.to & ~apart), r._replace(added=next(stamps), to=r.to & apart))
        if part.to
    ]
    assert plan(split, wanted(first)) == Changes([], [], [])
    after = carried_out(split, wanted(second), itertools.count(1_000))
    for bit, (before, held) in enumerate(zip(first, second, strict=True)):
        now = seen(after, bit)
        assert [(r.digest, *r.details) for r in now] == ([held] if held else [])
        if before == held and held and len({h for h in second if h and h[0] == held[0]}) == 1:
            assert [r.added for r in now] == [r.added for r in seen(split, bit)]


class Counted(str):
    """A digest that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)  # type: ignore[arg-type]


def test_a_thousand_copies_of_one_item_cost_a_thousand_steps() -> None:
    count = 1_000
    rows = [row(n, Counted(f"d{n}"), n) for n in range(count)]
    copies = [copy(Counted(f"d{n}"), n) for n in range(count)]
    Counted.compared = 0
    assert plan(rows, copies) == Changes([], [], [])
    assert Counted.compared < 5 * count
