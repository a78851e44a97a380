"""What lies in a log, and what the inner loop asks of a driver. No Faust, no Kafka, no SQLite.

Beside records, a stage writes two kinds of marks into the partitions that it owns:

* a *claim* says: from here on this partition is mine, ignore what lower epochs write after it;
* a *watermark* says: of the stage's source partition with this number, every record up to the offset `mark` is
  complete in front of here.

Every record and mark of a stage carries its epoch. An epoch of 0 means: written outside of a stage (by accept,
or by many into `tocsin.rejected`), so no claim concerns it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from services.stream.types import Record

CLAIM_KEY = b"\x00claim"  # a compacted topic wants a key and a value
CLAIM_VALUE = b"\x01"
SOURCE_EPOCH_KEY = b"\x00source-epoch"
RESERVED_KEYS = frozenset({CLAIM_KEY, SOURCE_EPOCH_KEY})


class Kind(IntEnum):
    RECORD = 0
    WATERMARK = 1
    CLAIM = 2


class Stamp(NamedTuple):
    """Who wrote it (epoch: ms since 1970, 0 if no stage), what it is, and a watermark's source offset."""

    epoch: int = 0
    kind: Kind = Kind.RECORD
    mark: int = -1


PLAIN = Stamp()


class Entry(NamedTuple):
    """A record or mark as read."""

    record: Record
    stamp: Stamp


class Draft(NamedTuple):
    """A record or mark to write."""

    key: bytes
    value: bytes
    stamp: Stamp = PLAIN


class Drafts(NamedTuple):
    """What to write to one partition, in order."""

    topic: str
    partition: int
    drafts: Sequence[Draft]


class Done(NamedTuple):
    """How far a group has worked off a partition: `offset` is the next one to read."""

    topic: str
    partition: int
    offset: int


class Port(Protocol):
    """One stage's or sink's way to the log. Any error ends the process."""

    async def write(self, batches: Sequence[Drafts]) -> list[int]:
        """Appends the batches side by side; the offset of each one's first record, once all are durable."""

    async def settle(self, outputs: Sequence[Drafts], changes: Sequence[Drafts], done: Done | None) -> int | None:
        """Outputs, then changes, then the position; none before the one ahead of it is durable.

        A log that cannot hold the position in between leaves it to the consumer's commit, which comes later.
        Returns the offset of the first of `changes` (of one partition at most), if there are any.
        """

    def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Sequence[Entry]]:
        """What is left of the offsets from `start` up to, not including, `end`."""


def claim(epoch: int) -> Draft:
    return Draft(CLAIM_KEY, CLAIM_VALUE, Stamp(epoch, Kind.CLAIM))


def watermark(epoch: int, source_offset: int) -> Draft:
    return Draft(b"", b"", Stamp(epoch, Kind.WATERMARK, source_offset))
