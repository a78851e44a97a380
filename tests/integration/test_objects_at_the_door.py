"""Objects and their references through the door, on both databases: what is relayed, and what a source is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from schemas.fingerprint import Ioc, fingerprint, named_fingerprint
from schemas.rejected import Rejected
from schemas.report import Report
from schemas.topics import REJECTED, REPORTS
from services.accept import aliases
from services.accept.framing import unpack
from services.hub import Hub
from services.store import Store
from services.tables import audience_members, audiences, feed, metadata, outbox, rejected, snapshots, waiting
from tests.fakes import SECRET, accept_client, bearer, make_hub, rows, source_agreement, token_for

PATH = "/api/v1/submissions"
DAY_1, DAY_2, DAY_3 = (f"2026-01-0{day}T00:00:00.000Z" for day in (1, 2, 3))


def id_of(type_: str, number: int) -> str:
    return f"{type_}--00000000-0000-4000-8000-{number:012}"


def thing(type_: str, number: int, at: str = DAY_1, **more: Any) -> dict[str, Any]:
    head = {"type": type_, "spec_version": "2.1", "id": id_of(type_, number), "created": DAY_1, "modified": at}
    return head | more


def indicator(number: int, *hosts: str, at: str = DAY_1, **more: Any) -> dict[str, Any]:
    pattern = " OR ".join(f"domain-name:value = '{host}'" for host in hosts)
    return thing("indicator", number, at, pattern=f"[{pattern}]", pattern_type="stix", valid_from=DAY_1, **more)


def malware(number: int, name: str, **more: Any) -> dict[str, Any]:
    return thing("malware", number, name=name, is_family=True, **more)


def relationship(number: int, source: str, target: str, **more: Any) -> dict[str, Any]:
    fields = {"relationship_type": "indicates", "source_ref": source, "target_ref": target}
    return thing("relationship", number, **fields, **more)


def sighting(number: int, of: str, **more: Any) -> dict[str, Any]:
    return thing("sighting", number, sighting_of_ref=of, **more)


def host(name: str) -> str:
    return fingerprint(SECRET, Ioc("domain", name)).hex()


def family(name: str) -> str:
    return named_fingerprint(SECRET, "stix:malware", "family", name).hex()


@dataclass
class Sent:
    """What a submission put into the outbox, and what its source was told. Keys in hex."""

    answer: dict[str, Any]
    reports: list[tuple[str, Report]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def live(self) -> list[str]:
        return [key for key, report in self.reports if not report.gone and not report.revoked]

    @property
    def gone(self) -> set[str]:
        return {key for key, report in self.reports if report.gone}

    @property
    def revoked(self) -> set[str]:
        return {key for key, report in self.reports if report.revoked}

    def of(self, type_: str) -> list[tuple[str, Report]]:
        return [(key, report) for key, report in self.reports if report.type == type_ and not report.gone]


@dataclass
class Door:
    hub: Hub
    client: TestClient[web.Request, web.Application]
    token: dict[str, str]

    async def send(self, *objects: Any, name: str = "", status: int = 202) -> Sent:
        body = {"type": "bundle", "id": id_of("bundle", 0), "objects": list(objects)}
        return await self.send_body(orjson.dumps(body), name, status)

    async def send_body(self, body: bytes, name: str = "", status: int = 202) -> Sent:
        response = await self.client.post(PATH, data=body, params={"name": name}, headers=self.token)
        assert response.status == status, await response.text()
        newest = max(await rows(self.hub, outbox), key=lambda row: row.seq)
        parcels = list(unpack(newest.messages))
        return Sent(
            await response.json(),
            [(p.key.hex(), Report.from_bytes(p.value)) for p in parcels if p.topic is REPORTS],
            [Rejected.from_bytes(p.value) for p in parcels if p.topic is REJECTED],
        )

    async def status(self, sent: Sent) -> dict[str, Any]:
        response = await self.client.get(sent.answer["status_url"], headers=self.token)
        document: dict[str, Any] = await response.json()
        return document


@pytest.fixture(params=["sqlite", "postgresql"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hub]:
    made = make_hub(tmp_path, [source_agreement("alpha"), source_agreement("feeds", snapshot=True)])
    if request.param == "postgresql":
        made.store.close()
        store = Store(str(request.getfixturevalue("postgres_url")))
        metadata.create_all(store.engine)
        made = replace(made, store=store)
    yield made
    made.store.close()


@pytest.fixture
async def door(hub: Hub) -> AsyncIterator[Door]:
    async with accept_client(hub) as client:
        yield Door(hub, client, bearer(await token_for(hub, "alpha")))


@pytest.fixture
async def feeds(hub: Hub) -> AsyncIterator[Door]:
    async with accept_client(hub) as client:
        yield Door(hub, client, bearer(await token_for(hub, "feeds")))


# --- references and aliases ---------------------------------------------------------------------------------------


async def test_references_become_fingerprints(door: Door) -> None:
    sent = await door.send(
        relationship(1, id_of("indicator", 1), id_of("malware", 1), created_by_ref=id_of("identity", 9)),
        indicator(1, "a.example", created_by_ref=id_of("identity", 1)),
        malware(1, " Made  UP "),
        thing("identity", 1, name="Made Up Org", identity_class="organization"),
    )
    [(key, report)] = sent.of("relationship")
    # what the hub can't find keeps its place
    ends = (("source_ref", host("a.example")), ("target_ref", family("made up")))
    assert report.references == (("created_by_ref", ""), *ends)
    assert key == named_fingerprint(SECRET, "stix:relationship", report.value).hex()
    assert report.value == f"indicates {host('a.example')} {family('made up')}"
    [(org, identity)] = sent.of("identity")
    assert identity.value == org
    [(_, of_host)] = sent.of("indicator")
    assert of_host.references == (("created_by_ref", org),)
    for _, each in sent.reports:
        assert not any(name.endswith(("_ref", "_refs")) for name in each.object)


async def test_a_later_submission_may_refer_to_an_old_id(door: Door) -> None:
    await door.send(indicator(1, "a.example", "b.example"), malware(1, "Made Up"))
    sent = await door.send(
        relationship(1, id_of("indicator", 1), id_of("malware", 1)), sighting(1, id_of("indicator", 1))
    )
    ends = [report.references for _, report in sent.of("relationship")]
    assert ends == [
        (("source_ref", host(name)), ("target_ref", family("made up"))) for name in ("a.example", "b.example")
    ]
    sightings = sent.of("sighting")
    assert [key for key, _ in sightings] == [host("a.example"), host("b.example")]
    assert len({report.identity for _, report in sightings} | {host("a.example"), host("b.example")}) == 4
    assert [report.references for key, report in sightings] == [(("sighting_of_ref", key),) for key, _ in sightings]


async def test_ids_are_those_of_their_source(door: Door, feeds: Door) -> None:
    await feeds.send(indicator(1, "a.example"))
    sent = await door.send(sighting(1, id_of("indicator", 1)))
    assert (sent.answer["taken"], sent.answer["waiting"], sent.reports) == (0, 1, [])


async def test_an_id_that_names_something_else_withdraws_what_it_named(door: Door) -> None:
    await door.send(indicator(1, "a.example", "b.example"), indicator(2, "c.example"))
    sent = await door.send(indicator(1, "b.example", "d.example", at=DAY_2))
    assert sent.gone == {host("a.example")}
    assert sent.live == [host("b.example"), host("d.example")]
    assert sent.reports[0][1].gone, "what goes comes before what is new"
    assert sent.reports[0][1].object == {}
    again = await door.send(indicator(1, "b.example", "d.example", at=DAY_2))
    assert again.gone == set()


async def test_what_another_object_of_the_submission_names_is_not_withdrawn(door: Door) -> None:
    await door.send(indicator(1, "a.example"))
    sent = await door.send(indicator(1, "b.example", at=DAY_2), indicator(2, "a.example"))
    assert (sent.gone, set(sent.live)) == (set(), {host("a.example"), host("b.example")})


async def test_an_older_version_that_comes_late_changes_nothing(door: Door) -> None:
    await door.send(indicator(1, "b.example", at=DAY_2))
    sent = await door.send(indicator(1, "a.example"))
    assert (sent.reports, sent.answer["skipped"]) == ([], 1)


NEUTRAL = {"pattern": "[domain-name:value = 'withdrawn.invalid']"}


@pytest.mark.parametrize("said", [NEUTRAL, {"pattern": "[url:value = 'http://other.example/']"}])
async def test_a_revocation_is_of_what_its_id_named(door: Door, said: dict[str, str]) -> None:
    await door.send(indicator(1, "a.example", "b.example"))
    sent = await door.send(indicator(1, "x.example", at=DAY_2, revoked=True) | said)
    assert sent.revoked == {host("a.example"), host("b.example")}
    assert [report.object for _, report in sent.reports] == [{"type": "indicator", "id": id_of("indicator", 1)}] * 2
    # it stays revoked, and a later reference still finds it
    later = await door.send(sighting(1, id_of("indicator", 1)))
    assert later.live == [host("a.example"), host("b.example")]


async def test_a_revocation_in_the_submission_of_what_it_revokes(door: Door) -> None:
    sent = await door.send(indicator(1, "x.example", at=DAY_2, revoked=True) | NEUTRAL, indicator(1, "a.example"))
    assert (sent.revoked, sent.live, sent.answer["skipped"]) == ({host("a.example")}, [], 1)


async def test_a_revocation_of_nothing_known_is_refused(door: Door) -> None:
    sent = await door.send(indicator(1, "x.example", revoked=True) | NEUTRAL, status=422)
    assert [record.code for record in sent.rejected] == ["revocation-without-pattern"]


async def test_a_sighting_that_is_changed_leaves_where_it_was(door: Door) -> None:
    """The withdrawal goes to where the sighting was handled, and names it."""
    first = await door.send(
        indicator(1, "a.example"), indicator(2, "b.example"), sighting(1, id_of("indicator", 1))
    )
    [(_, old)] = first.of("sighting")
    sent = await door.send(sighting(1, id_of("indicator", 2), at=DAY_2))
    assert [(key, r.gone, r.identity == old.identity) for key, r in sent.reports] == [
        (host("a.example"), True, True),
        (host("b.example"), False, False),
    ]


async def test_an_opinion_travels_with_what_it_is_of(door: Door) -> None:
    sent = await door.send(
        thing("opinion", 1, opinion="agree", object_refs=[id_of("malware", 7), id_of("indicator", 1)]),
        indicator(1, "a.example"),
    )
    [(key, report)] = sent.of("opinion")
    assert key == host("a.example")
    own = named_fingerprint(SECRET, "stix:opinion", f"alpha/{id_of('opinion', 1)}", key)
    assert (report.identity, report.references) == (own.hex(), (("object_refs", ""), ("object_refs", key)))


async def test_an_opinion_that_comes_to_speak_of_another_item_is_another(door: Door) -> None:
    """Its partition changes with what it is of, and one item can't be in two."""
    items = indicator(1, "a.example"), indicator(2, "b.example")
    of_one, of_other = (
        thing("opinion", 1, opinion="agree", object_refs=[id_of("indicator", n)], at=day)
        for n, day in ((1, DAY_1), (2, DAY_2))
    )
    [(_, first)] = (await door.send(*items, of_one)).of("opinion")
    sent = await door.send(of_other)
    gone, second = [report for _, report in sent.reports]
    assert (gone.gone, gone.identity, second.gone) == (True, first.identity, False)
    assert second.identity != first.identity


async def test_ids_that_the_hub_gave_to_this_partner(door: Door, hub: Hub) -> None:
    known = fingerprint(SECRET, Ioc("domain", "fed.example"))

    def give(connection: Any) -> None:
        for number, bit in ((1, 0), (2, 1)):
            connection.execute(audiences.insert().values(id=number, recipients=f"{number}"))
            connection.execute(audience_members.insert().values(bit=bit, audience=number))
            row = dict.fromkeys(
                ("digest", "type", "modified", "kind", "value", "category", "first_seen", "last_seen", "tlp"), ""
            )
            connection.execute(
                feed.insert().values(
                    **row,
                    added=number,
                    audience=number,
                    fingerprint=known,
                    live=True,
                    registrable_domain="",
                    stix_id=id_of("indicator", 70 + number),
                    body=b"{}",
                )
            )

    await hub.store.write(give)
    sent = await door.send(sighting(1, id_of("indicator", 71)), sighting(2, id_of("indicator", 72)))
    assert [key for key, _ in sent.of("sighting")] == [known.hex()]
    assert sent.answer["waiting"] == 1, "an id that another partner got is no id that this one can know"


# --- waiting ------------------------------------------------------------------------------------------------------


async def test_what_refers_to_something_unknown_waits_for_it(door: Door) -> None:
    first = await door.send(
        relationship(1, id_of("indicator", 1), id_of("malware", 1)),
        thing("note", 1, content="made up", object_refs=[id_of("relationship", 1)]),
        malware(1, "Made Up"),
    )
    assert (first.answer["taken"], first.answer["waiting"], first.answer["skipped"]) == (1, 2, 0)
    [relation, note, _] = (await door.status(first))["items"]
    assert (relation["fate"], note["fate"]) == ("waiting", "waiting")
    assert id_of("indicator", 1) in relation["reason"]
    second = await door.send(indicator(1, "a.example"))
    assert [report.type for _, report in second.reports] == ["indicator", "relationship", "note"]
    [(_, report)] = second.of("relationship")
    assert report.references == (("source_ref", host("a.example")), ("target_ref", family("made up")))
    assert report.submission == first.answer["id"]
    document = await door.status(first)
    assert [item["fate"] for item in document["items"]] == ["taken", "taken", "taken"]
    assert (document["taken"], document["waiting"]) == (3, 0)
    assert await rows(door.hub, waiting) == []
    assert [report.type for _, report in (await door.send(indicator(1, "a.example"))).reports] == ["indicator"]


async def test_of_a_list_what_is_known_goes_at_once(door: Door) -> None:
    sent = await door.send(
        thing("report", 1, name="made up", published=DAY_1,
              object_refs=[id_of("malware", 9), id_of("indicator", 1), id_of("indicator", 2)]),
        thing("grouping", 1, context="malware-analysis", object_refs=[id_of("malware", 9)]),
        indicator(1, "a.example"),
        indicator(2, "b.example", "c.example"),
    )  # fmt: skip
    [(key, report)] = sent.of("report")
    found = ("", *(host(f"{name}.example") for name in "abc"))
    assert report.references == tuple(("object_refs", each) for each in found)
    assert sent.answer["waiting"] == 1
    assert {report.joins for _, report in sent.of("indicator")} == {(("report", key),)}
    later = await door.send(malware(9, "nine"))
    assert [report.references for _, report in later.of("grouping")] == [(("object_refs", family("nine")),)]


async def test_what_is_sent_again_waits_once(door: Door) -> None:
    await door.send(sighting(1, id_of("indicator", 1)))
    await door.send(sighting(1, id_of("indicator", 1)))
    assert len(await rows(door.hub, waiting)) == 1
    sent = await door.send(sighting(1, id_of("indicator", 1)), indicator(1, "a.example"))
    assert [report.type for _, report in sent.reports] == ["sighting", "indicator"]
    assert await rows(door.hub, waiting) == []


async def test_what_waits_too_long_is_refused(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "MAX_WAITING", 2)
    first = await door.send(sighting(1, id_of("indicator", 1)), sighting(2, id_of("indicator", 2)))
    second = await door.send(sighting(3, id_of("indicator", 3)))
    [record] = second.rejected
    assert (record.code, record.submission) == ("waited-too-long", first.answer["id"])
    assert orjson.loads(record.value_bytes)["id"] == id_of("sighting", 1)
    values: dict[str, Any] = {
        "id": record.id,
        "stage": "accept",
        "code": record.code,
        "source": "alpha",
        "at": record.at,
    }
    values |= {"submission": record.submission, "record": record.to_bytes()}
    await door.hub.store.write(lambda c: c.execute(rejected.insert().values(values)))
    document = await door.status(first)
    assert [item["fate"] for item in document["items"]] == ["refused", "waiting"]
    assert (document["refused"], document["waiting"], document["taken"]) == (1, 1, 0)
    assert (await door.send(indicator(1, "a.example"))).of("sighting") == []


async def test_many_pairs_are_refused(door: Door) -> None:
    many = [f"h{n}.example" for n in range(40)]
    sent = await door.send(
        indicator(1, *many), indicator(2, *many), relationship(1, id_of("indicator", 1), id_of("indicator", 2))
    )
    assert [record.code for record in sent.rejected] == ["too-many-pairs"]


async def test_submissions_that_come_at_once_lose_nothing(door: Door) -> None:
    """Each sees what those before it said: of all that one id named in turn, all but the last is withdrawn."""
    await door.send(indicator(1, "h0.example"))
    await asyncio.gather(
        *(door.send(indicator(1, f"h{n}.example", at=f"2026-01-02T00:00:00.{n:03}Z")) for n in range(1, 4))
    )
    live: set[str] = set()
    for row in sorted(await rows(door.hub, outbox), key=lambda row: row.seq):
        for parcel in unpack(row.messages):
            (live.discard if Report.from_bytes(parcel.value).gone else live.add)(parcel.key.hex())
    assert live == {host("h3.example")}


# --- snapshots ----------------------------------------------------------------------------------------------------


def table(*hosts: str) -> bytes:
    return "\n".join(("kind,value", *(f"domain,{name}" for name in hosts), "")).encode()


Submission = tuple[str, Sequence[str]]


@pytest.mark.parametrize(
    ("before", "now", "gone"),
    [
        ([("x", ["a.example", "b.example"])], ("x", ["b.example", "c.example"]), {"a.example"}),
        ([("x", ["a.example", "b.example"])], ("x", ["a.example", "b.example"]), set()),
        ([("x", ["a.example"])], ("y", ["b.example"]), set()),
        ([("", ["a.example"])], ("", ["b.example"]), {"a.example"}),
        ([("x", ["a.example"]), ("y", ["a.example"])], ("x", ["b.example"]), set()),
        ([("x", ["a.example"]), ("y", ["a.example"]), ("x", ["b.example"])], ("y", ["b.example"]), {"a.example"}),
        ([("x", ["a.example"]), ("x", ["a.example", "bad"])], ("x", ["b.example"]), {"a.example"}),
        ([("x", ["a.example"])], ("x", ["b.example", "bad"]), set()),
    ],
)
async def test_a_snapshot_withdraws_what_it_lacks(
    feeds: Door, before: list[Submission], now: Submission, gone: set[str]
) -> None:
    def body(hosts: Sequence[str]) -> bytes:
        return table(*hosts).replace(b"domain,bad", b"complex,[bad")

    for name, hosts in before:
        await feeds.send_body(body(hosts), name)
    sent = await feeds.send_body(body(now[1]), now[0])
    assert sent.gone == {host(name) for name in gone}
    [note] = [note for note in sent.answer["notes"] if note.startswith("snapshot")]
    first = "first snapshot" in note
    assert first == (now[0] not in {name for name, _ in before})
    assert first or (f"{len(gone)} items" in note) != ("bad" in now[1])
    assert note in (await feeds.status(sent))["notes"]


async def test_nothing_taken_withdraws_nothing(feeds: Door) -> None:
    await feeds.send(indicator(1, "a.example"))
    assert (await feeds.send()).gone == set()
    assert (await feeds.send(indicator(1, "a.example"))).gone == set()


async def test_a_snapshot_with_new_ids_withdraws_nothing(feeds: Door) -> None:
    def bundle(start: int) -> list[Any]:
        return [
            indicator(start, "a.example"),
            malware(start, "Made Up"),
            relationship(start, id_of("indicator", start), id_of("malware", start)),
        ]

    first = await feeds.send(*bundle(1))
    second = await feeds.send(*bundle(2))
    assert first.live == second.live
    assert second.gone == set()
    third = await feeds.send(indicator(3, "a.example"))
    assert third.gone == {key for key, report in first.reports if report.type != "indicator"}


async def test_who_sends_no_snapshots_withdraws_nothing(door: Door) -> None:
    await door.send_body(table("a.example"))
    assert (await door.send_body(table("b.example"))).gone == set()
    assert await rows(door.hub, snapshots) == []
