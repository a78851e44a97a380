"""Meta's own client of ThreatExchange (package `threatexchange`) against the hub, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import requests
from aiohttp.test_utils import TestServer
from threatexchange.exchanges.clients.fb_threatexchange.api import ThreatExchangeAPI

from services.hub import Hub
from services.share.threatexchange_http import group_number
from services.web import application
from tests.fakes import agreement, token_for
from tests.unit.share.world import Feeder, cleared, copy, domain, feeds_hub, recipient, withdrawn
from tests.unit.share.world import body as stix_body


class Served:
    """A hub behind a real socket; its clients block, and run in threads."""

    def __init__(self, hub: Hub, url: str) -> None:
        self.hub = hub
        self.url = f"{url}/api/v1/threatexchange/v1"
        self.feeder = Feeder(hub)

    async def api(self, name: str) -> ThreatExchangeAPI:
        return ThreatExchangeAPI(f"12345678|{await token_for(self.hub, name)}", endpoint_override=self.url)

    async def updates(self, name: str, **asked: Any) -> list[dict[str, Any]]:
        api = await self.api(name)

        def fetch() -> list[dict[str, Any]]:
            [group] = api.get_threat_privacy_groups_member()
            return [update for page in api.get_threat_updates(group.id, **asked) for update in page]

        return await asyncio.to_thread(fetch)


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    hub = feeds_hub(tmp_path, [recipient("alpha"), recipient("beta"), agreement("giver")], url)
    async with TestServer(application(hub, lambda: None)) as server:
        yield Served(hub, str(server.make_url("")).rstrip("/"))
    hub.store.close()


async def test_a_feed_page_by_page_with_its_deletions(served: Served) -> None:
    names = [f"n{i}.example" for i in range(7)]
    await served.feeder.put(*(domain(name, [0], tlp="amber+strict", confidence=80) for name in names))
    await served.feeder.put(cleared("m", 1, copy([0], stix_body("m", type_="malware")), type_="malware"))
    await served.feeder.put(domain("hidden.example", [1]))
    first = await served.updates("alpha", page_size=2)
    assert sorted(u["indicator"] for u in first) == names
    assert {(u["type"], u["should_delete"], u["status"]) for u in first} == {("DOMAIN", False, "MALICIOUS")}
    assert first[0].keys() == {
        *("id", "indicator", "type", "creation_time", "last_updated", "should_delete", "tags", "status"),
        "applications_with_opinions",
    }
    times = [u["last_updated"] for u in first]
    assert times == sorted(times)
    await served.feeder.put(withdrawn(names[3], [0]))
    after = await served.updates("alpha", page_size=3, fields=["indicator", "should_delete", "descriptors{id}"])
    [gone] = [u for u in after if u["should_delete"]]
    assert gone["id"] == next(u["id"] for u in first if u["indicator"] == names[3])
    assert gone["indicator"] == "" and "descriptors" not in gone
    assert after[-1] == gone and len(after) == 7
    assert after[0]["descriptors"]["data"][0]["share_level"] == "RED"


async def test_from_a_time_on_and_by_type(served: Served) -> None:
    await served.feeder.put(domain("a.example", [0]))
    [found] = await served.updates("alpha")
    at = found["last_updated"]
    assert [u["indicator"] for u in await served.updates("alpha", start_time=at)] == ["a.example"]
    assert await served.updates("alpha", start_time=at + 1) == []
    assert await served.updates("alpha", stop_time=at) == []
    assert len(await served.updates("alpha", stop_time=at + 1, types=["DOMAIN"])) == 1
    assert await served.updates("alpha", types=["HASH_PDQ"]) == []
    await served.feeder.put(withdrawn("a.example", [0]))
    assert len(await served.updates("alpha", types=["HASH_PDQ"])) == 1


async def test_whoever_may_not_see_it_sees_nothing(served: Served) -> None:
    await served.feeder.put(domain("a.example", [0]))
    group = group_number(served.hub.secret, "alpha")
    beta = await token_for(served.hub, "beta")
    staff = await token_for(served.hub, "someone", "staff")

    def status(token: str, path: str = f"{group}/threat_updates/", **params: str) -> int:
        answer = requests.get(f"{served.url}/{path}", params={"access_token": token, **params}, timeout=10)
        assert "a.example" not in answer.text
        return answer.status_code

    cases = [(beta, 404), (staff, 404), ("wrong", 401), ("", 401), ("12345678|\x0d\x0aX-Y: z", 401), ("é", 401)]
    for token, expected in cases:
        assert await asyncio.to_thread(status, token) == expected, token
    alpha = await token_for(served.hub, "alpha")
    assert await asyncio.to_thread(status, alpha, "1/threat_updates/") == 404
    for name in ("start_time", "stop_time", "limit", "after"):
        assert await asyncio.to_thread(lambda name=name: status(alpha, **{name: "x"})) == 400
    assert await served.updates("beta") == []


async def test_the_next_page_keeps_its_tls(served: Served) -> None:
    await served.feeder.put(*(domain(f"n{i}.example", [0]) for i in range(3)))
    token = await token_for(served.hub, "alpha")
    url = f"{served.url}/{group_number(served.hub.secret, 'alpha')}/threat_updates"

    def ask() -> dict[str, Any]:
        headers = {"X-Forwarded-Proto": "https", "Host": "hub.example", "Authorization": f"Bearer {token}"}
        found: dict[str, Any] = requests.get(url, params={"limit": "2"}, headers=headers, timeout=10).json()
        return found

    assert (await asyncio.to_thread(ask))["paging"]["next"].startswith("https://hub.example/api/v1/")
