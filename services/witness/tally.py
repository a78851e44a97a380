"""What a decision record says about each recipient, over all contributions; and what of it is counted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.bits import NOBODY, Bits, from_hex, members
from schemas.decision import Decision, Group, Outcome
from services.govern.selectors import STRENGTH

BEST_FIRST: tuple[Outcome, ...] = ("permit", "retract", "tombstone", "wait", "deny")
"""A recipient gets the merge of the contributions that it may see, so one permit is enough."""


def outcomes(decision: Decision) -> dict[Outcome, Bits]:
    """For each outcome the recipients for whom it is the item's: the best over the contributions."""
    reached: dict[Outcome, int] = dict.fromkeys(BEST_FIRST, 0)
    for judgement in decision.judgements:
        for group in judgement.groups:
            reached[group.outcome] |= from_hex(group.recipients)
    best: dict[Outcome, Bits] = {}
    placed = 0
    for outcome in BEST_FIRST:
        best[outcome] = Bits(reached[outcome] & ~placed)
        placed |= reached[outcome]
    return best


def denied(decision: Decision) -> dict[str, Bits]:
    """For each rule the recipients that it denied the item to, in whichever contribution."""
    refused = outcomes(decision)["deny"]
    by_rule: dict[str, Bits] = {}
    for judgement in decision.judgements:
        for group in judgement.groups:
            if group.outcome == "deny" and (who := from_hex(group.recipients) & refused):
                for rule in group.rules:
                    by_rule[rule] = Bits(by_rule.get(rule, NOBODY) | who)
    return by_rule


def tally(decision: Decision) -> Counter[str]:
    """What one record adds to the counts: `versions` of items, `outcome.…` and `denied.…` per recipient."""
    counts = Counter({"versions": 1, "errors": len(decision.errors)})
    counts.update({f"outcome.{name}": who.bit_count() for name, who in outcomes(decision).items()})
    counts.update({f"denied.{rule}": who.bit_count() for rule, who in denied(decision).items()})
    return +counts


def verdicts(decision: Decision, name_of: Mapping[int, str]) -> dict[str, dict[str, Any]]:
    """By partner: outcome, the rules that made it, what is done to the copy, and each contribution's decision.

    `rules` and `obligations` are those of the contributions that have the item's outcome. A number without a name
    is shown as `#number`: a partner whose agreement is gone.
    """
    found: dict[str, dict[str, Any]] = {}
    for outcome, who in outcomes(decision).items():
        for bit in members(who):
            contributions = [
                _contribution(judgement.source, group)
                for judgement in decision.judgements
                for group in judgement.groups
                if from_hex(group.recipients) >> bit & 1
            ]
            made_it = [c for c in contributions if c["outcome"] == outcome]
            rules = {rule for c in made_it for rule in c["rules"]}
            found[name_of.get(bit, f"#{bit}")] = {
                "outcome": outcome,
                "rules": sorted(rules),
                "obligations": obligations_of([c["obligations"] for c in made_it]),
                "contributions": contributions,
            }
    return dict(sorted(found.items()))


def obligations_of(contributions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Of the merge: those on selectors that no contribution leaves in clear, the strongest on each."""
    first, *others = contributions
    return {
        selector: max((technique, *(other[selector] for other in others)), key=strength)
        for selector, technique in sorted(first.items())
        if all(selector in other for other in others)
    }


def strength(technique: str) -> tuple[int, str]:
    """What is no way to redact is no weaker than any."""
    return STRENGTH.get(technique, max(STRENGTH.values())), technique


def _contribution(source: str, group: Group) -> dict[str, Any]:
    return {
        "source": source,
        "outcome": group.outcome,
        "rules": list(group.rules),
        "obligations": dict(group.obligations),
    }
