"""The feeds in the database: writing the state of items, and reading what one recipient may see.

The functions work on a connection and its transaction; which clock and which randomness is the caller's.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.bits import NOBODY, Bits, from_hex, members, to_hex
from schemas.feed import FeedRow
from services.positions import upsert
from services.share.entry import Entry, EntryCopy
from services.share.held import Ended, History
from services.share.plan import Changes, Inserted, Row, plan
from services.share.reminders import Move, Told, due
from services.share.rows import Match, Page, View
from services.stamps import stamps
from services.tables import (
    OF_A_CATEGORY,
    audience_members,
    audiences,
    feed,
    former,
    items,
    partners,
    receipts,
    watermarks,
)

KEYS_PER_QUERY = 1_000  # SQLite takes at most 32,766 parameters

SHOWN = (
    *(feed.c.category, feed.c.confidence, feed.c.first_seen, feed.c.last_seen, feed.c.tlp),
    *(feed.c.score, feed.c.active_until),
)
"""What files show of a row beside its body."""
DETAILS = (*SHOWN, feed.c.urgent)
"""What changes in place."""
_SINCE = sa.func.coalesce(feed.c.since, feed.c.added)


# --- writing ------------------------------------------------------------------------------------------------


def apply(connection: Connection, entries: Iterable[Entry], now_us: int, random: Random) -> None:
    """Brings the feeds to the newest of the entries of each item; an entry that is not newer changes nothing.

    Bodies that no recipient may see any more are gone when the transaction commits, and so is what recipients
    said of them. Of the rows that come in, the urgent are the first.
    """
    newest: dict[bytes, Entry] = {}
    for entry in entries:
        before = newest.get(entry.fingerprint)
        if before is None or entry.version > before.version:
            newest[entry.fingerprint] = entry
    known = _lock_versions(connection, sorted(newest))
    fresh = [e for e in newest.values() if e.fingerprint not in known or e.version > known[e.fingerprint]]
    if not fresh:
        return
    rows = _rows(connection, [e.fingerprint for e in fresh if e.fingerprint in known])
    turns = [_turn(e, rows.get(e.fingerprint, ())) for e in fresh]
    _write(connection, turns, now_us, random)
    _end(connection, [ended for turn in turns for ended in turn.ended], now_us // 1_000)
    _set_versions(connection, fresh)


class _Turn(NamedTuple):
    """An item's new state, and what it takes to get there."""

    entry: Entry
    history: History
    changes: Changes
    ended: list[Ended]

    def since(self, inserted: Inserted) -> int | None:
        return self.history.since(self.entry.copies[inserted.copy], inserted.to)


def _turn(entry: Entry, rows: Sequence[Row]) -> _Turn:
    history = History(rows)
    changes = plan(rows, [copy.wanted for copy in entry.copies])
    return _Turn(entry, history, changes, list(history.ended(entry.copies)))


def _lock_versions(connection: Connection, fingerprints: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
    """The versions of the items, in order; their rows in the feed are ours to change until the commit."""
    of_these = items.c.fingerprint.in_(sa.bindparam("keys", expanding=True))
    query = sa.select(items).where(of_these).order_by(items.c.fingerprint).with_for_update()
    found = _by_keys(connection, query, fingerprints)
    return {row.fingerprint: (row.epoch, row.counter) for row in found}


def _rows(connection: Connection, fingerprints: Sequence[bytes]) -> dict[bytes, list[Row]]:
    seen = (feed.c.fingerprint, feed.c.added, feed.c.digest, feed.c.stix_id, feed.c.live, feed.c.audience)
    query = (
        sa.select(*seen, _SINCE.label("since"), audiences.c.recipients, *DETAILS)
        .join_from(feed, audiences, audiences.c.id == feed.c.audience)
        .where(feed.c.fingerprint.in_(sa.bindparam("keys", expanding=True)))
    )
    rows: dict[bytes, list[Row]] = defaultdict(list)
    for row in _by_keys(connection, query, fingerprints):
        details, to = tuple(row[-len(DETAILS) :]), from_hex(row.recipients)
        held = Row(row.added, row.digest, details, to, row.stix_id, row.live, row.since, row.audience)
        rows[row.fingerprint].append(held)
    return rows


def _by_keys(connection: Connection, query: sa.Select[Any], keys: Sequence[Any]) -> Iterator[sa.Row[Any]]:
    for start in range(0, len(keys), KEYS_PER_QUERY):
        yield from connection.execute(query, {"keys": keys[start : start + KEYS_PER_QUERY]})


def _write(connection: Connection, turns: Sequence[_Turn], now_us: int, random: Random) -> None:
    ids = _audience_ids(connection, {to for turn in turns for to in _sets(turn.changes)})
    deleted = [{"row": added} for turn in turns for added in turn.changes.deleted]
    narrowed = [
        {"row": n.added, "audience": ids[n.to], **_details(turn.entry.copies[n.copy])}
        for turn in turns
        for n in turn.changes.narrowed
    ]
    new = [(turn, i) for turn in turns for i in turn.changes.inserted]
    new.sort(key=lambda pair: not pair[0].entry.copies[pair[1].copy].urgent)
    added_at = stamps(connection, feed.name, len(new), now_us, random)
    inserted = [
        _row(turn.entry, turn.entry.copies[i.copy], ids[i.to], added, turn.since(i))
        for added, (turn, i) in zip(added_at, new, strict=True)
    ]
    row = feed.c.added == sa.bindparam("row")
    if deleted:
        connection.execute(feed.delete().where(row), deleted)
    if narrowed:
        connection.execute(feed.update().where(row), narrowed)
    if inserted:
        connection.execute(feed.insert(), inserted)


def _sets(changes: Changes) -> Iterator[Bits]:
    yield from (n.to for n in changes.narrowed)
    yield from (i.to for i in changes.inserted)


def _details(copy: EntryCopy) -> dict[str, object]:
    return {column.name: value for column, value in zip(DETAILS, copy.wanted.details, strict=True)}


def _row(entry: Entry, copy: EntryCopy, audience: int, added: int, since: int | None) -> dict[str, object]:
    return {
        "added": added,
        "since": since,
        "audience": audience,
        "fingerprint": entry.fingerprint,
        "digest": copy.wanted.digest,
        "live": copy.live,
        "stix_id": copy.stix_id,
        "type": entry.type,
        "modified": copy.modified,
        "kind": copy.kind,
        "value": copy.value,
        "registrable_domain": copy.registrable_domain,
        "body": copy.body,
        **_details(copy),
    }


def _end(connection: Connection, ended: Sequence[Ended], now_ms: int) -> None:
    """Notes which ids went, and erases what those who lost them gave as their reasons: they may quote the item."""
    left = {(e.row.stix_id, e.row.audience): e.row.since for e in ended if e.gone}
    if left:
        statement = upsert(connection)(former)
        again = statement.on_conflict_do_update(
            index_elements=[former.c.stix_id, former.c.audience], set_={"left_ms": statement.excluded.left_ms}
        )
        rows = [{"stix_id": id_, "audience": to, "since": us, "left_ms": now_ms} for (id_, to), us in left.items()]
        connection.execute(again, rows)
    lost: dict[str, int] = {}
    for e in ended:
        lost[e.row.stix_id] = lost.get(e.row.stix_id, NOBODY) | e.to
    with_reason = sa.select(receipts.c.bit, receipts.c.stix_id).where(
        receipts.c.stix_id.in_(sa.bindparam("keys", expanding=True)), receipts.c.reason != ""
    )
    found = list(_by_keys(connection, with_reason, list(lost)))
    if erased := [{"of": r.bit, "id": r.stix_id} for r in found if lost[r.stix_id] >> r.bit & 1]:
        of_one = (receipts.c.bit == sa.bindparam("of")) & (receipts.c.stix_id == sa.bindparam("id"))
        connection.execute(receipts.update().where(of_one).values(reason=""), erased)


def _set_versions(connection: Connection, fresh: Sequence[Entry]) -> None:
    statement = upsert(connection)(items)
    statement = statement.on_conflict_do_update(
        index_elements=[items.c.fingerprint],
        set_={"epoch": statement.excluded.epoch, "counter": statement.excluded.counter},
    )
    values = [{"fingerprint": e.fingerprint, "epoch": e.version[0], "counter": e.version[1]} for e in fresh]
    connection.execute(statement, values)


def _audience_ids(connection: Connection, sets: Iterable[Bits]) -> dict[Bits, int]:
    """The ids of sets of recipients, new ones made. Sorted, so that two writers can't wait for each other."""
    names = sorted(to_hex(to) for to in sets)
    ids = _known_audiences(connection, names)
    if missing := [name for name in names if name not in ids]:
        statement = upsert(connection)(audiences).on_conflict_do_nothing()
        connection.execute(statement, [{"recipients": name} for name in missing])
        new = _known_audiences(connection, missing)
        places = [{"bit": bit, "audience": new[name]} for name in missing for bit in members(from_hex(name))]
        connection.execute(upsert(connection)(audience_members).on_conflict_do_nothing(), places)
        ids |= new
    return {from_hex(name): id_ for name, id_ in ids.items()}


def _known_audiences(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    query = sa.select(audiences).where(audiences.c.recipients.in_(sa.bindparam("keys", expanding=True)))
    return {row.recipients: row.id for row in _by_keys(connection, query, names)}


def remind(
    connection: Connection, rows: Sequence[int], patience_us: Mapping[int, int], now_us: int, random: Random
) -> dict[int, int]:
    """Puts withdrawals into the feeds anew for those that have not acknowledged them, and for nobody else.

    `rows` (their `added`) are looked at with all that lies beside them; `patience_us` is by recipient after how
    long, see `reminders.due`. Says how often each was reminded.
    """
    beside = sa.select(feed.c.fingerprint).distinct().where(feed.c.added.in_(sa.bindparam("keys", expanding=True)))
    fingerprints = sorted({row.fingerprint for row in _by_keys(connection, beside, rows)})
    _lock_versions(connection, fingerprints)
    moves = due(_told(connection, fingerprints), patience_us, now_us)
    _place(connection, moves, now_us, random)
    reminded = Counter[int]()
    for move in moves:
        reminded.update(members(move.to))
    return reminded


def renew(connection: Connection, bit: int, after: int, until: int, most: int, now_us: int, random: Random) -> int:
    """Puts what came into a recipient's feed beyond `after` and up to `until` (µs) in anew, for it alone, and says
    how many rows that were, `most` at most. For one that was cut off: what it read meanwhile lies behind these."""
    mine = sa.select(audience_members.c.audience).where(audience_members.c.bit == bit)
    query = (
        sa.select(feed.c.added, feed.c.fingerprint)
        .where(feed.c.audience.in_(mine), feed.c.added > after, feed.c.added <= until, feed.c.live)
        .order_by(feed.c.added)
        .limit(most)
    )
    found = connection.execute(query).all()
    _lock_versions(connection, sorted({row.fingerprint for row in found}))
    still = (
        sa.select(feed.c.added, audiences.c.recipients)
        .join_from(feed, audiences, audiences.c.id == feed.c.audience)
        .where(feed.c.added.in_(sa.bindparam("keys", expanding=True)), feed.c.live)
    )
    sets = {row.added: from_hex(row.recipients) for row in _by_keys(connection, still, [r.added for r in found])}
    one = 1 << bit
    moves = [Move(added, Bits(one), Bits(to & ~one)) for added, to in sorted(sets.items()) if to & one]
    _place(connection, moves, now_us, random)
    return len(moves)


def _told(connection: Connection, fingerprints: Sequence[bytes]) -> list[Told]:
    """Of these items all rows that say that something is withdrawn, in order, and who acknowledged each."""
    query = (
        sa.select(feed.c.added, feed.c.stix_id, audiences.c.recipients)
        .join_from(feed, audiences, audiences.c.id == feed.c.audience)
        .where(feed.c.fingerprint.in_(sa.bindparam("keys", expanding=True)), feed.c.live == sa.false())
    )
    rows = sorted(_by_keys(connection, query, fingerprints), key=lambda row: row.added)
    answered = sa.select(receipts.c.bit, receipts.c.stix_id).where(
        receipts.c.stix_id.in_(sa.bindparam("keys", expanding=True)), receipts.c.withdrawn_ms.is_not(None)
    )
    done: dict[str, int] = {}
    for row in _by_keys(connection, answered, sorted({row.stix_id for row in rows})):
        done[row.stix_id] = done.get(row.stix_id, NOBODY) | 1 << row.bit
    return [Told(row.added, from_hex(row.recipients), Bits(done.get(row.stix_id, NOBODY))) for row in rows]


def _place(connection: Connection, moves: Sequence[Move], now_us: int, random: Random) -> None:
    ids = _audience_ids(connection, {to for m in moves if m.stay for to in (m.stay, m.to)})
    placed = list(zip(moves, stamps(connection, feed.name, len(moves), now_us, random), strict=True))
    _move(connection, [(move, added) for move, added in placed if not move.stay])
    _split(connection, [(move, added) for move, added in placed if move.stay], ids)


def _move(connection: Connection, moves: Sequence[tuple[Move, int]]) -> None:
    """Of whole rows."""
    statement = feed.update().where(feed.c.added == sa.bindparam("row"))
    again = statement.values(added=sa.bindparam("place"), since=_SINCE, reminded=feed.c.reminded + 1)
    if moves:
        connection.execute(again, [{"row": move.added, "place": added} for move, added in moves])


def _split(connection: Connection, moves: Sequence[tuple[Move, int]], ids: Mapping[Bits, int]) -> None:
    """Who waits gets a row of its own; who has acknowledged keeps the one that it knows."""
    if not moves:
        return
    query = sa.select(feed).where(feed.c.added.in_(sa.bindparam("keys", expanding=True)))
    found = {row.added: row._asdict() for row in _by_keys(connection, query, [move.added for move, _ in moves])}
    new = []
    for move, added in moves:
        row = found[move.added]
        since = row["added"] if row["since"] is None else row["since"]
        changed = {"added": added, "audience": ids[move.to], "since": since, "reminded": row["reminded"] + 1}
        new.append(row | changed)
    narrower = feed.update().where(feed.c.added == sa.bindparam("row")).values(audience=sa.bindparam("left"))
    connection.execute(narrower, [{"row": move.added, "left": ids[move.stay]} for move, _ in moves])
    connection.execute(feed.insert(), new)


def reach(connection: Connection, partition: int, offset: int) -> None:
    """Notes that the feeds show everything up to this offset of a partition of tocsin.reports."""
    statement = upsert(connection)(watermarks).values(partition=partition, offset=offset)
    statement = statement.on_conflict_do_update(
        index_elements=[watermarks.c.partition],
        set_={"offset": statement.excluded.offset},
        where=statement.excluded.offset > watermarks.c.offset,
    )
    connection.execute(statement)


# --- reading ------------------------------------------------------------------------------------------------


_HEAD = [feed.c[name] for name in FeedRow._fields[:-1]]
_LAST = (1 << 63) - 1
_NO_BODY = sa.literal(b"", sa.LargeBinary).label("body")


def view(connection: Connection, bit: int, in_force: bool) -> View:
    """`in_force`: the recipient's agreement lets it receive today. Suspension is looked up at every call."""
    query = sa.select(partners.c.suspended_ms).where(partners.c.bit == bit)
    partner = connection.execute(query).one_or_none()
    return View(bit, in_force and partner is not None and partner.suspended_ms is None)


def page(connection: Connection, view: View, match: Match, limit: int, *, bodies: bool = True) -> Page:
    """At most `limit` rows. The cost is that of the page, wherever in the feed it lies."""
    columns = [*_HEAD, feed.c.body if bodies else _NO_BODY]
    if match.ids is not None:
        found = _by_id(connection, columns, view, match, limit + 1)
    elif connection.dialect.name == "postgresql":
        found = _merged_by_database(connection, columns, view, match, limit + 1)
    else:
        found = _merged_here(connection, columns, view, match, limit + 1)
    rows = [FeedRow._make(row) for row in found]
    return Page(rows[:limit], len(rows) > limit)


def _by_id(
    connection: Connection, columns: Sequence[Any], view: View, match: Match, count: int
) -> Iterable[sa.Row[Any]]:
    query = sa.select(*columns).where(
        feed.c.stix_id.in_(match.ids or ()),
        feed.c.audience.in_(_audiences(view)),
        feed.c.added > match.after,
        *_fits(view, match),
    )
    if match.category:
        query = query.where((feed.c.live == sa.false()) | (feed.c.category == match.category))
    return connection.execute(query.order_by(feed.c.added).limit(count))


def _merged_by_database(
    connection: Connection, columns: Sequence[Any], view: View, match: Match, count: int
) -> Iterable[sa.Row[Any]]:
    # compared as pairs, an index by audience is the only one that gives the order: without statistics, or with
    # misleading ones, PostgreSQL would rather sort all rows, or go through those of all others
    place, audience = sa.tuple_(feed.c.audience, feed.c.added), audience_members.c.audience
    streams = []
    for keys, conditions in _streams(view, match):
        of_one = sa.select(feed.c.added).where(
            *(feed.c[name] == value for name, value in keys.items()),
            place > sa.tuple_(audience, sa.literal(match.after, sa.BigInteger)),
            place <= sa.tuple_(audience, sa.literal(_LAST, sa.BigInteger)),
            *conditions,
        )
        each = of_one.order_by(feed.c.audience, feed.c.added).limit(count).lateral()
        of_all = sa.select(each.c.added).select_from(audience_members.join(each, sa.true()))
        streams.append(of_all.where(audience_members.c.bit == view.bit))
    merged = sa.union_all(*streams).subquery("merged")
    first = sa.select(merged.c.added).order_by(merged.c.added).limit(count).subquery("first")
    query = sa.select(*columns).join_from(first, feed, feed.c.added == first.c.added)
    return connection.execute(query.order_by(feed.c.added))


def _merged_here(
    connection: Connection, columns: Sequence[Any], view: View, match: Match, count: int
) -> Iterable[sa.Row[Any]]:
    """SQLite steps through a result as it is read, so each audience costs one row more than it contributes."""
    audience = feed.c.audience == sa.bindparam("of")
    queries = []
    for keys, conditions in _streams(view, match):
        equal = [feed.c[name] == value for name, value in keys.items()]
        wanted = sa.select(*columns).where(audience, *equal, feed.c.added > match.after, *conditions)
        queries.append(wanted.order_by(feed.c.added).limit(count))
    numbers = connection.scalars(_audiences(view)).all()
    results = [connection.execute(query, {"of": number}) for number in numbers for query in queries]
    try:
        return list(islice(heapq.merge(*results, key=lambda row: row.added), count))
    finally:
        for result in results:
            result.close()


_Stream = tuple[Mapping[str, str], Sequence[sa.ColumnElement[bool] | sa.TextClause]]


def _streams(view: View, match: Match) -> list[_Stream]:
    """What is read of each audience, each from an index of its own that has it in order; by columns of the index,
    and what else must hold. Of a category there may be little, and to look for it among all else takes long."""
    fits = _fits(view, match)
    if not match.category:
        return [({}, fits)]
    withdrawn: _Stream = ({}, [feed.c.live == sa.false(), *fits])
    of_it: _Stream = ({"category": match.category}, [OF_A_CATEGORY, *fits])
    return [of_it, withdrawn] if view.live else [withdrawn]


def _audiences(view: View) -> sa.Select[Any]:
    return sa.select(audience_members.c.audience).where(audience_members.c.bit == view.bit)


def _fits(view: View, match: Match) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    withdrawn = feed.c.live == sa.false()
    if not view.live:
        conditions.append(withdrawn)
    if match.urgent:
        conditions.append(feed.c.urgent)
    if match.types is not None:
        conditions.append(feed.c.type.in_(match.types))
    if match.versions is not None:
        conditions.append(feed.c.modified.in_(match.versions))
    if match.active_at:
        conditions.append(withdrawn | (feed.c.active_until == "") | (feed.c.active_until > match.active_at))
    if match.min_score:
        # a type that has no score is there for what it says of indicators
        of_no_score = feed.c.score.is_(None) & (feed.c.type != "indicator")
        conditions.append(withdrawn | (feed.c.score >= match.min_score) | of_no_score)
    return conditions


def newest(connection: Connection) -> int:
    """The last `added` of all feeds (µs): what comes later is beyond it. Not for recipients."""
    return int(connection.scalar(sa.select(sa.func.max(feed.c.added))) or -1)


def hold(connection: Connection, rows: Sequence[int]) -> set[int]:
    """Those of the rows (their `added`) that are still there; until the commit nobody changes their items."""
    of_these = feed.c.added.in_(sa.bindparam("keys", expanding=True))
    found = _by_keys(connection, sa.select(feed.c.fingerprint).where(of_these), rows)
    of_items = items.c.fingerprint.in_(sa.bindparam("keys", expanding=True))
    # shared, as receipts do it, or two that take receipts would wait for each other
    lock = sa.select(items.c.fingerprint).where(of_items).order_by(items.c.fingerprint).with_for_update(read=True)
    list(_by_keys(connection, lock, sorted({row.fingerprint for row in found})))
    return {row.added for row in _by_keys(connection, sa.select(feed.c.added).where(of_these), rows)}


def digest(
    connection: Connection, view: View, match: Match, details: bool, update: Callable[[bytes], object]
) -> None:
    """Feeds `update` all that decides what the recipient reads with `match`, and nothing that it may not see."""
    columns = [feed.c.added, *(SHOWN if details else ())]
    query = sa.select(*columns).where(
        feed.c.audience.in_(_audiences(view)), feed.c.added > match.after, *_fits(view, match)
    )
    for row in connection.execute(query.order_by(feed.c.added)):
        update(repr(tuple(row)).encode())
