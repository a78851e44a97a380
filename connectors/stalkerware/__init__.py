"""Reads the indicators of stalkerware that ECHAP keeps in a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from connectors.access import EncryptedUrl
from connectors.base import Manifest, Settings
from connectors.stalkerware import client

URL = "https://raw.githubusercontent.com/AssoEchap/stalkerware-indicators/master/ioc.yaml"


class StalkerwareSettings(Settings):
    """`url` is where the `ioc.yaml` is; `file` one that is here."""

    url: EncryptedUrl = URL
    file: Path | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.file is not None and "url" in self.model_fields_set:
            raise ValueError("set url or file, not both")
        return self


MANIFEST = Manifest(
    name="stalkerware",
    summary="reads the stalkerware indicators of ECHAP (ioc.yaml)",
    settings=StalkerwareSettings,
    hosts=lambda settings: () if settings.file else (settings.url,),
    pull=client.open_puller,
    every_seconds=6 * 3_600,
)
