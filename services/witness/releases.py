"""What sources on probation say: staff look at it item by item, and release it (policy P00)."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any

import sqlalchemy as sa
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection

from schemas.decision import Decision
from schemas.errors import clip
from schemas.fingerprint import named_fingerprint
from schemas.reference import Letter
from schemas.safejson import pointer_to
from schemas.timestamps import format_time
from schemas.topics import REPORTS
from services.accept.framing import Parcel, pack
from services.accept.names import Origin
from services.accept.packing import Packed, compress_fates
from services.bodies import small_json
from services.hub import Hub
from services.problems import RequestRefused
from services.sealing import unseal
from services.tables import decisions

PATH = "/api/v1/releases"
MAX_LISTED = 200
MAX_ITEMS = 1_000
MAX_BODY_BYTES = 1024 * 1024
FORM = f'send {{"items": [{{"id": "…", "version": "…"}}]}} as the list shows them, at most {MAX_ITEMS:,}'
HUB = "(hub)"

Insert = Callable[[Connection, Origin, Packed], int]


Name = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f]+$")]


class Item(BaseModel):
    """`version` is the one that the list showed: of what the sources on probation say of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Name
    version: Name


class Release(BaseModel):
    """`items` as the list shows them; without `source`, what each source on probation says of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[Item, ...] = Field(min_length=1, max_length=MAX_ITEMS)
    source: Name | None = None


def attach(
    app: web.Application,
    hub: Hub,
    staff: Callable[[web.Request], Awaitable[None]],
    wake_relay: Callable[[], None],
    insert: Insert,
) -> None:
    """Adds the routes. `staff` raises for everybody else, `wake_relay` is called after something was stored."""

    async def list_waiting(request: web.Request) -> web.Response:
        """What waits to be released, oldest first."""
        await staff(request)
        rows = await hub.store.read(_waiting)
        shown = [_shown(hub, row) for row in rows[:MAX_LISTED]]
        return web.json_response({"waiting": shown, "more": len(rows) > MAX_LISTED})

    async def release(request: web.Request) -> web.Response:
        """Releases items in the versions that staff looked at: they are decided anew.

        What the source changes later waits again. Nothing is released (409) where one has another version by now.
        """
        await staff(request)
        asked = await _asked(request)
        found = await hub.store.read(lambda connection: _by_id(connection, [item.id for item in asked.items]))
        _check(hub, asked, found)
        letters = list(_letters(hub, found.values(), asked.source))
        if letters:
            origin = Origin(str(uuid.uuid4()), HUB, hub.clock())
            await hub.store.write(lambda connection: insert(connection, origin, _packed(letters)))
            wake_relay()
        unknown = [item.id for item in asked.items if item.id not in found]
        return web.json_response({"released": len(letters), "unknown": unknown}, status=202)

    app.router.add_get(PATH, list_waiting)
    app.router.add_post(PATH, release)


async def _asked(request: web.Request) -> Release:
    try:
        return Release.model_validate(await small_json(request, MAX_BODY_BYTES, FORM))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise RequestRefused(
            400, "body-invalid", clip(first["msg"], 200), where=pointer_to(first["loc"]), hint=FORM
        ) from None


def _check(hub: Hub, asked: Release, found: Mapping[str, Decision]) -> None:
    """Raises `RequestRefused` (409) for the first item whose sources say something else by now."""
    for place, item in enumerate(asked.items):
        if item.id in found and item.version != _version(hub, found[item.id]):
            raise RequestRefused(
                409,
                "changed-since",
                f"{clip(item.id)} is not as it was when you looked; nothing was released",
                where=f"/items/{place}/version",
                hint="look again: `tocsin release` lists what waits, and in which version",
            )


def _version(hub: Hub, decision: Decision) -> str:
    """What stands for what all sources on probation say of the item (hex)."""
    words = [part for pair in sorted(decision.words.items()) for part in pair]
    return named_fingerprint(hub.secret, "release", *words).hex()


def _waiting(connection: Connection) -> list[sa.Row[Any]]:
    query = sa.select(decisions.c.record).where(decisions.c.probation).order_by(decisions.c.fingerprint)
    return list(connection.execute(query.limit(MAX_LISTED + 1)))


def _by_id(connection: Connection, ids: Iterable[str]) -> dict[str, Decision]:
    query = sa.select(decisions.c.stix_id, decisions.c.record).where(
        decisions.c.stix_id.in_(list(ids)), decisions.c.probation
    )
    return {row.stix_id: Decision.from_bytes(row.record) for row in connection.execute(query)}


def _shown(hub: Hub, row: sa.Row[Any]) -> dict[str, Any]:
    decision = Decision.from_bytes(row.record)
    return {
        "id": decision.id,
        "version": _version(hub, decision),
        "type": decision.type,
        "kind": decision.kind,
        "value": unseal(hub.secret, decision.sealed)["value"],
        "sources": list(decision.probation),
        "since": format_time(decision.at_ms),
    }


def _letters(hub: Hub, found: Iterable[Decision], source: str | None) -> Iterator[Parcel]:
    for decision in found:
        route = bytes.fromhex(unseal(hub.secret, decision.sealed)["route"])
        for name in decision.probation:
            if source in (None, name):
                word = decision.words.get(name, "")
                letter = Letter(to=decision.fingerprint, of="", release=name, word=word)
                yield Parcel(REPORTS, route, letter.to_bytes())


def _packed(letters: list[Parcel]) -> Packed:
    fates: list[dict[str, Any]] = [{"pointer": "", "fate": "taken", "kind": "release", "value": ""}]
    return Packed(
        format="release",
        messages=pack(letters),
        fates=compress_fates(fates, []),
        taken=len(letters),
        refused=0,
        skipped=0,
        refusals=[],
        notes=(),
    )
