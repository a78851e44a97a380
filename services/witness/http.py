"""What staff can ask of the hub over HTTP: who got an item and why, how it is doing, and what was rejected."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from aiohttp import web
from sqlalchemy import Connection

from schemas.bits import from_hex, members
from schemas.decision import Decision
from schemas.errors import TocsinError, clip
from schemas.outgoing import outgoing_id
from schemas.reference import Letter, is_letter
from schemas.rejected import Rejected
from schemas.timestamps import parse_time
from schemas.topics import REPORTS
from services import connect_http
from services.accept import formats
from services.accept.framing import Parcel, pack
from services.accept.names import Asking, Known, Origin, Overtaken, identity_of, names_in
from services.accept.packing import Packed, compress_fates, decompress_fates, prepare
from services.accept.reading import Reading
from services.hub import Hub
from services.owed import Marks, all_marks, budget, document, owed, times
from services.problems import RequestRefused, unknown_partner
from services.sealing import unseal
from services.share.access import may_receive
from services.tables import (
    aliases,
    audiences,
    counts,
    decisions,
    feed,
    outbox,
    partners,
    rejected,
    submissions,
    watermarks,
)
from services.tokens import Authenticator
from services.witness import releases
from services.witness.lookup import aliases as named_aliases
from services.witness.lookup import fingerprints
from services.witness.tally import verdicts

MAX_ITEM_CHARS = 8_192
MAX_LISTED, DEFAULT_LISTED = 200, 100
MAX_OVERTAKEN = 20

Document = dict[str, Any]


class Door(NamedTuple):
    """What the door does on a connection: see `services.accept.aliases.look_up`, `services.accept.inbox.insert`."""

    look_up: Callable[[Connection, Asking, Reading], Known]
    insert: Callable[[Connection, Origin, Packed], int]


def attach(
    app: web.Application, hub: Hub, authenticator: Authenticator, wake_relay: Callable[[], None], door: Door
) -> None:
    """Adds the routes of this stage; `wake_relay` is called after something was put into the inbox."""

    async def staff(request: web.Request) -> None:
        if (await authenticator.authenticate(request)).scope != "staff":
            raise web.HTTPNotFound  # what staff may see does not exist for others

    async def explain_item(request: web.Request) -> web.Response:
        """Who got an item, who did not, and by which rules."""
        await staff(request)
        asked = request.query.get("item", "")[:MAX_ITEM_CHARS]
        partner = request.query.get("partner")
        if not asked:
            raise RequestRefused(400, "item-missing", "which item?", where="item", hint="add item=ID_OR_VALUE")
        if partner is not None and partner not in hub.directory.bit_of:
            raise unknown_partner(partner)
        found = await hub.store.read(lambda connection: explain(hub, connection, asked, partner))
        if not found:
            raise RequestRefused(
                404,
                "item-unknown",
                f"the hub has decided nothing about {clip(asked)!r}",
                where="item",
                hint="give the STIX id of an item, its fingerprint, its pattern or its value",
            )
        return _json({"items": found})

    async def status(request: web.Request) -> web.Response:
        """How the hub is doing: counts, what waits, the partners."""
        await staff(request)
        return _json(await hub.store.read(lambda connection: state_of(hub, connection)))

    async def list_rejected(request: web.Request) -> web.Response:
        """What was rejected, newest first, without contents."""
        await staff(request)
        limit = _number(request, "limit", DEFAULT_LISTED, MAX_LISTED)
        offset = _number(request, "offset", 0, 10**9)
        return _json({"rejected": await hub.store.read(lambda connection: _listed(connection, limit, offset))})

    async def show_rejected(request: web.Request) -> web.Response:
        """One rejected thing, whole."""
        await staff(request)
        record, replayed_ms = await _find(hub, request.match_info["id"])
        return _json({**record.model_dump(), "replayed_ms": replayed_ms})

    async def replay_rejected(request: web.Request) -> web.Response:
        """Sends a rejected thing through again."""
        await staff(request)
        record, _ = await _find(hub, request.match_info["id"])
        origin, now_ms = Origin(str(uuid.uuid4()), record.source, _received_ms(record)), hub.clock()
        await _send_again(hub, door, record, origin, now_ms)
        wake_relay()
        address = f"/api/v1/submissions/{origin.submission}"
        return _json({"id": origin.submission, "status_url": address}, status=202)

    releases.attach(app, hub, staff, wake_relay, door.insert)
    app.router.add_get("/api/v1/explain", explain_item)
    app.router.add_get("/api/v1/status", status)
    app.router.add_get("/api/v1/rejected", list_rejected)
    app.router.add_get("/api/v1/rejected/{id}", show_rejected)
    app.router.add_post("/api/v1/rejected/{id}/replay", replay_rejected)


def _json(document: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= most:
        return int(text)
    raise RequestRefused(
        400, "parameter-invalid", f"{name} is a number up to {most}", where=name, hint="mend it, or leave it out"
    )


# --- explain ------------------------------------------------------------------------------------------------------


def explain(hub: Hub, connection: Connection, asked: str, partner: str | None = None) -> list[Document]:
    """What was decided on each item that `asked` may mean: a STIX id, a fingerprint, a pattern or a value.

    Each has who said it, what enrichment found and what its score is made of, of all contributions (see
    `services.govern.background`); and `partners`: by partner the outcome, its rules, the decision on each
    contribution, and `feed`: the objects that are in the partner's feed now (`live` false: a withdrawal), empty
    where there are none.
    """
    name_of = {bit: name for name, bit in hub.directory.bit_of.items()}
    return [
        _explained(
            hub.secret,
            Decision.from_bytes(row.record),
            _in_feeds(connection, row.fingerprint, name_of),
            name_of,
            partner,
        )
        for row in _decisions(connection, asked, _meant(hub, connection, asked))
    ]


def _meant(hub: Hub, connection: Connection, asked: str) -> set[bytes]:
    """The fingerprints of what may be meant, ids that sources gave among them."""
    ids = named_aliases(hub.secret, asked, hub.directory.agreements)
    query = sa.select(aliases.c["keys"], aliases.c.object_type).where(aliases.c.alias.in_(ids))
    names = [name for keys, type_ in connection.execute(query) for name in names_in(keys, type_)] if ids else []
    return fingerprints(hub.secret, asked) | set(map(identity_of, names))


def _decisions(connection: Connection, asked: str, keys: Iterable[bytes]) -> list[sa.Row[Any]]:
    of_copies = sa.select(feed.c.fingerprint).where(feed.c.stix_id == asked)
    meant = sa.or_(
        decisions.c.stix_id == asked,
        decisions.c.fingerprint.in_(list(keys)),
        decisions.c.fingerprint.in_(of_copies),
    )
    query = sa.select(decisions.c.fingerprint, decisions.c.record).where(meant).order_by(decisions.c.fingerprint)
    return list(connection.execute(query))


def _in_feeds(connection: Connection, fingerprint: bytes, name_of: Mapping[int, str]) -> dict[str, list[Document]]:
    query = (
        sa.select(feed.c.live, feed.c.body, audiences.c.recipients)
        .join_from(feed, audiences, audiences.c.id == feed.c.audience)
        .where(feed.c.fingerprint == fingerprint)
        .order_by(feed.c.added)
    )
    held: dict[str, list[Document]] = {}
    for row in connection.execute(query):
        copy = {"live": bool(row.live), "object": orjson.loads(row.body)}
        for bit in members(from_hex(row.recipients)):
            held.setdefault(name_of.get(bit, f"#{bit}"), []).append(copy)
    return held


def _explained(
    secret: bytes,
    decision: Decision,
    held: Mapping[str, list[Document]],
    name_of: Mapping[int, str],
    partner: str | None,
) -> Document:
    by_partner = verdicts(decision, name_of)
    shown = unseal(secret, decision.sealed)
    names = sorted(by_partner.keys() | held.keys()) if partner is None else [partner]
    nothing: Document = {"outcome": "deny", "rules": [], "obligations": {}, "contributions": []}
    return {
        "id": decision.id,
        "fingerprint": decision.fingerprint,
        "type": decision.type,
        "kind": decision.kind,
        "value": shown.pop("value"),
        "version": [decision.epoch, decision.counter],
        "at_ms": decision.at_ms,
        "policy": decision.policy,
        "errors": list(decision.errors),
        **shown,
        "partners": [
            {"partner": name, **by_partner.get(name, nothing), "feed": held.get(name, [])} for name in names
        ],
    }


# --- status -------------------------------------------------------------------------------------------------------


def state_of(hub: Hub, connection: Connection) -> Document:
    """How the hub is doing: what was counted, what waits, and the partners. Offsets are of tocsin.reports.

    `policy_problem` (what, where, hint) says why changed files are not taken, `policy_waits` names the changes that
    must be confirmed."""
    now_ms = hub.clock()
    marks, most = all_marks(connection), budget(len(hub.directory.bit_of))
    suspended = {
        row.id for row in connection.execute(sa.select(partners.c.id).where(partners.c.suspended_ms.is_not(None)))
    }
    agreements = hub.directory.agreements
    return {
        "counts": {row.name: row.value for row in connection.execute(sa.select(counts).order_by(counts.c.name))},
        "rejected": connection.scalar(sa.select(sa.func.count()).select_from(rejected)),
        "outbox": connection.scalar(sa.select(sa.func.count()).select_from(outbox)),
        "watermarks": {str(row.partition): row.offset for row in connection.execute(sa.select(watermarks))},
        "policy": hub.directory.policy_hash,
        "policy_version": hub.directory.version,
        "policy_problem": hub.policy_problem,
        "policy_waits": list(hub.policy_waits),
        "connectors": connect_http.overview(connection),
        "partners": [
            {
                "id": name,
                "suspended": name in suspended,
                "receives": (receives := name not in suspended and may_receive(agreements, name, now_ms)),
                "owes": document(
                    owed(
                        connection,
                        bit,
                        marks.get(bit, Marks()),
                        times(agreements.get(name), receives, now_ms * 1_000),
                        most,
                    ),
                    now_ms * 1_000,
                ),
            }
            for name, bit in sorted(hub.directory.bit_of.items())
        ],
    }


# --- what was rejected --------------------------------------------------------------------------------------------


def _listed(connection: Connection, limit: int, offset: int) -> list[Document]:
    """The newest first, without their contents."""
    query = (
        sa.select(rejected.c.record, rejected.c.replayed_ms)
        .order_by(rejected.c.at.desc(), rejected.c.id)
        .limit(limit)
        .offset(offset)
    )
    return [_summary(Rejected.from_bytes(row.record), row.replayed_ms) for row in connection.execute(query)]


def _summary(record: Rejected, replayed_ms: int | None) -> Document:
    return {**record.model_dump(exclude={"key", "value"}), "replayed_ms": replayed_ms}


async def _find(hub: Hub, id_: str) -> tuple[Rejected, int | None]:
    query = sa.select(rejected.c.record, rejected.c.replayed_ms).where(rejected.c.id == id_)
    row = await hub.store.read(lambda connection: connection.execute(query).one_or_none())
    if row is None:
        raise RequestRefused(
            404, "rejected-unknown", f"nothing rejected has the id {clip(id_)!r}", hint="`tocsin rejected list`"
        )
    return Rejected.from_bytes(row.record), row.replayed_ms


def _received_ms(record: Rejected) -> int:
    """When it first came: sent through again it is no newer, so that it can't overtake what came since."""
    try:
        return parse_time(record.at)
    except TocsinError as error:
        raise _not_replayable(error.what, "the source can send it again") from None


async def _send_again(hub: Hub, door: Door, record: Rejected, origin: Origin, now_ms: int) -> None:
    """Puts it into the inbox once more, the way that it came; raises `RequestRefused` where it can't."""
    for _ in range(MAX_OVERTAKEN):
        if record.origin_topic == REPORTS.name:
            packed = _same_report(record)
        else:
            asking, reading = await asyncio.to_thread(_read_again, hub, record, origin)
            known = await hub.store.read(partial(_look_up, door, asking, reading))
            packed = await asyncio.to_thread(_again, hub, reading, origin, known)
        with suppress(Overtaken):
            await hub.store.write(partial(_store, door, record, origin, packed, now_ms))
            return
    raise _not_replayable("too many submissions of its source come at once", "try it again")


def _look_up(door: Door, asking: Asking, reading: Reading, connection: Connection) -> Known:
    return door.look_up(connection, asking, reading)


def _read_again(hub: Hub, record: Rejected, origin: Origin) -> tuple[Asking, Reading]:
    """What was rejected at the door, and whose it is. A part of a snapshot is no snapshot: it withdraws nothing."""
    agreement = hub.directory.agreements.get(record.source)
    if record.stage != "accept" or not record.value or agreement is None:
        raise _not_replayable(
            "it did not come from a source that the hub knows, or its bytes are not kept",
            "the source can send it again; what failed behind govern comes anew with the item's next decision",
        )
    try:
        # JSON and tables are known by their content; the media type is that of what remains, a list of hosts
        reading = formats.read(
            record.value_bytes, "text/plain", "", agreement, origin.received_ms, hub.settings.max_body_bytes
        )
    except TocsinError as error:
        raise _not_replayable(error.what, error.hint) from None
    bit = hub.directory.bit_of.get(agreement.id)
    return Asking(agreement, bit, hub.secret, record.feed, whole=False), reading


def _again(hub: Hub, reading: Reading, origin: Origin, known: Known) -> Packed:
    try:
        packed = prepare(reading, origin, hub.secret, known)
    except TocsinError as error:
        raise _not_replayable(error.what, error.hint) from None
    if packed.waiting:
        raise _not_replayable(
            "it refers to what is not in it", "the source can send it again, with what it is about"
        )
    if not packed.taken:
        first: Mapping[str, str] = packed.refusals[0] if packed.refusals else _first_aside(packed)
        raise _not_replayable(first.get("reason", "it names nothing"), first.get("hint", ""))
    return packed


def _first_aside(packed: Packed) -> Mapping[str, str]:
    fates, _ = decompress_fates(packed.fates)
    return fates[0] if fates else {}


def _same_report(record: Rejected) -> Packed:
    """The report as it was, with the place in its source's order that it has: it must not overtake later ones.

    Or the letter of one item to another.
    """
    try:
        report = orjson.loads(record.value_bytes)
        if is_letter(record.value_bytes):
            Letter.from_bytes(record.value_bytes)
            report = {"kind": "letter", "value": report["of"], "type": "letter"}
        fate = {
            "pointer": record.origin,
            "kind": str(report["kind"]),
            "value": str(report["value"]),
            "id": outgoing_id(str(report["type"]), record.key_bytes),
            "fate": "taken",
        }
    except (ValueError, TypeError, KeyError):
        raise _not_replayable("it is no report", "the source can send it again") from None
    return Packed(
        format="replay",
        messages=pack([Parcel(REPORTS, record.key_bytes, record.value_bytes)]),
        fates=compress_fates([fate], []),
        taken=1,
        refused=0,
        skipped=0,
        refusals=[],
        notes=(),
    )


def _not_replayable(what: str, hint: str) -> RequestRefused:
    return RequestRefused(409, "not-replayable", f"it can't be sent through again: {what}", hint=hint)


def _store(
    door: Door, record: Rejected, origin: Origin, packed: Packed, now_ms: int, connection: Connection
) -> None:
    """As a submission of its source, whose status page then shows what became of it; under the same consent."""
    consent = connection.scalar(sa.select(submissions.c.consent).where(submissions.c.id == record.submission))
    door.insert(connection, origin._replace(received_ms=now_ms, consent=consent), packed)
    connection.execute(rejected.update().where(rejected.c.id == record.id).values(replayed_ms=now_ms))
