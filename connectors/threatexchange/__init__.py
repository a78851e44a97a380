"""Descriptors and hashes as readers of Meta's ThreatExchange take them."""

from __future__ import annotations

from pathlib import Path

from connectors.base import Manifest, Settings
from connectors.threatexchange import client, mapping


class ThreatExchangeSettings(Settings):
    """`folder` must be there; `threat_updates.json` is written into it."""

    folder: Path


MANIFEST = Manifest(
    name="threatexchange",
    summary="writes descriptors and hashes in the form of Meta's ThreatExchange",
    settings=ThreatExchangeSettings,
    publish=client.open_publisher,
    formats=mapping.FORMATS,
    destination=("folder",),
    every_seconds=300,
)
