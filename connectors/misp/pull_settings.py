"""What an operator sets to read from a MISP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from connectors.access import EncryptedUrl
from connectors.base import Settings


class MispPullSettings(Settings):
    """`url` is where a MISP is, `key_file` holds the authentication key of a user there; or `feed` is the folder of
    a static feed (the address above its `manifest.json`).

    `published` leaves out events that are not (REST). `filters` are further ones of `events/restSearch`, such as
    `tags`. An event that is no longer listed is withdrawn when it has been missing for `gone_hours`: one that is
    being edited may be hidden meanwhile (REST; a static feed says at once what is gone). `look_hours` is how often
    the list of all events is looked through for it.
    """

    url: EncryptedUrl | None = None
    key_file: Path | None = None
    feed: EncryptedUrl | None = None
    published: bool = True
    filters: dict[str, Any] = Field(default_factory=dict)
    gone_hours: Annotated[float, Field(ge=0, le=24 * 90)] = 24
    look_hours: Annotated[float, Field(ge=0, le=24 * 30)] = 1
    page: Annotated[int, Field(ge=1, le=10_000)] = 500
    max_event_bytes: Annotated[int, Field(ge=1024, le=256 * 1024 * 1024)] = 64 * 1024 * 1024

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.url is None) == (self.feed is None):
            raise ValueError("set one of url and feed")
        if (self.url is None) != (self.key_file is None):
            raise ValueError("url and key_file go together")
        return self
