"""Staff's acts on partners over HTTP: list them, suspend and resume them, give them tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from aiohttp import web
from sqlalchemy import Connection

from schemas.agreement import Agreement
from services import tokens
from services.hub import Hub
from services.problems import unknown_partner
from services.tables import partners
from services.tokens import Authenticator

TOKEN_DAYS = 365


Renew = Callable[[str, int], Awaitable[None]]
"""Puts into a partner's feed anew what came into it since a time (ms)."""


def attach(app: web.Application, hub: Hub, authenticator: Authenticator, renew: Renew) -> None:
    async def staff(request: web.Request) -> None:
        if (await authenticator.authenticate(request)).scope != "staff":
            raise web.HTTPNotFound  # what staff may see does not exist for others

    def agreement_of(request: web.Request) -> Agreement:
        name = request.match_info["id"]
        if name not in hub.directory.agreements:
            raise unknown_partner(name)
        return hub.directory.agreements[name]

    async def list_all(request: web.Request) -> web.Response:
        """All partners, what each may do, and whether its agreement is in force."""
        await staff(request)
        suspended = await hub.store.read(_suspended)
        today = datetime.fromtimestamp(hub.clock() / 1000, UTC).date()
        rows = [_row(a, a.id in suspended, a.in_force(today)) for a in hub.directory.agreements.values()]
        return web.json_response({"partners": rows})

    async def give_token(request: web.Request) -> web.Response:
        """A new token, shown this once."""
        await staff(request)
        name, now = agreement_of(request).id, hub.clock()
        expires = now + TOKEN_DAYS * 86_400_000
        token = await hub.store.write(lambda c: tokens.issue(c, name, "partner", now, expires))
        return web.json_response({"partner": name, "token": token, "expires_ms": expires}, status=201)

    async def suspend(request: web.Request) -> web.Response:
        """Takes effect at the next read: a suspended partner sees withdrawals only, and can't contribute."""
        await staff(request)
        name, since = agreement_of(request).id, hub.clock()
        await hub.store.write(lambda c: _set_suspended(c, name, since))
        return web.json_response({"partner": name, "suspended": True})

    async def resume(request: web.Request) -> web.Response:
        """Lifts a suspension. What came meanwhile comes into its feed anew: what it read since lies behind that."""
        await staff(request)
        name = agreement_of(request).id
        since = await hub.store.write(lambda c: _resume(c, name))
        if since is not None:
            await renew(name, since)
        return web.json_response({"partner": name, "suspended": False})

    app.router.add_get("/api/v1/partners", list_all)
    app.router.add_post("/api/v1/partners/{id}/tokens", give_token)
    app.router.add_post("/api/v1/partners/{id}/suspension", suspend)
    app.router.add_delete("/api/v1/partners/{id}/suspension", resume)


def _suspended(connection: Connection) -> set[str]:
    rows = connection.execute(sa.select(partners.c.id).where(partners.c.suspended_ms.is_not(None)))
    return {row.id for row in rows}


def _resume(connection: Connection, name: str) -> int | None:
    """Since when it was suspended, None where it was not."""
    query = sa.select(partners.c.suspended_ms).where(partners.c.id == name).with_for_update()
    since: int | None = connection.scalar(query)
    _set_suspended(connection, name, None)
    return since


def _set_suspended(connection: Connection, name: str, since_ms: int | None) -> None:
    connection.execute(sa.update(partners).where(partners.c.id == name).values(suspended_ms=since_ms))


def _row(agreement: Agreement, suspended: bool, in_force: bool) -> dict[str, Any]:
    partner, receives = agreement.partner, agreement.receives
    return {
        "id": partner.id,
        "name": partner.name,
        "kind": partner.kind,
        "receives": receives.model_dump(mode="json") if receives else None,
        "contributes": agreement.contributes is not None,
        "state": "suspended" if suspended else "in force" if in_force else "not in force",
    }
