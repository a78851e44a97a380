"""Keeps events on a partner's MISP as the partner's feed says, through its REST API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from connectors.base import Manifest, Settings
from connectors.misp import client


class MispSettings(Settings):
    """`url` is where MISP is, `key_file` holds an authentication key of a user that may add and modify its own
    organisation's events. `distribution` is MISP's, of the events: 0 (that organisation alone) to 3 (all).
    `publish` publishes an event after each change."""

    url: str
    key_file: Path
    distribution: Annotated[int, Field(ge=0, le=3)] = 0
    publish: bool = False


MANIFEST = Manifest(
    name="misp",
    summary="adds, edits and deletes attributes on a partner's MISP (REST API)",
    settings=MispSettings,
    hosts=lambda settings: (settings.url,),
    push=client.open_pusher,
    acknowledges=True,
    destination=("url", "distribution", "publish"),
    push_rows=200,
    every_seconds=60,
)
