"""Adds what is new to a collection on a partner's TAXII 2.1 server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from connectors.access import EncryptedUrl
from connectors.base import Manifest, Settings
from connectors.taxii_push import client


class TaxiiPushSettings(Settings):
    """`api_root` is the address of the API root, `collection` the collection's id. The partner lets the hub in by
    `token_file` (bearer), or by `user` and `password_file` (HTTP Basic). An envelope has at most `rows` objects.
    `wait_seconds` is how long one that the server still works on is waited for before it comes again."""

    api_root: EncryptedUrl
    collection: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._~-]{0,199}$")]
    token_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    rows: Annotated[int, Field(ge=1, le=1000)] = 100
    wait_seconds: Annotated[float, Field(ge=0, le=600)] = 30

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.token_file is None) == (self.password_file is None) or (self.password_file is None) != (
            not self.user
        ):
            raise ValueError("set either token_file, or user and password_file")
        return self


MANIFEST = Manifest(
    name="taxii_push",
    summary="adds objects to a collection on a partner's TAXII 2.1 server",
    settings=TaxiiPushSettings,
    hosts=lambda settings: (settings.api_root,),
    push=client.open_pusher,
    acknowledges=True,
    destination=("api_root", "collection"),
    push_rows=500,
    every_seconds=60,
)
