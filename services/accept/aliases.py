"""What the hub keeps of a source from one submission to the next: its ids, what waits, and its snapshots.

`look_up` reads it before a submission is understood, `write` changes it in the transaction that stores the
submission. In between another submission of the same source may have been stored: see `inbox.Overtaken`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.agreement import Agreement
from schemas.fingerprint import named_fingerprint
from services.accept.packing import Effects, Overdue
from services.accept.reading import Draft, Reading
from services.accept.resolving import (
    Alias,
    Known,
    Name,
    Origin,
    Woken,
    alias_of,
    as_bytes,
    names_in,
)
from services.accept.stix_door import read_one
from services.positions import upsert
from services.tables import (
    aliases,
    audience_members,
    feed,
    snapshots,
    submissions,
    waiting,
    waiting_ends,
)

MAX_WAITING = 10_000
_ALIAS_COLUMNS = ("alias", "keys", "object_type", "modified_ms", "seq")
KEYS_PER_QUERY = 1_000  # SQLite takes at most 32,766 parameters
Place = tuple[int, int]


class Asking(NamedTuple):
    """Whose submission it is: `bit` is its number as a recipient, `feed` the name of what it sends."""

    agreement: Agreement
    bit: int | None
    secret: bytes
    feed: str


def look_up(connection: Connection, asking: Asking, reading: Reading) -> Known:
    """What the hub knows of this source that has to do with what it sends now."""
    source = asking.agreement.id
    seq = last_of(connection, source)  # before all else: what is stored meanwhile then shows when this is written
    own = {draft.id for draft in reading.drafts if draft.id}
    woken = list(_woken(connection, asking, own))
    drafts = [*reading.drafts, *(item for each in woken for item in each.items if isinstance(item, Draft))]
    own.update(draft.id for draft in drafts if draft.id)
    referred = {id_ for draft in drafts for _, id_ in draft.references}
    id_of = {alias_of(asking.secret, source, id_): id_ for id_ in own | referred}
    known = _aliases(connection, id_of)
    foreign = [id_ for id_ in referred - own if id_ not in known]
    key, held = b"", None
    if asking.agreement.contributes and asking.agreement.contributes.snapshot:
        key = named_fingerprint(asking.secret, "feed", source, asking.feed)
        held = _held(connection, key)
    return Known(
        seq=seq,
        aliases=known,
        alias_of={id_: alias for alias, id_ in id_of.items()},
        fed=_fed(connection, asking, foreign),
        woken=tuple(woken),
        held=held,
        feed=key,
    )


def last_of(connection: Connection, source: str) -> int:
    """The place in the inbox of the source's last submission; 0 where there is none."""
    return connection.scalar(sa.select(sa.func.max(submissions.c.seq)).where(submissions.c.source == source)) or 0


def _aliases(connection: Connection, id_of: Mapping[bytes, str]) -> dict[str, Alias]:
    query = sa.select(aliases.c.alias, aliases.c["keys"], aliases.c.object_type, aliases.c.modified_ms)
    rows = _by_keys(connection, query.where(aliases.c.alias.in_(_KEYS)), sorted(id_of))
    return {id_of[alias]: Alias(names_in(keys, type_), type_, at_ms) for alias, keys, type_, at_ms in rows}


_KEYS: sa.BindParameter[Any] = sa.bindparam("keys", expanding=True)


def _by_keys(connection: Connection, query: sa.Select[Any], keys: Sequence[Any]) -> Iterator[Any]:
    for start in range(0, len(keys), KEYS_PER_QUERY):
        yield from connection.execute(query, {"keys": keys[start : start + KEYS_PER_QUERY]})


def _fed(connection: Connection, asking: Asking, ids: Sequence[str]) -> dict[str, bytes]:
    """Items by the ids under which the hub sent them to this partner; ids that others got are not known to it."""
    query = (
        sa.select(feed.c.stix_id, feed.c.fingerprint)
        .join_from(feed, audience_members, audience_members.c.audience == feed.c.audience)
        .where(audience_members.c.bit == asking.bit, feed.c.stix_id.in_(_KEYS))
    )
    return {} if asking.bit is None else dict(_by_keys(connection, query, ids))


def _woken(connection: Connection, asking: Asking, ids: Iterable[str]) -> Iterator[Woken]:
    """What waited for one of these ids, and what waited for that in turn."""
    source = asking.agreement.id
    if connection.scalar(sa.select(waiting.c.seq).where(waiting.c.source == source).limit(1)) is None:
        return
    query = (
        sa.select(waiting, submissions.c.id, submissions.c.received_ms)
        .join_from(waiting_ends, waiting, _same_place(waiting_ends, waiting))
        .join(submissions, submissions.c.seq == waiting.c.seq)
        .where(waiting_ends.c.alias.in_(_KEYS), waiting.c.source == source)
    )
    seen: set[Place] = set()
    found = [alias_of(asking.secret, source, id_) for id_ in ids]
    while found:
        rows = list(_by_keys(connection, query, found))
        found = []
        for row in sorted(rows, key=lambda row: (row.seq, row.place)):
            place = (row.seq, row.place)
            if place not in seen:
                seen.add(place)
                found.append(row.own)
                origin = Origin(row.id, source, row.received_ms)
                items = read_one(row.raw, asking.agreement, row.received_ms)
                yield Woken(place, origin, row.pointer, items)


def _same_place(one: sa.Table, other: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(one.c.seq == other.c.seq, one.c.place == other.c.place)


def _held(connection: Connection, key: bytes) -> dict[Name, bool]:
    """What the feed's last snapshot held, and whether another feed of the same source holds it too."""
    other = snapshots.alias()
    elsewhere = sa.exists().where(
        other.c.name == snapshots.c.name, other.c.source == snapshots.c.source, other.c.feed != key
    )
    query = sa.select(snapshots.c.name, elsewhere).where(snapshots.c.feed == key)
    return {name: bool(too) for name, too in connection.execute(query)}


# --- writing ------------------------------------------------------------------------------------------------------


def write(connection: Connection, source: str, seq: int, effects: Effects) -> None:
    """What the submission at `seq` changes. The caller knows that `effects.after` is the one before it."""
    if effects.aliases:
        statement = upsert(connection)(aliases)
        changed = {column: statement.excluded[column] for column in _ALIAS_COLUMNS[1:]}
        statement = statement.on_conflict_do_update(index_elements=[aliases.c.alias], set_=changed)
        values = [
            (alias, as_bytes(names, type_), type_, modified_ms, seq)
            for alias, (names, type_, modified_ms) in sorted(effects.aliases)  # neighbours share a page
        ]
        _write_all(connection, statement, _ALIAS_COLUMNS, values)
    _leave(connection, effects.woken)
    if effects.waiting:
        _wait(connection, source, seq, effects)
    if effects.dropped:
        query = snapshots.delete().where(snapshots.c.feed == effects.feed, snapshots.c.name.in_(_KEYS))
        for start in range(0, len(effects.dropped), KEYS_PER_QUERY):
            connection.execute(query, {"keys": effects.dropped[start : start + KEYS_PER_QUERY]})
    if effects.held:
        held = [(effects.feed, name, source) for name in effects.held]
        _write_all(connection, snapshots.insert(), ("feed", "name", "source"), held)


def _write_all(
    connection: Connection, statement: sa.Insert, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Many rows through the driver itself: there may be 100,000, and SQLAlchemy takes 15 µs for each, it 3."""
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(columns))
    named = [] if compiled.positional else [dict(zip(columns, row, strict=True)) for row in rows]
    values: list[Any] = [*(named or rows)]
    connection.exec_driver_sql(str(compiled), values)


def _wait(connection: Connection, source: str, seq: int, effects: Effects) -> None:
    """What is sent again waits once, under its newest submission."""
    before = sa.select(waiting.c.seq, waiting.c.place).where(waiting.c.own.in_(_KEYS))
    own = list({kept.own for kept in effects.waiting})
    _leave(connection, [(row.seq, row.place) for row in _by_keys(connection, before, own)])
    newest = {kept.own: kept for kept in effects.waiting}.values()
    connection.execute(
        waiting.insert(),
        [
            {
                "seq": seq,
                "place": kept.place,
                "source": source,
                "own": kept.own,
                "pointer": kept.pointer,
                "raw": kept.raw,
            }
            for kept in newest
        ],
    )
    connection.execute(
        waiting_ends.insert(),
        [{"alias": end, "seq": seq, "place": kept.place} for kept in newest for end in dict.fromkeys(kept.ends)],
    )


def _leave(connection: Connection, places: Sequence[Place]) -> None:
    values = [{"at": seq, "of": place} for seq, place in places]
    for table in (waiting_ends, waiting) if values else ():
        here = sa.and_(table.c.seq == sa.bindparam("at"), table.c.place == sa.bindparam("of"))
        connection.execute(table.delete().where(here), values)


def crowd_out(connection: Connection, source: str) -> list[Overdue]:
    """Takes out what waits longest of this source, where it is more than `MAX_WAITING`."""
    of_source = waiting.c.source == source
    count = connection.scalar(sa.select(sa.func.count()).select_from(waiting).where(of_source)) or 0
    if count <= MAX_WAITING:
        return []
    query = (
        sa.select(waiting, submissions.c.id, submissions.c.received_ms)
        .join(submissions, submissions.c.seq == waiting.c.seq)
        .where(of_source)
        .order_by(waiting.c.seq, waiting.c.place)
        .limit(count - MAX_WAITING)
    )
    rows = list(connection.execute(query))
    _leave(connection, [(row.seq, row.place) for row in rows])
    return [Overdue(row.id, row.received_ms, row.pointer, row.raw) for row in rows]
