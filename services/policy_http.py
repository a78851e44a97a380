"""Staff's acts on the policy over HTTP: see what is in force and what waits, and confirm what widens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection

from schemas.agreement import Rulebook
from schemas.errors import TocsinError, clip
from schemas.safejson import pointer_to
from schemas.timestamps import format_time
from services import inforce, policies
from services.bodies import small_json
from services.hub import Hub
from services.private import policy_key
from services.problems import RequestRefused
from services.tokens import Authenticator, Principal

MAX_BODY_BYTES = 64 * 1024
MAX_NAMES = 1_000
FORM = 'send {"hash": "the hash of what waits", "names": ["…"]}'


class _Given(BaseModel):
    """What is confirmed: names, in the files with this hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hash: str = Field(pattern="^[0-9a-f]{64}$")
    names: tuple[str, ...] = Field(min_length=1, max_length=MAX_NAMES)


def attach(app: web.Application, hub: Hub, authenticator: Authenticator, sentences: Mapping[str, str]) -> None:
    """Adds the routes; `sentences` say by rule what it forbids, for the published form of a version."""

    async def show(request: web.Request) -> web.Response:
        """The policy in force, and what of the files waits for a confirmation."""
        await staff(authenticator, request)
        files, problem = await _files(hub)
        return _json(await hub.store.read(lambda connection: _state(connection, files, problem)))

    async def confirm(request: web.Request) -> web.Response:
        """Confirms by name what widens; in force with as many confirmations as the policy asks for."""
        who = await staff(authenticator, request)
        given = await _given(request)
        files, problem = await _files(hub)
        if files is None:
            raise RequestRefused(409, "files-wrong", problem["what"], where=problem["where"], hint=problem["hint"])
        confirmation = inforce.Confirmation(who.name, given.names, given.hash)
        seed, now_ms = _key(hub), hub.clock()
        waits = await hub.store.write(
            lambda connection: inforce.confirm(connection, files, confirmation, sentences, seed, now_ms)
        )
        inforce.note(hub, waits)
        await inforce.follow(hub)
        return _json(await hub.store.read(lambda connection: _state(connection, files, {})))

    app.router.add_get("/api/v1/policy", show)
    app.router.add_post("/api/v1/policy/confirmations", confirm)


async def staff(authenticator: Authenticator, request: web.Request) -> Principal:
    """Who of the staff asks; what they may see does not exist for others."""
    principal = await authenticator.authenticate(request)
    if principal.scope != "staff":
        raise web.HTTPNotFound
    return principal


async def _given(request: web.Request) -> _Given:
    try:
        return _Given.model_validate(await small_json(request, MAX_BODY_BYTES, FORM))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise RequestRefused(
            400, "confirmation-invalid", clip(first["msg"], 200), where=pointer_to(first["loc"]), hint=FORM
        ) from None


def _key(hub: Hub) -> bytes:
    """Raises `RequestRefused` (409) where it is not there: staff are told what to restore."""
    try:
        return policy_key(hub.settings.policy_key_path)
    except TocsinError as error:
        raise RequestRefused(409, error.code, error.what, where=error.where, hint=error.hint) from None


async def _files(hub: Hub) -> tuple[Rulebook | None, dict[str, str]]:
    """As they are now, or why they can't be taken."""
    try:
        return await asyncio.to_thread(inforce.read_rulebook, hub.settings), {}
    except (TocsinError, OSError, RecursionError) as error:
        return None, inforce.as_problem(error)


def _state(connection: Connection, files: Rulebook | None, problem: Mapping[str, str]) -> dict[str, Any]:
    (version,) = policies.published(connection, 1)
    directory = policies.in_force(connection)
    waits = None if files is None else inforce.waiting(connection, files)
    return {
        "version": version.version,
        "hash": version.hash,
        "since": format_time(version.since_ms),
        "signature": version.signature,
        "key": version.key,
        "confirmations": directory.policy.confirmations,
        "problem": dict(problem) or None,
        "pending": _pending(waits) if waits and waits.transitions else None,
    }


def _pending(waits: inforce.Waiting) -> dict[str, Any]:
    return {
        "hash": waits.hash,
        "needed": waits.needed,
        "names": [
            {
                "name": name,
                "changes": [{"what": c.what, "widens": c.widens} for c in waits.changes if c.name == name],
                "confirmed_by": list(waits.confirmed_by[name]),
            }
            for name in sorted(waits.transitions)
        ],
    }


def _json(document: Mapping[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")
