"""What the rules look at: one contribution with its source's defaults filled in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from schemas.agreement import Contributes, Defaults
from schemas.bits import Bits, from_hex, union
from schemas.fingerprint import Ioc
from schemas.handling import PURPOSES, Consent, Handling
from schemas.known import Contribution, Known
from schemas.markings import STATEMENT, Pap, Resolved, Tlp, level_named, resolve
from services.enrich.context import Context
from services.govern.compile import Compiled
from services.govern.redact import Subject, whole
from services.govern.references import Ends, ends_of, robbed

_NO_TERMS = Defaults()
T = TypeVar("T")


class Mark(NamedTuple):
    """A granular marking: its level (None: a statement, which binds nobody), and what it selects."""

    id: str
    level: Tlp | Pap | None
    selectors: tuple[str, ...]


class Facts(NamedTuple):
    """One contribution, as the rules see it. Times are ms since 1970; `newest_ms` is the newest of modified and
    last seen. `category` None is unclassified, `default_category` what the source says where an item does not;
    `enriched` is what enrichment makes of the source's words, or "".

    `suspects` are of the item: all states that any of its unrevoked contributions from sources of reliability A to
    C suspects, None where none of these says anything of it; `own_suspects` are those of this contribution,
    however reliable. `followed` are those who may have something that refers to the item, `robbed` those to whom it
    would show what is kept from them in silence. `look` says what local data say of a value.
    """

    type: str
    kind: str
    value: str
    tlp: Tlp | None
    pap: Pap | None
    markings: Resolved
    granular: tuple[Mark, ...]
    unresolved: bool
    handling: Handling
    category: str | None
    default_category: str | None
    enriched: str
    affected: tuple[str, ...] | None
    purposes: frozenset[str]
    consent: str
    grant: Consent | None
    published: bool
    confidence: int | None
    revoked: bool
    gone: bool
    ends: Ends
    followed: Bits
    robbed: Bits
    protected: bool
    probation: bool
    suspects: frozenset[str] | None
    own_suspects: frozenset[str]
    newest_ms: int
    now_ms: int
    contribution: Contribution
    look: Callable[[Ioc], Context]

    @property
    def subject(self) -> Subject:
        """What selectors point into."""
        return Subject(self.type, self.kind, self.value, whole(self.contribution, self.affected))


class Around(NamedTuple):
    """What is known beside the contribution: of the item by enrichment (`protected`: people's own site or account),
    of this source's words (`enriched`), its fingerprint in hex, how to look further, and the clock."""

    own: str
    protected: bool
    enriched: str
    look: Callable[[Ioc], Context]
    now_ms: int


def facts_of(known: Known, source: str, contribution: Contribution, compiled: Compiled, around: Around) -> Facts:
    """The facts of one contribution. What it states comes before its source's defaults.

    Raises what handling that can't be read raises: an error denies.
    """
    terms: Contributes | None = compiled.sources.get(source)
    defaults = terms.defaults if terms else _NO_TERMS
    handling = Handling.model_validate(contribution.handling)
    markings = resolve(contribution.markings, compiled.markings)
    granular = tuple(_marks(contribution, compiled)) if contribution.granular else ()
    default_tlp = level_named(defaults.tlp) if defaults.tlp else None
    default_pap = level_named(f"pap:{defaults.pap}") if defaults.pap else None
    confidence = contribution.object.get("confidence")
    if terms and terms.attribution == "must-not" and contribution.references:
        contribution = _unattributed(contribution)
    return Facts(
        type=known.type,
        kind=known.kind,
        value=contribution.value or known.value,
        tlp=markings.tlp or (default_tlp if isinstance(default_tlp, Tlp) else None),
        # of PAP the stricter: one more marking on an item never widens, and here the default may be what narrows
        pap=max((p for p in (markings.pap, default_pap) if isinstance(p, Pap)), default=None),
        markings=markings,
        granular=granular,
        unresolved=bool(markings.unresolved) or len(granular) < len(contribution.granular),
        handling=handling,
        category=handling.category or defaults.category,
        default_category=defaults.category,
        enriched=around.enriched,
        affected=_stated(handling.affected, defaults.affected, None),
        purposes=frozenset(_stated(handling.purposes, defaults.purposes, PURPOSES)),
        consent=_consent(contribution, handling, defaults),
        grant=handling.consent,
        published=_stated(handling.published, defaults.published, False),
        confidence=confidence if isinstance(confidence, int) else defaults.confidence,
        revoked=contribution.revoked or contribution.withdrawn == "revoked",
        gone=contribution.gone,
        ends=ends_of(known.type, contribution.references, known.ends, compiled.everyone, around.own),
        followed=union(map(from_hex, known.wanted.values())),
        robbed=robbed(known, around.own),
        protected=around.protected,
        probation=terms is None or (terms.probation and not _released(source, contribution, compiled, around)),
        suspects=_suspects(known, compiled),
        own_suspects=frozenset(handling.suspects or ()),
        newest_ms=max(contribution.modified_ms, contribution.last_seen_ms),
        now_ms=around.now_ms,
        contribution=contribution,
        look=around.look,
    )


def _released(source: str, contribution: Contribution, compiled: Compiled, around: Around) -> bool:
    """Staff release what is said under an agreement: one that was taken away is on probation, too."""
    starts_ms, ends_ms = compiled.source_terms.get(source, (0, 0))
    return contribution.released and starts_ms <= around.now_ms < ends_ms


def _marks(contribution: Contribution, compiled: Compiled) -> Iterator[Mark]:
    """The granular markings that are resolved."""
    for id_, selectors in contribution.granular:
        found = resolve((id_,), compiled.markings)
        if not found.unresolved:
            yield Mark(id_, found.tlp or found.pap, selectors)


def _unattributed(contribution: Contribution) -> Contribution:
    """Without what names its author: the source agreed to share on that condition only."""
    references = tuple(pair for pair in contribution.references if pair[0] != "created_by_ref")
    return contribution.model_copy(update={"references": references})


def _consent(contribution: Contribution, handling: Handling, defaults: Defaults) -> str:
    if contribution.withdrawn == "consent":
        return "withdrawn"
    return handling.consent.status if handling.consent else defaults.consent or "unknown"


def _suspects(known: Known, compiled: Compiled) -> frozenset[str] | None:
    """That nobody is suspected lets others' words go to more: on probation no source is believed that."""
    said = [
        states
        for source, word in known.contributions.items()
        if (states := word.handling.get("suspects")) is not None and not (word.revoked or word.gone)
        if (terms := compiled.sources.get(source))
        and terms.reliability in "ABC"
        and (states or not terms.probation)
    ]
    return frozenset(state for states in said for state in states) if said else None


def _stated(own: T | None, default: T | None, otherwise: T) -> T:
    """What the item states, else its source's default; an empty list is a statement."""
    return own if own is not None else default if default is not None else otherwise


def provenance(facts: Facts, source: str, compiled: Compiled) -> dict[str, Any]:
    """For staff: the facts of a contribution, each as [value, where it comes from]."""
    terms = compiled.sources.get(source)
    defaults = terms.defaults if terms else _NO_TERMS
    handling = facts.handling
    own_tlp, own_pap = facts.markings.tlp, facts.markings.pap

    def of(name: str, value: Any, stated: bool) -> list[Any]:
        default = getattr(defaults, name) is not None
        return [value, "the object" if stated else "the source's default" if default else "absent"]

    shown: dict[str, Any] = {
        "tlp": of("tlp", facts.tlp.label if facts.tlp else None, own_tlp is not None),
        "pap": of("pap", facts.pap.label if facts.pap else None, own_pap is not None),
        "consent": of("consent", facts.consent, handling.consent is not None),
        "category": of("category", facts.category, handling.category is not None),
        "affected": of("affected", facts.affected, handling.affected is not None),
        "purposes": of("purposes", sorted(facts.purposes), handling.purposes is not None),
        "published": of("published", facts.published, handling.published is not None),
        "confidence": of("confidence", facts.confidence, "confidence" in facts.contribution.object),
        "suspects": [
            None if facts.suspects is None else sorted(facts.suspects),
            "all sources of reliability A to C",
        ],
    }
    if facts.contribution.withdrawn:
        shown["withdrawn"] = [facts.contribution.withdrawn, "the source's withdrawal"]
    if facts.contribution.withdrawn == "consent":
        shown["consent"] = [facts.consent, "the source's withdrawal"]
    if facts.enriched:
        shown["category_found"] = [facts.enriched, "enrichment"]
    if facts.granular:
        shown["granular"] = [
            {mark.level.label if mark.level else STATEMENT: list(mark.selectors) for mark in facts.granular},
            "the object",
        ]
    if handling.personal:
        shown["personal"] = [dict(handling.personal), "the object"]
    if handling.embargo:
        shown["embargo"] = [handling.embargo.model_dump(), "the object"]
    if facts.protected:
        shown["protected"] = [True, "the protected assets"]
    return shown
