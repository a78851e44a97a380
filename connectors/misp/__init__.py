"""Keeps events on a partner's MISP as the partner's feed says, through its REST API."""

from __future__ import annotations

from connectors.base import Manifest
from connectors.misp import client
from connectors.misp.push_settings import MispPushSettings

MANIFEST = Manifest(
    name="misp",
    summary="adds, edits and deletes attributes on a partner's MISP (REST API)",
    settings=MispPushSettings,
    hosts=lambda settings: (settings.url,),
    push=client.open_pusher,
    acknowledges=True,
    destination=("url", "distribution", "publish"),
    push_rows=200,
    every_seconds=60,
)
