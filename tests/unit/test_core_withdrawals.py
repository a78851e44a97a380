"""Withdrawals through the core: who is told, who is left with what, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.bits import NOBODY, to_hex
from schemas.decision import Decision
from schemas.report import Report
from tests.unit.core_world import Core, key
from tests.unit.govern.world import NOW_MS, agreement, world
from tests.unit.test_core import AMBER, CLEAR, TERMS, WORLD, link, said

CONSENTS = {"consent": {"status": "not-required"}}
LATER_MS = NOW_MS + 1


def takes_back(name: str, source: str, seq: int, why: str, **fields: Any) -> tuple[str, Report]:
    record, word = said(name, source, seq, at_ms=NOW_MS, **fields)
    erased = {"kind": "", "value": "", "object": {"type": word.type}, "references": (), "withdrawn": why}
    return record, word.model_copy(update=erased)


@pytest.mark.parametrize(("why", "rule"), [("revoked", "F07"), ("consent", "F03")])
def test_who_was_sent_it_is_told_and_nobody_else(why: str, rule: str) -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=AMBER))
    [body] = core.holds("high").values()
    core.hear(takes_back("lure", "alpha", 2, why))
    assert core.holds("high") == core.holds("low") == core.holds("low", withdrawn=True) == {}
    [tombstone] = core.holds("high", withdrawn=True).values()
    assert (tombstone["id"], tombstone["revoked"], "lure" in str(tombstone)) == (body["id"], True, False)
    [judgement] = Decision.from_bytes(core.decisions[key("lure")]).judgements
    assert {group.rules for group in judgement.groups} == {(rule,)}
    assert "lure.example" not in str(core.known("lure"))


@pytest.mark.parametrize("why", ["revoked", "consent"])
def test_what_was_sent_to_nobody_is_withdrawn_without_a_word(why: str) -> None:
    core = Core(WORLD)
    core.hear(said("lure"))  # without a marking
    core.hear(takes_back("lure", "alpha", 2, why))
    assert core.holds("high", withdrawn=True) == {}
    assert not any(core.copies())


@pytest.mark.parametrize("why", ["revoked", "consent"])
def test_what_others_say_stays_and_shows_nothing_of_what_is_gone(why: str) -> None:
    core = Core(WORLD)
    core.hear(said("lure", "alpha", 1, markings=CLEAR, name="alphas", labels=("alphas",)))
    core.hear(said("lure", "beta", 2, markings=CLEAR, name="betas"))
    core.hear(takes_back("lure", "alpha", 3, why))
    for partner in ("low", "high"):
        [body] = core.holds(partner).values()
        assert (body["name"], "alphas" in str(body)) == ("betas", False)
    only = Core(WORLD)
    only.hear(said("lure", "beta", 2, markings=CLEAR, name="betas"))
    assert core.holds("low").keys() == only.holds("low").keys()


@pytest.mark.parametrize("why", ["revoked", "consent"])
def test_what_comes_back_has_another_id(why: str) -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=CLEAR))
    [before] = core.holds("low")
    core.hear(takes_back("lure", "alpha", 2, why))
    core.hear(said("lure", "alpha", 3, markings=CLEAR, at_ms=LATER_MS))
    assert len(core.holds("low")) == (1 if why == "revoked" else 0)
    core.hear(said("lure", "alpha", 4, markings=CLEAR, handling=CONSENTS, at_ms=LATER_MS + 1))
    [after] = core.holds("low")
    assert after != before
    assert core.holds("low")[after]["pattern"] == "[domain-name:value = 'lure.example']"
    assert set(core.holds("low", withdrawn=True)) == {before}


def test_what_refers_to_it_goes_with_it() -> None:
    core = Core(WORLD)
    core.hear(
        said("lure", markings=CLEAR),
        said("kit", "alpha", 1, type="malware", name="Kit", is_family=True, markings=CLEAR),
        link("joins", "lure", "kit", markings=CLEAR),
    )
    assert len(core.of_type("low", "relationship")) == 1
    core.hear(takes_back("lure", "alpha", 2, "consent"))
    assert core.of_type("low", "relationship") == core.of_type("low", "indicator") == []


def test_a_relationship_is_withdrawn_and_its_ends_stay() -> None:
    core = Core(WORLD)
    core.hear(
        said("lure", markings=CLEAR),
        said("kit", "alpha", 1, type="malware", name="Kit", is_family=True, markings=CLEAR),
        link("joins", "lure", "kit", markings=CLEAR),
    )
    core.hear(takes_back("joins", "alpha", 2, "revoked", type="relationship"))
    assert core.of_type("low", "relationship") == []
    assert [body["type"] for body in core.holds("low", withdrawn=True).values()] == ["relationship"]
    assert {body["type"] for body in core.holds("low").values()} == {"indicator", "malware"}


def test_a_sighting_that_is_withdrawn_bears_on_nothing() -> None:
    core = Core(WORLD)
    sighting = {"type": "sighting", "of": "lure", "count": 5}
    ends = (("sighting_of_ref", "lure"),)
    core.hear(said("lure", markings=CLEAR))
    core.hear(said("seen", "beta", 1, record="lure", markings=CLEAR, references=ends, **sighting))
    assert [one.value for one in core.known("lure").feedback.values()] == [5]
    core.hear(takes_back("seen", "beta", 2, "revoked", record="lure", **sighting))
    feedback = core.known("lure").feedback.values()
    assert all(one.to == to_hex(NOBODY) for one in feedback)
    assert core.of_type("low", "sighting") == []


def test_what_is_urgent_goes_out_before_its_window() -> None:
    core = Core(WORLD)
    for urgent in (True, False):
        name = f"lure-{urgent}"
        handling = {"urgent": urgent}
        core.hear(said(name, "alpha", 1, markings=CLEAR, handling=handling, name="first"))
        core.hear(said(name, "alpha", 2, markings=CLEAR, handling=handling, name="second", at_ms=NOW_MS))
    bodies = {body["pattern"]: body["name"] for body in core.holds("low").values()}
    assert bodies == {
        "[domain-name:value = 'lure-True.example']": "second",
        "[domain-name:value = 'lure-False.example']": "first",
    }


def test_a_reference_that_is_not_found_asks_nobody() -> None:
    core = Core(WORLD)
    refs = (("created_by_ref", ""), ("object_refs", ""), ("object_refs", key("lure").hex()))
    record, word = said("paper", type="report", name="r", markings=CLEAR)
    core.hear(said("lure", markings=CLEAR), (record, word.model_copy(update={"references": refs})))
    [body] = core.of_type("low", "report")
    [indicator] = core.of_type("low", "indicator")
    assert body["object_refs"] == [indicator["id"]]


def test_a_consent_that_is_withdrawn_makes_nobody_less_suspect() -> None:
    core = Core(
        world(
            agreement("ministry", kind="government", jurisdiction="XA"),
            *(agreement(name, receives=False, contributes=TERMS) for name in ("alpha", "beta")),
        )
    )
    phishing = {"category": "phishing"}
    core.hear(said("lure", "alpha", 1, markings=AMBER, handling={**phishing, "suspects": {"XA": 50}}))
    core.hear(said("lure", "beta", 2, markings=CLEAR, handling=phishing))
    assert not core.holds("ministry")
    core.hear(takes_back("lure", "alpha", 3, "consent"))
    assert not core.holds("ministry")
    core.hear(takes_back("lure", "alpha", 4, "revoked"))
    assert not core.holds("ministry"), "a consent that was withdrawn stays so"
