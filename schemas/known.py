"""What the topic `tocsin.known` carries, and the state of the core: what the hub knows of one item.

A value is 16 bytes of header, then JSON (squeezed). The header can be read without the JSON: the first 8 bytes say
under which policy the item was decided, the next 8 when it wants to be decided again (ms since 1970).
"""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.compact import expand, squeeze
from schemas.reference import Standing
from schemas.report import Withdrawn

NEVER_MS = (1 << 64) - 1
HEADER_BYTES = 16


class Contribution(BaseModel):
    """One source's word on the item under its own terms; fields as in `report.Report`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int
    index: int
    object: dict[str, Any]
    markings: tuple[str, ...] = ()
    granular: tuple[tuple[str, tuple[str, ...]], ...] = ()
    handling: dict[str, Any] = Field(default_factory=dict)
    revoked: bool = False
    created_ms: int
    modified_ms: int
    first_seen_ms: int
    last_seen_ms: int
    labels: tuple[str, ...] = ()
    value: str = ""
    """The source's own spelling, where the identity allows several (kind `complex`); else empty."""
    count: int = 1
    gone: bool = False
    """The source holds it no more (see `report.Report.gone`)."""
    references: tuple[tuple[str, str], ...] = ()
    context: tuple[str, ...] = ()
    joins: tuple[tuple[str, str], ...] = ()
    reached: str = "0"
    """Who was ever sent a copy that was made from it (hex bit set): only to them its withdrawal can speak."""
    released: bool = False
    """Staff released this word of a source on probation."""
    withdrawn: Withdrawn = ""
    """As in the report. What was said is gone then."""

    @field_validator("granular", mode="before")
    @classmethod
    def _as_once_kept(cls, value: Any) -> Any:
        """State of the first versions only says whether there are any: then nothing resolves them."""
        return ((("unknown", ("type",)),) if value else ()) if isinstance(value, bool) else value


class Feedback(BaseModel):
    """What one sighting or opinion on the item bears on its score.

    `value` is how often it was seen (0: looked for, and not there), or the opinion from 1 (strongly disagree) to
    5. It counts from `from_ms` on, for those who may see the sighting or opinion (hex bit set `to`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    kind: Literal["sighting", "opinion"]
    value: int
    at_ms: int
    from_ms: int
    to: str


class Held(BaseModel):
    """One copy of an item that recipients (hex bit set) were sent.

    `content` is the digest of its body without `modified`; empty for a tombstone. With `own` each of them has it
    under an id and at times of its own, see `schemas.outgoing`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str
    content: str
    generation: int
    created_ms: int
    modified_ms: int
    last_seen_ms: int = 0
    own: bool = False
    previous_ms: int = 0
    """With `own`: `modified_ms` of the version before; 0 of the first."""
    tellable: bool = False
    """Of a copy that is gone: nothing that could come of a suspicion has silenced its holders, so that they may
    hear of a withdrawal once nothing keeps silence any more."""


class Sent(BaseModel):
    """The ledger of one item: who holds which copy of it. Bit sets are under `numbering`.

    `live` are the copies in the feeds, `withdrawn` the tombstones, `gone` the copies whose holders may no longer
    see the item and must not be told. A generation is that of an id: what was withdrawn comes back under another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    numbering: str
    live: tuple[Held, ...] = ()
    gone: tuple[Held, ...] = ()
    withdrawn: tuple[Held, ...] = ()


class Known(BaseModel):
    """What the hub knows of one item: each source's contribution apart, and the ledger of who was sent it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    value: str
    type: str
    counter: int = 0
    judged: str = ""
    """Digest of the last decision: an equal one makes no new version."""
    contributions: dict[str, Contribution]
    sent: Sent
    route: str = ""
    """The key of its reports (hex), where that is not its own fingerprint (see `report.Report.identity`)."""
    waiting: dict[str, Contribution] = Field(default_factory=dict)
    """What sources have said since, to be shown from `waiting_ms` on: instead of their contributions above."""
    waiting_ms: int = 0
    """When what waits is to be shown; 0 where nothing does."""
    feedback: dict[str, Feedback] = Field(default_factory=dict)
    """By the sighting's or opinion's own fingerprint (hex)."""
    ends: dict[str, Standing] = Field(default_factory=dict)
    """Of all that it refers to and asked for, or, in a campaign, of its members; by fingerprint (hex)."""
    arriving: dict[str, Standing] = Field(default_factory=dict)
    """Of a campaign: what members are to be known as from `waiting_ms` on."""
    wanted: dict[str, str] = Field(default_factory=dict)
    """Of malware and identities: who may have what refers to it, by the fingerprint of that (hex bit sets)."""
    lacking: str = "0"
    followers: str = "0"
    """Who may have it as soon as they may have something that refers to it, see `reference.Standing`."""
    wants: dict[str, str] = Field(default_factory=dict)
    """What it told the malware and identities that it refers to, see `wanted`."""
    gone: tuple[str, ...] = ()
    """Of `sent.gone` those to whom nothing else may tell that it is gone, see `reference.Standing`."""
    hanging: tuple[str, ...] = ()
    """Who holds it by how many steps of references, see `reference.Standing`."""
    told: str = ""
    """Digest of its standing, as it was last told to those that asked."""
    unreleased: str = ""
    """Digest of the words that waited for their release at the last decision: others make a new version."""
    joined: tuple[tuple[str, str], ...] = ()
    """The campaigns (what joins: kind, value) that know of it."""

    def to_bytes(self, policy: bytes, due_ms: int) -> bytes:
        """`policy` is 8 bytes, `due_ms` NEVER_MS where nothing is to come."""
        return policy + due_ms.to_bytes(8, "big") + squeeze(orjson.dumps(self, default=vars))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Known:
        return cls.model_validate_json(expand(raw[HEADER_BYTES:]))


def policy_of(raw: bytes) -> bytes:
    """The policy stamp of a state value (8 bytes)."""
    return raw[:8]


def due_of(raw: bytes) -> int:
    """When the item of a state value wants to be decided again (ms; NEVER_MS: not by time)."""
    return int.from_bytes(raw[8:16], "big")
