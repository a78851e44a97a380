"""What the topic `tocsin.decisions` carries: who may have an item version, who not, by which rules."""

from __future__ import annotations

from typing import Literal

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


class Body(BaseModel):
    """The copy that recipients (hex bit set) hold after the decision: SHA-256 (hex) of its bytes as they leave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str
    sha256: str


class Decision(BaseModel):
    """The decision on one item version, contribution by contribution. `policy` is the hash of the rules used.

    It has no contents: what the item is, and what staff are shown of it, is `sealed` (see `services.sealing`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    id: str
    type: str
    kind: str
    epoch: int
    counter: int
    at_ms: int
    policy: str
    numbering: str
    judgements: tuple[Judgement, ...]
    errors: tuple[str, ...] = ()
    """Rules that raised, as `rule: exception`: an error denies."""
    probation: tuple[str, ...] = ()
    """The sources whose word waits to be released by staff."""
    words: dict[str, str] = Field(default_factory=dict)
    """By source on probation, the digest (hex) of what it says: a release is of this word and of no other."""
    bodies: tuple[Body, ...] = ()
    sealed: str = ""
    """JSON for the hub itself: `value`, `route` (the key of its reports), and what staff are shown beside it: the
    facts with where they come from, contributions (without their texts), enrichment and score (see
    `services.govern.background`)."""

    def to_bytes(self) -> bytes:
        return orjson.dumps(self, default=vars)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Decision:
        return cls.model_validate_json(raw)
