"""Gzip (RFC 1952) from strangers, piece by piece. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

CHUNK_BYTES = 64 * 1024
MAX_MEMBERS, BYTES_OF_A_MEMBER = 1_000, 1_024
"""How many members there may be however small, and how large they have to be on average beyond that: to begin each
takes its time."""


class Gunzip:
    """Unpacks what is fed to it. Members one after the other are one file (section 2.2), and zeros after them mean
    nothing, as gzip(1) has it."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._packed_bytes = self._members = 0

    @property
    def whole(self) -> bool:
        """Whether it may end here."""
        return self._member.eof

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """What is packed in it, in pieces of at most `CHUNK_BYTES`, some of them empty. Raises `zlib.error`."""
        self._packed_bytes += len(packed)
        while packed := packed.lstrip(b"\0") if self.whole else packed:
            if self.whole:
                self._begin()
            yield self._member.decompress(packed, CHUNK_BYTES)
            packed = self._member.unused_data if self.whole else self._member.unconsumed_tail

    def _begin(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS + self._packed_bytes // BYTES_OF_A_MEMBER:
            raise zlib.error("too many members")
        self._member = zlib.decompressobj(wbits=31)
