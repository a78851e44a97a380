"""Which versions of a source's objects stand, and so what is withdrawn. Pure.

An item stands as long as one of its source's ids that were not revoked names it, or something in the submission
that has no id. What no id names any more is withdrawn, whichever of them its present word has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schemas.errors import ItemRefused
from services.accept.names import LIVE, REVOKED, Alias, Gone, Known, Name
from services.accept.reading import Aside, Draft

Pins = Mapping[str, tuple[str, bytes]]
"""Which of several fingerprints an id stands for here: by property (id, fingerprint)."""


@dataclass(slots=True)
class Version:
    """One object as it came. `names` are those of `drafts`, one by one; none as long as they are not known.

    It has no drafts where it names nothing and is only an `aside`.
    """

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
    aside: Aside | None = None

    @property
    def stands(self) -> bool:
        """Whether it says something that can be understood, if only that it is over."""
        return self.fault is None and (bool(self.names) or self.revoked or self.aside is not None)

    def is_newer(self, other: Version | Alias) -> bool:
        """Of two that are equally new, a revocation counts."""
        revoked = other.revoked if isinstance(other, Version) else other.state == REVOKED
        return (self.modified_ms, self.revoked) > (other.modified_ms, revoked)


class Changes(NamedTuple):
    """What follows for what the source sent before. `moved` ids name something else now.

    `aliases` are those that are new or changed, by what stands for the source's id; `several` are what stands for
    those that named several items before.
    """

    gone: Sequence[Gone] = ()
    aliases: Sequence[tuple[bytes, Alias]] = ()
    several: Sequence[bytes] = ()
    moved: int = 0


class Standing:
    """The versions of a submission, `newest` by id, against what was known. Names have to be known already."""

    def __init__(
        self,
        known: Known,
        versions: Iterable[Version],
        newest: Mapping[str, Version],
        alias_of: Callable[[str], bytes],
    ) -> None:
        self._known = known
        self._versions = versions
        self._newest = newest
        self._alias_of = alias_of
        self._found: tuple[set[Name], set[bytes]] | None = None
        self._named: dict[Name, bool] = {}  # very many ids may have named one item
        self._of_newer: dict[str, frozenset[Name]] = {}

    def newer(self, version: Version) -> Version | Alias | None:
        """The newer version of the same object; None where this is the newest.

        A revocation counts whatever its date (STIX 2.1, section 3.6); what MISP deletes may have come back since.
        """
        newest = self._newest.get(version.id)
        if newest is not None and newest is not version and newest.stands and newest.is_newer(version):
            return newest
        alias = self._known.aliases.get(version.id)
        if alias is None or (version.revoked and version.aside is None):
            return None
        ends = alias.state == REVOKED and alias.modified_ms == version.modified_ms
        return alias if alias.modified_ms > version.modified_ms or ends else None

    def of_newer(self, version: Version, newer: Version | Alias) -> frozenset[Name]:
        """What the newer version of the object names."""
        if version.id not in self._of_newer:
            self._of_newer[version.id] = frozenset(newer.names)
        return self._of_newer[version.id]

    def still_named(self, name: Name) -> bool:
        """Whether something in the submission names the item, or another live id of its source."""
        if self._found is None:
            self._found = self._look()
        if name not in self._named:
            named, replaced = self._found
            others = self._known.others.get(name, ())
            self._named[name] = name in named or any(alias not in replaced for alias in others)
        return self._named[name]

    def _look(self) -> tuple[set[Name], set[bytes]]:
        """The items that the submission names, and what stands for the ids of which it has the newest version."""
        named: set[Name] = set()
        replaced: set[bytes] = set()
        for version in self._versions:
            if (
                not version.stands
                or (version.id and self._newest[version.id] is not version)
                or self.newer(version)
            ):
                continue
            if version.id in self._known.aliases:
                replaced.add(self._alias_of(version.id))
            if not version.revoked:
                named.update(version.names)
        return named, replaced

    def changes(self, refused: Collection[str]) -> Changes:
        """What the submission changes, but for the objects with these ids, which could not be taken."""
        taken = {id_: version for id_, version in self._newest.items() if version.stands and id_ not in refused}
        fallen: dict[Name, str] = {}
        moved = 0
        for id_, before in self._known.aliases.items():
            version = taken.get(id_)
            if version is None or self.newer(version):
                continue
            ends = version.revoked and version.aside is None  # then its own reports say so
            if before.state != LIVE or ends:
                continue
            now = version.names if len(version.names) == 1 else frozenset(version.names)
            left = [name for name in before.names if name not in now]
            moved += bool(left and now)
            for name in left:
                if name not in self._known.elsewhere and not self.still_named(name):
                    fallen[name] = before.type
        gone = [Gone(name, type_) for name, type_ in fallen.items()]
        changed = list(self._aliases(taken))
        several = [self._alias_of(id_) for id_, before in self._known.aliases.items() if len(before.names) > 1]
        of_changed = {alias for alias, _ in changed} if several else ()
        return Changes(gone, changed, [alias for alias in several if alias in of_changed], moved)

    def _aliases(self, taken: Mapping[str, Version]) -> Iterator[tuple[bytes, Alias]]:
        known = self._known.aliases
        for id_, version in taken.items():
            before = known.get(id_)
            if before is not None and self.newer(version):
                continue
            alias = _alias(version, before)
            if alias is not None and alias != before:
                yield self._alias_of(id_), alias


def _alias(version: Version, before: Alias | None) -> Alias | None:
    """What is to be known of an id; nothing where it never named anything and may do so any time."""
    names = version.names
    if len(names) > 1:
        names = tuple(dict.fromkeys(names))
    if version.revoked:
        if before is None:
            return Alias(tuple(names), version.type, version.modified_ms, REVOKED)
        at_ms = max(before.modified_ms, version.modified_ms)
        return Alias(before.names or tuple(names), before.type, at_ms, REVOKED)
    if version.aside is not None:
        return before and Alias((), before.type, version.modified_ms)
    return Alias(tuple(names), version.type, version.modified_ms)
