"""When the keys of a partition want to be visited without a record."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping


class DueKeys:
    """A heap with lazy deletion: an entry counts only while it is the last that was set for its key."""

    def __init__(self, due_ms: Mapping[bytes, int] | None = None) -> None:
        self._due_ms = dict(due_ms or {})
        self._heap = [(due, key) for key, due in self._due_ms.items()]
        heapq.heapify(self._heap)

    def update(self, due_ms: Iterable[tuple[bytes, int | None]]) -> None:
        """Sets when each key is due (ms since 1970; None: never)."""
        for key, due in due_ms:
            if due is None:
                self._due_ms.pop(key, None)
            elif self._due_ms.get(key) != due:
                self._due_ms[key] = due
                heapq.heappush(self._heap, (due, key))

    def pop(self, now_ms: int, limit: int) -> list[bytes]:
        """At most `limit` keys whose time has come, earliest first; each is handed out once."""
        keys: list[bytes] = []
        while self._heap and self._heap[0][0] <= now_ms and len(keys) < limit:
            due, key = heapq.heappop(self._heap)
            if self._due_ms.get(key) == due:
                del self._due_ms[key]
                keys.append(key)
        return keys

    def wait_ms(self, now_ms: int, longest_ms: int) -> int:
        """How long nothing will be due, at most `longest_ms`. (An entry that no longer counts may shorten it.)"""
        return min(longest_ms, max(0, self._heap[0][0] - now_ms)) if self._heap else longest_ms
