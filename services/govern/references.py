"""References: who holds what an object refers to, and under which ids.

Policy F11: what can't be without a reference goes only to those who hold what it refers to; an entry of a list
goes to those who hold that. What an end's partition has not answered yet counts as withheld.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.bits import Bits, from_hex, to_hex, union
from schemas.known import Known
from schemas.outgoing import outgoing_id
from schemas.reference import Seen, Standing

OUTGOING: Mapping[str, tuple[str, ...]] = {
    "relationship": ("source_ref", "target_ref"),
    "sighting": ("sighting_of_ref",),
    **dict.fromkeys(("report", "grouping", "note", "opinion"), ("object_refs",)),
}
"""The references that leave with an object. All are required by its type (STIX 2.1, sections 4 and 5)."""

_HOLLOW = (frozenset({"report", "grouping"}), frozenset({"note", "opinion"}), frozenset({"sighting"}))
"""Types that say nothing by referring to one another alone."""

_UNANSWERED = Standing()

References = Iterable[tuple[str, str]]
"""(property, fingerprint in hex)."""


class Ends(NamedTuple):
    """Who holds of an object's ends as many as it can't be without, and who holds any of them."""

    required: Bits
    some: Bits


def asked_for(stix_type: str, references: References) -> Iterator[str]:
    """The fingerprints whose standing decides about an object of this type."""
    properties = OUTGOING.get(stix_type, ())
    yield from dict.fromkeys(key for name, key in references if name in properties)


def ends_of(stix_type: str, references: References, ends: Mapping[str, Standing], everyone: Bits, own: str) -> Ends:
    """For an object whose type refers to nothing, everyone. `own` is the object's fingerprint in hex.

    What holds others together does not keep itself alive: neither by a reference to itself, nor two of them each
    other.
    """
    if stix_type not in OUTGOING:
        return Ends(everyone, everyone)
    hollow = next((types for types in _HOLLOW if stix_type in types), frozenset())
    required, some = int(everyone), 0
    for name in OUTGOING[stix_type]:
        keys = [key for property_, key in references if property_ == name and key != own]
        holders = union(holders_of(ends.get(key, _UNANSWERED), hollow) for key in keys)
        required &= holders
        some |= holders
    return Ends(Bits(required), Bits(some))


def holders_of(standing: Standing, hollow: frozenset[str] = frozenset()) -> Bits:
    """Who holds a copy of what the standing is of, copies of `hollow` types left out."""
    return union(from_hex(copy.to) for copy in standing.copies if copy.id.partition("--")[0] not in hollow)


def split(
    to: Bits, stix_type: str, references: Sequence[tuple[str, str]], ends: Mapping[str, Standing]
) -> list[tuple[Bits, dict[str, Any]]]:
    """Parts of `to`, and the reference properties as the members of each are to see them."""
    parts: list[tuple[int, dict[str, Any]]] = [(int(to), {})]
    for name in OUTGOING.get(stix_type, ()):
        for key in dict.fromkeys(key for property_, key in references if property_ == name):
            standing = ends.get(key, _UNANSWERED)
            parts = [piece for members, seen in parts for piece in _with_end(members, seen, name, standing)]
    return [(Bits(members), seen) for members, seen in parts]


def _with_end(
    members: int, seen: dict[str, Any], name: str, standing: Standing
) -> Iterator[tuple[int, dict[str, Any]]]:
    for copy in standing.copies:
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
    at_once = now.copies != before.copies or now.gone != before.gone
    return Told(known.model_copy(update={"ends": ends, "arriving": arriving, **due}), at_once)


def kept(before: Standing, after: Standing) -> Standing:
    """The new standing, as far as it is what its holders had before."""
    held: dict[str, int] = {}
    for copy in before.copies:
        held[copy.id] = held.get(copy.id, 0) | from_hex(copy.to)
    copies = (
        copy.model_copy(update={"to": to_hex(Bits(from_hex(copy.to) & held.get(copy.id, 0)))})
        for copy in after.copies
    )
    return after.model_copy(update={"copies": tuple(copy for copy in copies if copy.to != "0")})


def told_of(standing: Standing) -> Standing:
    """What of a standing those need to know that refer to the item."""
    copies = tuple(Seen(to=copy.to, id=copy.id) for copy in standing.copies)
    return standing.model_copy(update={"copies": copies, "gone": "0"})


def standing_of(known: Known, fingerprint: bytes, epoch: int) -> Standing:
    """What those are told that ask for an item as it was last decided."""
    copies = tuple(
        Seen(to=held.to, id=outgoing_id(known.type, fingerprint, held.generation)) for held in known.sent.live
    )
    return Standing(epoch=epoch, counter=known.counter, copies=copies)
