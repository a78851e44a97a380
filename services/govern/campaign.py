"""Campaigns: items that something joins, as a STIX grouping with a stable id while it grows.

A recipient's grouping is made of those members that it holds, and of nothing else: it gets none before it holds
`MIN_MEMBERS`, and none where it holds more than `MAX_MEMBERS`, since what joins so much joins nothing. A recipient
from whom a member was taken in silence hears of the campaign no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.bits import NOBODY, Bits, from_hex, union
from schemas.handling import HANDLING_ID
from schemas.known import Known, Sent
from schemas.markings import Pap, Tlp, marking_id, pinned
from schemas.reference import Seen, Standing
from schemas.timestamps import parse_time
from services.enrich.joins import Join
from services.govern.compile import Compiled
from services.govern.ledger import Lost
from services.govern.obligations import Draft
from services.govern.references import Told, gone_from, gone_of, holders_of, kept

KIND = "campaign"
TYPE = "grouping"
MIN_MEMBERS, MAX_MEMBERS = 2, 200
MAX_KNOWN_MEMBERS = 1_000
"""More are not kept, those that fewest hold make room for others: who loses one hears at worst of no campaign."""

_NAMES = {
    "domain": "Indicators under the registrable domain {}",
    "asn-kit": "Indicators with the same kit on the same network: {}",
    "report": "Indicators of one report",
    "certificate": "Indicators with the certificate {}",
}


def new(join: Join, numbering: str) -> Known:
    """A campaign without members."""
    return Known(kind=KIND, value=":".join(join), type=TYPE, contributions={}, sent=Sent(numbering=numbering))


def told(known: Known, member: str, standing: Standing, waiting_ms: int) -> Told | None:
    """None where that changes nothing, or is too much.

    What anybody gains is shown from `waiting_ms` on, whoever else lost something: to be shown earlier because of
    what happened to others would tell of them.
    """
    before = known.ends.get(member, Standing())
    latest = known.arriving.get(member, before)
    if member not in known.ends and member not in known.arriving:
        if not standing.copies:
            return None
        known = _with_room(known, standing)
        if len(known.ends) + len(known.arriving) >= MAX_KNOWN_MEMBERS:
            return None
    if (standing.epoch, standing.counter) < (latest.epoch, latest.counter):
        return None
    # who lost the item in silence and never held it as a member of this campaign did not lose a member
    standing = gone_from(standing, holders_of(before) | gone_of(before))
    now = kept(before, standing)
    ends = {**known.ends, member: now}
    arriving = {**known.arriving, member: standing}
    if now == standing:
        del arriving[member]
    if not now.copies and not now.gone:
        del ends[member]
    if ends == known.ends and arriving == known.arriving:
        return None
    due = {"waiting_ms": (known.waiting_ms or waiting_ms) if arriving else 0}
    return Told(known.model_copy(update={"ends": ends, "arriving": arriving, **due}), at_once=ends != known.ends)


def _with_room(known: Known, standing: Standing) -> Known:
    """Where there are too many, those that fewest hold make room: so that what few see can't crowd out the rest."""
    if len(known.ends) + len(known.arriving) < MAX_KNOWN_MEMBERS or not known.ends:
        return known
    fewest = min(known.ends, key=lambda key: (holders_of(known.ends[key]).bit_count(), key))
    if holders_of(known.ends[fewest]).bit_count() >= holders_of(standing).bit_count():
        return known
    return known.model_copy(
        update={
            "ends": {key: other for key, other in known.ends.items() if key != fewest},
            "arriving": {key: other for key, other in known.arriving.items() if key != fewest},
        }
    )


def drafts(known: Known, compiled: Compiled, now_ms: int) -> list[tuple[Bits, Draft]]:
    """The grouping of each part of the recipients, by the members that it holds."""
    parts: list[tuple[int, tuple[Seen, ...]]] = [(int(_wanted(known, compiled, now_ms)), ())]
    for _, standing in sorted(known.ends.items()):
        for copy in standing.copies:
            to = from_hex(copy.to)
            parts = [
                piece
                for members, seen in parts
                for piece in ((members & to, (*seen, copy)), (members & ~to, seen))
                if piece[0]
            ]
    return [
        (Bits(members), _grouping(known, seen))
        for members, seen in parts
        if MIN_MEMBERS <= len(seen) <= MAX_MEMBERS
    ]


def lost(known: Known, compiled: Compiled, now_ms: int) -> Lost:
    """Who loses the grouping is told, but for those that may not learn why, or whose agreement ended."""
    return Lost(withdrawn=_wanted(known, compiled, now_ms), ended=NOBODY, hushed=compiled.everyone)


def _wanted(known: Known, compiled: Compiled, now_ms: int) -> Bits:
    """Those whose agreement lets them have groupings. They have no confidence, and the categories of their members,
    which whoever holds those wants."""
    types = union(compiled.types.get(name, NOBODY) for name in ("*", TYPE))
    confident = union(who for bound, who in compiled.min_confidence if bound > 0)
    return Bits(compiled.in_force(now_ms) & types & ~confident & ~_robbed(known))


def _robbed(known: Known) -> Bits:
    return union(gone_of(standing) for standing in (*known.ends.values(), *known.arriving.values()))


def _grouping(known: Known, members: Sequence[Seen]) -> Draft:
    kind, _, value = known.value.partition(":")
    ids = sorted(copy.id for copy in members)
    markings = [marking for copy in members for marking in copy.markings]
    levels = [pinned(marking) for marking in dict.fromkeys(markings)]
    tlp = max((level for level in levels if isinstance(level, Tlp)), default=Tlp.RED)
    paps = [level for level in levels if isinstance(level, Pap)]
    strictest: list[Tlp | Pap] = [tlp, *([max(paps)] if paps else [])]
    statements = sorted({m for m in markings if pinned(m) is None})
    categories = {copy.category for copy in members}
    category = categories.pop() if len(categories) == 1 else ""
    body: dict[str, Any] = {
        "type": TYPE,
        "spec_version": "2.1",
        "name": _NAMES.get(kind, "Indicators that are joined by {}").format(value),
        "context": "suspicious-activity",
        "object_refs": ids,
        "object_marking_refs": [*(marking_id(level) for level in strictest), *statements],
    }
    if category:
        body["extensions"] = {HANDLING_ID: {"extension_type": "property-extension", "category": category}}
    created = sorted(parse_time(copy.created) for copy in members)
    return Draft(
        body=body,
        created_ms=created[MIN_MEMBERS - 1],
        modified_ms=created[-1],
        category=category,
        confidence=None,
        first_seen_ms=created[0],
        last_seen_ms=created[-1],
        tlp=tlp,
        value="",
    )
