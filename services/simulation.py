"""What other rules would change for each partner, from what the hub holds now. Pure.

Only what the rules do is compared: what waits for its window goes on waiting, before and after, and what was never
decided so far is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import orjson

from schemas.bits import Bits, from_hex, members, union
from schemas.compact import expand
from schemas.decision import Decision
from schemas.known import HEADER_BYTES, Held, Known, due_of, policy_of
from services.govern.askers import is_page
from services.rehearsal import Rehearsal
from services.stream.types import Stage
from services.witness.tally import obligations_of, strength

SLICE = 1_000

Sort = Literal["shared", "withdrawn", "gone", "changed"]
SORTS: Mapping[str, str] = {
    "shared": "newly shared",
    "withdrawn": "withdrawn",
    "gone": "silently gone",
    "changed": "redacted differently",
}
"""What can become of an item for a partner. Of `withdrawn` the partner is told, of `gone` not."""

Words = Mapping[str, Mapping[str, str]]
"""By source the obligations of a contribution that a recipient may see."""


class Change(NamedTuple):
    """One item for some partners (bit set). With `more` they get more of it than before."""

    sort: Sort
    to: Bits
    more: bool
    id: str
    kind: str
    value: str
    before: Mapping[str, str] = {}
    after: Mapping[str, str] = {}
    """Obligations, where it is `changed`."""


def as_it_is(value: bytes) -> bytes:
    """A state value of the core without what waits for a window."""
    if is_page(value) or not orjson.loads(expand(value[HEADER_BYTES:])).get("waiting_ms"):
        return value
    known = Known.from_bytes(value).model_copy(update={"waiting": {}, "arriving": {}, "waiting_ms": 0})
    return known.to_bytes(policy_of(value), due_of(value))


class Simulation:
    """The core under other rules. `stage` has no windows; `state` is what it remembers, and stays as it is."""

    def __init__(
        self,
        stage: Stage,
        state: Sequence[Mapping[bytes, bytes]],
        partition_of: Callable[[bytes], int],
        *,
        now_ms: int,
        epoch: int,
    ) -> None:
        self._before = state
        after = [{key: as_it_is(value) for key, value in one.items()} for one in state]
        self._rehearsal = Rehearsal(stage, now_ms=now_ms, epoch=epoch, state=after, partition_of=partition_of)
        self.items = [key for one in after for key, value in one.items() if not is_page(value)]

    def slices(self) -> list[Sequence[bytes]]:
        return [self.items[at : at + SLICE] for at in range(0, len(self.items), SLICE)]

    def decide(self, keys: Sequence[bytes]) -> None:
        """Decides one of the slices."""
        self._rehearsal.visit(keys)

    def settle(self) -> None:
        """After all slices: lets the items tell each other what changed, until nothing moves."""
        self._rehearsal.work(())
        self._rehearsal.pass_time(0)

    @property
    def decided_otherwise(self) -> list[bytes]:
        """The items of which anything changed at all."""
        return list(self._rehearsal.decisions)

    def changes(self, key: bytes, decided: bytes | None) -> Iterator[Change]:
        """Of one of those; `decided` is the decision that was the last one until now, where it is known."""
        before, after = _known(self._before, key), _known(self._rehearsal.state, key)
        on_its_way = before is not None and not before.counter
        if after is not None and not on_its_way:
            now = Decision.from_bytes(self._rehearsal.decisions[key])
            yield from _changes(before, after, Decision.from_bytes(decided) if decided else None, now)

    def has_errors(self, key: bytes) -> bool:
        return bool(Decision.from_bytes(self._rehearsal.decisions[key]).errors)


def _known(state: Sequence[Mapping[bytes, bytes]], key: bytes) -> Known | None:
    return next((Known.from_bytes(one[key]) for one in state if key in one), None)


def _changes(before: Known | None, after: Known, was: Decision | None, now: Decision) -> Iterator[Change]:
    held = _holders(before.sent.live) if before else Bits(0)
    silenced = _holders(before.sent.gone) if before else Bits(0)
    live, gone = _holders(after.sent.live), _holders(after.sent.gone)
    told = (held & ~live & ~gone) | (silenced & ~live & ~gone)
    sets: tuple[tuple[Sort, int], ...] = (
        ("shared", live & ~held),
        ("withdrawn", told),
        ("gone", held & ~live & gone),
    )
    for sort, to in sets:
        if to:
            yield Change(sort, Bits(to), sort == "shared", now.id, after.kind, after.value)
    both = Bits(held & live)
    if not both or before is None:
        return
    if was is None:
        if other := both & ~_same(before.sent.live, after.sent.live):
            yield Change("changed", Bits(other), True, now.id, after.kind, after.value)
        return
    for to, seen, sees in _parts(both, was, now):
        if seen != sees:
            less, more = _merged(seen), _merged(sees)
            if less != more or seen.keys() != sees.keys():
                widened = bool(sees.keys() - seen.keys()) or any(
                    _weaker(selector, technique, more) for selector, technique in less.items()
                )
                yield Change("changed", to, widened, now.id, after.kind, after.value, less, more)


def _holders(helds: Sequence[Held]) -> Bits:
    return union(from_hex(held.to) for held in helds)


def _same(before: Sequence[Held], after: Sequence[Held]) -> int:
    """Those whose copy has the content that it had."""
    return union(
        from_hex(one.to) & from_hex(other.to) for one in before for other in after if one.content == other.content
    )


def _parts(to: Bits, was: Decision, now: Decision) -> list[tuple[Bits, Words, Words]]:
    """Parts of `to` that were treated alike, and what each saw and sees."""
    parts: list[tuple[int, dict[str, Mapping[str, str]], dict[str, Mapping[str, str]]]] = [(int(to), {}, {})]
    for is_now, decision in enumerate((was, now)):
        for judgement in decision.judgements:
            for group in judgement.groups:
                if group.outcome != "permit":
                    continue
                who, word = from_hex(group.recipients), {judgement.source: group.obligations}
                parts = [
                    piece
                    for some, seen, sees in parts
                    for piece in (
                        (some & who, seen, sees | word) if is_now else (some & who, seen | word, sees),
                        (some & ~who, seen, sees),
                    )
                    if piece[0]
                ]
    return [(Bits(some), seen, sees) for some, seen, sees in parts]


def _merged(words: Words) -> dict[str, str]:
    return obligations_of(words.values()) if words else {}


def _weaker(selector: str, before: str, after: Mapping[str, str]) -> bool:
    """Whether more may be left of a property; of two that are equally strong nobody can say that it is not."""
    steps = selector.split(".")
    if any(after.get(".".join(steps[:length])) == "drop" for length in range(1, len(steps) + 1)):
        return False  # all that it is a part of goes, or it itself
    now = after.get(selector)
    return now is None or (now != before and strength(now)[0] <= strength(before)[0])


class Impact:
    """What changes for each partner, by number: how much of each sort, and the first `most` of them."""

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self.counts: dict[int, dict[str, int]] = {}
        self.first: dict[int, dict[str, list[Change]]] = {}
        self.widened: dict[int, int] = {}
        """Of how many items a partner gets more than before."""

    def add(self, change: Change) -> None:
        for bit in members(change.to):
            counts = self.counts.setdefault(bit, dict.fromkeys(SORTS, 0))
            counts[change.sort] += 1
            if change.more:
                self.widened[bit] = self.widened.get(bit, 0) + 1
            first = self.first.setdefault(bit, {}).setdefault(change.sort, [])
            if len(first) < self._most:
                first.append(change)
