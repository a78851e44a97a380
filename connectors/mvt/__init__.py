"""What to look for on telephones, as the Mobile Verification Toolkit reads it."""

from __future__ import annotations

from pathlib import Path

from connectors.base import Manifest, Settings
from connectors.mvt import client, mapping


class MvtSettings(Settings):
    """`folder` must be there; `tocsin.stix2` is written into it."""

    folder: Path


MANIFEST = Manifest(
    name="mvt",
    summary="writes a STIX2 file that the Mobile Verification Toolkit checks telephones with",
    settings=MvtSettings,
    publish=client.open_publisher,
    formats=mapping.FORMATS,
    destination=("folder",),
    every_seconds=300,
)
