"""Copies of which something was left out: whom they go to, under which ids, at what times, and how they end."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from schemas.markings import Tlp, marking_id
from schemas.report import Report
from schemas.timestamps import parse_time
from tests.unit.core_world import Core, report
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, world

GREEN, AMBER = (marking_id(Tlp.GREEN),), (marking_id(Tlp.AMBER),)
TERMS = {"defaults": {"consent": "not-required"}}
WORLD = world(
    agreement("one", kind="platform"),
    agreement("two", kind="platform"),
    agreement("helper", kind="ngo"),
    agreement("low", kind="platform", tlp="green"),
    *(agreement(name, receives=False, contributes=TERMS) for name in ("alpha", "beta")),
)
PLAIN = {"category": "phishing", "suspects": {}}
GRANTED = {"status": "granted", "kinds": ["platform", "ngo"]}
PERSONAL = {**PLAIN, "consent": GRANTED, "personal": {"description": "drop"}}
SECRET_TEXT = "Found on the phone of Amina K."


def said(name: str, source: str = "alpha", seq: int = 1, /, **fields: Any) -> tuple[str, Report]:
    return name, report(name, source, seq, **({"markings": GREEN, "handling": PLAIN} | fields))


def only(core: Core, partner: str, stix_type: str = "indicator") -> dict[str, Any]:
    [body] = core.of_type(partner, stix_type)
    return body


def personal(seq: int = 1, source: str = "alpha", **fields: Any) -> tuple[str, Report]:
    return said("lure", source, seq, **({"handling": PERSONAL, "description": SECRET_TEXT} | fields))


def test_each_recipient_has_an_id_and_times_of_its_own() -> None:
    core = Core(WORLD)
    core.hear(personal())
    bodies = {name: only(core, name) for name in ("one", "two", "low", "helper")}
    assert bodies["helper"]["description"] == SECRET_TEXT
    redacted = [bodies[name] for name in ("one", "two", "low")]
    assert all("description" not in body for body in redacted)
    for what in ("id", "created", "modified"):
        assert len({body[what] for body in bodies.values()}) == len(bodies), what
    assert SECRET_TEXT not in orjson.dumps(redacted).decode()
    assert bodies["helper"]["id"] not in orjson.dumps(redacted).decode()


def test_the_same_again_makes_the_same_copies() -> None:
    first, second = Core(WORLD), Core(WORLD)
    for core in (first, second):
        core.hear(personal())
    second.hear(personal(2))
    second.pass_time(DAY_MS)
    assert first.holds("one") == second.holds("one")


def test_what_is_unredacted_for_somebody_has_one_id_for_all_who_have_it_so() -> None:
    core = Core(WORLD)
    core.hear(said("plain"))
    assert len({only(core, name)["id"] for name in ("one", "two", "helper", "low")}) == 1


def test_an_unredacted_word_of_another_source_brings_the_shared_id_and_ends_the_old_one() -> None:
    core = Core(WORLD)
    core.hear(personal())
    old = only(core, "one")["id"]
    core.hear(said("lure", "beta", description="A lure."))
    new = only(core, "one")
    assert new["id"] == only(core, "two")["id"] == only(core, "helper")["id"]
    assert new["description"] == "A lure."
    assert list(core.holds("one", withdrawn=True)) == [old]
    assert not core.holds("helper", withdrawn=True)


def test_what_is_redacted_later_goes_on_under_its_id_in_a_narrower_version() -> None:
    core = Core(WORLD)
    core.hear(said("lure", description=SECRET_TEXT))
    before = only(core, "one")
    core.hear(personal(2))
    after = only(core, "one")
    assert after["id"] == before["id"] and after["created"] == before["created"]
    assert after["modified"] > before["modified"] and "description" not in after
    assert not core.holds("one", withdrawn=True)


def test_a_reference_to_a_redacted_copy_is_rewritten_and_redacts_what_refers() -> None:
    core = Core(WORLD)
    ends = [("source_ref", "lure"), ("target_ref", "family")]
    core.hear(
        personal(),
        said("family", type="malware", name="made-up", is_family=True),
        said("link", type="relationship", relationship_type="indicates", references=ends),
    )
    links = {name: only(core, name, "relationship") for name in ("one", "two", "helper")}
    for name, link in links.items():
        assert link["source_ref"] == only(core, name)["id"]
        assert link["target_ref"] == only(core, name, "malware")["id"]
    assert len({link["id"] for link in links.values()}) == 3
    assert links["one"]["target_ref"] == links["two"]["target_ref"]
    shared = {link["id"] for link in links.values()} & {only(core, "helper", "relationship")["id"]}
    assert shared == {links["helper"]["id"]}


def test_withdrawal_reaches_each_under_its_own_id() -> None:
    core = Core(WORLD)
    core.hear(personal())
    held = {name: only(core, name)["id"] for name in ("one", "two", "helper")}
    core.hear(personal(2, revoked=True))
    for name, id_ in held.items():
        [(told, body)] = core.holds(name, withdrawn=True).items()
        assert told == id_ and body["revoked"] and body["modified"] > body["created"]
        assert not core.holds(name)
    core.hear(personal(3, at_ms=NOW_MS + DAY_MS))
    assert only(core, "one")["id"] not in (held["one"], held["two"]), "a revocation is for ever"


def test_tombstones_are_never_two_of_one_thing() -> None:
    core = Core(WORLD)
    for seq in range(1, 7):
        core.hear(personal(seq, at_ms=NOW_MS + seq * DAY_MS, revoked=seq % 2 == 0))
    told = list(core.holds("one", withdrawn=True))
    assert len(told) == len(set(told)) == 3


def test_pseudonyms_differ_from_recipient_to_recipient_and_stay_within_one() -> None:
    handling = {**PLAIN, "consent": GRANTED, "personal": {"name": "pseudonymise"}}
    core = Core(WORLD)
    core.hear(*(said(name, handling=handling, name="Amina K.", value=f"{name}.example") for name in ("a", "b")))
    names = {partner: {body["name"] for body in core.of_type(partner, "indicator")} for partner in ("one", "two")}
    assert all(len(of_one) == 1 for of_one in names.values())
    assert names["one"] != names["two"]
    assert not any("Amina" in name for of_one in names.values() for name in of_one)


def test_a_lure_is_reduced_to_its_host() -> None:
    handling = {**PLAIN, "consent": GRANTED, "personal": {"pattern": "host-only"}}
    core = Core(WORLD)
    url = "https://login.lure.example/u/amina-k"
    core.hear(said("lure", handling=handling, value=url, kind="url", pattern=f"[url:value = '{url}']"))
    body = only(core, "one")
    assert body["pattern"] == "[domain-name:value = 'login.lure.example']"
    assert "amina" not in orjson.dumps(body).decode()
    assert only(core, "helper")["pattern"] == "[url:value = 'https://login.lure.example/u/amina-k']"
    [copy] = [c for c in core.copies() if c.body["id"] == body["id"]]
    assert (copy.kind, copy.value) == ("domain", "login.lure.example")


def test_a_granular_marking_narrows_its_part_and_marks_what_keeps_it() -> None:
    core = Core(WORLD)
    core.hear(said("mixed", granular=((AMBER[0], ("description",)),), description="for few"))
    assert "description" not in only(core, "low")
    assert only(core, "low")["object_marking_refs"] == list(GREEN)
    assert only(core, "one")["description"] == "for few"
    assert only(core, "one")["object_marking_refs"] == list(AMBER)


def test_families_named_in_what_is_left_out_are_left_out() -> None:
    core = Core(WORLD)
    core.hear(personal(description="Pegasus of NSO Group, on the phone of Amina K."))
    assert "egasus" in orjson.dumps(only(core, "helper")).decode()
    assert "egasus" not in orjson.dumps(only(core, "one")).decode()


def test_affected_states_are_left_out_for_other_states() -> None:
    states = world(
        agreement("ministry", kind="government", jurisdiction="XO"),
        agreement("private", kind="platform"),
        agreement("alpha", receives=False, contributes=TERMS),
    )
    core = Core(states)
    core.hear(said("spy", handling={"category": "spyware", "affected": ["XA"]}))
    assert "XA" in orjson.dumps(only(core, "private")).decode()
    assert "XA" not in orjson.dumps(only(core, "ministry")).decode()
    assert only(core, "private")["id"] != only(core, "ministry")["id"]


def test_an_embargo_ends_by_itself() -> None:
    core = Core(WORLD)
    until = "2026-11-25T00:00:00Z"
    core.hear(said("soon", handling={**PLAIN, "embargo": {"until": until, "group": ["helper"]}}))
    assert only(core, "helper") and not core.holds("one")
    core.pass_time(10 * DAY_MS)
    assert only(core, "one")["id"] == only(core, "helper")["id"]


def test_a_consent_that_runs_out_is_told() -> None:
    core = Core(WORLD)
    grant = {**GRANTED, "until": "2026-11-25T00:00:00Z"}
    core.hear(said("short", handling={**PLAIN, "consent": grant}))
    assert only(core, "one")
    core.pass_time(10 * DAY_MS)
    assert not core.holds("one") and len(core.holds("one", withdrawn=True)) == 1


@pytest.mark.parametrize("kind", ["one", "helper"])
def test_no_copy_holds_a_placeholder(kind: str) -> None:
    core = Core(WORLD)
    core.hear(personal(), said("o", handling={**PERSONAL, "personal": {"name": "pseudonymise"}}, name="n"))
    for body in core.holds(kind).values():
        assert not re.search(r"\\u0000|\x00", orjson.dumps(body).decode())


def test_malware_follows_what_refers_to_it() -> None:
    narrow = world(
        agreement("narrow", categories=["phishing"], types=["indicator", "relationship"]),
        agreement("alpha", receives=False, contributes=TERMS),
    )
    core = Core(narrow)
    family = said(
        "family",
        type="malware",
        name="made-up",
        is_family=True,
        handling={"category": "spyware"} | {"suspects": {}},
    )
    core.hear(family)
    assert not core.holds("narrow")
    ends = [("source_ref", "lure"), ("target_ref", "family")]
    core.hear(said("lure"), said("link", type="relationship", relationship_type="indicates", references=ends))
    assert {body["type"] for body in core.holds("narrow").values()} == {"indicator", "malware", "relationship"}
    core.hear(
        said("link", "alpha", 2, type="relationship", relationship_type="indicates", references=ends, revoked=True)
    )
    assert {body["type"] for body in core.holds("narrow").values()} == {"indicator"}


def test_an_author_goes_with_what_it_made_to_those_who_may_have_it() -> None:
    core = Core(WORLD)
    core.hear(
        said("lab", type="identity", name="A laboratory", identity_class="organization", markings=AMBER),
        said("made", references=[("created_by_ref", "lab")]),
    )
    assert only(core, "one")["created_by_ref"] == only(core, "one", "identity")["id"]
    assert "created_by_ref" not in only(core, "low")
    assert only(core, "low")["id"] == only(core, "one")["id"], "the same for all, so that they can deduplicate"


def test_what_is_referred_to_no_more_is_followed_no_more() -> None:
    core = Core(
        world(
            agreement("narrow", categories=["phishing"]),
            agreement("alpha", receives=False, contributes=TERMS),
        )
    )
    kept = {"category": "spyware", "suspects": {}}
    core.hear(
        said("lab", type="identity", name="A laboratory", identity_class="organization", handling=kept),
        said("made", references=[("created_by_ref", "lab")]),
    )
    assert core.of_type("narrow", "identity")
    core.hear(said("made", "alpha", 2, at_ms=NOW_MS))
    assert not core.of_type("narrow", "identity")
    assert only(core, "narrow")


def test_the_spans_between_versions_join_no_two_recipients() -> None:
    core = Core(WORLD)
    core.hear(personal(name="first"))
    times: dict[str, list[int]] = {name: [parse_time(only(core, name)["created"])] for name in ("one", "two")}
    for seq in range(2, 6):
        core.pass_time(5 * 3_600_000 + seq)
        core.hear(personal(seq, at_ms=NOW_MS + seq, name=f"version {seq}"))
        core.pass_time(60_000)
        for name, seen in times.items():
            seen.append(parse_time(only(core, name)["modified"]))
    core.hear(personal(9, at_ms=NOW_MS + 9, revoked=True))
    for name, seen in times.items():
        [tombstone] = core.holds(name, withdrawn=True).values()
        seen.append(parse_time(tombstone["modified"]))
        assert seen == sorted(set(seen)), "versions rise"
        assert seen[-1] <= core.now_ms
    spans = [{later - first for n, first in enumerate(seen) for later in seen[n + 1 :]} for seen in times.values()]
    assert not spans[0] & spans[1] and not set(times["one"]) & set(times["two"])


@pytest.mark.parametrize(
    "hidden",
    [
        {"labels": ("2026", "indicator", "property-extension")},
        {"description": "000Z"},
        {"pattern_type": "stix", "valid_from": "2026-11-18T00:00:00.000Z"},
        {"name": "phishing", "description": "domain-name"},
    ],
)
def test_what_is_hidden_takes_nothing_away(hidden: dict[str, Any]) -> None:
    whole, bare = Core(WORLD), Core(WORLD)
    for core in (whole, bare):
        core.hear(said("lure", description="Public.", valid_from="2026-11-18T00:00:00Z"))
    whole.hear(said("lure", "beta", 2, markings=(marking_id(Tlp.RED),), **hidden))
    assert whole.holds("one") == bare.holds("one") != {}


def test_an_author_of_itself_does_not_keep_itself() -> None:
    core = Core(
        world(
            agreement("only", kind="platform", types=["indicator"]),
            agreement("alpha", receives=False, contributes=TERMS),
        )
    )
    me = [("created_by_ref", "me")]
    core.hear(said("me", type="identity", name="Org", identity_class="organization", references=me))
    core.hear(said("lure", references=me))
    assert core.of_type("only", "identity")
    core.hear(said("lure", "alpha", 2, references=me, revoked=True))
    assert not core.holds("only")


NARROW = world(
    agreement("narrow", categories=["phishing"], types=["indicator", "sighting", "relationship"]),
    agreement("alpha", receives=False, contributes=TERMS),
)
SPYWARE = {"category": "spyware", "suspects": {}}


def spyware(name: str) -> tuple[str, Report]:
    return said(name, type="malware", name=name, is_family=True, handling=SPYWARE)


def link(name: str, source: str, target: str, seq: int = 1, **fields: Any) -> tuple[str, Report]:
    ends = [("source_ref", source), ("target_ref", target)]
    return said(name, "alpha", seq, type="relationship", relationship_type="related-to", references=ends, **fields)


def test_what_refers_to_nothing_else_takes_no_category_from_what_would_follow_it() -> None:
    core = Core(NARROW)
    core.hear(spyware("m1"))
    seen = said("s", of="m1", type="sighting", references=[("sighting_of_ref", "m1")], handling={"suspects": {}})
    core.hear(seen, link("self", "m1", "m1", handling={"suspects": {}}))
    assert not core.holds("narrow")


@pytest.mark.parametrize("last", ["link", "lure"])
def test_what_follows_keeps_nothing_that_follows(last: str) -> None:
    core = Core(NARROW)
    core.hear(spyware("m1"), spyware("m2"), said("lure"))
    core.hear(link("l1", "lure", "m1"), link("l2", "m1", "m2"))
    assert {body["name"] for body in core.of_type("narrow", "malware")} == {"m1"}
    core.hear(
        link("l1", "lure", "m1", 2, revoked=True) if last == "link" else said("lure", "alpha", 2, revoked=True)
    )
    assert not core.of_type("narrow", "malware")
