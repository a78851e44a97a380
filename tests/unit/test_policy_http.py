"""What staff and what everybody can ask of the policy over HTTP."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.hub import Hub
from services.migrate import upgrade
from services.policy_page import version_page, versions_page
from services.published import Version, is_signed
from services.run import open_hub
from services.settings import Settings
from services.store import Store
from services.web import application
from tests.fakes import bearer, token_for

ROOT = Path(__file__).resolve().parents[2]
Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    shutil.copytree(ROOT / "deploy" / "agreements", tmp_path / "agreements")
    settings = Settings(data=tmp_path, agreements=tmp_path / "agreements", policy=tmp_path / "policy.toml")
    store = Store(settings.database_url)
    upgrade(store.engine)
    yield open_hub(settings, store)
    store.close()


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(hub, lambda: None))) as made:
        yield made


async def as_(hub: Hub, name: str, scope: Any = "staff") -> dict[str, str]:
    return bearer(await token_for(hub, name, scope))


def edit(hub: Hub, partner: str, old: str, new: str) -> None:
    file = hub.settings.agreements / f"{partner}.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


PRIVATE = [
    ("GET", "/api/v1/policy"),
    ("POST", "/api/v1/policy/confirmations"),
    ("POST", "/api/v1/staff/tokens"),
]


@pytest.mark.parametrize(("method", "path"), PRIVATE)
async def test_it_is_for_staff_alone(hub: Hub, client: Client, method: str, path: str) -> None:
    assert (await client.request(method, path)).status == 401
    theirs = await client.request(method, path, headers=await as_(hub, "meadow", "partner"), data=b"{}")
    nothing = await client.request(method, path + "x", headers=await as_(hub, "meadow", "partner"), data=b"{}")
    assert theirs.status == nothing.status == 404
    assert await theirs.json() == await nothing.json()


async def test_what_waits_is_shown_and_confirmed(hub: Hub, client: Client) -> None:
    staff = await as_(hub, "staff")
    found = await (await client.get("/api/v1/policy", headers=staff)).json()
    assert (found["version"], found["hash"]) == (1, hub.directory.policy_hash)
    assert (found["pending"], found["problem"], found["confirmations"]) == (None, None, 1)

    edit(hub, "meadow", 'tlp = "green"', 'tlp = "amber"')
    edit(hub, "horizon", "max_age_days = 36500", "max_age_days = 36501")
    pending = (await (await client.get("/api/v1/policy", headers=staff)).json())["pending"]
    assert [one["name"] for one in pending["names"]] == ["horizon", "meadow"]
    what = "is cleared up to TLP:AMBER, was up to GREEN"
    assert pending["names"][1]["changes"] == [{"what": what, "widens": True}]

    given = {"hash": pending["hash"], "names": ["meadow"]}
    answer = await client.post("/api/v1/policy/confirmations", json=given, headers=staff)
    after = await answer.json()
    assert (answer.status, after["version"]) == (200, 2)
    assert [one["name"] for one in after["pending"]["names"]] == ["horizon"]
    assert (hub.directory.version, hub.policy_waits) == (2, ("horizon",))
    again = await client.post("/api/v1/policy/confirmations", json=given, headers=staff)
    assert (again.status, (await again.json())["code"]) == (409, "nothing-waits")


BAD_BODIES: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"[]", 400),
    (b"{", 400),
    (b"[" * 100_000, 413),
    (b"[" * 100, 400),
    (b'{"hash": "x", "names": ["a"]}', 400),
    (b'{"hash": "%s", "names": []}' % (b"0" * 64), 400),
    (b'{"hash": "%s", "names": ["a"], "more": 1}' % (b"0" * 64), 400),
    (b'{"hash": "%s", "names": ["a"]}' % (b"0" * 64), 409),
]


@pytest.mark.parametrize(("body", "status"), BAD_BODIES)
async def test_a_bad_confirmation_changes_nothing(hub: Hub, client: Client, body: bytes, status: int) -> None:
    edit(hub, "meadow", 'tlp = "green"', 'tlp = "amber"')
    answer = await client.post("/api/v1/policy/confirmations", data=body, headers=await as_(hub, "staff"))
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    assert hub.directory.version == 1


async def test_broken_files_are_told_and_nothing_can_be_confirmed(hub: Hub, client: Client) -> None:
    staff = await as_(hub, "staff")
    edit(hub, "meadow", 'tlp = "green"', 'tlp = "red"')  # which goes to nobody who passes it on
    found = await (await client.get("/api/v1/policy", headers=staff)).json()
    assert found["problem"]["where"].endswith("meadow.toml:14")
    assert found["pending"] is None
    given = {"hash": hub.directory.policy_hash, "names": ["meadow"]}
    assert (await client.post("/api/v1/policy/confirmations", json=given, headers=staff)).status == 409


async def test_staff_have_tokens_of_their_own(hub: Hub, client: Client) -> None:
    operator = await as_(hub, "staff")
    made = await client.post("/api/v1/staff/tokens", json={"name": "amina"}, headers=operator)
    token = (await made.json())["token"]
    assert (made.status, (await client.get("/api/v1/status", headers=bearer(token))).status) == (201, 200)
    minted = await client.post("/api/v1/staff/tokens", json={"name": "bo"}, headers=bearer(token))
    assert minted.status == 403
    await client.post("/api/v1/staff/tokens", json={"name": "amina"}, headers=operator)
    fresh = TestClient(TestServer(application(hub, lambda: None)))  # which remembers no token
    async with fresh:
        assert (await fresh.get("/api/v1/status", headers=bearer(token))).status == 401


@pytest.mark.parametrize("name", ["staff", "", "A", "a b", "x" * 64, None, 7, ["a"]])
async def test_a_name_of_staff_is_a_name(hub: Hub, client: Client, name: Any) -> None:
    answer = await client.post("/api/v1/staff/tokens", json={"name": name}, headers=await as_(hub, "staff"))
    assert (answer.status, (await answer.json())["code"]) == (400, "name-invalid")


# -- for everybody ----------------------------------------------------------------------------------------


async def test_versions_are_public_and_signed_and_name_nobody(hub: Hub, client: Client) -> None:
    answer = await client.get("/transparency/policy")
    (row,) = await answer.json()
    assert row.keys() == {"version", "hash", "since", "signature", "key"}
    for which in (row["version"], row["hash"]):
        document = await (await client.get(f"/transparency/policy/{which}")).read()
        assert is_signed(document, row["signature"], row["key"])
        said = json.loads(document)
        assert (said["agreements"], said["policy"]["statistics_k"]) == (len(hub.directory.agreements), 5)
        for agreement in hub.directory.agreements.values():
            assert agreement.id.encode() not in document and agreement.partner.name.encode() not in document
    for unknown in ("2", "0", "9" * 40, "x", "%00", "-1", "f" * 64, "²"):
        assert (await client.get(f"/transparency/policy/{unknown}")).status == 404


@pytest.mark.parametrize("path", ["/transparency/policy", "/transparency/policy/1"])
async def test_what_did_not_change_is_not_sent_again(client: Client, path: str) -> None:
    first = await client.get(path)
    tag = first.headers["ETag"]
    assert "public" in first.headers["Cache-Control"] and first.headers["Vary"] == "Accept"
    again = await client.get(path, headers={"If-None-Match": tag})
    assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", tag)
    page = await client.get(path, headers={"If-None-Match": tag, "Accept": "text/html"})
    assert page.status == 200


ACCEPT = [
    ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "text/html"),
    ("application/json", "application/json"),
    ("*/*", "application/json"),
    ("application/json, text/html", "application/json"),
    ("TEXT/HTML;q=0.5", "text/html"),
]


@pytest.mark.parametrize(("accept", "content_type"), ACCEPT)
async def test_a_browser_gets_a_page(client: Client, accept: str, content_type: str) -> None:
    answer = await client.get("/transparency/policy/1", headers={"Accept": accept})
    assert answer.content_type == content_type
    if content_type == "text/html":
        page = await answer.text()
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "script" not in page and "http" not in page.replace("https://", "http").partition("<body>")[2]


class _Outline(HTMLParser):
    """What a screen reader goes by; fails where elements are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


EVIL = "<script>alert('x')</script>&\u202e"


def test_pages_are_whole_and_quote_what_they_show() -> None:
    policy = {"pacts": [["XA", "XB"]], "markings": {EVIL: EVIL}, "state_capable": [EVIL], "statistics_k": 5}
    document = {"previous": "", "agreements": 2, "policy": policy, "rules": {"F01": EVIL}}
    version = Version(1, "aa", 1_795_000_000_000, json.dumps(document).encode(), EVIL, EVIL)
    for page in (version_page(version), versions_page([version])):
        outline = _Outline()
        outline.feed(page)
        assert outline.open == [] and not outline.named("script")
        assert outline.named("html")[0]["lang"] == "en"
        assert len(outline.named("h1")) == 1
        assert len(outline.named("caption")) == len(outline.named("table")) > 0
        assert all(attributes["scope"] in ("row", "col") for attributes in outline.named("th"))
        assert "<script" not in page
