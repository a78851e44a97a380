"""Between rows of a feed and TAXII 2.1's resources (OASIS Standard, 10 June 2021). Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.base import DELIVERED, Outcome
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow
from schemas.timestamps import exact

MEDIA_TYPE = "application/taxii+json;version=2.1"
MAX_CONTENT_BYTES = 16 * 1024 * 1024
"""Of an envelope, where the server would take more."""
ENVELOPE_BYTES = len(b'{"objects":[\n\n]}')
PENDING = Outcome("retry", "pending", 60)
REFUSED = "refused-by-server"

Resource = TypeVar("Resource", bound=BaseModel)
_LENIENT = ConfigDict(frozen=True, extra="ignore")
Count = Annotated[int, Field(ge=0)]


class Detail(BaseModel):
    """What became of one object (section 4.3.1, "status details"); its message is not for us."""

    model_config = _LENIENT

    id: str = Field(max_length=400)
    version: Annotated[str, Field(max_length=80)] | None = None


Details = Annotated[tuple[Detail, ...], Field(max_length=10_000)]


class Status(BaseModel):
    """The status resource (section 4.3.1). `id` is a UUID: it becomes a part of an address."""

    model_config = _LENIENT

    id: UUID
    status: Literal["complete", "pending"]
    total_count: Count
    success_count: Count
    failure_count: Count
    pending_count: Count
    successes: Details = ()
    failures: Details = ()


class ApiRoot(BaseModel):
    """Of the API root resource (section 4.2.1) what matters to who writes."""

    model_config = _LENIENT

    max_content_length: Annotated[int, Field(ge=1)]


class Collection(BaseModel):
    """Of the collection resource (section 5.2.1) what matters to who writes."""

    model_config = _LENIENT

    can_read: bool
    can_write: bool


class Versions(BaseModel):
    """The versions resource (section 5.8.1) of one object."""

    model_config = _LENIENT

    versions: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()


class Answered(NamedTuple):
    """What a status says of the rows of an envelope; `failed` are the places of those that the server did not take,
    which it may do because it has them already. `unclear`: it does not say which."""

    outcomes: list[Outcome]
    failed: tuple[int, ...]
    unclear: bool = False


def read(model: type[Resource], body: bytes, where: str) -> Resource:
    """Raises `PartnerFailed`, without quoting the body."""
    try:
        return model.model_validate_json(body)
    except ValidationError:
        raise PartnerFailed(
            "not-taxii",
            f"its answer is no {model.__name__} of TAXII 2.1",
            where=where,
            hint="is `api_root` the address of an API root?",
        ) from None


def envelope(rows: Sequence[FeedRow]) -> bytes:
    """An envelope (section 3.7) of the rows' bodies as they are: a withdrawal is a revoked object."""
    return b'{"objects":[\n' + b",\n".join(row.body for row in rows) + b"\n]}"


def authorization(token: str, user: str, password: bytes) -> str:
    """The header's value: bearer (RFC 6750), or without a token Basic in UTF-8 (RFC 7617)."""
    if token:
        return f"Bearer {token}"
    return "Basic " + base64.b64encode(user.encode() + b":" + password).decode()


def answered(status: Status, rows: Sequence[FeedRow], where: str = "") -> Answered:
    """What a status means for the rows that were sent; raises `PartnerFailed` where it contradicts itself."""
    counted = status.success_count + status.failure_count + status.pending_count
    if (
        status.total_count != counted
        or counted != len(rows)
        or (status.status == "complete" and status.pending_count)
    ):
        raise PartnerFailed("status-contradicts", "the counts of its status do not agree", where=where)
    failed = set(_places(status.failures, rows))
    if status.failure_count and len(rows) == 1:
        failed = {0}
    if len(failed) != status.failure_count:
        return Answered([], (), unclear=True)
    done = set(_places(status.successes, rows)) if status.pending_count else set(range(len(rows)))
    outcomes = [DELIVERED if place in done else PENDING for place in range(len(rows))]
    for place in failed:
        outcomes[place] = Outcome("refused", REFUSED)
    return Answered(outcomes, tuple(sorted(failed)))


def _places(details: Sequence[Detail], rows: Sequence[FeedRow]) -> Iterator[int]:
    named: dict[str, set[str]] = {}
    for detail in details:
        named.setdefault(detail.id, set()).add(exact(detail.version or ""))
    for place, row in enumerate(rows):
        versions = named.get(row.stix_id)
        # of an object without versions a server names the time of its arrival
        if versions and (not row.modified or "" in versions or exact(row.modified) in versions):
            yield place


def holds(versions: Versions, row: FeedRow) -> bool:
    """Whether the server has this very version, however it writes it; where there are none, the object."""
    if not row.modified:
        return bool(versions.versions)
    return exact(row.modified) in map(exact, versions.versions)


def pauses(wait_seconds: float) -> Iterator[float]:
    """Between looks at a status, in seconds: longer and longer, together `wait_seconds`."""
    pause = 0.25
    while wait_seconds > 0:
        yield min(pause, wait_seconds)
        wait_seconds -= pause
        pause = min(pause * 2, 10)


def headers(authorization_: str, content: bool = False) -> Mapping[str, str]:
    given = {"Authorization": authorization_, "Accept": MEDIA_TYPE}
    return given | {"Content-Type": MEDIA_TYPE} if content else given
