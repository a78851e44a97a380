"""How rules of the sharing policy are done otherwise for a test: what mutations are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest

from schemas.known import Known
from schemas.markings import Pap, Tlp
from services.govern import facts as facts_file
from services.govern import parting, policy
from services.govern.compile import Compiled
from services.govern.facts import Facts
from services.govern.policy import RULES, Rule, Ruling, Verdict

Patch = pytest.MonkeyPatch
Mutation = Callable[[Patch], None]


def decided_by(patch: Patch, rules: Iterable[tuple[str, Rule]]) -> None:
    patch.setattr(parting, "decide", partial(policy.decide, rules=tuple(rules)))


def without(rule: Rule) -> Mutation:
    return lambda patch: decided_by(patch, [(name, one) for name, one in RULES if one is not rule])


def instead(rule: Rule, other: Rule) -> Mutation:
    """The rule, done otherwise."""

    def mutate(patch: Patch) -> None:
        decided_by(patch, [(name, other if one is rule else one) for name, one in RULES])
        if rule is policy.f11_references:  # known by itself among the rules that oblige
            patch.setattr(policy, "f11_references", other)

    return mutate


def seeing(rule: Rule, facts: Callable[[Facts], Facts]) -> Mutation:
    """The rule, with other facts."""
    return instead(rule, lambda f, compiled: rule(facts(f), compiled))


def among(rule: Rule, compiled: Callable[[Compiled], Compiled]) -> Mutation:
    """The rule, among recipients that agreed to something else."""
    return instead(rule, lambda f, c: rule(f, compiled(c)))


def patched(owner: Any, name: str, value: Any) -> Mutation:
    return lambda patch: patch.setattr(owner, name, value)


def reading(change: Callable[..., Facts]) -> Mutation:
    """All rules, with other facts; `change` gets the facts, what is known, the source and the policy."""

    def mutate(patch: Patch) -> None:
        real = facts_file.facts_of

        def facts_of(known: Known, source: str, word: Any, compiled: Compiled, around: Any) -> Facts:
            return change(real(known, source, word, compiled, around), known, source, compiled)

        patch.setattr(parting, "facts_of", facts_of)

    return mutate


def judging(change: Callable[[Verdict, Facts, Compiled], Verdict]) -> Mutation:
    return patched(parting, "decide", lambda f, c: change(policy.decide(f, c), f, c))


def open_if(clear: bool = True, published: bool = True, pap: bool = True, granular: bool = True) -> Mutation:
    def is_open(facts: Facts) -> bool:
        return (
            (not clear or facts.tlp is Tlp.CLEAR)
            and (not published or facts.published)
            and (not pap or facts.pap in (None, Pap.CLEAR))
            and (not granular or all(mark.level in (None, Tlp.CLEAR, Pap.CLEAR) for mark in facts.granular))
        )

    return patched(policy, "is_open", is_open)


def not_obliging(rule: Rule, on: str) -> Mutation:
    def kept(facts: Facts, compiled: Compiled) -> Ruling:
        ruling = rule(facts, compiled)
        return ruling._replace(duties=tuple(duty for duty in ruling.duties if duty.selector != on))

    return instead(rule, kept)


def suspected_by(count: Callable[[str, Any, Compiled], bool]) -> Mutation:
    """Suspects of the contributions that count, otherwise."""

    def change(f: Facts, known: Known, source: str, compiled: Compiled) -> Facts:
        said = [
            word.handling["suspects"]
            for name, word in known.contributions.items()
            if word.handling.get("suspects") is not None and count(name, word, compiled)
        ]
        return f._replace(suspects=frozenset(state for states in said for state in states) if said else None)

    return reading(change)
