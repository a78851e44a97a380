"""Staff's view of the connectors over HTTP: how each is doing, and what they can have done."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from aiohttp import web
from sqlalchemy import Connection

from schemas.errors import clip
from services import connector_states as states
from services.connector_states import Delivery, State
from services.hub import Hub
from services.instances import is_name
from services.problems import RequestRefused
from services.tables import facts
from services.tokens import Authenticator

MAX_SHOWN = 100
PROBLEM = "connectors_problem"
"""The fact that says why the file of connectors is not taken (JSON: what, where, hint; empty where it is)."""

Document = dict[str, Any]


def attach(app: web.Application, hub: Hub, authenticator: Authenticator) -> None:
    async def staff(request: web.Request) -> None:
        if (await authenticator.authenticate(request)).scope != "staff":
            raise web.HTTPNotFound  # what staff may see does not exist for others

    async def list_all(request: web.Request) -> web.Response:
        """All connectors that were ever set up, and how each is doing."""
        await staff(request)
        return web.json_response(await hub.store.read(overview))

    async def show(request: web.Request) -> web.Response:
        """One connector, and the rows that are not through."""
        await staff(request)
        name = request.match_info["name"]

        def read(connection: Connection) -> Document:
            found = _known(connection, name)
            return {
                **_document(found, states.waiting(connection).get(name, {})),
                "deliveries": [_delivery(one) for one in states.dead(connection, name, MAX_SHOWN)],
            }

        return web.json_response(await hub.store.read(read))

    async def run(request: web.Request) -> web.Response:
        """Has it run now, whatever its schedule says; it has when its `tried_ms` is `asked_ms` or later."""
        await staff(request)
        name, now_ms = request.match_info["name"], hub.clock()

        def work(connection: Connection) -> Document:
            found = _known(connection, name)
            if found.health == "off":
                raise RequestRefused(
                    409,
                    "connector-off",
                    f"{name} is not set up any more",
                    where="name",
                    hint="put it into the connectors' file, and leave out `off = true`",
                )
            if not found.may_start:
                raise RequestRefused(
                    409,
                    "connector-waits",
                    f"{name} waits: nobody let it send to where it would",
                    where="name",
                    hint=f"`tocsin connector accept {name}`",
                )
            asked_ms = max(now_ms, found.tried_ms + 1)
            states.change(connection, name, asked_ms=asked_ms)
            return {"name": name, "asked_ms": asked_ms}

        return web.json_response(await hub.store.write(work), status=202)

    async def accept(request: web.Request) -> web.Response:
        """Lets it send to where its settings say now; where they change, it waits again."""
        await staff(request)
        name, destination, now_ms = request.match_info["name"], request.query.get("destination", ""), hub.clock()

        def work(connection: Connection) -> Document:
            found = _known(connection, name)
            if destination != found.destination:
                raise RequestRefused(
                    409,
                    "destination-changed",
                    "its destination is not the one that you name",
                    where="destination",
                    hint="look at it again: GET /api/v1/connectors",
                )
            states.change(connection, name, accepted=destination, health="new", since_ms=now_ms, next_ms=0)
            return {"name": name, "accepted": True}

        return web.json_response(await hub.store.write(work))

    async def retry(request: web.Request) -> web.Response:
        """Has all that was given up tried again."""
        await staff(request)
        name, now_ms = request.match_info["name"], hub.clock()

        def work(connection: Connection) -> Document:
            found = _known(connection, name)
            number = states.retry(connection, name, now_ms)
            states.change(connection, name, asked_ms=max(now_ms, found.tried_ms + 1))
            return {"name": name, "again": number}

        return web.json_response(await hub.store.write(work), status=202)

    path = "/api/v1/connectors"
    app.router.add_get(path, list_all)
    app.router.add_get(path + "/{name}", show)
    app.router.add_post(path + "/{name}/run", run)
    app.router.add_post(path + "/{name}/acceptance", accept)
    app.router.add_post(path + "/{name}/retry", retry)


def overview(connection: Connection) -> Document:
    waiting = states.waiting(connection)
    problem = connection.scalar(sa.select(facts.c.value).where(facts.c.name == PROBLEM))
    return {
        "connectors": [_document(one, waiting.get(one.name, {})) for one in states.states(connection)],
        "problem": json.loads(problem) if problem else None,
    }


def _known(connection: Connection, name: str) -> State:
    found = states.state(connection, name) if is_name(name) else None
    if found is None:
        raise RequestRefused(
            404,
            "connector-unknown",
            f"there is no connector {clip(name)!r}",
            where="name",
            hint="`tocsin connector list` shows them",
        )
    return found


def _document(one: State, waiting: Any) -> Document:
    """Without its checkpoint, which may name what it fetched."""
    shown = ("name", "connector", "partner", "does", "health", "since_ms", "tried_ms", "done_ms", "next_ms")
    return {
        **{name: getattr(one, name) for name in shown},
        "destination": one.destination,
        "asked_ms": one.asked_ms,
        "failures": one.failures,
        "problem": json.loads(one.problem) if one.problem else None,
        "went": one.went,
        "refused": one.refused,
        "pending": waiting.get("pending", 0),
        "dead": waiting.get("dead", 0),
    }


def _delivery(one: Delivery) -> Document:
    return {
        "id": one.stix_id,
        "withdrawal": not one.live,
        "state": one.standing,
        "tries": one.tries,
        "code": one.code,
        "next_ms": one.next_ms,
    }
