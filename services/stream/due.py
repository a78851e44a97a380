"""When the keys of a partition want to be visited without a record."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

WINDOW_MS = 6 * 3_600 * 1_000
LOOK_KEYS = 1_000


class DueKeys:
    """Those that are due within hours, in a heap with lazy deletion: an entry counts only while it is the last that
    was set for its key. All others cost nothing: every few hours the state is looked through for what comes next,
    LOOK_KEYS at a time. `keys` gives all keys of the state, `due_of` says when one is due now (ms since 1970; None:
    never).
    """

    def __init__(self, keys: Callable[[], Iterator[bytes]], due_of: Callable[[bytes], int | None]) -> None:
        self._keys = keys
        self._due_of = due_of
        self._due_ms: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []
        self._from_ms = self._until_ms = 0
        self._left: Iterator[bytes] | None = None
        self._updated: set[bytes] = set()
        """In the heap since the look began: whatever becomes of them, the look has nothing to add."""

    def update(self, due_ms: Iterable[tuple[bytes, int | None]]) -> None:
        """Sets when each key is due, to what `due_of` says from now on."""
        for key, due in due_ms:
            if due is None or due >= self._until_ms:
                self._due_ms.pop(key, None)
                continue
            self._set(key, due)
            if self._left is not None:
                self._updated.add(key)

    def pop(self, now_ms: int, limit: int) -> list[bytes]:
        """At most `limit` keys whose time has come, each handed out once; earliest first, of those found so far."""
        if self._left is None and now_ms >= self._until_ms - WINDOW_MS // 2:
            self._from_ms, self._until_ms = self._until_ms, now_ms + WINDOW_MS
            self._left = self._keys()
        if self._left is not None:
            # where much is due at once, only as many are looked up as are handed out
            self._look(self._left, limit if self._heap and self._heap[0][0] <= now_ms else LOOK_KEYS)
        keys: list[bytes] = []
        while self._heap and self._heap[0][0] <= now_ms and len(keys) < limit:
            due, key = heapq.heappop(self._heap)
            if self._due_ms.get(key) == due:
                del self._due_ms[key]
                keys.append(key)
        return keys

    def wait_ms(self, now_ms: int, longest_ms: int) -> int:
        """How long nothing will be due, at most `longest_ms`. (An entry that no longer counts may shorten it.)"""
        if self._left is not None:
            return 0
        return min(longest_ms, max(0, self._heap[0][0] - now_ms)) if self._heap else longest_ms

    def _look(self, left: Iterator[bytes], count: int) -> None:
        keys = list(islice(left, count))
        for key in keys:
            due = self._due_of(key)
            if due is not None and self._from_ms <= due < self._until_ms and key not in self._updated:
                self._set(key, due)
        if len(keys) < count:
            self._left = None
            self._updated.clear()

    def _set(self, key: bytes, due: int) -> None:
        if self._due_ms.get(key) != due:
            self._due_ms[key] = due
            heapq.heappush(self._heap, (due, key))
