"""A MISP as its REST API shows it: events and attributes, within what pushing needs of it.

Attributes follow the source of MISP (app/Controller/AttributesController.php): a list given to attributes/add gives
one attribute or a list back, with `errors` beside it, and 403 with `errors` where none was valid; an attribute is
edited only by a newer time or none; what is deleted softly keeps its value, and can't be edited. Events follow what
PyMISP 2.5.34, MISP's own client, asks and reads; they were not compared with a MISP that runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestServer
from pymisp.mispevent import MISPAttribute

from connectors.misp import PUSH
from connectors.misp.push_settings import MispPushSettings
from tests.partners.rows import lent
from tests.partners.world import Mode, World, secret_file

KEY = "k3y-of-misp-s3cret-0123456789abcdefghijk"
EDITABLE = (
    "Tag",
    "type",
    "category",
    "value",
    "to_ids",
    "comment",
    "distribution",
    "first_seen",
    "last_seen",
    "timestamp",
)
Fields = dict[str, Any]


@dataclass
class Misp:
    """`invalid` are values that it does not take; `blocked` says that it takes no events, `empties` that one of its
    attributes may become a comment. `edit_status` is what each edit of an attribute gets. `now` is its clock, in
    seconds."""

    mode: Mode = "takes"
    invalid: frozenset[str] = frozenset()
    blocked: bool = False
    empties: bool = True
    edit_status: int = 0
    now: int = 1_800_000_000
    events: dict[str, Fields] = field(default_factory=dict)
    attributes: dict[str, Fields] = field(default_factory=dict)
    published: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def held(self) -> frozenset[Any]:
        shown = ("uuid", "event", "type", "category", "value", "to_ids", "deleted", "first_seen")
        return frozenset(tuple(str(fields.get(name)) for name in shown) for fields in self.attributes.values())

    def forget(self) -> None:
        self.attributes.clear()
        self.requests.clear()

    def values(self) -> set[str]:
        return {fields["value"] for fields in self.attributes.values() if not fields["deleted"]}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/attributes/restSearch", self._search),
            web.post("/attributes/add/{event}", self._add_attributes),
            web.post("/attributes/edit/{uuid}", self._edit_attribute),
            web.post("/attributes/delete/{uuid}", self._delete_attribute),
            web.post("/events/restSearch", self._search_event),
            web.post("/events/add/metadata:1", self._add_event),
            web.post("/events/edit/{uuid}/metadata:1", self._edit_event),
            web.post("/events/publish/{uuid}", self._publish),
        ]

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        key = request.headers.get("Authorization", "")
        if key != KEY or self.mode == "lets-nobody-in":
            return web.json_response(
                {"name": f"Authentication failed {key}", "message": "", "url": request.path}, status=403
            )
        if self.mode == "talks-nonsense":
            return web.Response(text="<html>Please sign in</html>", content_type="text/html")
        if self.mode == "later":
            return web.Response(status=429, headers={"Retry-After": "7"})
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _search(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert asked["returnFormat"] == "json" and asked["deleted"] == [0, 1]
        found = [
            fields | {"Event": {"uuid": fields["event"], "info": "x"}}
            for uuid in asked["uuid"]
            if (fields := self.attributes.get(uuid))
        ]
        return web.json_response({"response": {"Attribute": found}})

    async def _search_event(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert asked["returnFormat"] == "json" and asked["metadata"] == 1
        known = self.events.get(asked["uuid"])
        return web.json_response({"response": [{"Event": known}] if known else []})

    async def _edit_event(self, request: web.Request) -> web.Response:
        known = self.events.get(request.match_info["uuid"])
        if known is None:
            return _error(404, "Invalid event")
        known.update((await request.json())["Event"])
        return web.json_response({"Event": known})

    async def _add_event(self, request: web.Request) -> web.Response:
        event = (await request.json())["Event"]
        if self.blocked or self.mode == "refuses":
            return _unsaved("Could not add Event", {"uuid": ["Event blocked by event block list."]})
        if event["uuid"] in self.events:
            return _unsaved("Could not add Event", {"uuid": ["The UUID provided is not unique"]})
        assert event["info"] and UUID(event["uuid"]) and event["distribution"] in ("0", "1", "2", "3")
        self.events[event["uuid"]] = event
        return web.json_response({"Event": event})

    async def _add_attributes(self, request: web.Request) -> web.Response:
        event = request.match_info["event"]
        if event not in self.events:
            return _error(404, "Invalid event")
        body = await request.json()
        taken, errors = [], {}
        for number, given in enumerate(body if isinstance(body, list) else [body]):
            if fault := self._fault(event, given):
                errors[f"attribute_{number}"] = fault
            else:
                kept = {"comment": "", "deleted": False, "event": event, "timestamp": str(self.now)} | given
                self.attributes[given["uuid"]] = kept
                taken.append(kept)
        if not taken:
            return _unsaved("Could not add Attribute", next(iter(errors.values())) if len(errors) == 1 else errors)
        shown: Fields = {"Attribute": taken[0] if len(taken) == 1 else taken}
        return web.json_response(shown | ({"errors": errors} if errors else {}))

    def _fault(self, event: str, given: Fields) -> Fields | None:
        try:
            # PyMISP knows which types and categories there are, and which go together
            MISPAttribute().from_dict(**given)
        except Exception as error:
            return {"type": [str(error)]}
        if given["uuid"] in self.attributes:
            return {"uuid": ["The UUID provided is not unique"]}
        if given["value"] in self.invalid:
            return {"value": [f"{given['value']} is not valid"]}
        alike = [
            one for one in self.attributes.values() if one["value"] == given["value"] and one["event"] == event
        ]
        if given["type"] in {one["type"] for one in alike}:
            return {"value": ["A similar attribute already exists for this event."]}
        return None

    async def _edit_attribute(self, request: web.Request) -> web.Response:
        if self.edit_status:
            return _error(self.edit_status, "An internal error has occurred.")
        known = self.attributes.get(request.match_info["uuid"])
        if known is None or known["deleted"]:
            return _error(404, "Invalid attribute")
        given = await request.json()
        if "timestamp" in given and int(given["timestamp"]) <= int(known["timestamp"]):
            return _error(
                405, "Attribute could not be saved: Attribute in the request not newer than the local copy."
            )
        if given["value"] in self.invalid or (given["type"] == "comment" and not self.empties):
            return _unsaved("Could not edit Attribute", {"value": [f"{given['value']} is not valid"]})
        known.update({"timestamp": str(self.now)} | {name: given[name] for name in EDITABLE if name in given})
        return web.json_response({"Attribute": known})

    async def _delete_attribute(self, request: web.Request) -> web.Response:
        known = self.attributes.get(request.match_info["uuid"])
        if known is None or known["deleted"]:
            return _error(404, "Invalid attribute")
        known.update(deleted=True, timestamp=str(self.now))
        return web.json_response({"message": "Attribute deleted."})

    async def _publish(self, request: web.Request) -> web.Response:
        self.published.append(request.match_info["uuid"])
        return web.json_response({"name": "Publish", "message": "Job queued", "url": request.path})


def _error(status: int, name: str) -> web.Response:
    return web.json_response({"name": name, "message": name, "url": "/x"}, status=status)


def _unsaved(name: str, errors: Fields) -> web.Response:
    return web.json_response(
        {"saved": False, "name": name, "message": name, "url": "/x", "errors": errors}, status=403
    )


@asynccontextmanager
async def misp_world(folder: Path, **settings: Any) -> AsyncIterator[World]:
    misp = Misp()
    application = web.Application(middlewares=[misp.guard], client_max_size=64 * 1024 * 1024)
    application.router.add_routes(misp.routes())
    async with TestServer(application) as server:
        given = {"url": f"http://127.0.0.1:{server.port}", "key_file": secret_file(folder, "misp.key", KEY)}
        chosen = MispPushSettings(**(given | settings))
        async with lent(PUSH.hosts(chosen)) as tools:
            assert PUSH.push is not None
            yield World(misp, chosen, tools, PUSH.push, (KEY,))
