"""The tables of the policy: its versions, and who confirmed what waits.

The newest version is in force. Whoever makes one holds `lock`, so that two processes never make the same.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy import Connection

from schemas.agreement import Agreement, Policy, Rulebook
from schemas.errors import Misconfigured
from services.directory import document_of, number, numbered
from services.hub import Directory
from services.published import Version, publish
from services.tables import POLICY_LOCK, confirmations, policies


def lock(connection: Connection) -> None:
    """Until the end of the transaction nobody else makes a version. On SQLite every writer is alone anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(POLICY_LOCK)))


def newest(connection: Connection) -> int:
    """The number of the version in force; 0 where there is none."""
    return connection.scalar(sa.select(sa.func.max(policies.c.version))) or 0


def in_force(connection: Connection) -> Directory:
    """The partners under the version in force; raises `Misconfigured` where it can't be read."""
    row = connection.execute(sa.select(policies).order_by(policies.c.version.desc()).limit(1)).one()
    where = f"version {row.version} of the policy"
    try:
        document = orjson.loads(row.document)
        agreements = {name: Agreement.model_validate(one) for name, one in document["agreements"].items()}
        rules = Rulebook(agreements, Policy.model_validate(document["policy"]))
    except (ValueError, KeyError, AttributeError, ValidationError):
        raise Misconfigured(
            "policy-unreadable",
            "this process can't read the policy that is in force",
            where=where,
            hint="run the newest software that wrote to this database in all processes",
        ) from None
    if hashlib.sha256(row.document.encode()).hexdigest() != row.hash:
        raise Misconfigured(
            "policy-altered",
            "it is not what was put in force: its hash is another",
            where=where,
            hint="restore the database, and find out who wrote to it",
        )
    return numbered(connection, rules, hash_=row.hash, version=row.version)


def put(
    connection: Connection,
    rules: Rulebook,
    since_ms: int,
    sentences: Mapping[str, str],
    seed: bytes,
    *,
    confirmed: Mapping[str, Sequence[str]],
    note: Iterable[str],
) -> Version:
    """Makes the next version, which is in force from the commit on, and numbers its new partners. Needs `lock`."""
    document = document_of(rules)
    before = connection.execute(
        sa.select(policies.c.version, policies.c.hash).order_by(policies.c.version.desc()).limit(1)
    ).one_or_none()
    version = publish(
        before.version + 1 if before else 1,
        hashlib.sha256(document).hexdigest(),
        since_ms,
        before.hash if before else "",
        rules,
        sentences,
        seed,
    )
    number(connection, rules.agreements)
    connection.execute(
        policies.insert().values(
            version=version.version,
            hash=version.hash,
            document=document.decode(),
            published=version.document.decode(),
            signature=version.signature,
            key=version.key,
            since_ms=since_ms,
            confirmed=orjson.dumps({name: list(staff) for name, staff in confirmed.items()}).decode(),
            note=orjson.dumps(list(note)).decode(),
        )
    )
    return version


# -- what is published ------------------------------------------------------------------------------------


def published(connection: Connection, limit: int) -> list[Version]:
    """The newest versions, newest first."""
    rows = connection.execute(sa.select(policies).order_by(policies.c.version.desc()).limit(limit))
    return [_version(row) for row in rows]


def find(connection: Connection, wanted: str) -> Version | None:
    """A version by its number or hash; of several with one hash the newest."""
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
        which = policies.c.version == int(wanted)
    else:
        which = policies.c.hash == wanted
    row = connection.execute(
        sa.select(policies).where(which).order_by(policies.c.version.desc()).limit(1)
    ).one_or_none()
    return None if row is None else _version(row)


def _version(row: sa.Row[Any]) -> Version:
    return Version(row.version, row.hash, row.since_ms, row.published.encode(), row.signature, row.key)


# -- what is confirmed ------------------------------------------------------------------------------------


def confirmed_by(connection: Connection, transitions: Collection[str]) -> dict[str, tuple[str, ...]]:
    """By transition, the staff who confirmed it, each once."""
    found: dict[str, list[str]] = defaultdict(list)
    query = sa.select(confirmations.c.transition, confirmations.c.staff).where(
        confirmations.c.transition.in_(transitions)
    )
    for row in connection.execute(query.order_by(confirmations.c.staff)):
        found[row.transition].append(row.staff)
    return {transition: tuple(staff) for transition, staff in found.items()}


def confirm(connection: Connection, name: str, transition: str, staff: str, at_ms: int) -> None:
    """Twice by the same counts once. Needs `lock`."""
    if staff not in confirmed_by(connection, (transition,)).get(transition, ()):
        connection.execute(
            confirmations.insert().values(transition=transition, staff=staff, name=name, at_ms=at_ms)
        )


def forget_others(connection: Connection, transitions: Collection[str]) -> None:
    """Keeps the confirmations of these transitions: what was withdrawn, or came in force, is confirmed anew."""
    connection.execute(confirmations.delete().where(confirmations.c.transition.not_in(transitions)))
