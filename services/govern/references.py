"""References: who holds what an object refers to, and under which ids.

Policy F11: what can't be without a reference goes only to those who hold what it refers to; an entry of a list
goes to those who hold that. What an end's partition has not answered yet counts as withheld.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.bits import NOBODY, Bits, from_hex, union
from schemas.reference import Standing

OUTGOING: Mapping[str, tuple[str, ...]] = {
    "relationship": ("source_ref", "target_ref"),
    "sighting": ("sighting_of_ref",),
    **dict.fromkeys(("report", "grouping", "note", "opinion"), ("object_refs",)),
}
"""The references that leave with an object. All are required by its type (STIX 2.1, sections 4 and 5)."""

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


def ends_of(stix_type: str, references: References, ends: Mapping[str, Standing], everyone: Bits) -> Ends:
    """For an object whose type refers to nothing, everyone."""
    if stix_type not in OUTGOING:
        return Ends(everyone, everyone)
    required, some = int(everyone), 0
    for name in OUTGOING[stix_type]:
        holders = union(_holders(ends.get(key)) for property_, key in references if property_ == name)
        required &= holders
        some |= holders
    return Ends(Bits(required), Bits(some))


def _holders(standing: Standing | None) -> Bits:
    return union(from_hex(copy.to) for copy in standing.copies) if standing else NOBODY


def split(
    to: Bits, stix_type: str, references: Sequence[tuple[str, str]], ends: Mapping[str, Standing]
) -> list[tuple[Bits, dict[str, Any]]]:
    """Parts of `to`, and the reference properties as the members of each are to see them."""
    parts: list[tuple[int, dict[str, Any]]] = [(int(to), {})]
    for name in OUTGOING.get(stix_type, ()):
        for key in dict.fromkeys(key for property_, key in references if property_ == name):
            standing = ends.get(key)
            parts = [
                piece for members, seen in parts for piece in _with_end(members, seen, name, standing or Standing())
            ]
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
