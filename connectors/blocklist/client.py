"""The blocklists' output: files in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from connectors.base import Tools
from connectors.blocklist import mapping
from connectors.files import FolderPublisher


class _Settings(Protocol):
    @property
    def folder(self) -> Path: ...
    @property
    def formats(self) -> Sequence[str]: ...
    @property
    def zone(self) -> str: ...


async def open_publisher(settings: _Settings, _tools: Tools) -> FolderPublisher:
    known = {**mapping.FORMATS, "rpz": mapping.rpz(settings.zone)}
    return FolderPublisher(settings.folder, {mapping.FILES[name]: known[name] for name in settings.formats})
