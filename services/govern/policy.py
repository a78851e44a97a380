"""The rules of the sharing policy (deploy/policy.md), each a function from facts to a ruling.

All forbids are evaluated and all denials collected; without the permit P00 nobody gets anything; a rule that
raises denies everyone. A recipient that no rule denies is permitted, once what the rules ask for is done; one that
only an embargo keeps off waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from schemas.bits import NOBODY, Bits, union
from schemas.markings import Pap, Tlp
from services.govern.compile import Compiled
from services.govern.facts import Facts
from services.govern.obligations import ALLOWED
from services.govern.redact import Subject, impossible
from services.govern.selectors import named

DAY_MS = 86_400_000
TAKE_THEIR_ENDS_CATEGORY = frozenset({"relationship", "sighting"})
FOLLOWING = frozenset({"malware", "identity"})
"""Types that go wherever something permitted refers to them."""


class Duty(NamedTuple):
    """What is to be done to the item before it goes to `who`."""

    who: Bits
    selector: str
    technique: str


class Ruling(NamedTuple):
    """Whom a rule denies, whom it lets wait, and what it asks for; of `everyone`."""

    denied: Bits
    duties: tuple[Duty, ...] = ()
    waits: Bits = NOBODY


NOTHING = Ruling(NOBODY)
Rule = Callable[[Facts, Compiled], Ruling]


def f01_marking(facts: Facts, compiled: Compiled) -> Ruling:
    """A marking that is not resolved, or none at all."""
    return Ruling(compiled.everyone) if facts.unresolved or facts.tlp is None else NOTHING


def f02_tlp(facts: Facts, compiled: Compiled) -> Ruling:
    """Above the ceiling; further away than the level lets it travel; above the PAP that is honoured."""
    kept_from = [_kept_from(level, facts, compiled) for level in (facts.tlp, facts.pap) if level is not None]
    duties = (
        Duty(who, selector, "drop")
        for mark in facts.granular
        if mark.level is not None and (who := _kept_from(mark.level, facts, compiled))
        for selector in mark.selectors
    )
    return Ruling(union(kept_from), tuple(duties) if facts.granular else ())


def _kept_from(level: Tlp | Pap, facts: Facts, compiled: Compiled) -> Bits:
    if isinstance(level, Pap):
        return Bits(compiled.everyone & ~compiled.honours[level])
    return Bits(compiled.everyone & ~(compiled.cleared_for[level] & _reach(facts, level, compiled)))


def _reach(facts: Facts, tlp: Tlp, compiled: Compiled) -> Bits:
    keeps_to_itself = compiled.onward.get("none", NOBODY)
    if tlp is Tlp.RED:
        return Bits(keeps_to_itself & _any_of(compiled.number, *facts.handling.named))
    if tlp is Tlp.AMBER_STRICT:
        return keeps_to_itself
    if tlp is Tlp.AMBER:
        return Bits(compiled.everyone & ~compiled.onward.get("community", NOBODY))
    return compiled.everyone


def f03_consent(facts: Facts, compiled: Compiled) -> Ruling:
    """Consent that is needed and not known to cover the recipient."""
    if facts.consent == "not-required":
        return NOTHING
    grant = facts.grant
    if facts.consent != "granted" or grant is None or grant.kinds is None:
        return Ruling(compiled.everyone)
    if grant.until_ms is not None and facts.now_ms >= grant.until_ms:
        return Ruling(compiled.everyone)
    allowed = _any_of(compiled.kinds, *grant.kinds)
    if grant.purposes is not None:
        usable = _any_of(compiled.purposes, *facts.purposes.intersection(grant.purposes))
        elsewhere = _any_of(compiled.purposes, *facts.purposes) & ~usable  # consent to another use is none to this
        allowed = Bits(allowed & _any_of(compiled.purposes, *grant.purposes) & ~elsewhere)
    return Ruling(Bits(compiled.everyone & ~allowed))


def f04_perpetrator(facts: Facts, compiled: Compiled) -> Ruling:
    """Somebody is suspected, and this is suspected, or is allied with who is; or could be compelled by who is."""
    states = facts.own_suspects | (facts.suspects or frozenset())
    if not states or is_open(facts):
        return NOTHING
    denied = _any_of(compiled.controlled, *states) | _any_of(compiled.allied, *states)
    compelled = Bits(_any_of(compiled.compelled, *states) & ~denied)
    return Ruling(Bits(denied), _drop_what_names(facts, compelled))


def f05_perpetrator_unknown(facts: Facts, compiled: Compiled) -> Ruling:
    """A state may be behind it, and this is a state, or is controlled by one; or could be compelled by one."""
    if facts.suspects is not None or is_open(facts) or not _may_be_of_a_state(facts, compiled):
        return NOTHING
    if not facts.affected:  # an empty list says of no state that its people are attacked: nobody knows where
        return Ruling(compiled.governmental)
    denied = _any_of(compiled.controlled, *facts.affected)
    others = Bits(compiled.governmental & ~denied)
    compelled = Bits(_any_of(compiled.compelled, *facts.affected) & ~denied)
    duties = [Duty(others, selector, "drop") for selector in facts.handling.personal]
    duties.append(Duty(others, "affected", "generalise"))
    return Ruling(denied, (*duties, *_drop_what_names(facts, compelled)))


def _may_be_of_a_state(facts: Facts, compiled: Compiled) -> bool:
    said = (facts.category, facts.default_category, facts.enriched)
    return facts.category is None or not compiled.state_capable.isdisjoint(said)


def _drop_what_names(facts: Facts, who: Bits) -> tuple[Duty, ...]:
    """For those who could be compelled: nothing that leads to a person or a source."""
    selectors = (*facts.handling.personal, "created_by_ref", "external_references")
    return tuple(Duty(who, selector, "drop") for selector in selectors) if who else ()


def is_open(facts: Facts) -> bool:
    """Whether anybody can have it already: published, and every marking on it CLEAR."""
    if not facts.published or facts.tlp is not Tlp.CLEAR or facts.pap not in (None, Pap.CLEAR):
        return False
    return all(mark.level in (None, Tlp.CLEAR, Pap.CLEAR) for mark in facts.granular)


def f06_embargo(facts: Facts, compiled: Compiled) -> Ruling:
    """Not yet to be shared."""
    embargo = facts.handling.embargo
    if embargo is None or facts.now_ms >= embargo.until_ms:
        return NOTHING
    return Ruling(NOBODY, waits=Bits(compiled.everyone & ~_any_of(compiled.number, *embargo.group)))


def f08_purpose(facts: Facts, compiled: Compiled) -> Ruling:
    """No purpose of the recipient is one that the item may be used for."""
    return Ruling(Bits(compiled.everyone & ~_any_of(compiled.purposes, *facts.purposes)))


def f09_age(facts: Facts, compiled: Compiled) -> Ruling:
    """Older than the recipient wants it."""
    age_ms = facts.now_ms - facts.newest_ms
    return Ruling(union(who for days, who in compiled.max_age if age_ms > days * DAY_MS))


def f10_personal(facts: Facts, compiled: Compiled) -> Ruling:
    """It identifies a person at risk."""
    personal = facts.handling.personal
    if not personal:
        return NOTHING
    consenting = compiled.kinds.get("ngo", NOBODY) if facts.consent == "granted" else NOBODY
    others = Bits(compiled.everyone & ~consenting)
    if "deny" in personal.values():
        return Ruling(others)
    return Ruling(NOBODY, tuple(Duty(others, selector, technique) for selector, technique in personal.items()))


def f11_references(facts: Facts, compiled: Compiled) -> Ruling:
    """It can't be without a reference to what the recipient may not have, or would show that one is gone."""
    duties = (
        Duty(Bits(compiled.everyone & ~holders), selector, "drop")
        for selector, holders in facts.ends.optional
        if compiled.everyone & ~holders
    )
    return Ruling(Bits(compiled.everyone & ~facts.ends.required | facts.robbed), tuple(duties))


def f12_protected(facts: Facts, compiled: Compiled) -> Ruling:
    """A protected asset: the site or account of the people themselves."""
    return Ruling(compiled.everyone) if facts.protected else NOTHING


def f12_quality(facts: Facts, compiled: Compiled) -> Ruling:
    """Less certain than the recipient wants it; what states no confidence passes only where none is wanted."""
    confidence = -1 if facts.confidence is None else facts.confidence
    return Ruling(union(who for bound, who in compiled.min_confidence if bound > 0 and confidence < bound))


def p00_permit(facts: Facts, compiled: Compiled) -> Ruling:
    """The permit: an agreement in force that wants this category and this type. Denies everyone else."""
    if facts.type not in ALLOWED or facts.probation:
        return Ruling(compiled.everyone)
    category = wants_category(facts.category, compiled)
    if facts.category is None and facts.type in TAKE_THEIR_ENDS_CATEGORY:
        category = Bits(category | facts.ends.some)  # who holds an end matched its category
    wanted = category & _any_of(compiled.types, "*", facts.type)
    if facts.type in FOLLOWING:
        wanted |= facts.followed
    return Ruling(Bits(compiled.everyone & ~(compiled.in_force(facts.now_ms) & wanted)))


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

OF_OTHERS: frozenset[Rule] = frozenset((f09_age, f11_references))
"""Rules that say nothing of the item itself, see `Verdict.by_itself`."""

HARMLESS: frozenset[Rule] = frozenset((f06_embargo, f09_age, f12_quality))
"""Silent rules that nobody's being suspected has a part in, see `Verdict.hushed`."""


class Part(NamedTuple):
    """Recipients who are permitted under the same obligations: {selector: technique}, and the rules that oblige.

    `redactions` are those that change what the source said; the others only drop references that the recipient may
    not follow. `asked` are the selectors that the redactions were asked for with, as they were written.
    """

    who: Bits
    obligations: Mapping[str, str]
    rules: tuple[str, ...]
    redactions: Mapping[str, str]
    asked: frozenset[str]


class Verdict(NamedTuple):
    """The decision on one contribution for all recipients.

    `denied` pairs a rule with those it denies, only where it denies somebody; `silent` are those whom a silent rule
    denies, `waits` those whom nothing but an embargo keeps off. `parts` are disjoint and make up `permitted`.
    `ended` is the lifecycle rule (F07, or F03 for withdrawn consent) that decides alone, or "".

    `hushed` are those of `silent` to whom it could come of a suspicion. When it ends must not show, and would, if
    what was withdrawn meanwhile were told then: all that they may hear of it is what lifecycle and consent say.

    `by_itself` are those whom something denies, or lets wait, that is neither its age nor a matter of what it
    refers to or of what refers to it.
    """

    permitted: Bits
    denied: tuple[tuple[str, Bits], ...]
    ended: str
    errors: tuple[str, ...]
    silent: Bits = NOBODY
    hushed: Bits = NOBODY
    waits: Bits = NOBODY
    by_itself: Bits = NOBODY
    parts: tuple[Part, ...] = ()

    @property
    def plain(self) -> Bits:
        """Those who get it as its source said it."""
        return union(part.who for part in self.parts if not part.redactions)

    def but_for(self, *rules: str) -> Bits:
        """Those whom no other rule than these denies."""
        everyone = self.permitted | union(who for _, who in self.denied)
        return Bits(everyone & ~union(who for rule, who in self.denied if rule not in rules) & ~self.waits)


def decide(facts: Facts, compiled: Compiled, rules: tuple[tuple[str, Rule], ...] = RULES) -> Verdict:
    """Decides one contribution for everyone at once."""
    if ended := _ended(facts):
        return Verdict(NOBODY, ((ended, compiled.everyone),), ended, (), by_itself=compiled.everyone)
    denied: dict[str, Bits] = {}
    errors: list[str] = []
    duties: list[tuple[str, Rule, Duty]] = []
    silent, hushed, waits, by_itself = 0, 0, 0, 0
    for name, rule in rules:
        try:
            ruling = rule(facts, compiled)
            by_itself |= _by_itself(rule, ruling, facts, compiled)
        except Exception as error:  # whatever it is: an error denies
            errors.append(f"{name}: {type(error).__name__}")
            ruling = Ruling(compiled.everyone)
            by_itself |= compiled.everyone
        if who := ruling.denied & compiled.everyone:
            denied[name] = Bits(denied.get(name, NOBODY) | who)
        if rule in SILENT:
            silent |= who | ruling.waits
            hushed |= who if _hushes(rule, facts) else 0
        waits |= ruling.waits
        duties += [(name, rule, duty) for duty in ruling.duties if duty.who]
    parts: tuple[Part, ...] = ()
    if duties:
        try:
            parts, refused = _parts(compiled.everyone, duties, facts)
        except Exception as error:
            names = sorted({name for name, _, _ in duties})
            errors += [f"{name}: {type(error).__name__}" for name in names]
            parts, refused = (), [(name, rule, compiled.everyone) for name, rule, _ in duties]
        for name, rule, who in refused:
            denied[name] = Bits(denied.get(name, NOBODY) | who)
            silent |= who if rule in SILENT else 0
            hushed |= who if rule in SILENT and _hushes(rule, facts) else 0
            by_itself |= who if rule not in OF_OTHERS else 0
    forbidden = union(denied.values())
    permitted = Bits(compiled.everyone & ~forbidden & ~waits)
    return Verdict(
        permitted=permitted,
        denied=tuple(denied.items()),
        ended="",
        errors=tuple(errors),
        silent=Bits(silent),
        hushed=Bits(hushed),
        waits=Bits(waits & compiled.everyone & ~forbidden),
        by_itself=Bits(by_itself & compiled.everyone),
        parts=tuple(_within(parts, permitted)) if duties else (Part(permitted, {}, (), {}, frozenset()),),
    )


def _hushes(rule: Rule, facts: Facts) -> bool:
    """Whether a silent rule may deny because somebody is suspected: also of what the object refers to, or of what
    refers to it."""
    if rule is p00_permit:
        return facts.type in FOLLOWING or facts.type in TAKE_THEIR_ENDS_CATEGORY
    return rule not in HARMLESS


def _by_itself(rule: Rule, ruling: Ruling, facts: Facts, compiled: Compiled) -> int:
    """Whom a rule denies or lets wait because of the item itself."""
    if rule in OF_OTHERS:
        return 0
    if rule is p00_permit and ruling.denied and facts.type in FOLLOWING | TAKE_THEIR_ENDS_CATEGORY:
        ends = facts.ends._replace(some=compiled.everyone)
        return p00_permit(facts._replace(followed=compiled.everyone, ends=ends), compiled).denied
    return ruling.denied | ruling.waits


def _ended(facts: Facts) -> str:
    return "F07" if facts.revoked or facts.gone else "F03" if facts.consent == "withdrawn" else ""


Asked = tuple[str, Rule, Duty]


def _parts(
    everyone: Bits, duties: Iterable[Asked], facts: Facts
) -> tuple[tuple[Part, ...], list[tuple[str, Rule, Bits]]]:
    """Recipients parted by what is asked for them, and whom that denies: where it can't be done, its rule does."""
    by_who: dict[Bits, list[Asked]] = {}
    for asked in duties:
        if who := Bits(asked[2].who & everyone):
            by_who.setdefault(who, []).append(asked)
    pieces: list[tuple[int, tuple[Asked, ...]]] = [(int(everyone), ())]
    for who, alike in by_who.items():
        pieces = [
            piece
            for members, asked_of in pieces
            for piece in ((members & who, (*asked_of, *alike)), (members & ~who, asked_of))
            if piece[0]
        ]
    subject = facts.subject
    made: list[Part] = []
    refused: list[tuple[str, Rule, Bits]] = []
    for members, asked_of in pieces:
        part, refusing = _part(Bits(members), asked_of, subject, facts)
        made.append(part)
        refused += [(name, rule, Bits(members)) for name, rule in refusing]
    return tuple(made), refused


def _part(
    who: Bits, asked: tuple[Asked, ...], subject: Subject, facts: Facts
) -> tuple[Part, list[tuple[str, Rule]]]:
    if not asked:
        return Part(who, {}, (), {}, frozenset()), []
    redacting = [(name, rule, duty) for name, rule, duty in asked if rule is not f11_references]
    obligations = named(subject.body, [(duty.selector, duty.technique) for _, _, duty in asked])
    redactions = (
        obligations
        if len(redacting) == len(asked)
        else named(subject.body, [(duty.selector, duty.technique) for _, _, duty in redacting])
    )
    asks = list(_by_rule(asked, subject))
    return Part(
        who,
        obligations,
        tuple(dict.fromkeys(name for name, _, own in asks if own)),
        redactions,
        frozenset(d.selector for _, _, d in redacting),
    ), list(_refusing(asks, obligations, subject, facts))


Asks = tuple[str, Rule, Mapping[str, str]]


def _by_rule(asked: Iterable[Asked], subject: Subject) -> Iterator[Asks]:
    """Each rule with what it asks for of what the object has."""
    by_rule: dict[tuple[str, Rule], list[tuple[str, str]]] = {}
    for name, rule, duty in asked:
        by_rule.setdefault((name, rule), []).append((duty.selector, duty.technique))
    for (name, rule), pairs in by_rule.items():
        yield name, rule, named(subject.body, pairs)


def _refusing(
    asks: Sequence[Asks], obligations: Mapping[str, str], subject: Subject, facts: Facts
) -> Iterator[tuple[str, Rule]]:
    """The rules that ask for what can't be done; where none does by itself, all that ask it together."""
    personal = facts.handling.personal.keys()

    def cannot(selector: str, technique: str) -> bool:
        return impossible(subject, selector, technique, personal, facts.look)

    refusing: dict[tuple[str, Rule], None] = {}
    for property_ in dict.fromkeys(_property(s) for s, technique in obligations.items() if cannot(s, technique)):
        there = [
            (name, rule, [(s, technique) for s, technique in own.items() if _property(s) == property_])
            for name, rule, own in asks
        ]
        alone = [(name, rule) for name, rule, own in there if any(cannot(*one) for one in own)]
        refusing |= dict.fromkeys(alone or [(name, rule) for name, rule, own in there if own])
    return iter(refusing)


def _property(selector: str) -> str:
    return selector.partition(".")[0]


def _within(parts: Iterable[Part], permitted: Bits) -> Iterator[Part]:
    for part in parts:
        if who := Bits(part.who & permitted):
            yield part._replace(who=who)


def groups(verdict: Verdict, everyone: Bits) -> list[tuple[tuple[str, ...], Bits]]:
    """Those who are not permitted and do not wait, parted by the rules that deny them."""
    parts: list[tuple[tuple[str, ...], int]] = [((), int(everyone & ~verdict.permitted & ~verdict.waits))]
    for rule, who in verdict.denied:
        parts = [
            part
            for rules, members in parts
            for part in (((*rules, rule), members & who), (rules, members & ~who))
            if part[1]
        ]
    return [(rules, Bits(members)) for rules, members in parts if members]


def describe() -> dict[str, str]:
    """What each rule forbids, in a sentence, by its id."""
    sentences = dict(LIFECYCLE)
    for name, rule in RULES:
        sentence = (rule.__doc__ or "").strip().partition("\n")[0]
        sentences[name] = f"{sentences[name]} {sentence}" if name in sentences else sentence
    return sentences
