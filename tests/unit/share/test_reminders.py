"""Who is to be reminded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bits import members, of
from services.share.reminders import Move, Told, due

ALL = of([0, 1, 2])
PATIENCE = {0: 10, 1: 10, 2: 30}
CASES = [
    ("too early", Told(100, ALL, of([])), 109, []),
    ("two are due, one is not yet", Told(100, ALL, of([])), 110, [Move(100, of([0, 1]), of([2]))]),
    ("all are", Told(100, ALL, of([])), 130, [Move(100, ALL, of([]))]),
    ("one has acknowledged", Told(100, ALL, of([1])), 130, [Move(100, of([0, 2]), of([1]))]),
    ("all have", Told(100, ALL, ALL), 1_000, []),
    ("nobody is asked who is not known any more", Told(100, of([7]), of([])), 1_000, []),
    ("others who acknowledged do not matter", Told(100, of([0]), of([1, 2])), 130, [Move(100, of([0]), of([]))]),
]


@pytest.mark.parametrize(("row", "now", "moves"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_due(row: Told, now: int, moves: list[Move]) -> None:
    assert due([row], PATIENCE, now) == moves


sets = st.sets(st.integers(0, 5)).map(of)
rows = st.lists(st.builds(Told, st.integers(0, 100), sets, sets), unique_by=lambda row: row.added)


@given(rows, st.dictionaries(st.integers(0, 5), st.integers(1, 50)), st.integers(0, 200))
def test_everyone_is_in_one_of_both_parts_and_only_who_waits_is_moved(
    told: list[Told], patience: dict[int, int], now: int
) -> None:
    moves = due(told, patience, now)
    assert len(moves) <= len(told)
    for move in moves:
        assert move.to and not move.to & move.stay
        [row] = [row for row in told if row.added == move.added]
        assert row.to == move.to | move.stay and not move.to & row.acknowledged
        assert all(row.added + patience[bit] <= now for bit in members(move.to))
