"""Agreements and policy as bit sets over recipients: one pass over an item decides for all of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING

from schemas.agreement import Agreement, Contributes, Partner, Receives
from schemas.bits import NOBODY, Bits, of, union
from schemas.markings import SHIPPED, Pap, Tlp, level_named

if TYPE_CHECKING:  # a plain value, defined beside what does I/O
    from services.hub import Directory


@dataclass(frozen=True)
class Compiled:
    """The rules' view of all recipients. Every set is within `everyone`: the partners that receive at all.

    `cleared_for[t]` may have what is marked t; `honours[p]` can honour PAP p. `max_age` and `min_confidence`
    pair a bound with those that stated it. `turns` are the moments (ms since 1970) at which agreements begin or
    end, `forces[n]` those whose agreement is in force before `turns[n]` and not before `turns[n - 1]`.
    """

    hash: str
    numbering: str
    everyone: Bits
    number: Mapping[str, Bits]
    turns: tuple[int, ...]
    forces: tuple[Bits, ...]
    cleared_for: Mapping[Tlp, Bits]
    honours: Mapping[Pap, Bits]
    onward: Mapping[str, Bits]
    purposes: Mapping[str, Bits]
    categories: Mapping[str, Bits]
    types: Mapping[str, Bits]
    max_age: tuple[tuple[int, Bits], ...]
    min_confidence: tuple[tuple[int, Bits], ...]
    purpose_sets: tuple[tuple[frozenset[str], Bits], ...]
    """Recipients parted by all the purposes that they use items for."""
    kinds: Mapping[str, Bits]
    governmental: Bits
    """Governments, and whoever a state controls."""
    controlled: Mapping[str, Bits]
    """By state: its government, and whoever it controls."""
    allied: Mapping[str, Bits]
    """By state: the same of the states that a pact allies with it."""
    compelled: Mapping[str, Bits]
    """By state: the private recipients in its jurisdiction."""
    state_capable: frozenset[str]
    sources: Mapping[str, Contributes]
    source_names: Mapping[str, str]
    source_terms: Mapping[str, tuple[int, int]]
    """From when until when (ms since 1970) the agreement of each source is in force."""
    markings: Mapping[str, str]

    def in_force(self, now_ms: int) -> Bits:
        return self.forces[bisect_right(self.turns, now_ms)]

    def next_turn_ms(self, now_ms: int) -> int | None:
        """When the next agreement begins or ends after now, if any does."""
        return next(iter(self.turns[bisect_right(self.turns, now_ms) :]), None)


def compile_policy(directory: Directory) -> Compiled:
    """Compiles what the directory holds. A partner that only contributes is in no set."""
    agreements = directory.agreements
    receives = {name: a.receives for name, a in agreements.items() if a.receives}
    number = {name: of([directory.bit_of[name]]) for name in receives}

    def who(holds: Callable[[Receives], bool]) -> Bits:
        return union(number[name] for name, terms in receives.items() if holds(terms))

    def by(values: Callable[[Receives], Iterable[str]]) -> dict[str, Bits]:
        sets: dict[str, Bits] = defaultdict(lambda: NOBODY)
        for name, terms in receives.items():
            for value in values(terms):
                sets[value] = Bits(sets[value] | number[name])
        return dict(sets)

    def bounds(value: Callable[[Receives], int]) -> tuple[tuple[int, Bits], ...]:
        distinct = sorted({value(terms) for terms in receives.values()})
        return tuple((bound, who(partial(_equals, value, bound))) for bound in distinct)

    partners = _partners(agreements, number)
    controlled = _joined((state, number[p.id]) for p in partners for state in _states_of(p))
    terms = [(_midnight_ms(p.starts), _midnight_ms(p.ends), number[p.id]) for p in partners]
    turns = tuple(sorted({at for starts, ends, _ in terms for at in (starts, ends)}))

    def in_force(at_ms: int) -> Bits:
        return union(who for starts, ends, who in terms if starts <= at_ms < ends)

    return Compiled(
        hash=directory.policy_hash,
        numbering=directory.numbering,
        everyone=union(number.values()),
        number=number,
        turns=turns,
        forces=tuple(in_force(before) for before in (turns[0] - 1, *turns)) if turns else (NOBODY,),
        cleared_for={tlp: who(partial(_up_to, tlp)) for tlp in Tlp},
        honours={pap: who(partial(_up_to, pap)) for pap in Pap},
        onward=by(lambda terms: [terms.onward]),
        purposes=by(lambda terms: terms.purposes),
        categories=by(lambda terms: terms.categories),
        types=by(lambda terms: terms.types),
        max_age=bounds(lambda terms: terms.max_age_days),
        min_confidence=bounds(lambda terms: terms.min_confidence),
        purpose_sets=_purpose_sets(receives, number),
        kinds=_joined((p.kind, number[p.id]) for p in partners),
        governmental=union(controlled.values()),
        controlled=controlled,
        allied=_allied(controlled, directory.policy.pacts),
        compelled=_joined((p.jurisdiction, number[p.id]) for p in partners if not _states_of(p)),
        state_capable=frozenset(directory.policy.state_capable),
        sources={name: a.contributes for name, a in agreements.items() if a.contributes},
        source_names={name: a.partner.name for name, a in agreements.items() if a.contributes},
        source_terms={
            name: (_midnight_ms(a.partner.starts), _midnight_ms(a.partner.ends))
            for name, a in agreements.items()
            if a.contributes
        },
        markings={**SHIPPED, **directory.policy.markings},
    )


def _partners(agreements: Mapping[str, Agreement], names: Iterable[str]) -> list[Partner]:
    return [agreements[name].partner for name in names]


def _states_of(partner: Partner) -> frozenset[str]:
    """The states that control it; a government is controlled by its own."""
    return frozenset((*partner.controlled_by, *([partner.jurisdiction] if partner.kind == "government" else ())))


def _joined(pairs: Iterable[tuple[str, Bits]]) -> dict[str, Bits]:
    sets: dict[str, Bits] = {}
    for name, who in pairs:
        sets[name] = Bits(sets.get(name, NOBODY) | who)
    return sets


def _allied(controlled: Mapping[str, Bits], pacts: Iterable[tuple[str, str]]) -> dict[str, Bits]:
    both_ways = [pair for one, other in pacts for pair in ((one, other), (other, one))]
    return _joined((state, controlled.get(ally, NOBODY)) for state, ally in both_ways)


def _purpose_sets(
    receives: Mapping[str, Receives], number: Mapping[str, Bits]
) -> tuple[tuple[frozenset[str], Bits], ...]:
    sets: dict[frozenset[str], Bits] = {}
    for name, terms in receives.items():
        purposes = frozenset[str](terms.purposes)
        sets[purposes] = Bits(sets.get(purposes, NOBODY) | number[name])
    return tuple(sets.items())


def _equals(value: Callable[[Receives], int], bound: int, terms: Receives) -> bool:
    return value(terms) == bound


def _up_to(level: Tlp | Pap, terms: Receives) -> bool:
    ceiling = level_named(terms.tlp) if isinstance(level, Tlp) else level_named(f"pap:{terms.pap}")
    return ceiling is not None and ceiling >= level


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
