"""Who holds which copy of an item, and how that changes: from one `Sent` to the next, and the copies to send.

Promises, for each recipient: `created` and id stay as at its first copy; `modified` rises exactly when its body
changes, and no date of it comes from what it may not see; a withdrawal goes to those that hold a copy, and to
nobody else; what was withdrawn under an id is never shared again with it under that id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.bits import NOBODY, Bits, from_hex, to_hex, union
from schemas.cleared import Copy
from schemas.known import Held, Sent
from schemas.outgoing import outgoing_id
from schemas.timestamps import format_time
from services.govern.obligations import Draft, tombstone

MAX_GENERATIONS = 32
"""What was withdrawn from somebody so many times goes to them no more: each time leaves a tombstone for ever."""


class Lost(NamedTuple):
    """Of those that are permitted no longer: who is told (`withdrawn`; everyone else falls silent)."""

    withdrawn: Bits
    ended: Bits
    """Those to whom lifecycle speaks (revoked, consent withdrawn): told even when they had fallen silent."""


class Turn(NamedTuple):
    """The ledger after a decision, and the whole set of copies that the feeds shall show."""

    sent: Sent
    copies: tuple[Copy, ...]


def turn(sent: Sent, drafts: Sequence[tuple[Bits, Draft]], lost: Lost, stix_type: str, fingerprint: bytes) -> Turn:
    """Moves everyone to what was decided. `drafts` are disjoint sets of recipients and the copy of each."""
    permitted = union(to for to, _ in drafts)
    live: list[Held] = []
    copies: list[Copy] = []
    for to, draft in drafts:
        for held, body in _copies_of(to, draft, sent, stix_type, fingerprint):
            live.append(held)
            copies.append(_copy(held, body, draft))
    gone: list[Held] = []
    withdrawn = list(sent.withdrawn)
    for held in sent.live:
        left = _to(held) & ~permitted
        withdrawn += _part(_withdraw(held), left & lost.withdrawn)
        gone += _part(held, left & ~lost.withdrawn)
    for held in sent.gone:
        left = _to(held) & ~permitted
        withdrawn += _part(_withdraw(held), left & lost.ended)
        gone += _part(held, left & ~lost.ended)
    withdrawn = _join(withdrawn)
    after = Sent(
        numbering=sent.numbering, live=tuple(_join(live)), gone=tuple(_join(gone)), withdrawn=tuple(withdrawn)
    )
    return Turn(after, (*_one_each(copies), *(_tombstone_copy(h, stix_type, fingerprint) for h in withdrawn)))


def generation(sent: Sent) -> int:
    """The generation of the id that somebody gets who never held the item.

    The present holders' if there are any, so that recipients can deduplicate among each other; else one that
    nobody knows as withdrawn.
    """
    if sent.live:
        return max(held.generation for held in sent.live)
    return max((held.generation + 1 for held in sent.withdrawn), default=0)


def _copies_of(
    to: Bits, draft: Draft, sent: Sent, stix_type: str, fingerprint: bytes
) -> Iterable[tuple[Held, dict[str, Any]]]:
    """The copy of each part of `to`: parted by what its members hold, so that nobody's dates touch another's."""
    rest = int(to)
    for former in (*sent.live, *sent.gone):
        if part := rest & _to(former):
            rest &= ~part
            yield _next(Bits(part), draft, former, former in sent.live, stix_type, fingerprint)
    current = generation(sent)
    for members, number in _by_generation(rest, sent.withdrawn, current):
        if number > MAX_GENERATIONS:
            continue
        body = _body(draft, number, draft.created_ms, stix_type, fingerprint)
        modified_ms = max(draft.modified_ms, draft.created_ms)
        yield _held(members, draft, body, number, draft.created_ms, modified_ms), body


def _next(
    to: Bits, draft: Draft, former: Held, is_live: bool, stix_type: str, fingerprint: bytes
) -> tuple[Held, dict[str, Any]]:
    """The next copy of those that hold `former`; the same one, if nothing that they see changes."""
    body = _body(draft, former.generation, former.created_ms, stix_type, fingerprint)
    if is_live and former.content == _digest(body, draft):
        same = former.model_copy(update={"to": to_hex(to), "last_seen_ms": draft.last_seen_ms})
        return same, body
    modified_ms = max(draft.modified_ms, former.created_ms, former.modified_ms + 1)
    return _held(to, draft, body, former.generation, former.created_ms, modified_ms), body


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


def _body(draft: Draft, number: int, created_ms: int, stix_type: str, fingerprint: bytes) -> dict[str, Any]:
    return draft.body | {"id": outgoing_id(stix_type, fingerprint, number), "created": format_time(created_ms)}


def _held(to: Bits, draft: Draft, body: dict[str, Any], number: int, created_ms: int, modified_ms: int) -> Held:
    return Held(
        to=to_hex(to),
        content=_digest(body, draft),
        generation=number,
        created_ms=created_ms,
        modified_ms=modified_ms,
        last_seen_ms=draft.last_seen_ms,
    )


def _copy(held: Held, body: dict[str, Any], draft: Draft) -> Copy:
    view = draft.view
    return Copy(
        to=held.to,
        live=True,
        digest=f"{held.content}.{held.modified_ms:x}",
        body=body | {"modified": format_time(held.modified_ms)},
        category=draft.category,
        confidence=draft.confidence,
        first_seen=format_time(draft.first_seen_ms),
        last_seen=format_time(draft.last_seen_ms),
        tlp=draft.tlp.label,
        value=draft.value,
        score=None if view is None else view.score.value,
        active_until="" if view is None or view.active_until_ms is None else format_time(view.active_until_ms),
    )


def _tombstone_copy(held: Held, stix_type: str, fingerprint: bytes) -> Copy:
    id_ = outgoing_id(stix_type, fingerprint, held.generation)
    return Copy(
        to=held.to,
        live=False,
        digest=f"withdrawn.{held.generation}.{held.created_ms:x}.{held.modified_ms:x}",
        body=tombstone(stix_type, id_, held.created_ms, held.modified_ms),
    )


def _one_each(copies: Iterable[Copy]) -> list[Copy]:
    """Recipients of different contributions that come to exactly the same copy get it as one."""
    same: dict[tuple[object, ...], Copy] = {}
    for copy in copies:
        shown = (copy.digest, copy.confidence, copy.last_seen, copy.tlp, copy.value, copy.score, copy.active_until)
        before = same.get(shown)
        to = from_hex(copy.to) | (from_hex(before.to) if before else NOBODY)
        same[shown] = copy.model_copy(update={"to": to_hex(Bits(to))})
    return list(same.values())


def _withdraw(held: Held) -> Held:
    return held.model_copy(update={"content": "", "modified_ms": held.modified_ms + 1, "last_seen_ms": 0})


def _join(helds: Iterable[Held]) -> list[Held]:
    """Equal copies of several sets of recipients as one, in an order of their own."""
    joined: dict[tuple[int, str, int, int, int], int] = {}
    for held in helds:
        key = (held.generation, held.content, held.created_ms, held.modified_ms, held.last_seen_ms)
        joined[key] = joined.get(key, 0) | _to(held)
    return [
        Held(
            to=to_hex(Bits(to)),
            generation=g,
            content=c,
            created_ms=created,
            modified_ms=modified,
            last_seen_ms=seen,
        )
        for (g, c, created, modified, seen), to in sorted(joined.items())
    ]


def _part(held: Held, to: int) -> list[Held]:
    """The copy for some of its holders; none where there is nobody."""
    return [held.model_copy(update={"to": to_hex(Bits(to))})] if to else []


def _to(held: Held) -> Bits:
    return from_hex(held.to)


def _digest(body: dict[str, Any], draft: Draft) -> str:
    """Of all that makes a copy another one: not of `modified`, and not of the last sighting."""
    shown = [body, draft.category, draft.first_seen_ms]
    return hashlib.blake2b(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()
