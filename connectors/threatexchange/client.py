"""The output in the form of ThreatExchange: a file in a folder. Over HTTP the hub itself gives it out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from connectors.base import Tools
from connectors.files import FolderPublisher
from connectors.threatexchange import mapping


class _Settings(Protocol):
    @property
    def folder(self) -> Path: ...


async def open_publisher(settings: _Settings, _tools: Tools) -> FolderPublisher:
    return FolderPublisher(settings.folder, {mapping.FILE: mapping.FORMATS["threatexchange"]})
