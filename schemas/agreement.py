"""Partner agreements and the hub's policy file: models, and loading them from TOML.

Unknown keys, values outside their lists and contradictions are errors that name file, line and remedy.
The meaning of every key is the sharing policy's (deploy/policy.md); nothing here decides.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import Misconfigured, clip
from schemas.handling import Category, ConsentStatus, Country, Purpose
from schemas.markings import STATEMENT, level_named

PartnerKind = Literal["platform", "government", "ngo", "cert"]
TlpName = Literal["clear", "green", "amber", "amber+strict", "red"]
PapName = Literal["clear", "green", "amber", "red"]
Onward = Literal["none", "clients", "community"]

POLICY = "policy"
"""By this name one speaks of what is no partner's, where partners go by their ids."""

STRICT = ConfigDict(frozen=True, extra="forbid")
M = TypeVar("M", bound=BaseModel)


class Partner(BaseModel):
    """Who it is. `controlled_by` must be stated: a national CERT is controlled by its state."""

    model_config = STRICT

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    name: str = Field(min_length=1, max_length=200)
    kind: PartnerKind
    jurisdiction: Country
    controlled_by: tuple[Country, ...]
    starts: date
    ends: date

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ends <= self.starts:
            raise ValueError("`ends` must be later than `starts`")
        if self.id == POLICY:
            raise ValueError(f"no partner can be called `{POLICY}`: what is no partner's is confirmed by that name")
        return self


class Receives(BaseModel):
    """Up to what the partner is cleared, and for what it uses it.

    `collections` are categories that it finds in TAXII collections of their own beside its whole feed; they say
    nothing of what it may get.
    """

    model_config = STRICT

    tlp: TlpName
    pap: PapName
    onward: Onward
    purposes: tuple[Purpose, ...]
    categories: tuple[Category | Literal["*"], ...]
    types: tuple[str, ...] = ("*",)
    max_age_days: int = Field(ge=0)
    min_confidence: int = Field(default=0, ge=0, le=100)
    collections: tuple[Category, ...] = ()


class Defaults(BaseModel):
    """What holds for a source's item where the item itself says nothing."""

    model_config = STRICT

    tlp: TlpName | None = None
    pap: PapName | None = None
    purposes: tuple[Purpose, ...] | None = None
    consent: ConsentStatus | None = None
    category: Category | None = None
    affected: tuple[Country, ...] | None = None
    published: bool | None = None
    confidence: int | None = Field(default=None, ge=0, le=100)

    @model_validator(mode="after")
    def _published_is_clear(self) -> Self:
        if self.published and self.tlp != "clear":
            raise ValueError('`published = true` needs `tlp = "clear"`')
        return self


class CsvMapping(BaseModel):
    """Which column of a source's CSV is what. `type` names a column; `kind` is for files of one kind.

    Columns that are called like a marking count whether or not they are named here.
    """

    model_config = STRICT

    value: str
    type: str | None = None
    kind: str | None = None
    tlp: str | None = None
    pap: str | None = None
    tags: str | None = None
    first_seen: str | None = None
    last_seen: str | None = None
    confidence: str | None = None
    category: str | None = None
    description: str | None = None


class Contributes(BaseModel):
    """On what terms the partner's word enters."""

    model_config = STRICT

    reliability: Literal["A", "B", "C", "D", "E", "F"]
    defaults: Defaults = Defaults()
    attribution: Literal["must", "may", "must-not"] = "may"
    probation: bool = False
    distribution: Literal["marks", "ignore"] = "marks"
    strict: bool = False
    snapshot: bool = False
    csv: CsvMapping | None = None


class Respond(BaseModel):
    """Within how many hours the partner acknowledges and acts."""

    model_config = STRICT

    ack_hours: int = Field(default=24, gt=0)
    act_hours: int = Field(default=72, gt=0)


class Agreement(BaseModel):
    """What the hub and one partner agreed on. Without `receives` it only contributes, and the other way round;
    without `respond` no times are agreed."""

    model_config = STRICT

    partner: Partner
    receives: Receives | None = None
    contributes: Contributes | None = None
    respond: Respond | None = None

    @property
    def id(self) -> str:
        return self.partner.id

    def in_force(self, day: date) -> bool:
        """From `starts`, that day included, until the day before `ends`."""
        return self.partner.starts <= day < self.partner.ends


class Policy(BaseModel):
    """What is no single partner's: `deploy/policy.toml`.

    `markings` maps further marking ids to a TLP level, a PAP level (`pap:amber`) or `statement`. `confirmations` is
    how many members of staff must confirm what widens before it is in force.
    """

    model_config = STRICT

    pacts: tuple[tuple[Country, Country], ...] = ()
    state_capable: tuple[Category, ...] = (
        "spyware",
        "surveillance",
        "shutdown",
        "censorship",
        "intrusion",
        "device-seizure",
    )
    markings: Mapping[str, str] = {}
    statistics_k: int = Field(default=5, ge=1)
    retention_days: int = Field(default=3650, ge=1)
    confirmations: int = Field(default=1, ge=0, le=2)

    @model_validator(mode="after")
    def _levels_are_known(self) -> Self:
        for marking, word in self.markings.items():
            if word != STATEMENT and level_named(word) is None:
                raise ValueError(f"markings: {clip(word)!r} (of {clip(marking)}) is no level and not `statement`")
        return self


class Rulebook(NamedTuple):
    """All that decides who gets what: the agreements by partner id, and the policy."""

    agreements: Mapping[str, Agreement]
    policy: Policy


def read_agreement(text: str, file: str) -> Agreement:
    """An agreement from TOML; raises `Misconfigured` with file, line and remedy."""
    return _read(Agreement, text, file)


def read_policy(text: str, file: str) -> Policy:
    """The policy file from TOML; raises `Misconfigured` with file, line and remedy."""
    return _read(Policy, text, file)


def _read(model: type[M], text: str, file: str) -> M:
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(
            "not-toml", f"this is not TOML: {error}", where=file, hint="mend the place it names"
        ) from None
    except ValidationError as error:
        # a misspelt key is also a missing one; the misspelling is what can be shown
        first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        # where several types are possible, pydantic names the one that it tried
        path = [clip(step) for step in first["loc"] if not str(step).startswith("literal[")]
        where = f"{file}:{line_of(path, text)}"
        what = f"{'.'.join(path) or 'the file'}: {_fault(first)}"
        more = f"; {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise Misconfigured("agreement-invalid", what + more, where=where, hint=_remedy(first["type"])) from None


def _fault(error: Mapping[str, Any]) -> str:
    """What pydantic found, for somebody who knows the file and not the software."""
    found, context = error["type"], error.get("ctx", {})
    value = clip(repr(error["input"])) if isinstance(error["input"], str | int | float | date) else "this"
    said = {
        "extra_forbidden": "there is no such key",
        "missing": "is missing",
        "literal_error": f"{value} is not one of {str(context.get('expected', '')).replace(' or ', ', ')}",
        "string_pattern_mismatch": f"{value} has another form than it should: {context.get('pattern')}",
        "greater_than_equal": f"{value} is less than {context.get('ge')}",
        "greater_than": f"{value} is not more than {context.get('gt')}",
        "less_than_equal": f"{value} is more than {context.get('le')}",
        "too_long": f"has more than {context.get('max_length')} entries",
        "string_type": f"{value} is no text",
        "tuple_type": f"{value} is no list",
        "model_type": f"{value} is no table",
        "dict_type": f"{value} is no table",
        "bool_parsing": f"{value} is neither true nor false",
        "bool_type": f"{value} is neither true nor false",
    }
    kind = "whole number" if found.startswith("int_") else "date" if found.startswith("date_") else ""
    otherwise = f"{value} is no {kind}" if kind else error["msg"].removeprefix("Value error, ")
    return clip(said.get(found, otherwise), 400)


def _remedy(kind: str) -> str:
    known = {
        "extra_forbidden": "remove the key, or mend its spelling",
        "missing": "add the key",
        "literal_error": "use one of the values named",
    }
    return known.get(kind, "see deploy/agreements/README.md for every key and its values")


def line_of(path: Sequence[str], text: str) -> int:
    """The line on which the key at `path` stands, or its table's, else 1; comments and strings may mislead it."""
    best, table = 1, ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[+\s*([\w.\-]+)\s*\]+", line):
            table = heading[1]
            if list(path[: table.count(".") + 1]) == table.split("."):
                best = number
        elif key := re.match(r"\s*([\w\-]+)\s*=", line):
            steps = [*table.split("."), key[1]] if table else [key[1]]
            if list(path[: len(steps)]) == steps:
                return number
    return best
