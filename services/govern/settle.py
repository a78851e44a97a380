"""Decides one item: each contribution by itself, what each recipient gets, and what is sent and kept of it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import orjson

from schemas.bits import NOBODY, Bits, from_hex, to_hex, union
from schemas.cleared import Cleared
from schemas.decision import Decision, Group, Judgement, Outcome
from schemas.errors import Misconfigured
from schemas.known import NEVER_MS, Contribution, Known, Sent
from schemas.outgoing import outgoing_id
from services.govern.compile import Compiled
from services.govern.facts import Facts, facts_of
from services.govern.ledger import Lost, generation, turn
from services.govern.obligations import Draft, Visible, merge_visible
from services.govern.policy import DAY_MS, SILENT, Verdict, decide, groups


class Settled(NamedTuple):
    """What is known after the decision, when it wants to be made again (ms), and what is to be sent of it."""

    known: Known
    due_ms: int
    cleared: Cleared | None
    decision: Decision | None


class Judged(NamedTuple):
    """One contribution with its decision; no facts where they could not be read, which denies everyone."""

    source: str
    contribution: Contribution
    facts: Facts | None
    verdict: Verdict


def settle(
    known: Known, fingerprint: bytes, compiled: Compiled, registrable_domain: str, now_ms: int, epoch: int
) -> Settled:
    """Decides an item as it is known now. The same input always gives the same output, so a replay is harmless.

    An error denies: where the facts of a contribution can't be read nobody gets it, and where a copy can't be
    made nobody gets any; the decision names the error.
    """
    if known.sent.numbering != compiled.numbering:
        raise Misconfigured(
            "numbering-unknown",
            "what the hub remembers of its recipients is under another numbering than the database's",
            hint="this state belongs to another database: put the matching database back",
        )
    judged = [_judge(known, source, word, compiled, now_ms) for source, word in known.contributions.items()]
    errors = [error for j in judged for error in j.verdict.errors]
    lost = _lost(judged)
    try:
        drafts = _drafts(known, judged, compiled)
        sent, copies = turn(known.sent, drafts, lost, known.type, fingerprint)
    except Exception as error:  # whatever it is: an error denies
        errors.append(f"copies: {type(error).__name__}")
        drafts = []
        sent, copies = turn(known.sent, drafts, lost, known.type, fingerprint)
    told = _told(sent, drafts)
    judgements = tuple(_judgement(j, told, compiled) for j in judged)
    digest = _digest(judgements, errors, compiled.numbering)
    due_ms = _due_ms(judged, compiled, now_ms)
    known = known.model_copy(update={"contributions": {j.source: _reaching(j) for j in judged}})
    if digest == known.judged and sent == known.sent:
        return Settled(known, due_ms, None, None)
    after = known.model_copy(update={"counter": known.counter + 1, "judged": digest, "sent": sent})
    cleared = None
    if sent != known.sent:
        cleared = Cleared(
            fingerprint=fingerprint.hex(),
            type=known.type,
            kind=known.kind,
            value=known.value,
            epoch=epoch,
            counter=after.counter,
            numbering=compiled.numbering,
            copies=copies,
            registrable_domain=registrable_domain,
        )
    decision = Decision(
        fingerprint=fingerprint.hex(),
        id=outgoing_id(known.type, fingerprint, generation(sent)),
        type=known.type,
        kind=known.kind,
        value=known.value,
        epoch=epoch,
        counter=after.counter,
        at_ms=now_ms,
        policy=compiled.hash,
        numbering=compiled.numbering,
        judgements=judgements,
        errors=tuple(errors),
    )
    return Settled(after, due_ms, cleared, decision)


def _judge(known: Known, source: str, contribution: Contribution, compiled: Compiled, now_ms: int) -> Judged:
    try:
        facts = facts_of(known, source, contribution, compiled, now_ms)
    except Exception as error:  # whatever it is: an error denies
        unread = Verdict(NOBODY, (("P00", compiled.everyone),), "", (f"facts: {type(error).__name__}",))
        return Judged(source, contribution, None, unread)
    return Judged(source, contribution, facts, decide(facts, compiled))


def _reaching(judged: Judged) -> Contribution:
    """The contribution, with those that it reaches now among all that it ever reached."""
    reached = to_hex(Bits(from_hex(judged.contribution.reached) | judged.verdict.permitted))
    return judged.contribution.model_copy(update={"reached": reached})


def _drafts(known: Known, judged: Iterable[Judged], compiled: Compiled) -> list[tuple[Bits, Draft]]:
    """Recipients parted by which contributions they may see, and the copy of each part."""
    parts: dict[int, list[Visible]] = {int(compiled.everyone): []}
    for source, contribution, facts, verdict in judged:
        if facts is None:
            continue
        terms = compiled.sources.get(source)
        visible = Visible(source, contribution, facts, terms.reliability if terms else "F")
        split: dict[int, list[Visible]] = defaultdict(list)
        for members, sees in parts.items():
            if inside := members & verdict.permitted:
                split[inside] = [*sees, visible]
            if outside := members & ~verdict.permitted:
                split[outside] = sees
        parts = split
    return [(Bits(members), merge_visible(known, sees)) for members, sees in parts.items() if sees]


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
            continue
        for rule, who in j.verdict.denied:
            if rule in SILENT:
                silent |= who & reached
            else:
                loud |= who & reached
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


def _due_ms(judged: Iterable[Judged], compiled: Compiled, now_ms: int) -> int:
    """When time alone can change the decision: an agreement begins or ends, or the item grows too old."""
    turns = [compiled.next_turn_ms(now_ms) or NEVER_MS]
    for j in judged:
        if j.facts is None:
            continue
        ages = (j.facts.newest_ms + days * DAY_MS + 1 for days, _ in compiled.max_age)
        turns.append(min((t for t in ages if t > now_ms), default=NEVER_MS))
    return min(turns)


def _digest(judgements: Iterable[Judgement], errors: Iterable[str], numbering: str) -> str:
    document: Mapping[str, object] = {
        "numbering": numbering,
        "judgements": [j.model_dump() for j in judgements],
        "errors": list(errors),
    }
    return hashlib.blake2b(orjson.dumps(document), digest_size=12).hexdigest()
