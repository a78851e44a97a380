"""Pushing to MISP: what is there once however often it is pushed, what is edited, and what is taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
import pytest_asyncio
from pymisp import MISPAttribute, MISPEvent, PyMISP

from connectors.base import DELIVERED, NOTHING, Outcome
from connectors.misp import push_mapping as mapping
from connectors.misp import push_rules as rules
from schemas.enrichment import ENRICHMENT_ID
from schemas.errors import PartnerFailed
from schemas.handling import HANDLING_ID
from schemas.markings import Pap, marking_id
from tests.partners.misp import Misp, misp_world
from tests.partners.rows import PARTNER, row, stix_id, withdrawn
from tests.partners.world import World

ROWS = [row(f"{letter}.example") for letter in "abcd"]
NOT_TAKEN = Outcome("refused", "not-taken")


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with misp_world(tmp_path) as made:
        yield made


def misp(world: World, **changes: Any) -> Misp:
    for name, value in changes.items():
        setattr(world.partner, name, value)
    return cast(Misp, world.partner)


async def test_what_is_new_is_added_to_its_event(world: World) -> None:
    there = misp(world)
    rows = [*ROWS, row("e.example", category="spyware")]
    assert await (await world.pusher()).push(rows) == [DELIVERED] * 5
    assert there.values() == {one.value for one in rows}
    assert sorted(event["info"] for event in there.events.values()) == ["Tocsin: 2026-11-01"]
    assert {event["distribution"] for event in there.events.values()} == {"0"}
    event = next(iter(there.events.values()))
    read = MISPEvent()
    read.load(
        {"Event": event | {"Attribute": [a for a in there.attributes.values() if a["event"] == event["uuid"]]}}
    )
    assert [(a.type, a.category, a.to_ids) for a in read.attributes] == [("domain", "Network activity", True)] * 5
    assert {tag.name for tag in read.attributes[0].tags} == {"tlp:green", "PAP:GREEN", 'tocsin:category="phishing"'}


async def test_what_is_there_is_not_touched_again(world: World) -> None:
    there, pusher = misp(world), await world.pusher()
    await pusher.push(ROWS)
    before, asked = there.held(), len(there.requests)
    assert await pusher.push(ROWS) == [DELIVERED] * 4
    assert there.held() == before
    assert there.requests[asked:] == ["POST /attributes/restSearch"]


async def test_rows_that_come_later_join_the_event(world: World) -> None:
    there, pusher = misp(world), await world.pusher()
    for one in ROWS:
        assert await pusher.push([one]) == [DELIVERED]
    assert len(there.events) == 1 and len(there.attributes) == 4


async def test_a_new_version_edits_the_attribute(world: World) -> None:
    there, pusher = misp(world), await world.pusher()
    await pusher.push(ROWS)
    assert await pusher.push([row("a.example", 2, value="a2.example")]) == [DELIVERED]
    assert there.values() == {"a2.example", "b.example", "c.example", "d.example"}
    # somebody there changed it after us: what is shared holds
    uuid = mapping.attribute_uuid(ROWS[1])
    there.attributes[uuid].update(value="mistaken.example", timestamp=str(there.now))
    assert await pusher.push([row("b.example", 2)]) == [DELIVERED]
    assert "b.example" in there.values()


async def test_a_new_version_that_is_only_marked_otherwise_edits_the_attribute(world: World) -> None:
    there, pusher = misp(world), await world.pusher()
    await pusher.push(ROWS)
    assert await pusher.push([row("a.example", 2, tlp="amber")]) == [DELIVERED]
    tags = there.attributes[mapping.attribute_uuid(ROWS[0])]["Tag"]
    assert {"name": "tlp:amber"} in tags


@pytest.mark.parametrize("changed", ["comment", "tlp"])
async def test_a_narrower_version_goes_also_where_misp_has_a_later_time(world: World, changed: str) -> None:
    """MISP puts its own time where somebody there touches an attribute: that says nothing of what it holds."""
    there, pusher = misp(world), await world.pusher()
    named = orjson.loads(ROWS[0].body) | {"name": "Sent to Mira at her home"}
    await pusher.push([row("a.example", body=orjson.dumps(named))])
    held = there.attributes[mapping.attribute_uuid(ROWS[0])]
    assert "Mira" in held["comment"] and held["distribution"] == "5"
    held["timestamp"] = str(there.now)
    narrower = named if changed == "tlp" else orjson.loads(ROWS[0].body)
    later = row("a.example", 2, body=orjson.dumps(narrower), tlp="red" if changed == "tlp" else "green")
    assert await pusher.push([later]) == [DELIVERED]
    assert (held["comment"], held["distribution"]) == (
        ("Sent to Mira at her home", "0") if changed == "tlp" else ("", "5")
    )
    asked = len(there.requests)
    assert await pusher.push([later]) == [DELIVERED]
    assert there.requests[asked:] == ["POST /attributes/restSearch"], "what is as it is to be is left alone"


@pytest.mark.parametrize(
    ("tlp", "distribution"),
    [("clear", "5"), ("green", "5"), ("amber", "1"), ("amber+strict", "0"), ("red", "0"), ("", "0"), ("x", "0")],
)
def test_no_attribute_is_distributed_wider_than_its_tlp_lets(tlp: str, distribution: str) -> None:
    attribute = mapping.attribute_of(row("a.example", tlp=tlp), PARTNER)
    assert attribute is not None and attribute.fields["distribution"] == distribution


async def test_of_two_versions_in_one_push_the_last_is_there(world: World) -> None:
    there = misp(world)
    rows = [row("a.example"), row("a.example", 2, value="a2.example")]
    assert await (await world.pusher()).push(rows) == [DELIVERED] * 2
    assert there.values() == {"a2.example"}


async def test_a_withdrawal_leaves_nothing_of_what_was_said(world: World) -> None:
    there, pusher = misp(world), await world.pusher()
    await pusher.push(ROWS)
    for _ in range(2):
        assert await pusher.push([withdrawn("a.example")]) == [DELIVERED]
    gone = there.attributes[mapping.attribute_uuid(ROWS[0])]
    assert gone["deleted"] and gone["type"] == "comment" and not gone["to_ids"]
    assert "a.example" not in str(there.attributes) and there.values() == {"b.example", "c.example", "d.example"}


async def test_what_may_not_be_emptied_is_deleted_all_the_same(world: World) -> None:
    there, pusher = misp(world, empties=False), await world.pusher()
    await pusher.push(ROWS)
    assert await pusher.push([withdrawn("a.example")]) == [DELIVERED]
    assert there.attributes[mapping.attribute_uuid(ROWS[0])]["deleted"]


async def test_what_was_never_there_has_nothing_to_take_back(world: World) -> None:
    assert await (await world.pusher()).push([withdrawn("never.example")]) == [DELIVERED]
    assert misp(world).requests == ["POST /attributes/restSearch"]


async def test_what_was_deleted_there_is_not_brought_back(world: World) -> None:
    there, pusher = misp(world), await world.pusher()
    await pusher.push(ROWS)
    there.attributes[mapping.attribute_uuid(ROWS[0])]["deleted"] = True
    assert await pusher.push([row("a.example", 2)]) == [Outcome("refused", "deleted-there")]


async def test_what_is_invalid_there_keeps_none_of_the_others_back(world: World) -> None:
    misp(world, invalid=frozenset({"b.example"}))
    assert await (await world.pusher()).push(ROWS) == [DELIVERED, NOT_TAKEN, DELIVERED, DELIVERED]
    assert await (await world.pusher()).push([ROWS[1]]) == [NOT_TAKEN]
    misp(world, invalid=frozenset({"a2.example"}))
    assert await (await world.pusher()).push([row("a.example", 2, value="a2.example")]) == [NOT_TAKEN]


async def test_where_all_are_invalid_all_are_refused(world: World) -> None:
    misp(world, invalid=frozenset(one.value for one in ROWS))
    assert await (await world.pusher()).push(ROWS) == [NOT_TAKEN] * 4


async def test_an_event_on_its_block_list_is_refused(world: World) -> None:
    misp(world, blocked=True)
    assert await (await world.pusher()).push(ROWS) == [Outcome("refused", "event-not-taken")] * 4


async def test_what_has_no_attribute_is_left_out(world: World) -> None:
    others = [
        row("m", type="malware", kind="", value="", stix_id=stix_id("m", "malware")),
        withdrawn("m", type="malware", stix_id=stix_id("m", "malware")),
    ]
    assert await (await world.pusher()).push(others) == [NOTHING] * 2
    assert misp(world).requests == []
    assert await (await world.pusher()).push([row("x", kind="domain", value="")]) == [NOTHING]
    assert misp(world).attributes == {}


async def test_what_a_new_version_says_no_more_is_taken_back(world: World) -> None:
    there, pusher = misp(world), await world.pusher()
    await pusher.push(ROWS)
    assert await pusher.push([row("a.example", 2, value="")]) == [DELIVERED]
    assert there.values() == {"b.example", "c.example", "d.example"} and "a.example" not in str(there.attributes)


@pytest.mark.parametrize(("status", "deleted"), [(429, False), (503, False), (500, True)])
async def test_a_busy_misp_is_asked_again_before_it_deletes_what_is_not_emptied(
    world: World, status: int, deleted: bool
) -> None:
    there, pusher = misp(world), await world.pusher()
    await pusher.push(ROWS)
    there.edit_status = status
    if deleted:
        assert await pusher.push([withdrawn("a.example")]) == [DELIVERED]
    else:
        with pytest.raises(PartnerFailed):
            await pusher.push([withdrawn("a.example")])
    assert there.attributes[mapping.attribute_uuid(ROWS[0])]["deleted"] is deleted


async def test_an_event_that_is_distributed_too_widely_is_narrowed(world: World) -> None:
    there = misp(world)
    await (await world.pusher()).push(ROWS)
    for event in there.events.values():
        event["distribution"] = "3"
    assert await (await world.pusher()).push(ROWS) == [DELIVERED] * 4
    assert {event["distribution"] for event in there.events.values()} == {"0"}


async def test_an_event_that_was_deleted_meanwhile_comes_again(world: World) -> None:
    there, pusher = misp(world), await world.pusher()
    await pusher.push(ROWS[:2])
    there.events.clear()
    there.attributes.clear()
    assert await pusher.push(ROWS[2:]) == [Outcome("retry", "event-gone")] * 2
    assert await pusher.push(ROWS[2:]) == [DELIVERED] * 2


async def test_events_are_published_where_that_is_wanted(tmp_path: Path) -> None:
    async with misp_world(tmp_path, publish=True, distribution=1) as world:
        there, pusher = misp(world), await world.pusher()
        await pusher.push(ROWS)
        await pusher.push([withdrawn("a.example")])
        assert there.published == list(there.events) * 2
        assert {event["distribution"] for event in there.events.values()} == {"1"}


class Stop(Exception):
    """Ends a call when it is known what would be asked."""


class Recorder(PyMISP):
    """MISP's own client, without its network."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.root_url = "http://misp.example/"

    def _prepare_request(self, request_type: str, url: str, *_: Any, **__: Any) -> Any:
        self.asked.append(f"{request_type} /{url.removeprefix(self.root_url)}")
        raise Stop


async def test_it_asks_what_misp_s_own_client_asks(tmp_path: Path) -> None:
    async with misp_world(tmp_path, publish=True) as world:
        pusher = await world.pusher()
        await pusher.push(ROWS[:1])
        await pusher.push([row("a.example", 2, value="a2.example")])
        await pusher.push([withdrawn("a.example")])
        (event,), (uuid,) = misp(world).events, misp(world).attributes
        misp(world).events[event]["distribution"] = "3"
        await (await world.pusher()).push([row("b.example")])
        asked = set(misp(world).requests)
    client, attribute, whole = Recorder(), MISPAttribute(), MISPEvent()
    attribute.from_dict(type="domain", value="a.example", uuid=uuid)
    whole.from_dict(info="x", uuid=event)
    for call in (
        lambda: client.search(controller="attributes", uuid=uuid),
        lambda: client.search(controller="events", uuid=event, metadata=True),
        lambda: client.add_event(whole, metadata=True),
        lambda: client.update_event(whole, event, metadata=True),
        lambda: client.add_attribute(event, [attribute]),
        lambda: client.update_attribute(attribute, uuid),
        lambda: client.delete_attribute(uuid),
        lambda: client.publish(event),
    ):
        with pytest.raises(Stop):
            call()
    assert asked == set(client.asked)


@pytest.mark.parametrize(("mode", "code"), [("lets-nobody-in", "not-let-in"), ("talks-nonsense", "not-misp")])
async def test_a_misp_that_can_not_be_used_is_a_failure(world: World, mode: str, code: str) -> None:
    misp(world, mode=mode)
    with pytest.raises(PartnerFailed) as failed:
        await (await world.pusher()).push(ROWS)
    assert failed.value.code == code


async def test_a_misp_that_wants_a_pause_gets_it(world: World) -> None:
    misp(world, mode="later")
    with pytest.raises(PartnerFailed) as failed:
        await (await world.pusher()).push(ROWS)
    assert (failed.value.code, failed.value.after_seconds) == ("status-429", 7)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b"[" * 10_000,
        b'{"response":{"Attribute":[{"uuid":"../x"}]}}',
        b'{"response":{"Attribute":[{}]}}',
        b'{"response":{"Attribute":[{"uuid":"6f0c2e0a-5f0f-5b7e-9a55-3f1c0d2b7a90","timestamp":"soon"}]}}',
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure_or_nothing(body: bytes) -> None:
    try:
        assert rules.found(body, "") == {}
    except PartnerFailed as error:
        assert error.code == "not-misp"


@pytest.mark.parametrize(
    ("markings", "found", "to_ids"),
    [
        ([marking_id(Pap.CLEAR)], {}, True),
        ([marking_id(Pap.GREEN)], {}, True),
        ([marking_id(Pap.AMBER)], {}, False),
        ([marking_id(Pap.RED)], {}, False),
        ([marking_id(Pap.GREEN), marking_id(Pap.RED)], {}, False),
        ([], {}, False),
        ([marking_id(Pap.GREEN)], {"do_not_block": True}, False),
        ([marking_id(Pap.GREEN)], {"warning_lists": ["much used"]}, True),
    ],
)
def test_what_may_not_be_acted_on_visibly_is_not_for_detection(
    markings: list[str], found: dict[str, Any], to_ids: bool
) -> None:
    body = orjson.loads(ROWS[0].body) | {"object_marking_refs": markings, "extensions": {ENRICHMENT_ID: found}}
    attribute = mapping.attribute_of(row("a.example", body=orjson.dumps(body)), PARTNER)
    assert attribute is not None and attribute.fields["to_ids"] is to_ids


@pytest.mark.parametrize(("purposes", "to_ids"), [(["detect", "protect"], True), (["detect"], False), ([], False)])
def test_what_may_not_be_used_to_protect_is_not_for_detection(purposes: list[str], to_ids: bool) -> None:
    body = orjson.loads(ROWS[0].body) | {"extensions": {HANDLING_ID: {"purposes": purposes}}}
    attribute = mapping.attribute_of(row("a.example", body=orjson.dumps(body)), PARTNER)
    assert attribute is not None and attribute.fields["to_ids"] is to_ids


def test_a_tombstone_names_the_attribute_of_what_it_takes_back() -> None:
    attribute = mapping.attribute_of(ROWS[0], PARTNER)
    assert attribute is not None
    assert attribute.uuid == mapping.attribute_uuid(withdrawn("a.example"))
