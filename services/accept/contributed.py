"""What a source contributed, by any of the names that it may have for it.

What others contributed is looked for in the same way, and answered like what does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.outgoing import outgoing_id
from schemas.withdrawal import Withdrawal
from services.accept.aliases import WANTED, by_keys, last_of
from services.accept.names import Alias, Name, alias_of, name_of, names_in
from services.accept.packing import Fate, compress_fates, decompress_fates
from services.accept.withdrawing import FORMAT, Found, Named, consent_of
from services.sealing import unseal
from services.tables import aliases, audience_members, decisions, feed, submissions, waiting


class Asker(NamedTuple):
    """Whose withdrawal it is; `bit` is its number as a recipient. `secret` is the hub's."""

    source: str
    bit: int | None
    secret: bytes


def look_up(connection: Connection, asker: Asker, asked: Withdrawal) -> Found:
    """What is named of what the source contributed. Raises `BodyRefused` (413) where that is too much."""
    found = Found(after=last_of(connection, asker.source))  # before all else, as in `aliases.look_up`
    _by_ids(connection, asker, asked, found)
    _by_items(connection, asker, asked, found)
    _by_submissions(connection, asker, asked, found)
    _by_consents(connection, asker, asked, found)
    return found


# --- the source's own ids -----------------------------------------------------------------------------------------


def _by_ids(connection: Connection, asker: Asker, asked: Withdrawal, found: Found) -> None:
    places: dict[bytes, tuple[str, str]] = {}
    for place, id_ in enumerate(asked.ids):
        places.setdefault(alias_of(asker.secret, asker.source, _stix_id(id_)), (f"/ids/{place}", id_))
        found.ids.append(_stix_id(id_))
    known = dict(_aliases(connection, asker, list(places)))
    waits: dict[bytes, list[tuple[int, int]]] = {}
    query = sa.select(waiting.c.own, waiting.c.seq, waiting.c.place).where(waiting.c.own.in_(WANTED))
    for own, seq, at in by_keys(connection, query, sorted(places)):
        waits.setdefault(own, []).append((seq, at))
    for alias, (where, id_) in places.items():
        before = known.get(alias)
        if before is not None and before.names:
            found.aliases[alias] = before
            for name in before.names:
                found.add(name, Named(before.type, _stix_id(id_), where, id_))
        elif alias in waits:
            found.waited.append((where, id_))
        else:
            found.unknown.append((where, id_))
        found.waiting += waits.get(alias, ())


def _stix_id(id_: str) -> str:
    """MISP names attributes by a bare UUID."""
    return f"indicator--{id_.lower()}" if _uuid(id_) else id_


_uuid = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch


def _aliases(connection: Connection, asker: Asker, wanted: Sequence[bytes]) -> Iterator[tuple[bytes, Alias]]:
    table = aliases.c
    query = sa.select(table.alias, table["keys"], table.object_type, table.modified_ms, table.state)
    query = query.where(table.alias.in_(WANTED), table.source == asker.source)
    for alias, keys, type_, modified_ms, state in by_keys(connection, query, sorted(wanted)):
        yield alias, Alias(names_in(keys, type_), type_, modified_ms, state)


# --- ids that the hub gave ----------------------------------------------------------------------------------------


def _by_items(connection: Connection, asker: Asker, asked: Withdrawal, found: Found) -> None:
    ids = list(dict.fromkeys(asked.items))
    place_of = {id_: place for place, id_ in reversed(list(enumerate(asked.items)))}
    meant = _meant(connection, asker, ids)
    query = sa.select(decisions.c.fingerprint, decisions.c.record).where(
        decisions.c.fingerprint.in_(WANTED), _names(connection, asker.source)
    )
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        keys = sorted({meant.get(id_, b"") for id_ in some})
        records = {row.fingerprint: row.record for row in by_keys(connection, query, keys)}
        for id_ in some:
            key = meant.get(id_, b"")
            name, type_ = _own(asker, key, records[key]) if key in records else (b"", "")
            where = f"/items/{place_of[id_]}"
            if name:
                found.add(name, Named(type_, "", where, id_))
            else:
                found.unknown.append((where, id_))


_AT_ONCE = 1_000


def _meant(connection: Connection, asker: Asker, ids: Sequence[str]) -> dict[str, bytes]:
    """Fingerprints by the ids that everybody has, and those under which this partner alone holds a copy.

    An id that is another recipient's own means nothing to anybody else: two can't join their copies by it.
    """
    of_decisions = sa.select(decisions.c.stix_id, decisions.c.fingerprint).where(decisions.c.stix_id.in_(WANTED))
    meant = {row.stix_id: row.fingerprint for row in by_keys(connection, of_decisions, ids)}
    mine = sa.exists().where(audience_members.c.audience == feed.c.audience, audience_members.c.bit == asker.bit)
    of_copies = sa.select(feed.c.stix_id, feed.c.fingerprint, feed.c.type, mine).where(feed.c.stix_id.in_(WANTED))
    for id_, fingerprint, type_, is_mine in by_keys(connection, of_copies, ids):
        if is_mine or id_ == outgoing_id(type_, fingerprint):  # what the door acknowledged it as
            meant.setdefault(id_, fingerprint)
    return meant


def _names(connection: Connection, source: str) -> sa.ColumnElement[bool]:
    """Whether a decision is on a word of the source.

    Another's record is neither fetched nor opened: it costs what is not there costs, however large it is. What
    sources wrote is sealed or escaped in it, and can't look like this.
    """
    said = b'"source":' + orjson.dumps(source)
    if connection.dialect.name == "postgresql":
        return sa.func.pg_catalog.position(decisions.c.record, said) > 0
    return sa.func.instr(decisions.c.record, said) > 0


def _own(asker: Asker, fingerprint: bytes, record: bytes) -> tuple[Name, str]:
    """The item's name and type, from the last decision on it; empty where the source contributed nothing to it."""
    decision = orjson.loads(record)
    if not decision["sealed"]:
        return b"", ""
    sealed = unseal(asker.secret, decision["sealed"])
    said = any(one["source"] == asker.source for one in sealed.get("contributions", ()))
    return (name_of(bytes.fromhex(sealed["route"]), fingerprint) if said else b""), str(decision["type"])


# --- whole submissions --------------------------------------------------------------------------------------------


def _by_submissions(connection: Connection, asker: Asker, asked: Withdrawal, found: Found) -> None:
    query = sa.select(submissions.c.id, submissions.c.seq).where(
        submissions.c.id.in_(WANTED), submissions.c.source == asker.source, submissions.c.format != FORMAT
    )
    known = dict(tuple(row) for row in by_keys(connection, query, sorted(set(asked.submissions))))
    for place, id_ in enumerate(asked.submissions):
        where = f"/submissions/{place}"
        if id_ not in known:
            found.unknown.append((where, id_))
        elif not _whole(connection, asker, asked, [(known[id_], id_)], where, found):
            found.empty.append(where)


def _by_consents(connection: Connection, asker: Asker, asked: Withdrawal, found: Found) -> None:
    for place, reference in enumerate(asked.consents):
        where, consent = f"/consents/{place}", consent_of(asker.secret, asker.source, reference)
        found.consents.append(consent)
        query = sa.select(submissions.c.seq, submissions.c.id).where(submissions.c.consent == consent)
        of_it = [(row.seq, row.id) for row in connection.execute(query.order_by(submissions.c.seq))]
        if not of_it:
            found.unknown.append((where, reference))
        elif not _whole(connection, asker, asked, of_it, where, found):
            found.empty.append(where)


def _whole(
    connection: Connection,
    asker: Asker,
    asked: Withdrawal,
    some: Iterable[tuple[int, str]],
    where: str,
    found: Found,
) -> bool:
    """Names all that came with these submissions, one after the other; whether that is anything."""
    any_item = False
    for seq, id_ in some:
        if seq in found.fates:
            any_item = True
            continue
        stored = connection.scalar(sa.select(submissions.c.fates).where(submissions.c.seq == seq))
        fates, notes = decompress_fates(stored or b"")
        items = [*_items(connection, asker, fates)]
        for name, type_ in items:
            found.add(name, Named(type_, "", where, ""))
        places = connection.execute(sa.select(waiting.c.seq, waiting.c.place).where(waiting.c.seq == seq))
        found.waiting += [(row.seq, row.place) for row in places]
        found.submissions.append(id_)
        # what the people concerned do not want to be known is in what is kept of it, too
        bare = [fate | {"value": ""} if "value" in fate else fate for fate in fates]
        found.fates[seq] = compress_fates(bare, notes) if asked.why == "consent" else b""
        any_item = any_item or bool(items)
    return any_item


def _items(connection: Connection, asker: Asker, fates: Sequence[Fate]) -> Iterator[tuple[Name, str]]:
    """What was taken at once, and what waited and came in since."""
    for fate in fates:
        if fate["fate"] == "taken" and "key" in fate:
            key: str = fate["key"]
            yield name_of(bytes.fromhex(key), bytes.fromhex(fate.get("identity", key))), fate["type"]
    waited = [bytes.fromhex(fate["own"]) for fate in fates if fate["fate"] == "waiting" and "own" in fate]
    for _, alias in _aliases(connection, asker, waited):
        for name in alias.names:
            yield name, alias.type
