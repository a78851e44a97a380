"""What a submission's objects refer to, and what follows for those that the source sent before. Pure.

A reference is an id that only its source knows. It is looked for among the objects of the submission, then among
the ids that the source used before, then among those that the hub gave to this partner. What is left of it is the
fingerprint of the item. An optional one that is found nowhere is an empty one; an object of which an end is missing
waits for it. What follows where an id names something else than before: see `standing`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice, product
from math import prod
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from schemas import objects
from schemas.errors import BodyRefused, ItemRefused
from schemas.fingerprint import named_fingerprint
from schemas.report import Withdrawn
from services.accept import selectors
from services.accept.names import (
    LINKS,
    NOTHING,
    REVOKED,
    Known,
    Name,
    Origin,
    Woken,
    alias_of,
    identity_of,
    name_of,
    own_name,
)
from services.accept.reading import MAX_ITEMS, Aside, Draft, Item, Refusal
from services.accept.standing import Changes, Pins, Standing, Version

MAX_PAIRS = 1_000
MAX_ENDS = 100
MAX_REFERENCES = 1_500  # each takes 50 bytes of a report
MAX_JOINS = 50
MAX_WAITING_BYTES = 32 * 1024

NOT_FOUND = ("",)

_OPINIONS = ("opinion", "note")
_GATHERERS = ("report", "grouping")
_SPEAKERS = (*_OPINIONS, *_GATHERERS, "language-content")
_ENDED = "the source revoked this object, and only a newer version of it can be taken"
_STILL_NAMED = "this object is revoked; its item is not withdrawn, since another one of the source names it"
_REMEMBERED = "a revocation of what the hub never got: if an older version comes, it is not taken"


class Settled(NamedTuple):
    """A draft that can go out: under which name, and what it refers to (property, fingerprint in hex)."""

    draft: Draft
    name: Name
    references: tuple[tuple[str, str], ...] = ()
    joins: tuple[tuple[str, str], ...] = ()
    gone: bool = False
    """No id of the source names the item any more, whatever its word on it was."""
    withdrawn: Withdrawn = ""


class Waits(NamedTuple):
    """A draft of which an end is not known: the ids it waits for, and the object as it came."""

    draft: Draft
    ends: tuple[str, ...]
    raw: bytes


Outcome = Settled | Waits | Refusal | Aside


class Resolved(NamedTuple):
    """`items` are those of the body, in its order.

    `woken` is what waited before and now is done with, by where it came from; `places` are where it waited, and
    `satisfied` what woke the others. `changes` gives what follows for what was known before, as soon as it is known
    which objects, by their ids, could not be taken.
    """

    items: Iterator[Outcome]
    woken: Sequence[tuple[Origin, Settled | Refusal]]
    places: Sequence[tuple[int, int]]
    satisfied: Sequence[tuple[bytes, tuple[int, int]]]
    changes: Callable[[Collection[str]], Changes]


def resolve(items: Iterable[Item], origin: Origin, secret: bytes, known: Known = NOTHING) -> Resolved:
    """Linear in the objects and their references.

    Raises `BodyRefused` (413) where relationships between items of many names make more than `MAX_ITEMS`.
    """
    return _Resolver(origin, secret, known).run(items)


class _Resolver:
    def __init__(self, origin: Origin, secret: bytes, known: Known) -> None:
        self._origin = origin
        self._secret = secret
        self._known = known
        self._newest: dict[str, Version] = {}
        self._doubles: set[str] = set()
        self._live: dict[str, Sequence[Name]] = {}
        self._joins: dict[str, list[tuple[str, str]]] = {}
        self._events: dict[str, tuple[str, str]] = {}
        self._identities_of: dict[str, tuple[Sequence[Name], Sequence[bytes]]] = {}
        self._left = MAX_ITEMS

    def run(self, items: Iterable[Item]) -> Resolved:
        parts = list(self._grouped(items))
        woken = [(each, self._woken(each)) for each in self._known.woken]
        # what comes now is newer than what waited
        versions = [part for part in (*(part for _, part in woken), *parts) if isinstance(part, Version)]
        self._standing = Standing(self._known, versions, self._newest, self._alias)
        for version in versions:
            self._enter(version)
        versions.sort(key=attrgetter("revoked"))  # what they revoke may be what another version names
        for version in versions:
            self._identify(version)
        for version in versions:
            if version.type in LINKS:
                self._join(version)
        for version in versions:
            if version.type in _SPEAKERS:
                self._attach(version)
        for version in versions:
            if version.type in _GATHERERS and version.stands and not version.revoked:
                self._gather(version)
        awake: list[tuple[Origin, Settled | Refusal]] = []
        places: list[tuple[int, int]] = []
        satisfied: list[tuple[bytes, tuple[int, int]]] = []
        for each, part in woken:
            outcomes = self._of_woken(part)
            ends = {self._alias(id_) for out in outcomes if isinstance(out, Waits) for id_ in out.ends}
            if ends:
                satisfied += [(alias, each.place) for alias in each.by if alias not in ends]
                continue
            places.append(each.place)
            awake += [(each.origin, out) for out in outcomes if isinstance(out, Settled | Refusal)]
        return Resolved(self._of_body(parts), awake, places, satisfied, self._standing.changes)

    def _alias(self, id_: str) -> bytes:
        return self._known.alias_of.get(id_) or alias_of(self._secret, self._origin.source, id_)

    def _of_body(self, parts: Iterable[Version | Refusal | Aside]) -> Iterator[Outcome]:
        for part in parts:
            if isinstance(part, Version):
                yield from self._outcomes(part)
            else:
                yield part

    def _of_woken(self, part: Version | Refusal | None) -> Sequence[Outcome]:
        if not isinstance(part, Version):
            return (part,) if part else ()
        newest = self._newest[part.id]
        sent_again = newest is not part and newest.stands
        return () if sent_again else self._outcomes(part)

    # --- what came ---

    def _grouped(self, items: Iterable[Item]) -> Iterator[Version | Refusal | Aside]:
        """The drafts of one object together: those next to each other that stood in the same place."""
        version: Version | None = None
        pointer = ""
        for item in items:
            if not isinstance(item, Draft):
                if version:
                    yield version
                version = None
                yield _nothing_named(item, self._origin) if isinstance(item, Aside) and item.id else item
            elif version and item.pointer == pointer:
                version.drafts = (*version.drafts, item)
            else:
                if version:
                    yield version
                version, pointer = _version((item,), self._origin), item.pointer
        if version:
            yield version

    def _woken(self, woken: Woken) -> Version | Refusal | None:
        items = [item._replace(pointer=woken.pointer) for item in woken.items]
        drafts = [item for item in items if isinstance(item, Draft)]
        if drafts:
            return _version(drafts, woken.origin)
        return next((item for item in items if isinstance(item, Refusal)), None)

    def _enter(self, version: Version) -> None:
        if not version.id:
            return
        other = self._newest.get(version.id)
        if other is not None:
            self._doubles.add(version.id)
        if other is None or not other.is_newer(version):
            self._newest[version.id] = version

    # --- who is who ---

    def _identify(self, version: Version) -> None:
        if version.aside is not None:
            return
        if version.type not in LINKS and version.drafts[0].kind:
            version.names = tuple(own_name(self._secret, draft) for draft in version.drafts)
        self._known_now(version)

    def _known_now(self, version: Version) -> None:
        if version.revoked:
            self._adopt(version)
        elif version.names and version.id in self._doubles:
            self._live[version.id] = version.names

    def _adopt(self, version: Version) -> None:
        """A revocation is of what the id named before, whatever its object says now."""
        alias = self._known.aliases.get(version.id)
        standing = alias.names if alias else self._live.get(version.id, ())
        if standing and set(standing) != set(version.names):
            version.names, version.revokes = standing, True

    def _identities(self, id_: str) -> Sequence[bytes]:
        """The fingerprints of what an id names; none where nobody knows."""
        local = self._newest.get(id_)
        names = local.names if local else ()
        if not names and (alias := self._known.aliases.get(id_)):
            names = alias.names
        if len(names) == 1:
            return (identity_of(names[0]),)
        if names:
            return self._several(id_, names)
        fed = self._known.fed.get(id_)
        return (fed,) if fed else ()

    def _several(self, id_: str, names: Sequence[Name]) -> Sequence[bytes]:
        """Made once for each id: very many objects may refer to one that has very many names."""
        made_of, identities = self._identities_of.get(id_, ((), ()))
        if made_of is not names:
            identities = tuple(dict.fromkeys(map(identity_of, names)))
            self._identities_of[id_] = names, identities
        return identities

    def _join(self, version: Version) -> None:
        """A relationship is known by its ends, one for each pair of them; a sighting by what was seen."""
        if version.aside is not None:
            return
        [draft] = version.drafts
        ends = [(name, id_) for name, id_ in draft.references if name in objects.ENDS[version.type]]
        found = [self._identities(id_) for _, id_ in ends]
        version.missing = tuple(id_ for (_, id_), identities in zip(ends, found, strict=True) if not identities)
        if not version.missing:
            count = prod(map(len, found))
            if count > MAX_PAIRS:
                version.fault = _too_many_pairs(count)
                return
            self._spend(count - 1, draft.pointer)
            made = [self._link(draft, together) for together in product(*found)]
            version.drafts = [draft._replace(value=value) for _, value in made]
            version.names = [name for name, _ in made]
            version.pinned = [
                {name: (id_, identity) for (name, id_), identity in zip(ends, together, strict=True)}
                for together in product(*found)
            ]
        self._known_now(version)

    def _link(self, draft: Draft, ends: tuple[bytes, ...]) -> tuple[Name, str]:
        if draft.type == "sighting":
            [what] = ends
            known_by = objects.seen(what, self._origin.source, objects.when_seen(draft.object))
            return name_of(what, named_fingerprint(self._secret, *known_by.parts)), known_by.value
        source, target = ends
        known_by = objects.joined(draft.object["relationship_type"], source, target)
        key = named_fingerprint(self._secret, *known_by.parts)
        return key, known_by.value

    def _attach(self, version: Version) -> None:
        """Opinions and notes travel under the first item they speak of; what speaks of none does not go out."""
        if version.revokes:
            return
        [draft] = version.drafts
        ends = [(name, id_) for name, id_ in draft.references if name in objects.ENDS[version.type]]
        if not ends:
            version.fault = _speaks_of_nothing()
            return
        first = next(((name, id_, found) for name, id_ in ends if (found := self._identities(id_))), None)
        if first is None:
            version.missing, version.names = tuple(id_ for _, id_ in ends[:MAX_ENDS]), ()
        elif version.type in _OPINIONS:
            self._travel(version, *first)

    def _travel(self, version: Version, name: str, id_: str, items: Sequence[bytes]) -> None:
        if len(items) > MAX_PAIRS:
            version.fault = _too_many_pairs(len(items))
            return
        [draft] = version.drafts
        self._spend(len(items) - 1, draft.pointer)
        version.drafts = [draft] * len(items)
        # what it speaks of is a part of what it is: one that comes to speak of another lies in another partition
        own = (named_fingerprint(self._secret, draft.kind, draft.value, item.hex()) for item in items)
        version.names = list(map(name_of, items, own))
        version.pinned = [{name: (id_, item)} for item in items]

    def _spend(self, more: int, pointer: str) -> None:
        self._left -= more
        if self._left < 0:
            raise BodyRefused(
                "too-many-items",
                f"the relationships between patterns of several indicators make more than {MAX_ITEMS:,} items",
                where=pointer,
                hint="send it in several submissions",
                status=413,
            )

    # --- what becomes of it ---

    def _outcomes(self, version: Version) -> Sequence[Outcome]:
        if version.aside is not None:
            return [self._taken_back(version, version.aside)]
        draft = version.drafts[0]
        if version.fault:
            return [_refused(draft, version.fault)]
        if version.revoked:
            return self._revocations(version, draft)
        if version.missing:
            return [_waits(draft, version.missing)]
        newer = self._standing.newer(version) if self._doubles or self._known.aliases else None
        if newer is None and not version.pinned and len(version.names) == 1:
            return (self._settled(draft, version.names[0], _NO_PINS),)
        current = self._standing.of_newer(version, newer) if newer else ()
        ended = newer and (newer.revoked if isinstance(newer, Version) else newer.state == REVOKED)
        reason = _ENDED if ended else "the source sent a newer version of this object"
        pinned = version.pinned or (_NO_PINS,) * len(version.names)
        return [
            self._settled(each, name, pins)
            if newer is None or (name in current and not ended)
            else Aside(each.pointer, "skipped", reason, each.kind, ended=bool(ended))
            for each, name, pins in zip(version.drafts, version.names, pinned, strict=True)
        ]

    def _taken_back(self, version: Version, aside: Aside) -> Aside:
        """An object that names nothing now; it may have named something before."""
        before = self._known.aliases.get(version.id)
        if before is None or not before.names or self._standing.newer(version):
            return aside
        return aside._replace(reason=f"{aside.reason}; what it named before is withdrawn, unless others name it")

    def _revocations(self, version: Version, draft: Draft) -> Sequence[Outcome]:
        if self._doubles and self._standing.newer(version):
            return [Aside(draft.pointer, "skipped", "the source sent a newer version of this object", draft.kind)]
        before = self._known.aliases.get(version.id)
        if not version.names:
            if draft.id and (before is not None or version.type != "indicator"):
                return [Aside(draft.pointer, "noted", _REMEMBERED, draft.kind)]
            return [_refused(draft, _without_pattern())]
        repeated = before is not None and before.state == REVOKED and before.modified_ms >= version.modified_ms
        drafts = [_revocation(draft)] * len(version.names) if version.revokes else version.drafts
        pinned = version.pinned if version.pinned and not version.revokes else (_NO_PINS,) * len(version.names)
        return [
            Aside(each.pointer, "noted", _STILL_NAMED, each.kind)
            if self._standing.still_named(name)
            else self._settled(each, name, pins)._replace(gone=name in self._known.others and not repeated)
            for each, name, pins in zip(drafts, version.names, pinned, strict=True)
        ]

    def _settled(self, draft: Draft, name: Name, pins: Pins) -> Settled:
        if draft.type == "identity" and not draft.value:
            draft = draft._replace(value=identity_of(name).hex())
        references: tuple[tuple[str, str], ...] = ()
        if draft.references:
            draft, references = self._with_references(draft, pins)
        joins = draft.joins
        if draft.event:
            joins = (*joins, self._event(draft.event))
        if self._joins and (reports := self._joins.get(draft.id)):
            joins = (*joins, *reports)
        return Settled(draft, name, references, joins)

    def _with_references(self, draft: Draft, pins: Pins) -> tuple[Draft, tuple[tuple[str, str], ...]]:
        """What it refers to; with selectors of single references that count them as they are then."""
        found = [(name, self._found(name, id_, pins)) for name, id_ in islice(draft.references, MAX_REFERENCES + 1)]
        pairs = ((name, fingerprint) for name, some in found for fingerprint in some)
        references = tuple(islice(pairs, MAX_REFERENCES + 1))
        if len(references) > MAX_REFERENCES:
            note = f"references-left-out: those beyond the first {MAX_REFERENCES:,}"
            references, draft = references[:MAX_REFERENCES], draft._replace(notes=(*draft.notes, note))
        if selectors.has_any(draft.granular, draft.handling):
            places = selectors.of_found(found, MAX_REFERENCES)
            granular, handling = selectors.moved(draft.granular, draft.handling, places)
            draft = draft._replace(granular=granular, handling=handling)
        return draft, references

    def _found(self, name: str, id_: str, pins: Pins) -> Sequence[str]:
        """Fingerprints in hex; of what is not found an empty one, so that others keep their places."""
        pinned = pins.get(name)
        if pinned and pinned[0] == id_:
            return (pinned[1].hex(),)
        identities = self._identities(id_)
        return [identity.hex() for identity in (identities if name.endswith("s") else identities[:1])] or NOT_FOUND

    def _event(self, uuid: str) -> tuple[str, str]:
        if uuid not in self._events:
            key = named_fingerprint(self._secret, "event", self._origin.source, uuid)
            self._events[uuid] = ("report", key.hex())
        return self._events[uuid]

    def _gather(self, report: Version) -> None:
        """What a report holds belongs together, as far as it came together."""
        together = ("report", identity_of(report.names[0]).hex())
        for _, id_ in report.drafts[0].references:
            other = self._newest.get(id_)
            if other and other.type == "indicator":
                joins = self._joins.setdefault(id_, [])
                if len(joins) < MAX_JOINS and together not in joins:
                    joins.append(together)


_NO_PINS: Pins = MappingProxyType({})


def _version(drafts: Sequence[Draft], origin: Origin) -> Version:
    first = drafts[0]
    return Version(drafts, first.id, min(first.modified_ms, origin.received_ms), first.type, first.revoked)


def _nothing_named(aside: Aside, origin: Origin) -> Version:
    at_ms = min(aside.modified_ms, origin.received_ms)
    return Version((), aside.id, at_ms, "indicator", aside.revoked, aside=aside)


def _revocation(draft: Draft) -> Draft:
    """Of what its id named before: only that it is revoked can be said of that."""
    return draft._replace(
        kind="", value="", object={"type": draft.type, "id": draft.id}, references=(), labels=(), joins=(), event=""
    )


def _waits(draft: Draft, ends: tuple[str, ...]) -> Waits | Refusal:
    raw = draft.raw() if draft.raw else b""
    if len(raw) > MAX_WAITING_BYTES:
        error = ItemRefused(
            "object-too-large",
            f"this object speaks of what has not come yet, and is too large to wait: {len(raw):,} bytes",
            hint="send what it refers to first, or with it",
        )
        return _refused(draft, error)
    return Waits(draft, ends, raw)


def _refused(draft: Draft, error: ItemRefused) -> Refusal:
    return Refusal(draft.pointer, error, draft.raw or _nothing)


def _nothing() -> bytes:
    return b""


def _without_pattern() -> ItemRefused:
    return ItemRefused(
        "revocation-without-pattern",
        "the revocation does not say which indicator it is of: its pattern names nothing, and its id is not known",
        where="/pattern",
        hint="send the revocation with the original pattern",
        field="pattern",
    )


def _speaks_of_nothing() -> ItemRefused:
    return ItemRefused(
        "reference-invalid",
        "it refers to markings and extensions only, and so to no item",
        where="/object_refs",
        hint="refer to what it is about",
        field="object_refs",
    )


def _too_many_pairs(count: int) -> ItemRefused:
    return ItemRefused(
        "too-many-pairs",
        f"its ends are patterns of several indicators, which makes {count:,} items; {MAX_PAIRS:,} are the most",
        hint="refer to indicators with fewer alternatives",
    )
