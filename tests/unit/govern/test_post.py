"""Letters arrive at least once, and the position never runs ahead of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.reference import Letter, Standing, is_letter
from schemas.topics import REFERENCES, REPORTS
from services.govern.agent import PostSink
from services.stream.types import Batch, Position, Record
from tests.fakes import FakeStreams, agreement, make_hub

ROUTE = b"r" * 16
LETTER = Letter(to="aa" * 16, of="bb" * 16, standing=Standing())


def batch(offset: int, *letters: bytes) -> Batch:
    return Batch(REFERENCES.name, 0, [(ROUTE, letter) for letter in letters], Position(1, offset), None)


async def test_a_letter_goes_to_its_addressees_partition_and_then_the_position_is_kept(tmp_path: Path) -> None:
    hub, streams = make_hub(tmp_path, [agreement("alpha")]), FakeStreams()
    sink = PostSink(hub, streams)
    record = Record(ROUTE, LETTER.to_bytes(), 0, 0)
    streams.down = ConnectionError("the broker is down")
    with pytest.raises(ConnectionError):
        await sink.apply(batch(0, sink.decode(REFERENCES.name, record)))
    assert await sink.positions(REFERENCES.name) == {}
    streams.down = None
    await sink.apply(batch(0, sink.decode(REFERENCES.name, record)))
    assert await sink.positions(REFERENCES.name) == {0: Position(1, 0)}
    [message] = streams.messages(REPORTS)
    assert (message.key, Letter.from_bytes(message.value)) == (ROUTE, LETTER)
    assert is_letter(message.value)
    hub.store.close()


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"to":"aa"}', b'{"to":"aa","of":"bb","more":1}', b"\xff"])
def test_what_is_no_letter_is_rejected(tmp_path: Path, raw: bytes) -> None:
    hub = make_hub(tmp_path, [])
    with pytest.raises(ValueError, match=r"validation|JSON|UTF-8|Field"):
        PostSink(hub, FakeStreams()).decode(REFERENCES.name, Record(ROUTE, raw, 0, 0))
    hub.store.close()
