"""The connector to copy: lines of JSON in a folder, in both directions, without any network."""

from __future__ import annotations

from pathlib import Path

from connectors.base import Manifest, Settings
from connectors.sample import client


class SampleSettings(Settings):
    """`folder` is where it writes `outbox.jsonl`, and reads `*.json` from (STIX bundles)."""

    folder: Path


MANIFEST = Manifest(
    name="sample",
    summary="writes what is shared to a file, and reads bundles from a folder; the one to copy",
    settings=SampleSettings,
    push=client.open_pusher,
    pull=client.open_puller,
    acknowledges=True,
    destination=("folder",),
    every_seconds=60,
)
