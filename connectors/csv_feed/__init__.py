"""Reads a file of CSV from an address or a path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from connectors.access import EncryptedUrl
from connectors.base import Manifest, Settings
from connectors.csv_feed import client


class CsvFeedSettings(Settings):
    """`url` or `file` is where it is; what its columns mean is in the partner's agreement (`[contributes.csv]`).

    With `snapshot`, what the file holds no more is withdrawn; `about` is then the column that says what a row is
    about, for files of which a submission can't hold all. `token_file` holds a bearer token for `url`. The file has
    at most `max_bytes`, and as a snapshot 64 MiB.
    """

    url: EncryptedUrl | None = None
    file: Path | None = None
    snapshot: bool = False
    about: str = ""
    delimiter: Literal["", ",", ";", "\t", "|"] = ""
    token_file: Path | None = None
    max_bytes: Annotated[int, Field(ge=1024, le=16 * 1024**3)] = 2 * 1024**3

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.url is None) == (self.file is None):
            raise ValueError("set one of url and file")
        return self


MANIFEST = Manifest(
    name="csv_feed",
    summary="reads a file of CSV from an address or a path",
    settings=CsvFeedSettings,
    hosts=lambda settings: () if settings.url is None else (settings.url,),
    pull=client.open_puller,
    every_seconds=3_600,
)
