"""What a withdrawal changes in the database beside its reports: consents that are over, and what was kept."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.reference import is_letter
from schemas.rejected import Rejected
from schemas.topics import REPORTS
from services.accept.names import Name, name_of
from services.accept.packing import Effects
from services.positions import upsert
from services.problems import RequestRefused
from services.tables import rejected, submissions, withdrawn_consents

KEYS_PER_QUERY = 1_000


def check(connection: Connection, consent: bytes | None) -> None:
    """Raises `RequestRefused` (422) where nothing is taken under this consent any more."""
    query = sa.select(withdrawn_consents.c.consent).where(withdrawn_consents.c.consent == consent)
    if consent is not None and connection.scalar(query) is not None:
        raise RequestRefused(
            422,
            "consent-withdrawn",
            "the consent that this refers to was withdrawn, so nothing is taken under it",
            where="consent",
            hint="leave out what the people concerned do not want shared; what they consented to since, send under "
            "a new reference",
        )


def write(connection: Connection, source: str, at_ms: int, effects: Effects) -> None:
    """What a withdrawal ends and erases: consents, rejected things that could come again, and texts in fates."""
    if effects.consents:
        statement = upsert(connection)(withdrawn_consents).on_conflict_do_nothing()
        connection.execute(
            statement, [{"consent": c, "withdrawn_ms": at_ms} for c in dict.fromkeys(effects.consents)]
        )
    for start in range(0, len(effects.erased), KEYS_PER_QUERY):
        some = effects.erased[start : start + KEYS_PER_QUERY]
        connection.execute(rejected.delete().where(rejected.c.submission.in_(some), rejected.c.source == source))
    if effects.withdrawn:
        _erase_reports(connection, source, effects.withdrawn)
    values = [{"at": seq, "fates": fates} for seq, fates in effects.fates if fates]
    if values:
        connection.execute(submissions.update().where(submissions.c.seq == sa.bindparam("at")), values)


def _erase_reports(connection: Connection, source: str, names: Iterable[Name]) -> None:
    """Reports that failed behind the door: sent through again, they would come as if nothing had happened."""
    query = sa.select(rejected.c.id, rejected.c.record).where(
        rejected.c.source == source, rejected.c.stage != "accept"
    )
    wanted = frozenset(names)
    found = [id_ for id_, raw in connection.execute(query) if _item_of(Rejected.from_bytes(raw)) in wanted]
    for start in range(0, len(found), KEYS_PER_QUERY):
        connection.execute(rejected.delete().where(rejected.c.id.in_(found[start : start + KEYS_PER_QUERY])))


def _item_of(record: Rejected) -> Name | None:
    if record.origin_topic != REPORTS.name or is_letter(record.value_bytes):
        return None
    try:
        identity = bytes.fromhex(orjson.loads(record.value_bytes)["identity"])
    except (ValueError, TypeError, KeyError):
        return None  # no report: it can't be sent through again either
    return name_of(record.key_bytes, identity or record.key_bytes)
