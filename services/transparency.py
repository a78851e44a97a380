"""What everybody may know of the policy over HTTP, without a token: its versions, signed, as JSON or as a page.

`services/published.py` says what is in a version, and how to check its signature.
"""

from __future__ import annotations

from hashlib import blake2b

import orjson
from aiohttp import hdrs, web

from schemas.timestamps import format_time
from services import policies
from services.hub import Hub
from services.policy_page import version_page, versions_page
from services.published import Version

MAX_VERSIONS = 1_000
SECONDS = {"list": 60, "version": 86_400}
POLICIES = "/transparency/policy"
SHIELD = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def attach(app: web.Application, hub: Hub) -> None:
    async def list_versions(request: web.Request) -> web.Response:
        """All versions of the policy, newest first, with their signatures."""
        versions = await hub.store.read(lambda connection: policies.published(connection, MAX_VERSIONS))
        if wants_html(request):
            return _answer(request, versions_page(versions).encode(), "text/html", SECONDS["list"])
        return _answer(request, orjson.dumps([_row(v) for v in versions]), "application/json", SECONDS["list"])

    async def show_version(request: web.Request) -> web.Response:
        """One version of the policy, by number or hash: exactly the bytes that are signed."""
        wanted = request.match_info["version"]
        found = await hub.store.read(lambda connection: policies.find(connection, wanted))
        if found is None:
            raise web.HTTPNotFound
        if wants_html(request):
            return _answer(request, version_page(found).encode(), "text/html", SECONDS["version"])
        return _answer(request, found.document, "application/json", SECONDS["version"])

    app.router.add_get(POLICIES, list_versions)
    app.router.add_get(POLICIES + "/{version}", show_version)


def _row(version: Version) -> dict[str, object]:
    return {
        "version": version.version,
        "hash": version.hash,
        "since": format_time(version.since_ms),
        "signature": version.signature,
        "key": version.key,
    }


def wants_html(request: web.Request) -> bool:
    """Whether a browser asks: one that names HTML before, or without, JSON."""
    ranges = [
        part.partition(";")[0].strip().lower() for part in request.headers.get(hdrs.ACCEPT, "")[:512].split(",")
    ]
    first = next((range_ for range_ in ranges if range_ in ("text/html", "application/json")), "")
    return first == "text/html"


def _answer(request: web.Request, body: bytes, content_type: str, seconds: int) -> web.Response:
    tag = blake2b(content_type.encode() + b"\0" + body, digest_size=16).hexdigest()
    headers = {hdrs.CACHE_CONTROL: f"public, max-age={seconds}", hdrs.VARY: hdrs.ACCEPT, hdrs.ETAG: f'"{tag}"'}
    if any(each.value in (tag, "*") for each in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    charset = "utf-8" if content_type == "text/html" else None
    return web.Response(body=body, content_type=content_type, charset=charset, headers=headers | SHIELD)
