"""The one outgoing HTTP client: to the hosts that an operator configured, within bounds, and nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from connectors.gunzip import CHUNK_BYTES, Gunzip
from schemas.errors import Misconfigured, PartnerFailed, clip

MAX_REDIRECTS = 5
MAX_HEADER_BYTES = 16 * 1024
MAX_RETRY_AFTER_SECONDS = 86_400.0
SCHEMES = ("http", "https")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b:1::/48", "fec0::/10", "5f00::/16")))
"""What Python 3.11 takes for public: addresses of IPv4 in an old form (RFC 4291 section 2.5.5.1), networks' own
translation (RFC 8215), sites (RFC 3879) and segments (RFC 9602)."""


class Answer(NamedTuple):
    """An answer as a whole: its body is unpacked, and within the bound that was asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def after_seconds(self) -> float:
        """What its `Retry-After` (RFC 9110 section 10.2.3) asks for, in seconds; 0 where it does not."""
        return _after_seconds(self.headers)

    @property
    def media_type(self) -> str:
        return self.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()


class Limits(NamedTuple):
    """In bytes and seconds. `whole_seconds` is for one request with all of its answer, however it trickles."""

    body_bytes: int = 64 * 1024 * 1024
    connect_seconds: float = 10
    idle_seconds: float = 30
    whole_seconds: float = 600
    connections: int = 4


class Http:
    """Speaks with the origins of `urls`, given as an operator wrote them. Use it as an async context manager.

    A redirect is followed within these origins only. A host that was written as a name must not lead to an address
    of this machine or of a private network, unless `private` says that it may; one written as an address may be
    anywhere. `ca_file` is a PEM file of further authorities. Whatever goes wrong is a `PartnerFailed`, which quotes
    no contents.
    """

    def __init__(
        self,
        urls: Iterable[str],
        *,
        private: bool = False,
        ca_file: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._origins = frozenset(_origin(url) for url in urls)
        self._limits = limits or Limits()
        self._private = private
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = await asyncio.to_thread(_tls, self._ca_file)
        connector = aiohttp.TCPConnector(
            ssl=context,
            resolver=None if self._private else _PublicResolver(),
            limit=self._limits.connections,
            ttl_dns_cache=60,
        )
        timeout = aiohttp.ClientTimeout(
            total=self._limits.whole_seconds,
            sock_connect=self._limits.connect_seconds,
            sock_read=self._limits.idle_seconds,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={hdrs.USER_AGENT: "tocsin"},
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int | None = None,
    ) -> Answer:
        """Any answer, whatever its status; raises `PartnerFailed`."""
        async with self.stream(method, url, headers=headers, params=params, body=body, max_bytes=max_bytes) as got:
            return Answer(got.status, got.headers, b"".join([piece async for piece in got.pieces]))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int | None = None,
    ) -> AsyncIterator[Streamed]:
        """As `request`, for bodies that are read piece by piece."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        bound = self._limits.body_bytes if max_bytes is None else max_bytes
        given = {hdrs.ACCEPT_ENCODING: "gzip", **(headers or {})}
        async with AsyncExitStack() as stack:
            # what the caller does with the answer is outside: its errors are no failures of the partner's
            response = await self._open(stack, self._session, method, url, params or {}, given, body)
            yield Streamed(response.status, response.headers, _pieces(response, bound))

    async def _open(
        self,
        stack: AsyncExitStack,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> aiohttp.ClientResponse:
        """The first answer that is no redirection to follow; `stack` closes it."""
        address = URL()
        try:
            address = URL(url).update_query(params)
            for _ in range(MAX_REDIRECTS + 1):
                self._check(address)
                request = session.request(method, address, headers=headers, data=body, allow_redirects=False)
                response = await stack.enter_async_context(request)
                onward = _onward(address, response)
                if onward is None or method not in (hdrs.METH_GET, hdrs.METH_HEAD):
                    return response
                await stack.aclose()
                if _origin_of(onward) != _origin_of(address):
                    headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
                address = onward
            raise PartnerFailed("redirects", "it redirects again and again", where=place(address))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _failed(error, address) from None

    def _check(self, address: URL) -> None:
        if _origin_of(address) not in self._origins:
            raise PartnerFailed(
                "redirect-elsewhere",
                "it redirects to a host that is not configured",
                where=place(address),
                hint="if that is right, configure that address itself",
            )


class Streamed(NamedTuple):
    """An answer whose body is read piece by piece, unpacked; a read raises what `Http.request` does."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]

    @property
    def after_seconds(self) -> float:
        return _after_seconds(self.headers)


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError):
            raise Misconfigured(
                "ca-file", "this is no file of authorities in PEM", where=str(ca_file), hint="name a readable one"
            ) from None
    return context


def _origin(url: str) -> tuple[str, str, int]:
    """Raises `Misconfigured` for what is no address of the web."""
    try:
        origin = _origin_of(URL(url))
    except ValueError:
        origin = None
    if origin is None:
        raise Misconfigured(
            "url-invalid", f"{clip(url)!r} is no address of the web", hint="write it as https://host/path"
        )
    return origin


def _origin_of(address: URL) -> tuple[str, str, int] | None:
    if address.scheme not in SCHEMES or not address.host or not address.port:
        return None
    return address.scheme, address.host.lower().rstrip("."), address.port


def _onward(address: URL, response: aiohttp.ClientResponse) -> URL | None:
    if response.status not in (301, 302, 303, 307, 308) or hdrs.LOCATION not in response.headers:
        return None
    return address.join(URL(response.headers[hdrs.LOCATION]))


async def _pieces(response: aiohttp.ClientResponse, max_bytes: int) -> AsyncIterator[bytes]:
    """The body, unpacked; raises `PartnerFailed` past `max_bytes`, and where it is cut off or no gzip."""
    where = place(response.url)
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise PartnerFailed("encoding-unknown", "its answer has an encoding that nobody asked for", where=where)
    unpack = Gunzip() if "gzip" in encoding else None
    size = received = 0
    try:
        async for piece in response.content.iter_chunked(CHUNK_BYTES):
            received += len(piece)
            for plain in (piece,) if unpack is None else unpack.feed(piece):
                size += len(plain)
                if size > max_bytes:
                    raise _too_large(max_bytes, where)
                if plain:
                    yield plain
            if received > max_bytes + CHUNK_BYTES:  # what unpacks to nothing may come without end
                raise _too_large(max_bytes, where)
    except zlib.error:
        raise PartnerFailed("not-gzip", "its answer is damaged", where=where) from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _failed(error, response.url) from None
    # what has no body (HEAD, 204) may well say how it would be packed
    if unpack is not None and received and not unpack.whole:
        raise PartnerFailed("cut-off", "its answer was cut off", where=where)


def _too_large(max_bytes: int, where: str) -> PartnerFailed:
    return PartnerFailed("answer-too-large", f"its answer has more than {max_bytes:,} bytes", where=where)


def _failed(error: Exception, address: URL) -> PartnerFailed:
    where = place(address)
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            hint = "check its certificate; an authority of your own goes into `ca_file`"
            return PartnerFailed("tls-invalid", "its certificate is not valid", where=where, hint=hint)
        case _Private() | aiohttp.ClientConnectorDNSError(os_error=_Private()):
            hint = "if it is meant to be in your own network, set `private = true`"
            return PartnerFailed("address-private", "its name leads into a private network", where=where, hint=hint)
        case aiohttp.ClientConnectorDNSError():
            return PartnerFailed("name-unknown", "its name is not known", where=where, hint="check the address")
        case aiohttp.ClientConnectorError():
            return PartnerFailed("unreachable", "it can't be reached", where=where, hint="is it up?")
        case TimeoutError():
            return PartnerFailed("slow", "it did not answer in time", where=where)
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return PartnerFailed("cut-off", "its answer was cut off", where=where)
        case ValueError() | aiohttp.InvalidURL():
            return PartnerFailed("address-invalid", "it redirects to what is no address", where=where)
        case _:
            return PartnerFailed("not-http", f"its answer makes no sense ({type(error).__name__})", where=where)


def place(address: URL | str) -> str:
    """Scheme, host and port: all of an address that may stand in a log, for paths and queries may hold secrets."""
    try:
        return str(URL(address).origin())
    except ValueError:
        return ""


def _after_seconds(headers: Mapping[str, str]) -> float:
    text = headers.get(hdrs.RETRY_AFTER, "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_SECONDS) if len(text) < 10 else MAX_RETRY_AFTER_SECONDS
    try:
        # by the partner's own clock, whatever that says
        span = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get(hdrs.DATE, ""))
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0
    return min(max(span.total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)


class _Private(OSError):
    """A name leads to an address that it must not lead to."""


def _is_public(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        # in these an address of IPv4 is hidden, and that is where the packets go (RFC 4291, 6052, 3056)
        if address in _NAT64:
            return _is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        hidden = address.ipv4_mapped or address.sixtofour
        if hidden is not None:
            return _is_public(str(hidden))
        if any(address in network for network in _NOT_PUBLIC):
            return False
    return address.is_global and not address.is_multicast


class _PublicResolver(AbstractResolver):
    """Gives the addresses of a name, if all of them are public: one that is not is an attack, or a mistake."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not all(_is_public(one["host"]) for one in found):
            raise _Private
        return found

    async def close(self) -> None:
        await self._resolver.close()
