"""Bad input gets a problem document (RFC 9457) that says what, where and what to do."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from schemas.rejected import Rejected
from services.accept import intake
from services.accept.framing import unpack
from services.hub import Hub
from services.tables import outbox, partners, submissions
from tests.fakes import NOW_MS, accept_client, agreement, bearer, make_hub, rows, source_agreement, token_for

Client = TestClient[web.Request, web.Application]
PATH = "/api/v1/submissions"
MAX_BYTES = 200_000


class World(NamedTuple):
    hub: Hub
    client: Client
    partner: dict[str, str]
    staff: dict[str, str]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    expired = agreement("expired", contributes={"reliability": "C"})
    over = expired.model_copy(
        update={"partner": expired.partner.model_copy(update={"ends": expired.partner.starts})}
    )
    receiver = {
        "tlp": "green",
        "pap": "green",
        "onward": "none",
        "purposes": ["detect"],
        "categories": ["*"],
        "max_age_days": 9,
    }
    hub = make_hub(
        tmp_path,
        [source_agreement("alpha"), source_agreement("beta"), agreement("reader", receives=receiver), over],
        max_body_bytes=MAX_BYTES,
    )
    async with accept_client(hub) as client:
        yield World(
            hub,
            client,
            bearer(await token_for(hub, "alpha")),
            bearer(await token_for(hub, "staff", "staff")),
        )
    hub.store.close()


def indicator(**more: Any) -> dict[str, Any]:
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": "indicator--aaaaaaaa-0000-4000-8000-000000000001",
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "valid_from": "2026-01-01T00:00:00Z",
        "pattern": "[domain-name:value = 'a.example']",
        "pattern_type": "stix",
        **more,
    }


def bundle(*objects: Any) -> bytes:
    return orjson.dumps(
        {"type": "bundle", "id": "bundle--aaaaaaaa-0000-4000-8000-000000000000", "objects": list(objects)}
    )


def deep(levels: int) -> bytes:
    return b'{"type":"bundle","x":' + b"[" * levels + b"]" * levels + b"}"


STIX_1 = b'<?xml version="1.0"?>\n<stix:STIX_Package xmlns:stix="http://stix.mitre.org/stix-1" version="1.1.1"/>'

BODY_FIELDS = ("body", "content_type", "status", "code", "where")
BODIES: list[tuple[str, bytes, str, int, str, str]] = [
    ("nothing", b"", "", 400, "empty", ""),
    ("blanks", b" \r\n\t ", "application/json", 400, "empty", ""),
    ("broken JSON", b'{"type": "bundle",\n "objects": [}', "application/json", 400, "not-json", "line 2 column 14"),
    ("text that is called JSON", b"hello", "application/json", 400, "not-json", "line 1 column 1"),
    ("NaN", b'{"type": "bundle", "x": NaN}', "", 400, "not-json", "line 1 column 25"),
    ("JSON of nobody's format", b'{"hello": "world"}', "", 415, "unknown-format", ""),
    ("a JSON list of numbers", b"[1, 2, 3]", "", 415, "unknown-format", ""),
    ("a JSON string", b'"hello"', "application/json", 415, "unknown-format", ""),
    ("JSON too deep", deep(100), "", 400, "too-deep", ""),
    ("JSON far too deep", deep(50_000), "", 400, "too-deep", "line 1 column 1046"),
    ("a key twice", b'{"type": "bundle", "objects": [{"a": 1, "a": 2}]}', "", 400, "duplicate-key", "/objects/0/a"),
    ("a number of 100 digits", b'{"Event": ' + b"9" * 100 + b"}", "", 400, "number-out-of-range", "/Event"),
    ("a bundle without objects", b'{"type": "bundle", "objects": {}}', "", 400, "bundle-invalid", "/objects"),
    ("STIX 1.1", STIX_1, "application/xml", 415, "stix-1", ""),
    ("STIX 1.1 that is called JSON", STIX_1, "", 415, "stix-1", ""),
    ("other XML", b"<a/>", "", 415, "stix-1", ""),
    ("HTML", b"<!DOCTYPE html><html></html>", "", 415, "unknown-format", ""),
    ("a picture", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png", 415, "not-utf8", "byte 0"),
    ("UTF-16", "kind,value\n".encode("utf-16"), "text/csv", 415, "not-utf8", "byte 0"),
    ("prose", b"Dear hub, please block evil.example", "", 415, "unknown-format", ""),
    ("CSV with a header that says nothing", b"a,b\n1,2\n", "text/csv", 400, "csv-header-unknown", "line 1"),
    ("CSV with a marking for a column", b"kind,value,TLP:RED\n", "text/csv", 400, "csv-header-marking", "line 1"),
    ("CSV with a column twice", b"kind,value,tlp,tlp\n", "text/csv", 400, "csv-header-duplicate", "line 1"),
    ("too large", b"x" * (MAX_BYTES + 1), "", 413, "too-large", ""),
    ("too large unpacked", gzip.compress(b"x" * (MAX_BYTES + 1)), "", 413, "too-large", ""),
    ("a zip bomb", gzip.compress(b"\0" * 50_000_000), "", 413, "too-large", ""),
    ("cut-off gzip", gzip.compress(b"kind,value\n" * 99)[:-9], "", 400, "gzip-invalid", ""),
    ("damaged gzip", b"\x1f\x8b" + b"\x00" * 40, "", 400, "gzip-invalid", ""),
    ("gzip in gzip", gzip.compress(gzip.compress(b"kind,value\n")), "", 415, "not-utf8", "byte 1"),
]  # fmt: skip

NEUTRAL = "[domain-name:value = 'withdrawn.invalid']"

OBJECT_FIELDS = ("bad", "code", "within")
OBJECTS: list[tuple[str, Any, str, str]] = [
    ("no object", 7, "not-an-object", ""),
    ("no type", {"id": "x"}, "type-invalid", "/type"),
    ("an id that is no UUID", indicator(id="indicator--1"), "id-invalid", "/id"),
    ("a time that is none", indicator(created="yesterday"), "timestamp-invalid", "/created"),
    ("a time out of range", indicator(modified="9999-01-01T00:00:00.000Z"), "timestamp-out-of-range", "/modified"),
    ("a control character", indicator(name="a\x00b"), "control-character", "/name"),
    ("a pattern that does not parse", indicator(pattern="[domain-name:value = "), "pattern-invalid", "/pattern"),
    ("no pattern", {k: v for k, v in indicator().items() if k != "pattern"}, "property-missing", "/pattern"),
    ("a confidence of 200", indicator(confidence=200), "", "/confidence"),
    ("markings that are no list", indicator(object_marking_refs="tlp:red"), "", "/object_marking_refs"),
    (
        "an unknown field of the handling",
        indicator(extensions={"extension-definition--f779a2d8-6766-41dd-870b-7bd55ddf3d6d": {"secret": True}}),
        "handling-invalid",
        "/extensions/extension-definition--f779a2d8-6766-41dd-870b-7bd55ddf3d6d/secret",
    ),
    ("STIX 2.2", indicator(spec_version="2.2"), "spec-version-unknown", "/spec_version"),
    ("a revocation without its pattern",
     indicator(id="indicator--aaaaaaaa-0000-4000-8000-00000000000f", pattern=NEUTRAL, revoked=True),
     "revocation-without-pattern", "/pattern"),
    ("too many tags", indicator(labels=[f"l{n}" for n in range(200)]), "too-many-tags", ""),
]  # fmt: skip


async def document(response: Any, status: int) -> dict[str, Any]:
    """The problem document of an answer, checked for what every one must have."""
    assert response.status == status, await response.text()
    assert response.content_type == "application/problem+json"
    problem: dict[str, Any] = orjson.loads(await response.read())
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{problem['code']}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["hint"]
    return problem


@pytest.mark.parametrize(BODY_FIELDS, [b[1:] for b in BODIES], ids=[b[0] for b in BODIES])
async def test_bodies(world: World, body: bytes, content_type: str, status: int, code: str, where: str) -> None:
    headers = {**world.partner, "Content-Type": content_type or "application/octet-stream"}
    response = await world.client.post(PATH, data=body, headers=headers)
    problem = await document(response, status)
    assert (problem["code"], problem["where"]) == (code, where)
    stored = await rows(world.hub, submissions)
    if status == 413 and len(body) > MAX_BYTES:
        assert not stored, "of what was never read whole, nothing can be kept"
        return
    assert [(row.taken, row.refused) for row in stored] == [(0, 1)], "what is refused is kept with its reason"
    (waiting,) = await rows(world.hub, outbox)
    (parcel,) = unpack(waiting.messages)
    kept = Rejected.from_bytes(parcel.value)
    assert (kept.stage, kept.code, kept.source) == ("accept", code, "alpha")


async def test_stix_1_is_called_by_its_name(world: World) -> None:
    problem = await document(await world.client.post(PATH, data=STIX_1, headers=world.partner), 415)
    assert "STIX 1.1.1 XML" in problem["detail"]
    assert "STIX 2.1" in problem["hint"]


@pytest.mark.parametrize(OBJECT_FIELDS, [o[1:] for o in OBJECTS], ids=[o[0] for o in OBJECTS])
async def test_an_invalid_object_among_valid_ones(world: World, bad: Any, code: str, within: str) -> None:
    other = indicator(
        id="indicator--aaaaaaaa-0000-4000-8000-000000000002", pattern="[url:value = 'http://b.example/']"
    )
    response = await world.client.post(PATH, data=bundle(indicator(), bad, other), headers=world.partner)
    assert response.status == 202
    answer = await response.json()
    assert (answer["taken"], answer["refused"]) == (2, 1)
    [item] = answer["items"]
    assert item["pointer"] == "/objects/1"
    assert item["where"] == "/objects/1" + within
    assert item["code"] == code or (not code and item["code"])
    assert item["reason"]
    assert item["hint"]


@pytest.mark.parametrize(OBJECT_FIELDS, [o[1:] for o in OBJECTS], ids=[o[0] for o in OBJECTS])
async def test_nothing_but_an_invalid_object(world: World, bad: Any, code: str, within: str) -> None:
    problem = await document(await world.client.post(PATH, data=bundle(bad), headers=world.partner), 422)
    assert problem["code"] == "nothing-taken"
    assert problem["where"] == "/objects/0" + within
    [error] = problem["errors"]
    assert error["where"] == "/objects/0" + within
    assert error["code"] == code or (not code and error["code"])
    status = await world.client.get(problem["instance"], headers=world.partner)
    assert (await status.json())["refused"] == 1


async def test_the_list_of_faults_is_bounded(world: World) -> None:
    problem = await document(await world.client.post(PATH, data=bundle(*range(150)), headers=world.partner), 422)
    assert len(problem["errors"]) == 100
    assert "150" in problem["detail"]


@pytest.mark.parametrize("scheme", ["", "Bearer", "Bearer tocsin_wrong", "Basic eDp5", "Digest x"])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_bad_token(world: World, method: str, scheme: str) -> None:
    path = PATH if method == "POST" else f"{PATH}/11111111-2222-4333-8444-555555555555"
    headers = {"Authorization": scheme} if scheme else {}
    response = await world.client.request(
        method, path, data=bundle(indicator()) if method == "POST" else None, headers=headers
    )
    problem = await document(response, 401)
    assert problem["code"] in ("token-missing", "token-invalid")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert not await rows(world.hub, submissions)


SOURCES = [
    ("partner", "?source=beta", 403, "source-not-yours"),
    ("partner", "?source=nobody", 403, "source-not-yours"),
    ("staff", "", 400, "source-missing"),
    ("staff", "?source=", 400, "source-missing"),
    ("staff", "?source=nobody", 404, "unknown-source"),
    ("staff", "?source=reader", 403, "not-a-contributor"),
    ("staff", "?source=expired", 403, "agreement-not-in-force"),
]


@pytest.mark.parametrize(("who", "query", "status", "code"), SOURCES)
async def test_sources(world: World, who: str, query: str, status: int, code: str) -> None:
    headers = world.partner if who == "partner" else world.staff
    response = await world.client.post(PATH + query, data=bundle(indicator()), headers=headers)
    problem = await document(response, status)
    assert (problem["code"], problem["where"]) == (code, "source")
    assert not await rows(world.hub, submissions)


async def test_a_suspended_source(world: World) -> None:
    await world.hub.store.write(
        lambda connection: connection.execute(partners.insert().values(bit=0, id="alpha", suspended_ms=NOW_MS))
    )
    response = await world.client.post(PATH, data=bundle(indicator()), headers=world.partner)
    assert (await document(response, 403))["code"] == "agreement-not-in-force"


async def test_a_stream_is_cut_off_where_it_becomes_too_large(world: World) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * MAX_BYTES:
            sent += 50_000
            yield b"x" * 50_000
            await asyncio.sleep(0.001)

    response = await world.client.post(PATH, data=endless(), headers=world.partner)
    problem = await document(response, 413)
    assert problem["code"] == "too-large"
    assert sent < 50 * MAX_BYTES


@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        ("gzip", gzip.compress(b"\0" * 50_000_000), 413, "too-large"),
        ("gzip", b"this is no gzip", 400, "encoding-invalid"),
        ("rot13", b"x", 415, "encoding-unknown"),
    ],
)
async def test_content_encodings(world: World, encoding: str, body: bytes, status: int, code: str) -> None:
    headers = {**world.partner, "Content-Encoding": encoding}
    response = await world.client.post(PATH, data=body, headers=headers, skip_auto_headers=["Content-Encoding"])
    assert (await document(response, status))["code"] == code


async def test_slow_bodies_shut_the_door_on_their_source_alone(world: World) -> None:
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b" "
        await go_on.wait()
        yield bundle(indicator())

    async def submit(data: Any, query: str = "", who: dict[str, str] = world.partner) -> Any:
        return await world.client.post(PATH + query, data=data, headers=who)

    waiting = {asyncio.create_task(submit(slow())) for _ in range(intake.MAX_BODIES_PER_SOURCE + 1)}
    [refused], waiting = await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    response = await refused
    assert (await document(response, 503))["code"] == "busy"
    assert int(response.headers["Retry-After"]) > 0
    assert (await submit(bundle(indicator()))).status == 503
    assert (await submit(bundle(indicator()), "?source=beta", world.staff)).status == 202
    go_on.set()
    assert [response.status for response in await asyncio.gather(*waiting)] == [202] * len(waiting)
    assert (await submit(bundle(indicator()))).status == 202


async def test_what_comes_in_at_once_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    body = bundle(indicator())
    monkeypatch.setattr(intake, "MAX_RECEIVED_BYTES", len(body) - 1)
    response = await world.client.post(PATH, data=body, headers=world.partner)
    assert (await document(response, 503))["code"] == "busy"
    assert int(response.headers["Retry-After"]) > 0
    monkeypatch.setattr(intake, "MAX_RECEIVED_BYTES", len(body))
    for _ in range(2):
        assert (await world.client.post(PATH, data=body, headers=world.partner)).status == 202


async def test_a_body_that_does_not_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BODY_TIMEOUT_SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(0.5)
        yield b"}"

    response = await world.client.post(PATH, data=slow(), headers=world.partner)
    assert (await document(response, 408))["code"] == "too-slow"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", PATH, 405), ("GET", "/api/v1/submissions", 405)],
)
async def test_addresses(world: World, method: str, path: str, status: int) -> None:
    response = await world.client.request(method, path, headers=world.partner)
    await document(response, status)
    assert ("Allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    "query", ["offset=-1", "offset=x", "limit=0", "limit=1001", "limit=1e3", "offset=" + "9" * 40]
)
async def test_parameters_of_a_status(world: World, query: str) -> None:
    sent = await world.client.post(PATH, data=bundle(indicator()), headers=world.partner)
    response = await world.client.get(f"{sent.headers['Location']}?{query}", headers=world.partner)
    problem = await document(response, 400)
    assert (problem["code"], problem["where"]) == ("parameter-invalid", query.partition("=")[0])


async def test_a_fault_of_the_hub_tells_nothing_of_itself(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(body: bytes, *_: object) -> None:
        raise RuntimeError(body)

    monkeypatch.setattr("services.accept.formats.read", fails)
    response = await world.client.post(PATH, data=bundle(indicator()), headers=world.partner)
    problem = await document(response, 500)
    assert problem["code"] == "internal-error"
    assert "a.example" not in await response.text()
    assert "a.example" not in caplog.text
    [incident] = [word for word in problem["detail"].split() if len(word) == 16]
    assert incident in caplog.text
