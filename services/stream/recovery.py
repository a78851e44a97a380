"""A partition's state from its changelog, entry by entry. Pure.

A compacted topic keeps the last value of each key, and cannot know that the last one came from a worker that had
lost the partition and wrote late. So what a recovery ignores it also repairs: `repairs` are the good values (or
deletions) to write again behind the ignored ones, before compaction may remove them; topics are created with a
compaction lag of days for that.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.stream.log import CLAIM_KEY, Entry, Kind


class Recovered:
    """The state so far; `epoch` is the highest one seen."""

    def __init__(self) -> None:
        self.state: dict[bytes, bytes] = {}
        self.epoch = 0
        self._shadowed: set[bytes] = set()

    def apply(self, entries: Iterable[Entry]) -> None:
        state, shadowed = self.state, self._shadowed
        checked = None
        for (key, value, _, _), stamp in entries:
            if stamp is not checked:  # readers share equal stamps
                if 0 < stamp.epoch < self.epoch:
                    if key != CLAIM_KEY:
                        shadowed.add(key)
                    continue
                self.epoch = max(self.epoch, stamp.epoch)
                if stamp.kind is not Kind.RECORD:
                    continue
                checked = stamp
            if shadowed:
                shadowed.discard(key)
            if value:
                state[key] = value
            else:
                state.pop(key, None)

    def repairs(self) -> list[tuple[bytes, bytes]]:
        """Keys whose last value in the log is an ignored one, with their good value (empty: none)."""
        return [(key, self.state.get(key, b"")) for key in sorted(self._shadowed)]
