"""Problem documents (RFC 9457): how every error leaves the hub over HTTP, except under /taxii2/."""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus

import orjson
from aiohttp import web

from schemas.errors import BodyRefused, ItemRefused, Misconfigured, Refused, TocsinError, Unavailable, clip

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_TYPE = "application/problem+json"
OWN_ERRORS = ("/taxii2/",)
"""Paths whose standard has an error resource of its own."""


class RequestRefused(Refused):
    """A request that is refused for what it asks rather than for its body; `status` as in RFC 9110.

    `headers` go out with the answer (`WWW-Authenticate`, `Retry-After`).
    """

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code, what, where=where, hint=hint)
        self.status = status
        self.headers = dict(headers or {})


def unknown_partner(name: str) -> RequestRefused:
    """For staff only: a partner must not learn which others there are."""
    return RequestRefused(
        404,
        "partner-unknown",
        f"there is no partner {clip(name)!r}",
        where="partner",
        hint="`tocsin partner list` shows the ids",
    )


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    where: str = "",
    hint: str = "",
    errors: Iterable[Mapping[str, str]] = (),
    instance: str = "",
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A problem document as an answer.

    `where` is a JSON pointer, `line N` or a parameter's name, `hint` says what to do. `errors` are the single
    refusals, each with members like these. `instance` is the address of what the problem is about.
    """
    document: dict[str, object] = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "where": where,
        "hint": hint,
    }
    if listed := [dict(error) for error in errors]:
        document["errors"] = listed
    if instance:
        document["instance"] = instance
    return web.Response(
        status=status, body=orjson.dumps(document), content_type=CONTENT_TYPE, headers=dict(headers or {})
    )


@web.middleware
async def problem_documents(request: web.Request, handler: Handler) -> web.StreamResponse:
    """aiohttp middleware that answers every exception with a problem document."""
    if request.path.startswith(OWN_ERRORS):
        return await handler(request)
    try:
        return await handler(request)
    except TocsinError as error:
        return of_error(error)
    except web.HTTPException as error:
        return error if error.status < 400 else of_http_exception(error)
    except Exception as error:
        return of_unexpected(error)


def of_error(error: TocsinError) -> web.Response:
    """The document of one of our own errors; what the operator set wrongly is not told to the caller."""
    match error:
        case RequestRefused():
            status, headers = error.status, error.headers
        case BodyRefused():
            status, headers = error.status, {}
        case ItemRefused():
            status, headers = 422, {}
        case Unavailable():
            status, headers = 503, {"Retry-After": "5"}
        case Misconfigured():
            return of_unexpected(error)
        case _:
            status, headers = 400, {}
    return problem(
        status, error.code, _title(status), error.what, where=error.where, hint=error.hint, headers=headers
    )


def of_http_exception(error: web.HTTPException) -> web.Response:
    """The document of an error that aiohttp raised: no such path, no such method, a header too long."""
    title = _title(error.status)
    kept = {name: value for name, value in error.headers.items() if name in ("Allow", "Retry-After")}
    code = title.lower().replace(" ", "-").replace("'", "")
    hint = "/api/openapi.json lists the addresses and what each takes" if error.status in (404, 405) else ""
    return problem(error.status, code, title, f"{error.status} {title}", hint=hint, headers=kept)


def of_unexpected(error: BaseException) -> web.Response:
    """A document without content; the log has the place in the code under the id that it names."""
    incident = secrets.token_hex(8)
    # the message of an exception may quote what somebody sent, and logs carry ids only
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("incident %s: %s\n%s", incident, type(error).__name__, frames)
    return problem(
        500,
        "internal-error",
        _title(500),
        f"something went wrong in the hub; its log names it incident {incident}",
        hint="try again later; if it comes again, tell the operator the incident's number",
    )


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
