"""The sample's partner is a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connectors.sample import MANIFEST, SampleSettings
from connectors.sample.client import OUTBOX
from tests.partners.rows import lent
from tests.partners.world import Mode, World


class Folder:
    """What can't be used where it `talks-nonsense` is a folder in the outbox's place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mode: Mode = "takes"

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "talks-nonsense":
            (self._path / OUTBOX).mkdir()

    def held(self) -> frozenset[Any]:
        outbox = self._path / OUTBOX
        lines = outbox.read_bytes().splitlines() if outbox.is_file() else []
        assert len(lines) == len(set(lines))
        return frozenset(lines)

    def forget(self) -> None:
        """It is on the disk."""


@asynccontextmanager
async def sample_world(folder: Path) -> AsyncIterator[World]:
    async with lent(()) as tools:
        assert MANIFEST.push is not None
        yield World(Folder(folder), SampleSettings(folder=folder), tools, MANIFEST.push, ())
