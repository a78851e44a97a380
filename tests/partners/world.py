"""What every partner's system has in common for the tests of the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from connectors.base import Pusher, Settings, Tools

Mode = Literal["takes", "refuses", "later", "lets-nobody-in", "talks-nonsense"]
ALL: frozenset[Mode] = frozenset({"takes", "refuses", "later", "lets-nobody-in", "talks-nonsense"})


class Partner(Protocol):
    """`mode` is how it behaves from now on. `held` is what it holds: equal sets are equal contents, and what it was
    told twice is in it once."""

    mode: Mode

    def held(self) -> frozenset[Any]: ...


@dataclass
class World:
    """A connector's settings and what is at the other end. `secrets` must be in no log and no error; `modes` are
    those that this partner can have."""

    partner: Partner
    settings: Settings
    tools: Tools
    open: Callable[[Any, Tools], Any]
    secrets: tuple[str, ...]
    modes: frozenset[Mode] = field(default=ALL)

    async def pusher(self) -> Pusher:
        opened: Pusher = await self.open(self.settings, self.tools)
        return opened


MakeWorld = Callable[[Path], AbstractAsyncContextManager[World]]
Worlds = AsyncIterator[World]


def secret_file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode() + b"\n")
    return path
