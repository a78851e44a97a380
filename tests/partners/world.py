"""What every partner's system has in common for the tests of the contract."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from connectors.base import Pusher, Settings, Tools

Mode = Literal["takes", "refuses", "later", "lets-nobody-in", "talks-nonsense"]


class Partner(Protocol):
    """`mode` is how it behaves from now on. `held` is what it holds: equal sets are equal contents, and what it was
    told twice is in it once. `forget` lets go of it, so that the memory that is measured is the connector's."""

    mode: Mode

    def held(self) -> frozenset[Any]: ...

    def forget(self) -> None: ...


@dataclass
class World:
    """A connector's settings and what is at the other end. `secrets` must be in no log and no error."""

    partner: Partner
    settings: Settings
    tools: Tools
    open: Callable[[Any, Tools], Any]
    secrets: tuple[str, ...]

    async def pusher(self) -> Pusher:
        opened: Pusher = await self.open(self.settings, self.tools)
        return opened


MakeWorld = Callable[[Path], AbstractAsyncContextManager[World]]


def secret_file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode() + b"\n")
    return path
