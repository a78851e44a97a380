"""How far each sink has applied each partition: rows compared and set in the transaction of the effects.

That makes a sink exactly-once over an at-least-once stream: on assignment the driver seeks behind the stored
position, and a batch that comes twice, or from a worker that lost the partition, finds the position taken.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from services.store import Store
from services.stream.types import Position
from services.tables import positions


async def load(store: Store, sink: str, topic: str) -> dict[int, Position]:
    """The stored positions of a sink by partition of the topic."""
    query = sa.select(positions).where(positions.c.sink == sink, positions.c.topic == topic)

    def read(connection: Connection) -> dict[int, Position]:
        return {row.partition: Position(row.epoch, row.offset) for row in connection.execute(query)}

    return await store.read(read)


def advance(connection: Connection, sink: str, topic: str, partition: int, position: Position) -> bool:
    """Stores the position if it is beyond the stored one; false means that its effects must not be written.

    Beyond is a higher epoch, or the same and a higher offset. The row stays locked until the commit, so that
    of two workers with the same batch one waits, and then is told false.
    """
    statement = upsert(connection)(positions).values(
        sink=sink, topic=topic, partition=partition, epoch=position.epoch, offset=position.offset
    )
    new = statement.excluded
    beyond = sa.or_(
        new.epoch > positions.c.epoch, sa.and_(new.epoch == positions.c.epoch, new.offset > positions.c.offset)
    )
    statement = statement.on_conflict_do_update(
        index_elements=[positions.c.sink, positions.c.topic, positions.c.partition],
        set_={"epoch": new.epoch, "offset": new.offset},
        where=beyond,
    )
    stored = connection.execute(statement.returning(positions.c.partition))
    return stored.one_or_none() is not None


def upsert(connection: Connection) -> type[sqlite.Insert] | type[postgresql.Insert]:
    """INSERT with ON CONFLICT, which both databases have and SQLAlchemy keeps in their dialects."""
    return postgresql.Insert if connection.dialect.name == "postgresql" else sqlite.Insert
