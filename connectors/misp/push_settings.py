"""What an operator sets to push to a MISP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from connectors.access import EncryptedUrl
from connectors.base import Settings


class MispPushSettings(Settings):
    """`url` is where MISP is, `key_file` holds an authentication key of a user that may add and modify its own
    organisation's events. `distribution` is MISP's, of the events: 0 (that organisation alone) to 3 (all).
    `publish` publishes an event after each change."""

    url: EncryptedUrl
    key_file: Path
    distribution: Annotated[int, Field(ge=0, le=3)] = 0
    publish: bool = False
