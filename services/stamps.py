"""Gives out `added`: the times by which records are ordered that somebody reads page by page.

The functions work on a connection and its transaction; which clock and which randomness is the caller's.
"""

from __future__ import annotations

from random import Random

import sqlalchemy as sa
from sqlalchemy import Connection

from services.positions import upsert
from services.tables import clock

WINDOW_US = 100_000
SPACING_US = 4


def stamps(connection: Connection, name: str, count: int, now_us: int, random: Random) -> list[int]:
    """`count` values for `added` (µs since 1970), rising, all beyond whatever was given out before for this clock.

    They lie anywhere between the last writing and now, drawn without regard to each other: with regular steps,
    or gaps drawn one by one, a recipient could reckon from its own rows how many there are that it does not
    see. The locked row keeps a later value from becoming visible before an earlier one.
    """
    if not count:
        return []
    start = max(_lock(connection, name) + 1, now_us - WINDOW_US)
    end = max(now_us, start + count * SPACING_US)
    connection.execute(clock.update().where(clock.c.name == name).values(value=end))
    return sorted(random.sample(range(start, end + 1), count))


def _lock(connection: Connection, name: str) -> int:
    query = sa.select(clock.c.value).where(clock.c.name == name).with_for_update()
    last = connection.scalar(query)
    if last is None:
        connection.execute(upsert(connection)(clock).values(name=name, value=0).on_conflict_do_nothing())
        last = connection.scalar(query)
    return int(last or 0)
