"""MISP: reads its events, and keeps events on a partner's MISP as the partner's feed says."""

from __future__ import annotations

from connectors.base import Manifest
from connectors.misp import client, pull_client
from connectors.misp.pull_settings import MispPullSettings
from connectors.misp.push_settings import MispPushSettings

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
