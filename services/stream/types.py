"""What a stage is, without Faust, Kafka or SQLite: pure values and the contracts of `step` and `apply`.

A *stage* turns a chunk of one partition into outputs and state changes; a *sink* writes a chunk into the
database together with its position. The drivers (`kafka.py`, `sqlite.py`) run both, and promise:

* A stage's outputs are acknowledged, then its state changes, then the offset is committed; on the SQLite log
  all three are one transaction. A crash in between repeats the chunk. Any I/O failure ends the process.
* Outputs keep the partition number of their chunk.
* An exception in `step` (or in `decode`) is narrowed down to its record, which goes to `tocsin.rejected`;
  the rest of the chunk goes on.
* `step` is called at least once a second with whatever is due, records or not.
* A new owner of a partition writes a claim with a higher epoch before it reads its state; readers ignore
  what a lower epoch wrote after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from schemas.topics import Topic

MAX_VALUE_BYTES = 4 * 1024 * 1024
"""The largest value that a record can have; whoever makes records keeps to it."""


class Record(NamedTuple):
    """One record as it lies in a partition. An empty value on a compacted topic is a deletion."""

    key: bytes
    value: bytes
    offset: int
    timestamp_ms: int


class Chunk(NamedTuple):
    """What one call of `step` works on: records in offset order, keys whose time has come, and the clock."""

    partition: int
    records: Sequence[Record]
    due: Sequence[bytes]
    now_ms: int
    epoch: int


class Output(NamedTuple):
    """One record to write to `topic`, in the partition of the chunk."""

    topic: str
    key: bytes
    value: bytes


class Effects(NamedTuple):
    """What a step wants done: outputs in order, and state by key (None deletes).

    Keys are any bytes but the changelog's own two, which begin with a zero byte and are shorter than 16.
    """

    outputs: Sequence[Output]
    changes: Mapping[bytes, bytes | None]


Step = Callable[[Chunk, Mapping[bytes, bytes]], Effects]
"""Pure. Sees the partition's state read-only; the same chunk and state always give the same effects."""


@dataclass(frozen=True)
class Stage:
    """A stage with state.

    `due_ms(value)` reads from a state value when its key wants to be visited without a record (ms since
    1970; None: never; 0: at once). It is called at each change, and for every value behind a recovery and then
    every few hours. A due key is handed to `step` once; it comes again only after its value was set again.
    """

    name: str
    source: Topic
    state: Topic
    outputs: tuple[Topic, ...]
    step: Step
    due_ms: Callable[[bytes], int | None]
    watermark: Topic
    """Where the driver writes, behind each chunk's outputs, how far `source` has been worked off."""


class Position(NamedTuple):
    """How far a sink has applied a partition: highest epoch seen, last offset applied (-1: nothing yet)."""

    epoch: int = 0
    offset: int = -1


class Batch(NamedTuple):
    """What one call of `apply` gets: decoded values in order, and the position to store with their effects.

    `watermark` is the highest source offset of the stage before that is complete with this batch, or None.
    """

    topic: str
    partition: int
    items: Sequence[tuple[bytes, Any]]
    position: Position
    watermark: int | None


class Sink(Protocol):
    """A stage that ends in the database."""

    @property
    def name(self) -> str: ...

    @property
    def sources(self) -> tuple[Topic, ...]: ...

    def decode(self, topic: str, record: Record) -> Any:
        """Pure: parses and checks one record; what it raises rejects that record."""

    def positions(self, topic: str) -> Awaitable[dict[int, Position]]:
        """The stored positions of all partitions of a topic; the driver seeks behind them on assignment."""

    def apply(self, batch: Batch) -> Awaitable[None]:
        """Writes the effects and the position in one transaction; a position at or below the stored one
        of the same epoch, or of a lower epoch, changes nothing. Raising ends the process."""


class Message(NamedTuple):
    """A record on its way in, partitioned by its key."""

    key: bytes
    value: bytes


class Lag(NamedTuple):
    """How far a consumer is behind on one partition, in records."""

    group: str
    topic: str
    partition: int
    behind: int


class Service(Protocol):
    """Something that runs until it is stopped. `failed` completes with the reason if it dies by itself."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def failed(self) -> BaseException: ...


class StageService(Service, Protocol):
    """A running stage."""

    def renew(self, stage: Stage) -> None:
        """Goes on with `stage`, which has the same name and topics, without a restart: each partition from its next
        slice on. What is due is asked anew of every key."""


class Streams(Protocol):
    """A broker, whichever it is. `open_streams` in `services/stream/__init__.py` makes one from its URL."""

    async def start(self) -> None:
        """Connects; raises `Unavailable` where the broker does not answer."""

    async def stop(self) -> None: ...

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """Makes what is missing, with partitions, compaction and retention; existing ones are left as they are."""

    async def append(self, topic: Topic, messages: Sequence[Message]) -> list[tuple[int, int]]:
        """Writes all, returns (partition, offset) of each in order once every one is durable."""

    def run(self, worker: Stage | Sink) -> StageService:
        """A Faust app of its own (group `tocsin.<name>`) for one stage or sink."""

    async def lag(self) -> list[Lag]:
        """Of every group that was ever run, for each partition of its sources."""
