"""What the topic `tocsin.decisions` carries: who may have an item version, who not, by which rules."""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

Outcome = Literal["permit", "deny", "wait", "tombstone", "retract"]


class Group(BaseModel):
    """Recipients (hex bit set) for whom one contribution was decided alike.

    `rules` are all that deny (permit: those that oblige); `obligations` map a selector to what is done to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome
    rules: tuple[str, ...] = ()
    obligations: dict[str, str] = Field(default_factory=dict)
    recipients: str


class Judgement(BaseModel):
    """The decision on one source's contribution."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    groups: tuple[Group, ...]


class Decision(BaseModel):
    """The decision on one item version, contribution by contribution. `policy` is the hash of the rules used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    id: str
    type: str
    kind: str
    value: str
    epoch: int
    counter: int
    at_ms: int
    policy: str
    numbering: str
    judgements: tuple[Judgement, ...]
    errors: tuple[str, ...] = ()
    """Rules that raised, as `rule: exception`: an error denies."""
    background: dict[str, Any] = Field(default_factory=dict)
    """For staff: contributions (without their texts), enrichment and score (see `services.govern.background`)."""

    def to_bytes(self) -> bytes:
        return orjson.dumps(self, default=vars)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Decision:
        return cls.model_validate_json(raw)
