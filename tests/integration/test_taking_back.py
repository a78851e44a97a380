"""What a source takes back by its own ids, the hub's, submissions and consents; on both databases."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from schemas.decision import Decision, Judgement
from schemas.fingerprint import Ioc, fingerprint
from schemas.known import Known
from schemas.outgoing import outgoing_id
from schemas.rejected import Rejected, encode
from schemas.report import Report, with_seq
from schemas.timestamps import format_time
from schemas.topics import REPORTS
from services.accept import contributed, withdrawing
from services.accept.framing import unpack
from services.dedupe.merge import merge
from services.hub import Hub
from services.sealing import seal, unseal
from services.store import Store
from services.tables import (
    aliases,
    audience_members,
    decisions,
    feed,
    metadata,
    outbox,
    partners,
    rejected,
    submissions,
    waiting,
    waiting_ends,
    withdrawn_consents,
)
from services.web import application
from tests.fakes import NOW_MS, SECRET, bearer, make_hub, rows, source_agreement, token_for
from tests.integration.test_withdrawals_at_the_door import attribute, bundle, event, host, id_of, link, thing

SUBMIT, WITHDRAW = "/api/v1/submissions", "/api/v1/withdrawals"
REFERENCE = "consent of Maja Königsmann, 17 March"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@dataclass
class World:
    """Two sources, and what the core would know of what they sent."""

    hub: Hub
    client: TestClient[web.Request, web.Application]
    tokens: dict[str, dict[str, str]]
    now: list[int]
    """The hub's clock."""

    async def post(self, path: str, document: Any, by: str = "alpha", status: int = 202, **params: str) -> Any:
        body = document if isinstance(document, bytes) else orjson.dumps(document)
        response = await self.client.post(path, data=body, params=params, headers=self.tokens[by])
        assert response.status == status, await response.text()
        return await response.json()

    async def send(self, *objects: dict[str, Any], by: str = "alpha", **params: str) -> str:
        answer = await self.post(SUBMIT, bundle(*objects), by, **params)
        return str(answer["id"])

    async def withdraw(self, by: str = "alpha", why: str = "revoked", **named: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.post(WITHDRAW, {"why": why, **named}, by)
        return answer

    async def status(self, submission: str, by: str = "alpha") -> dict[str, Any]:
        response = await self.client.get(f"{SUBMIT}/{submission}", headers=self.tokens[by])
        document: dict[str, Any] = await response.json()
        return document

    async def known(self) -> dict[tuple[bytes, str], Known]:
        """What the core would know, and under which record key, once it had all of the inbox."""
        known: dict[tuple[bytes, str], Known] = {}
        for row in sorted(await rows(self.hub, outbox), key=lambda row: row.seq):
            for parcel in unpack(row.messages):
                if parcel.topic is REPORTS:
                    report = Report.from_bytes(with_seq(parcel.value, row.seq))
                    place = (parcel.key, report.identity)
                    if heard := merge(known.get(place), report, parcel.key, "n", NOW_MS, 0):
                        known[place] = heard.known
        return known

    async def live(self, source: str = "alpha") -> set[str]:
        found = set()
        for item in (await self.known()).values():
            word = item.contributions.get(source)
            if word and not (word.withdrawn or word.revoked or word.gone):
                found.add(f"{item.type}" if item.kind.startswith("stix:") else item.value)
        return found

    async def decide(self, *names: str) -> None:
        """What the witness would keep of these items."""
        known = {item.value: (key, item) for (key, _), item in (await self.known()).items()}
        values = []
        for name in names:
            key, item = known[name]
            sealed = {
                "value": name,
                "route": key.hex(),
                "contributions": [{"source": source} for source in item.contributions],
            }
            decision = Decision(
                fingerprint=key.hex(), id=outgoing_id(item.type, key), type=item.type, kind=item.kind, epoch=1,
                counter=1, at_ms=NOW_MS, policy="", numbering="n0", sealed=seal(SECRET, sealed),
                judgements=tuple(Judgement(source=source, groups=()) for source in item.contributions),
            )  # fmt: skip
            values.append(
                {
                    "fingerprint": key,
                    "stix_id": decision.id,
                    "epoch": 1,
                    "counter": 1,
                    "record": decision.to_bytes(),
                }
            )
        await self.hub.store.write(lambda connection: connection.execute(decisions.insert(), values))

    async def feed(self, name: str, stix_id: str, to: str) -> None:
        """A copy of an item in the feed of one recipient."""
        bit = self.hub.directory.bit_of[to]
        kinds: dict[type, Any] = {sa.LargeBinary: b"x", sa.Boolean: False, sa.Integer: 0, sa.BigInteger: 0}
        row: dict[str, Any] = {c.name: kinds.get(type(c.type), "x") for c in feed.c}
        row |= {"added": len(await rows(self.hub, feed)), "audience": bit + 1, "live": True, "confidence": None}
        row |= {"fingerprint": domain(name), "stix_id": stix_id, "type": "indicator", "score": None}

        def write(connection: sa.Connection) -> None:
            connection.execute(feed.insert(), [row])
            if not connection.scalar(sa.select(audience_members.c.bit).where(audience_members.c.bit == bit)):
                connection.execute(audience_members.insert().values(bit=bit, audience=bit + 1))

        await self.hub.store.write(write)


def domain(name: str) -> bytes:
    return fingerprint(SECRET, Ioc("domain", name))


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    now = [NOW_MS]
    hub = make_hub(tmp_path, [source_agreement("alpha"), source_agreement("beta")], clock=lambda: now[0])
    if request.param == "postgresql":
        hub.store.close()
        store = Store(str(request.getfixturevalue("postgres_url")))
        metadata.create_all(store.engine)
        hub = replace(hub, store=store)
    tokens = {name: bearer(await token_for(hub, name)) for name in ("alpha", "beta")}
    tokens["staff"] = bearer(await token_for(hub, "staff", "staff"))
    async with TestClient(TestServer(application(hub, lambda: None))) as client:
        yield World(hub, client, tokens, now)
    hub.store.close()


# --- by the source's own ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["revoked", "consent"])
async def test_by_own_ids_all_that_they_name(world: World, why: str) -> None:
    await world.send(host(1, "a.example", "b.example"), host(2, "c.example"), host(3, "d.example"))
    await world.send(host(1, "a.example"), by="beta")
    answer = await world.withdraw(
        why=why, ids=[id_of("indicator", 1), id_of("indicator", 9), id_of("indicator", 2)]
    )
    assert (answer["named"], answer["unknown"]) == (3, [id_of("indicator", 9)])
    assert await world.live() == {"d.example"}
    assert await world.live("beta") == {"a.example"}
    word = (await world.known())[domain("b.example"), ""].contributions["alpha"]
    assert (word.withdrawn, word.modified_ms) == (why, NOW_MS)
    assert word.object == {"type": "indicator", "id": id_of("indicator", 1)}


async def test_what_became_of_a_withdrawal_is_told_as_of_any_submission(world: World) -> None:
    await world.send(host(1, "a.example"))
    answer = await world.withdraw(ids=[id_of("indicator", 1), id_of("indicator", 9)])
    assert answer["status_url"] == f"{SUBMIT}/{answer['id']}"
    document = await world.status(answer["id"])
    assert (document["format"], document["taken"], document["skipped"]) == ("withdrawal", 1, 1)
    taken, unknown = document["items"]
    assert (taken["id"], taken["fate"]) == (outgoing_id("indicator", domain("a.example")), "taken")
    assert (unknown["fate"], unknown["pointer"]) == ("skipped", "/ids/1")
    assert (await world.status(answer["id"], by="beta"))["code"] == "no-such-submission"


@pytest.mark.parametrize("by", ["staff", "alpha"])
async def test_who_is_no_partner_any_more_is_withdrawn_for(world: World, by: str) -> None:
    await world.send(host(1, "a.example"))
    left = {name: one for name, one in world.hub.directory.agreements.items() if name != "alpha"}
    world.hub.directory = replace(world.hub.directory, agreements=left)
    asked = {"why": "revoked", "ids": [id_of("indicator", 1)]}
    source = {"source": "alpha"} if by == "staff" else {}
    assert (await world.post(WITHDRAW, asked, by, 202, **source))["named"] == 1
    assert await world.live() == set()
    assert (await world.post(SUBMIT, bundle(host(2, "b.example")), by, 404, **source))["code"] == "unknown-source"
    assert (await world.post(WITHDRAW, asked, "staff", 404, source="nobody"))["code"] == "unknown-source"


async def test_what_is_sent_again_stays_withdrawn_until_it_is_newer(world: World) -> None:
    old, other = host(1, "a.example"), host(2, "a.example")
    await world.send(old)
    await world.withdraw(ids=[old["id"]])
    [fate] = (await world.status(await world.send(old)))["items"]
    assert (fate["fate"], "only a newer version" in fate["reason"]) == ("skipped", True)
    await world.send(other)
    assert await world.live() == set()
    world.now[0] += 10
    await world.send(old | {"modified": format_time(NOW_MS + 1)})
    assert await world.live() == {"a.example"}


async def test_a_sighting_is_withdrawn_where_it_lies(world: World) -> None:
    sighting = thing("sighting", 1, sighting_of_ref=id_of("indicator", 1), count=2)
    await world.send(host(1, "a.example"), sighting)
    assert await world.live() == {"a.example", "sighting"}
    assert (await world.withdraw(ids=[sighting["id"]]))["named"] == 1
    assert await world.live() == {"a.example"}
    assert all(key == domain("a.example") for key, _ in await world.known())


async def test_by_the_uuid_of_an_attribute(world: World) -> None:
    await world.post(SUBMIT, event(attribute("a.example", 10), attribute("b.example", 11)))
    uuid = "00000000-0000-4000-8000-000000000010"
    assert (await world.withdraw(ids=[uuid, UNKNOWN]))["unknown"] == [UNKNOWN]
    assert await world.live() == {"b.example"}


async def test_what_waits_never_comes(world: World) -> None:
    sent = await world.send(link())
    answer = await world.withdraw(ids=[link()["id"]])
    assert (answer["named"], answer["unknown"]) == (0, [])
    [fate] = (await world.status(answer["id"]))["items"]
    assert (fate["fate"], "it waited" in fate["reason"]) == ("skipped", True)
    assert await rows(world.hub, waiting) == await rows(world.hub, waiting_ends) == []
    await world.send(host(1, "a.example"), thing("malware", 1, name="m", is_family=True))
    assert await world.live() == {"a.example", "malware"}
    assert (await world.status(sent))["waiting"] == 0


async def test_what_comes_at_the_same_time_is_withdrawn_too_or_comes_too_late(world: World) -> None:
    """Whichever is stored first, the other one knows of it."""
    await world.send(*(host(n, f"a{n}.example") for n in range(8)))
    await asyncio.gather(
        world.withdraw(ids=[id_of("indicator", n) for n in range(4)]),
        *(world.send(*(host(n, f"b{n}.example", at=2) for n in range(start, 8, 4))) for start in range(4)),
        world.withdraw(ids=[id_of("indicator", n) for n in range(4, 8)]),
    )
    assert await world.live() == set()


# --- by ids that the hub gave -------------------------------------------------------------------------------------


async def test_by_ids_of_the_hub(world: World) -> None:
    await world.send(host(1, "a.example"), host(2, "b.example"), host(3, "c.example"))
    await world.decide("a.example", "b.example", "c.example")
    own = "indicator--11111111-1111-8111-8111-111111111111"
    await world.feed("b.example", own, to="alpha")
    answer = await world.withdraw(items=[outgoing_id("indicator", domain("a.example")), own, own])
    assert (answer["named"], answer["unknown"]) == (2, [])
    assert await world.live() == {"c.example"}


async def test_an_id_of_an_earlier_generation_still_names_it(world: World) -> None:
    await world.send(host(1, "a.example"))
    await world.decide("a.example")
    now = outgoing_id("indicator", domain("a.example"), 1)
    await world.hub.store.write(lambda connection: connection.execute(decisions.update().values(stix_id=now)))
    acknowledged = outgoing_id("indicator", domain("a.example"))
    assert (await world.withdraw(items=[acknowledged]))["unknown"] == [acknowledged]
    await world.feed("a.example", acknowledged, to="beta")
    assert (await world.withdraw(items=[acknowledged]))["named"] == 1


async def test_what_is_not_its_own_does_not_exist(world: World) -> None:
    """Another's item, another's copy, and what is not there: one answer."""
    theirs = await world.send(host(1, "b.example"), by="beta", consent=REFERENCE)
    await world.send(host(2, "a.example"))
    await world.decide("a.example", "b.example")
    of_beta = "indicator--22222222-2222-8222-8222-222222222222"
    await world.feed("a.example", of_beta, to="beta")
    shared, nowhere = outgoing_id("indicator", domain("b.example")), outgoing_id("indicator", b"x" * 16)
    for named, kind in (
        ([id_of("indicator", 1), id_of("indicator", 9)], "ids"),
        ([shared, of_beta, nowhere], "items"),
        ([theirs, UNKNOWN], "submissions"),
        ([REFERENCE, "never given"], "consents"),
    ):
        answer = await world.withdraw(why="consent", **{kind: named})
        assert (answer["named"], answer["unknown"]) == (0, named)
        fates = (await world.status(answer["id"]))["items"]
        assert len({(fate["fate"], fate["reason"]) for fate in fates}) == 1
    assert await world.live("beta") == {"b.example"}
    # a reference is its source's own
    await world.send(host(3, "c.example"), by="beta", consent=REFERENCE)


@pytest.mark.parametrize("id_", ["ÿ\ud7ff😀", "' OR 1=1 --", "x" * 300, "indicator--"])
async def test_what_is_no_id_is_no_item(world: World, id_: str) -> None:
    answer = await world.withdraw(ids=[id_], items=[id_])
    assert (answer["named"], answer["unknown"]) == (0, [id_, id_])


# --- by submission ------------------------------------------------------------------------------------------------


async def test_by_submission_all_that_came_with_it_even_later(world: World) -> None:
    first = await world.send(host(1, "a.example", "b.example"), link())
    await world.send(thing("malware", 1, name="m", is_family=True), host(2, "c.example"))
    assert await world.live() == {"a.example", "b.example", "c.example", "malware", "relationship"}
    again = await world.withdraw(submissions=[first, first])
    assert (again["named"], again["unknown"]) == (4, [])
    assert await world.live() == {"c.example", "malware"}


async def test_what_still_waits_of_it_never_comes(world: World) -> None:
    first = await world.send(link(), host(2, "c.example"))
    await world.withdraw(submissions=[first])
    await world.send(host(1, "a.example"), thing("malware", 1, name="m", is_family=True))
    assert await world.live() == {"a.example", "malware"}


async def test_what_is_anothers_is_neither_opened_nor_told_from_what_is_not_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.send(host(1, "a.example"), host(2, "mine.example"))
    await world.send(host(1, "a.example"), host(2, "theirs.example"), by="beta")
    await world.decide("a.example", "mine.example", "theirs.example")
    opened: list[str] = []

    def noted(secret: bytes, sealed: str) -> dict[str, Any]:
        document = unseal(secret, sealed)
        opened.append(document["value"])
        return document

    monkeypatch.setattr(contributed, "unseal", noted)
    theirs, mine, both = (outgoing_id("indicator", domain(f"{n}.example")) for n in ("theirs", "mine", "a"))
    strange = [outgoing_id("indicator", domain(f"{n}.none.example")) for n in range(100)]
    answer = await world.withdraw(items=[*strange, theirs, mine, both])
    assert (answer["named"], answer["unknown"]) == (2, [*strange, theirs])
    assert sorted(opened) == ["a.example", "mine.example"], "one for each of its own, and no other"
    assert await world.live("beta") == {"a.example", "theirs.example"}


async def keep(world: World, id_: str, **fields: Any) -> None:
    given = {
        "id": id_,
        "stage": "accept",
        "code": "c",
        "reason": "",
        "origin": "submission s ",
        "at": format_time(NOW_MS),
    }
    record = Rejected(**{**given, "source": "alpha", **fields})
    values = record.model_dump(include={"id", "stage", "code", "source", "submission", "at"})
    values["record"] = record.to_bytes()
    await world.hub.store.write(lambda connection: connection.execute(rejected.insert().values(values)))


async def test_what_was_rejected_of_it_can_not_be_sent_through_again(world: World) -> None:
    first = await world.send(host(1, "a.example"), host(2, "b.example"))
    other = await world.send(host(3, "c.example"))
    reports = [p for row in await rows(world.hub, outbox) for p in unpack(row.messages)]
    await keep(world, "of-it", submission=first, value=encode(b"{}"))
    await keep(world, "of-another", submission=other, value=encode(b"{}"))
    await keep(world, "of-beta", submission=first, source="beta")
    for number, parcel in enumerate(reports):
        behind = {"stage": "core", "origin_topic": REPORTS.name, "submission": other}
        await keep(
            world, f"report-{number}", key=encode(parcel.key), value=encode(with_seq(parcel.value, 1)), **behind
        )
    await keep(world, "letter", stage="core", origin_topic=REPORTS.name, value=encode(b'{"to":"aa","of":"bb"}'))
    await world.withdraw(submissions=[first])
    assert {row.id for row in await rows(world.hub, rejected)} == {"of-another", "of-beta", "report-2", "letter"}
    await world.withdraw(ids=[id_of("indicator", 3)])
    assert {row.id for row in await rows(world.hub, rejected)} == {"of-another", "of-beta", "letter"}


# --- by consent ---------------------------------------------------------------------------------------------------


async def everything(hub: Hub) -> bytes:
    """All that stands in the tables."""
    stored = [zlib.decompress(row.fates) for row in await rows(hub, submissions)]
    for table in metadata.sorted_tables:
        stored += [repr(row).encode() for row in await rows(hub, table)]
    return b"".join(stored)


async def test_by_consent_all_that_came_under_it_and_nothing_more(world: World) -> None:
    first = await world.send(host(1, "a.example"), host(2, "b.example"), consent=REFERENCE)
    await world.send(host(3, "c.example"), consent=REFERENCE + " 2")
    await world.send(host(4, "d.example"), consent=f" {REFERENCE.replace('ö', 'o' + chr(0x308))} ")
    answer = await world.withdraw(why="consent", consents=[REFERENCE, "never given"])
    assert (answer["named"], answer["unknown"]) == (3, ["never given"])
    assert await world.live() == {"c.example"}
    known = await world.known()
    assert known[domain("a.example"), ""].contributions["alpha"].withdrawn == "consent"
    assert {item["value"] for item in (await world.status(first))["items"]} == {""}
    problem = await world.post(SUBMIT, bundle(host(5, "e.example")), status=422, consent=REFERENCE)
    assert (problem["code"], bool(problem["hint"])) == ("consent-withdrawn", True)
    await world.post(SUBMIT, b"{ no json", status=422, consent=REFERENCE)
    await world.post(SUBMIT, bundle(host(6, "f.example")), status=422, consent="never given")
    await world.send(host(7, "g.example"), consent=REFERENCE + " 2")
    assert await world.live() == {"c.example", "g.example"}
    stored = await everything(world.hub)
    for secret in ("nigsmann", "never given", "e.example"):
        assert secret.encode() not in stored
    assert len(await rows(world.hub, withdrawn_consents)) == 2


async def test_after_consent_was_withdrawn_a_word_has_to_state_it(world: World) -> None:
    await world.send(host(1, "a.example"), consent=REFERENCE)
    await world.withdraw(why="consent", consents=[REFERENCE])
    world.now[0] += 10
    newer = host(1, "a.example") | {"modified": format_time(NOW_MS + 1)}
    await world.send(newer)
    assert await world.live() == set()
    stated = {"extension_type": "property-extension", "consent": {"status": "not-required"}}
    extensions = {"extension-definition--f779a2d8-6766-41dd-870b-7bd55ddf3d6d": stated}
    await world.send(newer | {"modified": format_time(NOW_MS + 2), "extensions": extensions})
    assert await world.live() == {"a.example"}


async def test_what_is_sent_through_again_is_under_its_consent_still(world: World) -> None:
    first = await world.send(host(1, "a.example"), consent=REFERENCE)
    raw = encode(orjson.dumps(bundle(host(2, "b.example"))))
    await keep(world, "r", submission=first, value=raw)
    await world.post("/api/v1/rejected/r/replay", b"", by="staff")
    assert await world.live() == {"a.example", "b.example"}
    await world.withdraw(why="consent", consents=[REFERENCE])
    assert await world.live() == set()
    await keep(world, "late", submission=first, value=raw)
    problem = await world.post("/api/v1/rejected/late/replay", b"", by="staff", status=422)
    assert problem["code"] == "consent-withdrawn"


async def test_one_that_comes_while_it_is_withdrawn_is_withdrawn_or_refused(world: World) -> None:
    await world.send(host(1, "a.example"), consent=REFERENCE)

    async def late(number: int) -> int:
        document = orjson.dumps(bundle(host(number, f"h{number}.example")))
        params = {"consent": REFERENCE}
        response = await world.client.post(SUBMIT, data=document, params=params, headers=world.tokens["alpha"])
        return response.status

    statuses = await asyncio.gather(
        *map(late, (2, 3)), world.withdraw(why="consent", consents=[REFERENCE]), late(4)
    )
    assert {status for status in statuses if isinstance(status, int)} <= {202, 422}
    assert await world.live() == set()


@pytest.mark.parametrize("reference", ["", " ", "x" * 201])
async def test_a_reference_is_one(world: World, reference: str) -> None:
    problem = await world.post(SUBMIT, bundle(host(1, "a.example")), status=400, consent=reference)
    assert (problem["code"], problem["where"]) == ("parameter-invalid", "consent")


# --- who may ------------------------------------------------------------------------------------------------------


async def test_staff_withdraw_for_a_source(world: World) -> None:
    await world.send(host(1, "a.example"))
    body = {"why": "revoked", "ids": [id_of("indicator", 1)]}
    assert (await world.post(WITHDRAW, body, "staff", 400))["code"] == "source-missing"
    assert (await world.post(WITHDRAW, body, "beta", 403, source="alpha"))["code"] == "source-not-yours"
    assert (await world.post(WITHDRAW, body, "staff", source="alpha"))["named"] == 1
    assert await world.live() == set()


async def test_who_may_send_nothing_any_more_may_still_take_back(world: World) -> None:
    await world.send(host(1, "a.example"))
    suspended = partners.insert().values(bit=0, id="alpha", suspended_ms=1)
    await world.hub.store.write(lambda connection: connection.execute(suspended))
    await world.post(SUBMIT, bundle(host(2, "b.example")), status=403)
    assert (await world.withdraw(ids=[id_of("indicator", 1)]))["named"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"why": "revoked"}', b'{"ids": ["SECRET"], "why": "x"}'])
async def test_what_is_no_withdrawal_is_refused_and_not_kept(world: World, body: bytes) -> None:
    response = await world.client.post(WITHDRAW, data=body, headers=world.tokens["alpha"])
    assert response.status in (400, 422)
    assert response.content_type == "application/problem+json"
    assert "SECRET" not in await response.text()
    assert await rows(world.hub, submissions) == []


async def test_what_is_named_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withdrawing, "MAX_WITHDRAWN", 3)
    sent = await world.send(*(host(n, f"h{n}.example") for n in range(4)))
    body = {"why": "revoked", "submissions": [sent]}
    assert (await world.post(WITHDRAW, body, status=413))["code"] == "too-many-items"
    assert len(await world.live()) == 4
    assert {row.state for row in await rows(world.hub, aliases)} == {0}
