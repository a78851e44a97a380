"""What is too large for one body of accept, in several. Pure.

Where a feed is a snapshot, each slice is a snapshot of a feed of its own, and so takes nothing away from the rest.
An element is put into a slice by what it is about, not by its place: a source that adds a line, or gives all its
objects new ids, changes only the slices that are concerned. Where the number of slices changes, all of the new
ones come first, and then the old ones end: nothing is withdrawn that is still said.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import orjson

from connectors.base import MAX_BODY_BYTES, Pulled
from schemas.errors import PartnerFailed

MAX_ELEMENTS = 20_000
"""Of one slice: accept takes 100,000 items at once, and an element may make several."""
MAX_SLICE_BYTES = MAX_BODY_BYTES - 1024 * 1024
"""Of the elements of one slice; what is around them has the rest."""
MAX_SLICES = 4_096
JSON = "application/json"

_NAMESPACE = UUID("6b2b2d1c-5b0f-4d55-9a53-0f2c6a1f7d3e")
_GROUNDED = frozenset(("identity", "location", "marking-definition", "extension-definition"))
_LINKS = frozenset(("relationship", "sighting"))
_SPEAKERS = frozenset(("note", "opinion", "report", "grouping", "language-content"))
_WORDS = ("name", "value", "path", "key", "account_login", "url")
LEVELS = 4


class Element(NamedTuple):
    """One row or object. `about` is the same for its next version."""

    about: bytes
    body: bytes


class Part(NamedTuple):
    """One body, and what follows the feed's name in the name of the feed that it is of."""

    name: str
    body: bytes


def cut(elements: Sequence[Element]) -> list[tuple[str, list[bytes]]]:
    """The elements in as few slices as there can be (a power of two), in their order, each with its name.

    Raises `PartnerFailed` where one element alone is too large.
    """
    if max((len(each.body) for each in elements), default=0) > MAX_SLICE_BYTES:
        raise _too_large()
    crowds = _crowds(elements)
    keys = (each.about + each.body if each.about in crowds else each.about for each in elements)
    numbers = [int.from_bytes(hashlib.sha256(key).digest()[:8], "big") for key in keys]
    count = 1
    while count <= MAX_SLICES:
        slices: list[list[bytes]] = [[] for _ in range(count)]
        for number, each in zip(numbers, elements, strict=True):
            slices[number % count].append(each.body)
        if all(map(fits, slices)):
            return [("" if count == 1 else f"/{at}.{count}", part) for at, part in enumerate(slices)]
        count *= 2
    raise _too_large()


def _crowds(elements: Sequence[Element]) -> Collection[bytes]:
    """What so much is about that it can't all be in one slice."""
    counts, sizes = Counter[bytes](), Counter[bytes]()
    for each in elements:
        counts[each.about] += 1
        sizes[each.about] += len(each.body)
    return {
        about
        for about, count in counts.items()
        if count > 1 and (count > MAX_ELEMENTS // 4 or sizes[about] > MAX_SLICE_BYTES // 4)
    }


def fits(bodies: Collection[bytes]) -> bool:
    return len(bodies) <= MAX_ELEMENTS and sum(map(len, bodies)) + len(bodies) <= MAX_SLICE_BYTES


def _too_large() -> PartnerFailed:
    return PartnerFailed("object-too-large", "one object in it is larger than a submission may be")


def hand_over(
    feed: str, parts: Iterable[Part], before: Collection[str], *, snapshot: bool, media_type: str, suffix: str
) -> Iterator[Pulled]:
    """The parts of a feed, and in the end what ends of it: `before` are the names of its parts so far.

    A part without a body holds nothing.
    """
    names = []
    for name, body in parts:
        names.append(name)
        if body or snapshot:
            yield Pulled(body, media_type, f"part{suffix}", feed=feed + name, snapshot=snapshot)
    if snapshot:
        yield from (Pulled(feed=feed + name, snapshot=True) for name in before if name not in names)


def all_gone(where: str) -> PartnerFailed:
    """For a snapshot that is empty all at once: it withdraws nothing (deploy/policy.md, "Withdrawal"), in how many
    parts ever it was."""
    hint = "`tocsin withdraw` takes back what is meant to go"
    return PartnerFailed("empty", "there is nothing in it any more", where=where, hint=hint)


def feed_name(kind: str, place: object) -> str:
    """A name for what is at a place, that does not tell the place."""
    return f"{kind}-{hashlib.sha256(str(place).encode()).hexdigest()[:16]}"


# --- STIX ---------------------------------------------------------------------------------------------------------


def stix_parts(
    objects: Sequence[Mapping[str, Any]], frame: Mapping[str, Any], whole: bytes | None = None
) -> list[Part]:
    """Objects of STIX (2.1 or 2.0) in bundles; in one where they fit, which is `whole` if that is given.

    Else what others refer to comes before them: identities and observables, then what can stand alone, then
    relationships and sightings, then what speaks of any of these. `frame` is what stands around the objects.
    """
    bodies = [orjson.dumps(each) for each in objects]
    if fits(bodies):
        return [Part("", whole if whole and len(whole) <= MAX_BODY_BYTES else bundle(bodies, frame, ""))]
    known = {each.get("id"): each for each in objects}
    levels: list[list[Element]] = [[] for _ in range(LEVELS)]
    for each, body in zip(objects, bodies, strict=True):
        levels[level(each)].append(Element(about(each, known.get), body))
    return [
        Part(f"/{number}{name}", bundle(slice_, frame, f"{number}{name}") if slice_ else b"")
        for number, elements in enumerate(levels)
        for name, slice_ in cut(elements)
    ]


def level(stix: Mapping[str, Any]) -> int:
    """0 to 3: what an object refers to has a lower one, or (rarely, and not by what its type requires) its own."""
    type_ = stix.get("type")
    if type_ in _LINKS:
        return 2
    if type_ in _SPEAKERS:
        return 3
    # observables have no `created`; they and what is nobody's opinion refer to nothing else
    return 0 if type_ in _GROUNDED or "created" not in stix else 1


def about(stix: Mapping[str, Any], find: Callable[[Any], Mapping[str, Any] | None]) -> bytes:
    """What an object says something about: its content, for sources that give the same new ids each time.

    `find` gives an object by its id.
    """
    type_ = stix.get("type")
    if type_ == "relationship":
        ends = [_end(stix.get(name), find) for name in ("source_ref", "target_ref")]
        return orjson.dumps([type_, str(stix.get("relationship_type")), *ends])
    if type_ == "sighting":
        seen = [str(stix.get(name)) for name in ("first_seen", "last_seen")]
        return orjson.dumps([type_, _end(stix.get("sighting_of_ref"), find), *seen])
    return orjson.dumps(_end_words(stix))


def _end(id_: Any, find: Callable[[Any], Mapping[str, Any] | None]) -> list[str]:
    found = find(id_) if isinstance(id_, str) else None
    return [str(id_)] if found is None else _end_words(found)


def _end_words(stix: Mapping[str, Any]) -> list[str]:
    type_ = str(stix.get("type"))
    if isinstance(pattern := stix.get("pattern"), str):
        return [type_, pattern]
    words = [stix[name] for name in _WORDS if isinstance(stix.get(name), str)]
    return [type_, *words] if words else [type_, str(stix.get("id"))]


def bundle(objects: Iterable[bytes], frame: Mapping[str, Any], name: str) -> bytes:
    """A bundle of objects that are JSON already."""
    id_ = uuid5(_NAMESPACE, f"{frame.get('id', '')}{name}")
    head = {"type": "bundle", **frame, "id": f"bundle--{id_}"}
    head.pop("objects", None)
    return orjson.dumps(head)[:-1] + b',"objects":[' + b",".join(objects) + b"]}"
