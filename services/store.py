"""The database: SQLite (embedded) or PostgreSQL, through SQLAlchemy Core.

`Store` runs functions on a connection in threads of its own: writes each in one transaction, durable when
the call returns; reads each on one snapshot. SQLite has one writer thread, which the embedded log shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, event

T = TypeVar("T")


class Store:
    """A database by its URL. Calls may come from any task of one event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        self._writers = ThreadPoolExecutor(1 if self.is_sqlite else 8, "store-write")
        self._readers = ThreadPoolExecutor(4 if self.is_sqlite else 8, "store-read")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one transaction; what it raises rolls back and is raised here."""
        return await asyncio.get_running_loop().run_in_executor(self._writers, self._transact, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` on one snapshot; it must not write."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._snapshot, work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return work(connection)

    def _snapshot(self, work: Callable[[Connection], T]) -> T:
        with self.engine.connect().execution_options(tocsin_read=True) as connection:
            return work(connection)

    def close(self) -> None:
        self._writers.shutdown()
        self._readers.shutdown()
        self.engine.dispose()


# parameters are what people sent: errors, and so logs, must not quote them (hide_parameters)
def _sqlite_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": 30}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _pragmas(dbapi_connection: object, _record: object) -> None:
        dbapi_connection.isolation_level = None  # type: ignore[attr-defined]  # transactions begin below, not in the driver
        cursor = dbapi_connection.cursor()  # type: ignore[attr-defined]
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "mmap_size=67108864"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a write transaction takes its lock at once: upgraded later, it could fail for a concurrent writer
        reading = connection.get_execution_options().get("tocsin_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _postgres_engine(url: str) -> sa.Engine:
    if url.startswith("postgresql://"):
        url = "postgresql+psycopg://" + url.removeprefix("postgresql://")
    return sa.create_engine(url, pool_size=16, pool_pre_ping=True, hide_parameters=True)
