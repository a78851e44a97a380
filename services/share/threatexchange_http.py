"""A partner's feed as readers of Meta's ThreatExchange fetch it: `/threat_updates` of a privacy group.

The partner's feed is its one privacy group, under a number that nobody can guess. `last_updated` is when a row came
into the feed, so that it rises along it, and a reader goes on from the highest that it has.

Source: https://developers.facebook.com/docs/threat-exchange/reference/apis/threat-updates/
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from aiohttp import hdrs, web
from sqlalchemy import Connection

from schemas.feed import FeedRow
from services.hub import Hub
from services.problems import RequestRefused
from services.share import cursor, feeds
from services.share.access import may_receive
from services.share.rows import Match, Page
from services.tokens import Authenticator

ROOT = "/api/v1/threatexchange/v{version:[0-9]{1,3}(?:\\.[0-9]{1,3})?}"
DEFAULT_LIMIT, MAX_LIMIT = 500, 1_000
PAGES_AT_ONCE = 20
"""Of rows of which none may be wanted; then the reader is sent on."""
MAX_FIELDS_CHARS = 2_000
_US = 1_000_000
Document = dict[str, Any]


class Forms(NamedTuple):
    """How rows and pages are written; see `connectors.threatexchange.mapping`."""

    update: Callable[[FeedRow, int], Document | None]
    page: Callable[[Sequence[Document], Sequence[str], str], bytes]
    fields_of: Callable[[str], tuple[str, ...]]
    group: Callable[[int, int], Document]


class _Wanted(NamedTuple):
    """`after` and `before` are places in the feed (µs since 1970), between which it is wanted."""

    after: int
    before: int
    limit: int
    types: frozenset[str]
    fields: tuple[str, ...]


class _Found(NamedTuple):
    """Updates, and from where to go on (None: that was all)."""

    updates: list[Document]
    onward: int | None


def attach(app: web.Application, hub: Hub, authenticator: Authenticator, forms: Forms) -> None:
    async def own_group(request: web.Request) -> tuple[str, int]:
        """Who asks, and the number of its group; 404 for whoever has none."""
        principal = await authenticator.authenticate(_with_header(request))
        if principal.scope != "partner" or principal.name not in hub.directory.bit_of:
            raise web.HTTPNotFound
        return principal.name, group_number(hub.secret, principal.name)

    async def threat_updates(request: web.Request) -> web.Response:
        """Updates and deletions of a feed in the form of ThreatExchange.

        Takes `start_time`, `stop_time`, `types`, `limit`, `fields` and `access_token` as ThreatExchange does.
        """
        partner, number = await own_group(request)
        if not hmac.compare_digest(request.match_info["group"].encode(), str(number).encode()):
            raise web.HTTPNotFound
        wanted = _wanted(request, hub.secret, partner, forms)
        found = await _find(hub, partner, wanted, forms)
        onward = "" if found.onward is None else _onward(request, cursor.seal(hub.secret, partner, found.onward))
        return _answer(forms.page(found.updates, wanted.fields, onward))

    async def groups(request: web.Request) -> web.Response:
        """The privacy group in which a partner is: that of its own feed."""
        partner, number = await own_group(request)
        since = hub.directory.agreements.get(partner)
        day = since.partner.starts.toordinal() - _EPOCH_DAY if since else 0
        return _answer(orjson.dumps({"data": [forms.group(number, day * 86_400)], "paging": {}}))

    app.router.add_get(ROOT + "/{group:[0-9]{1,20}}/threat_updates{slash:/?}", threat_updates)
    app.router.add_get(ROOT + "/{app:[0-9]{1,20}}/threat_privacy_groups_member{slash:/?}", groups)


_EPOCH_DAY = 719_163  # the ordinal of 1970-01-01


def group_number(secret: bytes, partner: str) -> int:
    """Of a partner's feed: 63 bits that stay, and that nobody can guess."""
    return int.from_bytes(hmac.digest(secret, b"threatexchange\0" + partner.encode(), "sha256")[:8], "big") >> 1


async def _find(hub: Hub, partner: str, wanted: _Wanted, forms: Forms) -> _Found:
    updates: list[Document] = []
    after, bit = wanted.after, hub.directory.bit_of[partner]

    def read(connection: Connection) -> Page:
        allowed = may_receive(hub.directory.agreements, partner, hub.clock())
        return feeds.page(connection, feeds.view(connection, bit, allowed), Match(after=after), wanted.limit)

    for _ in range(PAGES_AT_ONCE):
        page = await hub.store.read(read)
        for row in page.rows:
            if row.added >= wanted.before:
                return _Found(updates, None)
            if len(updates) == wanted.limit:
                return _Found(updates, after)
            after = row.added
            update = forms.update(row, row.added // _US)
            if update is not None and _is_wanted(update, wanted.types):
                updates.append(update)
        if not page.more:
            return _Found(updates, None)
    return _Found(updates, after)


def _is_wanted(update: Mapping[str, Any], types: frozenset[str]) -> bool:
    """A deletion says no type: whoever wants some types has to know of all."""
    return not types or update["should_delete"] or update["type"] in types


def _with_header(request: web.Request) -> web.Request:
    """The token as a header, where it came as `access_token` (`APP|TOKEN`, or the token alone)."""
    token = request.query.get("access_token", "").rpartition("|")[2]
    if hdrs.AUTHORIZATION in request.headers or not token.isascii() or not token.isprintable():
        return request
    return request.clone(headers={**request.headers, hdrs.AUTHORIZATION: f"Bearer {token}".strip()})


def _wanted(request: web.Request, secret: bytes, partner: str, forms: Forms) -> _Wanted:
    start, stop = _number(request, "start_time", 0), _number(request, "stop_time", 0)
    after = start * _US - 1
    if place := request.query.get("after"):
        known = cursor.unseal(secret, partner, place)
        if known is None:
            raise _invalid("after", "is not from an answer of this feed")
        after = known
    fields = request.query.get("fields", "")
    if len(fields) > MAX_FIELDS_CHARS:
        raise _invalid("fields", f"has more than {MAX_FIELDS_CHARS} characters")
    types = request.query.get("types", "")
    return _Wanted(
        after=after,
        before=stop * _US if stop else 1 << 62,
        limit=max(1, min(_number(request, "limit", DEFAULT_LIMIT), MAX_LIMIT)),
        types=frozenset(filter(None, types.upper().split(","))) if len(types) <= MAX_FIELDS_CHARS else frozenset(),
        fields=forms.fields_of(fields),
    )


def _number(request: web.Request, name: str, otherwise: int) -> int:
    text = request.query.get(name) or str(otherwise)
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise _invalid(name, "is a whole number")
    return int(text)


def _invalid(name: str, what: str) -> RequestRefused:
    return RequestRefused(400, "parameter-invalid", f"{name} {what}", where=name, hint="mend it, or leave it out")


def _onward(request: web.Request, place: str) -> str:
    """Readers follow it as it is, with nothing added: so it has their token in it, and must not lose the TLS that a
    proxy before the hub speaks."""
    url = request.url.update_query({"after": place})
    return str(url.with_scheme("https") if request.headers.get("X-Forwarded-Proto") == "https" else url)


def _answer(body: bytes) -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "private, no-store", "Referrer-Policy": "no-referrer"}
    return web.Response(body=body, content_type="application/json", headers=headers)
