"""PostgreSQL's advisory locks, held as long as a process does something that one at a time may do."""

from __future__ import annotations

from typing import Self

import sqlalchemy as sa
from sqlalchemy import Connection

from services.store import Store


class OnlyOne:
    """Use it as a context manager. SQLite has one process: there the lock is always held.

    If the connection breaks, the lock is gone and another process may take over; what is under way then is done
    twice, which has to be harmless.
    """

    def __init__(self, store: Store, lock: int) -> None:
        self._engine = None if store.is_sqlite else store.engine
        self._lock = lock
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def held(self) -> bool:
        """Takes the lock if it is free; true while we have it. Blocks: call it in a thread."""
        if self._engine is None:
            return True
        try:
            if self._connection is not None:
                self._connection.execute(sa.select(1))
                return True
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if connection.scalar(sa.select(sa.func.pg_try_advisory_lock(self._lock))):
                self._connection = connection
                return True
            connection.close()
        except sa.exc.OperationalError:
            self._drop()
        return False

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()  # the lock is the session's: it must not go back into the pool
            self._connection.close()
            self._connection = None
