"""Lots, halves, and what a status means."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from connectors.base import DELIVERED, Outcome
from connectors.pieces import lots, send_all, verdict
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow
from tests.partners.rows import row

ROWS = [row(f"{letter}.example") for letter in "abcdefgh"]
SIZE = len(ROWS[0].body) + 2


@pytest.mark.parametrize(
    ("max_rows", "max_bytes", "sizes"),
    [
        (100, 1 << 30, [8]),
        (3, 1 << 30, [3, 3, 2]),
        (100, 2 * SIZE, [2, 2, 2, 2]),
        (100, 2 * SIZE - 1, [1] * 8),
        (100, 1, [1] * 8),
    ],
)
def test_lots_keep_within_both_bounds(max_rows: int, max_bytes: int, sizes: list[int]) -> None:
    found = list(lots(ROWS, max_rows, max_bytes))
    assert [len(lot) for lot in found] == sizes
    assert [one for lot in found for one in lot] == ROWS


def test_of_nothing_there_are_no_lots() -> None:
    assert list(lots([], 10, 10)) == []


class Sender:
    """Refuses a lot as a whole if one of `poison` is in it; after `later` calls, or `fails`, it does not
    take anything."""

    def __init__(self, poison: str = "", later: int = 99, fails: int = 99) -> None:
        self.poison, self.later, self.fails = poison, later, fails
        self.calls: list[str] = []

    async def __call__(self, rows: Sequence[FeedRow]) -> Sequence[Outcome] | str:
        names = "".join(one.value[0] for one in rows)
        self.calls.append(names)
        if len(self.calls) > self.fails:
            raise PartnerFailed("cut-off", "it was cut off", after_seconds=3)
        if len(self.calls) > self.later:
            return [Outcome("retry", "status-429", 9)] * len(rows)
        return "status-422" if set(self.poison) & set(names) else [DELIVERED] * len(rows)


async def states(sender: Sender, size: int = 8) -> str:
    outcomes = await send_all(lots(ROWS, size, 1 << 30), sender)
    return "".join({"delivered": "d", "refused": "x", "retry": "r"}[outcome.state] for outcome in outcomes)


async def test_what_is_at_fault_is_found_and_the_others_go() -> None:
    sender = Sender(poison="cf")
    assert await states(sender) == "ddxddxdd"
    assert len(sender.calls) < 2 * len(ROWS)


async def test_where_all_are_at_fault_the_effort_is_bounded() -> None:
    sender = Sender(poison="abcdefgh")
    assert await states(sender) == "xxxxxxxx"
    assert len(sender.calls) == 2 * len(ROWS) - 1


async def test_who_asks_for_a_pause_is_left_in_peace() -> None:
    sender = Sender(later=1)
    assert await states(sender, size=2) == "ddrrrrrr"
    assert sender.calls == ["ab", "cd"]


async def test_a_failure_on_the_way_leaves_what_was_done() -> None:
    sender = Sender(fails=2)
    outcomes = await send_all(lots(ROWS, 2, 1 << 30), sender)
    assert outcomes == [DELIVERED] * 4 + [Outcome("retry", "cut-off", 3)] * 4
    assert sender.calls == ["ab", "cd", "ef"]


async def test_a_failure_at_the_beginning_is_raised() -> None:
    with pytest.raises(PartnerFailed):
        await send_all(lots(ROWS, 2, 1 << 30), Sender(fails=0))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, DELIVERED) for status in (200, 201, 202, 204)),
        *((status, f"status-{status}") for status in (400, 413, 422)),
        *((status, Outcome("retry", f"status-{status}", 5)) for status in (408, 425, 429, 500, 502, 503, 504)),
        (410, Outcome("refused", "gone")),
        (404, Outcome("refused", "status-404")),
        (451, Outcome("refused", "status-451")),
    ],
)
def test_what_a_status_means(status: int, expected: Outcome | str) -> None:
    assert verdict(status, 5, 2) == (expected if isinstance(expected, str) else [expected] * 2)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "not-let-in"),
        (403, "not-let-in"),
        (407, "not-let-in"),
        (302, "status-unexpected"),
        (101, "status-unexpected"),
    ],
)
def test_a_status_that_speaks_of_us_is_a_failure(status: int, code: str) -> None:
    with pytest.raises(PartnerFailed) as failed:
        verdict(status, 0, 1, "https://horizon.example")
    assert (failed.value.code, failed.value.where) == (code, "https://horizon.example")
