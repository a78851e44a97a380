"""Recipients parted by what they may see of an item, and the copy of each part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import orjson

from schemas.bits import NOBODY, Bits, from_hex
from schemas.known import Contribution, Feedback, Known
from schemas.outgoing import is_placeholder, outgoing_id
from services.govern.background import reliability_of
from services.govern.compile import Compiled
from services.govern.facts import Around, Facts, facts_of
from services.govern.obligations import (
    Draft,
    Local,
    Visible,
    limited_purposes,
    merge_visible,
    with_purposes,
)
from services.govern.policy import Part, Verdict, decide
from services.govern.redact import carry_out, leaves, withheld
from services.govern.references import split
from services.govern.selectors import find, name_of

T = TypeVar("T")
MIN_CANARY_CHARS = 4
"""Shorter texts stand in others by chance."""
FEW_CANARIES = 100


class Judged(NamedTuple):
    """One contribution with its decision, and what of it each of those sees who may; no facts where they could not
    be read, which denies everyone."""

    source: str
    contribution: Contribution
    facts: Facts | None
    verdict: Verdict
    seen: tuple[tuple[Bits, Visible], ...] = ()


class Parted(NamedTuple):
    """Disjoint sets of recipients with the copy of each; `errors` name what kept others from theirs."""

    drafts: list[tuple[Bits, Draft]]
    errors: list[str]


class Leaked(ValueError):
    """A copy holds what its recipients may not see, or is not one that they may have."""


def judge(known: Known, source: str, contribution: Contribution, compiled: Compiled, around: Around) -> Judged:
    """Decides one contribution and carries out what that asks for; what can't be carried out, denies."""
    try:
        facts = facts_of(known, source, contribution, compiled, around)
    except Exception as error:  # whatever it is: an error denies
        everyone, errors = compiled.everyone, (f"facts: {type(error).__name__}",)
        unread = Verdict(NOBODY, (("P00", everyone),), "", errors, silent=everyone, hushed=everyone)
        return Judged(source, contribution, None, unread._replace(by_itself=everyone))
    verdict = decide(facts, compiled)
    seen: list[tuple[Bits, Visible]] = []
    for part in verdict.parts:
        try:
            seen.append((part.who, _visible(known, source, facts, part, compiled, around)))
        except Exception as error:
            verdict = _without(verdict, part, f"{'/'.join(part.rules)}: {type(error).__name__}")
    return Judged(source, contribution, facts, verdict, tuple(seen))


def _without(verdict: Verdict, part: Part, error: str) -> Verdict:
    denied = dict(verdict.denied)
    for rule in part.rules:
        denied[rule] = Bits(denied.get(rule, NOBODY) | part.who)
    return verdict._replace(
        permitted=Bits(verdict.permitted & ~part.who),
        denied=tuple(denied.items()),
        errors=(*verdict.errors, error),
        silent=Bits(verdict.silent | part.who),
        hushed=Bits(verdict.hushed | part.who),
        by_itself=Bits(verdict.by_itself | part.who),
        parts=tuple(other for other in verdict.parts if other is not part),
    )


def part(known: Known, fingerprint: bytes, judged: Sequence[Judged], compiled: Compiled, local: Local) -> Parted:
    """By contributions, what is left of each, feedback, and what the object refers to.

    An error denies those whose copy it is of; so does what is found in a copy that was to be withheld.
    """
    made = Parted([], [])
    parts: list[tuple[int, tuple[Visible, ...]]] = [(int(compiled.everyone), ())]
    for one in judged:
        for who, visible in one.seen:
            parts = _parted(parts, who, visible)
    names = _names(compiled)
    for members, sees in parts:
        for some, heard in _by_feedback(members, known, compiled) if sees else ():
            try:
                draft = merge_visible(known, sees, heard, local, names)
                finished = [
                    piece
                    for to, complete in _with_references(some, known, draft, sees)
                    for piece in _with_purposes(to, complete, sees, compiled)
                ]
            except Exception as error:  # whatever it is: an error denies
                made.errors.append(f"copies: {type(error).__name__}")
                continue
            for to, copy in finished:
                try:
                    holders = _holding(to, copy, known)
                    if holders != to:
                        made.errors.append("copies: Leaked")
                    if holders:
                        _scan(holders, copy, known, fingerprint, judged, sees, names.values())
                        made.drafts.append((holders, copy))
                except Exception as error:
                    made.errors.append(f"copies: {type(error).__name__}")
    return made


def _visible(known: Known, source: str, facts: Facts, part: Part, compiled: Compiled, around: Around) -> Visible:
    """A contribution as far as some of its recipients may see it. Raises `Leaked` where the copy is not permitted
    when it is decided again, with the item's handling and age."""
    visible = Visible(source, facts.contribution, facts, reliability_of(source, compiled))
    if not part.redactions:
        return visible
    redacted = carry_out(facts.contribution, facts.subject, part.redactions)
    handling = {**redacted.contribution.handling}
    if "personal" in handling:
        handling["personal"] = {s: t for s, t in handling["personal"].items() if s not in part.asked}
    body = facts.subject.body
    granular = tuple(
        (id_, left)
        for id_, selectors in redacted.contribution.granular
        if (left := tuple(_left(selectors, body, part)))
    )
    after = redacted.contribution.model_copy(update={"handling": handling, "granular": granular})
    left_facts = facts_of(known, source, after, compiled, around)
    generalised = "affected" in part.redactions
    again = decide(left_facts._replace(confidence=facts.confidence, newest_ms=facts.newest_ms), compiled)
    if not _done(again, part.who, generalised):
        raise Leaked("it is not permitted when it is decided again")
    return visible._replace(
        contribution=after, facts=left_facts, redacted=True, generalised=generalised, ioc=redacted.ioc
    )


def _left(selectors: Iterable[str], body: Mapping[str, Any], part: Part) -> Iterator[str]:
    """Those of which something is left."""
    for selector in selectors:
        path = None if selector in part.asked else find(body, selector)
        if path is not None and not any(
            part.redactions.get(name_of(path[:steps])) == "drop" for steps in range(1, len(path) + 1)
        ):
            yield selector


def _done(again: Verdict, who: Bits, generalised: bool) -> bool:
    """Whether the copy may go to all of them with nothing left to be done."""
    if who & ~again.permitted:
        return False
    left = (p.redactions for p in again.parts if p.who & who)
    return all(not (redactions.keys() - ({"affected"} if generalised else set())) for redactions in left)


def _names(compiled: Compiled) -> dict[str, str]:
    return {
        source: compiled.source_names[source]
        for source, terms in compiled.sources.items()
        if terms.attribution == "must"
    }


def _parted(parts: Iterable[tuple[int, tuple[T, ...]]], who: int, sees: T) -> list[tuple[int, tuple[T, ...]]]:
    """The parts, with those of `who` seeing one more thing."""
    return [
        piece
        for members, seen in parts
        for piece in ((members & who, (*seen, sees)), (members & ~who, seen))
        if piece[0]
    ]


def _by_feedback(
    members: int, known: Known, compiled: Compiled
) -> list[tuple[int, tuple[tuple[Feedback, str], ...]]]:
    parts: list[tuple[int, tuple[tuple[Feedback, str], ...]]] = [(members, ())]
    for _, one in sorted(known.feedback.items()):
        parts = _parted(parts, from_hex(one.to), (one, reliability_of(one.source, compiled)))
    return parts


def _with_references(
    members: int, known: Known, draft: Draft, sees: Sequence[Visible]
) -> Iterable[tuple[Bits, Draft]]:
    references = tuple(dict.fromkeys(pair for visible in sees for pair in visible.contribution.references))
    if not references:
        return [(Bits(members), draft)]
    parts = split(Bits(members), known.type, references, known.ends)
    return [(to, draft._replace(body=draft.body | seen)) for to, seen in parts]


def _with_purposes(
    members: Bits, draft: Draft, sees: Sequence[Visible], compiled: Compiled
) -> Iterator[tuple[Bits, Draft]]:
    """By what its recipients may use the copy for, where that is limited."""
    allowed = limited_purposes(sees)
    if allowed is None:
        yield members, draft
        return
    by_overlap: dict[frozenset[str], Bits] = {}
    for purposes, who in compiled.purpose_sets:
        overlap = purposes & allowed
        by_overlap[overlap] = Bits(by_overlap.get(overlap, NOBODY) | who)
    for overlap, who in by_overlap.items():
        if to := Bits(members & who):
            yield to, with_purposes(draft, overlap)


# --- what must not be in a copy -----------------------------------------------------------------------------------


def _scan(
    to: Bits,
    draft: Draft,
    known: Known,
    fingerprint: bytes,
    judged: Sequence[Judged],
    sees: Sequence[Visible],
    names: Iterable[str],
) -> None:
    """Looks in the outgoing bytes for what is withheld from their recipients. Raises `Leaked`.

    What they may see anyway is no leak: others may have said the same.
    """
    seen = {visible.source: visible for visible in sees}
    hidden: set[str] = set()
    for one in judged:
        visible = seen.get(one.source)
        if visible is None:
            hidden.update(_texts(one.contribution))
        elif visible.redacted:
            hidden |= withheld(one.contribution, visible.contribution)
    if draft.kind:
        hidden.add(known.value)
    if draft.redacted:
        hidden.update(outgoing_id(known.type, fingerprint, n) for n in range(len(known.sent.withdrawn) + 1))
    hidden = {text for text in hidden if len(text) >= MIN_CANARY_CHARS}
    if not hidden:
        return
    body = orjson.dumps(draft.body)
    found = list(_standing_in(body, hidden))
    if found:
        shown = b"\n".join((*_shown(draft, known, sees, names), *_ids_held(to, known)))
        if any(_quoted(text) not in shown for text in found):
            raise Leaked("something that is withheld stands in the copy")


def _holding(to: Bits, draft: Draft, known: Known) -> Bits:
    """Those who hold all of what the object refers to whose id stands in the copy, whoever wrote it there."""
    holders = _holders_by_id(known)
    body = orjson.dumps(draft.body) if holders else b""
    for id_ in _standing_in(body, [id_ for id_, who in holders.items() if to & ~who]):
        if is_placeholder(id_) and _quoted(id_) + b'"' not in body:
            continue  # the beginning of another one
        to = Bits(to & holders[id_])
    return to


def _ids_held(to: Bits, known: Known) -> Iterator[bytes]:
    """The ids of what the object refers to that all of them hold."""
    return (_quoted(id_) for id_, who in _holders_by_id(known).items() if not to & ~who)


def _holders_by_id(known: Known) -> dict[str, int]:
    holders: dict[str, int] = {}
    for standing in known.ends.values():
        for copy in standing.copies:
            holders[copy.id] = holders.get(copy.id, 0) | from_hex(copy.to)
    return holders


def _standing_in(body: bytes, texts: Collection[str]) -> Iterator[str]:
    """Those that stand in the body. Of many, first by their parts of four bytes: a search for each would take as
    long as all of them times the body."""
    parts = {body[at : at + 4] for at in range(len(body) - 3)} if len(texts) > FEW_CANARIES else None
    for text in texts:
        quoted = _quoted(text)
        if parts is not None and any(quoted[at : at + 4] not in parts for at in range(len(quoted) - 3)):
            continue
        if quoted in body:
            yield text


def _texts(contribution: Contribution) -> Iterator[str]:
    yield from leaves(contribution.object)
    yield from contribution.labels
    yield from contribution.context
    yield contribution.value


def _shown(draft: Draft, known: Known, sees: Iterable[Visible], names: Iterable[str]) -> Iterator[bytes]:
    """What recipients of the copy may see, and what the hub itself puts there."""
    for visible in sees:
        yield orjson.dumps([visible.contribution.object, visible.contribution.labels, visible.contribution.context])
        yield _quoted(visible.facts.category or "")
    body = draft.body
    yield orjson.dumps([known.type, draft.kind or known.kind, draft.value, *names, *body])
    if not draft.kind:
        yield _quoted(known.value)
    # what the hub writes itself: a hidden text that stands in its spelling of what they may see is no leak
    made_here = ("object_marking_refs", "type", "spec_version", "pattern_type", "pattern_version", "extensions")
    dates = ("valid_from", "valid_until")
    if draft.view:
        yield orjson.dumps([*draft.view.families.families, draft.view.category])
    yield orjson.dumps([body.get(name) for name in (*made_here, *dates, *(() if draft.kind else ("pattern",)))])


def _quoted(text: str) -> bytes:
    """As it stands in JSON."""
    return orjson.dumps(text)[1:-1]
