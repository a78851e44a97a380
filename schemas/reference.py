"""What the topic `tocsin.references` carries: how items that speak of each other learn who may see the other.

Items lie in the partition of their own fingerprint, so a relationship can't look at its ends. It *asks* each; an
end answers with its *standing*, at once and whenever that changes. Items that something joins tell their standing
to the campaign of what joins them. A letter is forwarded to the topic of reports, under the key of its addressee.
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, field_validator

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_LETTER = b'{"to":'


class Seen(BaseModel):
    """A copy of an item and those who hold it (hex bit set `to`). The rest is for campaigns; `created` as in its
    body. `id` may be a placeholder for the ids of their own under which they hold it, see `schemas.outgoing`."""

    model_config = _FROZEN

    to: str
    id: str
    created: str = ""
    markings: tuple[str, ...] = ()
    category: str = ""


class Standing(BaseModel):
    """Who holds which copy of an item in its version (`epoch`, `counter`).

    `gone` are those that held it and must not be told that they may have it no more: first those who lost it for
    a reason of its own, then those who lost it with what it refers to, then with what that refers to, and so on (by
    so many steps, hex bit sets). `hanging` are those who hold it by references of more than no step, of more than
    one, and so on: what stands by itself hangs on nothing. `lacking` may have it as soon as they may have something
    that refers to it; `followers` have it for no other reason.
    """

    model_config = _FROZEN

    epoch: int = 0
    counter: int = 0
    copies: tuple[Seen, ...] = ()
    gone: tuple[str, ...] = ()
    hanging: tuple[str, ...] = ()
    lacking: str = "0"
    followers: str = "0"

    @field_validator("gone", mode="before")
    @classmethod
    def _as_once_kept(cls, value: Any) -> Any:
        """The first versions knew of no steps."""
        return ((value,) if value != "0" else ()) if isinstance(value, str) else value


class Letter(BaseModel):
    """To the item `to` (fingerprint in hex), from or about the item `of`.

    Without a standing `of` asks for that of `to`, to be sent under the key `route` (hex). With `join`, (kind,
    value) of what joins items, `to` is the campaign of that, and is told of a member. With `wants`, `of` refers to
    `to`, and these may have it (hex bit set). With `release` staff release what that source says of `to`,
    if that is still the `word` (its digest in hex) that they saw.
    """

    model_config = _FROZEN

    to: str
    of: str
    route: str = ""
    standing: Standing | None = None
    join: tuple[str, str] | None = None
    wants: str | None = None
    release: str | None = None
    word: str = ""

    def to_bytes(self) -> bytes:
        return orjson.dumps(self, default=vars)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Letter:
        return cls.model_validate_json(raw)


def is_letter(raw: bytes) -> bool:
    """Whether a record of the topic of reports is a letter and no report."""
    return raw.startswith(_LETTER)
