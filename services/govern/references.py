"""References: who holds what an object refers to, and under which ids.

Policy F11: what can't be without a reference goes only to those who hold what it refers to; an entry of a list
goes to those who hold that. What an end's partition has not answered yet counts as withheld.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from schemas.bits import NOBODY, Bits, from_hex, members, to_hex, union
from schemas.known import Known, Sent
from schemas.outgoing import is_placeholder, shown_id
from schemas.reference import Seen, Standing

OUTGOING: Mapping[str, tuple[str, ...]] = {
    "relationship": ("source_ref", "target_ref"),
    "sighting": ("sighting_of_ref",),
    **dict.fromkeys(("report", "grouping", "note", "opinion"), ("object_refs",)),
}
"""The references without which an object of a type says nothing (STIX 2.1, sections 4 and 5)."""

OPTIONAL: Mapping[str, tuple[str, ...]] = {"sighting": ("where_sighted_refs",)}
AUTHOR = "created_by_ref"
"""What else leaves, for those who hold what it refers to; of every type its author."""

MAX_STEPS = 6
"""By so many references at most an item hangs on something that stands by itself: what hangs only on one another
counts up to that, and falls. So far, too, items tell each other what left in silence, and so in the end forget."""

_UNANSWERED = Standing()

References = Iterable[tuple[str, str]]
"""(property, fingerprint in hex)."""


class Ends(NamedTuple):
    """Who holds of an object's ends as many as it can't be without, and who holds any of these by itself.

    `optional` are all other references, and entries of lists, by selector, with those who hold what they refer to.
    `near` are those of `required` who hold enough ends that stand by themselves, then that do or hang on such by
    one step, and so on; the last are all of `required`.
    """

    required: Bits
    some: Bits
    optional: tuple[tuple[str, Bits], ...] = ()
    near: tuple[Bits, ...] = ()


def leaving(stix_type: str) -> tuple[str, ...]:
    """The references that may leave with an object of a type."""
    return (*OUTGOING.get(stix_type, ()), *OPTIONAL.get(stix_type, ()), AUTHOR)


def asked_for(stix_type: str, references: References) -> Iterator[str]:
    """The fingerprints whose standing decides about an object of this type."""
    properties = leaving(stix_type)
    yield from dict.fromkeys(key for name, key in references if key and name in properties)


def ends_of(stix_type: str, references: References, ends: Mapping[str, Standing], everyone: Bits, own: str) -> Ends:
    """For an object whose type refers to nothing, everyone. `own` is the object's fingerprint in hex.

    What refers to others does not keep itself alive: neither by a reference to itself, nor several of them each
    other.
    """
    pairs = list(references)
    optional = tuple(_optional(stix_type, pairs, ends)) if pairs else ()
    if stix_type not in OUTGOING:
        return Ends(everyone, everyone, optional)
    required = [
        [ends.get(key, _UNANSWERED) for property_, key in pairs if property_ == name and key != own]
        for name in OUTGOING[stix_type]
    ]
    steps = min(max((len(end.hanging) for some in required for end in some), default=0) + 1, MAX_STEPS)
    near = [int(everyone)] * steps
    some = 0
    for standings in required:
        for step in range(steps):
            near[step] &= union(_within(end, step) for end in standings)
        some |= union(_within(end, steps - 1) & ~from_hex(end.followers) for end in standings)
    return Ends(Bits(near[-1]), Bits(some), optional, tuple(map(Bits, near)))


def _within(standing: Standing, step: int) -> int:
    """Who holds it by so many steps at most."""
    hanging = from_hex(standing.hanging[step]) if step < len(standing.hanging) else 0
    return holders_of(standing) & ~hanging


def nearest(near: Iterable[tuple[Bits, Sequence[Bits]]]) -> list[int]:
    """`Ends.near` of those who are permitted, by the one or the other of several words."""
    words = [(permitted, by_step) for permitted, by_step in near if by_step]
    steps = max((len(by_step) for _, by_step in words), default=0)
    return [
        union(permitted & by_step[min(step, len(by_step) - 1)] for permitted, by_step in words)
        for step in range(steps)
    ]


def hanging_by(holders: Bits, near: Sequence[int]) -> tuple[str, ...]:
    """By which steps an item hangs that refers to what is as `near` (see `Standing`)."""
    return _by_steps((holders, *(holders & ~who for who in near[: MAX_STEPS - 1])))


def _optional(stix_type: str, references: References, ends: Mapping[str, Standing]) -> Iterator[tuple[str, Bits]]:
    """Entries of lists one by one; what can't be left out alone is no business of theirs."""
    places: dict[str, int] = {}
    for name, key in references:
        place = places[name] = places.get(name, -1) + 1
        holders = holders_of(ends.get(key, _UNANSWERED)) if name in leaving(stix_type) else Bits(0)
        if name.endswith("s"):
            yield f"{name}.[{place}]", holders
        elif name not in OUTGOING.get(stix_type, ()):
            yield name, holders


def holders_of(standing: Standing) -> Bits:
    """Who holds a copy of what the standing is of."""
    return union(from_hex(copy.to) for copy in standing.copies)


def split(
    to: Bits,
    stix_type: str,
    references: Sequence[tuple[str, str]],
    ends: Mapping[str, Standing],
) -> list[tuple[Bits, dict[str, Any]]]:
    """Parts of `to`, and the reference properties as the members of each are to see them.

    No optional reference is to an id that one recipient alone has: by copies that have the same id for all, two
    could join what they hold under different ids; and what is redacted later must not say more than before.
    """
    parts: list[tuple[int, dict[str, Any]]] = [(int(to), {})]
    required = OUTGOING.get(stix_type, ())
    names = {name for name, _ in references}
    for name in (name for name in leaving(stix_type) if name in names):
        for key in dict.fromkeys(key for property_, key in references if property_ == name and key):
            standing = ends.get(key, _UNANSWERED)
            copies = [c for c in standing.copies if name in required or not is_placeholder(c.id)]
            parts = [piece for members, seen in parts for piece in _with_end(members, seen, name, copies)]
    return [(Bits(members), seen) for members, seen in parts]


def _with_end(
    members: int, seen: dict[str, Any], name: str, copies: Iterable[Seen]
) -> Iterator[tuple[int, dict[str, Any]]]:
    if name in seen and not name.endswith("s"):
        yield members, seen  # of several authors the first
        return
    for copy in copies:
        if inside := members & from_hex(copy.to):
            members &= ~inside
            yield inside, {**seen, name: [*seen.get(name, ()), copy.id] if name.endswith("s") else copy.id}
    if members:
        yield members, seen


MANY = 16
"""What refers to more gains by windows: each gain at once would write the whole of it anew."""


class Told(NamedTuple):
    """What is known once an end or member told its standing; whether it must be decided again at once."""

    known: Known
    at_once: bool


def told(known: Known, end: str, standing: Standing, waiting_ms: int) -> Told | None:
    """What an item knows once one of its ends told its standing; None where that changes nothing, or is old."""
    before = known.ends[end]
    latest = known.arriving.get(end, before)
    # who lost it in silence and was never shown it by this item can't miss it there
    if standing.gone:
        standing = gone_from(standing, holders_of(before) & _shown_to(known, end) | gone_of(before))
    if (standing.epoch, standing.counter) < (latest.epoch, latest.counter):
        return None
    few = len(known.ends) <= MANY
    now = standing if few else kept(before, standing)
    ends = {**known.ends, end: now}
    arriving = {**known.arriving, end: standing}
    if now == standing:
        del arriving[end]
    if ends == known.ends and arriving == known.arriving:
        return None
    due = {"waiting_ms": (known.waiting_ms or waiting_ms) if arriving or known.waiting else 0}
    at_once = _bearing(now) != _bearing(before)
    return Told(known.model_copy(update={"ends": ends, "arriving": arriving, **due}), at_once)


def _bearing(standing: Standing) -> tuple[object, ...]:
    return standing.copies, standing.gone, standing.hanging, standing.lacking, standing.followers


def kept(before: Standing, after: Standing) -> Standing:
    """The new standing, as far as it is what its holders had before: who is about to have it back is still without
    it, and who will hang on less still hangs on as much."""
    held: dict[str, int] = {}
    for copy in before.copies:
        held[copy.id] = held.get(copy.id, 0) | from_hex(copy.to)
    copies = (
        copy.model_copy(update={"to": to_hex(Bits(from_hex(copy.to) & held.get(copy.id, 0)))})
        for copy in after.copies
    )
    now = after.model_copy(update={"copies": tuple(copy for copy in copies if copy.to != "0")})
    if not before.gone and not before.hanging:
        return now
    holders = holders_of(now)
    coming = holders_of(after) & ~holders
    gone = _with_some(after.gone, before.gone, coming)
    return now.model_copy(update={"gone": gone, "hanging": _with_some(after.hanging, before.hanging, holders)})


def _with_some(after: Sequence[str], before: Sequence[str], of: int) -> tuple[str, ...]:
    """By steps those after, and of some those before."""
    steps = zip_longest(after, before, fillvalue="0")
    return _by_steps(from_hex(later) | from_hex(earlier) & of for later, earlier in steps)


def told_of(standing: Standing) -> Standing:
    """What of a standing those need to know that refer to the item."""
    copies = tuple(Seen(to=copy.to, id=copy.id) for copy in standing.copies)
    return standing.model_copy(update={"copies": copies})


def standing_of(known: Known, fingerprint: bytes, epoch: int) -> Standing:
    """What those are told that ask for an item as it was last decided."""
    copies = tuple(
        Seen(to=held.to, id=shown_id(known.type, fingerprint, held.generation, held.own))
        for held in known.sent.live
    )
    return Standing(
        epoch=epoch,
        counter=known.counter,
        copies=copies,
        gone=known.gone,
        hanging=known.hanging,
        lacking=known.lacking,
        followers=known.followers,
    )


# --- what left in silence ---------------------------------------------------------------------------------------


def gone_of(standing: Standing) -> Bits:
    """Those whom nothing may tell that they have it no more."""
    return union(map(from_hex, standing.gone))


def gone_from(standing: Standing, had: int) -> Standing:
    """The standing, gone only from those who had it."""
    return standing.model_copy(update={"gone": _by_steps(from_hex(who) & had for who in standing.gone)})


def robbed(known: Known, own: str) -> Bits:
    """Those whom a new version of the item, without an entry of its list, would tell that this left in silence.

    They were shown the entry by a word that reached them: of what others refer to they can't miss anything. `own`
    is the item's fingerprint in hex.
    """
    if "object_refs" not in OUTGOING.get(known.type, ()):
        return NOBODY
    return _missed(known, {end: gone_of(standing) for end, standing in known.ends.items() if end != own})


def silenced(known: Known, sent: Sent, excused: Bits, own: str) -> tuple[str, ...]:
    """From whom it is gone in silence after a decision, by steps (see `Standing`); `excused` lost it for no reason
    of its own."""
    gone = union(from_hex(held.to) for held in sent.gone)
    if not gone:
        return ()
    ends = {end: standing.gone for end, standing in known.ends.items() if end != own and standing.gone}
    steps = max(map(len, ends.values()), default=0)
    with_others = (
        _missed(known, {end: from_hex(who[step]) for end, who in ends.items() if step < len(who)})
        for step in range(min(steps, MAX_STEPS - 1))
    )
    return _by_steps((gone & ~excused, *(gone & missed for missed in with_others)))


def _missed(known: Known, gone: Mapping[str, int]) -> Bits:
    """Those from whom something is gone that a word refers to which reached them."""
    if not any(gone.values()):
        return NOBODY
    names = OUTGOING.get(known.type, ())
    return union(
        from_hex(word.reached) & gone.get(key, 0)
        for word in known.contributions.values()
        for name, key in word.references
        if name in names
    )


def _shown_to(known: Known, end: str) -> int:
    """Whom words ever reached that refer to it."""
    return union(
        from_hex(word.reached)
        for word in known.contributions.values()
        if any(key == end for _, key in word.references)
    )


def _by_steps(who: Iterable[int]) -> tuple[str, ...]:
    """Without the last of the sets that are empty."""
    steps = [to_hex(Bits(bits)) for bits in who]
    while steps and steps[-1] == "0":
        steps.pop()
    return tuple(steps)


# --- what follows what refers to it -----------------------------------------------------------------------------

KEEPERS = 4
"""So many that refer to it are kept for each recipient; of those beyond it is known that they ask again."""


class Wants(NamedTuple):
    """Who is to have what an item refers to, by its fingerprint: as told now, and what of that is to be told."""

    now: dict[str, str]
    letters: dict[str, str]


def supposing(known: Known) -> Iterator[tuple[frozenset[str], dict[str, Standing]]]:
    """Malware and identities that somebody lacks, with all ends as if nobody did.

    Of the two ends of a relationship one at a time, and the other only for those who hold it by itself: what
    follows keeps nothing else that follows, or two would keep each other.
    """
    lacked = {
        end: to_hex(Bits(lacking))
        for end, standing in known.ends.items()
        if (lacking := from_hex(standing.lacking) | from_hex(known.wants.get(end, "0")))
    }
    alone = known.type == "relationship"
    for some in [frozenset([end]) for end in lacked] if alone else [frozenset(lacked)] if lacked else []:
        yield (
            some,
            {
                end: _had(standing, lacked[end]) if end in some else _by_itself(standing)
                for end, standing in known.ends.items()
            },
        )


def _had(standing: Standing, lacking: str) -> Standing:
    """As if those who lack it had it, because something refers to it."""
    followers = to_hex(Bits(from_hex(standing.followers) | from_hex(lacking)))
    copies = (*standing.copies, Seen(to=lacking, id="malware--"))
    return standing.model_copy(update={"copies": copies, "followers": followers})


def _by_itself(standing: Standing) -> Standing:
    followers = from_hex(standing.followers)
    if not followers:
        return standing
    copies = (c.model_copy(update={"to": to_hex(Bits(from_hex(c.to) & ~followers))}) for c in standing.copies)
    return standing.model_copy(update={"copies": tuple(copies)})


def kept_ends(references: References, obligations: Mapping[str, str]) -> frozenset[str]:
    """Those to which a reference is left when the obligations are carried out."""
    places: dict[str, int] = {}
    found: set[str] = set()
    for name, key in references:
        place = places[name] = places.get(name, -1) + 1
        if name not in obligations and f"{name}.[{place}]" not in obligations:
            found.add(key)
    return frozenset(found)


def wants(known: Known, referring: Mapping[str, Bits]) -> Wants:
    """What an item has to tell malware and identities that it refers to (policy P00).

    They say who lacks nothing but something permitted that refers to them; `referring` are those who may have the
    item with the reference. It tells again as long as they say so: they keep no more than they need.
    """
    now: dict[str, str] = {}
    letters = dict.fromkeys(known.wants.keys() - known.ends.keys(), "0")  # to what it refers no more
    for end, may in referring.items():
        told_before = known.wants.get(end, "0")
        lacking = from_hex(known.ends[end].lacking)
        who = to_hex(Bits(may & (lacking | from_hex(told_before))))
        if who != "0":
            now[end] = who
        if who != told_before or may & lacking:
            letters[end] = who
    return Wants(now, letters)


def wanted(known: Known, of: str, who: str) -> Known:
    """The malware or identity that `of` refers to: who may have `of` (hex bit set). The same where that is known,
    or others that refer to it are enough."""
    others = {name: bits for name, bits in known.wanted.items() if name != of}
    before = known.wanted.get(of, "0")
    needed = 0
    for bit in members(from_hex(who)):
        if sum(from_hex(bits) >> bit & 1 for bits in others.values()) < KEEPERS:
            needed |= 1 << bit
    after = {**others, of: to_hex(Bits(needed))} if needed else others
    return known if after.get(of, "0") == before else known.model_copy(update={"wanted": after})
