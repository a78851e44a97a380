"""The rules of the sharing policy, one table of cases: who is denied, by which rules."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.agreement import Policy
from schemas.markings import Pap, Tlp, marking_id
from schemas.reference import Seen, Standing
from services.govern.compile import Compiled
from services.govern.facts import Facts
from services.govern.policy import RULES, decide, describe, groups
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, contribution, facts_in, known, names, world

PARTNERS = (
    agreement("clear", tlp="clear"),
    agreement("green", tlp="green", pap="green", onward="community"),
    agreement("amber", tlp="amber", onward="clients", max_age_days=90, min_confidence=50),
    agreement("strict", tlp="amber+strict", purposes=["detect"]),
    agreement("red", tlp="red", categories=["spyware"]),
    agreement("community", tlp="red", onward="community", types=["malware"]),
    agreement("ministry", kind="government", jurisdiction="XA"),
    agreement("cert", kind="cert", jurisdiction="XA", controlled_by=["XA"]),
    agreement("former", ends="2026-06-01"),
)
ALL = {a.id for a in PARTNERS}
TERMS = {"consent": "not-required"}
GREEN = marking_id(Tlp.GREEN)
PUBLISHED = {"published": True}


def decided(**fields: Any) -> dict[str, set[str]]:
    """rule → whom it denies."""
    compiled = world(*PARTNERS)
    item = known(source=contribution(**fields))
    verdict = decide(facts_in(item, "source", compiled), compiled)
    return {rule: names(who, compiled) for rule, who in verdict.denied}


TLP_CASES = [
    ((marking_id(Tlp.CLEAR),), {}, set()),
    ((GREEN,), {}, {"clear"}),
    ((marking_id(Tlp.AMBER),), {}, {"clear", "green", "community"}),
    ((marking_id(Tlp.AMBER_STRICT),), {}, {"clear", "green", "amber", "community"}),
    ((marking_id(Tlp.RED),), {}, ALL),
    ((marking_id(Tlp.RED),), {"named": ["red", "amber", "community"]}, ALL - {"red"}),
    ((marking_id(Tlp.CLEAR), marking_id(Tlp.AMBER)), {}, {"clear", "green", "community"}),
    ((GREEN, marking_id(Pap.AMBER)), {}, {"clear", "green"}),
    ((marking_id(Tlp.CLEAR), marking_id(Pap.RED)), {}, {"green"}),
]


@pytest.mark.parametrize(("markings", "handling", "denied"), TLP_CASES)
def test_tlp_and_pap(markings: tuple[str, ...], handling: dict[str, Any], denied: set[str]) -> None:
    assert decided(markings=markings, handling=handling, confidence=80).get("F02", set()) == denied


UNKNOWN = "marking-definition--00000000-0000-4000-8000-000000000000"
DENIED_TO_ALL = [
    ("no marking at all", "F01", {}),
    ("a marking that nobody knows", "F01", {"markings": (GREEN, UNKNOWN)}),
    ("PAP alone is no TLP", "F01", {"markings": (marking_id(Pap.CLEAR),)}),
    ("a granular marking that nobody knows", "F01", {"markings": (GREEN,), "granular": ((UNKNOWN, ("id",)),)}),
    ("consent unknown", "F03", {"markings": (GREEN,), "handling": {"consent": {"status": "unknown"}}}),
    (
        "a grant without kinds",
        "F03",
        {"markings": (GREEN,), "handling": {"consent": {"status": "granted"}}},
    ),
    (
        "a grant that has run out",
        "F03",
        {
            "markings": (GREEN,),
            "handling": {"consent": {"status": "granted", "kinds": ["ngo"], "until": "2026-11-01T00:00:00Z"}},
        },
    ),
    ("no purpose left", "F08", {"markings": (GREEN,), "handling": {"purposes": []}}),
    ("personal as a whole", "F10", {"markings": (GREEN,), "handling": {"personal": {"description": "deny"}}}),
    (
        "a required property is personal",
        "F10",
        {"markings": (GREEN,), "handling": {"personal": {"pattern": "drop"}}, "pattern": "[url:value = 'x']"},
    ),
]


@pytest.mark.parametrize(("why", "rule", "fields"), DENIED_TO_ALL, ids=[case[0] for case in DENIED_TO_ALL])
def test_denied_to_all(why: str, rule: str, fields: dict[str, Any]) -> None:
    assert decided(**fields)[rule] == ALL


def test_states_get_only_what_is_clear_and_published() -> None:
    clear = (marking_id(Tlp.CLEAR),)
    assert "F05" not in decided(markings=clear, handling=PUBLISHED)
    assert decided(markings=clear)["F05"] == {"ministry", "cert"}
    assert decided(markings=(GREEN,), handling=PUBLISHED)["F05"] == {"ministry", "cert"}
    assert decided(markings=(*clear, marking_id(Pap.GREEN)), handling=PUBLISHED)["F05"] == {"ministry", "cert"}


def test_purpose_age_and_confidence() -> None:
    assert decided(markings=(GREEN,), handling={"purposes": ["assist"]})["F08"] == {"strict"}
    old = NOW_MS - 90 * DAY_MS
    assert "F09" not in decided(markings=(GREEN,), modified_ms=old, last_seen_ms=old)
    assert decided(markings=(GREEN,), modified_ms=old - 1, last_seen_ms=old - 1)["F09"] == {"amber"}
    assert "F09" not in decided(markings=(GREEN,), modified_ms=old - 1, last_seen_ms=NOW_MS)
    assert decided(markings=(GREEN,), confidence=49)["F12"] == {"amber"}
    assert "F12" not in decided(markings=(GREEN,), confidence=50)
    assert decided(markings=(GREEN,))["F12"] == {"amber"}


def test_the_permit_needs_an_agreement_in_force_that_wants_it() -> None:
    assert decided(markings=(GREEN,))["P00"] == {"former", "red", "community"}
    assert decided(markings=(GREEN,), handling={"category": "spyware"})["P00"] == {"former", "community"}
    assert decided(markings=(GREEN,), handling={"category": "phishing"})["P00"] == {"former", "red", "community"}


def test_a_source_on_probation_reaches_nobody() -> None:
    new = agreement("new", receives=False, contributes={"probation": True, "defaults": {"consent": "not-required"}})
    compiled = world(*PARTNERS, new)
    word = contribution(markings=(marking_id(Tlp.CLEAR),), handling=PUBLISHED, confidence=90)
    verdict = decide(facts_in(known(new=word), "new", compiled), compiled)
    assert names(dict(verdict.denied)["P00"], compiled) == ALL


def test_all_denials_are_collected() -> None:
    rules = {rule for rule, who in decided(handling={"consent": {"status": "unknown"}}).items() if "clear" in who}
    assert rules == {"F01", "F03"}


def test_what_cannot_be_without_a_reference_is_denied() -> None:
    compiled = world(*PARTNERS)
    source = contribution(markings=(GREEN,), references=(("source_ref", "aa"), ("target_ref", "bb")))
    item = known(source=source).model_copy(update={"type": "relationship"})
    verdict = decide(facts_in(item, "source", compiled), compiled)
    assert names(dict(verdict.denied)["F11"], compiled) == ALL
    assert not verdict.permitted


@pytest.mark.parametrize(
    ("fields", "rule"),
    [({"revoked": True}, "F07"), ({"handling": {"consent": {"status": "withdrawn"}}}, "F03")],
)
def test_lifecycle_decides_alone(fields: dict[str, Any], rule: str) -> None:
    assert decided(markings=(UNKNOWN,), **fields) == {rule: ALL}


def test_default_deny() -> None:
    """No partner, no rule and no fact that is missing may ever permit."""
    nobody = world()
    item = known(source=contribution(markings=(marking_id(Tlp.CLEAR),)))
    facts = facts_in(item, "source", nobody)
    assert decide(facts, nobody).permitted == 0
    stranger = known(stranger=contribution())
    compiled = world(*PARTNERS)
    verdict = decide(facts_in(stranger, "stranger", compiled), compiled)
    assert verdict.permitted == 0
    assert {"F01", "F03"} <= {rule for rule, _ in verdict.denied}


def test_an_error_in_a_rule_denies_everyone() -> None:
    def broken(_facts: Facts, _compiled: Compiled) -> Any:
        raise ZeroDivisionError

    compiled = world(*PARTNERS)
    item = known(source=contribution(markings=(marking_id(Tlp.CLEAR),), handling=PUBLISHED, confidence=90))
    facts = facts_in(item, "source", compiled)
    assert decide(facts, compiled).permitted
    verdict = decide(facts, compiled, (*RULES, ("F99", broken)))
    assert verdict.permitted == 0
    assert verdict.errors == ("F99: ZeroDivisionError",)


def test_a_marking_that_the_policy_maps() -> None:
    compiled = world(*PARTNERS, policy=Policy(markings={UNKNOWN: "amber"}))
    item = known(source=contribution(markings=(UNKNOWN,)))
    facts = facts_in(item, "source", compiled)
    assert facts.tlp is Tlp.AMBER
    assert "F01" not in dict(decide(facts, compiled).denied)


def test_groups_part_everyone_by_their_rules() -> None:
    compiled = world(*PARTNERS)
    item = known(source=contribution(markings=(GREEN,), confidence=80))
    verdict = decide(facts_in(item, "source", compiled), compiled)
    parts = groups(verdict, compiled.everyone)
    together = 0
    for _, who in parts:
        assert not together & who
        together |= who
    assert together | verdict.permitted == compiled.everyone
    assert names(verdict.permitted, compiled) == {"green", "amber", "strict"}
    by_rules = {rules: names(who, compiled) for rules, who in parts}
    assert () not in by_rules
    assert by_rules[("F05",)] == {"ministry", "cert"}
    assert by_rules[("F02",)] == {"clear"}


def test_every_rule_can_be_described() -> None:
    assert all(len(text) > 10 for text in describe().values())
    assert {rule for rule, _ in RULES} <= describe().keys()


# --- what is asked for before it goes out -------------------------------------------------------------------------

RED = marking_id(Tlp.RED)
STATES = (
    agreement("platform", kind="platform", jurisdiction="XB"),
    agreement("ngo", jurisdiction="XN"),
    agreement("ally", kind="government", jurisdiction="XA"),
    agreement("cert", kind="cert", jurisdiction="XC", controlled_by=["XB"]),
    agreement("other", kind="government", jurisdiction="XO"),
)
PACT = Policy(pacts=(("XA", "XB"),))


def parts(compiled: Compiled, **fields: Any) -> dict[str, dict[str, str]]:
    """partner → obligations, of those that are permitted."""
    verdict = decide(facts_in(known(source=contribution(**fields)), "source", compiled), compiled)
    assert not verdict.errors
    return {name: dict(part.obligations) for part in verdict.parts for name in names(part.who, compiled)}


def test_a_granular_marking_drops_what_it_selects_from_those_who_may_not_have_it() -> None:
    compiled = world(*PARTNERS[:5])
    granular = ((marking_id(Tlp.AMBER), ("description", "labels.[0]")),)
    fields = {"markings": (marking_id(Tlp.CLEAR),), "confidence": 80, "handling": PUBLISHED, "labels": ("a", "b")}
    word = contribution(granular=granular, **fields)
    word = word.model_copy(update={"object": {**word.object, "description": "x", "labels": ["a", "b"]}})
    verdict = decide(facts_in(known(source=word), "source", compiled), compiled)
    by_partner = {n: dict(part.obligations) for part in verdict.parts for n in names(part.who, compiled)}
    dropped = {"description": "drop", "labels.[0]": "drop"}
    assert by_partner == {"clear": dropped, "green": dropped, "amber": {}, "strict": {}}
    assert {part.rules for part in verdict.parts} == {(), ("F02",)}


def test_suspected_allied_and_compelled() -> None:
    compiled = world(*STATES, policy=PACT)
    fields = {"markings": (GREEN,), "description": "x", "external_references": [{"source_name": "s"}]}
    handling = {"category": "phishing", "suspects": {"XB": 10}, "personal": {"description": "generalise"}}
    assert parts(compiled, handling=handling, **fields) == {
        "platform": {"description": "drop", "external_references": "drop"},
        "ngo": {"description": "generalise"},
        "other": {"description": "generalise"},
    }
    open_ = {"markings": (marking_id(Tlp.CLEAR),)}
    assert set(parts(compiled, handling={**handling, **PUBLISHED}, **(fields | open_))) == {a.id for a in STATES}


def test_nobody_is_suspected() -> None:
    compiled = world(*STATES, policy=PACT)
    fields = {"markings": (GREEN,), "description": "x"}
    handling = {"category": "spyware", "personal": {"description": "pseudonymise"}}
    assert set(parts(compiled, handling=handling, **fields)) == {"platform", "ngo"}
    affected = {**handling, "affected": ["XB"]}
    assert parts(compiled, handling=affected, **fields) == {
        "platform": {"description": "drop"},
        "ngo": {"description": "pseudonymise"},
        "ally": {"description": "drop", "affected": "generalise"},
        "other": {"description": "drop", "affected": "generalise"},
    }
    assessed = {**handling, "suspects": {}}
    assert set(parts(compiled, handling=assessed, **fields)) == {a.id for a in STATES}


def test_any_of_item_and_enrichment_makes_a_state_possible() -> None:
    compiled = world(*STATES)
    word = contribution(markings=(GREEN,), handling={"category": "phishing"})
    item = known(source=word)
    assert "F05" not in dict(decide(facts_in(item, "source", compiled), compiled).denied)
    found = facts_in(item, "source", compiled, enriched="spyware")
    assert names(dict(decide(found, compiled).denied)["F05"], compiled) == {"ally", "cert", "other"}


def test_suspects_of_doubtful_sources_bind_their_own_word_alone() -> None:
    doubtful = agreement("doubtful", receives=False, contributes={"reliability": "D", "defaults": TERMS})
    compiled = world(*STATES, doubtful, policy=PACT)
    word = contribution(markings=(GREEN,), handling={"category": "phishing", "suspects": {"XO": 100}})
    plain = contribution(markings=(GREEN,), handling={"category": "phishing"})
    item = known(source=plain, doubtful=word)
    assert "F04" not in dict(decide(facts_in(item, "source", compiled), compiled).denied)
    assert names(dict(decide(facts_in(item, "doubtful", compiled), compiled).denied)["F04"], compiled) == {"other"}
    reliable = known(source=word, doubtful=plain)
    for source in ("source", "doubtful"):
        denied = dict(decide(facts_in(reliable, source, compiled), compiled).denied)
        assert names(denied["F04"], compiled) == {"other"}


def test_an_embargo_lets_wait_whoever_nothing_else_denies() -> None:
    compiled = world(*PARTNERS)
    embargo = {"embargo": {"until": "2026-12-01T00:00:00Z", "group": ["green"]}, "category": "phishing"}
    item = known(source=contribution(markings=(GREEN,), handling={**embargo, "suspects": {}}, confidence=80))
    verdict = decide(facts_in(item, "source", compiled), compiled)
    assert names(verdict.permitted, compiled) == {"green"}
    assert names(verdict.waits, compiled) == {"amber", "strict", "ministry", "cert"}
    assert names(verdict.silent & verdict.waits, compiled) == {"amber", "strict", "ministry", "cert"}
    later = decide(facts_in(item, "source", compiled, now_ms=NOW_MS + 30 * DAY_MS), compiled)
    assert names(later.permitted, compiled) == {"green", "amber", "strict", "ministry", "cert"}


def test_consent_reaches_no_further_than_it_was_granted() -> None:
    compiled = world(*STATES, agreement("detecting", kind="platform", purposes=["detect"]))
    grant = {"status": "granted", "kinds": ["platform", "ngo"], "purposes": ["assist"]}
    handling = {"category": "phishing", "suspects": {}, "consent": grant, "personal": {"description": "drop"}}
    fields = {"markings": (GREEN,), "description": "x"}
    assert parts(compiled, handling=handling, **fields) == {"platform": {"description": "drop"}, "ngo": {}}
    elsewhere = {**handling, "purposes": ["detect"]}
    assert parts(compiled, handling=elsewhere, **fields) == {}, "consent to one use, permission for another"


def test_one_more_step_than_can_be_carried_out_denies_by_the_rule_that_asked() -> None:
    compiled = world(*STATES)
    granular = ((RED, ("pattern",)),)
    word = contribution(markings=(GREEN,), granular=granular, pattern="[domain-name:value = 'a.example']")
    denied = dict(decide(facts_in(known(source=word), "source", compiled), compiled).denied)
    assert names(denied["F02"], compiled) == {a.id for a in STATES}


@pytest.mark.parametrize(
    "selector", ["__class__", "description.__class__", "labels.name", "", "a..b", "labels.[x]"]
)
def test_selectors_that_lead_nowhere_never_widen(selector: str) -> None:
    compiled = world(*STATES)
    word = contribution(markings=(GREEN,), granular=((RED, (selector,)),), description="x")
    word = word.model_copy(update={"object": {**word.object, "labels": ["a"]}})
    verdict = decide(facts_in(known(source=word), "source", compiled), compiled)
    untouched = decide(facts_in(known(source=contribution(markings=(GREEN,))), "source", compiled), compiled)
    assert not verdict.permitted & ~untouched.permitted


def denials(compiled: Compiled, *, default_category: str | None = None, **fields: Any) -> dict[str, set[str]]:
    item = known(source=contribution(markings=(GREEN,), **fields))
    facts = facts_in(item, "source", compiled)._replace(default_category=default_category)
    return {rule: names(who, compiled) for rule, who in decide(facts, compiled).denied}


def test_consent_and_item_each_deny_by_their_own_purposes() -> None:
    compiled = world(
        agreement("detects", purposes=["detect"]),
        agreement("assists", purposes=["assist"]),
        agreement("both", purposes=["detect", "assist"]),
    )
    grant = {"status": "granted", "kinds": ["ngo"], "purposes": ["assist"]}
    denied = denials(compiled, handling={"purposes": ["detect"], "consent": grant})
    assert denied == {"F03": {"detects", "both"}, "F08": {"assists"}}


def test_an_empty_list_of_affected_states_is_no_statement_of_where_they_are() -> None:
    compiled = world(*STATES)
    handling = {"category": "spyware", "affected": []}
    assert denials(compiled, handling=handling) == {"F05": {"ally", "cert", "other"}}


def test_a_category_that_is_the_sources_default_makes_a_state_possible_too() -> None:
    compiled = world(*STATES)
    handling = {"category": "phishing"}
    assert denials(compiled, handling=handling) == {}
    assert denials(compiled, handling=handling, default_category="spyware") == {"F05": {"ally", "cert", "other"}}


def test_only_the_rule_that_asks_for_what_cannot_be_done_denies() -> None:
    compiled = world(*STATES)
    handling = {"category": "phishing", "suspects": {"XB": 10}, "personal": {"pattern": "host-only"}}
    url = "https://login.lure.example/u/amina-k"
    item = known(kind="url", value=url, source=contribution(markings=(GREEN,), handling=handling, pattern="x"))
    denied = dict(decide(facts_in(item, "source", compiled), compiled).denied)
    assert names(denied["F04"], compiled) == {"cert", "platform"}
    assert "F10" not in denied, "it asks for the host alone, and that can be done"


def test_rules_that_together_take_all_that_is_required_deny_together() -> None:
    compiled = world(agreement("low", tlp="green"), agreement("high"))
    handling = {"category": "phishing", "suspects": {}, "personal": {"object_refs.[0]": "drop"}}
    references = (("object_refs", "aa"), ("object_refs", "bb"))
    word = contribution(
        markings=(GREEN,),
        handling=handling,
        references=references,
        granular=((marking_id(Tlp.AMBER), ("object_refs.[1]",)),),
    )
    standing = Standing(epoch=1, copies=(Seen(to="ff", id="indicator--1"),))
    item = known(source=word).model_copy(update={"type": "report", "ends": {"aa": standing, "bb": standing}})
    denied = dict(decide(facts_in(item, "source", compiled), compiled).denied)
    assert {rule: names(who, compiled) for rule, who in denied.items()} == {"F02": {"low"}, "F10": {"low"}}


def test_an_own_pap_does_not_undo_a_stricter_default() -> None:
    """One more marking never widens."""
    cautious = agreement("cautious", receives=False, contributes={"defaults": {**TERMS, "pap": "red"}})
    compiled = world(agreement("amber", pap="amber"), cautious)
    for more in ((), (marking_id(Pap.CLEAR),)):
        item = known(cautious=contribution(markings=(GREEN, *more)))
        denied = dict(decide(facts_in(item, "cautious", compiled), compiled).denied)
        assert names(denied["F02"], compiled) == {"amber"}
