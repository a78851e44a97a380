"""Who holds which copy of an item, and how that changes: from one `Sent` to the next, and the copies to send.

Promises, for each recipient: `created` and id stay as at its first copy; `modified` rises exactly when its body
changes; a withdrawal goes to those that hold a copy, and to nobody else; what was withdrawn under an id is never
shared again under that id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.bits import NOBODY, Bits, from_hex, to_hex
from schemas.cleared import Copy
from schemas.known import Held, Sent
from schemas.outgoing import outgoing_id
from schemas.timestamps import format_time
from services.govern.obligations import Draft, tombstone


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
    permitted = _union(to for to, _ in drafts)
    generation, live, withdrawn = sent.generation, sent.live, list(sent.withdrawn)
    if permitted & _union(_to(h) for h in withdrawn if h.generation == generation):
        generation += 1
        withdrawn += [_withdraw(h) for h in live]
        live = ()
    gone = list(sent.gone)
    for held in live:
        left = _to(held) & ~permitted
        withdrawn += _part(_withdraw(held), left & lost.withdrawn)
        gone += _part(held, left & ~lost.withdrawn)
    for held in [h for h in gone if _to(h) & lost.ended]:
        gone.remove(held)
        gone += _part(held, _to(held) & ~lost.ended)
        withdrawn += _part(_withdraw(held), _to(held) & lost.ended)

    former = [h for h in (*live, *gone) if h.generation == generation]
    id_ = outgoing_id(stix_type, fingerprint, generation)
    now_live: list[Held] = []
    copies: list[Copy] = []
    for to, draft in drafts:
        for members, created_ms in _by_created(to, former, draft.created_ms):
            body = draft.body | {"id": id_, "created": format_time(created_ms)}
            content = _digest(body, draft)
            for held in _settle(members, content, created_ms, draft.modified_ms, generation, live, former):
                now_live.append(held)
                copies.append(_copy(held, body, draft))
    withdrawn = _join(withdrawn)
    after = Sent(
        numbering=sent.numbering,
        generation=generation,
        live=tuple(_join(now_live)),
        gone=tuple(
            h for g in gone for h in _part(g, _to(g) & ~permitted if g.generation == generation else _to(g))
        ),
        withdrawn=tuple(withdrawn),
    )
    return Turn(after, (*_one_each(copies), *(_tombstone_copy(h, stix_type, fingerprint) for h in withdrawn)))


def _settle(
    members: Bits,
    content: str,
    created_ms: int,
    modified_ms: int,
    generation: int,
    live: Iterable[Held],
    former: Iterable[Held],
) -> list[Held]:
    """Who of the members keeps its copy, and the copy of the others."""
    same = [h for h in live if h.content == content and h.created_ms == created_ms]
    kept = [part for h in same for part in _part(h, _to(h) & members)]
    others = Bits(members & ~_union(_to(h) for h in kept))
    if not others:
        return kept
    before = [h.modified_ms + 1 for h in former if _to(h) & others]
    at_least = max([modified_ms, created_ms, *before])
    for i, held in enumerate(kept):
        if held.modified_ms >= at_least:
            kept[i] = held.model_copy(update={"to": to_hex(Bits(_to(held) | others))})
            return kept
    new = Held(
        to=to_hex(others), content=content, generation=generation, created_ms=created_ms, modified_ms=at_least
    )
    return [*kept, new]


def _by_created(to: Bits, former: Iterable[Held], default_ms: int) -> list[tuple[Bits, int]]:
    """The recipients parted by the `created` that they know; newcomers get the default."""
    parts: dict[int, int] = {}
    rest = int(to)
    for held in former:
        if known := rest & _to(held):
            parts[held.created_ms] = parts.get(held.created_ms, 0) | known
            rest &= ~known
    if rest:
        parts[default_ms] = parts.get(default_ms, 0) | rest
    return [(Bits(members), created_ms) for created_ms, members in sorted(parts.items())]


def _copy(held: Held, body: dict[str, Any], draft: Draft) -> Copy:
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
    """Recipients of different contributions that come to the same body get the same copy.

    Of the dates of last sighting it shows the earliest, which everyone of them may know.
    """
    by_digest: dict[str, Copy] = {}
    for copy in copies:
        if before := by_digest.get(copy.digest):
            to = to_hex(Bits(from_hex(before.to) | from_hex(copy.to)))
            last_seen = min(before.last_seen, copy.last_seen)
            copy = copy.model_copy(update={"to": to, "last_seen": last_seen})
        by_digest[copy.digest] = copy
    return list(by_digest.values())


def _withdraw(held: Held) -> Held:
    return held.model_copy(update={"content": "", "modified_ms": held.modified_ms + 1})


def _join(helds: Iterable[Held]) -> list[Held]:
    """Equal copies of several sets of recipients as one."""
    joined: dict[tuple[int, str, int, int], Held] = {}
    for held in helds:
        key = (held.generation, held.content, held.created_ms, held.modified_ms)
        before = joined.get(key)
        to = _to(held) | (_to(before) if before else NOBODY)
        joined[key] = held.model_copy(update={"to": to_hex(Bits(to))})
    return list(joined.values())


def _part(held: Held, to: int) -> list[Held]:
    """The copy for some of its holders; none where there is nobody."""
    return [held.model_copy(update={"to": to_hex(Bits(to))})] if to else []


def _to(held: Held) -> Bits:
    return from_hex(held.to)


def _union(sets: Iterable[int]) -> Bits:
    total = 0
    for bits in sets:
        total |= bits
    return Bits(total)


def _digest(body: dict[str, Any], draft: Draft) -> str:
    """Of all that makes a copy another one: not of `modified`, and not of the last sighting."""
    shown = [body, draft.category, draft.first_seen_ms]
    return hashlib.blake2b(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()
