"""The door over HTTP: submissions come in, and what became of each is told to who sent it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import hdrs, web

from schemas.agreement import Agreement
from schemas.errors import clip
from schemas.outgoing import outgoing_id
from schemas.rejected import Rejected
from schemas.safejson import loads
from schemas.timestamps import format_time
from schemas.withdrawal import MAX_CONSENT_CHARS, Withdrawal, spelled
from schemas.withdrawal import read as read_withdrawal
from services.accept import consents
from services.accept.door import Door, Given
from services.accept.inbox import Stored, find_submission
from services.accept.intake import read_body
from services.accept.names import Origin
from services.accept.packing import OVERDUE, Fate, Packed, decompress_fates
from services.accept.unzip import MAGIC, unzip
from services.accept.withdrawing import consent_of
from services.hub import Hub
from services.problems import RequestRefused, problem
from services.tokens import Authenticator, Principal

PATH = "/api/v1/submissions"
WITHDRAWALS = "/api/v1/withdrawals"
MAX_FEED_CHARS = 100
PAGE_ITEMS, MAX_PAGE_ITEMS = 100, 1000

_id_form = re.compile(r"[0-9a-f-]{36}").fullmatch


def attach(app: web.Application, hub: Hub, authenticator: Authenticator, door: Door) -> None:
    """Adds the submissions resource to `app`."""
    submissions = _Submissions(hub, authenticator, door)
    app.router.add_post(PATH, submissions.submit)
    app.router.add_get(PATH + "/{id}", submissions.status)
    app.router.add_post(WITHDRAWALS, submissions.withdraw)


@dataclass
class _Submissions:
    hub: Hub
    authenticator: Authenticator
    door: Door

    async def submit(self, request: web.Request) -> web.Response:
        """Takes a submission: STIX 2.1 or 2.0, a MISP event, CSV, a list of hosts; each also as gzip.

        `feed` names the feed that a snapshot is of (else `name` does), and `empty=true` says that it may be empty.
        `consent` is the source's reference to the consent under which it sends this, by which it can withdraw it.
        """
        principal = await self.authenticator.authenticate(request)
        agreement = await self._source(principal, request.query.get("source"))
        consent = _consent(request, agreement.id, self.hub.secret)
        if consent is not None:
            await self.hub.store.read(lambda connection: consents.check(connection, consent))
        with self.door.intake.admitted(agreement.id) as received:
            feed = _feed(request)
            body = await read_body(request, self.hub.settings.max_body_bytes, received)
            given = Given(
                body,
                request.content_type,
                _filename(request),
                _filename(request) if feed is None else feed,
                may_be_empty=request.query.get("empty") == "true",
                consent=consent,
            )
            origin, packed = await self.door.take(agreement, given)
        nothing = packed.refused and not packed.taken and not packed.waiting
        return _refused(origin, packed) if nothing else _accepted(origin, packed)

    async def withdraw(self, request: web.Request) -> web.Response:
        """Takes back what a source said, in JSON: see `schemas.withdrawal`. For what is not its own: `unknown`."""
        principal = await self.authenticator.authenticate(request)
        source = self._named(principal, request.query.get("source"))
        if source not in self.hub.directory.bit_of:  # who is no partner any more can take back what is still there
            raise _unknown_source(source)
        # apart from submissions: however much a source is sending, it can take back
        with self.door.intake.admitted(f"{source} withdraws") as received:
            body = await read_body(request, self.hub.settings.max_body_bytes, received)
            async with self.door.parsers:
                asked = await asyncio.to_thread(_withdrawal, body, self.hub.settings.max_body_bytes)
            origin, found = await self.door.take_back(asked, source)
        address = _address(origin.submission)
        document = {
            "id": origin.submission,
            "status_url": address,
            "named": len(found.items),
            "unknown": [text for _, text in found.unknown],
        }
        return _json(202, document, {hdrs.LOCATION: address})

    async def _source(self, principal: Principal, asked: str | None) -> Agreement:
        """The agreement in force under which something comes in; raises `RequestRefused`."""
        source = self._named(principal, asked)
        agreement = self.hub.directory.agreements.get(source)
        if agreement is None:
            raise _unknown_source(source)
        await self.door.check_contributes(agreement)
        return agreement

    @staticmethod
    def _named(principal: Principal, asked: str | None) -> str:
        """For whom the request speaks; raises `RequestRefused`."""
        if principal.scope == "partner":
            if asked is not None and asked != principal.name:
                raise RequestRefused(
                    403,
                    "source-not-yours",
                    "this token is not the one of that source",
                    where="source",
                    hint=f"leave `source` out: your token says that you are {principal.name}",
                )
            asked = principal.name
        if not asked:
            raise RequestRefused(
                400, "source-missing", "a staff token speaks for no source", where="source", hint="add ?source=ID"
            )
        return asked

    async def status(self, request: web.Request) -> web.Response:
        """What became of a submission, item by item; only its own source and staff can ask."""
        principal = await self.authenticator.authenticate(request)
        wanted = request.match_info["id"]
        stored = await find_submission(self.hub, wanted) if _id_form(wanted) else None
        if stored is None or (principal.scope == "partner" and principal.name != stored.source):
            raise RequestRefused(
                404, "no-such-submission", "you sent no submission with this id", where="id", hint="check the id"
            )
        offset = _number(request, "offset", 0, least=0, most=10**9)
        limit = _number(request, "limit", PAGE_ITEMS, least=1, most=MAX_PAGE_ITEMS)
        return _json(200, await asyncio.to_thread(_status, stored, offset, limit))


def _feed(request: web.Request) -> str | None:
    """Raises `RequestRefused` where the name of the feed is none."""
    feed = request.query.get("feed")
    if feed is not None and not 1 <= len(feed) <= MAX_FEED_CHARS:
        raise RequestRefused(
            400,
            "parameter-invalid",
            f"feed is a name of 1 to {MAX_FEED_CHARS} characters",
            where="feed",
            hint="give each feed a name of its own, and always the same one",
        )
    return feed


def _unknown_source(source: str) -> RequestRefused:
    return RequestRefused(
        404,
        "unknown-source",
        f"there is no agreement with {clip(source)!r}",
        where="source",
        hint="`tocsin partner list` shows the ids; an agreement is a file in the folder of agreements",
    )


def _consent(request: web.Request, source: str, secret: bytes) -> bytes | None:
    """What stands for the consent; the reference itself is kept nowhere."""
    reference = request.query.get("consent")
    if reference is None:
        return None
    if not 1 <= len(reference) <= MAX_CONSENT_CHARS or not spelled(reference):
        raise RequestRefused(
            400,
            "parameter-invalid",
            f"consent is a reference of 1 to {MAX_CONSENT_CHARS} characters",
            where="consent",
            hint="give each consent a reference of its own, by which you find it again",
        )
    return consent_of(secret, source, reference)


def _withdrawal(body: bytes, max_bytes: int) -> Withdrawal:
    return read_withdrawal(loads(unzip(body, max_bytes) if body.startswith(MAGIC) else body))


def _filename(request: web.Request) -> str:
    return request.query.get("name", "")[:255]


def _number(request: web.Request, name: str, default: int, *, least: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most:
        return int(text)
    raise RequestRefused(
        400,
        "parameter-invalid",
        f"{name} must be a whole number from {least} to {most}",
        where=name,
        hint="mend it, or leave it out",
    )


def _address(submission: str) -> str:
    return f"{PATH}/{submission}"


def _accepted(origin: Origin, packed: Packed) -> web.Response:
    address = _address(origin.submission)
    document = {
        "id": origin.submission,
        "status_url": address,
        "format": packed.format,
        "taken": packed.taken,
        "refused": packed.refused,
        "skipped": packed.skipped,
        "waiting": packed.waiting,
        "items": packed.refusals,
        "notes": packed.notes,
    }
    return _json(202, document, {hdrs.LOCATION: address})


def _refused(origin: Origin, packed: Packed) -> web.Response:
    first = packed.refusals[0]
    return problem(
        422,
        "nothing-taken",
        "Nothing could be taken",
        f"{packed.refused} of its items are refused, and none is taken: {first['reason']}",
        where=first["where"],
        hint=first["hint"],
        errors=[
            {"code": fate["code"], "detail": fate["reason"], "where": fate["where"], "hint": fate["hint"]}
            for fate in packed.refusals
        ],
        instance=_address(origin.submission),
    )


def _status(stored: Stored, offset: int, limit: int) -> dict[str, Any]:
    fates, notes = decompress_fates(stored.fates)
    lost = {Rejected.from_bytes(raw).key_bytes.hex() for raw in stored.rejected_behind}
    behind = sum(fate.get("key") in lost for fate in fates) if lost else 0
    kept = sum(fate["fate"] == "waiting" for fate in fates)
    late_records = {_pointer(record): record for record in map(Rejected.from_bytes, stored.late)}
    waiting, late = (
        len(stored.waiting),
        sum(fate["fate"] == "waiting" and fate["pointer"] in late_records for fate in fates),
    )
    return {
        "id": stored.id,
        "source": stored.source,
        "received": format_time(stored.received_ms),
        "format": stored.format,
        "state": stored.state,
        "taken": stored.taken - behind + max(0, kept - waiting - late),
        "refused": stored.refused + behind + late,
        "skipped": len(fates) - stored.taken - stored.refused - kept,
        "waiting": waiting,
        "notes": notes,
        "items": [_item(fate, lost, stored.waiting, late_records) for fate in fates[offset : offset + limit]],
        "offset": offset,
        "total": len(fates),
    }


def _pointer(record: Rejected) -> str:
    """Of the whole item: `where` may lie within it."""
    return record.origin.rpartition(" ")[2]


def _item(
    fate: Fate, lost: Container[str], waiting: Container[int], late: Mapping[str, Rejected]
) -> dict[str, Any]:
    """A fate as its source sees it. The id is made of the content, so it tells nothing but what was sent."""
    if fate["fate"] == "waiting":
        return _waiting(fate, waiting, late)
    if "key" not in fate:
        return fate
    shown = {name: value for name, value in fate.items() if name not in ("key", "identity", "type")}
    if fate["key"] not in lost:
        identity = bytes.fromhex(fate["identity"] if "identity" in fate else fate["key"])
        return {"id": outgoing_id(fate["type"], identity), **shown}
    # why it failed behind the door is the operator's to see: it may have to do with other sources
    return shown | {
        "fate": "refused",
        "code": "not-processed",
        "where": fate["pointer"],
        "reason": "the hub could not process this item",
        "hint": "the operator can see why, and can send it through again",
    }


def _waiting(fate: Fate, waiting: Container[int], late: Mapping[str, Rejected]) -> dict[str, Any]:
    """What became of an item that had to wait."""
    shown = {name: value for name, value in fate.items() if name not in ("place", "own")}
    if record := late.get(fate["pointer"]):
        return shown | {
            "fate": "refused",
            "code": record.code,
            "where": record.where,
            "reason": record.reason,
            "hint": "send it again together with what it refers to" if record.code == OVERDUE else "",
        }
    if fate["place"] in waiting:
        return shown
    return shown | {"fate": "taken", "reason": _WAITS_NO_MORE}


_WAITS_NO_MORE = "what it refers to has come, or it was sent again since, or its feed holds it no more"


def _json(status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(document), content_type="application/json", headers=headers
    )
