"""What the topic `tocsin.cleared` carries, and all that connectors can deliver. Only `govern` makes it."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict


class Copy(BaseModel):
    """One body of an item and the recipients to whom it goes (hex bit set, see `schemas.bits`).

    `body` is a complete STIX 2.1 object, ready to leave. A withdrawal has `live` false: its body is the
    tombstone. The other fields are what the file formats show, from the same contributions as the body.
    `digest` is of the body: within one item equal digests are the same copy, whatever its dates of sighting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str
    live: bool
    digest: str
    body: dict[str, Any]
    category: str = ""
    confidence: int | None = None
    first_seen: str = ""
    last_seen: str = ""
    tlp: str = ""
    value: str = ""
    """Instead of the item's value where sources spell it differently (kind `complex`): else it would tell how a
    source spells it whose word this recipient may not see."""
    kind: str = ""
    """Instead of the item's kind, where the copy was reduced to a host."""
    registrable_domain: str = ""
    """Beside `kind`."""
    urgent: bool = False
    """Danger to life: it goes before all else that waits."""
    score: int | None = None
    """0 to 100, of the contributions that these recipients may see; None where the type has none."""
    active_until: str = ""
    """When the item ends to be active (STIX timestamp); empty where that is not known or never."""


class Cleared(BaseModel):
    """All copies of one item, in the version (`epoch`, `counter`): who is in no copy holds nothing of it.

    The whole state, not a change to it: applying it twice, or only the last of many, gives the same feeds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    type: str
    kind: str
    value: str
    epoch: int
    counter: int
    numbering: str
    copies: tuple[Copy, ...]
    registrable_domain: str = ""

    def to_bytes(self) -> bytes:
        return orjson.dumps(self, default=vars)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Cleared:
        return cls.model_validate_json(raw)
