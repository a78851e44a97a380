"""Every rule, and every small fault that one could have, is noticed by the table of cases.

A mutation that survives is a hole in the table. Each names a case that kills it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from schemas.bits import NOBODY, Bits, union
from schemas.handling import Consent
from schemas.known import Known
from schemas.markings import Pap, Tlp
from services.govern import facts as facts_file
from services.govern import policy, references, selectors, settle
from services.govern.compile import Compiled
from services.govern.facts import Facts
from services.govern.policy import RULES, Ruling, Verdict
from tests.unit.govern.mutating import (
    Mutation,
    Patch,
    among,
    decided_by,
    instead,
    judging,
    not_obliging,
    open_if,
    patched,
    reading,
    seeing,
    suspected_by,
    without,
)
from tests.unit.govern.policy_table import failures

# --- F01, F02 -----------------------------------------------------------------------------------------------------


def _kept_from_one_level_less(level: Tlp | Pap, facts: Facts, compiled: Compiled) -> Bits:
    below = type(level)(max(level - 1, 1))
    if isinstance(below, Pap):
        return Bits(compiled.everyone & ~compiled.honours[below])
    return Bits(compiled.everyone & ~(compiled.cleared_for[below] & policy._reach(facts, level, compiled)))  # type: ignore[arg-type]


def _kept_from_tlp_only(level: Tlp | Pap, facts: Facts, compiled: Compiled) -> Bits:
    return NOBODY if isinstance(level, Pap) else _kept_from(level, facts, compiled)


def _reaching(**others: Callable[[Facts, Compiled], Bits]) -> Mutation:
    """How far levels (by name) travel, otherwise."""
    real = policy._reach

    def reach(facts: Facts, tlp: Tlp, compiled: Compiled) -> Bits:
        other = others.get(tlp.name)
        return other(facts, compiled) if other else real(facts, tlp, compiled)

    return patched(policy, "_reach", reach)


def _everyone(_: Facts, compiled: Compiled) -> Bits:
    return compiled.everyone


def _whoever_is_named(facts: Facts, compiled: Compiled) -> Bits:
    return union(compiled.number[name] for name in facts.handling.named if name in compiled.number)


def _keeping(*onward: str) -> Callable[[Facts, Compiled], Bits]:
    return lambda _, compiled: union(compiled.onward.get(name, NOBODY) for name in onward)


_kept_from = policy._kept_from


def _no_granular(facts: Facts) -> Facts:
    return facts._replace(granular=())


def _milder(f: Facts, known: Known, source: str, compiled: Compiled) -> Facts:
    """The last TLP marking, whatever comes before it."""
    levels = [
        level
        for id_ in f.contribution.markings
        if isinstance(level := facts_file.resolve((id_,), compiled.markings).tlp, Tlp)
    ]
    return f._replace(tlp=levels[-1] if levels else f.tlp)


def _default_tlp_first(f: Facts, known: Known, source: str, compiled: Compiled) -> Facts:
    default = compiled.sources[source].defaults.tlp
    level = facts_file.level_named(default) if default else None
    return f._replace(tlp=level) if isinstance(level, Tlp) else f


MARKINGS: dict[str, tuple[Mutation, str]] = {
    "F01 out": (without(policy.f01_marking), "no-marking"),
    "F02 out": (without(policy.f02_tlp), "amber"),
    "an unresolved marking is passed over": (
        seeing(policy.f01_marking, lambda f: f._replace(unresolved=False)),
        "unresolved",
    ),
    "an unresolved granular marking is passed over": (
        seeing(policy.f01_marking, lambda f: f._replace(unresolved=bool(f.markings.unresolved))),
        "granular-unresolved",
    ),
    "no marking is CLEAR": (
        seeing(policy.f01_marking, lambda f: f._replace(tlp=f.tlp or Tlp.CLEAR)),
        "no-marking",
    ),
    "a granular marking is one of the object": (
        seeing(policy.f01_marking, lambda f: f._replace(tlp=f.tlp or (Tlp.CLEAR if f.granular else None))),
        "granular-no-object-marking",
    ),
    "a PAP is a TLP": (
        seeing(policy.f01_marking, lambda f: f._replace(tlp=f.tlp or (Tlp.GREEN if f.pap else None))),
        "pap-is-no-tlp",
    ),
    "a statement is a TLP": (
        seeing(
            policy.f01_marking, lambda f: f._replace(tlp=f.tlp or (Tlp.GREEN if f.markings.statements else None))
        ),
        "statement-alone",
    ),
    "a ceiling off by one": (patched(policy, "_kept_from", _kept_from_one_level_less), "amber-strict"),
    "the ceiling is passed over": (
        among(policy.f02_tlp, lambda c: replace(c, cleared_for=dict.fromkeys(Tlp, c.everyone))),
        "red-named",
    ),
    "PAP is passed over": (patched(policy, "_kept_from", _kept_from_tlp_only), "pap-amber"),
    "PAP of parts is passed over": (
        seeing(
            policy.f02_tlp,
            lambda f: f._replace(granular=tuple(m for m in f.granular if not isinstance(m.level, Pap))),
        ),
        "granular-pap",
    ),
    "granular markings are passed over": (seeing(policy.f02_tlp, _no_granular), "granular-amber"),
    "RED for whoever keeps it": (_reaching(RED=_keeping("none")), "red-for-nobody"),
    "RED for whoever is named": (_reaching(RED=_whoever_is_named), "red-named"),
    "AMBER+STRICT for clients": (_reaching(AMBER_STRICT=_keeping("none", "clients")), "granular-elements-by-level"),
    "AMBER+STRICT for everyone cleared": (_reaching(AMBER_STRICT=_everyone), "amber-strict"),
    "AMBER for communities": (_reaching(AMBER=_everyone), "amber"),
    "AMBER not for clients": (_reaching(AMBER=_keeping("none")), "amber"),
    "GREEN not for communities": (_reaching(GREEN=_keeping("none", "clients")), "green"),
    "the last marking wins": (reading(_milder), "strictest-of-two"),
    "the source's default TLP comes first": (reading(_default_tlp_first), "own-tlp"),
    "an own PAP comes before the default": (
        reading(lambda f, *_: f._replace(pap=f.markings.pap or f.pap)),
        "own-pap",
    ),
    "no default TLP": (reading(lambda f, *_: f._replace(tlp=f.markings.tlp)), "default-tlp"),
    "no default PAP": (reading(lambda f, *_: f._replace(pap=f.markings.pap)), "default-pap"),
}

# --- lifecycle, F03 -----------------------------------------------------------------------------------------------


def _granting(change: Callable[[Consent], dict[str, Any]]) -> Mutation:
    def facts(f: Facts) -> Facts:
        return f if f.grant is None else f._replace(grant=f.grant.model_copy(update=change(f.grant)))

    return seeing(policy.f03_consent, facts)


ALL_KINDS = ("platform", "government", "ngo", "cert")


def _withdrawn_first(facts: Facts) -> str:
    return "F03" if facts.consent == "withdrawn" else "F07" if facts.revoked or facts.gone else ""


CONSENT: dict[str, tuple[Mutation, str]] = {
    "F07 out": (patched(policy, "_ended", lambda f: "F03" if f.consent == "withdrawn" else ""), "revoked"),
    "F03 withdrawn out": (patched(policy, "_ended", lambda f: "F07" if f.revoked else ""), "withdrawn"),
    "F03 withdrawn before F07": (patched(policy, "_ended", _withdrawn_first), "revoked"),
    "F03 out": (without(policy.f03_consent), "consent-unknown"),
    "kinds are passed over": (_granting(lambda g: {"kinds": ALL_KINDS if g.kinds else g.kinds}), "grant-to-ngos"),
    "no kind is every kind": (_granting(lambda g: {"kinds": g.kinds or ALL_KINDS}), "grant-without-kinds"),
    "an empty list of kinds is every kind": (
        _granting(lambda g: {"kinds": ALL_KINDS if g.kinds == () else g.kinds}),
        "grant-to-no-kind",
    ),
    "purposes are passed over": (_granting(lambda g: {"purposes": None}), "grant-for-a-purpose"),
    "an empty list of purposes is every purpose": (
        _granting(lambda g: {"purposes": g.purposes or None}),
        "grant-for-no-purpose",
    ),
    "what the item is for is passed over": (
        seeing(
            policy.f03_consent, lambda f: f._replace(purposes=frozenset(("detect", "protect", "assist", "respond")))
        ),
        "item-and-grant-purposes",
    ),
    "the end is passed over": (_granting(lambda g: {"until": None}), "grant-has-run-out"),
    "any end is over": (_granting(lambda g: {"until": "2020-01-01T00:00:00Z" if g.until else None}), "grant-runs"),
    "unknown passes": (
        seeing(policy.f03_consent, lambda f: f._replace(consent="not-required") if f.consent == "unknown" else f),
        "consent-absent",
    ),
    "the source's default comes first": (
        reading(lambda f, k, s, c: f._replace(consent=c.sources[s].defaults.consent or f.consent)),
        "own-consent",
    ),
    "no default of consent": (
        reading(lambda f, *_: f._replace(consent=f.handling.consent.status if f.handling.consent else "unknown")),
        "default-consent",
    ),
}

# --- F04, F05 -----------------------------------------------------------------------------------------------------

STATE = policy.f04_perpetrator
UNKNOWN = policy.f05_perpetrator_unknown


def _only_governments(compiled: Compiled) -> Compiled:
    governments = compiled.kinds.get("government", NOBODY)
    return replace(
        compiled,
        controlled={state: Bits(who & governments) for state, who in compiled.controlled.items()},
        allied={state: Bits(who & governments) for state, who in compiled.allied.items()},
        governmental=Bits(compiled.governmental & governments),
    )


def _only_controlled(compiled: Compiled) -> Compiled:
    others = ~compiled.kinds.get("government", NOBODY)
    controlled = {state: Bits(who & others) for state, who in compiled.controlled.items()}
    return replace(compiled, controlled=controlled, governmental=Bits(compiled.governmental & others))


def _one_way(compiled: Compiled) -> Compiled:
    return replace(compiled, allied={state: who for state, who in compiled.allied.items() if state == "XB"})


def _all_at_home(compiled: Compiled) -> Compiled:
    """The state in whose jurisdiction it lies can compel whoever another state controls, too."""
    return replace(compiled, compelled={**compiled.compelled, "XO": compiled.number["telco"]})


def _pacts_for_the_affected(facts: Facts, compiled: Compiled) -> Ruling:
    allied = union(compiled.allied.get(state, NOBODY) for state in facts.affected or ())
    ruling = UNKNOWN(facts, compiled)
    return ruling._replace(denied=Bits(ruling.denied | allied)) if ruling.denied or ruling.duties else ruling


def _own_alone(f: Facts, *_: Any) -> Facts:
    own = f.handling.suspects
    return f._replace(suspects=None if own is None else frozenset(own))


PERPETRATORS: dict[str, tuple[Mutation, str]] = {
    "F04 out": (without(STATE), "suspected"),
    "F05 out": (without(UNKNOWN), "unclassified"),
    "pacts are passed over": (among(STATE, lambda c: replace(c, allied={})), "suspected"),
    "pacts work one way": (among(STATE, _one_way), "pact-works-both-ways"),
    "who is controlled is passed over": (among(STATE, _only_governments), "suspected"),
    "governments are passed over": (among(STATE, _only_controlled), "suspected"),
    "who could be compelled is passed over": (among(STATE, lambda c: replace(c, compelled={})), "suspected"),
    "who is controlled by another state is compelled": (among(STATE, _all_at_home), "controlled-is-not-compelled"),
    "who could be compelled keeps its source": (not_obliging(STATE, "created_by_ref"), "suspected"),
    "who could be compelled keeps references": (not_obliging(STATE, "external_references"), "suspected"),
    "who could be compelled keeps what is personal": (not_obliging(STATE, "description"), "compelled-ngo"),
    "published alone is open": (open_if(clear=False), "published-not-clear"),
    "CLEAR alone is open": (open_if(published=False), "clear-not-published"),
    "PAP does not close": (open_if(pap=False), "published-pap"),
    "parts do not close": (open_if(granular=False), "published-part-not-clear"),
    "nothing is open": (patched(policy, "is_open", lambda f: False), "clear-and-published"),
    "only one's own suspects": (reading(_own_alone), "suspects-bind-others"),
    "suspects of whoever says so": (suspected_by(lambda n, w, c: not w.revoked), "suspects-of-doubtful-sources"),
    "suspects of A and B": (
        suspected_by(lambda n, w, c: not w.revoked and c.sources[n].reliability in "AB"),
        "suspects-bind-others",
    ),
    "suspects of what is revoked": (
        suspected_by(lambda n, w, c: c.sources[n].reliability in "ABC"),
        "suspects-of-what-is-revoked",
    ),
    "an empty map is an absent one": (
        seeing(UNKNOWN, lambda f: f._replace(suspects=f.suspects or None)),
        "assessed-no-state",
    ),
    "an absent map is an empty one": (seeing(UNKNOWN, lambda f: f._replace(suspects=frozenset())), "unclassified"),
    "unclassified is no state's": (
        seeing(UNKNOWN, lambda f: f._replace(category=f.category or "phishing")),
        "unclassified",
    ),
    "every category is a state's": (
        seeing(UNKNOWN, lambda f: f._replace(category="spyware")),
        "no-state-behind-it",
    ),
    "enrichment is passed over": (seeing(UNKNOWN, lambda f: f._replace(enriched="")), "found-by-enrichment"),
    "defaults are passed over": (
        seeing(UNKNOWN, lambda f: f._replace(default_category=None)),
        "default-category-suffices",
    ),
    "the shipped list of categories": (
        among(UNKNOWN, lambda c: replace(c, state_capable=c.state_capable | {"device-seizure"})),
        "not-in-the-list",
    ),
    "affected states are passed over": (seeing(UNKNOWN, lambda f: f._replace(affected=None)), "affected-in-xa"),
    "no affected state is known, and that is enough": (
        seeing(UNKNOWN, lambda f: f._replace(affected=f.affected or ("XZ",))),
        "spyware-of-nobody-knows-whom",
    ),
    "an empty list of affected states is one": (
        seeing(UNKNOWN, lambda f: f._replace(affected=("XZ",) if f.affected == () else f.affected)),
        "affected-none-named",
    ),
    "pacts count for the affected": (instead(UNKNOWN, _pacts_for_the_affected), "affected-in-xa"),
    "only governments are states": (among(UNKNOWN, _only_governments), "spyware-of-nobody-knows-whom"),
    "only governments of affected states": (among(UNKNOWN, _only_governments), "affected-in-xb"),
    "only what is controlled is": (among(UNKNOWN, _only_controlled), "affected-in-xb"),
    "other states see what is personal": (not_obliging(UNKNOWN, "description"), "affected-in-xb"),
    "other states see who is affected": (not_obliging(UNKNOWN, "affected"), "affected-in-xa"),
    "who an affected state could compel is passed over": (
        among(UNKNOWN, lambda c: replace(c, compelled={})),
        "affected-in-xb",
    ),
    "no default of affected states": (
        reading(lambda f, *_: f._replace(affected=f.handling.affected)),
        "default-affected",
    ),
    "the default of affected states comes first": (
        reading(lambda f, k, s, c: f._replace(affected=c.sources[s].defaults.affected or f.affected)),
        "own-affected",
    ),
    "no default of published": (
        reading(lambda f, *_: f._replace(published=bool(f.handling.published))),
        "default-published",
    ),
    "the default of published comes first": (
        reading(lambda f, k, s, c: f._replace(published=bool(c.sources[s].defaults.published or f.published))),
        "own-not-published",
    ),
}

# --- F06 to F10 ---------------------------------------------------------------------------------------------------


def _embargo(**changes: Any) -> Mutation:
    def facts(f: Facts) -> Facts:
        embargo = f.handling.embargo
        if embargo is None:
            return f
        return f._replace(handling=f.handling.model_copy(update={"embargo": embargo.model_copy(update=changes)}))

    return seeing(policy.f06_embargo, facts)


def _waits_first(verdict: Verdict, facts: Facts, compiled: Compiled) -> Verdict:
    """Who is denied waits as well."""
    waits = policy.f06_embargo(facts, compiled).waits
    return verdict if verdict.ended else verdict._replace(waits=Bits(waits & compiled.everyone))


def _denies_instead(facts: Facts, compiled: Compiled) -> Ruling:
    return Ruling(policy.f06_embargo(facts, compiled).waits)


def _all_purposes(facts: Facts, compiled: Compiled) -> Ruling:
    """All that the recipient does must be allowed."""
    fits = union(who for purposes, who in compiled.purpose_sets if purposes <= facts.purposes)
    return Ruling(Bits(compiled.everyone & ~fits))


def _one_ms_earlier(facts: Facts) -> Facts:
    return facts._replace(now_ms=facts.now_ms + 1)


def _older(facts: Facts) -> Facts:
    word = facts.contribution
    return facts._replace(newest_ms=word.modified_ms)


def _personal(change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> Mutation:
    def facts(f: Facts) -> Facts:
        return f._replace(handling=f.handling.model_copy(update={"personal": change(f.handling.personal)}))

    return seeing(policy.f10_personal, facts)


def _ngos_keep(facts: Facts, compiled: Compiled) -> Ruling:
    return policy.f10_personal(facts._replace(consent="granted"), compiled)


def _everyone_keeps(facts: Facts, compiled: Compiled) -> Ruling:
    return Ruling(NOBODY) if facts.consent == "granted" else policy.f10_personal(facts, compiled)


TIMES: dict[str, tuple[Mutation, str]] = {
    "F06 out": (without(policy.f06_embargo), "embargo"),
    "the group is passed over": (_embargo(group=()), "embargo"),
    "the end is not the end": (_embargo(until="2030-01-01T00:00:00Z"), "embargo-is-over"),
    "an embargo denies": (instead(policy.f06_embargo, _denies_instead), "embargo"),
    "wait beats deny": (judging(_waits_first), "deny-beats-wait"),
    "F08 out": (without(policy.f08_purpose), "purpose-respond"),
    "all purposes must be allowed": (instead(policy.f08_purpose, _all_purposes), "purpose-detect-or-protect"),
    "no purpose is every purpose": (
        seeing(
            policy.f08_purpose,
            lambda f: f._replace(purposes=f.purposes or frozenset(("detect", "assist", "respond"))),
        ),
        "purpose-none",
    ),
    "no default of purposes": (
        reading(
            lambda f, *_: (
                f if f.handling.purposes is not None else f._replace(purposes=frozenset(("detect", "respond")))
            )
        ),
        "default-purposes",
    ),
    "the default of purposes comes first": (
        reading(lambda f, k, s, c: f._replace(purposes=frozenset(c.sources[s].defaults.purposes or f.purposes))),
        "own-purposes",
    ),
    "F09 out": (without(policy.f09_age), "age-beyond-the-edge"),
    "just as old is too old": (seeing(policy.f09_age, _one_ms_earlier), "age-at-the-edge"),
    "a day's grace": (
        seeing(policy.f09_age, lambda f: f._replace(now_ms=f.now_ms - policy.DAY_MS)),
        "age-beyond-the-edge",
    ),
    "age by modified alone": (seeing(policy.f09_age, _older), "age-by-last-seen"),
    "age by last seen alone": (
        seeing(policy.f09_age, lambda f: f._replace(newest_ms=f.contribution.last_seen_ms)),
        "age-by-modified",
    ),
    "F10 out": (without(policy.f10_personal), "personal-drop"),
    "NGOs need no consent": (instead(policy.f10_personal, _ngos_keep), "personal-drop"),
    "consent is for everybody": (instead(policy.f10_personal, _everyone_keeps), "personal-kept-by-ngos"),
    "NGOs keep nothing": (
        seeing(policy.f10_personal, lambda f: f._replace(consent="not-required")),
        "personal-kept-by-ngos",
    ),
    "deny drops": (
        _personal(lambda p: {s: "drop" if t == "deny" else t for s, t in p.items()}),
        "personal-deny",
    ),
    "every technique drops": (_personal(lambda p: dict.fromkeys(p, "drop")), "personal-pseudonymise"),
    "one selector alone counts": (_personal(lambda p: dict(list(p.items())[:1])), "personal-techniques-clash"),
    "the weakest technique counts": (
        patched(selectors, "_stronger", lambda a, b: min(a, b, key=selectors.STRENGTH.__getitem__)),
        "personal-and-granular",
    ),
    "lists are not named": (patched(selectors, "_closed", lambda body, dropped: dropped), "personal-every-element"),
    "what is required can go": (patched(policy, "impossible", lambda *_: False), "compelled-required"),
    "whoever asks for anything refuses": (
        patched(policy, "_refusing", lambda asks, *_: ((name, rule) for name, rule, own in asks if own)),
        "personal-drop",
    ),
}

# --- F11, F12, P00 ------------------------------------------------------------------------------------------------


def _one_end_is_enough(facts: Facts) -> Facts:
    return facts._replace(ends=facts.ends._replace(required=facts.ends.some))


def _all_is_there(facts: Facts) -> Facts:
    return facts._replace(ends=facts.ends._replace(optional=()))


def _whole_lists(facts: Facts) -> Facts:
    """An entry that is withheld takes the whole list along."""
    optional = tuple((selector.partition(".")[0], who) for selector, who in facts.ends.optional)
    return facts._replace(ends=facts.ends._replace(optional=optional))


def _at_most(facts: Facts) -> Facts:
    return facts if facts.confidence is None else facts._replace(confidence=facts.confidence - 1)


def _always_in_force(compiled: Compiled) -> Compiled:
    return replace(compiled, turns=(), forces=(compiled.everyone,))


def _following(*types: str) -> Mutation:
    def mutate(patch: Patch) -> None:
        for file in (policy, settle):
            patch.setattr(file, "FOLLOWING", frozenset(types))

    return mutate


PERMITS: dict[str, tuple[Mutation, str]] = {
    "F11 out": (without(policy.f11_references), "end-amber"),
    "one end is enough": (seeing(policy.f11_references, _one_end_is_enough), "end-amber"),
    "what may be left out stays": (seeing(policy.f11_references, _all_is_there), "author-withheld"),
    "a list goes as a whole": (seeing(policy.f11_references, _whole_lists), "report-partly-withheld"),
    "every reference is required": (
        patched(references, "OPTIONAL", {}),
        "sighting-places",
    ),
    "F12 protected out": (without(policy.f12_protected), "protected"),
    "F12 quality out": (without(policy.f12_quality), "confidence-below"),
    "just as certain is too uncertain": (seeing(policy.f12_quality, _at_most), "confidence-at-the-edge"),
    "no confidence passes": (
        seeing(policy.f12_quality, lambda f: f._replace(confidence=100 if f.confidence is None else f.confidence)),
        "confidence-absent",
    ),
    "a confidence of 0 is none": (
        instead(
            policy.f12_quality,
            lambda f, c: Ruling(NOBODY) if f.confidence == 0 else policy.f12_quality(f, c),
        ),
        "confidence-none",
    ),
    "no default of confidence": (
        reading(lambda f, *_: f._replace(confidence=f.contribution.object.get("confidence"))),
        "default-confidence",
    ),
    "the default of confidence comes first": (
        reading(lambda f, k, s, c: f._replace(confidence=c.sources[s].defaults.confidence or f.confidence)),
        "own-confidence",
    ),
    "P00 out": (without(policy.p00_permit), "category-not-wanted"),
    "agreements never end": (among(policy.p00_permit, _always_in_force), "green"),
    "every category is wanted": (
        among(policy.p00_permit, lambda c: replace(c, categories={"*": c.everyone})),
        "category-not-wanted",
    ),
    "what is unclassified is wanted": (
        seeing(policy.p00_permit, lambda f: f._replace(category=f.category or "phishing")),
        "unclassified",
    ),
    "every type is wanted": (
        among(policy.p00_permit, lambda c: replace(c, types={"*": c.everyone})),
        "type-not-wanted",
    ),
    "nothing follows": (seeing(policy.p00_permit, lambda f: f._replace(followed=NOBODY)), "malware-follows"),
    "everything follows": (_following("malware", "identity", "tool"), "tool-does-not-follow"),
    "identities do not follow": (_following("malware"), "author-follows"),
    "no category of the ends": (
        patched(policy, "TAKE_THEIR_ENDS_CATEGORY", frozenset()),
        "takes-its-ends-category",
    ),
    "no category of the ends of sightings": (
        patched(policy, "TAKE_THEIR_ENDS_CATEGORY", frozenset({"relationship"})),
        "sighting-without-category",
    ),
    "the ends' categories always count": (
        seeing(policy.p00_permit, lambda f: f._replace(category=None) if f.type == "relationship" else f),
        "own-category-not-wanted",
    ),
    "probation is passed over": (seeing(policy.p00_permit, lambda f: f._replace(probation=False)), "probation"),
    "no default of category": (reading(lambda f, *_: f._replace(category=f.handling.category)), "default-category"),
}

MUTATIONS = MARKINGS | CONSENT | PERPETRATORS | TIMES | PERMITS
OUT = {name for name in MUTATIONS if name.endswith(" out")}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_does_not_survive(name: str, monkeypatch: Patch) -> None:
    mutate, case = MUTATIONS[name]
    assert not list(failures(case)), "the case passes as long as nothing is mutated"
    mutate(monkeypatch)
    assert any(True for _ in failures(case))


def test_every_rule_is_taken_out_once() -> None:
    ids = sorted(name.split()[0] for name in OUT)
    assert ids == sorted([*(name for name, _ in RULES), "F07", "F03"])


def test_an_unmutated_policy_decides_the_same_through_all_that_mutates_it(monkeypatch: Patch) -> None:
    """What wraps the rules changes nothing by itself: a mutation is killed by what it mutates."""
    reading(lambda f, *_: f)(monkeypatch)
    judging(lambda verdict, *_: verdict)(monkeypatch)
    assert not list(failures())
    decided_by(monkeypatch, RULES)
    assert not list(failures())
