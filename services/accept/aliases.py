"""What the hub keeps of a source from one submission to the next: its ids, what waits, and its snapshots.

`look_up` reads it before a submission is understood, `write` changes it in the transaction that stores the
submission. In between another submission of the same source may have been stored: see `inbox.Overtaken`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from services.accept.names import (
    DROPPED,
    LINKS,
    LIVE,
    Alias,
    Asking,
    Known,
    Name,
    Origin,
    Woken,
    alias_of,
    as_bytes,
    feed_of,
    names_in,
    own_name,
)
from services.accept.packing import Effects, Kept, Overdue
from services.accept.reading import Draft, Reading
from services.accept.stix_door import read_one
from services.positions import upsert
from services.tables import (
    NAMES_ONE,
    alias_names,
    aliases,
    audience_members,
    feed,
    snapshots,
    submissions,
    waiting,
    waiting_ends,
)

MAX_WAITING = 10_000
MAX_WOKEN, MAX_WOKEN_BYTES = 1_000, 4 * 1024 * 1024  # at once: to read them takes time
MAX_ALIASES, MAX_ALIASES_PER_ITEM = 100_000, 4
COUNTED_EVERY = 64  # submissions; to count the ids of a source takes milliseconds
_ALIAS_COLUMNS = ("alias", "source", "keys", "object_type", "modified_ms", "state", "seq")
KEYS_PER_QUERY = 1_000  # SQLite takes at most 32,766 parameters
Place = tuple[int, int]


def look_up(connection: Connection, asking: Asking, reading: Reading) -> Known:
    """What the hub knows of this source that has to do with what it sends now."""
    source = asking.agreement.id
    seq = last_of(connection, source)  # before all else: what is stored meanwhile then shows when this is written
    drafts, asides = reading.drafts, [aside for aside in reading.asides if aside.id]
    own = {draft.id for draft in drafts if draft.id}
    nap = _look_at_waiting(connection, asking, reading, own)
    drafts += [item for each in nap.woken for item in each.items if isinstance(item, Draft)]
    own.update(draft.id for draft in drafts if draft.id)
    own.update(aside.id for aside in asides)
    referred = {id_ for draft in drafts for _, id_ in draft.references}
    id_of = {alias_of(asking.secret, source, id_): id_ for id_ in own | referred}
    known = _aliases(connection, id_of)
    foreign = [id_ for id_ in referred - own if id_ not in known]
    asked = _may_fall(asking.secret, drafts, known)
    asked.update(name for aside in asides if aside.id in known for name in known[aside.id].names)
    key, held, elsewhere = b"", None, frozenset[Name]()
    if asking.snapshot:
        key = feed_of(asking.secret, source, asking.feed)
        held = _held(connection, key)
        elsewhere = _elsewhere(connection, source, key, asked)
    return Known(
        seq=seq,
        aliases=known,
        alias_of={id_: alias for alias, id_ in id_of.items()},
        others=_others(connection, source, asked),
        elsewhere=elsewhere,
        fed=_fed(connection, asking, foreign),
        woken=tuple(nap.woken),
        unwoken=nap.over,
        ripe=nap.ripe,
        rested=nap.rested,
        held=held,
        feed=key,
        feed_name=asking.feed,
        whole=asking.whole,
        may_be_empty=asking.may_be_empty,
    )


def last_of(connection: Connection, source: str) -> int:
    """The place in the inbox of the source's last submission; 0 where there is none."""
    return connection.scalar(sa.select(sa.func.max(submissions.c.seq)).where(submissions.c.source == source)) or 0


def _aliases(connection: Connection, id_of: Mapping[bytes, str]) -> dict[str, Alias]:
    table = aliases.c
    query = sa.select(table.alias, table["keys"], table.object_type, table.modified_ms, table.state)
    rows = by_keys(connection, query.where(table.alias.in_(WANTED)), sorted(id_of))
    return {id_of[alias]: Alias(names_in(keys, type_), type_, at, state) for alias, keys, type_, at, state in rows}


def _may_fall(secret: bytes, drafts: Iterable[Draft], known: Mapping[str, Alias]) -> set[Name]:
    """All items that may be withdrawn because these objects name something else than before, or are revoked."""
    asked: set[Name] = set()
    asked_of: set[str] = set()
    for draft in drafts:
        before = known.get(draft.id)
        if before is None and not draft.revoked:
            continue
        name = own_name(secret, draft) if draft.kind and draft.type not in LINKS else b""
        if name and draft.revoked:
            asked.add(name)
        if before is not None and before.names != (name,) and draft.id not in asked_of:
            asked_of.add(draft.id)
            asked.update(before.names)
    return asked


def _others(connection: Connection, source: str, asked: Collection[Name]) -> dict[Name, list[bytes]]:
    """What stands for the live ids by which the source names each of these items."""
    others: dict[Name, list[bytes]] = {name: [] for name in asked}
    of_one = sa.select(aliases.c["keys"], aliases.c.alias).where(_of_names(source))
    of_several = sa.select(alias_names.c.name, alias_names.c.alias).where(
        alias_names.c.source == source, alias_names.c.name.in_(WANTED)
    )
    for query in (of_one, of_several):
        for name, alias in by_keys(connection, query, sorted(asked)):
            others[name].append(alias)
    return others


def _of_names(source: str) -> sa.ColumnElement[bool]:
    return sa.and_(aliases.c.source == source, aliases.c["keys"].in_(WANTED), NAMES_ONE)


def _elsewhere(connection: Connection, source: str, key: bytes, asked: Collection[Name]) -> frozenset[Name]:
    query = sa.select(snapshots.c.name).where(
        snapshots.c.name.in_(WANTED), snapshots.c.source == source, snapshots.c.feed != key
    )
    return frozenset(name for (name,) in by_keys(connection, query, sorted(asked)))


WANTED: sa.BindParameter[Any] = sa.bindparam("wanted", expanding=True)


def by_keys(connection: Connection, query: sa.Select[Any], keys: Sequence[Any]) -> Iterator[Any]:
    for start in range(0, len(keys), KEYS_PER_QUERY):
        yield from connection.execute(query, {"wanted": keys[start : start + KEYS_PER_QUERY]})


def _fed(connection: Connection, asking: Asking, ids: Sequence[str]) -> dict[str, bytes]:
    """Items by the ids under which the hub sent them to this partner; ids that others got are not known to it."""
    query = (
        sa.select(feed.c.stix_id, feed.c.fingerprint)
        .join_from(feed, audience_members, audience_members.c.audience == feed.c.audience)
        .where(audience_members.c.bit == asking.bit, feed.c.stix_id.in_(WANTED))
    )
    return {} if asking.bit is None else dict(by_keys(connection, query, ids))


def _held(connection: Connection, key: bytes) -> dict[Name, bool]:
    """What the feed's last snapshot held, and whether another feed of the same source holds it too."""
    other = snapshots.alias()
    elsewhere = sa.exists().where(
        other.c.name == snapshots.c.name, other.c.source == snapshots.c.source, other.c.feed != key
    )
    query = sa.select(snapshots.c.name, elsewhere).where(snapshots.c.feed == key)
    return {name: bool(too) for name, too in connection.execute(query)}


# --- what waits ---------------------------------------------------------------------------------------------------


class _Nap(NamedTuple):
    """What woke, where objects wait of which a snapshot says nothing more, and see `Known`."""

    woken: Sequence[Woken] = ()
    over: Sequence[Place] = ()
    ripe: Sequence[Place] = ()
    rested: Sequence[Place] = ()


def _look_at_waiting(connection: Connection, asking: Asking, reading: Reading, ids: Iterable[str]) -> _Nap:
    """What waited for one of these ids, and what waited for that in turn; a bounded part of it."""
    source = asking.agreement.id
    if connection.scalar(sa.select(waiting.c.seq).where(waiting.c.source == source).limit(1)) is None:
        return _Nap()
    found = [alias_of(asking.secret, source, id_) for id_ in ids]
    over = _over(connection, asking, reading, found)
    columns = (waiting.c.seq, waiting.c.place, waiting.c.own, sa.func.length(waiting.c.raw).label("size"))
    # an alias is one source's already: with the source in it, SQLite looks through all that waits of it
    by_end = sa.select(*columns).join_from(waiting_ends, waiting, _same_place(waiting_ends, waiting))
    by_end = by_end.where(waiting_ends.c.alias.in_(WANTED))
    was_ripe = sa.select(*columns).where(waiting.c.source == source, waiting.c.ripe)
    rows: Iterable[sa.Row[Any]] = [*connection.execute(was_ripe)]
    rested = {(row.seq, row.place) for row in rows}
    rows = [*rows, *by_keys(connection, by_end, found)]
    chosen: list[Place] = []
    seen, ripe = set(over), []
    left_bytes = MAX_WOKEN_BYTES
    while rows:
        found = []
        for row in sorted(rows, key=lambda row: (row.seq, row.place)):
            place = (row.seq, row.place)
            if place in seen:
                continue
            seen.add(place)
            if len(chosen) < MAX_WOKEN and left_bytes >= row.size:
                left_bytes -= row.size
                chosen.append(place)
                found.append(row.own)
            else:
                ripe.append(place)
        rows = list(by_keys(connection, by_end, found))
    woken = list(_read_waiting(connection, asking, chosen))
    return _Nap(woken, over, [place for place in ripe if place not in rested], sorted(rested & set(chosen)))


def _over(connection: Connection, asking: Asking, reading: Reading, own: Collection[bytes]) -> list[Place]:
    """Where objects wait that came in this feed, and that this snapshot of it does not hold."""
    holds = bool(reading.drafts) or asking.may_be_empty
    if not (asking.snapshot and asking.whole and holds) or reading.refusals:
        return []
    query = sa.select(waiting.c.seq, waiting.c.place, waiting.c.own).where(
        waiting.c.source == asking.agreement.id, waiting.c.feed == asking.feed
    )
    own = frozenset(own)
    return [(row.seq, row.place) for row in connection.execute(query) if row.own not in own]


def _read_waiting(connection: Connection, asking: Asking, places: Iterable[Place]) -> Iterator[Woken]:
    source = asking.agreement.id
    by_seq: dict[int, list[int]] = {}
    for seq, place in sorted(places):
        by_seq.setdefault(seq, []).append(place)
    query = (
        sa.select(waiting, submissions.c.id, submissions.c.received_ms)
        .join(submissions, submissions.c.seq == waiting.c.seq)
        .where(waiting.c.place.in_(WANTED))
        .order_by(waiting.c.place)
    )
    of_ends = sa.select(waiting_ends.c.place, waiting_ends.c.alias).where(waiting_ends.c.place.in_(WANTED))
    for seq, of_seq in by_seq.items():
        ends: dict[int, list[bytes]] = {}
        for place, alias in by_keys(connection, of_ends.where(waiting_ends.c.seq == seq), of_seq):
            ends.setdefault(place, []).append(alias)
        for row in by_keys(connection, query.where(waiting.c.seq == seq), of_seq):
            origin = Origin(row.id, source, row.received_ms, row.feed)
            items = read_one(row.raw, asking.agreement, row.received_ms)
            yield Woken((seq, row.place), origin, row.pointer, items, tuple(ends.get(row.place, ())))


def _same_place(one: sa.Table, other: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(one.c.seq == other.c.seq, one.c.place == other.c.place)


# --- writing ------------------------------------------------------------------------------------------------------


def write(connection: Connection, source: str, seq: int, effects: Effects) -> None:
    """What the submission at `seq` changes. The caller knows that `effects.after` is the one before it."""
    _drop(connection, source, effects)
    if effects.aliases:
        _name(connection, source, seq, effects)
    _leave(connection, effects.woken)
    _rest(connection, effects)
    if effects.waiting:
        _wait(connection, source, seq, effects.waiting)
    if effects.held:
        statement = upsert(connection)(snapshots).on_conflict_do_nothing()
        held = [(key, name, source) for key, name in effects.held]
        write_all(connection, statement, ("feed", "name", "source"), held)
    if seq % COUNTED_EVERY == 0 or len(effects.aliases) > KEYS_PER_QUERY:
        forget(connection, source)


def _name(connection: Connection, source: str, seq: int, effects: Effects) -> None:
    statement = upsert(connection)(aliases)
    changed = {column: statement.excluded[column] for column in _ALIAS_COLUMNS[1:]}
    statement = statement.on_conflict_do_update(index_elements=[aliases.c.alias], set_=changed)
    values = [
        (alias, source, as_bytes(names, type_), type_, modified_ms, state, seq)
        for alias, (names, type_, modified_ms, state) in sorted(effects.aliases)  # neighbours share a page
    ]
    write_all(connection, statement, _ALIAS_COLUMNS, values)
    _for_keys(connection, alias_names.delete().where(alias_names.c.alias.in_(WANTED)), effects.several)
    several = [
        (alias, name, source)
        for alias, (names, _, _, state) in effects.aliases
        if len(names) > 1 and state == LIVE
        for name in names
    ]
    if several:
        write_all(connection, alias_names.insert(), ("alias", "name", "source"), several)


def _drop(connection: Connection, source: str, effects: Effects) -> None:
    """What a feed holds no more; the ids that named it name nothing, as long as they don't come again."""
    query = snapshots.delete().where(snapshots.c.feed == effects.feed, snapshots.c.name.in_(WANTED))
    _for_keys(connection, query, effects.dropped)
    _for_keys(connection, aliases.update().where(_of_names(source)).values(state=DROPPED), effects.left)
    query_several = sa.select(alias_names.c.alias).where(
        alias_names.c.source == source, alias_names.c.name.in_(WANTED)
    )
    several = sorted({alias for (alias,) in by_keys(connection, query_several, effects.left)})
    _for_keys(connection, aliases.update().where(aliases.c.alias.in_(WANTED)).values(state=DROPPED), several)
    _for_keys(connection, alias_names.delete().where(alias_names.c.alias.in_(WANTED)), several)


def _for_keys(connection: Connection, statement: sa.Update | sa.Delete, keys: Sequence[Any]) -> None:
    for start in range(0, len(keys), KEYS_PER_QUERY):
        connection.execute(statement, {"wanted": keys[start : start + KEYS_PER_QUERY]})


def write_all(
    connection: Connection, statement: sa.Insert, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Many rows through the driver itself: there may be 100,000, and SQLAlchemy takes 15 µs for each, it 3."""
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(columns))
    named = [] if compiled.positional else [dict(zip(columns, row, strict=True)) for row in rows]
    values: list[Any] = [*(named or rows)]
    connection.exec_driver_sql(str(compiled), values)


def _wait(connection: Connection, source: str, seq: int, objects: Iterable[Kept]) -> None:
    """What is sent again waits once, under its newest submission; of several versions the newest waits."""
    newest: dict[bytes, Kept] = {}
    for kept in objects:
        if kept.own not in newest or kept.modified_ms >= newest[kept.own].modified_ms:
            newest[kept.own] = kept
    query = sa.select(waiting.c.seq, waiting.c.place, waiting.c.own, waiting.c.modified_ms)
    older: list[Place] = []
    for row in list(by_keys(connection, query.where(waiting.c.own.in_(WANTED)), list(newest))):
        if row.modified_ms > newest[row.own].modified_ms:
            del newest[row.own]
        else:
            older.append((row.seq, row.place))
    _leave(connection, older)
    if not newest:
        return
    connection.execute(
        waiting.insert(),
        [
            {
                "seq": seq,
                "place": kept.place,
                "source": source,
                "feed": kept.feed,
                "own": kept.own,
                "modified_ms": kept.modified_ms,
                "ripe": False,
                "pointer": kept.pointer,
                "raw": kept.raw,
            }
            for kept in newest.values()
        ],
    )
    ends = [(end, seq, kept.place) for kept in newest.values() for end in dict.fromkeys(kept.ends)]
    write_all(connection, waiting_ends.insert(), ("alias", "seq", "place"), ends)


def _rest(connection: Connection, effects: Effects) -> None:
    """Of what still waits: what it need not be looked at for again, and what has to be looked at soon."""
    here = sa.and_(waiting.c.seq == sa.bindparam("at"), waiting.c.place == sa.bindparam("of"))
    for places, ripe in ((effects.rested, False), (effects.ripe, True)):
        if places:
            values = [{"at": seq, "of": place} for seq, place in places]
            connection.execute(waiting.update().where(here).values(ripe=ripe), values)
    if effects.satisfied:
        end = sa.and_(
            waiting_ends.c.alias == sa.bindparam("by"),
            waiting_ends.c.seq == sa.bindparam("at"),
            waiting_ends.c.place == sa.bindparam("of"),
        )
        values_ = [{"by": alias, "at": seq, "of": place} for alias, (seq, place) in effects.satisfied]
        connection.execute(waiting_ends.delete().where(end), values_)


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
    return [Overdue(row.id, row.received_ms, row.pointer, row.raw, row.feed) for row in rows]


def forget(connection: Connection, source: str) -> int:
    """Takes out ids of a source that has more than `MAX_ALIASES`, and more than a few for each item; how many.

    First those that were revoked or are in no snapshot any more, then those whose item has a newer id: the oldest
    of each. What an id named that is forgotten stays, and is withdrawn by the newer one.
    """
    of_source = aliases.c.source == source
    count = connection.scalar(sa.select(sa.func.count()).select_from(aliases).where(of_source)) or 0
    if count <= MAX_ALIASES:
        return 0
    live = sa.select(sa.func.count(sa.distinct(aliases.c["keys"]))).where(of_source, aliases.c.state == LIVE)
    surplus = count - max(MAX_ALIASES, MAX_ALIASES_PER_ITEM * (connection.scalar(live) or 0))
    newer = aliases.alias()
    has_newer = sa.exists().where(
        newer.c.source == source,
        newer.c["keys"] == aliases.c["keys"],
        newer.c.seq > aliases.c.seq,
        NAMES_ONE,  # of `newer`, which is what is nearest
    )
    removed = 0
    for which in (aliases.c.state != LIVE, has_newer):
        if surplus <= removed:
            break
        query = sa.select(aliases.c.alias).where(of_source, which).order_by(aliases.c.seq).limit(surplus - removed)
        found = list(connection.execute(query).scalars())
        _for_keys(connection, alias_names.delete().where(alias_names.c.alias.in_(WANTED)), found)
        _for_keys(connection, aliases.delete().where(aliases.c.alias.in_(WANTED)), found)
        removed += len(found)
    return removed
