"""Who asked: kept in pages, told completely, and never taken for an item."""

from __future__ import annotations

import pytest

from services.govern import askers
from services.govern.askers import PAGE_ENTRIES, Asker, add, all_of, is_page

ITEM = b"i" * 16


def asker(number: int) -> Asker:
    return Asker(number.to_bytes(16, "big"), (number + 1).to_bytes(16, "big"))


@pytest.mark.parametrize("count", [0, 1, PAGE_ENTRIES, PAGE_ENTRIES + 1, 3 * PAGE_ENTRIES + 5])
def test_everyone_who_asked_is_told(count: int) -> None:
    state: dict[bytes, bytes] = {}
    for number in range(count):
        changes = add(state.get, ITEM, asker(number))
        assert len(changes) <= 2, "an addition touches one page, or begins another"
        state |= changes
    assert set(all_of(state.get, ITEM)) == {asker(number) for number in range(count)}
    assert all(is_page(value) for value in state.values())
    assert max(map(len, state.values()), default=0) < 8_000


def test_who_asks_twice_in_a_row_is_kept_once() -> None:
    state = add({}.get, ITEM, asker(1))
    assert add(state.get, ITEM, asker(1)) == {}


def test_items_do_not_share_pages() -> None:
    state: dict[bytes, bytes] = add({}.get, ITEM, asker(1))
    state |= add(state.get, b"j" * 16, asker(2))
    assert list(all_of(state.get, ITEM)) == [asker(1)]


def test_an_item_is_no_page() -> None:
    assert not is_page(b"\0" * 16 + b"{}")
    assert askers.is_page(next(iter(add({}.get, ITEM, asker(1)).values())))
