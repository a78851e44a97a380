"""MISP: reads its events, keeps events on a partner's MISP, and writes a feed that a MISP fetches."""

from __future__ import annotations

from pathlib import Path

from connectors.base import Manifest, Settings
from connectors.misp import client, mapping, pull_client, static
from connectors.misp.pull_settings import MispPullSettings
from connectors.misp.push_settings import MispPushSettings


class MispFeedSettings(Settings):
    """`folder` is that of the static feed; it must be there, for nothing else."""

    folder: Path


PULL = Manifest(
    name="misp",
    summary="reads events from a MISP by its REST API, or from a static MISP feed",
    settings=MispPullSettings,
    hosts=lambda settings: (settings.url or settings.feed,),
    pull=pull_client.open_puller,
    every_seconds=900,
)

PUSH = Manifest(
    name="misp_push",
    summary="adds, edits and deletes attributes on a partner's MISP (REST API)",
    settings=MispPushSettings,
    hosts=lambda settings: (settings.url,),
    push=client.open_pusher,
    acknowledges=True,
    destination=("url", "distribution", "publish"),
    push_rows=200,
    every_seconds=60,
)

FEED = Manifest(
    name="misp_feed",
    summary="writes a feed that a MISP fetches from a web server",
    settings=MispFeedSettings,
    publish=static.open_publisher,
    formats=mapping.FORMATS,
    destination=("folder",),
    every_seconds=300,
)
