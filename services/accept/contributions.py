"""What sources can read back, in the database: written and erased with the submissions that say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import SystemRandom
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.accept.aliases import WANTED, by_keys, write_all
from services.accept.contributing import Contribution, Erased
from services.accept.names import Name, identity_of, key_of
from services.accept.packing import Effects
from services.stamps import stamps
from services.tables import contribution_names, contributions

MAX_VERSIONS = 100
"""Of one object; the oldest go first."""
MAX_CONTRIBUTIONS = 1_000_000
"""Of one source; those that were added first go first."""
_COLUMNS = ("source", "added", "stix_id", "type", "version", "version_us", "seq", "names", "body")
_NAME_COLUMNS = ("source", "name", "added")
_PAIR_BYTES = 32
_table = contributions.c


def write(connection: Connection, source: str, seq: int, at_ms: int, effects: Effects) -> None:
    """What the submission at `seq` changes: first what goes, then what comes."""
    _erase(connection, source, effects.forgotten)
    if effects.woken_as:
        _name(connection, source, effects.woken_as)
    if effects.contributions:
        _add(connection, source, seq, at_ms, effects.contributions)


def _add(connection: Connection, source: str, seq: int, at_ms: int, posted: Sequence[Contribution]) -> None:
    held = _held(connection, source, posted)
    fresh: list[Contribution] = []
    over: list[int] = []
    for each in posted:
        versions = held[each.stix_id]
        if each.version_us in versions or (each.version_us is None and versions):
            continue  # sent again
        if each.revoked:  # what it said before is not kept
            before = [us for us in versions if us is not None and us < (each.version_us or 0)]
            over += [added for us in before if (added := versions.pop(us))]
            fresh = [other for other in fresh if other.stix_id != each.stix_id or other.version_us in versions]
        versions[each.version_us] = 0
        fresh.append(each)
    _delete(connection, source, over)
    rows, names = [], []
    for added, each in zip(_stamps(connection, source, at_ms, len(fresh)), fresh, strict=True):
        pairs = [key_of(name) + identity_of(name) for name in each.names]
        version_us = added if each.version_us is None else each.version_us
        at = (source, added, each.stix_id, each.type, each.version, version_us, seq)
        rows.append((*at, b"".join(pairs), each.body))
        names += [(source, pair, added) for pair in pairs]
    if rows:
        write_all(connection, contributions.insert(), _COLUMNS, rows)
    if names:
        write_all(connection, contribution_names.insert(), _NAME_COLUMNS, names)
    _bound(connection, source, [id_ for id_, versions in held.items() if len(versions) > MAX_VERSIONS])


def _stamps(connection: Connection, source: str, at_ms: int, count: int) -> list[int]:
    """A clock for each source: it says nothing of others, and none waits for another."""
    return stamps(connection, f"{contributions.name} {source}", count, at_ms * 1_000, SystemRandom())


def _held(connection: Connection, source: str, posted: Iterable[Contribution]) -> dict[str, dict[int | None, int]]:
    """The versions that are there of these objects, and where."""
    held: dict[str, dict[int | None, int]] = {each.stix_id: {} for each in posted}
    query = sa.select(_table.stix_id, _table.version_us, _table.added)
    query = query.where(_table.source == source, _table.stix_id.in_(WANTED))
    for stix_id, version_us, added in by_keys(connection, query, sorted(held)):
        held[stix_id][version_us] = added
    return held


def _bound(connection: Connection, source: str, ids: Sequence[str]) -> None:
    query = sa.select(_table.stix_id, _table.added).where(_table.source == source, _table.stix_id.in_(WANTED))
    versions: dict[str, list[int]] = {}
    for stix_id, added in by_keys(connection, query.order_by(_table.version_us), ids):
        versions.setdefault(stix_id, []).append(added)
    _delete(connection, source, [added for some in versions.values() for added in some[:-MAX_VERSIONS]])


def _name(connection: Connection, source: str, woken: Iterable[tuple[str, Name]]) -> None:
    """What waited is found by its item from now on."""
    pairs: dict[str, list[bytes]] = {}
    for stix_id, name in woken:
        pairs.setdefault(stix_id, []).append(key_of(name) + identity_of(name))
    query = sa.select(_table.stix_id, _table.added).where(
        _table.source == source, _table.stix_id.in_(WANTED), _table.names == b""
    )
    found = list(by_keys(connection, query, sorted(pairs)))
    here = (_table.source == source) & (_table.added == sa.bindparam("row"))
    values = [{"row": added, "of_it": b"".join(dict.fromkeys(pairs[stix_id]))} for stix_id, added in found]
    if values:
        connection.execute(contributions.update().where(here).values(names=sa.bindparam("of_it")), values)
        rows = [(source, pair, added) for stix_id, added in found for pair in dict.fromkeys(pairs[stix_id])]
        write_all(connection, contribution_names.insert(), _NAME_COLUMNS, rows)


# --- what goes ----------------------------------------------------------------------------------------------------


def _erase(connection: Connection, source: str, erased: Erased) -> None:
    mine = sa.select(_table.added).where(_table.source == source)
    of_items = sa.select(contribution_names.c.added).where(
        contribution_names.c.source == source, contribution_names.c.name.in_(WANTED)
    )
    pairs = [key_of(name) + identity_of(name) for name in erased.names]
    found = set(erased.rows)
    for query, keys in (
        (mine.where(_table.stix_id.in_(WANTED)), erased.ids),
        (of_items, pairs),
        (mine.where(_table.seq.in_(WANTED)), erased.submissions),
    ):
        found.update(added for (added,) in by_keys(connection, query, list(keys)))
    _delete(connection, source, sorted(found))


def _delete(connection: Connection, source: str, rows: Sequence[int]) -> None:
    if not rows:
        return
    query = sa.select(_table.added, _table.names).where(_table.source == source, _table.added.in_(WANTED))
    names = [
        {"row": added, "of_it": pair} for added, names in by_keys(connection, query, rows) for pair in _pairs(names)
    ]
    table = contribution_names.c
    of_row = (table.source == source) & (table.name == sa.bindparam("of_it")) & (table.added == sa.bindparam("row"))
    if names:
        connection.execute(contribution_names.delete().where(of_row), names)
    here = (_table.source == source) & (_table.added == sa.bindparam("row"))
    connection.execute(contributions.delete().where(here), [{"row": added} for added in rows])


def _pairs(names: bytes) -> Iterator[bytes]:
    return (names[at : at + _PAIR_BYTES] for at in range(0, len(names), _PAIR_BYTES))


def versions(connection: Connection, source: str, stix_id: str) -> dict[int, int]:
    """Those that are there of an object, in order: its version (µs), and its row."""
    query = sa.select(_table.version_us, _table.added)
    query = query.where(_table.source == source, _table.stix_id == stix_id).order_by(_table.version_us)
    return {row.version_us: row.added for row in connection.execute(query)}


def remove(connection: Connection, source: str, rows: Sequence[int]) -> None:
    """Takes out single versions; what the hub knows of their object is not touched."""
    _delete(connection, source, rows)


def forget(connection: Connection, source: str, before_us: int, most: int) -> int:
    """Takes out at most `most` of what was added before, or is more than `MAX_CONTRIBUTIONS`; how many."""
    mine: sa.Select[Any] = sa.select(_table.added).where(_table.source == source)
    surplus = mine.order_by(_table.added.desc()).offset(MAX_CONTRIBUTIONS).limit(1)
    before_us = max(before_us, (connection.scalar(surplus) or -1) + 1)
    old = mine.where(_table.added < before_us).order_by(_table.added).limit(most)
    rows = connection.scalars(old).all()
    _delete(connection, source, rows)
    return len(rows)
