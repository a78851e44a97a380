"""What a source takes back: `POST /api/v1/withdrawals`."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import BodyRefused, clip
from schemas.report import Withdrawn

MAX_NAMED = 100_000
MAX_SUBMISSIONS = 1_000
MAX_CONSENTS = 100
MAX_CONSENT_CHARS = 200
MAX_ID_CHARS = 300

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS, pattern=r"^[^\x00-\x1f]+$")]
Submission = Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
ConsentReference = Annotated[str, Field(min_length=1, max_length=MAX_CONSENT_CHARS)]


class Withdrawal(BaseModel):
    """What is named is withdrawn, in whichever list it stands.

    `ids` are the source's own, `items` those under which the hub acknowledged or sent an item, `submissions` stand
    for all that came with them, and `consents` (references that the source gave with its submissions) for all that
    came under them, and whatever may still come. `why`: `revoked`, the source takes its word back; `consent`, the
    people concerned withdrew theirs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: tuple[Id, ...] = Field(default=(), max_length=MAX_NAMED)
    items: tuple[Id, ...] = Field(default=(), max_length=MAX_NAMED)
    submissions: tuple[Submission, ...] = Field(default=(), max_length=MAX_SUBMISSIONS)
    consents: tuple[ConsentReference, ...] = Field(default=(), max_length=MAX_CONSENTS)
    why: Withdrawn

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.why:
            raise ValueError("why is revoked or consent")
        if not (self.ids or self.items or self.submissions or self.consents):
            raise ValueError("it names nothing: one of ids, items, submissions and consents has to")
        if self.consents and self.why != "consent":
            raise ValueError("a consent that is named is withdrawn: why has to be consent")
        return self


def read(document: Any) -> Withdrawal:
    """Raises `BodyRefused` (`withdrawal-invalid`) with the JSON pointer of the first fault; it quotes nothing."""
    try:
        return Withdrawal.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise BodyRefused(
            "withdrawal-invalid",
            clip(first["msg"].removeprefix("Value error, "), 240),
            where="".join(f"/{clip(step)}" for step in first["loc"]),
            hint='send {"ids": […], "items": […], "submissions": […], "consents": […], "why": "revoked"}; '
            'or "why": "consent"',
            status=422,
        ) from None


def spelled(reference: str) -> str:
    """A consent reference as it is compared: what looks the same to a person is the same."""
    return unicodedata.normalize("NFC", reference.strip())
