"""The outgoing client and servers that lie: each lie is a `PartnerFailed` with its code, soon, in little memory."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors import http as http_module
from connectors.http import Http, Limits, place
from schemas.errors import Misconfigured, PartnerFailed
from tests.unit.connectors.raw_server import TLS, Answer, raw_server, saying

LIMITS = Limits(body_bytes=100_000, connect_seconds=0.5, idle_seconds=0.3, whole_seconds=1.0)
SECRET = "s3cret-token"
PATH = f"/hooks/{SECRET}?key={SECRET}"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GZIPPED = HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
CHUNK = b"1000\r\n" + b"x" * 4096 + b"\r\n"


def with_length(body: bytes, headers: bytes = b"") -> bytes:
    return HEAD + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def packed_zeros(megabytes: int) -> list[bytes]:
    packer = zlib.compressobj(wbits=31)
    return [*(packer.compress(bytes(1_000_000)) for _ in range(megabytes)), packer.flush()]


LIES: dict[str, tuple[str, Answer]] = {
    "an endless body": ("answer-too-large", saying(CHUNKED, CHUNK, endless=True)),
    "an object of 50 MB": (
        "answer-too-large",
        saying(HEAD + b"Content-Length: 52428800\r\n\r\n", *[b"x" * 65536] * 800),
    ),
    "nothing at all": ("slow", saying(b"", pause_seconds=60)),
    "a head that trickles": ("slow", saying(HEAD, b"X-More: yes\r\n", pause_seconds=0.1, endless=True)),
    "a body that trickles": ("slow", saying(CHUNKED, b"1\r\nx\r\n", pause_seconds=0.1, endless=True)),
    "a body that stops": ("slow", saying(CHUNKED, CHUNK, b"", pause_seconds=60)),
    "informational answers without end": (
        "slow",
        saying(b"HTTP/1.1 100 Continue\r\n\r\n", pause_seconds=0.05, endless=True),
    ),
    "headers without end": ("not-http", saying(HEAD, b"X-A: " + b"y" * 60 + b"\r\n", endless=True)),
    "a header of 1 MB": ("not-http", saying(HEAD + b"X-A: " + b"y" * 1_000_000 + b"\r\n\r\n")),
    "a status line of 1 MB": ("not-http", saying(b"HTTP/1.1 200 " + b"O" * 1_000_000 + b"\r\n\r\n")),
    "no HTTP": ("not-http", saying(b"220 mail.example ESMTP\r\n")),
    "a length that is none": ("not-http", saying(HEAD + b"Content-Length: many\r\n\r\n")),
    "a chunk size that is none": ("not-http", saying(CHUNKED + b"zz\r\nx\r\n")),
    "goodbye at once": ("cut-off", saying(b"")),
    "less than its length": ("cut-off", saying(HEAD + b"Content-Length: 100\r\n\r\nfew")),
    "chunks that end early": ("cut-off", saying(CHUNKED + CHUNK)),
    "a truncated gzip": ("cut-off", saying(GZIPPED + gzip.compress(b"x" * 50_000)[:-12])),
    "what is no gzip": ("not-gzip", saying(GZIPPED + b"not packed at all")),
    "damage within a gzip": ("not-gzip", saying(GZIPPED + gzip.compress(b"{}")[:-8] + bytes(8))),
    "garbage after a gzip": ("not-gzip", saying(GZIPPED + gzip.compress(b"{}") + b"garbage")),
    "a gzip of 100 MB": (
        "answer-too-large",
        saying(GZIPPED, *packed_zeros(100)),
    ),
    "empty gzips without end": ("not-gzip", saying(GZIPPED, gzip.compress(b"") * 500, endless=True)),
    "nothing after a gzip without end": (
        "answer-too-large",
        saying(GZIPPED, gzip.compress(b"") + bytes(50_000), endless=True),
    ),
    "an encoding that nobody asked for": (
        "encoding-unknown",
        saying(with_length(b"x", b"Content-Encoding: br\r\n")),
    ),
    "a redirect to another host": ("redirect-elsewhere", saying(redirect("http://elsewhere.example/"))),
    "a redirect to the private network": ("redirect-elsewhere", saying(redirect("http://169.254.169.254/latest/"))),
    "a redirect to a file": ("redirect-elsewhere", saying(redirect("file:///etc/passwd"))),
    "a redirect to nowhere": ("address-invalid", saying(redirect("http://[::1"))),
    "a redirect in a circle": ("redirects", saying(redirect("/again"))),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_a_failure_with_its_code(lie: str) -> None:
    code, answer = LIES[lie]
    async with raw_server(answer) as port:
        url = f"http://127.0.0.1:{port}"
        async with Http([url], limits=LIMITS) as http:
            began = time.monotonic()
            with pytest.raises(PartnerFailed) as failed:
                await http.request("GET", url + PATH)
            took = time.monotonic() - began
    assert failed.value.code == code
    assert took < 3
    said = f"{failed.value} {failed.value.where} {failed.value.hint}"
    assert SECRET not in said and "passwd" not in said


@pytest.mark.parametrize(
    "lie", ["a gzip of 100 MB", "an object of 50 MB", "an endless body", "empty gzips without end"]
)
async def test_a_large_answer_takes_little_memory(lie: str) -> None:
    async with raw_server(LIES[lie][1]) as port:
        url = f"http://127.0.0.1:{port}"
        async with Http([url], limits=LIMITS) as http:
            tracemalloc.start()
            with pytest.raises(PartnerFailed):
                await http.request("GET", url)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peak < 8_000_000


async def answer_to(answer: Answer, **arguments: Any) -> Any:
    async with raw_server(answer) as port:
        url = f"http://127.0.0.1:{port}"
        async with Http([url], limits=LIMITS) as http:
            return await http.request(arguments.pop("method", "GET"), url + PATH, **arguments)


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (with_length(b"{}"), b"{}"),
        (GZIPPED + gzip.compress(b"x" * 90_000), b"x" * 90_000),
        (GZIPPED + gzip.compress(b"one ") + gzip.compress(b"and two"), b"one and two"),
        (GZIPPED, b""),
        (with_length(b"x" * 100_000), b"x" * 100_000),
    ],
)
async def test_what_is_in_order_is_read_to_its_end(said: bytes, body: bytes) -> None:
    assert (await answer_to(saying(said))).body == body


async def test_the_bound_is_to_the_byte_and_can_be_set_for_one_request() -> None:
    assert len((await answer_to(saying(with_length(b"x" * 10)), max_bytes=10)).body) == 10
    with pytest.raises(PartnerFailed, match="more than 9 bytes"):
        await answer_to(saying(with_length(b"x" * 10)), max_bytes=9)


async def test_an_answer_without_a_body_may_say_how_it_would_be_packed() -> None:
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: 500\r\n\r\n"
    assert (await answer_to(saying(head), method="HEAD")).status == 200


async def test_a_redirect_of_a_post_is_not_followed() -> None:
    assert (await answer_to(saying(redirect("/again")), method="POST", body=b"{}")).status == 302


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("", 0),
        ("Retry-After: 120", 120),
        ("retry-after: 7", 7),
        ("Retry-After: 99999999999999999999", 86_400),
        ("Retry-After: -5", 0),
        ("Retry-After: soon", 0),
        ("Retry-After: ٣", 0),
        ("Retry-After: Fri, 01 Jan 2100 00:01:00 GMT\r\nDate: Fri, 01 Jan 2100 00:00:00 GMT", 60),
        ("Retry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\nDate: Fri, 01 Jan 2000 00:00:00 GMT", 86_400),
        ("Retry-After: Fri, 01 Jan 2000 00:00:00 GMT\r\nDate: Fri, 01 Jan 2100 00:00:00 GMT", 0),
        ("Retry-After: Fri, 01 Jan 2100 00:00:00 GMT", 0),
    ],
)
async def test_retry_after_is_read_within_bounds(headers: str, seconds: float) -> None:
    lines = headers.encode() + b"\r\n" if headers else b""
    assert (await answer_to(saying(with_length(b"", lines)))).after_seconds == seconds


async def test_a_name_must_not_lead_into_a_private_network() -> None:
    async with raw_server(saying(with_length(b"{}"))) as port:
        for name, code in (("localhost", "address-private"), ("127.1", "address-invalid")):
            url = f"http://{name}:{port}"
            async with Http([url], limits=LIMITS) as http:
                with pytest.raises(PartnerFailed) as failed:
                    await http.request("GET", url)
            assert failed.value.code == code
        url = f"http://localhost:{port}"
        async with Http([url], private=True, limits=LIMITS) as http:
            assert (await http.request("GET", url)).status == 200


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Every name leads to these addresses; without any, to none."""

    async def resolve(_self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        about = {
            "hostname": host,
            "port": port,
            "family": socket.AF_INET,
            "proto": 0,
            "flags": socket.AI_NUMERICHOST,
        }
        return [about | {"host": address} for address in addresses]

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)


async def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "8.8.8.8", "10.0.0.1")
    async with Http(["http://rebinding.example"], limits=LIMITS) as http:
        with pytest.raises(PartnerFailed) as failed:
            await http.request("GET", "http://rebinding.example/")
    assert failed.value.code == "address-private"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::a00:1", False),
        ("::7f00:1", False),
        ("fec0::1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert http_module._is_public(address) is public


async def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch)
    async with Http(["http://nobody.invalid"], limits=LIMITS) as http:
        with pytest.raises(PartnerFailed) as failed:
            await http.request("GET", "http://nobody.invalid/")
    assert failed.value.code == "name-unknown"


async def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        async with Http([url], limits=LIMITS) as http:
            with pytest.raises(PartnerFailed) as failed:
                await http.request("GET", url)
    assert failed.value.code == "unreachable"


async def test_a_certificate_of_an_unknown_authority_is_not_valid() -> None:
    async with raw_server(saying(with_length(b"{}")), tls=True) as port:
        url = f"https://127.0.0.1:{port}"
        async with Http([url], limits=LIMITS) as http:
            with pytest.raises(PartnerFailed) as failed:
                await http.request("GET", url)
        assert failed.value.code == "tls-invalid"
        async with Http([url], limits=LIMITS, ca_file=TLS / "authority.pem") as http:
            assert (await http.request("GET", url)).body == b"{}"


async def test_a_certificate_of_another_host_is_not_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "127.0.0.1")
    async with raw_server(saying(with_length(b"{}")), tls=True) as port:
        url = f"https://horizon.example:{port}"
        async with Http([url], private=True, limits=LIMITS, ca_file=TLS / "authority.pem") as http:
            with pytest.raises(PartnerFailed) as failed:
                await http.request("GET", url)
    assert failed.value.code == "tls-invalid"


async def test_what_speaks_no_tls_is_not_valid() -> None:
    async with raw_server(saying(with_length(b"{}"))) as port:
        url = f"https://127.0.0.1:{port}"
        async with Http([url], limits=LIMITS) as http:
            with pytest.raises(PartnerFailed) as failed:
                await http.request("GET", url)
    assert failed.value.code in ("tls-invalid", "slow")


async def test_another_host_than_those_configured_is_not_asked() -> None:
    async with Http(["https://horizon.example"], limits=LIMITS) as http:
        for url in ("https://elsewhere.example/", "http://horizon.example/", "https://horizon.example:8443/"):
            with pytest.raises(PartnerFailed) as failed:
                await http.request("GET", url)
            assert failed.value.code == "redirect-elsewhere"


async def test_credentials_do_not_go_along_to_another_host() -> None:
    seen: dict[str, str | None] = {}

    async def target(request: web.Request) -> web.Response:
        seen[request.path] = request.headers.get("Authorization")
        return web.Response()

    application = web.Application()
    application.router.add_get("/{name}", target)
    async with TestServer(application) as second:
        there = f"http://127.0.0.1:{second.port}"
        async with raw_server(saying(redirect(f"{there}/moved"))) as port:
            first = f"http://127.0.0.1:{port}"
            async with Http([first, there], limits=LIMITS) as http:
                await http.request("GET", first, headers={"Authorization": SECRET})
                await http.request("GET", f"{there}/direct", headers={"Authorization": SECRET})
    assert seen == {"/moved": None, "/direct": SECRET}


async def test_errors_of_whoever_reads_are_its_own() -> None:
    async with raw_server(saying(with_length(b"{}"))) as port:
        url = f"http://127.0.0.1:{port}"
        async with Http([url], limits=LIMITS) as http:
            with pytest.raises(OSError, match="disk"):
                async with http.stream("GET", url):
                    raise OSError("the disk is full")


async def test_cookies_are_not_kept() -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        answer = web.Response()
        answer.set_cookie("track", "me")
        return answer

    application = web.Application()
    application.router.add_get("/", handler)
    async with TestServer(application) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with Http([url], limits=LIMITS) as http:
            for _ in range(2):
                await http.request("GET", url)
    assert seen == [None, None]


async def test_it_can_be_cancelled_and_used_again() -> None:
    async with raw_server(saying(CHUNKED, CHUNK, b"", pause_seconds=60)) as port:
        url = f"http://127.0.0.1:{port}"
        async with Http([url], limits=LIMITS._replace(connections=1)) as http:
            for _ in range(3):
                task = asyncio.create_task(http.request("GET", url))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            with pytest.raises(PartnerFailed, match="in time"):
                await http.request("GET", url)


@pytest.mark.parametrize(
    "url", ["", "horizon.example", "ftp://horizon.example", "file:///etc/passwd", "https://", "http://["]
)
def test_what_is_no_address_of_the_web_is_a_misconfiguration(url: str) -> None:
    with pytest.raises(Misconfigured) as wrong:
        Http([url])
    assert wrong.value.code == "url-invalid"


def test_of_an_address_a_log_shows_the_origin_only() -> None:
    assert place("https://user:pass@horizon.example:8443/a/secret?k=v#f") == "https://horizon.example:8443"
    assert place("no address") == ""
