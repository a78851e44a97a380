"""Decides one item: each contribution by itself, what each recipient gets, and what is sent and kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import orjson

from schemas.bits import NOBODY, Bits, from_hex, to_hex, union
from schemas.cleared import Cleared, Copy
from schemas.decision import Body, Decision, Group, Judgement, Outcome
from schemas.errors import Misconfigured
from schemas.known import NEVER_MS, Contribution, Known, Sent
from schemas.outgoing import outgoing_id, recipient_key
from schemas.reference import Seen, Standing
from services.enrich.category import category_of
from services.enrich.context import EnrichmentData, look, named
from services.enrich.joins import Join, by_value, by_word
from services.enrich.view import Named, texts_of
from services.govern import campaign
from services.govern.background import background
from services.govern.compile import Compiled
from services.govern.facts import Around, Facts, provenance
from services.govern.ledger import Item, Lost, Turn, generation, turn
from services.govern.obligations import Draft, Local
from services.govern.parting import Judged, judge, part
from services.govern.policy import DAY_MS, FOLLOWING, decide, groups, p00_permit, wants_category
from services.govern.references import OUTGOING, ends_of, hanging_by, kept_ends, nearest, silenced, supposing
from services.sealing import seal

TEXTS_REMEMBERED = 4_096
HUB = "(hub)"
"""Whose word a campaign is; no partner's id looks so."""


@dataclass(frozen=True)
class Rules:
    """What an item is decided by: the compiled policy, and the data of enrichment. `secret` is the hub's."""

    compiled: Compiled
    data: EnrichmentData
    secret: bytes

    def key_of(self, bit: int) -> bytes:
        """The key of the recipient with this number."""
        return recipient_key(self.secret, self.compiled.numbering, bit)

    @cached_property
    def named(self) -> Named:
        """Sources write the same labels and descriptions to thousands of indicators."""
        return lru_cache(TEXTS_REMEMBERED)(partial(named, self.data))


class Settled(NamedTuple):
    """What is known after the decision, when it wants to be made again (ms), and what is to be sent of it.

    `standing` is for those that refer to the item; `joins` are the campaigns to which it belongs, and for whom
    it does. `may_see` are, by source, those to whom the terms of its word let it go, whether or not they take
    objects of this type.
    """

    known: Known
    due_ms: int
    cleared: Cleared | None
    decision: Decision | None
    standing: Standing
    joins: Mapping[Join, Bits]
    may_see: Mapping[str, Bits]
    referring: Mapping[str, Bits]
    """By malware and identities that it refers to, and that somebody lacks: who may have it with the reference, as
    soon as they have that."""


def settle(known: Known, fingerprint: bytes, rules: Rules, now_ms: int, epoch: int) -> Settled:
    """Decides an item as it is known now. The same input always gives the same output, so a replay is harmless.

    An error denies: where the facts of a contribution can't be read nobody gets it, and where a copy can't be
    made those don't whose copy it is; the decision names the error.
    """
    compiled = rules.compiled
    if known.sent.numbering != compiled.numbering:
        raise Misconfigured(
            "numbering-unknown",
            "what the hub remembers of its recipients is under another numbering than the database's",
            hint="this state belongs to another database: put the matching database back",
        )
    local = Local(
        look(rules.data, known.kind, known.value), rules.named, now_ms, lambda ioc: look(rules.data, *ioc)
    )
    own = fingerprint.hex()
    judged = [
        judge(known, source, word, compiled, _around(own, word, local))
        for source, word in known.contributions.items()
    ]
    errors = [error for j in judged for error in j.verdict.errors]
    if known.kind == campaign.KIND:
        lost = campaign.lost(known, compiled, now_ms)
        drafts = campaign.drafts(known, compiled, now_ms)
    else:
        lost = _lost(judged)
        drafts, faults = part(known, fingerprint, judged, compiled, local)
        errors += faults
    turned = turn(known.sent, drafts, lost, Item(known.type, fingerprint, rules.key_of, now_ms))
    joins: Mapping[Join, Bits] = {}
    try:
        joins = _joins(known, judged, local)
    except Exception as error:  # it joins nothing
        errors.append(f"joins: {type(error).__name__}")
    told = _told(turned.sent, drafts)
    judgements = tuple(_judgement(j, told, compiled) for j in judged)
    if known.kind == campaign.KIND:
        judgements = (_own_judgement(drafts, compiled),)
    digest = _digest(judgements, errors, compiled.numbering)
    held = union(to for to, _ in drafts)
    reaching = {j.source: _reaching(j, held) for j in judged}
    if any(word is not known.contributions[source] for source, word in reaching.items()):
        known = known.model_copy(update={"contributions": reaching})
    if known.type in FOLLOWING:
        following = {
            "lacking": to_hex(_lacking(judged, compiled)),
            "followers": to_hex(_followers(judged, compiled)),
        }
        if (known.lacking, known.followers) != tuple(following.values()):
            known = known.model_copy(update=following)
    gone = silenced(known, turned.sent, _excused(judged), own)
    hanging = _hanging(known, judged, turned.sent)
    if (gone, hanging) != (known.gone, known.hanging):
        known = known.model_copy(update={"gone": gone, "hanging": hanging})
    cleared = decision = None
    if digest != known.judged or turned.sent != known.sent:
        sent_before = known.sent
        known = known.model_copy(update={"counter": known.counter + 1, "judged": digest, "sent": turned.sent})
        decided = _Decided(judgements, errors, drafts, judged, joins, turned.copies)
        decision = _decision(known, fingerprint, decided, rules, local, epoch)
        if turned.sent != sent_before:
            cleared = _cleared(known, fingerprint, turned.copies, rules, local, epoch)
    return Settled(
        known=known,
        due_ms=_due_ms(known, judged, drafts, compiled, now_ms),
        cleared=cleared,
        decision=decision,
        standing=_standing(known, turned, epoch),
        joins=joins,
        may_see={j.source: _may_see(j, compiled) for j in judged},
        referring=_referring(known, judged, own, compiled),
    )


def _cleared(
    known: Known, fingerprint: bytes, copies: tuple[Copy, ...], rules: Rules, local: Local, epoch: int
) -> Cleared:
    return Cleared(
        fingerprint=fingerprint.hex(),
        type=known.type,
        kind=known.kind,
        # what names another object is made of fingerprints, which are not for those who may not see that object
        # and what nobody holds any more is kept by nobody
        value=known.value if any(copy.live for copy in copies) and not _names_others(known) else "",
        epoch=epoch,
        counter=known.counter,
        numbering=rules.compiled.numbering,
        copies=copies,
        registrable_domain=local.context.registrable_domain,
    )


def _names_others(known: Known) -> bool:
    return known.kind == campaign.KIND or known.kind.startswith("stix:")


class _Decided(NamedTuple):
    judgements: tuple[Judgement, ...]
    errors: list[str]
    drafts: Sequence[tuple[Bits, Draft]]
    judged: Sequence[Judged]
    joins: Iterable[Join]
    copies: Iterable[Copy]


def _decision(
    known: Known, fingerprint: bytes, decided: _Decided, rules: Rules, local: Local, epoch: int
) -> Decision:
    whole = next((draft.view for _, draft in decided.drafts if draft.whole), None)
    facts = {j.source: provenance(j.facts, j.source, rules.compiled) for j in decided.judged if j.facts}
    errors = list(decided.errors)
    try:
        shown = background(known, whole, decided.joins, rules.compiled, rules.data.version, local)
    except Exception as error:  # what staff are shown must not keep anybody from a decision
        shown = {}
        errors.append(f"background: {type(error).__name__}")
    contents = {"value": known.value, "route": known.route or fingerprint.hex(), "facts": facts, **shown}
    return Decision(
        fingerprint=fingerprint.hex(),
        id=outgoing_id(known.type, fingerprint, generation(known.sent)),
        type=known.type,
        kind=known.kind,
        epoch=epoch,
        counter=known.counter,
        at_ms=local.now_ms,
        policy=rules.compiled.hash,
        numbering=rules.compiled.numbering,
        judgements=decided.judgements,
        errors=tuple(errors),
        probation=tuple(j.source for j in decided.judged if _awaits_release(j, rules.compiled)),
        bodies=tuple(Body(to=copy.to, sha256=_sha256(copy.body)) for copy in decided.copies),
        sealed=seal(rules.secret, contents),
    )


def _awaits_release(judged: Judged, compiled: Compiled) -> bool:
    facts = judged.facts
    return facts is not None and facts.probation and judged.source in compiled.sources and not judged.verdict.ended


def _sha256(body: Mapping[str, Any]) -> str:
    """Of the bytes as they leave."""
    return hashlib.sha256(orjson.dumps(body)).hexdigest()


def _around(own: str, word: Contribution, local: Local) -> Around:
    families = local.named(texts_of(word))
    return Around(own, local.context.protected, category_of(word.labels, families), local.look, local.now_ms)


def _reaching(judged: Judged, held: Bits) -> Contribution:
    """The contribution, with those that it reaches now among all that it ever reached.

    One that has ended has been answered for those that go on holding a copy of others: should they lose that one
    day, it says no more.
    """
    word, verdict = judged.contribution, judged.verdict
    before = from_hex(word.reached)
    reached = to_hex(Bits(before & ~held if verdict.ended else before | verdict.permitted))
    return word if reached == word.reached else word.model_copy(update={"reached": reached})


def _lost(judged: Iterable[Judged]) -> Lost:
    """Whom a withdrawal is told, should they be permitted no longer.

    A contribution speaks only to those that it ever reached: to others its end would tell that it was there.
    Lifecycle (revoked, consent withdrawn) always speaks, and so does consent that does not cover them (F03). Else
    a silent rule keeps silence, and a recipient that is in no agreement any more is silent too.
    """
    ended, consent, loud, silent, hushed = 0, 0, 0, 0, 0
    for j in judged:
        reached = from_hex(j.contribution.reached)
        if j.verdict.ended:
            ended |= reached
        else:
            silent |= j.verdict.silent & reached
            hushed |= j.verdict.hushed & reached
            loud |= union(who for _, who in j.verdict.denied) & reached
            consent |= union(who for rule, who in j.verdict.denied if rule == "F03") & reached
    withdrawn = ended | consent | (loud & ~silent)
    return Lost(withdrawn=Bits(withdrawn), ended=Bits(ended | consent), hushed=Bits(hushed))


def _told(sent: Sent, drafts: Iterable[tuple[Bits, Draft]]) -> Bits:
    """Those that hold a withdrawal of the item and no copy."""
    return Bits(union(from_hex(held.to) for held in sent.withdrawn) & ~union(to for to, _ in drafts))


def _judgement(judged: Judged, told: Bits, compiled: Compiled) -> Judgement:
    verdict = judged.verdict
    made = [
        Group(outcome="permit", rules=p.rules, obligations=dict(p.obligations), recipients=to_hex(p.who))
        for p in verdict.parts
        if p.who
    ]
    if verdict.waits:
        made.append(Group(outcome="wait", rules=("F06",), recipients=to_hex(verdict.waits)))
    made += [
        Group(outcome=outcome, rules=rules, recipients=to_hex(Bits(members)))
        for rules, all_members in groups(verdict, compiled.everyone)
        for outcome, members in _outcomes(verdict.ended, all_members, told)
        if members
    ]
    return Judgement(source=judged.source, groups=tuple(made))


def _outcomes(ended: str, members: Bits, told: Bits) -> list[tuple[Outcome, int]]:
    if not ended:
        return [("deny", members)]
    return [("tombstone" if ended == "F07" else "retract", members & told), ("deny", members & ~told)]


def _own_judgement(drafts: Iterable[tuple[Bits, Draft]], compiled: Compiled) -> Judgement:
    """On what the hub itself says: for those who may see enough of what is joined."""
    permitted = union(to for to, _ in drafts)
    groups_ = (("permit", (), permitted), ("deny", ("F11",), compiled.everyone & ~permitted))
    return Judgement(
        source=HUB,
        groups=tuple(
            Group.model_validate({"outcome": outcome, "rules": rules, "recipients": to_hex(Bits(who))})
            for outcome, rules, who in groups_
            if who
        ),
    )


def _excused(judged: Iterable[Judged]) -> Bits:
    """Those who lost the item to nothing but its age, which they can reckon themselves, or because of others: of
    what these keep secret they tell themselves."""
    denied, by_itself = 0, 0
    for j in judged:
        reached = from_hex(j.contribution.reached)
        denied |= union(who for _, who in j.verdict.denied) & reached
        by_itself |= j.verdict.by_itself & reached
    return Bits(denied & ~by_itself)


def _hanging(known: Known, judged: Sequence[Judged], sent: Sent) -> tuple[str, ...]:
    """By the words that let each have it, and by no others."""
    if known.type not in OUTGOING:
        return ()
    holders = union(from_hex(held.to) for held in sent.live)
    if known.kind == campaign.KIND:
        return hanging_by(holders, [holders])  # its members stand by themselves
    near = ((j.verdict.permitted, j.facts.ends.near) for j in judged if j.facts is not None and j.verdict.permitted)
    return hanging_by(holders, nearest(near))


def _standing(known: Known, turned: Turn, epoch: int) -> Standing:
    """What those that refer to the item are told: only of copies that are in a feed now."""
    return Standing(
        epoch=epoch,
        counter=known.counter,
        copies=tuple(
            Seen(
                to=to_hex(copy.to),
                id=copy.body["id"],
                created=copy.body["created"],
                markings=tuple(copy.body.get("object_marking_refs", ())),
                category=copy.category,
            )
            for copy in turned.shown
        ),
        gone=known.gone,
        hanging=known.hanging,
        lacking=known.lacking,
        followers=known.followers,
    )


def _joins(known: Known, judged: Iterable[Judged], local: Local) -> dict[Join, Bits]:
    if known.type != "indicator":
        return {}
    joins: dict[Join, int] = {}
    permitted = union(j.verdict.permitted for j in judged)
    for join in by_value(local.context):
        joins[join] = permitted
    for j in judged:
        families = local.named(texts_of(j.contribution))
        for join in by_word(j.contribution, families, local.context):
            joins[join] = joins.get(join, 0) | j.verdict.plain
    return {join: Bits(who) for join, who in joins.items()}


def _may_see(judged: Judged, compiled: Compiled) -> Bits:
    """All that its terms and their agreements permit to have it as it was said, but for the types that they take,
    and what it refers to."""
    facts, verdict = judged.facts, judged.verdict
    if facts is None or verdict.ended or facts.probation:
        return NOBODY
    redacted = union(p.who for p in verdict.parts if p.redactions)
    category = compiled.everyone if facts.category is None else wants_category(facts.category, compiled)
    return Bits(compiled.in_force(facts.now_ms) & category & verdict.but_for("F11", "P00") & ~redacted)


def _referring(known: Known, judged: Sequence[Judged], own: str, compiled: Compiled) -> dict[str, Bits]:
    """Decided as if those who lack an end had it: whether they do must not bear on what it is told.

    Nor what this item has only because something refers to it; and nothing keeps itself.
    """
    who: dict[str, int] = {}
    for some, ends in supposing(known):
        who |= dict.fromkeys(some - {own}, 0)
        for j in judged:
            for to, kept in _supposed(j, ends, own, compiled):
                for end in kept & some - {own}:
                    who[end] |= to
    return {end: Bits(may) for end, may in who.items()}


def _supposed(
    judged: Judged, ends: Mapping[str, Standing], own: str, compiled: Compiled
) -> Iterator[tuple[Bits, frozenset[str]]]:
    """Who may have it then, and to what it refers in their copies."""
    facts = judged.facts
    if facts is None or judged.verdict.ended:
        return
    references = facts.contribution.references
    found = ends_of(facts.type, references, ends, compiled.everyone, own)
    for some in decide(facts._replace(ends=found, followed=NOBODY), compiled).parts:
        yield some.who, kept_ends(references, some.obligations)


def _followers(judged: Iterable[Judged], compiled: Compiled) -> Bits:
    """Those who may have it only because they may have something that refers to it."""
    permitted, by_itself = 0, 0
    for j in judged:
        if j.facts is not None and j.verdict.permitted:
            permitted |= j.verdict.permitted
            by_itself |= j.verdict.permitted & ~p00_permit(j.facts._replace(followed=NOBODY), compiled).denied
    return Bits(permitted & ~by_itself)


def _lacking(judged: Iterable[Judged], compiled: Compiled) -> Bits:
    """Those who may have it as soon as they may have something that refers to it."""
    return union(
        j.verdict.but_for("P00") & ~j.verdict.permitted & compiled.in_force(j.facts.now_ms)
        for j in judged
        if j.facts is not None and not j.verdict.ended and not j.facts.probation
    )


def _due_ms(
    known: Known, judged: Iterable[Judged], drafts: Iterable[tuple[Bits, Draft]], compiled: Compiled, now_ms: int
) -> int:
    """When time alone can change the decision or a copy: an agreement begins or ends, the item grows too old or
    its score lower, or something that waited is to be shown."""
    turns = [compiled.next_turn_ms(now_ms) or NEVER_MS]
    for j in judged:
        if j.facts is not None:
            turns += [j.facts.newest_ms + days * DAY_MS + 1 for days, _ in compiled.max_age]
            turns += _terms_ms(j.facts)
    turns += [draft.view.next_ms for _, draft in drafts if draft.view and draft.view.next_ms is not None]
    turns += [one.from_ms for one in known.feedback.values()]
    turns.append(known.waiting_ms)
    return min((turn_ms for turn_ms in turns if turn_ms > now_ms), default=NEVER_MS)


def _terms_ms(facts: Facts) -> list[int]:
    """When an embargo or a consent ends."""
    embargo, grant = facts.handling.embargo, facts.grant
    until = [embargo.until_ms if embargo else None, grant.until_ms if grant else None]
    return [at_ms for at_ms in until if at_ms is not None]


def _digest(judgements: Iterable[Judgement], errors: Iterable[str], numbering: str) -> str:
    document: Mapping[str, object] = {
        "numbering": numbering,
        "judgements": [j.model_dump() for j in judgements],
        "errors": list(errors),
    }
    return hashlib.blake2b(orjson.dumps(document), digest_size=12).hexdigest()
