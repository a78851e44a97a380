"""The contract between the hub and its connectors.

A connector decides nothing. Outwards it gets rows of one partner's feed, which hold what govern cleared for that
partner; inwards it hands over bodies that accept judges like any other submission of that partner. It has a folder:

    connectors/NAME/__init__.py   `MANIFEST`: what it is called, how it is set up, what it can do
    connectors/NAME/mapping.py    pure: between the partner's form and ours
    connectors/NAME/client.py     the I/O: the only file that does any
    connectors/NAME/README.md     how an operator sets it up

The runtime (services/connect) does the rest: schedules, pauses and tries again, remembers, counts, and keeps one
connector's failure from all others. Everything may come twice, since a crash repeats what was not yet remembered.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from connectors.http import Http
from schemas.feed import FeedRow, Format, Head
from schemas.withdrawal import Withdrawal


class Settings(BaseModel):
    """What an operator sets for one connector, in its table of the connectors' file. Secrets are in files of their
    own: a field whose name ends with `_file` is the path of one, and `Tools.secret` reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Tools:
    """What the runtime lends to a connector. `http` goes to the hosts that `Manifest.hosts` names and nowhere else.

    `secret` reads a file that holds one (bytes without the line's end); it raises `Misconfigured`. `now_ms` is ms
    since 1970. `language` is the partner's (BCP 47).

    A connector is opened for each turn. `memory` (JSON) is what a pusher keeps from one to the next: what `push`
    puts there is stored together with what became of the rows.
    """

    http: Http
    secret: Callable[[Path], bytes]
    now_ms: Callable[[], int]
    partner: str
    language: str = "en"
    memory: dict[str, Any] = field(default_factory=dict)


# --- out ----------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What became of one row. `reason` is a code (kebab-case) and never quotes anything that was sent.

    `refused`: the partner's system will never take it as it is. `retry`: later, after `after_seconds` if it said
    so. `wait`: nothing is wrong, its turn is in `after_seconds`; it is asked again after a day at most. `nothing`:
    this connector has nothing to say of such a row.
    """

    state: Literal["delivered", "refused", "retry", "wait", "nothing"]
    reason: str = ""
    after_seconds: float = 0


DELIVERED = Outcome("delivered")
NOTHING = Outcome("nothing")


class Pusher(Protocol):
    """Brings rows to a partner's system."""

    async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        """One outcome for each row, in order. To push a row again does no harm: (id, version) is its identity.

        Raises `PartnerFailed` where nothing can be said of single rows; all of them come again.
        """
        ...

    async def close(self) -> None: ...


class Publisher(Protocol):
    """Writes the whole of a feed to a place where a partner's system reads it."""

    async def publish(self, head: Head, pages: AsyncIterator[Sequence[FeedRow]]) -> None:
        """Whoever reads meanwhile sees the old or the new, never a part. Raises `PartnerFailed`."""
        ...

    async def close(self) -> None: ...


# --- in -----------------------------------------------------------------------------------------------------------


class Pulled(NamedTuple):
    """One body for accept, and from where to go on when it is stored durably.

    `body` is in any format that accept reads, of at most `MAX_BODY_BYTES`; `media_type` and `filename` as an
    uploader would give them. `feed` names what it is a part or a snapshot of; `snapshot` says that it is the whole
    of that feed, so that what is no longer in it is withdrawn; with an empty body the feed is over, and holds
    nothing any more. `withdrawal` takes back by the source's own ids. `checkpoint` (any JSON, see `Checkpoint`) is
    given back to the next pull; None: as before.
    """

    body: bytes = b""
    media_type: str = ""
    filename: str = ""
    feed: str = ""
    snapshot: bool = False
    withdrawal: Withdrawal | None = None
    checkpoint: Mapping[str, Any] | None = None


class Checkpoint(BaseModel):
    """From where a puller goes on, with types. What it can't read (of another version, say) starts anew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> Self:
        try:
            return cls.model_validate(checkpoint)
        except ValidationError:
            return cls()

    def dump(self) -> Mapping[str, Any]:
        return self.model_dump(mode="json", exclude_defaults=True)


class Puller(Protocol):
    """Fetches what a partner's system has to say."""

    def pull(self, checkpoint: Mapping[str, Any]) -> AsyncGenerator[Pulled]:
        """What is new since `checkpoint` (empty at first), in pieces. Raises `PartnerFailed`; what was yielded
        before that is kept. May be cancelled at any moment."""
        ...

    async def close(self) -> None: ...


# --- what it is ---------------------------------------------------------------------------------------------------


MAX_BODY_BYTES = 16 * 1024 * 1024
"""Of one body for accept."""

Open = Callable[[Any, Tools], Awaitable[Any]]


@dataclass(frozen=True)
class Manifest:
    """What a connector is called and can do. `settings` is its model; `hosts` gives, from settings, the addresses
    (URLs) that it may speak with.

    `push`, `publish` and `pull` open it (settings, tools) for that direction. `acknowledges` says that what it
    calls delivered was taken by the partner's own system, so that the hub notes a receipt. `formats` are file
    formats that it adds to the feeds. `destination` names the settings that decide where things go: where one of
    them changes, staff must let it start anew.
    """

    name: str
    summary: str
    settings: type[Settings]
    hosts: Callable[[Any], Sequence[str]] = lambda _settings: ()
    push: Open | None = None
    publish: Open | None = None
    pull: Open | None = None
    acknowledges: bool = False
    formats: Mapping[str, Format] = field(default_factory=lambda: MappingProxyType({}))
    destination: tuple[str, ...] = ()
    push_rows: int = 100
    every_seconds: int = 300
