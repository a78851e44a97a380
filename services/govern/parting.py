"""Recipients parted by what they may see of an item, and the copy of each part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from schemas.bits import Bits, from_hex
from schemas.known import Contribution, Feedback, Known
from services.govern.background import reliability_of
from services.govern.compile import Compiled
from services.govern.facts import Facts
from services.govern.obligations import Draft, Local, Visible, merge_visible
from services.govern.policy import Verdict
from services.govern.references import OUTGOING, split

T = TypeVar("T")


class Judged(NamedTuple):
    """One contribution with its decision; no facts where they could not be read, which denies everyone."""

    source: str
    contribution: Contribution
    facts: Facts | None
    verdict: Verdict


class Parted(NamedTuple):
    """Disjoint sets of recipients with the copy of each; `errors` name what kept others from theirs."""

    drafts: list[tuple[Bits, Draft]]
    errors: list[str]


def part(known: Known, judged: Iterable[Judged], compiled: Compiled, local: Local) -> Parted:
    """By contributions, feedback, and what the object refers to. An error denies those whose copy it is of."""
    parts: list[tuple[int, tuple[Visible, ...]]] = [(int(compiled.everyone), ())]
    for source, contribution, facts, verdict in judged:
        if facts is not None:
            visible = Visible(source, contribution, facts, reliability_of(source, compiled))
            parts = _parted(parts, verdict.permitted, visible)
    made = Parted([], [])
    for members, sees in parts:
        for some, heard in _by_feedback(members, known, compiled) if sees else ():
            try:
                made.drafts.extend(_with_references(some, known, merge_visible(known, sees, heard, local), sees))
            except Exception as error:  # whatever it is: an error denies
                made.errors.append(f"copies: {type(error).__name__}")
    return made


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
    if known.type not in OUTGOING:
        return [(Bits(members), draft)]
    references = tuple(dict.fromkeys(pair for visible in sees for pair in visible.contribution.references))
    parts = split(Bits(members), known.type, references, known.ends)
    return [(to, draft._replace(body=draft.body | seen)) for to, seen in parts]
