"""The sink of tocsin.decisions and tocsin.rejected: the last decision on each item, counts, and what failed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.decision import Decision
from schemas.rejected import Rejected
from schemas.topics import DECISIONS, REJECTED, REPORTS, Topic
from services import positions
from services.hub import Hub
from services.positions import upsert
from services.share.numbering import check_numbering
from services.stream.types import Batch, Position, Record
from services.tables import counts, decisions, rejected, submissions, withdrawn_consents
from services.witness.tally import tally

KEYS_PER_QUERY = 1_000
MAX_NAME_CHARS = 100
MAX_ERRORS = 5
log = logging.getLogger("tocsin")


class Read(NamedTuple):
    """A decoded record beside its bytes, which are what is kept."""

    value: Decision | Rejected
    raw: bytes


class WitnessSink:
    """Applies decisions and rejections, each exactly once."""

    name = "witness"
    sources: tuple[Topic, ...] = (DECISIONS, REJECTED)

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def decode(self, topic: str, record: Record) -> Read:
        if topic == DECISIONS.name:
            return Read(Decision.from_bytes(record.value), record.value)
        return _with_its_source(Read(Rejected.from_bytes(record.value), record.value))

    async def positions(self, topic: str) -> dict[int, Position]:
        return await positions.load(self._hub.store, self.name, topic)

    async def apply(self, batch: Batch) -> None:
        """Raises `Misconfigured` for recipients under a numbering that is not this hub's."""
        reads: list[Read] = [value for _, value in batch.items]
        for read in reads:
            if isinstance(read.value, Decision):
                where = f"{batch.topic}/{batch.partition}"
                check_numbering(read.value.numbering, self._hub.directory.numbering, where)
        await self._hub.store.write(lambda connection: self._apply(connection, batch, reads))

        for read in reads:
            if isinstance(read.value, Decision) and read.value.errors:
                log.error("%s was kept from all whom a rule failed for: %s", read.value.id, _errors(read.value))

    def _apply(self, connection: Connection, batch: Batch, reads: Sequence[Read]) -> None:
        if positions.advance(connection, self.name, batch.topic, batch.partition, batch.position):
            _keep_decisions(connection, [(r.value, r.raw) for r in reads if isinstance(r.value, Decision)])
            _keep_rejected(connection, [(r.value, r.raw) for r in reads if isinstance(r.value, Rejected)])


def _errors(decision: Decision) -> str:
    shown = dict.fromkeys(decision.errors[:MAX_ERRORS])
    return "; ".join(shown)


def _with_its_source(read: Read) -> Read:
    """A rejected report as the rejection of its submission: streams know nothing of what is in their records."""
    record = read.value
    if not isinstance(record, Rejected) or record.origin_topic != REPORTS.name:
        return read
    try:
        report = orjson.loads(record.value_bytes)
    except ValueError:
        return read
    named = {name: report.get(name) for name in ("submission", "source")} if isinstance(report, dict) else {}
    known = {k: v for k, v in named.items() if isinstance(v, str) and len(v) <= MAX_NAME_CHARS and "\0" not in v}
    if not known:
        return read
    completed = record.model_copy(update={k: v for k, v in known.items() if not getattr(record, k)})
    return Read(completed, completed.to_bytes())


def _keep_decisions(connection: Connection, reads: Sequence[tuple[Decision, bytes]]) -> None:
    versions = _versions(connection, list({bytes.fromhex(decision.fingerprint) for decision, _ in reads}))
    last: dict[bytes, tuple[Decision, bytes]] = {}
    added: Counter[str] = Counter()
    for decision, raw in reads:
        fingerprint, version = bytes.fromhex(decision.fingerprint), (decision.epoch, decision.counter)
        before = versions.get(fingerprint)
        if before is None or version > before:
            added += tally(decision) + Counter(items=int(before is None))
            versions[fingerprint] = version
            last[fingerprint] = (decision, raw)
    if last:
        statement = upsert(connection)(decisions)
        kept = {name: statement.excluded[name] for name in ("stix_id", "epoch", "counter", "record", "probation")}
        statement = statement.on_conflict_do_update(index_elements=[decisions.c.fingerprint], set_=kept)
        connection.execute(statement, [_row(key, *read) for key, read in last.items()])
    _count(connection, added)


def _row(fingerprint: bytes, decision: Decision, raw: bytes) -> dict[str, object]:
    return {
        "fingerprint": fingerprint,
        "stix_id": decision.id,
        "epoch": decision.epoch,
        "counter": decision.counter,
        "record": raw,
        "probation": bool(decision.probation),
    }


def _versions(connection: Connection, fingerprints: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
    query = sa.select(decisions.c.fingerprint, decisions.c.epoch, decisions.c.counter).where(
        decisions.c.fingerprint.in_(sa.bindparam("keys", expanding=True))
    )
    found: dict[bytes, tuple[int, int]] = {}
    for start in range(0, len(fingerprints), KEYS_PER_QUERY):
        for row in connection.execute(query, {"keys": fingerprints[start : start + KEYS_PER_QUERY]}):
            found[row.fingerprint] = (row.epoch, row.counter)
    return found


def _count(connection: Connection, added: Mapping[str, int]) -> None:
    if not added:
        return
    statement = upsert(connection)(counts)
    statement = statement.on_conflict_do_update(
        index_elements=[counts.c.name], set_={"value": counts.c.value + statement.excluded.value}
    )
    # sorted, so that two writers can't wait for each other
    connection.execute(statement, [{"name": name, "value": value} for name, value in sorted(added.items())])


def _keep_rejected(connection: Connection, reads: Sequence[tuple[Rejected, bytes]]) -> None:
    """But nothing that came under a consent that was withdrawn since: it could be read, and sent through again."""
    over = _over(connection, {record.submission for record, _ in reads})
    rows = [
        {
            "id": record.id,
            "stage": record.stage,
            "code": record.code,
            "source": record.source,
            "submission": record.submission,
            "at": record.at,
            "record": raw,
        }
        for record, raw in reads
        if record.submission not in over
    ]
    if rows:
        connection.execute(upsert(connection)(rejected).on_conflict_do_nothing(), rows)


def _over(connection: Connection, wanted: set[str]) -> set[str]:
    """Those of these submissions that came under a consent that was withdrawn."""
    query = (
        sa.select(submissions.c.id)
        .join(withdrawn_consents, withdrawn_consents.c.consent == submissions.c.consent)
        .where(submissions.c.id.in_(sa.bindparam("keys", expanding=True)))
    )
    keys = sorted(wanted)
    return {
        id_
        for start in range(0, len(keys), KEYS_PER_QUERY)
        for id_ in connection.scalars(query, {"keys": keys[start : start + KEYS_PER_QUERY]})
    }
