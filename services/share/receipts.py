"""The table of receipts: taking what recipients say, and working through what they owe.

The functions work on a connection and its transaction; which clock is the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.feed import FeedRow
from schemas.receipt import FINAL, Receipt
from services.owed import Marks, Times, all_marks
from services.positions import upsert
from services.share import feeds
from services.share.answers import Answer, Held, Refusal, Word, settle
from services.share.rows import Match, View
from services.tables import audience_members, feed, former, items, marks, partners, receipts

What = Literal["withdrawal", "acknowledge", "act"]
LOOKED_AT = 2_000
"""Rows of the feed that one page of what is owed looks at."""
FORMER_DAYS = 180
"""How long an id that left a feed is still known there."""
REMINDED_AT_ONCE = 2_000
"""Rows that one round of reminders works on, about: it holds the database's writer."""
_PRUNED_AT_ONCE = 1_000


# --- taking receipts ----------------------------------------------------------------------------------------------


def take(connection: Connection, view: View, entries: Sequence[Receipt | Refusal], now_ms: int) -> list[Answer]:
    """Stores what is new in them, and answers each. An id that is not this recipient's is `unknown`, whoever else
    may have it, and after the same look-ups."""
    # one at a time for each recipient
    connection.execute(sa.select(partners.c.bit).where(partners.c.bit == view.bit).with_for_update())
    ids = sorted({entry.item for entry in entries if isinstance(entry, Receipt)})
    held, words = _held(connection, view, ids), _words(connection, view.bit, ids)
    changed: dict[str, Word] = {}
    answers = []
    for entry in entries:
        if isinstance(entry, Refusal):
            answers.append(Answer(None, "refused", entry.why))
            continue
        answer, word = settle(entry, held.get(entry.item), words.get(entry.item), now_ms)
        if word is not None:
            words[entry.item] = changed[entry.item] = word
        answers.append(answer)
    _store(connection, view.bit, changed)
    return answers


def _held(connection: Connection, view: View, ids: Sequence[str]) -> dict[str, Held]:
    in_feed = _in_feed(view, ids)
    # until the commit nobody withdraws them: a reason stored now would not be erased then
    fingerprints = sorted({row.fingerprint for row in connection.execute(in_feed)})
    connection.execute(
        sa.select(items.c.fingerprint)
        .where(items.c.fingerprint.in_(fingerprints))
        .order_by(items.c.fingerprint)
        .with_for_update(read=True)
    )
    left = sa.select(former.c.stix_id, former.c.since).where(
        former.c.stix_id.in_(ids), former.c.audience.in_(_audiences(view.bit)), sa.literal(view.live)
    )
    held = {row.stix_id: Held("left", row.since // 1_000) for row in connection.execute(left)}
    for row in connection.execute(in_feed):
        held[row.stix_id] = Held("live" if row.live else "withdrawn", row.since // 1_000)
    return held


def _in_feed(view: View, ids: Sequence[str]) -> sa.Select[Any]:
    since = sa.func.coalesce(feed.c.since, feed.c.added).label("since")
    query = sa.select(feed.c.fingerprint, feed.c.stix_id, feed.c.live, since).where(
        feed.c.stix_id.in_(ids), feed.c.audience.in_(_audiences(view.bit))
    )
    return query if view.live else query.where(feed.c.live == sa.false())


def _audiences(bit: int) -> sa.Select[Any]:
    return sa.select(audience_members.c.audience).where(audience_members.c.bit == bit)


def _words(connection: Connection, bit: int, ids: Sequence[str]) -> dict[str, Word]:
    query = sa.select(receipts).where(receipts.c.bit == bit, receipts.c.stix_id.in_(ids))
    return {row.stix_id: _word(row) for row in connection.execute(query)}


def said(connection: Connection, id_: str) -> list[tuple[int, Word]]:
    """What every recipient said of the item that it holds under this id, by its number."""
    query = sa.select(receipts).where(receipts.c.stix_id == id_).order_by(receipts.c.bit)
    return [(row.bit, _word(row)) for row in connection.execute(query)]


def _word(row: sa.Row[Any]) -> Word:
    history = tuple((status, at_ms) for status, at_ms in json.loads(row.history))
    return Word(row.status, row.reason, row.at_ms, row.received_ms, row.first_ms, row.withdrawn_ms, history=history)


def _store(connection: Connection, bit: int, words: Mapping[str, Word]) -> None:
    if not words:
        return
    statement = upsert(connection)(receipts)
    statement = statement.on_conflict_do_update(
        index_elements=[receipts.c.bit, receipts.c.stix_id],
        set_={name: statement.excluded[name] for name in Word._fields},
    )
    values = [
        {"bit": bit, "stix_id": id_, **word._asdict(), "history": json.dumps(word.history)}
        for id_, word in words.items()
    ]
    connection.execute(statement, values)


# --- what is owed -------------------------------------------------------------------------------------------------


class Expected(NamedTuple):
    """One thing that a recipient is waited for; `since_us` is when its item, or the withdrawal, came."""

    id: str
    type: str
    since_us: int
    reminded: int


class Page(NamedTuple):
    """`next_us` is where to go on (None: that was all); a page may be empty and yet not be the last."""

    expected: list[Expected]
    next_us: int | None


def expected(
    connection: Connection, view: View, mark: Marks, late: Times, what: What, after: int, limit: int
) -> Page:
    """What is owed of one kind, in the order of the feed beyond `after` (µs)."""
    start, until = {
        "withdrawal": (mark.told, None),
        "acknowledge": (mark.acknowledged, late.acknowledge_us),
        "act": (mark.acted, late.act_us),
    }[what]
    if what != "withdrawal":
        if until is None or not view.live:
            return Page([], None)
    else:
        view = view._replace(live=False)
    page = feeds.page(connection, view, Match(after=max(after, start)), LOOKED_AT, bodies=False)
    rows = [row for row in page.rows if until is None or row.added <= until]
    answered = _answered(connection, view.bit, [row.stix_id for row in rows])
    found = [row for row in rows if _is_owed(row, answered.get(row.stix_id), what)]
    more = page.more and len(rows) == len(page.rows)
    if len(found) > limit:
        found, more = found[:limit], True
        last = found[-1].added
    else:
        last = rows[-1].added if rows else 0
    return Page(_dated(connection, found), last if more else None)


class _Answered(NamedTuple):
    final: bool
    withdrawn: bool


def _answered(connection: Connection, bit: int, ids: Sequence[str]) -> dict[str, _Answered]:
    found: dict[str, _Answered] = {}
    for start in range(0, len(ids), feeds.KEYS_PER_QUERY):
        query = sa.select(receipts.c.stix_id, receipts.c.status, receipts.c.withdrawn_ms).where(
            receipts.c.bit == bit, receipts.c.stix_id.in_(ids[start : start + feeds.KEYS_PER_QUERY])
        )
        for row in connection.execute(query):
            found[row.stix_id] = _Answered(row.status in FINAL, row.withdrawn_ms is not None)
    return found


def _is_owed(row: FeedRow, answered: _Answered | None, what: What) -> bool:
    if what == "withdrawal":
        return not row.live and not (answered and answered.withdrawn)
    return row.live and not (answered and (answered.final or what == "acknowledge"))


def _dated(connection: Connection, rows: Sequence[FeedRow]) -> list[Expected]:
    since = sa.func.coalesce(feed.c.since, feed.c.added)
    added = [row.added for row in rows if not row.live]
    query = sa.select(feed.c.added, since, feed.c.reminded).where(feed.c.added.in_(added))
    dates = {of: (since_us, reminded) for of, since_us, reminded in connection.execute(query)}
    return [Expected(row.stix_id, row.type, *dates.get(row.added, (row.added, 0))) for row in rows]


# --- reminders ----------------------------------------------------------------------------------------------------


class Round(NamedTuple):
    """What the share process has to do: rows to look at for reminders, marks to move, and whether to `prune`."""

    rows: list[int]
    marks: dict[int, Marks]
    prune: bool

    @property
    def nothing(self) -> bool:
        return not (self.rows or self.marks or self.prune)


def look(
    connection: Connection,
    patience_us: Mapping[int, int],
    responds: Iterable[int],
    now_us: int,
    most: int,
) -> Round:
    """At most `most` rows for each recipient. `responds` are those for whom times were agreed."""
    known, responding = all_marks(connection), frozenset(responds)
    rows: list[int] = []
    moved: dict[int, Marks] = {}
    for bit, patience in patience_us.items():
        before = after = known.get(bit, Marks())
        if len(rows) < REMINDED_AT_ONCE:
            ripe = _ripe(connection, bit, before.told, now_us - patience, most)
            rows += ripe
            after = after._replace(told=ripe[-1] if ripe else before.told)
        if bit in responding:
            after = after._replace(
                acknowledged=_passed(connection, bit, before.acknowledged, "acknowledge", most),
                acted=_passed(connection, bit, before.acted, "act", most),
            )
        if after != before:
            moved[bit] = after
    old = sa.select(former.c.stix_id).where(_left_long_ago(now_us // 1_000)).limit(1)
    return Round(sorted(set(rows)), moved, connection.execute(old).first() is not None)


def _ripe(connection: Connection, bit: int, mark: int, until: int, most: int) -> list[int]:
    """Withdrawals in a recipient's feed beyond `mark` that came by `until` (µs)."""
    return _leading(connection, View(bit, False), mark, most, lambda rows: [row.added <= until for row in rows])


def _passed(connection: Connection, bit: int, mark: int, what: What, most: int) -> int:
    """The mark, moved up to the first row for which something is owed."""

    def done(rows: Sequence[FeedRow]) -> list[bool]:
        answered = _answered(connection, bit, [row.stix_id for row in rows])
        return [not _is_owed(row, answered.get(row.stix_id), what) for row in rows]

    return max(_leading(connection, View(bit, True), mark, most, done), default=mark)


def _leading(
    connection: Connection, view: View, mark: int, most: int, fits: Callable[[Sequence[FeedRow]], list[bool]]
) -> list[int]:
    """The rows (their `added`) beyond `mark` up to the first that does not fit, `most` of them at most."""
    found: list[int] = []
    for count in (1, most):  # mostly the very first does not
        rows = feeds.page(connection, view, Match(after=mark), count, bodies=False).rows
        fitting = takewhile(lambda pair: pair[1], zip(rows, fits(rows), strict=True))
        found = [row.added for row, _ in fitting]
        if len(found) < count:
            break
    return found


def move_marks(connection: Connection, moved: Mapping[int, Marks], reminded: Mapping[int, int]) -> None:
    """Marks only ever rise; `reminded` is added to what was counted."""
    statement = upsert(connection)(marks)
    new = statement.excluded
    rising = {name: _greater(marks.c[name], new[name]) for name in ("told", "acknowledged", "acted")}
    statement = statement.on_conflict_do_update(
        index_elements=[marks.c.bit], set_={**rising, "reminders": marks.c.reminders + new.reminders}
    )
    values = [
        {"bit": bit, **moved.get(bit, Marks())._asdict(), "reminders": reminded.get(bit, 0)}
        for bit in sorted(moved.keys() | reminded.keys())
    ]
    if values:
        connection.execute(statement, values)


def _greater(one: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.case((one > other, one), else_=other)


def prune(connection: Connection, now_ms: int) -> None:
    """Forgets ids that left a feed long ago, some at a time."""
    old = _left_long_ago(now_ms)
    query = sa.select(former.c.stix_id, former.c.audience).where(old).limit(_PRUNED_AT_ONCE)
    of_one = (former.c.stix_id == sa.bindparam("id")) & (former.c.audience == sa.bindparam("of"))
    if found := [{"id": row.stix_id, "of": row.audience} for row in connection.execute(query)]:
        connection.execute(former.delete().where(of_one, old), found)


def _left_long_ago(now_ms: int) -> sa.ColumnElement[bool]:
    return former.c.left_ms < now_ms - FORMER_DAYS * 86_400_000
