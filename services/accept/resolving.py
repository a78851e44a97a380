"""What a submission's objects refer to, and what follows for those that the source sent before. Pure.

A reference is an id that only its source knows. It is looked for among the objects of the submission, then among
the ids that the source used before, then among those that the hub gave to this partner. What is left of it is the
fingerprint of the item. An optional one that is found nowhere is left out; an object of which an end is missing
waits for it. An id that names something else than before withdraws what it named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from schemas import objects
from schemas.errors import BodyRefused, ItemRefused
from schemas.fingerprint import FINGERPRINT_BYTES, fingerprint, named_fingerprint
from services.accept.reading import MAX_ITEMS, Aside, Draft, Item, Refusal

MAX_PAIRS = 1_000
MAX_ENDS = 100
MAX_REFERENCES = 1_500  # each takes 50 bytes of a report
MAX_JOINS = 50
MAX_WAITING_BYTES = 32 * 1024

TRAVELLERS = ("sighting", "opinion", "note")
"""Types whose reports travel under the key of another item."""
_LINKS = ("relationship", "sighting")
_OPINIONS = ("opinion", "note")
_GATHERERS = ("report", "grouping")
_SPEAKERS = (*_OPINIONS, *_GATHERERS, "language-content")


class Origin(NamedTuple):
    """What all items of a submission have in common."""

    submission: str
    source: str
    received_ms: int


Name = bytes
"""An item by its fingerprint (16 bytes); before it, where it is another one, the key under which it travels.

Bytes, because there is one for each item of a submission, and what is no container costs the collector nothing.
"""


def name_of(key: bytes, identity: bytes) -> Name:
    return key if key == identity else key + identity


def key_of(name: Name) -> bytes:
    return name[:FINGERPRINT_BYTES]


def identity_of(name: Name) -> bytes:
    return name[-FINGERPRINT_BYTES:]


class Alias(NamedTuple):
    """What an id of a source names, as of the version of `modified_ms`."""

    names: tuple[Name, ...]
    type: str
    modified_ms: int


Pins = Mapping[str, tuple[str, bytes]]
"""Which of several fingerprints an id stands for here: by property (id, fingerprint)."""


class Woken(NamedTuple):
    """An object that waited (the drafts of it, or why it can't be read any more), and where it came in."""

    place: tuple[int, int]
    origin: Origin
    pointer: str
    items: Sequence[Draft | Refusal]


class Known(NamedTuple):
    """What the hub knew of a source when it last looked.

    `seq` is the place of the source's last submission, None where nobody looked. `aliases` are by the source's
    ids, and only for those that were asked for; `alias_of` is what stands for an id, where it was made already.
    `fed` are fingerprints by ids that the hub itself gave to this partner. `held` is what the last snapshot of
    this feed held, and whether another feed of the source holds it too, None where a submission is no snapshot;
    `feed` is the key of the feed then.
    """

    seq: int | None = None
    aliases: Mapping[str, Alias] = MappingProxyType({})
    alias_of: Mapping[str, bytes] = MappingProxyType({})
    fed: Mapping[str, bytes] = MappingProxyType({})
    woken: tuple[Woken, ...] = ()
    held: Mapping[Name, bool] | None = None
    feed: bytes = b""


NOTHING = Known()


class Settled(NamedTuple):
    """A draft that can go out: under which name, and what it refers to (property, fingerprint in hex)."""

    draft: Draft
    name: Name
    references: tuple[tuple[str, str], ...] = ()
    joins: tuple[tuple[str, str], ...] = ()


class Waits(NamedTuple):
    """A draft of which an end is not known: the ids it waits for, and the object as it came."""

    draft: Draft
    ends: tuple[str, ...]
    raw: bytes


class Gone(NamedTuple):
    """An item that the source holds no more; `type` is empty where nobody knows it."""

    name: Name
    type: str = ""


Outcome = Settled | Waits | Refusal | Aside


class Resolved(NamedTuple):
    """`items` are those of the body, in its order.

    `woken` is what waited before and now is done with, by where it came from; `places` are where it waited.
    `aliases` are those that are new or changed, by what stands for the source's id: see `alias_of`.
    """

    items: Iterator[Outcome]
    woken: Sequence[tuple[Origin, Settled | Refusal]]
    places: Sequence[tuple[int, int]]
    gone: Sequence[Gone]
    aliases: Sequence[tuple[bytes, Alias]]


def as_bytes(names: Iterable[Name], type_: str) -> bytes:
    """Names of one object of a type as the table of aliases holds them."""
    if type_ in TRAVELLERS:
        return b"".join(key_of(name) + identity_of(name) for name in names)
    return b"".join(names)


def names_in(keys: bytes, type_: str) -> tuple[Name, ...]:
    """The names that `as_bytes` wrote."""
    parts = [keys[at : at + FINGERPRINT_BYTES] for at in range(0, len(keys), FINGERPRINT_BYTES)]
    return tuple(map(name_of, parts[::2], parts[1::2])) if type_ in TRAVELLERS else tuple(parts)


def alias_of(secret: bytes, source: str, id_: str) -> bytes:
    """What the hub keeps in place of an id of a source: 16 bytes."""
    return named_fingerprint(secret, "alias", source, id_)


def resolve(items: Iterable[Item], origin: Origin, secret: bytes, known: Known = NOTHING) -> Resolved:
    """Linear in the objects and their references.

    Raises `BodyRefused` (413) where relationships between items of many names make more than `MAX_ITEMS`.
    """
    return _Resolver(origin, secret, known).run(items)


@dataclass(slots=True)
class _Version:
    """One object as it came. `names` are those of `drafts`, one by one; none as long as they are not known."""

    drafts: Sequence[Draft]
    id: str
    modified_ms: int
    type: str
    revoked: bool
    names: Sequence[Name] = ()
    pinned: Sequence[Pins] = ()
    revokes: bool = False
    """It is a revocation of `names`, which are those of earlier versions."""
    missing: tuple[str, ...] = ()
    fault: ItemRefused | None = None

    @property
    def stands(self) -> bool:
        return bool(self.names) and self.fault is None


class _Resolver:
    def __init__(self, origin: Origin, secret: bytes, known: Known) -> None:
        self._origin = origin
        self._secret = secret
        self._known = known
        self._newest: dict[str, _Version] = {}
        self._doubles: set[str] = set()
        self._live: dict[str, Sequence[Name]] = {}
        self._now: dict[str, frozenset[Name]] = {}
        self._joins: dict[str, list[tuple[str, str]]] = {}
        self._events: dict[str, tuple[str, str]] = {}
        self._identities_of: dict[str, tuple[Sequence[Name], Sequence[bytes]]] = {}
        self._left = MAX_ITEMS

    def run(self, items: Iterable[Item]) -> Resolved:
        parts = list(self._grouped(items))
        woken = [(each, self._woken(each)) for each in self._known.woken]
        # what comes now is newer than what waited
        versions = [part for part in (*(part for _, part in woken), *parts) if isinstance(part, _Version)]
        for version in versions:
            self._enter(version)
        versions.sort(key=attrgetter("revoked"))  # what they revoke may be what another version names
        for version in versions:
            self._identify(version)
        for version in versions:
            if version.type in _LINKS:
                self._join(version)
        for version in versions:
            if version.type in _SPEAKERS:
                self._attach(version)
        for version in versions:
            if version.type in _GATHERERS and version.stands and not version.revoked:
                self._gather(version)
        awake: list[tuple[Origin, Settled | Refusal]] = []
        places: list[tuple[int, int]] = []
        for each, part in woken:
            outcomes = self._of_woken(part)
            if not any(isinstance(outcome, Waits) for outcome in outcomes):
                places.append(each.place)
                awake += [(each.origin, out) for out in outcomes if isinstance(out, Settled | Refusal)]
        return Resolved(self._of_body(parts), awake, places, self._gone(), list(self._aliases()))

    def _of_body(self, parts: Iterable[_Version | Refusal | Aside]) -> Iterator[Outcome]:
        for part in parts:
            if isinstance(part, _Version):
                yield from self._outcomes(part)
            else:
                yield part

    def _of_woken(self, part: _Version | Refusal | None) -> Sequence[Outcome]:
        if not isinstance(part, _Version):
            return (part,) if part else ()
        newest = self._newest[part.id]
        sent_again = newest is not part and newest.stands
        return () if sent_again else self._outcomes(part)

    # --- what came ---

    def _grouped(self, items: Iterable[Item]) -> Iterator[_Version | Refusal | Aside]:
        """The drafts of one object together: those next to each other that stood in the same place."""
        version: _Version | None = None
        pointer = ""
        for item in items:
            if not isinstance(item, Draft):
                if version:
                    yield version
                version = None
                yield item
            elif version and item.pointer == pointer:
                version.drafts = (*version.drafts, item)
            else:
                if version:
                    yield version
                version, pointer = _version((item,), self._origin), item.pointer
        if version:
            yield version

    def _woken(self, woken: Woken) -> _Version | Refusal | None:
        items = [item._replace(pointer=woken.pointer) for item in woken.items]
        drafts = [item for item in items if isinstance(item, Draft)]
        if drafts:
            return _version(drafts, woken.origin)
        return next((item for item in items if isinstance(item, Refusal)), None)

    def _enter(self, version: _Version) -> None:
        if not version.id:
            return
        other = self._newest.get(version.id)
        if other is not None:
            self._doubles.add(version.id)
        if other is None or version.modified_ms >= other.modified_ms:
            self._newest[version.id] = version

    # --- who is who ---

    def _identify(self, version: _Version) -> None:
        if version.type not in _LINKS and version.drafts[0].kind:
            version.names = tuple(map(self._key, version.drafts))
        self._known_now(version)

    def _key(self, draft: Draft) -> bytes:
        if draft.identity:
            return fingerprint(self._secret, draft.identity)
        return named_fingerprint(self._secret, *(draft.parts or (draft.kind, draft.value)))

    def _known_now(self, version: _Version) -> None:
        if version.revoked:
            self._adopt(version)
        elif version.names and version.id in self._doubles:
            self._live[version.id] = version.names

    def _adopt(self, version: _Version) -> None:
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

    def _join(self, version: _Version) -> None:
        """A relationship is known by its ends, one for each pair of them; a sighting by what was seen."""
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

    def _attach(self, version: _Version) -> None:
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

    def _travel(self, version: _Version, name: str, id_: str, items: Sequence[bytes]) -> None:
        if len(items) > MAX_PAIRS:
            version.fault = _too_many_pairs(len(items))
            return
        [draft], own = version.drafts, identity_of(version.names[0])
        self._spend(len(items) - 1, draft.pointer)
        version.drafts = [draft] * len(items)
        others = (named_fingerprint(self._secret, draft.kind, draft.value, item.hex()) for item in items[1:])
        version.names = list(map(name_of, items, (own, *others)))
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

    def _outcomes(self, version: _Version) -> Sequence[Outcome]:
        draft = version.drafts[0]
        if version.fault:
            return [_refused(draft, version.fault)]
        if version.revokes:
            return [Settled(_revocation(draft), name) for name in version.names]
        if version.missing:
            return [_waits(draft, version.missing)]
        if not version.names:
            return [_refused(draft, _without_pattern())]
        current = self._newer(version)
        if current is None and not version.pinned and len(version.names) == 1:
            return (self._settled(draft, version.names[0], _NO_PINS),)
        pinned = version.pinned or (_NO_PINS,) * len(version.names)
        return [
            self._settled(each, name, pins)
            if current is None or name in current
            else Aside(each.pointer, "skipped", "the source sent a newer version of this object", each.kind)
            for each, name, pins in zip(version.drafts, version.names, pinned, strict=True)
        ]

    def _newer(self, version: _Version) -> frozenset[Name] | None:
        """What a newer version of the same object names; None where this is the newest."""
        if not self._doubles and not self._known.aliases:
            return None
        newest: _Version | Alias | None = self._newest.get(version.id)
        if not (isinstance(newest, _Version) and newest.stands and newest.modified_ms > version.modified_ms):
            newest = self._known.aliases.get(version.id)
        if newest is None or newest.modified_ms <= version.modified_ms:
            return None
        if version.id not in self._now:
            self._now[version.id] = frozenset(newest.names)
        return self._now[version.id]

    def _settled(self, draft: Draft, name: Name, pins: Pins) -> Settled:
        if draft.type == "identity" and not draft.value:
            draft = draft._replace(value=identity_of(name).hex())
        references: tuple[tuple[str, str], ...] = ()
        if draft.references:
            references = tuple(islice(self._references(draft, pins), MAX_REFERENCES + 1))
            if len(references) > MAX_REFERENCES:
                note = f"references-left-out: those beyond the first {MAX_REFERENCES:,}"
                references, draft = references[:MAX_REFERENCES], draft._replace(notes=(*draft.notes, note))
        joins = draft.joins
        if draft.event:
            joins = (*joins, self._event(draft.event))
        if self._joins and (reports := self._joins.get(draft.id)):
            joins = (*joins, *reports)
        return Settled(draft, name, references, joins)

    def _references(self, draft: Draft, pins: Pins) -> Iterator[tuple[str, str]]:
        for name, id_ in draft.references:
            pinned = pins.get(name)
            if pinned and pinned[0] == id_:
                yield name, pinned[1].hex()
                continue
            identities = self._identities(id_)
            for identity in identities if name.endswith("s") else identities[:1]:
                yield name, identity.hex()

    def _event(self, uuid: str) -> tuple[str, str]:
        if uuid not in self._events:
            key = named_fingerprint(self._secret, "event", self._origin.source, uuid)
            self._events[uuid] = ("report", key.hex())
        return self._events[uuid]

    def _gather(self, report: _Version) -> None:
        """What a report holds belongs together, as far as it came together."""
        together = ("report", identity_of(report.names[0]).hex())
        for _, id_ in report.drafts[0].references:
            other = self._newest.get(id_)
            if other and other.type == "indicator":
                joins = self._joins.setdefault(id_, [])
                if len(joins) < MAX_JOINS and together not in joins:
                    joins.append(together)

    def _gone(self) -> list[Gone]:
        """What ids named before and do not now; but not what another object of this submission names."""
        fallen: dict[Name, str] = {}
        for id_, before in self._known.aliases.items():
            newest = self._newest.get(id_)
            if newest and newest.stands and not newest.revoked and newest.modified_ms >= before.modified_ms:
                now = newest.names if len(newest.names) == 1 else frozenset(newest.names)
                fallen.update((name, before.type) for name in before.names if name not in now)
        if fallen:
            for version in self._newest.values():
                for name in version.names:
                    fallen.pop(name, None)
        return [Gone(name, type_) for name, type_ in fallen.items()]

    def _aliases(self) -> Iterator[tuple[bytes, Alias]]:
        aliases, kept = self._known.aliases, self._known.alias_of
        secret, source = self._secret, self._origin.source
        for id_, version in self._newest.items():
            names = version.names
            if not names or version.fault:
                continue
            if len(names) > 1:
                names = tuple(dict.fromkeys(names))
            alias, before = Alias(tuple(names), version.type, version.modified_ms), aliases.get(id_)
            if before is None or (version.modified_ms >= before.modified_ms and alias != before):
                yield kept.get(id_) or alias_of(secret, source, id_), alias


_NO_PINS: Pins = MappingProxyType({})


def _version(drafts: Sequence[Draft], origin: Origin) -> _Version:
    first = drafts[0]
    return _Version(drafts, first.id, min(first.modified_ms, origin.received_ms), first.type, first.revoked)


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
