"""A TAXII 2.1 server with a collection to write, which can be slow, forgetful or a liar."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors.taxii_push import MANIFEST, TaxiiPushSettings
from tests.partners.rows import lent
from tests.partners.world import Mode, World, secret_file

TOKEN = "taxii-t0ken-s3cret"
COLLECTION = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"
MEDIA_TYPE = "application/taxii+json;version=2.1"
Fields = dict[str, Any]


@dataclass
class Collection:
    """`pending_looks` is how often a status says that it is not done; `poison` are ids that fail, `poison_status` a
    status for an envelope that has one. `names` says whether failures are named, `reads` whether the collection can
    be read. `status` changes the status resource that is given."""

    mode: Mode = "takes"
    max_content_length: Any = 1_000_000
    reads: bool = True
    writes: bool = True
    names: bool = True
    repeats_fail: bool = False
    pending_looks: int = 0
    forgets: bool = False
    poison: frozenset[str] = frozenset()
    poison_status: int = 0
    status: Fields = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    objects: dict[tuple[str, str], Fields] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    _statuses: dict[str, Fields] = field(default_factory=dict)
    _looks: dict[str, int] = field(default_factory=dict)

    def held(self) -> frozenset[Any]:
        return frozenset((*key, orjson.dumps(value)) for key, value in self.objects.items())

    def forget(self) -> None:
        self.objects.clear()
        self._statuses.clear()
        self.asked.clear()

    def routes(self) -> list[web.RouteDef]:
        base = f"/api1/collections/{COLLECTION}/"
        return [
            web.get("/api1/", self._root),
            web.get(base, self._collection),
            web.post(f"{base}objects/", self._add),
            web.get(f"{base}objects/{{id}}/versions/", self._versions),
            web.get("/api1/status/{id}/", self._status),
        ]

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.asked.append(f"{request.method} {request.path}")
        assert request.headers["Accept"] == MEDIA_TYPE
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or self.mode == "lets-nobody-in":
            return web.Response(status=401, text=request.headers.get("Authorization", ""))
        if self.mode == "talks-nonsense":
            return web.Response(status=200, text="<html>Sign in, please</html>", content_type="text/html")
        if self.mode == "later":
            return web.Response(status=503, headers={"Retry-After": "7"})
        return None

    async def _root(self, request: web.Request) -> web.Response:
        root = {"title": "x", "versions": [MEDIA_TYPE], "max_content_length": self.max_content_length}
        return self._refusal(request) or _said(root)

    async def _collection(self, request: web.Request) -> web.Response:
        said = {"id": COLLECTION, "title": "x", "can_read": self.reads, "can_write": self.writes}
        return self._refusal(request) or _said(said)

    async def _add(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.sizes.append(len(body))
        if refusal := self._refusal(request):
            return refusal
        assert request.headers["Content-Type"] == MEDIA_TYPE
        objects = orjson.loads(body)["objects"]
        if self.poison_status and self.poison & {entry["id"] for entry in objects}:
            return _said({"title": body.decode(), "http_status": str(self.poison_status)}, self.poison_status)
        status = self._take(objects)
        self._statuses[status["id"]] = status
        return _said(self._shown(status["id"]), 202)

    def _take(self, objects: list[Fields]) -> Fields:
        successes, failures = [], []
        for entry in objects:
            key = entry["id"], entry["modified"]
            detail = {"id": key[0], "version": key[1], "message": f"about {entry['pattern']}"}
            if self.mode == "refuses" or key[0] in self.poison or (self.repeats_fail and key in self.objects):
                failures.append(detail)
            else:
                self.objects[key] = entry
                successes.append(detail)
        return {
            "id": str(uuid4()),
            "status": "complete",
            "request_timestamp": "2026-11-01T00:00:00.000Z",
            "total_count": len(objects),
            "success_count": len(successes),
            "successes": successes if self.names else [],
            "failure_count": len(failures),
            "failures": failures if self.names else [],
            "pending_count": 0,
        } | self.status

    def _shown(self, id_: str) -> Fields:
        self._looks[id_] = looks = self._looks.get(id_, 0) + 1
        status = self._statuses[id_]
        if looks > self.pending_looks:
            return status
        none = {"success_count": 0, "successes": [], "failure_count": 0, "failures": []}
        return status | none | {"status": "pending", "pending_count": status["total_count"]}

    async def _status(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        if self.forgets:
            return _said({"title": "Unknown"}, 404)
        return _said(self._shown(request.match_info["id"]))

    async def _versions(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        if not self.reads:
            return _said({"title": "Forbidden"}, 403)
        # other digits than we write: what counts is the time
        found = [modified[:-5] + "Z" for id_, modified in self.objects if id_ == request.match_info["id"]]
        return _said({"versions": found}) if found else _said({"title": "Unknown"}, 404)


def _said(content: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), headers={"Content-Type": MEDIA_TYPE})


@asynccontextmanager
async def taxii_world(folder: Path, **settings: Any) -> AsyncIterator[World]:
    collection = Collection()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_routes(collection.routes())
    async with TestServer(application) as server:
        given = {
            "api_root": f"http://127.0.0.1:{server.port}/api1/",
            "collection": COLLECTION,
            "token_file": secret_file(folder, "taxii.token", TOKEN),
            "wait_seconds": 2,
        }
        chosen = TaxiiPushSettings(**(given | settings))
        async with lent(MANIFEST.hosts(chosen)) as tools:
            assert MANIFEST.push is not None
            yield World(collection, chosen, tools, MANIFEST.push, (TOKEN,))
