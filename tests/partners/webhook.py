"""A receiver of webhooks that verifies with the library of Standard Webhooks, and takes each message once."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks.webhooks import Webhook

from connectors.base import Manifest
from connectors.webhook import MANIFEST, WebhookSettings
from tests.partners.rows import lent
from tests.partners.world import Mode, World, secret_file

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PATH = "/hooks/in-the-path-s3cret"


@dataclass
class Receiver:
    """`poison` are STIX ids for which a whole bundle is refused with `refusal`; `later_after` requests it wants no
    more for now."""

    mode: Mode = "takes"
    secret: str = SECRET
    poison: frozenset[str] = frozenset()
    refusal: int = 422
    later_after: int = 1 << 30
    requests: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    objects: dict[tuple[str, str], Any] = field(default_factory=dict)

    def held(self) -> frozenset[Any]:
        return frozenset((*key, orjson.dumps(value)) for key, value in self.objects.items())

    def forget(self) -> None:
        self.requests.clear()
        self.objects.clear()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append((request.headers.copy(), body))
        bundle = Webhook(self.secret).verify(body, dict(request.headers))
        if self.mode == "lets-nobody-in":
            return web.Response(status=401, text=body.decode())
        if self.mode == "talks-nonsense":
            return web.Response(status=304)
        if self.mode == "later" or len(self.requests) > self.later_after:
            return web.Response(status=429, headers={"Retry-After": "7"}, text=body.decode())
        if self.mode == "refuses" or self.poison & {entry["id"] for entry in bundle["objects"]}:
            return web.Response(status=self.refusal, text=body.decode())
        for entry in bundle["objects"]:
            self.objects[entry["id"], entry["modified"]] = entry
        return web.Response(status=204)


def now_ms() -> int:
    """The library looks at the machine's clock."""
    return int(datetime.now(UTC).timestamp() * 1000)


@asynccontextmanager
async def webhook_world(folder: Path, manifest: Manifest = MANIFEST, **settings: Any) -> AsyncIterator[World]:
    receiver = Receiver()
    application = web.Application(client_max_size=16 * 1024 * 1024)
    application.router.add_post(PATH, receiver.handle)
    async with TestServer(application) as server:
        url = f"http://127.0.0.1:{server.port}{PATH}"
        given = {"url": url, "secret_file": secret_file(folder, "webhook.secret", SECRET)}
        chosen = WebhookSettings(**(given | settings))
        async with lent(manifest.hosts(chosen), now_ms) as tools:
            assert manifest.push is not None
            yield World(receiver, chosen, tools, manifest.push, (SECRET, SECRET[6:], "in-the-path-s3cret"))
