"""The tables of the embedded log, and what is asked of them. A record's row number is its partition's number and
its offset in one, so that a partition is one range of one b-tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from schemas.topics import Topic
from services.stream.log import PLAIN, Entry, Kind, Stamp
from services.stream.types import Record

OFFSET_BITS = 40
READ_RECORDS, READ_BYTES = 1_000, 4 * 1024 * 1024

Place = tuple[str, int]

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS log_topics (
        name TEXT PRIMARY KEY, compacted INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS log_partitions (
        id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
        next_offset INTEGER NOT NULL, first_offset INTEGER NOT NULL,
        clean_offset INTEGER NOT NULL, clean_records INTEGER NOT NULL,
        UNIQUE (topic, partition))""",
    """CREATE TABLE IF NOT EXISTS log_records (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB NOT NULL, timestamp_ms INTEGER NOT NULL,
        epoch INTEGER NOT NULL, kind INTEGER NOT NULL, mark INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS log_offsets (
        "group" TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
        PRIMARY KEY ("group", topic, partition)) WITHOUT ROWID""",
)


@dataclass
class Partition:
    """What is known of a partition without asking the database: `end` is the next offset to be written; below
    `clean` it is compacted, and `kept` records are left there."""

    id: int
    compacted: bool
    end: int
    first: int
    clean: int
    kept: int

    def row(self, offset: int) -> int:
        return (self.id << OFFSET_BITS) + offset


def cursor(connection: Connection) -> Any:
    """sqlite3's own cursor: its rows need nothing done to them."""
    return connection.connection.cursor()


def load(connection: Connection) -> dict[Place, Partition]:
    """Makes the tables where they are missing; all partitions."""
    for statement in SCHEMA:
        connection.exec_driver_sql(statement)
    rows = connection.exec_driver_sql(
        "SELECT topic, partition, id, compacted, next_offset, first_offset, clean_offset, clean_records"
        " FROM log_partitions JOIN log_topics ON name = topic ORDER BY id"
    )
    return {(topic, partition): Partition(id, bool(c), *offsets) for topic, partition, id, c, *offsets in rows}


def create(connection: Connection, topics: Sequence[Topic]) -> dict[Place, Partition]:
    """Adds the topics that are missing; all partitions."""
    at = cursor(connection)
    for topic in topics:
        at.execute("INSERT OR IGNORE INTO log_topics VALUES (?, ?)", (topic.name, topic.compacted))
        if at.rowcount:
            at.executemany(
                "INSERT INTO log_partitions"
                " (topic, partition, next_offset, first_offset, clean_offset, clean_records)"
                " VALUES (?, ?, 0, 0, 0, 0)",
                [(topic.name, partition) for partition in range(topic.partitions)],
            )
    return load(connection)


def read(connection: Connection, ranges: Sequence[tuple[Place, int, int]]) -> dict[Place, tuple[list[Entry], int]]:
    """Of each range of rows at most READ_RECORDS and about READ_BYTES, and the offset to go on from."""
    at = cursor(connection)
    found: dict[Place, tuple[list[Entry], int]] = {}
    for place, row, end in ranges:
        base = row >> OFFSET_BITS << OFFSET_BITS
        entries: list[Entry] = []
        room = READ_BYTES
        stamp = PLAIN
        at.execute(
            "SELECT * FROM log_records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (row, end, READ_RECORDS)
        )
        for id, key, value, timestamp_ms, epoch, kind, mark in at:
            if epoch != stamp.epoch or kind != stamp.kind or mark != stamp.mark:
                stamp = Stamp(epoch, Kind(kind), mark) if epoch else PLAIN
            entries.append(Entry(Record(key, value, id - base, timestamp_ms), stamp))
            room -= len(value)
            if room < 0:
                break
        more = room < 0 or len(entries) == READ_RECORDS
        found[place] = (entries, entries[-1].record.offset + 1 if more else end - base)
    return found


def committed(connection: Connection, group: str, places: Sequence[Place]) -> dict[Place, int]:
    """Where the group goes on; a place that it never had gets a row."""
    at = cursor(connection)
    at.executemany(
        "INSERT OR IGNORE INTO log_offsets SELECT ?, topic, partition, first_offset FROM log_partitions"
        " WHERE topic = ? AND partition = ?",
        [(group, *place) for place in places],
    )
    at.execute('SELECT topic, partition, next_offset FROM log_offsets WHERE "group" = ?', (group,))
    return {(topic, partition): offset for topic, partition, offset in at}


def passed(connection: Connection) -> dict[Place, int]:
    """Up to where all groups that read a partition have read it."""
    rows: Iterable[tuple[str, int, int]] = cursor(connection).execute(
        "SELECT topic, partition, min(next_offset) FROM log_offsets GROUP BY topic, partition"
    )
    return {(topic, partition): offset for topic, partition, offset in rows}
