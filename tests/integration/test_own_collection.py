"""What a source reads back of what it sent, what erases it, and what deleting it does; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from aiohttp.test_utils import TestClient, TestServer

from schemas.handling import HANDLING_ID
from schemas.outgoing import outgoing_id
from services.accept import contributions
from services.accept.agent import Relay
from services.accept.door import Door
from services.share import taxii
from services.store import Store
from services.tables import aliases, contribution_names, metadata, outbox, partners
from services.tables import contributions as table
from services.web import application
from tests.fakes import NOW_MS, FakeStreams, bearer, make_hub, rows, source_agreement, token_for
from tests.integration.test_taking_back import SUBMIT, World, domain
from tests.integration.test_withdrawals_at_the_door import event, host, id_of, link, over, thing

MEDIA_TYPE = {"Content-Type": taxii.MEDIA_TYPE}
DAY_US = 86_400_000_000
REFERENCE = "consent of Maja, 17 March"


class Own(World):
    """Sources with a collection each."""

    def root(self, name: str = "alpha") -> str:
        return f"/taxii2/api/collections/{taxii.collection_id(self.hub.secret, name, 'contributions')}/"

    async def ask(
        self, method: str, path: str, by: str = "alpha", status: int = 200, data: Any = None, **params: str
    ) -> Any:
        headers = self.tokens[by] | (MEDIA_TYPE if data is not None else {})
        body = orjson.dumps(data) if data is not None and not isinstance(data, bytes) else data
        response = await self.client.request(method, path, params=params, data=body, headers=headers)
        content = await response.read()
        assert response.status == status, content
        return orjson.loads(content) if content else None

    async def add(self, *objects: Any, by: str = "alpha", status: int = 202) -> Any:
        return await self.ask("POST", self.root(by) + "objects/", by, status, {"objects": list(objects)})

    async def read(self, what: str = "objects/", by: str = "alpha", status: int = 200, **params: str) -> Any:
        return await self.ask("GET", self.root(by) + what, by, status, **params)

    async def objects(self, by: str = "alpha", **params: str) -> list[Any]:
        found: list[Any] = (await self.read(by=by, **params)).get("objects", [])
        return found

    async def held(self, by: str = "alpha") -> list[tuple[str, str]]:
        """All versions that are there."""
        found = await self.read("manifest/", by, **{"match[version]": "all"})
        return [(each["id"], each["version"][:10]) for each in found.get("objects", [])]

    async def delete(self, id_: str, status: int = 200, by: str = "alpha", **params: str) -> None:
        await self.ask("DELETE", f"{self.root(by)}objects/{id_}/", by, status, **params)

    async def leftovers(self) -> tuple[int, int]:
        """Rows of both tables."""
        return len(await rows(self.hub, table)), len(await rows(self.hub, contribution_names))


def at(day: int) -> str:
    return f"2026-01-{day:02}"


@pytest.fixture(params=["sqlite", "postgresql"])
async def own(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Own]:
    now = [NOW_MS]
    sources = [source_agreement("alpha"), source_agreement("beta"), source_agreement("feeds", snapshot=True)]
    hub = make_hub(tmp_path, sources, clock=lambda: now[0])
    if request.param == "postgresql":
        hub.store.close()
        store = Store(str(request.getfixturevalue("postgres_url")))
        metadata.create_all(store.engine)
        hub = replace(hub, store=store)
    with hub.store.engine.begin() as connection:
        connection.execute(partners.insert(), [{"bit": b, "id": n} for n, b in hub.directory.bit_of.items()])
    tokens = {one.id: bearer(await token_for(hub, one.id)) for one in sources}
    tokens["staff"] = bearer(await token_for(hub, "staff", "staff"))
    async with TestClient(TestServer(application(hub, lambda: None))) as client:
        yield Own(hub, client, tokens, now)
    hub.store.close()


# --- reading back -------------------------------------------------------------------------------------------------


async def test_what_is_posted_is_read_back_as_it_was(own: Own) -> None:
    handling = {HANDLING_ID: {"extension_type": "property-extension", "category": "spyware"}}
    rich = host(1, "a.example", name="n", labels=["tlp:amber", "x"], extensions=handling, x_own={"a": [1, {}]})
    posted = [rich, thing("malware", 1, name="m", is_family=True), link(), host(2, "b.example", "c.example")]
    status = await own.add(*posted, rich | {"labels": []} | {"id": id_of("indicator", 3)})
    assert (status["status"], status["total_count"], status["success_count"]) == ("complete", 5, 5)
    without = {k: v for k, v in rich.items() if k != "labels"} | {"id": id_of("indicator", 3)}
    assert await own.objects() == [*posted, without]
    assert await own.objects("beta") == []
    # and it went through the door
    assert await own.live() == {"a.example", "malware", "relationship", "b.example", "c.example"}


async def test_what_the_hub_makes_nothing_of_is_there_too(own: Own) -> None:
    marking = {
        "type": "marking-definition", "spec_version": "2.1", "id": id_of("marking-definition", 1),
        "created": at(1) + "T00:00:00.000Z", "definition_type": "statement", "definition": {"statement": "s"},
    }  # fmt: skip
    nothing = host(1, "x") | {"pattern": "[email-addr:value = 'nothing']"}
    waits = link()
    status = await own.add(marking, nothing, waits)
    assert [each["id"] for each in status["successes"]] == [marking["id"], nothing["id"], waits["id"]]
    assert "it waits for" in status["successes"][2]["message"]
    assert await own.objects() == [marking, nothing, waits]
    assert (await own.read(f"objects/{marking['id']}/versions/"))["versions"] == [marking["created"]]


async def test_stix_that_comes_as_a_submission_is_there_and_csv_is_not(own: Own) -> None:
    await own.send(host(1, "a.example"))
    await own.post(SUBMIT, b"kind,value\ndomain,b.example\n")
    await own.post(SUBMIT, event())
    assert await own.held() == [(id_of("indicator", 1), at(1))]


async def test_an_object_of_stix_2_0_is_there_in_2_1(own: Own) -> None:
    old = {k: v for k, v in host(1, "a.example", labels=["malicious-activity"]).items()
           if k not in ("spec_version", "pattern_type")}  # fmt: skip
    await own.add(old)
    [found] = await own.objects()
    assert (found["spec_version"], found["pattern_type"]) == ("2.1", "stix")


# --- versions -----------------------------------------------------------------------------------------------------


async def test_all_versions_are_kept_and_asked_for(own: Own) -> None:
    first, second, third = (host(1, "a.example", at=day, description=str(day)) for day in (1, 2, 3))
    other = host(2, "b.example")
    for posted in (second, first, other, third):  # not in their order
        assert (await own.add(posted))["success_count"] == 1
    id_, modified = first["id"], [each["modified"] for each in (first, second, third)]
    assert await own.objects() == [other, third]
    for version, found in [
        ("first", [first, other]),
        ("last", [other, third]),
        ("all", [second, first, other, third]),
        ("first,last", [first, other, third]),
        (modified[1], [second]),
        ("2026-01-02T00:00:00.000000Z,2026-01-03T00:00:00Z", [second, third]),
        (f"first,{modified[2]}", [first, other, third]),
        ("2026-01-02T00:00:00.0001Z", []),
    ]:
        assert await own.objects(**{"match[version]": version}) == found, version
        manifest = (await own.read("manifest/", **{"match[version]": version})).get("objects", [])
        assert [each["version"] for each in manifest] == [each["modified"] for each in found]
        one = (await own.read(f"objects/{id_}/", **{"match[version]": version})).get("objects", [])
        assert one == [each for each in found if each["id"] == id_]
    assert (await own.read(f"objects/{id_}/versions/"))["versions"] == [modified[1], modified[0], modified[2]]
    assert await own.objects(**{"match[id]": id_, "match[type]": "indicator"}) == [third]
    assert await own.objects(**{"match[type]": "malware"}) == []
    assert await own.objects(**{"match[spec_version]": "2.0"}) == []


async def test_a_version_is_exact_to_the_microsecond(own: Own) -> None:
    fine = host(1, "a.example") | {"modified": "2026-01-05T00:00:00.123456Z"}
    await own.add(fine)
    assert await own.objects(**{"match[version]": fine["modified"]}) == [fine]
    assert await own.objects(**{"match[version]": "2026-01-05T00:00:00.123Z"}) == []
    assert (await own.read(f"objects/{fine['id']}/versions/"))["versions"] == [fine["modified"]]


async def test_what_has_no_version_is_there_once(own: Own) -> None:
    name = {"type": "domain-name", "spec_version": "2.1", "value": "a.example",
            "id": "domain-name--00000000-0000-5000-8000-000000000001"}  # fmt: skip
    for _ in range(2):
        assert (await own.add(name))["success_count"] == 1
    assert await own.objects() == [name]
    [record] = (await own.read("manifest/"))["objects"]
    assert record["version"] == record["date_added"]
    assert await own.objects(**{"match[version]": record["version"]}) == [name]
    await own.delete(name["id"], **{"match[version]": record["version"]})
    assert await own.leftovers() == (0, 0)


async def test_a_duplicate_is_a_success_and_comes_once(own: Own) -> None:
    one = host(1, "a.example")
    for posted in ([one], [one, one], [one | {"description": "another text of the same version"}]):
        status = await own.add(*posted)
        assert (status["success_count"], status["failure_count"]) == (len(posted), 0)
    assert await own.objects(**{"match[version]": "all"}) == [one]


async def test_versions_are_bounded(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contributions, "MAX_VERSIONS", 3)
    await own.add(*(host(1, "a.example", at=day) for day in range(1, 6)))
    await own.add(host(1, "a.example", at=6), host(2, "b.example"))
    assert await own.held() == [(id_of("indicator", 1), at(d)) for d in (4, 5, 6)] + [
        (id_of("indicator", 2), at(1))
    ]
    assert (await own.leftovers())[1] == 4


async def test_what_is_too_old_or_too_much_is_forgotten(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    await own.add(host(1, "a.example"))
    policy = own.hub.directory.policy.model_copy(update={"retention_days": 30})
    own.hub.directory = replace(own.hub.directory, policy=policy)
    own.now[0] += 31 * DAY_US // 1_000
    await own.add(host(2, "b.example"), host(3, "c.example"))
    relay = Relay(own.hub, FakeStreams())
    await relay.start()
    for _ in range(500):
        await asyncio.sleep(0.02)
        if len(await own.held()) == 2:
            break
    await relay.stop()
    assert [id_ for id_, _ in await own.held()] == [id_of("indicator", 2), id_of("indicator", 3)]
    monkeypatch.setattr(contributions, "MAX_CONTRIBUTIONS", 1)
    assert await own.hub.store.write(lambda c: contributions.forget(c, "alpha", 0, 10)) == 1
    assert [id_ for id_, _ in await own.held()] == [id_of("indicator", 3)]
    assert await own.leftovers() == (1, 1)


# --- pages --------------------------------------------------------------------------------------------------------


async def test_pages_under_a_writer_neither_skip_nor_repeat(own: Own) -> None:
    seen, writing = list[str](), True

    async def write() -> None:
        nonlocal writing
        for turn in range(25):
            await own.add(*(host(turn * 10 + i, f"h{turn}-{i}.example") for i in range(1 + turn % 4)))
        writing = False

    async def follow() -> None:
        params: dict[str, str] = {"limit": "3"}
        while True:
            last_round = not writing
            page = await own.read(**params)
            seen.extend(each["id"] for each in page.get("objects", []))
            if page.get("more"):
                params["next"] = page["next"]
            elif last_round:
                return

    await asyncio.gather(write(), follow())
    # where there was no more, the same `next` was asked again: what follows it comes anew
    assert list(dict.fromkeys(seen)) == [each["id"] for each in await own.objects()]
    for what in ("manifest/", "objects/"):
        params, found = {"limit": "7"}, list[str]()
        while True:
            page = await own.read(what, **params)
            found += [each["id"] for each in page["objects"]]
            if not page["more"]:
                break
            params["next"] = page["next"]
        assert found == [each["id"] for each in await own.objects()]


async def test_a_next_is_of_its_collection_and_partner(own: Own) -> None:
    for by in ("alpha", "beta"):
        await own.add(host(1, "a.example"), host(2, "b.example"), by=by)
    of_alpha = (await own.read(limit="1"))["next"]
    await own.read(status=200, next=of_alpha)
    await own.read(by="beta", status=400, next=of_alpha)
    feed = f"/taxii2/api/collections/{taxii.collection_id(own.hub.secret, 'alpha')}/objects/"
    await own.ask("GET", feed, status=400, next=of_alpha)


# --- status -------------------------------------------------------------------------------------------------------


async def test_each_object_is_told_of_by_itself_then_and_later(own: Own) -> None:
    good, bad = host(1, "a.example"), host(2, "b.example") | {"pattern": "[nonsense"}
    status = await own.add(good, bad, {"type": "indicator"}, 7, host(3, "c.example") | {"id": "x" * 400})
    assert (status["total_count"], status["success_count"], status["failure_count"]) == (5, 1, 4)
    assert status["pending_count"] == 0 and "pendings" not in status
    assert status["successes"] == [{"id": good["id"], "version": good["modified"]}]
    assert [each["id"] for each in status["failures"]][:3] == [bad["id"], "/objects/2", "/objects/3"]
    assert all(each["message"] and each["version"] for each in status["failures"])
    assert len(status["failures"][3]["id"]) <= 300
    assert await own.objects() == [good]
    assert await own.ask("GET", f"/taxii2/api/status/{status['id']}/") == status
    assert await own.ask("GET", f"/taxii2/api/status/{status['id']}") == status
    await own.ask("GET", f"/taxii2/api/status/{status['id']}/", "beta", 404)
    await own.ask("GET", f"/taxii2/api/status/{await own.send(good)}/", status=404)
    document = await own.status(status["id"])
    assert (document["taken"], document["refused"]) == (1, 4)


async def test_an_envelope_of_which_nothing_can_be_taken_is_answered_all_the_same(own: Own) -> None:
    status = await own.add({"type": "indicator"})
    assert (status["success_count"], status["failure_count"], "successes" in status) == (0, 1, False)


# --- what erases it -----------------------------------------------------------------------------------------------


async def test_a_withdrawal_erases_what_it_names(own: Own) -> None:
    consented = await own.send(host(1, "a.example"), consent=REFERENCE)
    submitted = await own.send(host(2, "b.example"), host(2, "b.example", at=2))
    await own.send(host(3, "c.example"), host(3, "c.example", at=2), host(4, "c.example", "d.example"))
    await own.send(host(5, "e.example"), host(5, "f.example", at=2))
    await own.send(host(6, "g.example"))
    await own.send(host(1, "a.example"), by="beta")
    assert consented != submitted and len(await own.held()) == 9
    await own.withdraw(why="consent", consents=[REFERENCE])
    await own.withdraw(submissions=[submitted])
    await own.decide("c.example")
    await own.withdraw(items=[outgoing_id("indicator", domain("c.example"))])
    await own.withdraw(ids=[id_of("indicator", 5)])
    assert await own.held() == [(id_of("indicator", 6), at(1))]
    assert await own.held("beta") == [(id_of("indicator", 1), at(1))]
    assert await own.leftovers() == (2, 2)


async def test_what_waited_is_erased_by_what_it_became(own: Own) -> None:
    await own.send(link())
    assert await own.leftovers() == (1, 0)
    submission = await own.send(host(1, "a.example"), thing("malware", 1, name="m", is_family=True))
    assert await own.leftovers() == (3, 3)
    [item] = [key for (key, _), known in (await own.known()).items() if known.type == "relationship"]
    [row] = [row for row in await rows(own.hub, table) if row.type == "relationship"]
    assert row.names == item * 2
    await own.withdraw(submissions=[submission])
    assert [id_ for id_, _ in await own.held()] == [id_of("relationship", 1)]


async def test_what_still_waits_is_erased(own: Own) -> None:
    waits = await own.send(link(), link(id=id_of("relationship", 2), relationship_type="related-to"))
    await own.withdraw(ids=[id_of("relationship", 1)])
    assert [id_ for id_, _ in await own.held()] == [id_of("relationship", 2)]
    await own.withdraw(submissions=[waits])
    assert await own.leftovers() == (0, 0)


async def test_a_revoked_version_erases_those_before_and_says_nothing_itself(own: Own) -> None:
    await own.add(host(1, "a.example", description="d"), host(1, "a.example", at=2))
    await own.add(over(1, 3, "a.example") | {"description": "d"})
    [found] = await own.objects(**{"match[version]": "all"})
    assert found["revoked"] is True and found["modified"] == "2026-01-03T00:00:00.000Z"
    assert b"a.example" not in orjson.dumps(found) and "description" not in found
    failed = await own.add(host(1, "a.example", at=2))
    assert failed["failure_count"] == 1 and "newer version" in failed["failures"][0]["message"]
    assert len(await own.held()) == 1
    assert (await own.add(host(1, "a.example", at=4)))["success_count"] == 1
    assert [version for _, version in await own.held()] == [at(3), at(4)]
    same = await own.add(host(2, "b.example"), host(2, "b.example", at=2, revoked=True))
    assert [each["version"][:10] for each in same["successes"]] == [at(2)]
    assert (id_of("indicator", 2), at(1)) not in await own.held()


async def test_what_a_snapshot_holds_no_more_is_erased(own: Own) -> None:
    await own.send(host(1, "a.example"), host(2, "b.example"), by="feeds", feed="f")
    await own.add(host(3, "c.example"), host(2, "b.example"), by="feeds")
    await own.send(host(4, "d.example"), by="feeds", feed="f")
    kept = [id_of("indicator", number) for number in (2, 3, 4)]
    assert sorted(id_ for id_, _ in await own.held("feeds")) == kept
    assert await own.live("feeds") == {"b.example", "c.example", "d.example"}
    await own.add(host(5, "e.example"), by="feeds")
    assert await own.live("feeds") == {"b.example", "c.example", "d.example", "e.example"}


# --- deleting -----------------------------------------------------------------------------------------------------


async def test_deleting_an_object_withdraws_it(own: Own) -> None:
    one, other = host(1, "a.example"), host(2, "b.example")
    await own.add(one, host(1, "a.example", at=2), other)
    await own.delete(one["id"])
    assert await own.objects(**{"match[version]": "all"}) == [other]
    assert await own.live() == {"b.example"}
    await own.read(f"objects/{one['id']}/", status=404)
    await own.delete(one["id"], 404)
    assert (await own.add(one))["failure_count"] == 1
    await own.delete(id_of("indicator", 9), 404)


async def test_deleting_an_older_version_takes_out_only_that(own: Own) -> None:
    versions = [host(1, "a.example", at=day) for day in (1, 2, 3)]
    await own.add(*versions)
    before = len(await rows(own.hub, outbox))
    await own.delete(versions[1]["id"], **{"match[version]": versions[1]["modified"]})
    assert await own.objects(**{"match[version]": "all"}) == [versions[0], versions[2]]
    await own.delete(versions[1]["id"], **{"match[version]": "first"})
    assert await own.objects(**{"match[version]": "all"}) == [versions[2]]
    assert await own.live() == {"a.example"} and len(await rows(own.hub, outbox)) == before
    await own.delete(versions[1]["id"], 404, **{"match[version]": versions[1]["modified"]})
    await own.delete(versions[1]["id"], 404, **{"match[spec_version]": "2.0"})
    assert await own.leftovers() == (1, 1)


async def test_deleting_the_last_version_withdraws_and_leaves_the_others(own: Own) -> None:
    versions = [host(1, "a.example", at=day) for day in (1, 2)]
    await own.add(*versions)
    await own.delete(versions[0]["id"], **{"match[version]": "last"})
    assert await own.objects() == [versions[0]]
    assert await own.live() == set()


async def test_a_newer_version_that_comes_meanwhile_is_not_withdrawn(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, newer = host(1, "a.example"), host(1, "a.example", at=2)
    await own.add(old)
    take_back, called = Door.take_back, list[str]()

    async def overtaken(door: Door, *args: Any) -> Any:
        called.append("take_back")
        await own.add(newer)
        return await take_back(door, *args)

    monkeypatch.setattr(Door, "take_back", overtaken)
    await own.delete(old["id"], **{"match[version]": old["modified"]})
    assert called == ["take_back"] and await own.live() == {"a.example"}
    assert await own.objects(**{"match[version]": "all"}) == [newer]


async def test_what_was_deleted_while_it_waited_does_not_come(own: Own) -> None:
    await own.add(link())
    await own.delete(id_of("relationship", 1))
    await own.add(host(1, "a.example"), thing("malware", 1, name="m", is_family=True))
    assert await own.live() == {"a.example", "malware"}


# --- whose it is --------------------------------------------------------------------------------------------------


async def test_it_is_there_for_its_source_in_force_and_for_nobody_else(own: Own) -> None:
    one = host(1, "a.example")
    await own.add(one)
    for method, what in (("GET", "objects/"), ("POST", "objects/"), ("DELETE", f"objects/{one['id']}/")):
        data = {"objects": [one]} if method == "POST" else None
        for by in ("beta", "staff"):
            await own.ask(method, own.root("alpha") + what, by, 404, data)
    await own.hub.store.write(
        lambda c: c.execute(sa.update(partners).where(partners.c.id == "alpha").values(suspended_ms=1))
    )
    await own.ask("GET", own.root(), status=404)
    await own.add(one, status=404)
    found = await own.ask("GET", "/taxii2/api/collections/")
    assert [each["title"] for each in found["collections"]] == ["Your feed"]
    await own.ask("GET", own.root("beta"), "beta")
    own.now[0] += 800 * DAY_US // 1_000
    await own.ask("GET", own.root("beta"), "beta", 404)
    assert await own.leftovers() == (1, 1) and len(await rows(own.hub, aliases)) == 1
