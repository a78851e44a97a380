"""From a source's bundle to its recipients: incidents, and what was observed of them."""

from __future__ import annotations

from typing import Any

import pytest
import stix2

from schemas.handling import HANDLING_ID
from schemas.report import with_seq
from schemas.stix import read_object
from schemas.tombstone import tombstone
from schemas.topics import REPORTS
from services.accept import stix_door
from services.accept.framing import unpack
from services.accept.packing import prepare
from tests.fakes import source_agreement
from tests.unit.accept.test_selectors import AT, ORIGIN, id_of, thing
from tests.unit.core_world import Core
from tests.unit.govern.world import SECRET, agreement, world

TERMS = {"defaults": {"consent": "not-required", "tlp": "green"}}
OPEN = {"defaults": {"consent": "not-required", "tlp": "clear", "published": True}}
EVERYONE = ("ngo", "platform", "state-of-xa", "state-of-xb")


def partners(terms: dict[str, Any]) -> Any:
    return world(
        agreement("ngo"),
        agreement("platform", kind="platform", jurisdiction="XA"),
        agreement("state-of-xa", kind="government", jurisdiction="XA", controlled_by=["XA"]),
        agreement("state-of-xb", kind="government", jurisdiction="XB", controlled_by=["XB"]),
        agreement("alpha", receives=False, contributes=terms),
    )


def handled(**said: Any) -> dict[str, Any]:
    return {"extensions": {HANDLING_ID: {"extension_type": "property-extension", **said}}}


def incident(**more: Any) -> dict[str, Any]:
    about = {"name": "Internet outage", "description": "No route at all.", **more}
    return thing("incident", 1, **about, **handled(category="shutdown", affected=["XA"]))


def observed(**more: Any) -> dict[str, Any]:
    said = {"first_observed": AT, "last_observed": AT, "number_observed": 10, **more}
    return thing("observed-data", 1, **said, **handled(category="censorship", affected=["XA"]))


def sent(*objects: dict[str, Any], terms: dict[str, Any] = TERMS) -> Core:
    core = Core(partners(terms))
    core.now_ms = ORIGIN.received_ms
    say(core, 1, *objects)
    return core


def say(core: Core, seq: int, *objects: dict[str, Any]) -> None:
    document = {"type": "bundle", "id": id_of("bundle", 0), "objects": list(objects)}
    reading = stix_door.read(document, source_agreement("alpha"), ORIGIN.received_ms)
    packed = prepare(reading, ORIGIN, SECRET)
    assert packed.refused == 0, packed.refusals
    core.work([(p.key, with_seq(p.value, seq)) for p in unpack(packed.messages) if p.topic is REPORTS])


def holders(core: Core, type_: str) -> set[str]:
    return {partner for partner in EVERYONE if core.of_type(partner, type_)}


def test_an_incident_reaches_whom_the_rules_let_it() -> None:
    core = sent(incident())
    assert holders(core, "incident") == {"ngo", "platform", "state-of-xb"}, "F05: not the state of those affected"
    [body] = core.of_type("ngo", "incident")
    assert (body["name"], body["description"]) == ("Internet outage", "No route at all.")
    ours = body["extensions"][HANDLING_ID]
    assert (ours["category"], ours["affected"]) == ("shutdown", ["XA"])
    [less] = core.of_type("state-of-xb", "incident")
    assert "affected" not in less["extensions"][HANDLING_ID], "F05: other states learn of no place"
    assert holders(sent(incident(), terms=OPEN), "incident") == set(EVERYONE)


def test_a_newer_version_takes_the_place_of_the_older_and_a_revoked_one_is_withdrawn() -> None:
    core = sent(incident())
    [before] = core.of_type("ngo", "incident")
    say(core, 2, incident(modified="2026-01-02T00:00:00.000Z", description="It recovered."))
    core.pass_time(60_000)
    [after] = core.of_type("ngo", "incident")
    assert (after["id"], after["description"]) == (before["id"], "It recovered.")
    assert after["modified"] > before["modified"]
    say(core, 3, incident(modified="2026-01-03T00:00:00.000Z", revoked=True))
    assert holders(core, "incident") == set()
    told = {partner for partner in EVERYONE if core.holds(partner, withdrawn=True)}
    assert told == {"ngo", "platform", "state-of-xb"}, "exactly those who were sent it"


SITE = {"type": "domain-name", "value": "news.example"}


# objects within observed data are deprecated; observables by themselves do not leave the hub
@pytest.mark.filterwarnings("ignore::stix2.exceptions.STIXDeprecationWarning")
def test_of_what_was_observed_only_what_is_on_the_list_leaves() -> None:
    parts = {
        "0": SITE | {"x_probe": "canary", "resolves_to_refs": ["1"]},
        "1": {"type": "ipv4-addr", "value": "198.51.100.7", "resolves_to_refs": ["2"]},
        "2": {"type": "mac-addr", "value": "00:00:5e:00:53:01"},
        "3": {"type": "email-addr", "value": "canary@volunteer.example"},
        "4": {"type": "x-probe", "value": "canary"},
        "5": {"type": "autonomous-system", "number": 64500, "name": "Made-up Telecom", "rir": "canary"},
        "6": {"type": "autonomous-system", "name": "canary", "number": 64501},
    }
    core = sent(observed(objects=parts))
    [body] = core.of_type("ngo", "observed-data")
    assert body["objects"] == {
        "0": SITE,
        "1": {"type": "ipv4-addr", "value": "198.51.100.7"},
        "5": {"type": "autonomous-system", "number": 64500, "name": "Made-up Telecom"},
        "6": {"type": "autonomous-system", "number": 64501, "name": "canary"},
    }
    assert (body["number_observed"], body["first_observed"][:10]) == (10, AT[:10])
    assert read_object(dict(body), strict=True).type == "observed-data"
    stix2.parse(body, version="2.1", allow_custom=True)


@pytest.mark.parametrize(
    "said",
    [
        {"objects": {"0": {"type": "email-addr", "value": "a@b.example"}}},
        {"object_refs": [id_of("domain-name", 3)]},
    ],
)
def test_what_was_observed_of_nothing_that_may_leave_is_for_nobody(said: dict[str, Any]) -> None:
    assert holders(sent(observed(**said)), "observed-data") == set()


def test_what_is_personal_in_a_part_does_not_leave() -> None:
    body = observed(objects={"0": SITE, "1": {"type": "url", "value": "https://news.example/for/amina"}})
    body["extensions"][HANDLING_ID]["personal"] = {"objects.1.value": "drop"}
    [held] = sent(body).of_type("ngo", "observed-data")
    assert held["objects"] == {"0": SITE}


@pytest.mark.parametrize("type_", ["incident", "observed-data"])
def test_a_withdrawal_is_valid(type_: str) -> None:
    body = tombstone(type_, id_of(type_, 1), ORIGIN.received_ms, ORIGIN.received_ms)
    assert read_object(dict(body), strict=True).revoked
    stix2.parse(body, version="2.1")
