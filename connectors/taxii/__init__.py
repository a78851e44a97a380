"""Reads the collections of a TAXII 2.1 server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from connectors.access import EncryptedUrl
from connectors.base import Manifest, Settings
from connectors.taxii import client


class TaxiiSettings(Settings):
    """`url` is the address of the server's discovery resource, or of an API root. `collections` are ids, aliases or
    titles; without any, all are read that can be read.

    The partner lets the hub in by `token_file` (bearer), by `user` and `password_file` (HTTP Basic), or without.
    `hosts` are further addresses (`https://host`) on which the server's API roots are; what lets the hub in is
    shown there too. A page has at most `page` objects.
    """

    url: EncryptedUrl
    collections: tuple[str, ...] = ()
    hosts: tuple[EncryptedUrl, ...] = ()
    token_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    page: Annotated[int, Field(ge=1, le=10_000)] = 1_000

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.token_file is not None and self.password_file is not None:
            raise ValueError("set token_file, or user and password_file, not both")
        if (self.password_file is None) != (not self.user):
            raise ValueError("user and password_file go together")
        return self


MANIFEST = Manifest(
    name="taxii",
    summary="reads the collections of a TAXII 2.1 server",
    settings=TaxiiSettings,
    hosts=lambda settings: (settings.url, *settings.hosts),
    pull=client.open_puller,
    every_seconds=300,
)
