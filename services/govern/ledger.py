"""Who holds which copy of an item, and how that changes: from one `Sent` to the next, and the copies to send.

Promises, for each recipient: `created` and id stay as at its first copy; `modified` rises exactly when its body
changes, and no date of it comes from what it may not see; a withdrawal goes to those that hold a copy, and to
nobody else; what was withdrawn under an id is never shared again with it under that id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.bits import NOBODY, Bits, from_hex, members, of, to_hex, union
from schemas.cleared import Copy
from schemas.known import Held, Sent
from schemas.outgoing import fill, has_placeholders, own_delay_ms, shown_id
from schemas.timestamps import format_time
from schemas.tombstone import tombstone
from services.govern.obligations import Draft
from services.govern.references import leaving

MAX_GENERATIONS = 32
"""What was withdrawn from somebody so many times goes to them no more: each time leaves a tombstone for ever."""

OWN_TIMES_MS = 3_600_000
"""So far the times of redacted copies lie apart that are released together."""


class Lost(NamedTuple):
    """Of those that are permitted no longer: who is told (`withdrawn`; everyone else falls silent)."""

    withdrawn: Bits
    ended: Bits
    """Those to whom lifecycle speaks (revoked, consent withdrawn): told even when they had fallen silent."""
    hushed: Bits
    """Those who may not be told by anything else later either, see `policy.Verdict.hushed`."""


class Shown(NamedTuple):
    """A copy that is in feeds now, for all that hold it: its id may be a placeholder (see `schemas.outgoing`)."""

    to: Bits
    body: dict[str, Any]
    category: str


class Turn(NamedTuple):
    """The ledger after a decision, and the whole set of copies that the feeds shall show."""

    sent: Sent
    copies: tuple[Copy, ...]
    shown: tuple[Shown, ...] = ()


class Item(NamedTuple):
    """What is turned: its STIX type and fingerprint; `key_of` gives the key of the recipient with a number."""

    type: str
    fingerprint: bytes
    key_of: Callable[[int], bytes]
    now_ms: int


def turn(sent: Sent, drafts: Sequence[tuple[Bits, Draft]], lost: Lost, item: Item) -> Turn:
    """Moves everyone to what was decided. `drafts` are disjoint sets of recipients and the copy of each."""
    permitted = union(to for to, _ in drafts)
    live: list[Held] = []
    copies: list[Copy] = []
    shown: list[Shown] = []
    withdrawn = list(sent.withdrawn)
    for to, draft in drafts:
        kept, replaced = _copies_of(to, draft, sent, item)
        for held, body in kept:
            live.append(held)
            copies += _copies(held, body, draft, item)
            shown.append(Shown(_to(held), body, draft.category))
        withdrawn += [_withdraw(held, item.now_ms) for held in replaced]
    gone: list[Held] = []
    for held in sent.live:
        left = _to(held) & ~permitted
        withdrawn += _part(_withdraw(held, item.now_ms), left & lost.withdrawn)
        gone += _fallen_silent(held, left & ~lost.withdrawn, lost, tellable=True)
    for held in sent.gone:
        left = _to(held) & ~permitted
        told = lost.withdrawn if held.tellable else lost.ended
        withdrawn += _part(_withdraw(held, item.now_ms), left & told)
        gone += _fallen_silent(held, left & ~told, lost, tellable=held.tellable)
    withdrawn = _join(withdrawn)
    after = Sent(
        numbering=sent.numbering, live=tuple(_join(live)), gone=tuple(_join(gone)), withdrawn=tuple(withdrawn)
    )
    tombstones = (copy for held in withdrawn for copy in _tombstone_copies(held, item))
    return Turn(after, (*_one_each(copies), *tombstones), tuple(shown))


def _fallen_silent(held: Held, left: int, lost: Lost, *, tellable: bool) -> list[Held]:
    """The copy of those who are told nothing, apart from it that of those who may be told later.

    Once nothing but a loud rule denies, an embargo, an age or a confidence that kept silence has no secret left,
    and somebody may go on blocking a defender's own site. A suspicion is a secret also when it is over. Were those
    whom it named told at its end, then the time of that would say when, and that there was one. So they are told
    nothing as long as they are not sent the item anew: they see what they would see if it had never ended.
    """
    parts = ((left & lost.hushed, False), (left & ~lost.hushed, tellable))
    return [
        one.model_copy(update={"tellable": may_be_told}) for to, may_be_told in parts for one in _part(held, to)
    ]


def generation(sent: Sent, own: bool = False) -> int:
    """The generation of the id that somebody gets who never held the item.

    The present holders' if there are any, so that recipients can deduplicate among each other; else one that
    nobody knows as withdrawn. Ids that each has for itself (`own`) need not agree.
    """
    if own:
        return 0
    if live := [held.generation for held in sent.live if not held.own]:
        return max(live)
    return max((held.generation + 1 for held in sent.withdrawn if not held.own), default=0)


def _copies_of(
    to: Bits, draft: Draft, sent: Sent, item: Item
) -> tuple[list[tuple[Held, dict[str, Any]]], list[Held]]:
    """The copy of each part of `to`, and the former copies whose place one under another id takes.

    Parted by what its members hold, so that nobody's dates touch another's.
    """
    rest = int(to)
    copies: list[tuple[Held, dict[str, Any]]] = []
    replaced: list[Held] = []
    rewritten = any(has_placeholders(draft.body.get(name)) for name in leaving(item.type))
    own = draft.redacted or rewritten
    for former in (*sent.live, *sent.gone):
        if part := rest & _to(former):
            rest &= ~part
            if _keeps_its_id(former, draft, rewritten):
                copies.append(_next(Bits(part), draft, former, former in sent.live, item))
            else:
                copies += _first(part, draft, own, sent, item)
                replaced += _part(former, part)
    return [*copies, *_first(rest, draft, own, sent, item)], replaced


def _keeps_its_id(former: Held, draft: Draft, rewritten: bool) -> bool:
    """The choice of id stands as it was made at the first sending, but for two cases: what was redacted and is no
    more gets the id that all have; and what comes to refer to an id that one recipient alone has can't go on under
    one by which two could tell that they hold the same."""
    return former.own == (draft.redacted or rewritten) or (not former.own and not rewritten)


def _first(rest: int, draft: Draft, own: bool, sent: Sent, item: Item) -> Iterator[tuple[Held, dict[str, Any]]]:
    """The first copy of those who hold none under this kind of id."""
    created_ms = item.now_ms if own else draft.created_ms
    modified_ms = item.now_ms if own else max(draft.modified_ms, draft.created_ms)
    withdrawn = [held for held in sent.withdrawn if held.own == own]
    rest &= ~_worn(rest, withdrawn)
    for some, number in _by_generation(rest, withdrawn, generation(sent, own)):
        body = _body(draft, number, own, created_ms, item)
        yield _held(some, draft, body, number, own, created_ms, modified_ms), body


def _worn(rest: int, withdrawn: Sequence[Held]) -> int:
    """Those of `rest` from whom it was withdrawn so often that they get it no more."""
    if len(withdrawn) <= MAX_GENERATIONS:
        return 0
    return of(
        bit for bit in members(Bits(rest)) if sum(_to(held) >> bit & 1 for held in withdrawn) > MAX_GENERATIONS
    )


def _next(to: Bits, draft: Draft, former: Held, is_live: bool, item: Item) -> tuple[Held, dict[str, Any]]:
    """The next copy of those that hold `former`; the same one, if nothing that they see changes."""
    body = _body(draft, former.generation, former.own, former.created_ms, item)
    if is_live and former.content == _digest(body, draft):
        same = former.model_copy(update={"to": to_hex(to), "last_seen_ms": draft.last_seen_ms})
        return same, body
    source_ms = item.now_ms if former.own else draft.modified_ms
    modified_ms = max(source_ms, former.created_ms, former.modified_ms + 1)
    held = _held(to, draft, body, former.generation, former.own, former.created_ms, modified_ms)
    return held.model_copy(update={"previous_ms": former.modified_ms}) if former.own else held, body


def _by_generation(rest: int, withdrawn: Iterable[Held], current: int) -> list[tuple[Bits, int]]:
    """Newcomers by the generation that they get: above any that they know as withdrawn (STIX 2.1, section 3.6)."""
    parts: dict[int, int] = {}
    for held in sorted(withdrawn, key=lambda h: -h.generation):
        if known := rest & _to(held):
            rest &= ~known
            number = max(current, held.generation + 1)
            parts[number] = parts.get(number, 0) | known
    if rest:
        parts[current] = parts.get(current, 0) | rest
    return [(Bits(members), number) for number, members in sorted(parts.items())]


def _body(draft: Draft, number: int, own: bool, created_ms: int, item: Item) -> dict[str, Any]:
    id_ = shown_id(item.type, item.fingerprint, number, own)
    return draft.body | {"id": id_, "created": format_time(created_ms)}


def _held(
    to: Bits, draft: Draft, body: dict[str, Any], number: int, own: bool, created_ms: int, modified_ms: int
) -> Held:
    return Held(
        to=to_hex(to),
        content=_digest(body, draft),
        generation=number,
        created_ms=created_ms,
        modified_ms=modified_ms,
        last_seen_ms=draft.last_seen_ms,
        own=own,
    )


def _copies(held: Held, body: dict[str, Any], draft: Draft, item: Item) -> Iterator[Copy]:
    """One copy for all that hold it; for each its own where something in it is made out to one recipient."""
    whole = _copy(held, body | {"modified": format_time(held.modified_ms)}, draft)
    if not (held.own or (draft.made_out and has_placeholders(body))):
        yield whole
        return
    for bit, made_out in _made_out(held, whole.body, item):
        yield whole.model_copy(
            update={"to": to_hex(of([bit])), "digest": f"{whole.digest}.{bit:x}", "body": made_out}
        )


def _made_out(held: Held, body: dict[str, Any], item: Item) -> Iterator[tuple[int, dict[str, Any]]]:
    """A body for each recipient by its number. The times of a redacted copy are of its release, and differ."""
    for bit in members(_to(held)):
        key = item.key_of(bit)
        made_out = fill(body, key)
        if item.type == "grouping" and isinstance(made_out.get("object_refs"), list):
            made_out["object_refs"].sort()  # the order of the placeholders is the same for all
        if held.own:
            created_ms, modified_ms = _own_times_ms(held, item.fingerprint, key)
            made_out["created"], made_out["modified"] = format_time(created_ms), format_time(modified_ms)
        yield bit, made_out


def _own_times_ms(held: Held, fingerprint: bytes, key: bytes) -> tuple[int, int]:
    """`created` and `modified` for one recipient. Each version has a delay of its own: equal spans between two
    would tell, too. None reaches back to the version before."""
    delay_ms = own_delay_ms(fingerprint, key, OWN_TIMES_MS)
    created_ms = held.created_ms - delay_ms
    if not held.previous_ms:
        return created_ms, created_ms
    most_ms = min(OWN_TIMES_MS, held.modified_ms - held.previous_ms)
    version = fingerprint + held.modified_ms.to_bytes(8, "big")
    return created_ms, held.modified_ms - delay_ms - own_delay_ms(version, key, most_ms)


def _copy(held: Held, body: dict[str, Any], draft: Draft) -> Copy:
    view = draft.view
    return Copy(
        to=held.to,
        live=True,
        digest=f"{held.content}.{held.modified_ms:x}",
        body=body,
        category=draft.category,
        confidence=draft.confidence,
        first_seen=format_time(draft.first_seen_ms),
        last_seen=format_time(draft.last_seen_ms),
        tlp=draft.tlp.label,
        value=draft.value,
        kind=draft.kind,
        registrable_domain=draft.registrable_domain,
        urgent=draft.urgent,
        score=None if view is None else view.score.value,
        active_until="" if view is None or view.active_until_ms is None else format_time(view.active_until_ms),
    )


def _tombstone_copies(held: Held, item: Item) -> Iterator[Copy]:
    id_ = shown_id(item.type, item.fingerprint, held.generation, held.own)
    whole = Copy(
        to=held.to,
        live=False,
        digest=f"withdrawn.{held.generation}.{held.created_ms:x}.{held.modified_ms:x}",
        body=tombstone(item.type, id_, held.created_ms, held.modified_ms),
    )
    if not held.own:
        yield whole
        return
    for bit, made_out in _made_out(held, whole.body, item):
        made_out |= {"valid_from": made_out["created"]} if "valid_from" in made_out else {}
        yield whole.model_copy(
            update={"to": to_hex(of([bit])), "digest": f"{whole.digest}.{bit:x}", "body": made_out}
        )


def _one_each(copies: Iterable[Copy]) -> list[Copy]:
    """Recipients of different contributions that come to exactly the same copy get it as one."""
    same: dict[tuple[object, ...], Copy] = {}
    for copy in copies:
        shown = (
            copy.digest,
            copy.urgent,
            copy.confidence,
            copy.last_seen,
            copy.tlp,
            copy.value,
            copy.score,
            copy.active_until,
        )
        before = same.get(shown)
        to = from_hex(copy.to) | (from_hex(before.to) if before else NOBODY)
        same[shown] = copy.model_copy(update={"to": to_hex(Bits(to))})
    return list(same.values())


def _withdraw(held: Held, now_ms: int) -> Held:
    after = {"content": "", "modified_ms": held.modified_ms + 1, "last_seen_ms": 0, "tellable": False}
    if held.own:
        after |= {"modified_ms": max(now_ms, held.modified_ms + 1), "previous_ms": held.modified_ms}
    return held.model_copy(update=after)


def _join(helds: Iterable[Held]) -> list[Held]:
    """Equal copies of several sets of recipients as one, in an order of their own."""
    joined: dict[tuple[Any, ...], tuple[Held, int]] = {}
    for held in helds:
        times = (held.created_ms, held.modified_ms, held.last_seen_ms, held.previous_ms)
        key = (held.generation, held.content, *times, held.own, held.tellable)
        _, to = joined.get(key, (held, 0))
        joined[key] = held, to | _to(held)
    return [
        held.model_copy(update={"to": to_hex(Bits(to))}) for held, to in (joined[key] for key in sorted(joined))
    ]


def _part(held: Held, to: int) -> list[Held]:
    """The copy for some of its holders; none where there is nobody."""
    return [held.model_copy(update={"to": to_hex(Bits(to))})] if to else []


def _to(held: Held) -> Bits:
    return from_hex(held.to)


def _digest(body: dict[str, Any], draft: Draft) -> str:
    """Of all that makes a copy another one: not of `modified`, and not of the last sighting."""
    shown = [body, draft.category, draft.first_seen_ms, *([draft.urgent] if draft.urgent else [])]
    return hashlib.blake2b(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()
