"""A reading made ready for the inbox: reports and rejections as bytes, and what the source will be told."""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import orjson

from schemas.errors import BodyRefused, ItemRefused, clip
from schemas.fingerprint import FINGERPRINT_BYTES
from schemas.rejected import Rejected
from schemas.rejected import encode as base64_text
from schemas.timestamps import format_time
from schemas.topics import REJECTED, REPORTS
from services.accept.contributing import Contribution, Erased, Outcomes, Told
from services.accept.framing import Parcel, pack
from services.accept.names import (
    NOTHING,
    Alias,
    Gone,
    Known,
    Name,
    Origin,
    alias_of,
    feed_of,
    identity_of,
    key_of,
)
from services.accept.reading import Aside, Draft, Reading, Refusal
from services.accept.resolving import Settled, Waits, resolve

MAX_REPORT_BYTES = 128 * 1024  # the core keeps one of each source, and a broker refuses records over 1 MiB
MAX_KEPT_BYTES = 512 * 1024  # of one refused item
MAX_TOTAL_BYTES = 128 * 1024 * 1024
MAX_RAW_BYTES = 16 * 1024 * 1024
MAX_WITHDRAWAL_BYTES = 1024  # what the report of one takes at most
MAX_LISTED = 100
MAX_NAMED = 3
MAX_HELD = 400_000  # by one feed: more than that only snapshots pile up of which a part was refused
OVERDUE = "waited-too-long"
MAX_AHEAD_MS = 24 * 3_600_000  # clocks differ, and a day ends sooner in the east
# their values hold fingerprints, from which a partner could reckon ids of what it may not see
_FINGERPRINTS = ("stix:relationship", "stix:sighting", "stix:identity")
_TIMES = ("created", "modified", "first_seen", "last_seen")

Fate = dict[str, Any]


class Kept(NamedTuple):
    """An object that waits: its place in the submission, its own alias, and those of what it waits for."""

    place: int
    own: bytes
    pointer: str
    ends: tuple[bytes, ...]
    raw: bytes
    modified_ms: int
    feed: str


class Overdue(NamedTuple):
    """An object that waited too long, and where it came in."""

    submission: str
    received_ms: int
    pointer: str
    raw: bytes
    feed: str


class Effects(NamedTuple):
    """What a submission changes in what the hub knows of its source. Right only while `after` is its last one.

    `aliases` are new or changed, `several` are those among them that named several items before. `woken` are the
    places of objects that wait no more, `ripe` of those that have to be looked at next, `rested` of those that
    were looked at; `satisfied` is what came of what they wait for. `held` are items by the feeds that hold them
    now; `feed` holds those no more that are `dropped`, and `left` are those of them that no other feed holds.

    Of withdrawals: the `consents` that are over; the submissions of which nothing rejected is kept (`erased`); what
    is to be kept of their `fates`, by their places; and the items that are `withdrawn`.

    `contributions` are what its source can read back from now on, and `forgotten` what it can't any more.
    `woken_as` are the items that objects turned out to be which had waited, by the ids of their source.
    """

    after: int | None = None
    aliases: Sequence[tuple[bytes, Alias]] = ()
    several: Sequence[bytes] = ()
    waiting: Sequence[Kept] = ()
    woken: Sequence[tuple[int, int]] = ()
    ripe: Sequence[tuple[int, int]] = ()
    rested: Sequence[tuple[int, int]] = ()
    satisfied: Sequence[tuple[bytes, tuple[int, int]]] = ()
    feed: bytes = b""
    held: Sequence[tuple[bytes, Name]] = ()
    dropped: Sequence[Name] = ()
    left: Sequence[Name] = ()
    consents: Sequence[bytes] = ()
    erased: Sequence[str] = ()
    fates: Sequence[tuple[int, bytes]] = ()
    withdrawn: Sequence[Name] = ()
    contributions: Sequence[Contribution] = ()
    forgotten: Erased = Erased()
    woken_as: Sequence[tuple[str, Name]] = ()


NO_EFFECTS = Effects()


@dataclass(frozen=True)
class Packed:
    """What one submission stores, and what its source is told at once.

    `messages` are framed for the outbox; `fates` has one entry per item in the order of the body, compressed.
    `skipped` counts what makes no report and is no error. `refusals` are the first `MAX_LISTED`. What is `urgent`
    overtakes what other sources sent. `told` is what its source is told of each object, where it is.
    """

    format: str
    messages: bytes
    fates: bytes
    taken: int
    refused: int
    skipped: int
    refusals: list[Fate]
    notes: tuple[str, ...]
    waiting: int = 0
    effects: Effects = NO_EFFECTS
    urgent: bool = False
    told: Sequence[Told] = ()


def prepare(reading: Reading, origin: Origin, secret: bytes, known: Known = NOTHING) -> Packed:
    """Pure; linear in what was read. `known` is what the hub knew of the source and its ids before.

    Raises `BodyRefused` (413) where a body unfolds to more than `MAX_TOTAL_BYTES`: one long object with very
    many alternatives would, since each makes a report.
    """
    origin = origin._replace(feed=known.feed_name)
    resolved = resolve(reading.items, origin, secret, known)
    packer = _Packer(origin, secret, origin.submission, snapshot=known.held is not None)
    for index, item in enumerate(resolved.items):
        match item:
            case Settled():
                packer.take(index, item)
            case Waits():
                packer.keep_waiting(index, item)
            case Refusal():
                packer.refuse(item)
            case Aside():
                packer.put_aside(item)
    notes = [*reading.notes]
    index = len(packer.fates)
    after = _Packer(
        *(origin, secret, f"{origin.submission}-late"),
        snapshot=known.held is not None,
        total_bytes=packer.total_bytes,
        raw_bytes=packer.raw_bytes,
    )
    for of, item in resolved.woken:
        index = after.wake(index, of, item)
    if after.taken:
        notes.append(f"came-at-last: {after.taken} items that waited for what is in this submission")
    changes = resolved.changes(packer.too_large | after.too_large)
    if changes.moved:
        notes.append(
            f"ids-moved: {changes.moved} ids name something else than before; "
            "what referred to them before still refers to what they named then"
        )
    first = _Packer(origin, secret, origin.submission, total_bytes=after.total_bytes)
    for each in changes.gone:
        index = first.withdraw(index, each)
    held = dict.fromkeys((*((known.feed, name) for name in packer.named), *after.held()))
    named = {name for feed, name in held if feed == known.feed}
    dropped, left = _dropped(named, {each.name for each in changes.gone}, packer, first, known, index)
    if known.held is not None and known.whole:
        notes.append(_snapshot_note(packer, known, len(dropped), len(left)))
    told = list(packer.outcomes.told(reading.posted)) if reading.answered else []
    return Packed(
        format=reading.format,
        messages=pack(chain(first.parcels, packer.parcels, after.parcels)),
        fates=compress_fates(packer.fates, notes, told),
        taken=packer.taken,
        refused=packer.refused,
        skipped=len(packer.fates) - packer.taken - packer.refused - len(packer.waiting),
        refusals=[fate for fate in packer.fates if fate["fate"] == "refused"][:MAX_LISTED],
        notes=tuple(notes),
        waiting=len(packer.waiting),
        urgent=packer.urgent or after.urgent,
        told=told,
        effects=Effects(
            after=known.seq,
            aliases=changes.aliases,
            several=changes.several,
            waiting=packer.waiting,
            woken=[*resolved.places, *known.unwoken],
            ripe=known.ripe,
            rested=known.rested,
            satisfied=resolved.satisfied,
            feed=known.feed,
            held=[(feed, name) for feed, name in held if feed != known.feed or name not in (known.held or ())],
            dropped=dropped,
            left=left,
            contributions=list(packer.outcomes.contributions(reading.posted)),
            forgotten=Erased(names=left),
            woken_as=after.woken_as,
        ),
    )


def _dropped(
    named: Container[Name], gone: Container[Name], packer: _Packer, first: _Packer, known: Known, index: int
) -> tuple[list[Name], list[Name]]:
    """What the last snapshot held and this one does not; and what of it no other feed of the source holds.

    What is too much for one submission is left to the next snapshot.
    """
    if known.held is None or not known.whole or not (packer.taken or known.may_be_empty):
        return [], []
    lacking = [name for name in known.held if name not in named]
    if packer.refused:
        # it may be among what is refused; but what is held must not grow for ever
        lacking = lacking[: max(0, len(known.held) + packer.taken - MAX_HELD)]
    dropped: list[Name] = []
    left: list[Name] = []
    for name in lacking:
        if not known.held[name]:
            if first.total_bytes + MAX_WITHDRAWAL_BYTES > MAX_TOTAL_BYTES:
                break
            if name not in gone:
                index = first.withdraw(index, Gone(name))
            left.append(name)
        dropped.append(name)
    return dropped, left


def _snapshot_note(packer: _Packer, known: Known, dropped: int, withdrawn: int) -> str:
    held = known.held or {}
    if not held:
        return f"snapshot: first snapshot under the name {clip(known.feed_name)!r}: withdraws nothing"
    if packer.refused and not dropped:
        return "snapshot: nothing is withdrawn, because some of its items are refused"
    if packer.refused:
        return f"snapshot: {withdrawn} items are withdrawn though some are refused, because it holds too many"
    if not (packer.taken or known.may_be_empty):
        return (
            "snapshot: nothing is withdrawn, because nothing could be taken; "
            "send it with empty=true if the feed holds nothing any more"
        )
    note = f"snapshot: {withdrawn} items that this feed holds no more are withdrawn"
    lacking = sum(name not in packer.named for name in held) - dropped
    return f"{note}, and more with the next one, because they are too many at once" if lacking > 0 else note


def overdue(items: Iterable[Overdue], origin: Origin) -> bytes:
    """What waited too long, as rejections for the outbox; `origin` is the submission that crowded it out."""
    parcels: list[Parcel] = []
    for number, item in enumerate(items):
        record = Rejected(
            id=f"{origin.submission}-overdue-{number}",
            stage="accept",
            code=OVERDUE,
            reason="what it refers to did not come before too much else waited",
            origin=f"submission {item.submission} {item.pointer}",
            at=format_time(item.received_ms),
            source=origin.source,
            submission=item.submission,
            where=item.pointer,
            feed=item.feed,
            key=base64_text(item.submission.encode()),
            value=base64_text(item.raw),
        )
        parcels.append(Parcel(REJECTED, item.submission.encode(), record.to_bytes()))
    return pack(parcels)


def compress_fates(fates: Iterable[Fate], notes: Iterable[str], told: Iterable[Told] = ()) -> bytes:
    document: dict[str, Any] = {"items": list(fates), "notes": list(notes)}
    if of_objects := [tuple(each) for each in told]:  # orjson writes no named tuples
        document["told"] = of_objects
    return zlib.compress(orjson.dumps(document), 1)


def decompress_fates(stored: bytes) -> tuple[list[Fate], list[str]]:
    document = orjson.loads(zlib.decompress(stored))
    return document["items"], document["notes"]


def told_of(stored: bytes) -> list[Told]:
    """What was told of each object, in their order; none where it was told of none."""
    return [Told(*each) for each in orjson.loads(zlib.decompress(stored)).get("told", ())]


def not_ahead(draft: Draft, received_ms: int) -> Draft:
    """The draft without times that lie ahead: what is said to be of the future would never age.

    More than `MAX_AHEAD_MS` after its receipt nothing can have been made or seen. Then no time of the draft may
    be later than its receipt, so that they stay in their order.
    """
    bound_ms = received_ms + MAX_AHEAD_MS
    times = (draft.created_ms, draft.modified_ms, draft.first_seen_ms, draft.last_seen_ms)
    if max(times) <= bound_ms:
        return draft
    ahead = ", ".join(name for name, at_ms in zip(_TIMES, times, strict=True) if at_ms > bound_ms)
    return draft._replace(
        created_ms=min(draft.created_ms, received_ms),
        modified_ms=min(draft.modified_ms, received_ms),
        first_seen_ms=min(draft.first_seen_ms, received_ms),
        last_seen_ms=min(draft.last_seen_ms, received_ms),
        notes=(*draft.notes, f"time-in-future: {ahead}; the time of receipt counts"),
    )


def report_bytes(settled: Settled, index: int, origin: Origin) -> bytes:
    """The bytes that `Report.to_bytes` would give; written out, because a model costs ten times as much."""
    draft, name, references, joins, gone, withdrawn = settled
    return orjson.dumps(
        {
            "index": index,
            "submission": origin.submission,
            "pointer": draft.pointer,
            "source": origin.source,
            "received_ms": origin.received_ms,
            "kind": draft.kind,
            "value": draft.value,
            "type": draft.type,
            "object": draft.object,
            "markings": draft.markings,
            "granular": draft.granular,
            "handling": draft.handling,
            "revoked": draft.revoked,
            "created_ms": draft.created_ms,
            "modified_ms": draft.modified_ms,
            "first_seen_ms": draft.first_seen_ms,
            "last_seen_ms": draft.last_seen_ms,
            "labels": draft.labels,
            "identity": "" if len(name) == FINGERPRINT_BYTES else identity_of(name).hex(),
            "references": references,
            "gone": gone,
            "withdrawn": withdrawn,
            "context": draft.context,
            "joins": joins,
        }
    )


@dataclass
class _Packer:
    origin: Origin
    secret: bytes
    ids: str
    """What the ids of rejections begin with."""
    parcels: list[Parcel] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)
    waiting: list[Kept] = field(default_factory=list)
    snapshot: bool = False
    named: dict[Name, None] = field(default_factory=dict)
    of_feeds: dict[Name, tuple[str, str]] = field(default_factory=dict)
    """Of what is named and came with another submission: its source and the name of its feed."""
    too_large: set[str] = field(default_factory=set)
    """The ids of objects that are refused only here."""
    taken: int = 0
    refused: int = 0
    total_bytes: int = 0
    raw_bytes: int = 0
    urgent: bool = False
    outcomes: Outcomes = field(default_factory=Outcomes)
    woken_as: list[tuple[str, Name]] = field(default_factory=list)

    def take(self, index: int, settled: Settled) -> None:
        draft = not_ahead(settled.draft, self.origin.received_ms)
        if draft is not settled.draft:
            settled = settled._replace(draft=draft)
        value = report_bytes(settled, index, self.origin)
        if len(value) > MAX_REPORT_BYTES:
            self.refuse(Refusal(draft.pointer, _too_large(len(value)), lambda: b""), draft)
            self.too_large.add(draft.id)
            return
        self._spend(len(value), draft.pointer)
        name = settled.name
        self.parcels.append(Parcel(REPORTS, key_of(name), value))
        if self.snapshot and not draft.revoked:
            self.named[name] = None
        self.taken += 1
        self.urgent = self.urgent or draft.handling.get("urgent") is True
        fate: Fate = {
            "pointer": draft.pointer,
            "kind": draft.kind,
            "value": draft.id if draft.kind in _FINGERPRINTS else draft.value,
            "type": draft.type,
            "key": key_of(name).hex(),
            "fate": "taken",
        }
        if len(name) > FINGERPRINT_BYTES:
            fate["identity"] = identity_of(name).hex()
        if draft.notes:
            fate["notes"] = draft.notes
        self.fates.append(fate)
        self.outcomes.taken(draft.pointer, name)

    def keep_waiting(self, index: int, waits: Waits) -> None:
        draft, source = waits.draft, self.origin.source
        self._spend(len(waits.raw), draft.pointer)
        own = alias_of(self.secret, source, draft.id)
        self.waiting.append(
            Kept(
                place=index,
                own=own,
                pointer=draft.pointer,
                ends=tuple(alias_of(self.secret, source, id_) for id_ in waits.ends),
                raw=waits.raw,
                modified_ms=min(draft.modified_ms, self.origin.received_ms),
                feed=self.origin.feed,
            )
        )
        reason = f"it waits for {', '.join(waits.ends[:MAX_NAMED])}, which the hub does not know yet"
        self.fates.append(
            {
                "pointer": draft.pointer,
                "kind": draft.kind,
                "value": draft.value,
                "fate": "waiting",
                "place": index,
                "own": own.hex(),
                "reason": reason,
            }
        )
        self.outcomes.note(draft.pointer, reason)

    def wake(self, index: int, of: Origin, item: Settled | Refusal) -> int:
        """Takes what came in with an earlier submission; it stands in that one's order of items, not in this."""
        here, self.origin = self.origin, of
        if isinstance(item, Settled):
            self.take(index, item)
            self.woken_as.append((item.draft.id, item.name))
            if item.name in self.named:
                self.of_feeds[item.name] = of.source, of.feed
        else:
            self.refuse(item)
        self.origin = here
        return index + 1

    def held(self) -> Iterator[tuple[bytes, Name]]:
        """What came with other snapshots, by the key of its feed."""
        keys = {of: feed_of(self.secret, *of) for of in self.of_feeds.values()}
        return ((keys[of], name) for name, of in self.of_feeds.items())

    def withdraw(self, index: int, gone: Gone) -> int:
        at_ms = self.origin.received_ms
        draft = Draft("", "", "", gone.type, {}, at_ms, at_ms, at_ms, at_ms)
        value = report_bytes(Settled(draft, gone.name, gone=True), index, self.origin)
        self._spend(len(value), "")
        self.parcels.append(Parcel(REPORTS, key_of(gone.name), value))
        return index + 1

    def refuse(self, refusal: Refusal, draft: Draft | None = None) -> None:
        error = refusal.error
        where = _where(refusal)
        raw = self._raw(refusal)
        record = Rejected(
            id=f"{self.ids}-{self.refused}",
            stage="accept",
            code=error.code,
            reason=error.what,
            origin=f"submission {self.origin.submission} {refusal.pointer}",
            at=format_time(self.origin.received_ms),
            source=self.origin.source,
            submission=self.origin.submission,
            where=where,
            feed=self.origin.feed,
            key=base64_text(self.origin.submission.encode()),
            value=base64_text(raw),
        ).to_bytes()
        self._spend(len(record), refusal.pointer)
        self.parcels.append(Parcel(REJECTED, self.origin.submission.encode(), record))
        self.refused += 1
        self.outcomes.fault(refusal.pointer, f"{error.code}: {error.what}")
        self.fates.append(
            {
                "pointer": refusal.pointer,
                "kind": draft.kind if draft else "",
                "value": "",
                "fate": "refused",
                "code": error.code,
                "where": where,
                "reason": error.what,
                "hint": error.hint,
            }
        )

    def _raw(self, refusal: Refusal) -> bytes:
        """What was refused, to be kept; nothing where it is too much, the refusal goes on record all the same."""
        if self.raw_bytes > MAX_RAW_BYTES:
            return b""
        raw = refusal.raw()
        self.raw_bytes += len(raw)
        return raw if len(raw) <= MAX_KEPT_BYTES else b""

    def put_aside(self, aside: Aside) -> None:
        if aside.ended:
            self.outcomes.fault(aside.pointer, aside.reason)
        else:
            self.outcomes.note(aside.pointer, aside.reason)
        self.fates.append(
            {
                "pointer": aside.pointer,
                "kind": aside.kind,
                "value": aside.value,
                "fate": aside.fate,
                "reason": aside.reason,
            }
        )

    def _spend(self, size: int, pointer: str) -> None:
        self.total_bytes += size
        if self.total_bytes > MAX_TOTAL_BYTES:
            raise BodyRefused(
                "too-large-unfolded",
                f"this unfolds to more than {MAX_TOTAL_BYTES // 2**20} MiB of reports",
                where=pointer,
                hint="send long patterns with many alternatives in submissions of their own",
                status=413,
            )


def _where(refusal: Refusal) -> str:
    """The place in the body: readers say it from the item on, or from the top."""
    within, pointer = refusal.error.where, refusal.pointer
    if not within.startswith("/"):
        return pointer
    return within if within == pointer or within.startswith(f"{pointer}/") else pointer + within


def _too_large(size: int) -> ItemRefused:
    return ItemRefused(
        "object-too-large",
        f"this object makes a report of {size:,} bytes; {MAX_REPORT_BYTES:,} are the most",
        hint="shorten its longest texts",
    )
