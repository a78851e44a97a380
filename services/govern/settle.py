"""Decides one item: each contribution by itself, what each recipient gets, and what is sent and kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import NamedTuple

import orjson

from schemas.bits import NOBODY, Bits, from_hex, to_hex, union
from schemas.cleared import Cleared, Copy
from schemas.decision import Decision, Group, Judgement, Outcome
from schemas.errors import Misconfigured
from schemas.known import NEVER_MS, Contribution, Known, Sent
from schemas.outgoing import outgoing_id
from schemas.reference import Seen, Standing
from services.enrich.context import EnrichmentData, look, named
from services.enrich.joins import Join, by_value, by_word
from services.enrich.view import Named, texts_of
from services.govern import campaign
from services.govern.background import background
from services.govern.compile import Compiled
from services.govern.facts import facts_of
from services.govern.ledger import Lost, Turn, generation, turn
from services.govern.obligations import Draft, Local
from services.govern.parting import Judged, part
from services.govern.policy import DAY_MS, Verdict, decide, groups, wants_category
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
    local = Local(look(rules.data, known.kind, known.value), rules.named, now_ms)
    own = fingerprint.hex()
    judged = [_judge(known, own, source, word, rules, local) for source, word in known.contributions.items()]
    errors = [error for j in judged for error in j.verdict.errors]
    if known.kind == campaign.KIND:
        lost = campaign.lost(known, compiled, now_ms)
        drafts = campaign.drafts(known, compiled, now_ms)
    else:
        lost = _lost(judged)
        drafts, faults = part(known, judged, compiled, local)
        errors += faults
    turned = turn(known.sent, drafts, lost, known.type, fingerprint)
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
    cleared = decision = None
    if digest != known.judged or turned.sent != known.sent:
        sent_before = known.sent
        known = known.model_copy(update={"counter": known.counter + 1, "judged": digest, "sent": turned.sent})
        decision = _decision(known, fingerprint, judgements, errors, drafts, joins, rules, local, epoch)
        if turned.sent != sent_before:
            cleared = _cleared(known, fingerprint, turned.copies, rules, local, epoch)
    return Settled(
        known=known,
        due_ms=_due_ms(known, judged, drafts, compiled, now_ms),
        cleared=cleared,
        decision=decision,
        standing=_standing(known, turned, _aged(judged), epoch),
        joins=joins,
        may_see={j.source: _may_see(j, compiled) for j in judged},
    )


def _cleared(
    known: Known, fingerprint: bytes, copies: tuple[Copy, ...], rules: Rules, local: Local, epoch: int
) -> Cleared:
    return Cleared(
        fingerprint=fingerprint.hex(),
        type=known.type,
        kind=known.kind,
        # what names another object is made of fingerprints, which are not for those who may not see that object
        value="" if known.kind == campaign.KIND or known.kind.startswith("stix:") else known.value,
        epoch=epoch,
        counter=known.counter,
        numbering=rules.compiled.numbering,
        copies=copies,
        registrable_domain=local.context.registrable_domain,
    )


def _decision(
    known: Known,
    fingerprint: bytes,
    judgements: tuple[Judgement, ...],
    errors: Iterable[str],
    drafts: Iterable[tuple[Bits, Draft]],
    joins: Iterable[Join],
    rules: Rules,
    local: Local,
    epoch: int,
) -> Decision:
    whole = next((draft.view for _, draft in drafts if draft.whole), None)
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
        judgements=judgements,
        errors=tuple(errors),
        sealed=seal(
            rules.secret,
            {
                "value": known.value,
                "route": known.route or fingerprint.hex(),
                **background(known, whole, joins, rules.compiled, rules.data.version, local),
            },
        ),
    )


def _judge(known: Known, own: str, source: str, contribution: Contribution, rules: Rules, local: Local) -> Judged:
    compiled = rules.compiled
    try:
        facts = facts_of(known, source, contribution, compiled, local.context.protected, local.now_ms, own)
    except Exception as error:  # whatever it is: an error denies
        unread = Verdict(NOBODY, (("P00", compiled.everyone),), "", (f"facts: {type(error).__name__}",))
        return Judged(source, contribution, None, unread._replace(silent=compiled.everyone))
    return Judged(source, contribution, facts, decide(facts, compiled))


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
    Lifecycle (revoked, consent withdrawn) always speaks. Else a silent rule keeps silence, and a recipient that
    is in no agreement any more is silent too.
    """
    ended, loud, silent = 0, 0, 0
    for j in judged:
        reached = from_hex(j.contribution.reached)
        if j.verdict.ended:
            ended |= reached
        else:
            silent |= j.verdict.silent & reached
            loud |= union(who for _, who in j.verdict.denied) & reached
    return Lost(withdrawn=Bits(ended | (loud & ~silent)), ended=Bits(ended))


def _told(sent: Sent, drafts: Iterable[tuple[Bits, Draft]]) -> Bits:
    """Those that hold a withdrawal of the item and no copy."""
    return Bits(union(from_hex(held.to) for held in sent.withdrawn) & ~union(to for to, _ in drafts))


def _judgement(judged: Judged, told: Bits, compiled: Compiled) -> Judgement:
    ended = judged.verdict.ended
    return Judgement(
        source=judged.source,
        groups=tuple(
            Group(outcome=outcome, rules=rules, recipients=to_hex(Bits(members)))
            for rules, all_members in groups(judged.verdict, compiled.everyone)
            for outcome, members in _outcomes(rules, ended, all_members, told)
            if members
        ),
    )


def _outcomes(rules: tuple[str, ...], ended: str, members: Bits, told: Bits) -> list[tuple[Outcome, int]]:
    if not rules:
        return [("permit", members)]
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


def _aged(judged: Iterable[Judged]) -> Bits:
    """Those who lost the item to nothing but its age, which they can reckon themselves."""
    aged, otherwise = 0, 0
    for j in judged:
        reached = from_hex(j.contribution.reached)
        for rule, who in j.verdict.denied:
            if rule == "F09":
                aged |= who & reached
            else:
                otherwise |= who & reached
    return Bits(aged & ~otherwise)


def _standing(known: Known, turned: Turn, aged: Bits, epoch: int) -> Standing:
    """What those that refer to the item are told: only of copies that are in a feed now."""
    return Standing(
        epoch=epoch,
        counter=known.counter,
        copies=tuple(
            Seen(
                to=copy.to,
                id=copy.body["id"],
                created=copy.body["created"],
                markings=tuple(copy.body.get("object_marking_refs", ())),
                category=copy.category,
            )
            for copy in turned.copies
            if copy.live
        ),
        gone=to_hex(Bits(union(from_hex(held.to) for held in turned.sent.gone) & ~aged)),
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
            joins[join] = joins.get(join, 0) | j.verdict.permitted
    return {join: Bits(who) for join, who in joins.items()}


def _may_see(judged: Judged, compiled: Compiled) -> Bits:
    """All that its terms and their agreements permit, but for the types that they take, and what it refers to."""
    facts, verdict = judged.facts, judged.verdict
    if facts is None or verdict.ended or facts.probation:
        return NOBODY
    forbidden = union(who for rule, who in verdict.denied if rule not in ("F11", "P00"))
    category = compiled.everyone if facts.category is None else wants_category(facts.category, compiled)
    return Bits(compiled.in_force(facts.now_ms) & category & ~forbidden)


def _due_ms(
    known: Known, judged: Iterable[Judged], drafts: Iterable[tuple[Bits, Draft]], compiled: Compiled, now_ms: int
) -> int:
    """When time alone can change the decision or a copy: an agreement begins or ends, the item grows too old or
    its score lower, or something that waited is to be shown."""
    turns = [compiled.next_turn_ms(now_ms) or NEVER_MS]
    for j in judged:
        if j.facts is not None:
            turns += [j.facts.newest_ms + days * DAY_MS + 1 for days, _ in compiled.max_age]
    turns += [draft.view.next_ms for _, draft in drafts if draft.view and draft.view.next_ms is not None]
    turns += [one.from_ms for one in known.feedback.values()]
    turns.append(known.waiting_ms)
    return min((turn_ms for turn_ms in turns if turn_ms > now_ms), default=NEVER_MS)


def _digest(judgements: Iterable[Judgement], errors: Iterable[str], numbering: str) -> str:
    document: Mapping[str, object] = {
        "numbering": numbering,
        "judgements": [j.model_dump() for j in judgements],
        "errors": list(errors),
    }
    return hashlib.blake2b(orjson.dumps(document), digest_size=12).hexdigest()
