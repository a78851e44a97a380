"""Sets of recipients as bit sets: bit n is the partner to whom the numbering gave n.

In memory an `int`; on the wire lower-case hex. A numbering gives each partner one number, once, and never
uses it again, so a stored set stays true when partners come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NewType

Bits = NewType("Bits", int)
NOBODY = Bits(0)


def of(numbers: Iterable[int]) -> Bits:
    total = 0
    for number in numbers:
        total |= 1 << number
    return Bits(total)


def union(sets: Iterable[int]) -> Bits:
    total = 0
    for bits in sets:
        total |= bits
    return Bits(total)


def members(bits: Bits) -> Iterator[int]:
    """The numbers in it, rising."""
    rest = int(bits)
    while rest:
        low = rest & -rest
        yield low.bit_length() - 1
        rest ^= low


def to_hex(bits: Bits) -> str:
    return format(bits, "x")


def from_hex(text: str) -> Bits:
    return Bits(int(text, 16))
