"""What a change of agreements and policy means, in words, and what of it may be in force before it is confirmed.

A change *widens* unless it certainly only narrows: somebody could get, or pass on, what was denied before. What
widens waits for its confirmation by name; what narrows does not wait for anything, so that `in_force` mixes old and
new: for each key the narrower of both. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import orjson
from pydantic import BaseModel

from schemas.agreement import POLICY, Agreement, Contributes, Defaults, Onward, Partner, Policy, Receives, Rulebook
from schemas.errors import clip
from schemas.markings import PREFIX, SHIPPED, STATEMENT, Tlp, level_named, resolve

T = TypeVar("T")

_ONWARD: tuple[Onward, ...] = ("none", "clients", "community")
_REACHES: Mapping[str, Tlp] = {"none": Tlp.RED, "clients": Tlp.AMBER, "community": Tlp.GREEN}
"""F02: the highest level that goes to those who pass on so far."""
_ATTRIBUTION = ("must-not", "may", "must")
_CONSENT = ("withdrawn", "unknown", "granted", "not-required")
_SUSPECTS_COUNT = "ABC"
"""F04: a state that a source of this reliability suspects gets nothing of the item, whoever else reports it."""


class Change(NamedTuple):
    """One change: `name` is a partner's id, or POLICY for what is no partner's; `what` is a sentence."""

    name: str
    what: str
    widens: bool


def changes(old: Rulebook, new: Rulebook) -> tuple[Change, ...]:
    """All that differs, partner by partner, the policy last."""
    found: list[Change] = []
    for name in sorted({*old.agreements, *new.agreements}):
        found += _of_agreement(name, old.agreements.get(name), new.agreements.get(name))
    return (*found, *_of_policy(old.policy, new.policy))


def widening(old: Rulebook, new: Rulebook) -> dict[str, str]:
    """What has to be confirmed before `new` is in force as a whole: by name, a digest of what its content was and
    becomes. A confirmation is for this transition and for no other."""
    names = dict.fromkeys(change.name for change in changes(old, new) if change.widens)
    return {name: _transition(_part(old, name), _part(new, name)) for name in names}


def in_force(old: Rulebook, new: Rulebook, confirmed: Collection[str]) -> Rulebook:
    """What of `new` may be in force when these names are confirmed: they as a whole, and so is what does not widen;
    of the others what narrows."""
    held = widening(old, new).keys() - set(confirmed)
    agreements: dict[str, Agreement] = {}
    for name in sorted({*old.agreements, *new.agreements}):
        before, after = old.agreements.get(name), new.agreements.get(name)
        kept = _narrower_agreement(before, after) if name in held else after
        if kept is not None:
            agreements[name] = kept
    policy = _narrower_policy(old.policy, new.policy) if POLICY in held else new.policy
    return Rulebook(agreements, policy)


def _part(rules: Rulebook, name: str) -> Agreement | Policy | None:
    return rules.policy if name == POLICY else rules.agreements.get(name)


def _transition(old: Agreement | Policy | None, new: Agreement | Policy | None) -> str:
    both = [part and part.model_dump(mode="json") for part in (old, new)]
    return hashlib.sha256(orjson.dumps(both, option=orjson.OPT_SORT_KEYS)).hexdigest()


# -- agreements -------------------------------------------------------------------------------------------


_TOLD: Mapping[type[BaseModel], frozenset[str]] = {
    Agreement: frozenset(("partner", "receives", "contributes", "respond")),
    Partner: frozenset(("id", "name", "kind", "jurisdiction", "controlled_by", "starts", "ends")),
    Receives: frozenset(
        (
            *("tlp", "pap", "onward", "purposes", "categories", "types", "max_age_days", "min_confidence"),
            "collections",
        )
    ),
    Contributes: frozenset(
        ("reliability", "defaults", "attribution", "probation", "distribution", "strict", "snapshot", "csv")
    ),
    Defaults: frozenset(("tlp", "pap", "purposes", "consent", "category", "affected", "published", "confidence")),
    Policy: frozenset(("pacts", "state_capable", "markings", "statistics_k", "retention_days", "confirmations")),
}
"""The keys whose meaning is known below."""


def _untold(old: BaseModel, new: BaseModel) -> Iterator[tuple[str, bool]]:
    """A key whose meaning nobody wrote down here may widen anything, and keeps its old value until confirmed."""
    for key in type(new).model_fields.keys() - _TOLD[type(new)]:
        if getattr(old, key) != getattr(new, key):
            yield f"has another {key}", True


def _of_agreement(name: str, old: Agreement | None, new: Agreement | None) -> Iterator[Change]:
    """`name` is a partner's id."""
    if old == new:
        return
    if old is None and new is not None:
        yield Change(name, f"is a new partner: {_introduced(new)}", True)
    elif old is not None and new is not None and old == _narrower_agreement(new, None):
        # taken away, which waits for its confirmation, and put back
        yield Change(name, f"is a partner again, as before it was taken away: {_introduced(new)}", True)
    elif new is None and old is not None:
        what = "is no partner any more: it gets withdrawals only, and nothing of its is shared"
        yield Change(name, what + _suspicions_lost(old.contributes, None), _loses_suspicions(old.contributes, None))
    elif old is not None and new is not None:
        told: Iterable[tuple[str, bool]] = (
            *_of_partner(old.partner, new.partner),
            *_of_receives(old.receives, new.receives),
            *_of_contributes(old.contributes, new.contributes),
            *([] if old.respond == new.respond else [("agreed on other times to respond", False)]),
            *_untold(old, new),
        )
        yield from (Change(name, what, widens) for what, widens in told)


def _introduced(new: Agreement) -> str:
    partner, receives = new.partner, new.receives
    who = f"{clip(partner.name, 200)}, {partner.kind} in {partner.jurisdiction}"
    if partner.controlled_by:
        who += f", controlled by {_list(partner.controlled_by)}"
    takes = "receives nothing"
    if receives:
        takes = f"receives up to TLP:{receives.tlp.upper()} and passes on to {receives.onward}"
    return f"{who}; {takes}, {'contributes' if new.contributes else 'does not contribute'}"


def _of_partner(old: Partner, new: Partner) -> Iterator[tuple[str, bool]]:
    if old.name != new.name:
        yield f"is called {clip(new.name, 200)!r}, was {clip(old.name, 200)!r}: it may be somebody else", True
    if old.kind != new.kind:
        yield f"is a {new.kind}, was a {old.kind}: consent is given to kinds, and governments get less", True
    if old.jurisdiction != new.jurisdiction:
        what = f"is in {new.jurisdiction}, was in {old.jurisdiction}"
        yield f"{what}: what {old.jurisdiction} may not learn is no longer kept from it", True
    added, gone = _differ(old.controlled_by, new.controlled_by)
    if gone:
        yield f"is no longer controlled by {_list(gone)}: what these states may not learn it may get", True
    if added:
        yield f"is controlled by {_list(added)}", False
    if old.starts != new.starts:
        yield f"begins on {new.starts}, not on {old.starts}", new.starts < old.starts
    if old.ends != new.ends:
        yield f"ends on {new.ends}, not on {old.ends}", new.ends > old.ends
    yield from _untold(old, new)


def _of_receives(old: Receives | None, new: Receives | None) -> Iterator[tuple[str, bool]]:
    if old is None or new is None:
        if new is not None:
            yield f"receives, up to TLP:{new.tlp.upper()}, and did not", True
        elif old is not None:
            yield "receives nothing any more", False
        return
    if old.tlp != new.tlp:
        yield f"is cleared up to TLP:{new.tlp.upper()}, was up to {old.tlp.upper()}", _tlp(new.tlp) > _tlp(old.tlp)
    if old.pap != new.pap:
        yield f"honours up to PAP:{new.pap.upper()}, did up to {old.pap.upper()}", _level(new.pap) > _level(old.pap)
    if old.onward != new.onward:
        yield _onward(old, new)
    yield from _words("uses it to", old.purposes, new.purposes)
    yield from _words("takes the categories", old.categories, new.categories)
    yield from _words("takes the types", old.types, new.types)
    if old.max_age_days != new.max_age_days:
        what = f"takes what is up to {new.max_age_days} days old, not {old.max_age_days}"
        yield what, new.max_age_days > old.max_age_days
    if old.min_confidence != new.min_confidence:
        what = f"asks for a confidence of {new.min_confidence}, not {old.min_confidence}"
        yield what, new.min_confidence < old.min_confidence
    if old.collections != new.collections:  # it finds there what is in its feed anyway
        yield f"has TAXII collections of {_list(new.collections) or 'no categories'} beside its feed", False
    yield from _untold(old, new)


def _onward(old: Receives, new: Receives) -> tuple[str, bool]:
    what = f"passes on to {new.onward}, not to {old.onward}"
    if _ONWARD.index(new.onward) > _ONWARD.index(old.onward):
        return f"{what}: what it gets goes further", True
    # who keeps more to itself may have more: RED and AMBER+STRICT ask for it
    before, after = (min(_tlp(terms.tlp), _REACHES[terms.onward]) for terms in (old, new))
    return (f"{what}: so it gets up to TLP:{after.label.upper()}", True) if after > before else (what, False)


def _of_contributes(old: Contributes | None, new: Contributes | None) -> Iterator[tuple[str, bool]]:
    if old is None or new is None:
        if new is not None:
            yield "contributes, and did not: what it says is shared", True
        elif old is not None:
            what = "contributes nothing any more" + _suspicions_lost(old, None)
            yield what, _loses_suspicions(old, None)
        return
    if old.reliability != new.reliability:
        what = f"is of reliability {new.reliability}, was {old.reliability}{_suspicions_lost(old, new)}"
        what += "; that it suspects nobody counts from now on" if _loses_suspicions(new, old) else ""
        yield what, _changes_suspicions(old, new)
    yield from _of_defaults(old.defaults, new.defaults)
    if old.attribution != new.attribution:
        what = f"{new.attribution} be named as the source, was {old.attribution}"
        yield what, _ATTRIBUTION.index(new.attribution) > _ATTRIBUTION.index(old.attribution)
    if old.probation != new.probation:
        yield (
            ("is on probation" if new.probation else "is on probation no longer: what it says is shared"),
            (not new.probation),
        )
    if old.distribution != new.distribution:
        what = "MISP's distribution of what it sends " + ("counts" if new.distribution == "marks" else "is ignored")
        yield what, new.distribution == "ignore"
    if old.strict != new.strict:
        yield (
            f"what it sends is {'' if new.strict else 'not '}refused where it is not strictly valid",
            not new.strict,
        )
    if old.snapshot != new.snapshot:
        what = "" if new.snapshot else "not "
        yield f"what its next snapshot lacks is {what}withdrawn", not new.snapshot
    if old.csv != new.csv:
        yield "other columns of its CSV say what is what, markings among it", True
    yield from _untold(old, new)


def _loses_suspicions(old: Contributes | None, new: Contributes | None) -> bool:
    counted, counts = (terms is not None and terms.reliability in _SUSPECTS_COUNT for terms in (old, new))
    return counted and not counts


def _changes_suspicions(old: Contributes, new: Contributes) -> bool:
    """Either way somebody may get more: a state is suspected no longer (F04), or it counts that none is (F05)."""
    return _loses_suspicions(old, new) or _loses_suspicions(new, old)


def _suspicions_lost(old: Contributes | None, new: Contributes | None) -> str:
    return "; states that it suspects are suspected no longer" if _loses_suspicions(old, new) else ""


def _of_defaults(old: Defaults, new: Defaults) -> Iterator[tuple[str, bool]]:
    for key, (widens, _) in _DEFAULTS.items():
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            yield f"its items are by default of {key} {_said(after)}, were {_said(before)}", widens(before, after)
    yield from _untold(old, new)


def _up(rank: Callable[[Any], int]) -> tuple[Callable[[Any, Any], bool], Callable[[Any, Any], Any]]:
    """A key that widens as its rank rises: whether a change does, and the narrower of two."""
    return lambda old, new: rank(new) > rank(old), lambda old, new: min(old, new, key=rank)


def _fixed() -> tuple[Callable[[Any, Any], bool], Callable[[Any, Any], Any]]:
    """A key of which no value is narrower than another."""
    return lambda old, new: bool(old != new), lambda old, new: old


def _affected_widens(old: Sequence[str] | None, new: Sequence[str] | None) -> bool:
    # with it, F05 shuts out whom these states could compel; without it, all governments
    return old is None or new is None or not set(new) >= set(old)


_DEFAULTS: Mapping[str, tuple[Callable[[Any, Any], bool], Callable[[Any, Any], Any]]] = {
    "tlp": _up(lambda word: -99 if word is None else -_tlp(word)),
    "pap": _up(lambda word: 0 if word is None else -_level(word)),
    "purposes": (
        lambda old, new: old is not None and (new is None or not set(new) <= set(old)),
        lambda old, new: old if new is None else new if old is None else _common(old, new),
    ),
    "consent": _up(lambda word: _CONSENT.index(word or "unknown")),
    "category": _fixed(),  # F05 or P00: each is narrower for some
    "affected": (
        _affected_widens,
        lambda old, new: old if old is None or new is None else (*old, *(s for s in new if s not in old)),
    ),
    "published": _up(bool),
    "confidence": _up(lambda number: -1 if number is None else number),
}
"""By key of `defaults`: whether a change widens, and the narrower of two values."""


# -- the narrower of both ---------------------------------------------------------------------------------


def _narrower_agreement(old: Agreement | None, new: Agreement | None) -> Agreement | None:
    """What is permitted under neither is not permitted under this. None: no partner."""
    if old is None:
        return None
    partner, term = _narrower_partner(old.partner, None if new is None else new.partner)
    same = new is not None and old.partner.kind == new.partner.kind
    same = same and new is not None and old.partner.jurisdiction == new.partner.jurisdiction
    # of two kinds or jurisdictions each is narrower for some item: until one is confirmed, nothing is
    receives = new and old.receives and new.receives and _narrower_receives(old.receives, new.receives)
    contributes = old.contributes and _narrower_contributes(old.contributes, new.contributes if new else None)
    kept = {
        "partner": partner,
        "receives": (receives or None) if same and term else None,
        "contributes": contributes,
        "respond": old.respond if new is None else new.respond,
    }
    return old.model_copy(update=kept)


def _narrower_partner(old: Partner, new: Partner | None) -> tuple[Partner, bool]:
    """And whether there is a day that is in the term of both."""
    if new is None:
        return old.model_copy(update={"ends": min(old.ends, old.starts + timedelta(days=1))}), False
    starts, ends = max(old.starts, new.starts), min(old.ends, new.ends)
    term = {"starts": starts, "ends": ends} if starts < ends else {}
    states = (*old.controlled_by, *(s for s in new.controlled_by if s not in old.controlled_by))
    return old.model_copy(update={"controlled_by": states, **term}), bool(term)


def _narrower_receives(old: Receives, new: Receives) -> Receives:
    ceilings = [_tlp(old.tlp), _tlp(new.tlp)]
    if old.onward != new.onward:  # the stricter of both lets in what the other keeps out
        ceilings += [_REACHES[old.onward], _REACHES[new.onward]]
    kept = {
        "tlp": min(ceilings).label,
        "pap": min(old.pap, new.pap, key=_level),
        "onward": min(old.onward, new.onward, key=_ONWARD.index),
        "purposes": _common(old.purposes, new.purposes),
        "categories": _common(old.categories, new.categories),
        "types": _common(old.types, new.types),
        "max_age_days": min(old.max_age_days, new.max_age_days),
        "min_confidence": max(old.min_confidence, new.min_confidence),
        "collections": new.collections,
    }
    return old.model_copy(update=kept)


def _narrower_contributes(old: Contributes, new: Contributes | None) -> Contributes:
    """One that is to be taken away says nothing more to anybody, but goes on suspecting whom it suspected."""
    if new is None:
        return old.model_copy(update={"probation": True})
    kept = {
        "reliability": old.reliability if _changes_suspicions(old, new) else new.reliability,
        "defaults": _narrower_defaults(old.defaults, new.defaults),
        "attribution": min(old.attribution, new.attribution, key=_ATTRIBUTION.index),
        "probation": old.probation or new.probation,
        "distribution": new.distribution if old.distribution == "ignore" else old.distribution,
        "strict": old.strict or new.strict,
        "snapshot": old.snapshot or new.snapshot,
    }
    return old.model_copy(update=kept)


def _narrower_defaults(old: Defaults, new: Defaults) -> Defaults:
    values = {key: narrower(getattr(old, key), getattr(new, key)) for key, (_, narrower) in _DEFAULTS.items()}
    if values["tlp"] != "clear":
        values["published"] = None if values["published"] is None else False
    return old.model_copy(update=values)


# -- the policy -------------------------------------------------------------------------------------------


def _of_policy(old: Policy, new: Policy) -> Iterator[Change]:
    added, gone = _differ(_pairs(old.pacts), _pairs(new.pacts))
    for pair in added:
        yield Change(POLICY, f"{_list(pair)} are treated as allied", False)
    for pair in gone:
        yield Change(POLICY, f"{_list(pair)} are no longer treated as allied", True)
    added_, gone_ = _differ(old.state_capable, new.state_capable)
    if added_:
        yield Change(POLICY, f"a state may stand behind {_list(added_)}", False)
    if gone_:
        yield Change(POLICY, f"no state is thought to stand behind {_list(gone_)}", True)
    for id_ in sorted({*old.markings, *new.markings}):
        if old.markings.get(id_) != new.markings.get(id_):
            before, after = (_meant(rules, id_) for rules in (old, new))
            what = f"the marking {clip(id_)} is {_said(after)}, was {_said(before)}"
            yield Change(POLICY, what, _marking_widens(old, new, id_))
    for key, what, rises in (
        ("statistics_k", "public statistics show no count below", False),
        ("retention_days", "things are kept for days:", True),
        ("confirmations", "members of staff who must confirm what widens:", False),
    ):
        one, other = getattr(old, key), getattr(new, key)
        if one != other:
            yield Change(POLICY, f"{what} {other}, was {one}", (other > one) is rises)
    yield from (Change(POLICY, what, widens) for what, widens in _untold(old, new))


def _pairs(pacts: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    return [tuple(sorted(pact)) for pact in pacts]


def _spellings(id_: str) -> tuple[str, ...]:
    """As an item may carry it."""
    return tuple(dict.fromkeys(PREFIX + form.removeprefix(PREFIX) for form in (id_, id_.lower())))


def _meant(rules: Policy, id_: str) -> str | None:
    return rules.markings.get(id_) or SHIPPED.get(PREFIX + id_.lower().removeprefix(PREFIX))


def _marking_widens(old: Policy, new: Policy, id_: str) -> bool:
    """Unless it is denied from now on, or stands for a stricter level of the same protocol."""
    for spelling in _spellings(id_):
        before, after = (resolve((spelling,), {**SHIPPED, **rules.markings}) for rules in (old, new))
        stricter = (before.tlp is not None and after.tlp is not None and after.tlp >= before.tlp) or (
            before.pap is not None and after.pap is not None and after.pap >= before.pap
        )
        if not (after.unresolved or stricter or before == after):
            return True
    return False


def _narrower_policy(old: Policy, new: Policy) -> Policy:
    pacts = (*old.pacts, *(pact for pact in new.pacts if tuple(sorted(pact)) not in _pairs(old.pacts)))
    capable = (*old.state_capable, *(c for c in new.state_capable if c not in old.state_capable))
    markings: dict[str, str] = {}
    for id_ in {*old.markings, *new.markings}:
        chosen = old.markings.get(id_) if _marking_widens(old, new, id_) else new.markings.get(id_)
        if chosen is not None:
            markings[id_] = chosen
    kept = {
        "pacts": pacts,
        "state_capable": capable,
        "markings": markings,
        "statistics_k": max(old.statistics_k, new.statistics_k),
        "retention_days": min(old.retention_days, new.retention_days),
        "confirmations": max(old.confirmations, new.confirmations),
    }
    held = old.model_copy(update=kept)
    # two spellings of one id, each chosen by itself, could mean together what neither file says
    if any(_marking_widens(old, held, id_) for id_ in {*old.markings, *markings}):
        return held.model_copy(update={"markings": old.markings})
    return held


# -- shared -----------------------------------------------------------------------------------------------


def _tlp(word: str) -> Tlp:
    level = level_named(word)
    if not isinstance(level, Tlp):
        raise ValueError(f"{word!r} is no level of TLP")
    return level


def _level(word: str) -> int:
    """Of PAP."""
    level = level_named(f"pap:{word}")
    if level is None:
        raise ValueError(f"{word!r} is no level of PAP")
    return int(level)


def _words(what: str, old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, bool]]:
    if set(old) != set(new):
        within = "*" in old or ("*" not in new and set(new) <= set(old))
        yield f"{what} {_list(new) or 'nothing'}, was {_list(old) or 'nothing'}", not within


def _common(old: tuple[T, ...], new: tuple[T, ...]) -> tuple[T, ...]:
    if "*" in old:
        return new
    return old if "*" in new else tuple(word for word in old if word in new)


def _differ(old: Iterable[T], new: Iterable[T]) -> tuple[list[T], list[T]]:
    before, after = list(dict.fromkeys(old)), list(dict.fromkeys(new))
    return [x for x in after if x not in before], [x for x in before if x not in after]


def _list(words: Iterable[str]) -> str:
    return ", ".join("all" if word == "*" else word for word in words)


def _said(value: object) -> str:
    if value is None:
        return "unstated"
    if isinstance(value, tuple):
        return _list(map(str, value)) or "none"
    return {"True": "yes", "False": "no", STATEMENT: "a statement"}.get(str(value), clip(value))
