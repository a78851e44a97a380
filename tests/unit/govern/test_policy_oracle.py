"""The rules against another implementation of the same text: Cedar, with a schema and policies of its own.

Cedar skips a forbid that it can't evaluate. So the policies are validated against a schema in which every attribute
is there, and no answer may come with an error.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from random import Random
from typing import Any

import cedarpy
import pytest

from schemas.agreement import Agreement, Policy
from schemas.known import Contribution, Known
from schemas.markings import Pap, Tlp
from schemas.timestamps import parse_time
from services.govern.policy import RULES, decide
from tests.unit.govern import random_items
from tests.unit.govern.policy_table import FIXTURES
from tests.unit.govern.world import DAY_MS, NOW_MS, facts_in, names, world

POLICIES = (FIXTURES / "policy.cedar").read_text()
SCHEMA = (FIXTURES / "policy.cedarschema").read_text()
RULE_OF = {
    name: policy["annotations"]["rule"]
    for name, policy in json.loads(cedarpy.policies_to_json_str(POLICIES))["staticPolicies"].items()
}
TLP = {"clear": 1, "green": 2, "amber": 3, "amber+strict": 4, "red": 5}
PAP = {"clear": 1, "green": 2, "amber": 3, "red": 4}
ASKED = {name for name, _ in RULES if name != "F11"} | {"F07", "permit"}
"""F11 needs references, and is not in this comparison."""

WORLDS, ITEMS = 25, 16


# --- the text of the policy, as far as Cedar does not say it: absent facts, defaults, the union of suspects -------


def context(
    item: Known, source: str, by: Mapping[str, Agreement], policy: Policy, protected: bool, enriched: str
) -> dict[str, Any]:
    word, terms = item.contributions[source], by[source].contributes
    assert terms is not None
    said, defaults = word.handling, terms.defaults
    levels = dict(_levels(word))

    def own(name: str, otherwise: Any) -> Any:
        default = getattr(defaults, name)
        return said.get(name, otherwise if default is None else default)

    tlp = max(levels["tlp"], default=TLP[defaults.tlp] if defaults.tlp else 0)
    pap = max([*levels["pap"], PAP[defaults.pap] if defaults.pap else 0])  # one more marking never widens
    grant = said.get("consent", {})
    consent = grant.get("status") or defaults.consent or "unknown"
    purposes = set(own("purposes", ("detect", "protect", "assist", "respond")))
    suspects = _suspects(item, by)
    category = own("category", "")
    embargo = said.get("embargo")
    until = grant.get("until")
    return {
        "now": NOW_MS,
        "revoked": word.revoked,
        "ended": word.revoked or consent == "withdrawn",
        "unresolved": random_items.UNKNOWN in word.markings,
        "tlp": tlp,
        "pap": pap,
        "named": list(said.get("named", ())),
        "consent": consent,
        "grant": {
            "kindsStated": "kinds" in grant,
            "kinds": grant.get("kinds", []),
            "purposesStated": "purposes" in grant,
            "purposes": grant.get("purposes", []),
            "usable": sorted(purposes.intersection(grant.get("purposes", ()))),
            "untilStated": until is not None,
            "until": parse_time(until) if until else 0,
        },
        "published": own("published", False),
        "suspectsStated": suspects is not None,
        "suspects": sorted({*(suspects or ()), *said.get("suspects", ())}),
        "unclassified": not category,
        "said": [each for each in (category, defaults.category, enriched) if each],
        "category": category,
        "capable": list(policy.state_capable),
        "affected": list(own("affected", ())),
        "embargoed": embargo is not None,
        "until": parse_time(embargo["until"]) if embargo else 0,
        "group": embargo["group"] if embargo else [],
        "purposes": sorted(purposes),
        "newest": max(word.modified_ms, word.last_seen_ms),
        "personalDeny": "deny" in said.get("personal", {}).values(),
        "protected": protected,
        "confidence": word.object.get("confidence", -1 if defaults.confidence is None else defaults.confidence),
        "probation": terms.probation,
        "type": item.type,
    }


def _levels(word: Contribution) -> Iterator[tuple[str, list[int]]]:
    for name, scheme in (("tlp", Tlp), ("pap", Pap)):
        number = {random_items.marking_id(level): int(level) for level in scheme}
        yield name, [number[id_] for id_ in word.markings if id_ in number]


def _suspects(item: Known, by: Mapping[str, Agreement]) -> set[str] | None:
    counted = [
        set(word.handling["suspects"])
        for source, word in item.contributions.items()
        if "suspects" in word.handling
        and not word.revoked
        and (terms := by[source].contributes)
        and terms.reliability in ("A", "B", "C")
        and (word.handling["suspects"] or not terms.probation)
    ]
    return set().union(*counted) if counted else None


def partner(agreement: Agreement, policy: Policy) -> dict[str, Any]:
    who, terms = agreement.partner, agreement.receives
    assert terms is not None
    states = {*who.controlled_by, *([who.jurisdiction] if who.kind == "government" else [])}
    allies = {b for pact in policy.pacts for a, b in (pact, pact[::-1]) if a in states}
    attributes = {
        "name": who.id,
        "kind": who.kind,
        "jurisdiction": who.jurisdiction,
        "states": sorted(states),
        "allies": sorted(allies),
        "starts": _midnight(who.starts),
        "ends": _midnight(who.ends),
        "tlp": TLP[terms.tlp],
        "pap": PAP[terms.pap],
        "onward": terms.onward,
        "purposes": list(terms.purposes),
        "categories": list(terms.categories),
        "types": list(terms.types),
        "maxAge": terms.max_age_days * DAY_MS,
        "minConfidence": terms.min_confidence,
    }
    return {"uid": {"type": "Partner", "id": who.id}, "attrs": attributes, "parents": []}


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


# --- the comparison -----------------------------------------------------------------------------------------------


def answers(
    contexts: Iterable[dict[str, Any]], recipients: list[dict[str, Any]]
) -> Iterator[tuple[bool, set[str]]]:
    """Per context and recipient: whether it is permitted, and the rules that forbid."""
    requests = [
        {
            "principal": f'Partner::"{recipient["uid"]["id"]}"',
            "action": 'Action::"share"',
            "resource": 'Item::"item"',
            "context": each,
        }
        for each in contexts
        for recipient in recipients
    ]
    for answer in cedarpy.is_authorized_batch(requests, POLICIES, recipients, SCHEMA):
        assert answer.diagnostics.errors == [], "a forbid that is skipped would hide a difference"
        permitted = answer.decision is cedarpy.Decision.Allow
        yield permitted, {RULE_OF[name] for name in answer.diagnostics.reasons} - {"permit"}


@pytest.mark.parametrize("seed", range(3))
def test_another_implementation_decides_the_same(seed: int) -> None:
    r = Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(WORLDS):
        partners, sources, policy = random_items.recipients(r), random_items.sources(r), random_items.policy(r)
        compiled = world(*partners, *sources, policy=policy)
        by = {each.id: each for each in (*partners, *sources)}
        ids = [each.id for each in partners]
        cases = []
        for _ in range(ITEMS):
            item = random_items.item(r, ids)
            around = {"protected": random_items.seldom(r, 15), "enriched": r.choice(("", "", "spyware", "ddos"))}
            cases += [(item, source, around) for source in item.contributions]
        contexts = [context(item, source, by, policy, **around) for item, source, around in cases]
        theirs = answers(contexts, [partner(each, policy) for each in partners])
        for (item, source, around), asked in zip(cases, contexts, strict=True):
            verdict = decide(facts_in(item, source, compiled, **around), compiled)
            assert not verdict.errors
            denied = {rule: names(who, compiled) for rule, who in verdict.denied}
            permitted, waits = names(verdict.permitted, compiled), names(verdict.waits, compiled)
            for name in ids:
                ours = {rule for rule, who in denied.items() if name in who}
                allowed, rules = next(theirs)
                assert (name in permitted) is allowed, (name, ours, rules, asked)
                assert (ours or ({"F06"} if name in waits else set())) == (rules - {"F06"} or rules), (name, asked)
                seen.update(rules or {"permit"})
    assert seen.keys() == ASKED and min(seen.values()) > 30, seen


def test_no_forbid_can_be_skipped() -> None:
    assert cedarpy.validate_policies(POLICIES, SCHEMA).validation_passed
    broken = POLICIES + '@rule("F99") forbid (principal, action, resource) when { context.nothing == 1 };'
    assert not cedarpy.validate_policies(broken, SCHEMA).validation_passed
    assert set(RULE_OF.values()) == ASKED
