"""Reads STIX bundles from an address, from the index of such addresses that MVT keeps, or from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from connectors.access import EncryptedUrl
from connectors.base import Manifest, Settings
from connectors.stix_files import client, mapping


class StixFilesSettings(Settings):
    """One of `url` (a bundle), `index` (the address of an `indicators.yaml` as MVT has it) and `folder`, in which
    the files are read whose names end with one of `suffixes`.

    With `snapshot`, what a file holds no more is withdrawn, and what is only in a file that is gone. `hosts` are
    further addresses (`https://host`) that an index may name. `token_file` holds a bearer token for `url` or
    `index`. A file has at most `max_bytes`.
    """

    url: EncryptedUrl | None = None
    index: EncryptedUrl | None = None
    folder: Path | None = None
    suffixes: tuple[str, ...] = (".json", ".stix", ".stix2")
    snapshot: bool = False
    hosts: tuple[str, ...] = ()
    token_file: Path | None = None
    max_bytes: Annotated[int, Field(ge=1024, le=256 * 1024 * 1024)] = 64 * 1024 * 1024

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.url, self.index, self.folder)) != 1:
            raise ValueError("set one of url, index and folder")
        return self


def _hosts(settings: StixFilesSettings) -> tuple[str, ...]:
    if settings.index is not None:
        return (settings.index, mapping.GITHUB, *settings.hosts)
    return () if settings.url is None else (settings.url,)


MANIFEST = Manifest(
    name="stix_files",
    summary="reads STIX bundles from an address, an index of addresses (MVT), or a folder",
    settings=StixFilesSettings,
    hosts=_hosts,
    pull=client.open_puller,
    every_seconds=3_600,
)
