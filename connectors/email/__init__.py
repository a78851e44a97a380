"""Digests of what is new by e-mail: encrypted with contents, or numbers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from connectors.base import Manifest, Settings
from connectors.email import client

Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}$")]
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class EmailSettings(Settings):
    """The server that mail is given to: `host`, `port`, `tls` (`starttls`, which must succeed; `tls` from the
    beginning; `none` to this very machine only), `user` and `password_file`; `ca_file` are authorities (PEM) to
    trust instead of the system's.

    `key_file` holds the recipients' OpenPGP certificates; without it there are no contents in what is sent.
    `every_hours` parts one digest from the next; what is urgent, and what is withdrawn, goes at once. A digest
    lists at most `listed` items.
    """

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    sender: Address
    recipients: Annotated[tuple[Address, ...], Field(min_length=1, max_length=20)]
    key_file: Path | None = None
    every_hours: Annotated[float, Field(ge=0, le=24 * 31)] = 24
    listed: Annotated[int, Field(ge=1, le=1000)] = 200
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 60

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tls == "none" and self.host not in THIS_MACHINE:
            raise ValueError(f"tls = 'none' is for a mail server on this machine only ({', '.join(THIS_MACHINE)})")
        if bool(self.user) != (self.password_file is not None):
            raise ValueError("user and password_file go together")
        return self


MANIFEST = Manifest(
    name="email",
    summary="sends digests by e-mail, OpenPGP-encrypted where a key is on file",
    settings=EmailSettings,
    push=client.open_pusher,
    destination=("host", "recipients", "key_file"),
    push_rows=2000,
    every_seconds=60,
)
