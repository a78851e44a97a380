"""What a source takes back, made ready for the inbox: a report on each item that is named. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.errors import BodyRefused
from schemas.fingerprint import FINGERPRINT_BYTES, named_fingerprint
from schemas.report import Withdrawn
from schemas.topics import REPORTS
from schemas.withdrawal import spelled
from services.accept.contributing import Erased
from services.accept.framing import Parcel, pack
from services.accept.names import REVOKED, Alias, Name, Origin, identity_of, key_of
from services.accept.packing import MAX_TOTAL_BYTES, Effects, Fate, Packed, compress_fates, report_bytes
from services.accept.reading import Draft
from services.accept.resolving import Settled

FORMAT = "withdrawal"
_UNKNOWN = "you sent nothing under this name"
_WAITED = "it waited for what it refers to, and was not known to anybody yet; it is taken out"
_NOTHING_LEFT = "nothing that came with it, or under it, is an item"


class Named(NamedTuple):
    """One item: its STIX type, the source's own id of it where that is known, and where it was named and how."""

    type: str
    id: str
    where: str
    text: str


@dataclass
class Found:
    """What of a withdrawal is known of the source; `after` is the place of its last submission.

    `unknown` and `waited` are (where, what was named); `empty` is where something is named that holds no item.
    `aliases` are the ids that were named; `waiting` the places of objects that wait and are named. `submissions`
    are those that are named whole, and `fates`, by the place of such a one, what is kept of what became of it.
    `ids` are the source's own that were named. Where only some versions of an object go from what the source can
    read back, `rows` says which.
    """

    after: int = 0
    items: dict[Name, Named] = field(default_factory=dict)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    waited: list[tuple[str, str]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    aliases: dict[bytes, Alias] = field(default_factory=dict)
    waiting: list[tuple[int, int]] = field(default_factory=list)
    consents: list[bytes] = field(default_factory=list)
    submissions: list[str] = field(default_factory=list)
    fates: dict[int, bytes] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    rows: Sequence[int] | None = None

    def forgotten(self) -> Erased:
        """What its source can't read back any more."""
        if self.rows is not None:
            return Erased(rows=self.rows)
        return Erased(self.ids, list(self.items), list(self.fates))

    def add(self, name: Name, named: Named) -> None:
        """An item that is named twice is withdrawn once. Raises `BodyRefused` (413) where they are too many."""
        known = self.items.get(name)
        if known is None or (named.id and not known.id):
            self.items[name] = named
        if len(self.items) > MAX_WITHDRAWN:
            raise _too_many()


MAX_WITHDRAWN = 250_000


def consent_of(secret: bytes, source: str, reference: str) -> bytes:
    """What the hub keeps in place of a source's reference to a consent, which may name a person: 16 bytes."""
    return named_fingerprint(secret, "consent", source, spelled(reference))


def prepare(found: Found, why: Withdrawn, origin: Origin) -> Packed:
    """As `packing.prepare`. Raises `BodyRefused` (413) where it is too much for one submission."""
    fates = [*_fates(found)]
    taken = len(found.items)
    return Packed(
        format=FORMAT,
        messages=pack(_parcels(found.items, why, origin)),
        fates=compress_fates(fates, []),
        taken=taken,
        refused=0,
        skipped=len(fates) - taken,
        refusals=[],
        notes=(),
        urgent=True,
        effects=Effects(
            after=found.after,
            aliases=_ended(found.aliases, origin.received_ms),
            several=[alias for alias, known in found.aliases.items() if len(known.names) > 1],
            woken=found.waiting,
            consents=found.consents,
            erased=found.submissions,
            fates=list(found.fates.items()),
            withdrawn=list(found.items),
            forgotten=found.forgotten(),
        ),
    )


def _parcels(items: Mapping[Name, Named], why: Withdrawn, origin: Origin) -> Iterator[Parcel]:
    at_ms = origin.received_ms
    total_bytes = 0
    for index, (name, (type_, id_, where, _)) in enumerate(items.items()):
        body = {"type": type_, "id": id_} if id_ else {"type": type_}
        draft = Draft(where, "", "", type_, body, at_ms, at_ms, at_ms, at_ms)
        value = report_bytes(Settled(draft, name, withdrawn=why), index, origin)
        total_bytes += len(value)
        if total_bytes > MAX_TOTAL_BYTES:
            raise _too_many()
        yield Parcel(REPORTS, key_of(name), value)


def _fates(found: Found) -> Iterator[Fate]:
    for name, (type_, _, where, text) in found.items.items():
        fate: Fate = {"pointer": where, "kind": "", "value": text, "type": type_, "key": key_of(name).hex()}
        if len(name) > FINGERPRINT_BYTES:
            fate["identity"] = identity_of(name).hex()
        yield fate | {"fate": "taken"}
    for where, text in found.waited:
        yield _aside(where, text, _WAITED)
    for where in found.empty:
        yield _aside(where, "", _NOTHING_LEFT)
    for where, text in found.unknown:
        # a reference of a consent may name a person
        yield _aside(where, "" if where.startswith("/consents/") else text, _UNKNOWN)


def _aside(where: str, text: str, reason: str) -> Fate:
    return {"pointer": where, "kind": "", "value": text, "fate": "skipped", "reason": reason}


def _ended(aliases: Mapping[bytes, Alias], at_ms: int) -> Sequence[tuple[bytes, Alias]]:
    """Ids that were named: only a newer version of their object can be taken."""
    return [
        (alias, known._replace(state=REVOKED, modified_ms=max(known.modified_ms, at_ms)))
        for alias, known in aliases.items()
    ]


def _too_many() -> BodyRefused:
    return BodyRefused(
        "too-many-items",
        f"this names more than {MAX_WITHDRAWN:,} items, or more than fits in one submission",
        hint="withdraw it in several parts, submission by submission",
        status=413,
    )
