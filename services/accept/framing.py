"""How messages lie in an outbox row: one after the other, each with its topic and lengths before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

from schemas.topics import REJECTED, REPORTS, Topic

_HEAD = Struct(">BHI")  # topic, bytes of key, bytes of value
_TOPICS = (REPORTS, REJECTED)  # a row refers to them by place: append only


class Parcel(NamedTuple):
    """One message on its way to a topic."""

    topic: Topic
    key: bytes
    value: bytes


def pack(parcels: Iterable[Parcel]) -> bytes:
    """Keys are at most 64 KiB, values at most 4 GiB long."""
    number = {topic.name: place for place, topic in enumerate(_TOPICS)}
    pieces: list[bytes] = []
    for topic, key, value in parcels:
        pieces += (_HEAD.pack(number[topic.name], len(key), len(value)), key, value)
    return b"".join(pieces)


def unpack(packed: bytes) -> Iterator[Parcel]:
    """The parcels in the order in which they were packed."""
    at = 0
    while at < len(packed):
        place, key_bytes, value_bytes = _HEAD.unpack_from(packed, at)
        at += _HEAD.size
        middle, end = at + key_bytes, at + key_bytes + value_bytes
        yield Parcel(_TOPICS[place], packed[at:middle], packed[middle:end])
        at = end
