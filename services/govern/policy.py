"""The rules of the sharing policy (deploy/policy.md), each a function from facts to those it denies.

All forbids are evaluated and all denials collected; without the permit P00 nobody gets anything; a rule that
raises denies everyone. A recipient that no rule denies is permitted.

Narrower than the full policy where a rule's finer part is still to come: consent, suspects, embargoes, personal
selectors and granular markings deny everyone, so does a source on probation, and governments and whoever a state
controls get only what is CLEAR and published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from schemas.bits import NOBODY, Bits, union
from schemas.markings import Pap, Tlp
from services.govern.compile import Compiled
from services.govern.facts import Facts
from services.govern.obligations import ALLOWED

DAY_MS = 86_400_000
TAKE_THEIR_ENDS_CATEGORY = frozenset({"relationship", "sighting"})

Rule = Callable[[Facts, Compiled], Bits]
"""Whom it denies, within `everyone`."""


def f01_marking(facts: Facts, compiled: Compiled) -> Bits:
    """A marking that is not resolved, or none at all."""
    return compiled.everyone if facts.markings.unresolved or facts.tlp is None else NOBODY


def f02_tlp(facts: Facts, compiled: Compiled) -> Bits:
    """Above the ceiling; further away than the level lets it travel; above the PAP that is honoured."""
    if facts.granular:
        return compiled.everyone
    allowed = compiled.everyone
    if facts.tlp is not None:
        allowed = Bits(allowed & compiled.cleared_for[facts.tlp] & _reach(facts, facts.tlp, compiled))
    if facts.pap is not None:
        allowed = Bits(allowed & compiled.honours[facts.pap])
    return Bits(compiled.everyone & ~allowed)


def _reach(facts: Facts, tlp: Tlp, compiled: Compiled) -> Bits:
    keeps_to_itself = compiled.onward.get("none", NOBODY)
    if tlp is Tlp.RED:
        return Bits(keeps_to_itself & _any_of(compiled.number, *(facts.handling.named or ())))
    if tlp is Tlp.AMBER_STRICT:
        return keeps_to_itself
    if tlp is Tlp.AMBER:
        return Bits(compiled.everyone & ~compiled.onward.get("community", NOBODY))
    return compiled.everyone


def f03_consent(facts: Facts, compiled: Compiled) -> Bits:
    """Consent that is needed and not known to cover the recipient."""
    return NOBODY if facts.consent == "not-required" else compiled.everyone


def f04_perpetrator(facts: Facts, compiled: Compiled) -> Bits:
    """Somebody is suspected, and this is suspected, could be compelled, or is allied with who is."""
    if facts.handling.suspects is not None:
        return compiled.everyone
    return NOBODY if _open(facts) else _any_of(compiled.within_reach, *facts.suspects)


def f05_perpetrator_unknown(facts: Facts, compiled: Compiled) -> Bits:
    """A state may be behind it, and this is a state, is controlled by one, or could be compelled by one."""
    if _open(facts):
        return NOBODY
    capable = facts.category is None or facts.category in compiled.state_capable
    affected = facts.handling.affected or () if capable else ()
    return Bits(compiled.governmental | _any_of(compiled.within_reach, *affected))


def _open(facts: Facts) -> bool:
    """Whether anybody can have it already: published, and every marking on it CLEAR."""
    clear = facts.tlp is Tlp.CLEAR and facts.pap in (None, Pap.CLEAR) and not facts.granular
    return clear and facts.published


def f06_embargo(facts: Facts, compiled: Compiled) -> Bits:
    """Not yet to be shared."""
    return NOBODY if facts.handling.embargo is None else compiled.everyone


def f08_purpose(facts: Facts, compiled: Compiled) -> Bits:
    """No purpose of the recipient is one that the item may be used for."""
    return Bits(compiled.everyone & ~_any_of(compiled.purposes, *facts.purposes))


def f09_age(facts: Facts, compiled: Compiled) -> Bits:
    """Older than the recipient wants it."""
    denied = 0
    for days, who in compiled.max_age:
        if facts.now_ms - facts.newest_ms > days * DAY_MS:
            denied |= who
    return Bits(denied)


def f10_personal(facts: Facts, compiled: Compiled) -> Bits:
    """It identifies a person at risk."""
    return compiled.everyone if facts.handling.personal else NOBODY


def f11_references(facts: Facts, compiled: Compiled) -> Bits:
    """It can't be without a reference to what the recipient may not have."""
    return Bits(compiled.everyone & ~facts.ends.required)


def f12_protected(facts: Facts, compiled: Compiled) -> Bits:
    """A protected asset: the site or account of the people themselves."""
    return compiled.everyone if facts.protected else NOBODY


def f12_quality(facts: Facts, compiled: Compiled) -> Bits:
    """Less certain than the recipient wants it; what states no confidence passes only where none is wanted."""
    denied = 0
    for bound, who in compiled.min_confidence:
        if bound > 0 and (facts.confidence is None or facts.confidence < bound):
            denied |= who
    return Bits(denied)


def p00_permit(facts: Facts, compiled: Compiled) -> Bits:
    """The permit: an agreement in force that wants this category and this type. Denies everyone else."""
    if facts.type not in ALLOWED or facts.probation:
        return compiled.everyone
    category = wants_category(facts.category, compiled)
    if facts.category is None and facts.type in TAKE_THEIR_ENDS_CATEGORY:
        category = Bits(category | facts.ends.some)  # who holds an end matched its category
    type_ = _any_of(compiled.types, "*", facts.type)
    return Bits(compiled.everyone & ~(compiled.in_force(facts.now_ms) & category & type_))


def wants_category(category: str | None, compiled: Compiled) -> Bits:
    """Those whose agreement takes items of the category; of what is unclassified, those that take everything."""
    return _any_of(compiled.categories, "*", category or "*")


def _any_of(sets: Mapping[str, Bits], *names: str) -> Bits:
    return union(sets.get(name, NOBODY) for name in names)


RULES: tuple[tuple[str, Rule], ...] = (
    ("F01", f01_marking),
    ("F02", f02_tlp),
    ("F03", f03_consent),
    ("F04", f04_perpetrator),
    ("F05", f05_perpetrator_unknown),
    ("F06", f06_embargo),
    ("F08", f08_purpose),
    ("F09", f09_age),
    ("F10", f10_personal),
    ("F11", f11_references),
    ("F12", f12_protected),
    ("F12", f12_quality),
    ("P00", p00_permit),
)
LIFECYCLE = {"F07": "Revoked by its source."}
"""What decides alone, before the rules."""

SILENT: frozenset[Rule] = frozenset(
    (
        *(f04_perpetrator, f05_perpetrator_unknown, f06_embargo, f09_age, f11_references, f12_quality),
        p00_permit,
    )
)
"""Rules that say nothing to those who were sent the item before: a retraction would tell a suspect."""


class Verdict(NamedTuple):
    """The decision on one contribution for all recipients.

    `denied` pairs a rule with those it denies, only where it denies somebody; `silent` are those whom a silent rule
    denies. `ended` is the lifecycle rule (F07, or F03 for withdrawn consent) that decides alone, or "".
    """

    permitted: Bits
    denied: tuple[tuple[str, Bits], ...]
    ended: str
    errors: tuple[str, ...]
    silent: Bits = NOBODY


def decide(facts: Facts, compiled: Compiled, rules: tuple[tuple[str, Rule], ...] = RULES) -> Verdict:
    """Decides one contribution for everyone at once."""
    ended = "F07" if facts.revoked or facts.gone else "F03" if facts.consent == "withdrawn" else ""
    if ended:
        return Verdict(NOBODY, ((ended, compiled.everyone),), ended, ())
    denied: dict[str, Bits] = {}
    errors: list[str] = []
    silent = 0
    for name, rule in rules:
        try:
            who = Bits(rule(facts, compiled) & compiled.everyone)
        except Exception as error:  # whatever it is: an error denies
            errors.append(f"{name}: {type(error).__name__}")
            who = compiled.everyone
        if who:
            denied[name] = Bits(denied.get(name, NOBODY) | who)
        if rule in SILENT:
            silent |= who
    refused = union(denied.values())
    return Verdict(Bits(compiled.everyone & ~refused), tuple(denied.items()), "", tuple(errors), Bits(silent))


def groups(verdict: Verdict, everyone: Bits) -> list[tuple[tuple[str, ...], Bits]]:
    """Recipients parted by the rules that deny them; those whom none denies come with ()."""
    parts: list[tuple[tuple[str, ...], int]] = [((), int(everyone))]
    for rule, who in verdict.denied:
        parts = [
            part
            for rules, members in parts
            for part in (((*rules, rule), members & who), (rules, members & ~who))
            if part[1]
        ]
    return [(rules, Bits(members)) for rules, members in parts]


def describe() -> dict[str, str]:
    """What each rule forbids, in a sentence, by its id."""
    sentences = dict(LIFECYCLE)
    for name, rule in RULES:
        sentence = (rule.__doc__ or "").strip().partition("\n")[0]
        sentences[name] = f"{sentences[name]} {sentence}" if name in sentences else sentence
    return sentences
