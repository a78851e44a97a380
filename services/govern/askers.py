"""Who asked for an item's standing: pages in the state of the item's partition, each of a bounded size.

An item that many relationships refer to would else be rewritten whole with each that asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from schemas.fingerprint import FINGERPRINT_BYTES
from schemas.known import HEADER_BYTES

PAGE_ENTRIES = 128

_HEADER = b"\xff" * HEADER_BYTES  # decided under no policy, and never due
_ENTRY_BYTES = 2 * FINGERPRINT_BYTES
_COUNT_BYTES = 4

Get = Callable[[bytes], bytes | None]
"""The state's value for a key."""


class Asker(NamedTuple):
    """An item that asked (its fingerprint), and the key under which it gets its answers."""

    key: bytes
    route: bytes


def is_page(value: bytes) -> bool:
    """Whether a state value is a page of askers, and no item."""
    return value.startswith(_HEADER)


def add(get: Get, item: bytes, asker: Asker) -> dict[bytes, bytes]:
    """The changes to the state that keep one more asker; none where it is among the latest already."""
    head = get(_page_key(item)) or _HEADER + bytes(_COUNT_BYTES)
    full_pages, entries = int.from_bytes(head[HEADER_BYTES:][:_COUNT_BYTES], "big"), _entries(head)
    if asker in entries:
        return {}
    changes: dict[bytes, bytes] = {}
    if len(entries) >= PAGE_ENTRIES:
        full_pages += 1
        changes[_page_key(item, full_pages)] = _page(full_pages, entries)
        entries = []
    changes[_page_key(item)] = _page(full_pages, [*entries, asker])
    return changes


def all_of(get: Get, item: bytes) -> Iterator[Asker]:
    """Everyone who asked for the item, the same possibly twice."""
    head = get(_page_key(item))
    if head is None:
        return
    yield from _entries(head)
    for number in range(1, int.from_bytes(head[HEADER_BYTES:][:_COUNT_BYTES], "big") + 1):
        yield from _entries(get(_page_key(item, number)) or b"")


def _page_key(item: bytes, number: int = 0) -> bytes:
    return item + number.to_bytes(_COUNT_BYTES, "big")


def _page(full_pages: int, entries: list[Asker]) -> bytes:
    return b"".join([_HEADER, full_pages.to_bytes(_COUNT_BYTES, "big"), *(e.key + e.route for e in entries)])


def _entries(page: bytes) -> list[Asker]:
    body = page[HEADER_BYTES + _COUNT_BYTES :]
    starts = range(0, len(body), _ENTRY_BYTES)
    return [Asker(body[s : s + FINGERPRINT_BYTES], body[s + FINGERPRINT_BYTES : s + _ENTRY_BYTES]) for s in starts]
