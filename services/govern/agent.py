"""The post: forwards letters between items from where the core wrote them to the partition of their addressee.

The core writes into its own partition only, so that of two owners of it the late one can be told apart; the
topic of reports has writers without such a claim. A letter that comes twice changes nothing the second time.
"""

from __future__ import annotations

from schemas.reference import Letter
from schemas.topics import REFERENCES, REPORTS, Topic
from services import positions
from services.hub import Hub
from services.stream.types import Batch, Message, Position, Record, Streams

LETTERS_PER_APPEND = 5_000


class PostSink:
    """Forwards each letter at least once, in order."""

    name = "post"
    sources: tuple[Topic, ...] = (REFERENCES,)

    def __init__(self, hub: Hub, streams: Streams) -> None:
        self._hub = hub
        self._streams = streams

    def decode(self, topic: str, record: Record) -> bytes:
        Letter.from_bytes(record.value)
        return record.value

    async def positions(self, topic: str) -> dict[int, Position]:
        return await positions.load(self._hub.store, self.name, topic)

    async def apply(self, batch: Batch) -> None:
        """The position is stored after the letters are durable: a crash in between sends them again."""
        messages = [Message(route, letter) for route, letter in batch.items]
        for start in range(0, len(messages), LETTERS_PER_APPEND):
            await self._streams.append(REPORTS, messages[start : start + LETTERS_PER_APPEND])
        await self._hub.store.write(
            lambda connection: positions.advance(
                connection, self.name, batch.topic, batch.partition, batch.position
            )
        )
