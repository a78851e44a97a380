"""The clients of the sources of measurements against local servers: as documented, and as liars."""

from __future__ import annotations

import asyncio
import gzip
import re
import ssl
import subprocess
import time
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from connectors import ioda, ooni
from connectors.base import MAX_BODY_BYTES
from connectors.ioda import client as ioda_client
from connectors.ioda import mapping as ioda_mapping
from connectors.ooni import client as ooni_client
from connectors.ooni import mapping as ooni_mapping
from schemas.errors import PartnerFailed
from schemas.handling import HANDLING_ID
from tests.unit.connectors.measuring_server import NOW_MS, SHORT, objects, of_type, pulled, serving, tools

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures" / "connectors"
LISTED: dict[str, Any] = orjson.loads((FIXTURES / "ooni" / "listed.json").read_bytes())
EVENTS: dict[str, Any] = orjson.loads((FIXTURES / "ioda" / "events.json").read_bytes())
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def events_of(*events: Any) -> web.Response:
    return web.json_response({**EVENTS, "data": list(events)})


def measurements(*rows: Any) -> web.Response:
    metadata = {"count": -1, "next_url": "http://203.0.113.1/never", "pages": -1}
    return web.json_response({"metadata": metadata, "results": list(rows)})


def of(number: int, **more: Any) -> dict[str, Any]:
    return {**LISTED, "report_id": f"report-{number}", "probe_asn": f"AS{64900 + number % 3}", **more}


# --- as documented ------------------------------------------------------------------------------------------------


async def test_ioda_is_asked_for_what_the_settings_name() -> None:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/v2/outages/events"
        asked.append(dict(request.query))
        region = request.query["entityType"] == "region"
        if region:
            return events_of({**EVENTS["data"][0], "location": "region/4488", "location_name": "Old Province"})
        return events_of(*[one for one in EVENTS["data"] if one["location"] == "country/XA"])

    async with serving(answer) as url, tools(url) as lent:
        said = {"url": url + "v2/", "countries": ["XA"], "regions": True, "min_signals": 1}
        pieces = await pulled(ioda.MANIFEST, lent, **said)
        assert [one["name"] for one in objects(pieces)] == ["Internet outage", "Internet outage in a region"]
        assert [query.get("entityCode") or query["relatedTo"] for query in asked] == ["XA", "country/XA"]
        now_s = NOW_MS // 1000
        assert {(query["from"], query["until"]) for query in asked} == {(str(now_s - 48 * 3600), str(now_s))}
        [last] = [piece.checkpoint for piece in pieces]
        assert await pulled(ioda.MANIFEST, lent, orjson.loads(orjson.dumps(last)), **said) == [], "nothing is new"


async def test_ioda_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ioda_mapping, "LIMIT", 2)
    every = [one for one in EVENTS["data"] if not one["location"].startswith("geoasn")]

    async def answer(request: web.Request) -> web.Response:
        page, limit = int(request.query["page"]), int(request.query["limit"])
        return events_of(*every[page * limit : (page + 1) * limit])

    async with serving(answer) as url, tools(url) as lent:
        found = objects(await pulled(ioda.MANIFEST, lent, url=url))
    assert found == orjson.loads((FIXTURES / "ioda" / "expected.json").read_bytes())


async def test_ooni_is_asked_for_what_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ooni_mapping, "LIMIT", 4)
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/api/v1/measurements"
        asked.append(dict(request.query))
        rows = [of(number) for number in range(6)]
        if request.query["test_name"] != "web_connectivity":
            return measurements(of(9, probe_cc="XB", test_name="telegram", confirmed=True))
        return measurements(*rows[int(request.query["offset"]) :][:4])

    async with serving(answer) as url, tools(url) as lent:
        said = {
            "url": url,
            "countries": ["XA"],
            "domains": ["news.example"],
            "tests": ["web_connectivity", "telegram"],
        }
        pieces = await pulled(ooni.MANIFEST, lent, **said)
        assert [(query["test_name"], query.get("domain"), query["offset"]) for query in asked] == [
            ("web_connectivity", "news.example", "0"),
            ("web_connectivity", "news.example", "4"),
            ("telegram", None, "0"),
        ]
        assert {(q["probe_cc"], q["since"], q["until"]) for q in asked} == {
            ("XA", "2026-11-15T00:00:00", "2026-11-18T11:06:40")
        }
        [incident] = of_type(pieces, "incident")
        assert incident["name"] == "Blocking of news.example", "what was said of another country counts for none"
        assert incident["extensions"][HANDLING_ID]["affected"] == ["XA"]
        state = orjson.loads(orjson.dumps(pieces[-1].checkpoint))
        assert await pulled(ooni.MANIFEST, lent, state, **said) == [], "nothing is new"


async def test_what_is_much_comes_in_pieces_and_is_remembered_at_the_last() -> None:
    async def answer(_: web.Request) -> web.Response:
        return measurements(*[of(0, confirmed=True, input=f"https://site-{n}.example/") for n in range(400)])

    async with serving(answer) as url, tools(url) as lent:
        pieces = await pulled(ooni.MANIFEST, lent, url=url, countries=["XA"], tests=["web_connectivity"])
    assert len(of_type(pieces, "incident")) == 400
    assert [piece.checkpoint is None for piece in pieces] == [True, True, False]
    assert all(0 < len(piece.body) <= MAX_BODY_BYTES for piece in pieces)
    for piece in pieces:  # what refers to one another comes together
        ids = {one["id"] for one in orjson.loads(piece.body)["objects"]}
        assert all(one["target_ref"] in ids for one in of_type([piece], "relationship"))


@pytest.mark.parametrize("manifest", [ioda.MANIFEST, ooni.MANIFEST], ids=lambda one: one.name)
def test_the_readme_shows_settings_that_are_right(manifest: Any) -> None:
    text = (ROOT / "connectors" / manifest.name / "README.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        [table] = tomllib.loads(block).values()
        assert (table.pop("connector"), table.pop("partner"), table.pop("does")) == (manifest.name,) * 2 + ("pull",)
        manifest.settings.model_validate(table)


def test_settings_that_fetch_nothing_are_an_error() -> None:
    with pytest.raises(ValueError, match="countries"):
        ooni.OoniSettings()
    with pytest.raises(ValueError, match="regions"):
        ioda.IodaSettings(regions=True)
    assert not ooni.MANIFEST.hosts(ooni.OoniSettings(folder=Path("x")))


# --- files --------------------------------------------------------------------------------------------------------

RAW: dict[str, Any] = orjson.loads((FIXTURES / "ooni" / "raw.json").read_bytes())


def lines(first: int, last: int) -> bytes:
    rows = ({**RAW, "report_id": f"report-{n}", "probe_asn": f"AS{64900 + n % 3}"} for n in range(first, last))
    return b"\n".join(map(orjson.dumps, rows)) + b"\n\n"


async def test_files_of_all_forms_are_counted_together(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(0, 2))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines(2, 4)))
    (tmp_path / "c.json").write_bytes(orjson.dumps({**RAW, "report_id": "report-9"}, option=orjson.OPT_INDENT_2))
    (tmp_path / "notes.txt").write_text("no measurement")
    async with tools() as lent:
        assert of_type(await pulled(ooni.MANIFEST, lent, folder=str(tmp_path), min_probes=6), "incident") == []
        [incident] = of_type(await pulled(ooni.MANIFEST, lent, folder=str(tmp_path)), "incident")
        assert incident["name"] == "Blocking of news.example"
        assert await pulled(ooni.MANIFEST, lent, folder=str(tmp_path), countries=["XB"]) == []


async def test_real_measurements_are_read(shared: Path) -> None:
    """Of a test bench of OONI's own, each from one probe: none is enough to be an incident."""
    folder = shared / "data" / "ooni"
    found = {file.name: ooni_mapping.raw(orjson.loads(file.read_bytes())) for file in folder.glob("*.json")}
    findings = {name: one.finding for name, one in found.items() if one}
    assert findings["qa_dnsBlockingNXDOMAIN.json"] == findings["qa_tcpBlockingConnectTimeout.json"] == "anomaly"
    assert findings["qa_successWithHTTPS.json"] == findings["telegram_nourl.json"] == "reached"
    assert "web_connectivity_null.json" not in findings
    async with tools() as lent:
        assert await pulled(ooni.MANIFEST, lent, folder=str(folder)) == []


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.jsonl", b"{no json\n", "not-json"),
        ("a.jsonl", b"\xff\xfe\n", "not-json"),
        ("a.jsonl", b"[" * 100 + b"]" * 100 + b"\n", "too-deep"),
        ("a.jsonl.gz", gzip.compress(lines(0, 9))[:-20], "file-damaged"),
        ("a.jsonl.gz", b"no gzip", "file-damaged"),
        ("a.json", b" " * (1 << 20), "file-too-large"),
        ("a.jsonl", b"x" * (1 << 20), "file-too-large"),
        ("a.jsonl.gz", gzip.compress(b"\n" * (1 << 22)), "file-too-large"),
    ],
)
async def test_files_that_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, code: str
) -> None:
    monkeypatch.setattr(ooni_client, "MAX_LINE_BYTES", 1 << 18)
    monkeypatch.setattr(ooni_client, "MAX_FILE_BYTES", 1 << 21)
    volunteers = "20261101T052225Z_webconnectivity_XA_64500_n1_ijxHiuPWG2cTnlOp"
    (tmp_path / name.replace("a", volunteers, 1)).write_bytes(content)
    async with tools() as lent:
        with pytest.raises(PartnerFailed) as failed:
            await pulled(ooni.MANIFEST, lent, folder=str(tmp_path))
    assert failed.value.code == code and failed.value.where.startswith(str(tmp_path))
    assert not any(part in str(failed.value) for part in volunteers.split("_"))


async def test_more_measurements_than_can_be_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ooni_client, "LINES_AT_ONCE", 3)
    (tmp_path / "a.jsonl").write_bytes(lines(0, 20))
    async with tools() as lent:
        assert len(of_type(await pulled(ooni.MANIFEST, lent, folder=str(tmp_path)), "incident")) == 1
        monkeypatch.setattr(ooni_mapping, "MAX_MEASUREMENTS", 19)
        with pytest.raises(PartnerFailed) as failed:
            await pulled(ooni.MANIFEST, lent, folder=str(tmp_path))
    assert failed.value.code == "too-many"


async def test_more_events_than_can_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: web.Request) -> web.Response:
        return events_of(*EVENTS["data"])

    for bound in ("MAX_EVENTS", "MAX_OF_A_PLACE"):
        async with serving(answer) as url, tools(url) as lent:
            with monkeypatch.context() as patched:
                patched.setattr(ioda_mapping, bound, 0)
                patched.setitem(
                    EVENTS, "data", [*EVENTS["data"], {**EVENTS["data"][0], "start": 1794850000, "duration": 60}]
                )
                with pytest.raises(PartnerFailed) as failed:
                    await pulled(ioda.MANIFEST, lent, url=url)
        assert failed.value.code == "too-many"


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    async with tools() as lent:
        with pytest.raises(PartnerFailed) as failed:
            await pulled(ooni.MANIFEST, lent, folder=str(tmp_path / "none"))
    assert failed.value.code == "folder"


# --- liars --------------------------------------------------------------------------------------------------------


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b'{"a":1},' * 8000)


async def _slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(100):
        await response.write(b" ")
        await asyncio.sleep(0.2)
    return response


async def _silent(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(10)
    return web.Response()


def _body(content: bytes, media_type: str = "application/json", status: int = 200, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content, status=status, headers={"Content-Type": media_type, **headers})

    return answer


def _to(location: str) -> Handler:
    return _body(b"", status=302, Location=location)


GZIP = {"Content-Encoding": "gzip"}
BOMB = gzip.compress(b" " * 50_000_000)
LIARS: tuple[tuple[Handler, str], ...] = (
    (_body(b"<html>", "text/html"), "not-json"),
    (_body(b"{", "application/json"), "not-json"),
    (_body(b'{"a":1,"a":2}'), "duplicate-key"),
    (_body(b"[" * 2000 + b"]" * 2000), "too-deep"),
    (_body(b"[]"), "answer-unexpected"),
    (_body(b'{"data":[7],"results":[7]}'), "answer-unexpected"),
    (_endless, "answer-too-large"),
    (_slow, "slow"),
    (_silent, "slow"),
    (_body(b"x" * 50_000_000), "answer-too-large"),
    (_body(BOMB, **GZIP), "answer-too-large"),
    (_body(gzip.compress(b'{"data":[]}')[:-9], **GZIP), "cut-off"),
    (_body(b"no gzip", **GZIP), "not-gzip"),
    (_body(b"{}", **{"Content-Encoding": "br"}), "encoding-unknown"),
    (_to("http://10.0.0.1/secret-path"), "redirect-elsewhere"),
    (_to("/again?token=secret-token"), "redirects"),
    (_to("http://[broken"), "address-invalid"),
    (_body(b"", status=404), "status-404"),
    (_body(b"", status=503, **{"Retry-After": "77"}), "status-503"),
)
SETTINGS: tuple[tuple[Any, dict[str, Any]], ...] = ((ioda.MANIFEST, {}), (ooni.MANIFEST, {"countries": ["XA"]}))


@pytest.mark.parametrize("manifest_and_settings", SETTINGS, ids=lambda pair: pair[0].name)
@pytest.mark.parametrize(("handler", "code"), LIARS, ids=[f"{n}-{code}" for n, (_, code) in enumerate(LIARS)])
async def test_a_server_that_lies_is_a_failure_in_bounded_time(
    manifest_and_settings: tuple[Any, dict[str, Any]], handler: Handler, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ioda_client, "MAX_ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr(ooni_client, "MAX_ANSWER_BYTES", 1 << 20)
    manifest, said = manifest_and_settings
    began = time.monotonic()
    async with serving(handler) as url, tools(url) as lent:
        with pytest.raises(PartnerFailed) as failed:
            await pulled(manifest, lent, url=url + "secret-path/", **said)
    assert failed.value.code == code
    assert time.monotonic() - began < SHORT.whole_seconds + 3
    assert "secret" not in str(failed.value)
    assert failed.value.after_seconds == (77 if code == "status-503" else 0)


@pytest.mark.parametrize(("manifest", "said"), SETTINGS, ids=["ioda", "ooni"])
async def test_pages_without_end_are_no_answer(
    manifest: Any, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ioda_mapping, "LIMIT", 1)
    monkeypatch.setattr(ooni_mapping, "LIMIT", 1)
    monkeypatch.setattr(ioda_client, "MAX_PAGES", 4)
    monkeypatch.setattr(ooni_client, "MAX_PAGES", 4)
    count = 0

    async def the_same(_: web.Request) -> web.Response:
        return web.json_response({"data": EVENTS["data"][:1], "results": [LISTED]})

    async def another(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        event = {**EVENTS["data"][0], "score": count}
        return web.json_response({"data": [event], "results": [of(count)]})

    for handler, code in ((the_same, "pages-loop"), (another, "too-many")):
        async with serving(handler) as url, tools(url) as lent:
            with pytest.raises(PartnerFailed) as failed:
                await pulled(manifest, lent, url=url, **said)
        assert failed.value.code == code
    assert count == 4


@pytest.mark.parametrize(("manifest", "said"), SETTINGS, ids=["ioda", "ooni"])
async def test_a_clock_that_is_ahead_is_a_failure(manifest: Any, said: dict[str, Any]) -> None:
    async def answer(_: web.Request) -> web.Response:
        event = {**EVENTS["data"][0], "start": NOW_MS // 1000 + 10 * 86_400}
        return web.json_response(
            {"data": [event], "results": [of(1, measurement_start_time="2027-01-01T00:00:00Z")]}
        )

    async with serving(answer) as url, tools(url) as lent:
        with pytest.raises(PartnerFailed) as failed:
            await pulled(manifest, lent, url=url, **said)
    assert failed.value.code == "clock-ahead"


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "1", "-subj", "/CN=x"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize(("manifest", "said"), SETTINGS, ids=["ioda", "ooni"])
async def test_a_certificate_of_nobody_is_a_failure(
    manifest: Any, said: dict[str, Any], self_signed: ssl.SSLContext
) -> None:
    async with serving(_body(b"{}"), ssl=self_signed) as url, tools(url) as lent:
        with pytest.raises(PartnerFailed) as failed:
            await pulled(manifest, lent, url=url, **said)
    assert failed.value.code == "tls-invalid"


@pytest.mark.parametrize(("manifest", "said"), SETTINGS, ids=["ioda", "ooni"])
async def test_a_name_of_this_machine_is_a_failure(manifest: Any, said: dict[str, Any]) -> None:
    async with serving(_body(b"{}")) as address:
        url = address.replace("127.0.0.1", "localhost")
        async with tools(url) as lent:
            with pytest.raises(PartnerFailed) as failed:
                await pulled(manifest, lent, url=url, **said)
    assert failed.value.code == "address-private"
