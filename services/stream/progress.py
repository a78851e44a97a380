"""Whether a consumer has silently stopped: records are there, nothing holds it back, and it does not move. Pure.

Faust and aiokafka both have open reports of consumers that stand still without an error; the cure is a restart,
so the service fails when this says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from services.stream.runner import Place

STALL_SECONDS = 45.0


class Seen(NamedTuple):
    """The position that a partition had, and since when (seconds, any clock that only rises)."""

    position: int
    since: float


class Progress:
    """Tell it now and then where each partition is and where it could be."""

    def __init__(self) -> None:
        self._seen: dict[Place, Seen] = {}

    def stalled(self, now: float, positions: Mapping[Place, int], ends: Mapping[Place, int]) -> Place | None:
        """A partition that could go on and has not moved for STALL_SECONDS. Leave out those held back."""
        self._seen = {
            place: seen
            if (seen := self._seen.get(place)) and seen.position == position < ends.get(place, 0)
            else Seen(position, now)
            for place, position in positions.items()
        }
        return next((place for place, seen in self._seen.items() if now - seen.since > STALL_SECONDS), None)
