"""The sharing policy as a decision table: what each recipient must get in a case, against the real core. Pure.

A file is JSON: `now`; `pacts`, `state_capable` and `markings` as in `deploy/policy.toml`; `partners` as agreements;
and `cases`. The objects of a case come in by the door for STIX, so that what is tested is what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.agreement import Agreement, Contributes, Defaults, Partner, Policy
from schemas.bits import of, to_hex
from schemas.decision import Decision, Group, Judgement, Outcome
from schemas.errors import Misconfigured, Refused, clip
from schemas.handling import Category, Country, Slug, Time
from schemas.known import NEVER_MS, Held, Known, Sent
from schemas.report import Report, with_seq
from schemas.safejson import loads
from schemas.timestamps import parse_time
from schemas.topics import REPORTS
from services.accept import stix_door
from services.accept.framing import unpack
from services.accept.names import Origin
from services.accept.packing import Fate, decompress_fates, prepare
from services.dedupe.merge import merge
from services.directory import hash_of
from services.enrich.context import EnrichmentData
from services.govern.compile import Compiled, compile_policy
from services.govern.settle import Rules
from services.hub import Directory
from services.pipeline import core, stamp_of
from services.rehearsal import Rehearsal
from services.witness.tally import verdicts

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_CASES = 10_000
MAX_CONTRIBUTIONS = 100
SOURCE = "case-source"
"""Whose word the `objects` of a case are."""

_SECRET = b"made up for the cases of a policy"
_NUMBERING = "cases"
_STRICT = ConfigDict(frozen=True, extra="forbid")
_REMEDY = {
    "extra_forbidden": "remove the key, or mend its spelling",
    "missing": "add the key",
    "literal_error": "use one of the values named",
}

Rule = Annotated[str, Field(pattern=r"^[FP][0-9]{2}$")]
Obligation = Literal["drop", "generalise", "pseudonymise", "host-only", "require-ack", "no-onward"]
Objects = Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]


class Expectation(BaseModel):
    """What a recipient must get; what is left out is not compared."""

    model_config = _STRICT

    outcome: Outcome
    rules: tuple[Rule, ...] | None = None
    obligations: dict[str, Obligation] | None = None


class Word(BaseModel):
    """One source's objects under its own terms; they refer to each other, and to nothing of other sources."""

    model_config = _STRICT

    source: Slug
    defaults: Defaults = Defaults()
    objects: Objects
    reliability: Literal["A", "B", "C", "D", "E", "F"] | None = None
    """Without it, what the partner's agreement says, or A."""


class Case(BaseModel):
    """An item, by the id of its object, and who must get what of it; `sent_to` hold it already."""

    model_config = _STRICT

    name: str = Field(min_length=1, max_length=200)
    why: str = ""
    item: str
    objects: Objects | None = None
    contributions: tuple[Word, ...] | None = Field(default=None, min_length=1, max_length=MAX_CONTRIBUTIONS)
    sent_to: tuple[Slug, ...] = ()
    expect: dict[Slug, Expectation]

    @model_validator(mode="after")
    def _says_something_of_the_item(self) -> Self:
        if (self.objects is None) == (self.contributions is None):
            raise ValueError("it needs either `objects` or `contributions`")
        sources = [word.source for word in self.words]
        if twice := {source for source in sources if sources.count(source) > 1}:
            raise ValueError(f"contributions: {min(twice)!r} is there twice")
        if not any(body.get("id") == self.item for word in self.words for body in word.objects):
            raise ValueError(f"item: none of the objects has the id {clip(self.item)!r}")
        return self

    @property
    def words(self) -> tuple[Word, ...]:
        return self.contributions or (Word(source=SOURCE, objects=self.objects or ()),)


class Table(BaseModel):
    """A whole file."""

    model_config = _STRICT

    now: Time
    pacts: tuple[tuple[Country, Country], ...] = ()
    state_capable: tuple[Category, ...] = Policy().state_capable
    markings: dict[str, str] = {}
    partners: tuple[Agreement, ...] = Field(min_length=1)
    cases: tuple[Case, ...] = Field(min_length=1, max_length=MAX_CASES)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        names = [partner.id for partner in self.partners]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"partners: {min(twice)!r} is there twice")
        for number, case in enumerate(self.cases):
            for where, given in (("sent_to", case.sent_to), ("expect", tuple(case.expect))):
                if unknown := set(given) - set(names):
                    raise ValueError(f"cases.{number}.{where}: {min(unknown)!r} is none of the partners")
        return self

    @property
    def policy(self) -> Policy:
        return Policy(pacts=self.pacts, state_capable=self.state_capable, markings=self.markings)


@dataclass(frozen=True)
class Row:
    """What became of one case for one recipient. `said` is what the door refused of the case and why, and which
    rules failed."""

    case: str
    why: str
    partner: str
    outcome: Outcome
    rules: tuple[str, ...]
    obligations: Mapping[str, str]
    expected: Expectation | None
    said: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Also where nothing was expected."""
        wanted = self.expected
        return wanted is None or (
            wanted.outcome == self.outcome
            and (wanted.rules is None or set(wanted.rules) == set(self.rules))
            and (wanted.obligations is None or wanted.obligations == self.obligations)
        )


def read_table(raw: bytes, file: str) -> Table:
    """The table in a file; raises `Misconfigured` with the place in it and the remedy."""
    if len(raw) > MAX_FILE_BYTES:
        raise Misconfigured(
            "cases-too-large",
            f"more than {MAX_FILE_BYTES:,} bytes",
            where=file,
            hint="make several files of it",
        )
    try:
        table = Table.model_validate(loads(raw))
        _ = table.policy
    except Refused as error:
        raise Misconfigured(
            error.code, error.what, where=": ".join(filter(None, (file, error.where))), hint="mend it there"
        ) from None
    except ValidationError as error:
        # a misspelt key is also a missing one; the misspelling is what can be shown
        first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        more = f"; {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise Misconfigured(
            "cases-invalid",
            f"{clip(first['msg'].removeprefix('Value error, '), 240)}{more}",
            where=f"{file}: {clip('/' + '/'.join(str(step) for step in first['loc']), 240)}",
            hint=_REMEDY.get(first["type"], "deploy/policy.md says what each key means"),
        ) from None
    return table


def run(table: Table, data: EnrichmentData) -> Iterator[Row]:
    """Case by case, and in each the recipients in the order of the file.

    Raises `Misconfigured` where a case is about something that is not one item.
    """
    for number, case in enumerate(table.cases):
        yield from _Hearing(table, case, f"cases/{number} ({clip(case.name)})", data).rows()


class _Taken(NamedTuple):
    """What of one source's word came in: records (key, value), and the item's fingerprint. `denied_by` is the rule
    nearest to why the door kept the item out; `said` is why it kept out what it did."""

    source: str
    records: Sequence[tuple[bytes, bytes]]
    item: bytes | None
    denied_by: str
    said: tuple[str, ...]


@dataclass
class _Hearing:
    """One case in a core of its own."""

    table: Table
    case: Case
    where: str
    data: EnrichmentData
    directory: Directory = field(init=False)
    compiled: Compiled = field(init=False)
    now_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.directory = _directory(self.table, self.case)
        self.compiled = compile_policy(self.directory)
        self.now_ms = parse_time(self.table.now)

    def rows(self) -> Iterator[Row]:
        taken = [self._take(word, seq) for seq, word in enumerate(self.case.words, 1)]
        decision = self._decided(taken)
        by_bit = {bit: name for name, bit in self.directory.bit_of.items()}
        found = verdicts(decision, by_bit)
        failed = (f"a rule failed, which denies: {error}" for error in decision.errors)
        said = (*(line for each in taken for line in each.said), *failed)
        for partner in self.table.partners:
            # who receives nothing at all is in no decision
            verdict = found.get(partner.id, {"outcome": "deny", "rules": ["P00"], "obligations": {}})
            yield Row(
                case=self.case.name,
                why=self.case.why,
                partner=partner.id,
                outcome=verdict["outcome"],
                rules=tuple(verdict["rules"]),
                obligations=verdict["obligations"],
                expected=self.case.expect.get(partner.id),
                said=said,
            )

    def _take(self, word: Word, seq: int) -> _Taken:
        """By the door. Raises `Misconfigured` for what is no bundle, and for an item that is several."""
        bundle = {"type": "bundle", "id": f"bundle--00000000-0000-4000-8000-{seq:012d}", "objects": word.objects}
        origin = Origin(f"case-{seq}", word.source, self.now_ms)
        try:
            reading = stix_door.read(
                loads(orjson.dumps(bundle)), self.directory.agreements[word.source], self.now_ms
            )
            packed = prepare(reading, origin, _SECRET)
        except Refused as error:
            raise Misconfigured(
                error.code, error.what, where=f"{self.where}: {error.where}", hint=error.hint
            ) from None
        fates, _ = decompress_fates(packed.fates)
        records = [
            (parcel.key, with_seq(parcel.value, seq))
            for parcel in unpack(packed.messages)
            if parcel.topic is REPORTS
        ]
        places = {f"/objects/{n}" for n, body in enumerate(word.objects) if body.get("id") == self.case.item}
        of_item = [fate for fate in fates if fate["pointer"] in places]
        items = {bytes.fromhex(fate.get("identity") or fate["key"]) for fate in of_item if fate["fate"] == "taken"}
        if len(items) > 1:
            raise Misconfigured(
                "case-of-several-items",
                "its object names several items",
                where=self.where,
                hint="make a case of each",
            )
        return _Taken(
            source=word.source,
            records=records,
            item=next(iter(items), None),
            denied_by="" if items else next((_nearest_rule(fate) for fate in of_item), ""),
            said=tuple(
                f"at the door: {word.source} {fate['pointer']}: {fate['reason']}"
                for fate in fates
                if fate["fate"] != "taken"
            ),
        )

    def _decided(self, taken: Sequence[_Taken]) -> Decision:
        """On the item over all contributions, those that the door kept out among them.

        Sources may mean different items by one id, since some are known by who speaks of them: then the judgements
        on all of them count.
        """
        items = list(dict.fromkeys(each.item for each in taken if each.item))
        everyone = to_hex(self.compiled.everyone)
        kept_out = tuple(
            Judgement(
                source=each.source, groups=(Group(outcome="deny", rules=(each.denied_by,), recipients=everyone),)
            )
            for each in taken
            if each.denied_by
        )
        decisions = self._rehearsed(items, [record for each in taken for record in each.records])
        if not decisions:
            return self._undecided(kept_out)
        first, *others = decisions
        judgements = (*first.judgements, *(j for other in others for j in other.judgements), *kept_out)
        errors = (*first.errors, *(error for other in others for error in other.errors))
        return first.model_copy(update={"judgements": judgements, "errors": errors})

    def _rehearsed(self, items: Sequence[bytes], records: Iterable[tuple[bytes, bytes]]) -> list[Decision]:
        """The core's decisions on those of the items that it knows, once all have told each other what there is."""
        rules = Rules(self.compiled, self.data, _SECRET)
        rehearsal = Rehearsal(core(rules, window_ms=0), now_ms=self.now_ms)
        known: dict[bytes, tuple[bytes, Known]] = {}
        others: list[tuple[bytes, bytes]] = []
        for key, value in records:
            report = Report.from_bytes(value)
            item = bytes.fromhex(report.identity) if report.identity else key
            before = known[item][1] if item in known else None
            if item not in items:
                others.append((key, value))
            elif heard := merge(before, report, key, _NUMBERING, self.now_ms, 0):
                known[item] = key, heard.known
        for item, (route, one) in known.items():
            rehearsal.put(route, item, self._sent(one).to_bytes(stamp_of(rules), NEVER_MS))
        rehearsal.work(others)
        rehearsal.decide(known)
        rehearsal.pass_time(0)
        return [Decision.from_bytes(rehearsal.decisions[item]) for item in known]

    def _sent(self, known: Known) -> Known:
        """The item as those hold it already to whom the case says that it was sent."""
        to = of(self.directory.bit_of[name] for name in self.case.sent_to)
        if not to:
            return known
        first = next(iter(known.contributions.values()))
        held = Held(
            to=to_hex(to),
            content="sent",
            generation=0,
            created_ms=first.created_ms,
            modified_ms=first.modified_ms,
        )
        reached = {
            source: word.model_copy(update={"reached": to_hex(to)}) for source, word in known.contributions.items()
        }
        return known.model_copy(update={"sent": Sent(numbering=_NUMBERING, live=(held,)), "contributions": reached})

    def _undecided(self, judgements: tuple[Judgement, ...]) -> Decision:
        """On what did not even come in."""
        return Decision(
            fingerprint="",
            id=self.case.item,
            type="",
            kind="",
            epoch=0,
            counter=0,
            at_ms=self.now_ms,
            policy=self.compiled.hash,
            numbering=_NUMBERING,
            judgements=judgements,
        )


def _nearest_rule(fate: Fate) -> str:
    """To why the door kept an object out."""
    if fate["fate"] == "waiting":
        return "F11"
    steps = fate.get("where", "").split("/")
    return "F01" if "granular_markings" in steps or "object_marking_refs" in steps else "P00"


def _directory(table: Table, case: Case) -> Directory:
    """The partners of the table, and the sources of the case among them."""
    agreements = {partner.id: partner for partner in table.partners}
    for word in case.words:
        partner = agreements.get(word.source) or _source(word.source)
        terms = partner.contributes or Contributes(reliability="A")
        own = {"defaults": word.defaults, "reliability": word.reliability or terms.reliability}
        agreements[word.source] = partner.model_copy(update={"contributes": terms.model_copy(update=own)})
    return Directory(
        agreements=MappingProxyType(agreements),
        policy=table.policy,
        policy_hash=hash_of(agreements, table.policy),
        numbering=_NUMBERING,
        bit_of=MappingProxyType({name: bit for bit, name in enumerate(agreements)}),
    )


def _source(name: str) -> Agreement:
    return Agreement(
        partner=Partner(
            id=name,
            name=name,
            kind="ngo",
            jurisdiction="XZ",
            controlled_by=(),
            starts=date.min,
            ends=date.max,
        )
    )
