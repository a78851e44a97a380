"""Puts the HTTP parts of the stages on one port."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version

from aiohttp import web

from connectors import registry
from connectors.threatexchange import mapping as threatexchange
from services import connect_http, partners, policy_http, staff, transparency
from services.accept import http as accept
from services.accept.aliases import look_up
from services.accept.collection import OwnCollection
from services.accept.door import Door
from services.accept.inbox import insert
from services.bodies import only_text
from services.govern.policy import describe as rules
from services.hub import Hub
from services.migrate import is_current
from services.openapi import describe
from services.problems import problem_documents
from services.share import http as share
from services.share import stream_sse, threatexchange_http
from services.share.agent import renew
from services.share.formats import FORMATS
from services.tokens import Authenticator
from services.witness import http as witness


def application(hub: Hub, wake_relay: Callable[[], None]) -> web.Application:
    """Every route of the hub. `wake_relay` is called after each stored submission."""
    authenticator = Authenticator(hub.store, hub.clock)
    app = web.Application(middlewares=[problem_documents, only_text], client_max_size=hub.settings.max_body_bytes)
    door = Door(hub, wake_relay)
    accept.attach(app, hub, authenticator, door)
    share.attach(app, hub, authenticator, OwnCollection(door), {**FORMATS, **registry.FORMATS})
    stream_sse.attach(app, hub, authenticator)
    forms = threatexchange_http.Forms(
        threatexchange.update, threatexchange.page, threatexchange.fields_of, threatexchange.group
    )
    threatexchange_http.attach(app, hub, authenticator, forms)
    witness.attach(app, hub, authenticator, wake_relay, witness.Door(look_up, insert))
    partners.attach(app, hub, authenticator, partial(renew, hub))
    staff.attach(app, hub, authenticator)
    policy_http.attach(app, hub, authenticator, rules())
    connect_http.attach(app, hub, authenticator)
    transparency.attach(app, hub)

    async def healthz(_request: web.Request) -> web.Response:
        """Whether the process lives."""
        return web.json_response({"status": "alive"})

    async def readyz(_request: web.Request) -> web.Response:
        """Whether requests can be served."""
        current = await hub.store.read(is_current)
        return web.json_response({"status": "ready" if current else "not migrated"}, status=200 if current else 503)

    async def openapi(_request: web.Request) -> web.Response:
        """This description."""
        return web.json_response(description)

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/api/openapi.json", openapi)
    description = describe(app, version("tocsin"))
    return app
