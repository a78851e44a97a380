"""What a changelog says of a partition's state, entry by entry. Pure.

A compacted topic keeps the last value of each key, and cannot know that the last one came from a worker that had
lost the partition and wrote late. So what a recovery ignores it also repairs: `repairs` are the good values (or
deletions) to write again behind the ignored ones, before compaction may remove them; topics are created with a
compaction lag of days for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.stream.log import CLAIM_KEY, Entry, Kind


class Recovered:
    """What was read so far; `epoch` is the highest one seen."""

    def __init__(self) -> None:
        self.epoch = 0
        self._shadowed: set[bytes] = set()

    def apply(self, entries: Iterable[Entry]) -> dict[bytes, bytes]:
        """How these entries change the state (empty: deleted)."""
        changes: dict[bytes, bytes] = {}
        shadowed = self._shadowed
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
            changes[key] = value
        return changes

    def repairs(self, state: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """Keys whose last value in the log is an ignored one, with their value in `state` (empty: none)."""
        return [(key, state.get(key, b"")) for key in sorted(self._shadowed)]
