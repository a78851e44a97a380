"""What the rules look at: one contribution with its source's defaults filled in."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from schemas.agreement import Contributes, Defaults
from schemas.handling import PURPOSES, Handling
from schemas.known import Contribution, Known
from schemas.markings import Pap, Resolved, Tlp, level_named, resolve
from services.govern.compile import Compiled
from services.govern.references import Ends, ends_of

_NO_TERMS = Defaults()
T = TypeVar("T")


class Facts(NamedTuple):
    """One contribution, as the rules see it. Times are ms since 1970; `newest_ms` is the newest of modified and
    last seen. `category` None is unclassified. `suspects` are of the item: all states that any of its unrevoked
    contributions from sources of reliability A to C suspects."""

    type: str
    tlp: Tlp | None
    pap: Pap | None
    markings: Resolved
    granular: bool
    handling: Handling
    category: str | None
    purposes: frozenset[str]
    consent: str
    published: bool
    confidence: int | None
    revoked: bool
    gone: bool
    ends: Ends
    protected: bool
    probation: bool
    suspects: frozenset[str]
    newest_ms: int
    now_ms: int


def facts_of(
    known: Known,
    source: str,
    contribution: Contribution,
    compiled: Compiled,
    protected: bool,
    now_ms: int,
    own: str = "",
) -> Facts:
    """The facts of one contribution. What it states comes before its source's defaults.

    `protected` says that the item is people's own site or account; `own` is its fingerprint in hex.
    """
    terms: Contributes | None = compiled.sources.get(source)
    defaults = terms.defaults if terms else _NO_TERMS
    handling = Handling.model_validate(contribution.handling)
    markings = resolve(contribution.markings, compiled.markings)
    default_tlp = level_named(defaults.tlp) if defaults.tlp else None
    default_pap = level_named(f"pap:{defaults.pap}") if defaults.pap else None
    confidence = contribution.object.get("confidence")
    return Facts(
        type=known.type,
        tlp=markings.tlp or (default_tlp if isinstance(default_tlp, Tlp) else None),
        pap=markings.pap or (default_pap if isinstance(default_pap, Pap) else None),
        markings=markings,
        granular=bool(contribution.granular),
        handling=handling,
        category=handling.category or defaults.category,
        purposes=frozenset(_stated(handling.purposes, defaults.purposes, PURPOSES)),
        consent=handling.consent.status if handling.consent else defaults.consent or "unknown",
        published=_stated(handling.published, defaults.published, False),
        confidence=confidence if isinstance(confidence, int) else defaults.confidence,
        revoked=contribution.revoked,
        gone=contribution.gone,
        ends=ends_of(known.type, contribution.references, known.ends, compiled.everyone, own),
        protected=protected,
        probation=terms.probation if terms else True,
        suspects=_suspects(known, compiled),
        newest_ms=max(contribution.modified_ms, contribution.last_seen_ms),
        now_ms=now_ms,
    )


def _suspects(known: Known, compiled: Compiled) -> frozenset[str]:
    return frozenset(
        state
        for source, word in known.contributions.items()
        if word.handling.get("suspects") and not (word.revoked or word.gone)
        if (terms := compiled.sources.get(source)) and terms.reliability in "ABC"
        for state in word.handling["suspects"]
    )


def _stated(own: T | None, default: T | None, otherwise: T) -> T:
    """What the item states, else its source's default; an empty list is a statement."""
    return own if own is not None else default if default is not None else otherwise
