"""What a recipient says that it did with an item: `POST /api/v1/receipts`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.handling import Time

ReceiptStatus = Literal["received", "acting", "acted", "declined", "false-positive"]
FINAL: frozenset[str] = frozenset({"acted", "declined", "false-positive"})
"""Nothing more is expected after these."""

MAX_REASON_CHARS = 2_000


class Receipt(BaseModel):
    """`item` is the STIX id under which the recipient holds it; `time` (STIX timestamp) is when, else now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,250}--[0-9a-f-]{36}$")]
    status: ReceiptStatus
    reason: str = Field(default="", max_length=MAX_REASON_CHARS)
    time: Time | None = None
