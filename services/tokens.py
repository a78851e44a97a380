"""Bearer tokens: random, stored as hashes, scoped, expiring, revocable."""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import Literal, NamedTuple

import sqlalchemy as sa
from aiohttp import hdrs, web
from sqlalchemy import Connection

from services.problems import RequestRefused
from services.store import Store
from services.tables import tokens

Scope = Literal["staff", "partner"]

STAFF, STAFF_PREFIX = "staff", "staff:"
"""The operator, whose token is on the hub's own machine, and members of staff."""

PREFIX = "tocsin_"  # lets scanners for leaked credentials find it
CACHE_MS = 30_000
CACHE_ENTRIES = 10_000
MAX_CREDENTIAL_CHARS = 512

_CHALLENGE = 'Bearer realm="tocsin"'
_TAXII_CHALLENGE = _CHALLENGE + ', Basic realm="tocsin", charset="UTF-8"'


class Principal(NamedTuple):
    """Who asks: a partner by its id, or staff: `STAFF`, or a member of it by `STAFF_PREFIX` and a name.

    What may be asked hangs on the scope alone; no partner's id has the prefix.
    """

    name: str
    scope: Scope


class _Verified(NamedTuple):
    principal: Principal
    until_ms: int


def issue(connection: Connection, name: str, scope: Scope, now_ms: int, expires_ms: int | None = None) -> str:
    """A new token, which only its caller ever sees: the table keeps its SHA-256.

    A plain hash is enough for 256 random bits: there is nothing to guess.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        tokens.insert().values(hash=_hash(token), name=name, scope=scope, created_ms=now_ms, expires_ms=expires_ms)
    )
    return token


def revoke(connection: Connection, name: str, now_ms: int) -> int:
    """Revokes all tokens of a name, and says how many; they stop working within `CACHE_MS`."""
    live = (tokens.c.name == name) & tokens.c.revoked_ms.is_(None)
    return connection.execute(tokens.update().where(live).values(revoked_ms=now_ms)).rowcount


def is_valid(connection: Connection, token: str, now_ms: int) -> bool:
    return _look_up(connection, _hash(token), now_ms) is not None


class Authenticator:
    """Tells who a request comes from. `clock` gives ms since 1970.

    Remembers what it verified for at most 30 s. Tokens are found by their hash, so that the time of a
    look-up says nothing about the bytes of any token.
    """

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._verified: dict[bytes, _Verified] = {}

    async def authenticate(self, request: web.Request) -> Principal:
        """Takes `Authorization: Bearer TOKEN`, or Basic with the token as the password.

        Raises `RequestRefused` (401 with the challenge) for anything else; which part was wrong is not told.
        """
        token = _token_of(request.headers.get(hdrs.AUTHORIZATION, ""))
        if token is None:
            raise _unauthorized(request, "token-missing", "this address needs a token")
        digest, now_ms = _hash(token), self._clock()
        known = self._verified.get(digest)
        if known is None or now_ms >= known.until_ms:
            self._verified.pop(digest, None)
            known = await self._store.read(lambda connection: _look_up(connection, digest, now_ms))
            if known is None:
                raise _unauthorized(request, "token-invalid", "this token is not valid")
            if len(self._verified) >= CACHE_ENTRIES:
                self._verified.clear()
            self._verified[digest] = known
        return known.principal


def _look_up(connection: Connection, digest: bytes, now_ms: int) -> _Verified | None:
    row = connection.execute(sa.select(tokens).where(tokens.c.hash == digest)).one_or_none()
    if row is None or row.revoked_ms is not None or (row.expires_ms is not None and row.expires_ms <= now_ms):
        return None
    until_ms = min(now_ms + CACHE_MS, row.expires_ms or now_ms + CACHE_MS)
    return _Verified(Principal(row.name, row.scope), until_ms)


def _token_of(header: str) -> str | None:
    scheme, _, credential = header.partition(" ")
    credential = credential.strip()
    if not credential or len(credential) > MAX_CREDENTIAL_CHARS:
        return None
    match scheme.lower():
        case "bearer":
            return credential
        case "basic":
            try:
                return b64decode(credential, validate=True).decode("utf-8").partition(":")[2] or None
            except (Base64Error, UnicodeDecodeError, ValueError):
                return None
    return None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _unauthorized(request: web.Request, code: str, what: str) -> RequestRefused:
    challenge = _TAXII_CHALLENGE if request.path.startswith("/taxii2/") else _CHALLENGE
    return RequestRefused(
        401,
        code,
        what,
        where=hdrs.AUTHORIZATION,
        hint="send `Authorization: Bearer TOKEN`; the hub's operator gives out tokens",
        headers={hdrs.WWW_AUTHENTICATE: challenge},
    )
