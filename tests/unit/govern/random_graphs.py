"""Random objects that refer to each other, with a word of its own in each text; what recipients see of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import orjson

from schemas.bits import from_hex
from schemas.cleared import Cleared
from schemas.decision import Decision
from schemas.markings import Pap, Tlp, marking_id
from schemas.outgoing import outgoing_id
from schemas.report import Report
from schemas.tombstone import _NOTHING_ID as NOTHING_ID
from services.govern.compile import Compiled
from services.govern.references import leaving
from tests.unit.core_world import WINDOW_MS, Core, key, report
from tests.unit.govern import random_items
from tests.unit.govern.random_items import seldom, some
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, world

find_words = re.compile(r"zq[0-9a-f]{8}").findall
find_ids = re.compile(r"[a-z][a-z0-9-]*--[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").findall

TEXTS: Mapping[str, tuple[str, ...]] = {
    "indicator": ("name", "description"),
    "malware": ("name", "description"),
    "identity": ("name", "description", "contact_information"),
    "location": ("name", "description", "city", "street_address"),
    "relationship": ("description",),
    "sighting": ("description", "summary"),
    "report": ("name", "description"),
    "note": ("abstract", "content"),
}
FIXED: Mapping[str, dict[str, Any]] = {
    "malware": {"is_family": True},
    "identity": {"identity_class": "organization"},
    "location": {"country": "XN"},
    "relationship": {"relationship_type": "indicates"},
    "sighting": {"first_seen": "2026-11-03T21:14:05Z", "last_seen": "2026-11-04T06:40:11Z", "count": 3},
    "report": {"published": "2026-11-10T00:00:00Z"},
}
TECHNIQUES = ("drop", "drop", "generalise", "pseudonymise", "deny")


@dataclass(frozen=True)
class Spec:
    """One source's word on an item, before it is a report. `record` is what it travels under."""

    name: str
    source: str
    type: str
    body: dict[str, Any]
    references: tuple[tuple[str, str], ...] = ()
    record: str = ""
    markings: tuple[str, ...] = ()
    granular: tuple[tuple[str, tuple[str, ...]], ...] = ()
    handling: dict[str, Any] = field(default_factory=dict)
    revoked: bool = False
    joins: tuple[tuple[str, str], ...] = ()

    def spoken(self, seq: int, at_ms: int = NOW_MS - DAY_MS) -> tuple[str, Report]:
        word = report(
            self.name,
            self.source,
            seq,
            of=self.record,
            at_ms=at_ms,
            type=self.type,
            value=f"{self.name}.{self.name}.example" if self.type == "indicator" else self.name,
            references=self.references,
            markings=self.markings,
            granular=self.granular,
            handling=self.handling,
            labels=tuple(self.body["labels"]),
            revoked=self.revoked,
            joins=self.joins,
        )
        return self.record or self.name, word.model_copy(update={"object": {**word.object, **self.body}})


def canary(r: Random) -> str:
    return f"zq{r.getrandbits(32):08x}"


def recipients(r: Random) -> Compiled:
    """Some that may have nearly everything, and some at random."""
    wide = [
        agreement("ngo"),
        agreement("platform", kind="platform", jurisdiction="XA"),
        agreement("second", kind="platform", jurisdiction="XB", tlp="amber"),
        agreement("ministry", kind="government", jurisdiction="XC"),
    ]
    sources = [
        agreement(name, receives=False, contributes={"reliability": "B", "defaults": {"consent": "not-required"}})
        for name in ("alpha", "beta")
    ]
    return world(*wide, *random_items.recipients(r, 3), *sources, policy=random_items.policy(r))


def names_of(compiled: Compiled) -> list[str]:
    return list(compiled.number)


def graph(r: Random, partners: list[str]) -> list[Spec]:
    """Ten to sixteen words on items of eight types; a third of the items have a second source."""
    specs = [_spec(r, name, type_, partners) for name, type_ in _NODES]
    specs = [
        replace(spec, references=tuple(_references(r, spec.type)), record=_RECORD.get(spec.name, ""))
        for spec in specs
    ]
    again = [
        replace(
            _spec(r, spec.name, spec.type, partners), source="beta", references=spec.references, record=spec.record
        )
        for spec in specs
        if seldom(r, 3)
    ]
    return specs + again


_NODES = (
    ("zqa0000001", "identity"),
    ("zqb0000001", "location"),
    ("zqb0000002", "location"),
    ("zqc0000001", "indicator"),
    ("zqc0000002", "indicator"),
    ("zqd0000001", "malware"),
    ("zqe0000001", "relationship"),
    ("zqf0000001", "sighting"),
    ("zq10000001", "report"),
    ("zq20000001", "note"),
)
_RECORD = {"zqf0000001": "zqc0000001", "zq20000001": "zqc0000002"}


def _references(r: Random, stix_type: str) -> Iterator[tuple[str, str]]:
    match stix_type:
        case "relationship":
            yield from (("source_ref", "zqc0000001"), ("target_ref", "zqd0000001"))
        case "sighting":
            yield "sighting_of_ref", "zqc0000001"
            yield from (("where_sighted_refs", name) for name in some(r, ("zqb0000001", "zqb0000002")))
        case "report":
            names = ("zqc0000001", "zqc0000002", "zqd0000001", "zqb0000001", "zqe0000001", "zq30000001")
            yield from (("object_refs", name) for name in some(r, names, 1))
        case "note":
            yield "object_refs", "zqc0000002"
    if stix_type != "identity" and seldom(r, 2):
        yield "created_by_ref", "zqa0000001"


def _spec(r: Random, name: str, stix_type: str, partners: list[str]) -> Spec:
    body: dict[str, Any] = {text: f"{canary(r)} and {canary(r)}" for text in TEXTS[stix_type]}
    body |= FIXED.get(stix_type, {})
    body["confidence"] = r.choice((50, 90))
    body["labels"] = [canary(r), canary(r)]
    body["external_references"] = [
        {"source_name": canary(r), "description": canary(r), "external_id": canary(r)} for _ in range(2)
    ]
    spec = Spec(name, "alpha", stix_type, body)
    if stix_type == "indicator" and seldom(r, 3):
        spec = replace(spec, joins=(("report", "r"),))
    return _with_terms(r, spec, partners)


def _with_terms(r: Random, spec: Spec, partners: list[str]) -> Spec:
    level = r.choice((Tlp.CLEAR, Tlp.GREEN, Tlp.GREEN, Tlp.AMBER, Tlp.AMBER_STRICT, Tlp.RED))
    said: dict[str, Any] = {"category": r.choice(random_items.CATEGORIES), "named": some(r, partners)}
    if not seldom(r, 3):
        said["suspects"] = {r.choice(random_items.STATES): 50} if seldom(r, 3) else {}
    if seldom(r, 4):
        said["affected"] = some(r, random_items.STATES, 1)[:2]
    if seldom(r, 3):
        kinds = some(r, random_items.KINDS, 2)
        said["consent"] = {"status": "granted", "kinds": kinds}
    if seldom(r, 8):
        said["embargo"] = {"until": "2026-12-24T00:00:00Z", "group": some(r, partners)}
    if seldom(r, 3):
        said["personal"] = {s: r.choice(TECHNIQUES[:4]) for s in r.sample(selectors(spec), r.randint(1, 3))}
    if seldom(r, 3):
        said["purposes"] = some(r, random_items.PURPOSES, 2)
    granular = ()
    if seldom(r, 3):
        granular = ((marking_id(r.choice(list(Tlp))), tuple(r.sample(selectors(spec), r.randint(1, 3)))),)
    return replace(spec, markings=(marking_id(level),), handling=said, granular=granular)


def selectors(spec: Spec) -> list[str]:
    """What markings and techniques may be put on: properties, elements of lists, and what is in these."""
    lists = [f"{name}.[{place}]" for name in ("labels", "external_references") for place in (0, 1)]
    parts = ["external_references.[0].description", "external_references.[1].external_id"]
    times = [name for name in ("first_seen", "count") if name in spec.body]
    return [*TEXTS[spec.type], "labels", "external_references", *lists, *parts, *times]


# --- one step narrower --------------------------------------------------------------------------------------------


def narrowed(r: Random, spec: Spec, partners: list[str]) -> tuple[str, Spec] | None:
    """The same word with one thing that may never widen anything (policy.md, "What never widens"), and which."""
    handling = spec.handling
    grant = handling.get("consent", {}) if handling.get("consent", {}).get("status") == "granted" else None
    embargo = handling.get("embargo")
    offered: dict[str, Any] = {
        "one more marking": lambda: replace(spec, markings=(*spec.markings, _marking(r))),
        "one more granular marking": lambda: replace(
            spec, granular=(*spec.granular, (_marking(r), (r.choice(selectors(spec)),)))
        ),
        "one more personal selector": lambda: said(personal=_more_personal(r, spec)),
        "consent unknown": lambda: said(consent={"status": "unknown"}),
        "consent withdrawn": lambda: said(consent={"status": "withdrawn"}),
    }

    def said(**changes: Any) -> Spec:
        return replace(spec, handling={**handling, **changes})

    if handling.get("suspects"):
        state = r.choice(random_items.STATES)
        offered["one more suspect"] = lambda: said(suspects={state: 1, **handling["suspects"]})
    if embargo is None:
        group = some(r, partners)
        offered["an embargo"] = lambda: said(embargo={"until": "2026-12-01T00:00:00Z", "group": group})
    else:
        offered["a longer embargo"] = lambda: said(embargo={**embargo, "until": "2027-01-01T00:00:00Z"})
        offered["a smaller group"] = lambda: said(embargo={**embargo, "group": embargo["group"][1:]})
    if grant is not None:
        offered["fewer kinds"] = lambda: said(consent={**grant, "kinds": grant["kinds"][1:]})
        purposes = grant.get("purposes", list(random_items.PURPOSES))
        offered["fewer purposes"] = lambda: said(consent={**grant, "purposes": purposes[1:]})
        offered["an earlier end"] = lambda: said(consent={**grant, "until": "2026-11-01T00:00:00Z"})
        offered["an end"] = lambda: said(consent={**grant, "until": "2026-12-31T00:00:00Z"})
    which = r.choice(sorted(offered))
    return which, offered[which]()


STEPS = (
    *("one more marking", "one more granular marking", "one more personal selector", "consent unknown"),
    *("consent withdrawn", "one more suspect", "an embargo", "a longer embargo", "a smaller group"),
    *("fewer kinds", "fewer purposes", "an earlier end", "an end"),
)


def _marking(r: Random) -> str:
    return r.choice([*map(marking_id, (*Tlp, *Pap)), random_items.STATEMENT, random_items.UNKNOWN])


def _more_personal(r: Random, spec: Spec) -> dict[str, str]:
    personal: dict[str, str] = spec.handling.get("personal", {})
    free = [selector for selector in selectors(spec) if selector not in personal]
    return {**personal, r.choice(free): r.choice(TECHNIQUES)}


# --- what is seen -------------------------------------------------------------------------------------------------


def heard(compiled: Compiled, specs: Iterable[Spec], *, together: bool = True) -> Core:
    """A core at rest that heard these words, in one chunk or one after the other."""
    core = Core(compiled)
    spoken = [spec.spoken(seq) for seq, spec in enumerate(specs, 1)]
    for words in [spoken] if together else [[word] for word in spoken]:
        core.hear(*words)
    core.pass_time(2 * WINDOW_MS)
    return core


def outgoing(core: Core, partner: str) -> Iterator[dict[str, Any]]:
    """All of a partner's copies, with what lies beside their bodies and goes out in some formats."""
    bit = core.compiled.number[partner]
    for raw in core.cleared.values():
        for copy in Cleared.from_bytes(raw).copies:
            if from_hex(copy.to) & bit:
                yield copy.model_dump(exclude={"to", "digest"})


def words_seen(core: Core, partner: str) -> set[str]:
    return set(find_words(orjson.dumps(list(outgoing(core, partner))).decode()))


def items_of(core: Core) -> dict[str, str]:
    """The item (fingerprint in hex) of every id that is in any copy."""
    return {
        copy.body["id"]: fingerprint.hex()
        for fingerprint, raw in core.cleared.items()
        for copy in Cleared.from_bytes(raw).copies
    }


def held(core: Core, partner: str) -> dict[str, dict[str, Any]]:
    """The live bodies of a partner by item."""
    item = items_of(core)
    return {item[id_]: body for id_, body in core.holds(partner).items()}


def references_seen(core: Core, partner: str) -> set[tuple[str, str, str]]:
    """(item, property, item that it refers to) in the live copies of a partner."""
    item = items_of(core)
    return {
        (of, name, item[end])
        for of, body in held(core, partner).items()
        for name in leaving(body["type"])
        if name in body
        for end in (body[name] if isinstance(body[name], list) else [body[name]])
    }


def may_have(core: Core, specs: Iterable[Spec], partner: str) -> set[str]:
    """The words of all that decisions permit a partner, less what they oblige to take out."""
    allowed: set[str] = set()
    bit = core.compiled.number[partner]
    for spec in specs:
        raw = core.decisions.get(key(spec.name))
        judgements = Decision.from_bytes(raw).judgements if raw else ()
        for judgement in judgements:
            for group in judgement.groups:
                if (
                    judgement.source == spec.source
                    and group.outcome == "permit"
                    and from_hex(group.recipients) & bit
                ):
                    allowed |= _words_without(spec, group.obligations)
    return allowed


def _words_without(spec: Spec, obligations: Mapping[str, str]) -> set[str]:
    body = orjson.loads(orjson.dumps(spec.body))
    for selector in obligations:
        _blank(body, selector.split("."))
    value = spec.name if spec.type == "indicator" else ""
    return {*find_words(orjson.dumps(body).decode()), *find_words(value)}


def _blank(part: Any, steps: list[str]) -> None:
    """Takes out what is selected; places in lists stay as they are."""
    for number, step in enumerate(steps, 1):
        place: Any = int(step[1:-1]) if step.startswith("[") else step
        if part is None or (isinstance(part, dict) and place not in part):
            return
        if number == len(steps):
            part[place] = None
        part = part[place]


def all_ids(core: Core, specs: Iterable[Spec]) -> dict[str, str]:
    """The ids that items have, or would have, for all who get them unredacted."""
    return {outgoing_id(spec.type, key(spec.name), n): spec.name for spec in specs for n in range(3)}


__all__ = ["NOTHING_ID", "STEPS", "Spec", "graph", "heard", "narrowed", "recipients"]
