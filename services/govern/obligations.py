"""What may leave of an object: the allow-list of properties per type, and the merge of contributions.

References are in no list: those that leave are in `services.govern.references`, all others are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.enrichment import extension
from schemas.fingerprint import Ioc
from schemas.handling import HANDLING_ID, PURPOSES
from schemas.known import Contribution, Feedback, Known
from schemas.markings import Pap, Tlp, from_tag, marking_id
from schemas.patterns import generate
from schemas.timestamps import format_time, parse_time
from services.enrich.context import Context
from services.enrich.view import Heard, Named, View, view
from services.govern.facts import Facts

_COMMON = ("confidence", "labels", "lang", "external_references")
_NAMED = ("name", "description", *_COMMON)
_PLACE = ("latitude", "longitude", "precision")
ALLOWED: Mapping[str, tuple[str, ...]] = {
    "indicator": (
        *("name", "description", "indicator_types", "pattern", "pattern_type", "pattern_version"),
        *("valid_from", "valid_until", "kill_chain_phases", *_COMMON),
    ),
    "malware": (
        *("malware_types", "is_family", "aliases", "kill_chain_phases", "first_seen", "last_seen"),
        *("architecture_execution_envs", "implementation_languages", "capabilities", *_NAMED),
    ),
    "tool": ("tool_types", "aliases", "kill_chain_phases", "tool_version", *_NAMED),
    "attack-pattern": ("aliases", "kill_chain_phases", *_NAMED),
    "campaign": ("aliases", "first_seen", "last_seen", "objective", *_NAMED),
    "intrusion-set": (
        *("aliases", "first_seen", "last_seen", "goals", "resource_level", "primary_motivation"),
        *("secondary_motivations", *_NAMED),
    ),
    "threat-actor": (
        *("threat_actor_types", "aliases", "first_seen", "last_seen", "roles", "goals", "sophistication"),
        *("resource_level", "primary_motivation", *_NAMED),
    ),
    "identity": ("roles", "identity_class", "sectors", "contact_information", *_NAMED),
    "location": (
        "region",
        "country",
        "administrative_area",
        "city",
        "street_address",
        "postal_code",
        *_PLACE,
        *_NAMED,
    ),
    "vulnerability": _NAMED,
    "course-of-action": _NAMED,
    "infrastructure": (
        *("infrastructure_types", "aliases", "kill_chain_phases", "first_seen", "last_seen", *_NAMED),
    ),
    "relationship": ("relationship_type", "description", "start_time", "stop_time", *_COMMON),
    "sighting": ("description", "first_seen", "last_seen", "count", "summary", *_COMMON),
    "report": ("report_types", "published", *_NAMED),
    "grouping": ("context", *_NAMED),
    "note": ("abstract", "content", *_COMMON),
    "opinion": ("explanation", "opinion", *_COMMON),
    "incident": _NAMED,
    "observed-data": ("first_observed", "last_observed", "number_observed", "objects", *_COMMON),
}
"""What is not in the list of its type does not leave; a type without a list does not leave at all."""

_OBSERVED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("domain-name", "ipv4-addr", "ipv6-addr", "url"), ("value",)),
    "autonomous-system": ("number", "name"),
    "file": ("hashes", "size"),
    "software": ("name",),
}
"""The same for what observed data hold within themselves; without its first property such a part says nothing."""

_RELIABILITY = "ABCDEF"  # Admiralty, best first


class Visible(NamedTuple):
    """One contribution that a recipient may see, as far as it may.

    `redacted` says that something of what its source said is left out, `generalised` that the states of those
    affected are. `ioc` is what its pattern was reduced to.
    """

    source: str
    contribution: Contribution
    facts: Facts
    reliability: str
    redacted: bool = False
    generalised: bool = False
    ioc: Ioc | None = None


class Draft(NamedTuple):
    """A merged copy before it has an id and dates of its own. Times are ms since 1970.

    A `redacted` copy goes out under an id that each recipient has for itself.
    """

    body: dict[str, Any]
    created_ms: int
    modified_ms: int
    category: str
    confidence: int | None
    first_seen_ms: int
    last_seen_ms: int
    tlp: Tlp
    value: str
    view: View | None = None
    """What enrichment adds, of an indicator."""
    whole: bool = False
    """Whether it is made of all that is known of the item."""
    redacted: bool = False
    made_out: bool = False
    """Whether it may hold what is made out to each recipient (see `schemas.outgoing`), ids of others aside."""
    kind: str = ""
    """Where the item was reduced to another one, which `value` then is."""
    registrable_domain: str = ""
    urgent: bool = False


class Local(NamedTuple):
    """What enrichment goes by: what local data say of the item's value, of others and of texts, and the clock."""

    context: Context
    named: Named
    now_ms: int
    look: Callable[[Ioc], Context]


def merge_visible(
    known: Known,
    visible: Sequence[Visible],
    feedback: Sequence[tuple[Feedback, str]],
    local: Local,
    source_names: Mapping[str, str],
) -> Draft:
    """The copy that a recipient of exactly these contributions and this feedback (each with its source's
    reliability) gets; nothing in it comes from any other.

    Single values come from the most reliable contribution that has them, the newest among equals; lists are
    joined. The copy carries the strictest markings of what is left in it. `source_names` are of those that want to
    be named.
    """
    ranked = sorted(visible, key=_rank)
    objects = [v.contribution.object for v in ranked]
    body: dict[str, Any] = {"type": known.type, "spec_version": "2.1"}
    for name in ALLOWED[known.type]:
        value = _merged(name, objects)
        if name == "objects":
            value = _observed(value)
        if value not in (None, [], ""):
            body[name] = value
    for v in ranked:
        if v.source in source_names and not v.redacted:
            body["external_references"] = _naming(body.get("external_references", []), source_names[v.source])
    confidence = next((v.facts.confidence for v in ranked if v.facts.confidence is not None), None)
    if confidence is not None and _kept("confidence", ranked):
        body["confidence"] = confidence
    first_seen_ms = min(v.contribution.first_seen_ms for v in ranked)
    full = next((v for v in ranked if v.ioc is None), None)
    reduced = ranked[0].ioc if full is None else None
    value = (full.contribution.value if full else "") or (reduced.value if reduced else "")
    context = local.look(reduced) if reduced else local.context
    kind = reduced.kind if reduced else known.kind
    if known.type == "indicator":
        _indicator(body, Ioc(kind, value or known.value), objects, first_seen_ms)
    stated = next((v.facts.category for v in ranked if v.facts.category), None)
    body["object_marking_refs"] = _markings(ranked)
    extensions = _handling(stated, ranked)
    draft = Draft(
        body=body,
        created_ms=min(v.contribution.created_ms for v in ranked),
        modified_ms=max(v.contribution.modified_ms for v in ranked),
        category=stated or "",
        confidence=body.get("confidence"),
        first_seen_ms=first_seen_ms,
        last_seen_ms=max(v.contribution.last_seen_ms for v in ranked),
        tlp=_strictest(ranked),
        value=value,
        redacted=all(v.redacted for v in ranked),
        made_out=any(v.redacted for v in ranked),
        kind=kind if reduced else "",
        registrable_domain=context.registrable_domain if reduced else "",
        urgent=any(v.facts.handling.urgent for v in ranked),
    )
    heard = [Heard(v.source, v.reliability, v.facts.confidence, v.contribution) for v in ranked]
    if known.type == "indicator":
        seen = view(kind, stated or "", heard, feedback, context, local.named, local.now_ms)
        extensions |= _enrichment(seen, context)
        whole = (len(visible), len(feedback)) == (len(known.contributions), len(known.feedback))
        draft = draft._replace(category=seen.category, view=seen, whole=whole and not draft.redacted)
    if extensions:
        body["extensions"] = extensions
    return draft


def limited_purposes(visible: Iterable[Visible]) -> frozenset[str] | None:
    """What an item may be used for, by any of its visible contributions; None where that is no limit."""
    allowed: frozenset[str] = frozenset()
    for v in visible:
        grant = v.facts.grant if v.facts.consent == "granted" else None
        consented = PURPOSES if grant is None or grant.purposes is None else grant.purposes
        allowed |= v.facts.purposes.intersection(consented)
    return None if allowed.issuperset(PURPOSES) else allowed


def with_purposes(draft: Draft, purposes: Iterable[str]) -> Draft:
    """The copy saying what its recipients may use it for."""
    extensions = draft.body.get("extensions", {})
    ours = {"extension_type": "property-extension", **extensions.get(HANDLING_ID, {}), "purposes": sorted(purposes)}
    return draft._replace(body=draft.body | {"extensions": {**extensions, HANDLING_ID: ours}})


def _naming(references: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """External references that name the source, which agreed to share on that condition."""
    mine = {"source_name": name}
    return references if any(r.get("source_name") == name for r in references) else [*references, mine]


def _kept(name: str, ranked: Sequence[Visible]) -> bool:
    """Whether a property that the hub would add was not taken away from all of them."""
    return any(not v.redacted or name in v.contribution.object for v in ranked)


def _enrichment(seen: View, context: Context) -> dict[str, Any]:
    # `active_until` is beside the body: it moves with each sighting, and no sighting shall make a version
    return extension(
        score=seen.score.value,
        score_parts=seen.score.parts,
        registrable_domain=context.registrable_domain,
        lookalikes=[f"{like.of} ({like.how}, {like.distance})" for like in context.lookalikes],
        country=context.country,
        asn=context.asn,
        as_name=context.as_name,
        warning_lists=[warning.list for warning in context.warnings],
        do_not_block=context.do_not_block,
        families=seen.families.families,
        vendors=seen.families.vendors,
        techniques=seen.families.techniques,
    )


def _rank(visible: Visible) -> tuple[int, int, str]:
    return _RELIABILITY.find(visible.reliability), -visible.contribution.modified_ms, visible.source


def _merged(name: str, objects: Sequence[Mapping[str, Any]]) -> Any:
    values = [value for value in (o.get(name) for o in objects) if value is not None]
    if not values or not isinstance(values[0], list):
        return values[0] if values else None
    joined = [entry for value in values if isinstance(value, list) for entry in value]
    if name == "labels":
        joined = [label for label in joined if from_tag(str(label)) is None]
    return list({orjson.dumps(entry, option=orjson.OPT_SORT_KEYS): entry for entry in joined}.values())


def _observed(parts: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    """What may leave of the parts of observed data. Raises `ValueError` where nothing may: an error denies."""
    kept = {
        key: {name: part[name] for name in ("type", *_OBSERVED[part["type"]]) if name in part}
        for key, part in (parts or {}).items()
        if part.get("type") in _OBSERVED and _OBSERVED[part["type"]][0] in part
    }
    if not kept:
        raise ValueError("nothing of what was observed may leave")
    return kept


def _indicator(body: dict[str, Any], ioc: Ioc, objects: Iterable[Mapping[str, Any]], first_seen_ms: int) -> None:
    """The pattern is made from the item's identity, so that no source's spelling of it leaves."""
    if ioc.kind.startswith("pattern:"):
        body["pattern"] = ioc.value
    else:
        body["pattern"] = generate(ioc)
        body["pattern_type"] = "stix"
        body["pattern_version"] = "2.1"
    body["valid_from"] = format_time(first_seen_ms)
    ends = [o.get("valid_until") for o in objects]
    if all(ends):  # one contribution without an end keeps the item valid
        latest = max(parse_time(str(end)) for end in ends)
        if latest > first_seen_ms:
            body["valid_until"] = format_time(latest)
            return
    body.pop("valid_until", None)


def _strictest(ranked: Sequence[Visible]) -> Tlp:
    return max(level for v in ranked for level in _levels(v) if isinstance(level, Tlp))


def _levels(v: Visible) -> Iterator[Tlp | Pap]:
    """Of all that is left of it: a granular marking counts as long as what it selects is there."""
    yield from (level for level in (v.facts.tlp, v.facts.pap) if level is not None)
    yield from (mark.level for mark in v.facts.granular if mark.level is not None)


def _markings(ranked: Sequence[Visible]) -> list[str]:
    paps = [level for v in ranked for level in _levels(v) if isinstance(level, Pap)]
    statements = {s: None for v in ranked for s in v.facts.markings.statements}
    statements |= {mark.id: None for v in ranked for mark in v.facts.granular if mark.level is None}
    strictest: list[Tlp | Pap] = [_strictest(ranked), *([max(paps)] if paps else [])]
    return [*(marking_id(level) for level in strictest), *statements]


def _handling(stated: str | None, ranked: Sequence[Visible]) -> dict[str, Any]:
    """What of the handling leaves: category and affected states; see also `with_purposes`."""
    affected = sorted({state for v in ranked if not v.generalised for state in v.facts.affected or ()})
    fields: dict[str, Any] = {}
    if stated:
        fields["category"] = stated
    if affected:
        fields["affected"] = affected
    if not fields:
        return {}
    return {HANDLING_ID: {"extension_type": "property-extension", **fields}}
