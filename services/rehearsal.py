"""A stage and all its partitions in memory, the post between them included. Pure.

What would come of records and of time, without streams and without anything being written: for tests of the
policy, and to look at other rules before they are in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush

from schemas.errors import TocsinError
from schemas.topics import CLEARED, DECISIONS, PARTITIONS, REFERENCES
from services.stream.types import Chunk, Output, Record, Stage

MAX_ROUNDS = 1_000
SLICE = 1_000


class Rehearsal:
    """`state` is that of each partition, and is changed; what is due in it at first waits for `visit`.

    `partition_of` is the partition of a record by its key. `decisions` and `cleared` are the last ones of each
    item, by its fingerprint, as bytes. Windows are the stage's own: with none, what waits for one is due at once.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        now_ms: int,
        epoch: int = 1,
        state: Sequence[dict[bytes, bytes]] | None = None,
        partition_of: Callable[[bytes], int] = lambda key: sum(key) % PARTITIONS,
    ) -> None:
        self.stage = stage
        self.now_ms = now_ms
        self.epoch = epoch
        self.state: Sequence[dict[bytes, bytes]] = [{} for _ in range(PARTITIONS)] if state is None else state
        self.partition_of = partition_of
        self.decisions: dict[bytes, bytes] = {}
        self.cleared: dict[bytes, bytes] = {}
        self.letters = 0
        self.versions = 0
        self._waiting: list[tuple[bytes, bytes]] = []
        self._due: list[tuple[int, int, bytes]] = []
        self._rounds = 0

    def put(self, route: bytes, key: bytes, value: bytes) -> None:
        """State of an item whose reports come under `route`, as it is found there."""
        self.state[self.partition_of(route)][key] = value

    def work(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Works off records (key, value), and then letters until there are none."""
        self._rounds = 0
        self._waiting += records
        self._settle()

    def decide(self, keys: Iterable[bytes]) -> None:
        """Visits keys as if they were due, and works off the letters that follow."""
        self._rounds = 0
        self.visit(keys)
        self._settle()

    def visit(self, keys: Iterable[bytes]) -> None:
        """Visits keys as if they were due; the letters that follow lie there until the next `work`."""
        by_partition: dict[int, list[bytes]] = {}
        for key in keys:
            for partition, state in enumerate(self.state):
                if key in state:
                    by_partition.setdefault(partition, []).append(key)
        for partition, some in sorted(by_partition.items()):
            for at in range(0, len(some), SLICE):
                self._step(Chunk(partition, (), some[at : at + SLICE], self.now_ms, self.epoch))

    def pass_time(self, ms: int) -> None:
        """Lets the clock run, and works off what becomes due, in its order. With 0: what is due now."""
        end = self.now_ms + ms
        self._rounds = 0
        while (at := self._next_due_ms()) is not None and at <= end:
            if at > self.now_ms:
                self.now_ms, self._rounds = at, 0
            self._count_round()
            self.visit(self._take_due())
            self._settle()
        self.now_ms = end

    def _settle(self) -> None:
        while self._waiting:
            self._count_round()
            waiting, self._waiting = self._waiting, []
            by_partition: dict[int, list[tuple[bytes, bytes]]] = {}
            for record in waiting:
                by_partition.setdefault(self.partition_of(record[0]), []).append(record)
            for partition, some in sorted(by_partition.items()):
                for start in range(0, len(some), SLICE):
                    records = [
                        Record(key, value, start + n, self.now_ms)
                        for n, (key, value) in enumerate(some[start : start + SLICE])
                    ]
                    self._step(Chunk(partition, records, (), self.now_ms, self.epoch))

    def _step(self, chunk: Chunk) -> None:
        state = self.state[chunk.partition]
        effects = self.stage.step(chunk, state)
        for key, value in effects.changes.items():
            if not value:
                state.pop(key, None)
                continue
            state[key] = value
            if (due_ms := self.stage.due_ms(value)) is not None:
                heappush(self._due, (due_ms, chunk.partition, key))
        for output in effects.outputs:
            self._emit(output)

    def _emit(self, output: Output) -> None:
        if output.topic == REFERENCES.name:
            self.letters += 1
            self._waiting.append((output.key, output.value))
        elif output.topic == CLEARED.name:
            self.versions += 1
            self.cleared[output.key] = output.value
        elif output.topic == DECISIONS.name:
            self.decisions[output.key] = output.value

    def _next_due_ms(self) -> int | None:
        while self._due:
            at, partition, key = self._due[0]
            if self._due_of(partition, key) == at:
                return at
            heappop(self._due)  # it was set again since
        return None

    def _take_due(self) -> list[bytes]:
        """All that is due now; it comes again only after its value was set again."""
        keys: dict[bytes, None] = {}
        while self._due and self._due[0][0] <= self.now_ms:
            at, partition, key = heappop(self._due)
            if self._due_of(partition, key) == at:
                keys[key] = None
        return list(keys)

    def _due_of(self, partition: int, key: bytes) -> int | None:
        value = self.state[partition].get(key)
        return self.stage.due_ms(value) if value else None

    def _count_round(self) -> None:
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise TocsinError(
                "not-at-rest",
                f"items tell each other something new for more than {MAX_ROUNDS:,} rounds",
                hint="tell the developers: this must not happen, and a hub would be busy with it for ever",
            )
