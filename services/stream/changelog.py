"""A stage's state in its changelog: claimed, recovered, and watched as long as we own the partition.

Taking over a partition: claim it in the changelog, then in the outputs, then read the changelog up to the claim.
In this order a late write of the owner before can't be split the wrong way: if its output lies behind our claim
(and is ignored), so does its state. If the log knows a higher epoch than our clock gives, claim again above it.

While we own the partition nobody else should write to its changelog. If the offsets of our own writes show that
somebody did, it was either the owner before, late (its values are repaired at once, see `recovery.py`), or the
owner after us, who has claimed it (then we are the late one, and stop).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.stream.log import CLAIM_KEY, Draft, Drafts, Port, Stamp, claim
from services.stream.recovery import Recovered
from services.stream.state import State


class TakenOver(Exception):
    """Another worker has claimed the partition: this one must not write any more."""


class Changelog:
    """One partition of a state topic. `outputs` are the topics that are claimed with it."""

    def __init__(self, port: Port, topic: str, partition: int, outputs: Sequence[str]) -> None:
        self.epoch = 0
        self._port = port
        self._topic = topic
        self._partition = partition
        self._outputs = outputs
        self._end = 0

    async def take_over(self, clock: Callable[[], int], state: State) -> None:
        """Claims the partition and reads its state into `state`."""
        recovered = Recovered()
        while self.epoch <= recovered.epoch:
            self.epoch = max(clock(), recovered.epoch + 1)
            start, end = self._end, await self._claim()
            async for entries in self._port.read(self._topic, self._partition, start, end):
                state.change(recovered.apply(entries))
            self._end = end + 1
        await self._write(recovered.repairs(state.view))

    async def watch(self, first: int, count: int, good: Callable[[bytes], bytes]) -> None:
        """Looks at what came between our last write and our write of `count` records at offset `first`.

        `good` gives the value that a key should have (empty: none). Raises `TakenOver`.
        """
        start, self._end = self._end, first + count
        if first == start:
            return
        foreign: set[bytes] = set()
        async for entries in self._port.read(self._topic, self._partition, start, first):
            for record, stamp in entries:
                if stamp.epoch > self.epoch:
                    raise TakenOver(f"{self._topic}/{self._partition} has another owner")
                if stamp.epoch != self.epoch and record.key != CLAIM_KEY:
                    foreign.add(record.key)
        await self._write([(key, good(key)) for key in sorted(foreign)])

    async def _claim(self) -> int:
        """The offset of the claim in the changelog."""
        draft = [claim(self.epoch)]
        [offset] = await self._port.write([Drafts(self._topic, self._partition, draft)])
        await self._port.write([Drafts(topic, self._partition, draft) for topic in self._outputs])
        return offset

    async def _write(self, values: Sequence[tuple[bytes, bytes]]) -> None:
        if values:
            drafts = [Draft(key, value, Stamp(self.epoch)) for key, value in values]
            [first] = await self._port.write([Drafts(self._topic, self._partition, drafts)])
            if first == self._end:
                self._end += len(drafts)
