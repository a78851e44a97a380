"""Keeps the embedded log small: prunes and compacts, a little at a time between other writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection

from services.store import Store
from services.stream.sqlite_rows import Partition, Place, cursor, passed

log = logging.getLogger(__name__)

SWEEP_SECONDS = 30.0
PAGE_ROWS = 2_000
PAUSE_SECONDS = 0.01
MIN_DIRTY, MAX_DIRTY = 10_000, 200_000
KEEP_DELETIONS_SECONDS = 3_600  # longer than anybody takes to read a partition page by page

Key = tuple[int, bytes, bool]
"""Row, key, and whether it is a deletion that may go."""


class Sweeper:
    """`partitions` is the log's own view of them, and is kept up to date here."""

    def __init__(self, store: Store, partitions: Mapping[Place, Partition]) -> None:
        self._store = store
        self._partitions = partitions

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.prune()
                await self.compact()
            except Exception:
                log.exception("sweeping the embedded log failed; the next try is in %.0f s", SWEEP_SECONDS)

    async def prune(self) -> None:
        """Deletes the records of topics that are not compacted which all groups that read them have passed."""
        for place, bound in (await self._store.read(passed)).items():
            partition = self._partitions.get(place)
            if partition is None or partition.compacted:
                continue
            while partition.first < min(bound, partition.end):
                first = min(bound, partition.end, partition.first + PAGE_ROWS)
                await self._store.write(partial(_delete_below, partition, first))
                partition.first = first
                await asyncio.sleep(PAUSE_SECONDS)

    async def compact(self, min_dirty: int = MIN_DIRTY) -> None:
        """Deletes superseded keys of compacted topics where half as much is new as was left the last time.

        Works as Kafka's cleaner: the last row of each key of the new part, then one walk from the beginning.
        """
        for partition in [p for p in self._partitions.values() if p.compacted]:
            dirty = partition.end - partition.clean
            if dirty >= max(min_dirty, partition.kept // 2):
                await self._compact(partition, min(partition.end, partition.clean + MAX_DIRTY))

    async def _compact(self, partition: Partition, end: int) -> None:
        last: dict[bytes, int] = {}
        row = partition.row(partition.clean)
        while page := await self._keys(row, partition.row(end)):
            last.update((key, id) for id, key, _ in page)
            row = page[-1][0] + 1
        row, kept = partition.row(partition.first), 0
        while page := await self._keys(row, partition.row(end)):
            dead = [(id,) for id, key, gone in page if id < (at := last.get(key, id)) or (gone and id == at)]
            row = page[-1][0] + 1
            kept += len(page) - len(dead)
            if dead:
                await self._store.write(partial(_delete, dead))
            await asyncio.sleep(PAUSE_SECONDS)
        await self._store.write(partial(_remember, partition, end, kept))
        partition.clean, partition.kept = end, kept

    async def _keys(self, start: int, end: int) -> list[Key]:
        before_ms = int((time.time() - KEEP_DELETIONS_SECONDS) * 1000)
        return await self._store.read(partial(_select_keys, start, end, before_ms))


def _select_keys(start: int, end: int, before_ms: int, connection: Connection) -> list[Key]:
    rows: list[Key] = (
        cursor(connection)
        .execute(
            "SELECT id, key, value = x'' AND timestamp_ms < ? FROM log_records"
            " WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (before_ms, start, end, PAGE_ROWS),
        )
        .fetchall()
    )
    return rows


def _delete(rows: Sequence[tuple[int]], connection: Connection) -> None:
    cursor(connection).executemany("DELETE FROM log_records WHERE id = ?", rows)


def _delete_below(partition: Partition, first: int, connection: Connection) -> None:
    at = cursor(connection)
    at.execute(
        "DELETE FROM log_records WHERE id >= ? AND id < ?", (partition.row(partition.first), partition.row(first))
    )
    at.execute("UPDATE log_partitions SET first_offset = ? WHERE id = ?", (first, partition.id))


def _remember(partition: Partition, end: int, kept: int, connection: Connection) -> None:
    cursor(connection).execute(
        "UPDATE log_partitions SET clean_offset = ?, clean_records = ? WHERE id = ?", (end, kept, partition.id)
    )
