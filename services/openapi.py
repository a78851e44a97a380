"""The description of the hub's HTTP interface (OpenAPI 3.1), made from the routes themselves so that it is true."""

from __future__ import annotations

import inspect
import re
from typing import Any

from aiohttp import web

from services.problems import CONTENT_TYPE

_OPEN = ("/healthz", "/readyz", "/api/openapi.json")


def describe(app: web.Application, version: str) -> dict[str, Any]:
    """An OpenAPI document of every route of `app`; a handler's docstring says what its route does."""
    paths: dict[str, dict[str, Any]] = {}
    for route in app.router.routes():
        path = route.resource.canonical if route.resource else ""
        if route.method == "HEAD" or not path:
            continue
        # a route for every method is one that answers GET and tells the other methods what is wrong
        method = "get" if route.method == "*" else route.method.lower()
        paths.setdefault(path, {})[method] = _operation(path, route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tocsin",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "the token as password; for TAXII"},
            }
        },
    }


def _operation(path: str, route: web.AbstractRoute) -> dict[str, Any]:
    text = inspect.getdoc(route.handler) or ""
    taxii = path.startswith("/taxii2/")
    errors = "application/taxii+json;version=2.1" if taxii else CONTENT_TYPE
    schemes = ["token", "basic"] if taxii else ["token"]
    is_open = path in _OPEN or path.startswith("/transparency/")
    return {
        "summary": text.partition("\n")[0],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)", path)
        ],
        "security": [] if is_open else [{scheme: []} for scheme in schemes],
        "responses": {
            "2XX": {"description": "It worked."},
            "4XX": {"description": "What is wrong, where, and what to do.", "content": {errors: {}}},
        },
    }
