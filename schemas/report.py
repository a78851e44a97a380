"""What the topic `tocsin.reports` carries: one source's word on one item."""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

Withdrawn = Literal["", "revoked", "consent"]


class Report(BaseModel):
    """One source's word on one item, as `accept` understood it.

    `kind` and `value` are the item's identity (for an indicator its canonical IoC; for another STIX type
    `stix:<type>` and what identifies it). `object` is the source's object as STIX 2.1, markings and handling
    taken out into fields of their own. All times are ms since 1970 in UTC.

    `seq` is the place of the submission in the inbox, written in when it is relayed; with `index`, the place
    in the submission, it orders a source's word: a report that is not newer than what is known is a replay.

    A record's key is where the report is handled; it is also the item's identity, unless `identity` names another
    one: sightings, opinions and notes travel under the fingerprint of what they speak of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int = 0
    index: int
    submission: str
    pointer: str
    source: str
    received_ms: int
    kind: str
    value: str
    type: str
    object: dict[str, Any]
    markings: tuple[str, ...] = ()
    granular: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(marking id, what it selects) of granular markings; of lists that lie in fields of their own (`references`,
    `labels`) the selectors count the entries that are there."""
    handling: dict[str, Any] = {}
    revoked: bool = False
    created_ms: int
    modified_ms: int
    first_seen_ms: int
    last_seen_ms: int
    labels: tuple[str, ...] = ()
    """Tags and labels as the source wrote them, for enrichment; those that are markings are in `markings`."""
    identity: str = ""
    """The item's fingerprint (hex), where it is not the key of the record."""
    references: tuple[tuple[str, str], ...] = ()
    """What the object refers to, in order: (property, fingerprint in hex). `object` has none of these properties;
    one that may have several entries stands several times. What the hub can't find has the fingerprint ""."""
    gone: bool = False
    """The source holds the item no more, whatever its last word on it was: its id names something else or nothing,
    its newest snapshot lacks it, or (then `revoked` too) the last of the ids by which it named it was revoked.
    Not for ever: a later report that is neither takes its place. `object`, `kind` and `value` may be empty."""
    withdrawn: Withdrawn = ""
    """The source takes back all that it said of the item, or the people concerned their consent to that. Only a
    word that is newer than this report's `modified_ms` is heard after it."""
    context: tuple[str, ...] = ()
    """What the object is of, in words that stand beside it under the same terms: for enrichment, as `labels`."""
    joins: tuple[tuple[str, str], ...] = ()
    """What else joins the item with others of this source: (`report` or `certificate`, which one)."""

    def to_bytes(self) -> bytes:
        """JSON without `seq`: see `with_seq`."""
        return orjson.dumps(self.model_dump(exclude={"seq"}))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Report:
        return cls.model_validate_json(raw)


def with_seq(raw: bytes, seq: int) -> bytes:
    """The bytes of a report with its place in the inbox, which only the inbox's transaction knows."""
    return b'{"seq":%d,%b' % (seq, raw[1:])
