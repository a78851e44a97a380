"""Members of staff over HTTP: tokens of their own, so that two persons can confirm."""

from __future__ import annotations

import re

from aiohttp import web
from sqlalchemy import Connection

from services import tokens
from services.bodies import small_json
from services.hub import Hub
from services.policy_http import MAX_BODY_BYTES, staff
from services.problems import RequestRefused
from services.tokens import STAFF, STAFF_PREFIX, Authenticator

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
TOKEN_DAYS = 365
FORM = 'send {"name": "…"}'


def attach(app: web.Application, hub: Hub, authenticator: Authenticator) -> None:
    async def give_token(request: web.Request) -> web.Response:
        """A token for a member of staff, shown this once; earlier ones of the name end."""
        who = await staff(authenticator, request)
        if who.name != STAFF:
            # whoever could make a second person could confirm alone what two must
            raise RequestRefused(
                403, "operator-only", "only the operator gives out staff tokens", hint="use the operator's token"
            )
        name, now = _name(await small_json(request, MAX_BODY_BYTES, FORM)), hub.clock()
        expires = now + TOKEN_DAYS * 86_400_000
        token = await hub.store.write(lambda connection: _renew(connection, STAFF_PREFIX + name, now, expires))
        return web.json_response({"name": name, "token": token, "expires_ms": expires}, status=201)

    app.router.add_post("/api/v1/staff/tokens", give_token)


def _name(document: object) -> str:
    name = document.get("name") if isinstance(document, dict) and len(document) == 1 else None
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == STAFF:
        raise RequestRefused(
            400,
            "name-invalid",
            "a member of staff has a name of small letters, digits and `-`, which is not `staff`",
            where="/name",
            hint=FORM,
        )
    return name


def _renew(connection: Connection, name: str, now_ms: int, expires_ms: int) -> str:
    tokens.revoke(connection, name, now_ms)
    return tokens.issue(connection, name, "staff", now_ms, expires_ms)
