"""Who is to be told of a withdrawal again, since it has not acknowledged it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from schemas.bits import NOBODY, Bits, members


class Told(NamedTuple):
    """A row of the feed that says that something is withdrawn: `added` (µs), to whom, and who acknowledged it."""

    added: int
    to: Bits
    acknowledged: Bits


class Move(NamedTuple):
    """The row `added` goes to a new place for `to`, and stays where it is for `stay`."""

    added: int
    to: Bits
    stay: Bits


def due(rows: Iterable[Told], patience_us: Mapping[int, int], now_us: int) -> list[Move]:
    """Whom to remind now, row by row in the order given.

    A recipient is due if the row has been in its feed for longer than its patience (µs), counted anew each time
    that it is put there, and it has not acknowledged. Who has no patience named is never reminded.
    """
    moves = []
    for row in rows:
        waits = int(NOBODY)
        for bit in members(Bits(row.to & ~row.acknowledged)):
            if bit in patience_us and row.added + patience_us[bit] <= now_us:
                waits |= 1 << bit
        if waits:
            moves.append(Move(row.added, Bits(waits), Bits(row.to & ~waits)))
    return moves
