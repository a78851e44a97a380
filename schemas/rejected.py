"""What the topic `tocsin.rejected` carries: something that a stage could not handle, kept whole."""

from __future__ import annotations

from base64 import b64decode, b64encode

import orjson
from pydantic import BaseModel, ConfigDict


class Rejected(BaseModel):
    """One rejected thing with its reason and its origin; replayed by sending `value` to `origin_topic` again.

    `origin` says where it came from: `submission <id> <pointer>` at the door, `<topic>/<partition>/<offset>`
    behind it; `feed` is the name of what the source sent. `value` is base64 of the bytes as they came. Times are
    ISO 8601 in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    stage: str
    code: str
    reason: str
    origin: str
    at: str
    source: str = ""
    submission: str = ""
    where: str = ""
    feed: str = ""
    origin_topic: str = ""
    key: str = ""
    value: str = ""

    @property
    def key_bytes(self) -> bytes:
        return b64decode(self.key)

    @property
    def value_bytes(self) -> bytes:
        return b64decode(self.value)

    def to_bytes(self) -> bytes:
        return orjson.dumps(self.model_dump())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Rejected:
        return cls.model_validate_json(raw)


def encode(raw: bytes) -> str:
    """Bytes as the base64 text that `key` and `value` hold."""
    return b64encode(raw).decode("ascii")
