"""A signed POST for whatever is new: Standard Webhooks around a STIX bundle, as a CloudEvent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from connectors.access import EncryptedUrl
from connectors.base import Manifest, Settings
from connectors.webhook import client


class WebhookSettings(Settings):
    """`url` takes the POST. `secret_file` holds a secret (`whsec_…`), or several, one on each line, the newest
    first. `source` is what the hub calls itself (CloudEvents' `source`, a URI). A bundle has at most `rows`
    objects and `bundle_bytes` bytes."""

    url: EncryptedUrl
    secret_file: Path
    source: Annotated[str, Field(pattern=r"^[!-~]{1,200}$")] = "urn:tocsin:hub"
    rows: Annotated[int, Field(ge=1, le=1000)] = 100
    bundle_bytes: Annotated[int, Field(ge=1024, le=16 * 1024 * 1024)] = 1024 * 1024


MANIFEST = Manifest(
    name="webhook",
    summary="POSTs signed STIX bundles to an address of the partner's (Standard Webhooks, CloudEvents)",
    settings=WebhookSettings,
    hosts=lambda settings: (settings.url,),
    push=client.open_pusher,
    acknowledges=True,
    destination=("url",),
    push_rows=500,
    every_seconds=15,
)
