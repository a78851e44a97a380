"""What TAXII 2.1 (OASIS Standard, 10 June 2021) says about requests and resources. Pure.

Refusals are `BodyRefused` with the HTTP status that the standard gives them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson

from schemas.errors import BodyRefused, clip
from schemas.timestamps import format_time
from services.share.rows import Match

MEDIA_TYPE = "application/taxii+json;version=2.1"
STIX_MEDIA_TYPE = "application/stix+json;version=2.1"
DEFAULT_LIMIT, MAX_LIMIT = 1_000, 5_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_timestamp = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,64}))?Z").fullmatch
_limit = re.compile(r"0*[1-9][0-9]{0,8}").fullmatch
_spec_version = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}").fullmatch
_type = re.compile(r"[a-z0-9-]{1,250}").fullmatch
is_object_id = re.compile(r"[a-z0-9-]{1,250}--[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


# --- requests -------------------------------------------------------------------------------------------------


def accepts(header: str | None) -> bool:
    """Whether an `Accept` header (RFC 9110 section 12.5.1) takes TAXII 2.1; one without a version does.

    The standard has no other representation to offer, so preferences don't matter, only a weight of 0 does.
    """
    return header is None or any(_takes(media_range) for media_range in header.split(","))


def _takes(media_range: str) -> bool:
    name, *parameters = (part.strip().lower() for part in media_range.split(";"))
    values = dict(parameter.partition("=")[::2] for parameter in parameters)
    if re.fullmatch(r"0(\.0*)?", values.get("q", "1").strip()):
        return False
    if name in ("*/*", "application/*"):
        return True
    return name == "application/taxii+json" and values.get("version", "2.1").strip('" ') == "2.1"


def is_taxii(content_type: str | None) -> bool:
    """Whether a `Content-Type` header says that a body is of TAXII 2.1 (section 1.6.8); it names one type."""
    name, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    versions = [value.strip('" ') for key, _, value in (p.partition("=") for p in parameters) if key == "version"]
    return name == "application/taxii+json" and versions == ["2.1"]


class Versions(NamedTuple):
    """Which versions of each object are asked for (section 3.4.1): `exact` are points in time, µs since 1970."""

    first: bool = False
    last: bool = False
    all: bool = False
    exact: tuple[int, ...] = ()

    def choose(self, there: Collection[int]) -> set[int]:
        """Of the versions that there are of one object those that are meant."""
        if self.all or not there:
            return set(there)
        ends = {end for end, wanted in ((min(there), self.first), (max(there), self.last)) if wanted}
        return ends | (set(self.exact) & set(there))


LAST, ALL = Versions(last=True), Versions(all=True)


class Query(NamedTuple):
    """What a request asks for; `nothing` where its filters can't match any object of this hub.

    `match` is for feeds, which have one version of each object, and `versions` for collections that have several.
    """

    match: Match
    limit: int
    nothing: bool = False
    versions: Versions = LAST


PAGING = frozenset({"added_after", "limit", "next"})
OF_VERSIONS = PAGING | {"match[spec_version]"}
OF_OBJECT = OF_VERSIONS | {"match[version]"}
OF_DELETED = frozenset({"match[version]", "match[spec_version]"})
OF_OBJECTS = OF_OBJECT | {"match[id]", "match[type]"}


def read_query(
    parameters: Iterable[tuple[str, str]],
    known: frozenset[str],
    unseal: Callable[[str], int | None],
    otherwise: Versions = LAST,
) -> Query:
    """The filters of section 3.4. `unseal` gives the place that a `next` stands for, None if it is not ours.
    Without `match[version]`, `otherwise` is asked for.

    A parameter given twice, a filter that this endpoint does not have and a malformed value are refused: left
    out in silence, they would give an answer to another question. Other parameters mean nothing here.
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in given:
            raise _malformed(name, "is given twice", "give it once; several values are separated by commas")
        if name.startswith("match[") and name not in known:
            raise _malformed(name, "is not a filter of this endpoint", f"it has {', '.join(sorted(known))}")
        if name in known:
            given[name] = value
    after = [-1]
    if "added_after" in given:
        after.append(timestamp_us(given["added_after"], "added_after"))
    if "next" in given:
        after.append(_place(given["next"], unseal))
    versions = _versions(given.get("match[version]"), otherwise)
    spec_versions = _values(given, "match[spec_version]", _spec_version)
    match = Match(
        after=max(after),
        ids=_values(given, "match[id]", is_object_id),
        types=_values(given, "match[type]", _type),
        versions=_of_feed(versions),
    )
    nothing = spec_versions is not None and "2.1" not in spec_versions
    return Query(match, _read_limit(given.get("limit")), nothing, versions)


def _read_limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not _limit(text):
        raise _malformed("limit", f"{clip(text)!r} is not a positive number", f"at most {MAX_LIMIT} are given")
    return min(int(text), MAX_LIMIT)


def _place(text: str, unseal: Callable[[str], int | None]) -> int:
    place = unseal(text)
    if place is None:
        raise _malformed("next", "is not a value that this server gave you", "start again without it")
    return place


def _values(
    given: dict[str, str], name: str, fits: Callable[[str], re.Match[str] | None]
) -> tuple[str, ...] | None:
    if name not in given:
        return None
    values = tuple(dict.fromkeys(given[name].split(",")))
    for value in values:
        if not fits(value):
            raise _malformed(name, f"{clip(value)!r} can't be one of its values", "separate values by commas")
    return values


def _versions(text: str | None, otherwise: Versions) -> Versions:
    if text is None:
        return otherwise
    values = dict.fromkeys(text.split(","))
    if "all" in values and len(values) > 1:
        raise _malformed("match[version]", "has all beside other versions", "give all alone")
    exact = [timestamp_us(value, "match[version]") for value in values if value not in ("first", "last", "all")]
    return Versions("first" in values, "last" in values, "all" in values, tuple(dict.fromkeys(exact)))


def _of_feed(versions: Versions) -> tuple[str, ...] | None:
    """The `modified` times asked for. A feed keeps one version of each object: it is first, last and all."""
    if versions.first or versions.last or versions.all:
        return None
    return tuple({format_time(us // 1_000) for us in versions.exact if us >= 0 and us % 1_000 == 0})


def timestamp_us(text: str, name: str) -> int:
    """A timestamp of the standard (section 2: RFC 3339, UTC, `Z`) in µs since 1970; finer digits are cut off."""
    found = _timestamp(text)
    try:
        moment = datetime.fromisoformat(found[1] + "+00:00") if found else None
    except ValueError:
        moment = None
    if found is None or moment is None:
        raise _malformed(name, f"{clip(text)!r} is not a timestamp", "write it as YYYY-MM-DDTHH:MM:SS.ssssssZ")
    return (moment - _EPOCH) // _MICROSECOND + int(f"{found[2] or '':0<6}"[:6])


def _malformed(name: str, what: str, hint: str) -> BodyRefused:
    return BodyRefused("query-malformed", f"{clip(name)} {what}", where=clip(name), hint=hint)


# --- resources --------------------------------------------------------------------------------------------------


def date_added(added_us: int) -> str:
    """A timestamp with six decimals, as the standard wants it."""
    return (_EPOCH + added_us * _MICROSECOND).isoformat(timespec="microseconds")[:26] + "Z"


class Held(NamedTuple):
    """A collection of one partner. `category` is what a part of its feed is of; `own` are its contributions."""

    id: str
    title: str
    description: str
    category: str = ""
    own: bool = False

    def resource(self) -> dict[str, Any]:
        """Section 5.2.1."""
        return {
            "id": self.id,
            "title": self.title,
            "description": self.description,
            "can_read": True,
            "can_write": self.own,
            "media_types": [STIX_MEDIA_TYPE],
        }


def collections(secret: bytes, partner: str, categories: Iterable[str], *, contributes: bool) -> list[Held]:
    """All of a partner: its feed, a part of it for each of these categories, and what it contributed."""
    held = [
        Held(
            collection_id(secret, partner),
            "Your feed",
            "Everything that this hub shares with you; withdrawn objects are revoked",
        )
    ]
    for category in dict.fromkeys(categories):
        title, says = (
            f"Your feed: {category}",
            f"What of your feed is of the category {category}; and all withdrawals",
        )
        held.append(Held(collection_id(secret, partner, f"category {category}"), title, says, category=category))
    if contributes:
        says = "What you sent to this hub, as you sent it; deleting an object withdraws it"
        held.append(Held(collection_id(secret, partner, "contributions"), "Your contributions", says, own=True))
    return held


def collection_id(secret: bytes, partner: str, which: str = "") -> str:
    """The id of a partner's feed, or of another collection of its: a UUID that stays, and that nobody can guess."""
    of_it = partner.encode() + (b"\0" + which.encode() if which else b"")
    raw = hmac.digest(secret, b"taxii-collection\0" + of_it, "sha256")
    return str(UUID(bytes=raw[:16], version=4))


class Record(Protocol):
    """An object as a collection holds it, since `added` (µs). `modified` is its version, or empty."""

    @property
    def added(self) -> int: ...
    @property
    def stix_id(self) -> str: ...
    @property
    def modified(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Listing(Protocol):
    """Records in the order in which they were added, and whether there are more."""

    @property
    def rows(self) -> Sequence[Record]: ...
    @property
    def more(self) -> bool: ...


class Outcome(Protocol):
    """What became of one object that was posted: `success` or `failure`."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def message(self) -> str: ...


def status(id_: str, received_ms: int, told: Sequence[Outcome]) -> dict[str, Any]:
    """Section 4.3.1. What is taken is in the collection by then, and all else is refused: nothing is pending."""
    resource: dict[str, Any] = {
        "id": id_,
        "status": "complete",
        "request_timestamp": date_added(received_ms * 1_000),
        "total_count": len(told),
    }
    for outcome, counter, listed in (
        ("success", "success_count", "successes"),
        ("failure", "failure_count", "failures"),
    ):
        details = [_detail(each, received_ms) for each in told if each.outcome == outcome]
        resource[counter] = len(details)
        if details:
            resource[listed] = details
    return {**resource, "pending_count": 0}


def _detail(each: Outcome, received_ms: int) -> dict[str, str]:
    detail = {"id": each.id, "version": each.version or date_added(received_ms * 1_000)}
    return {**detail, "message": each.message} if each.message else detail


def envelope(page: Listing, next_: str) -> bytes:
    """Section 3.7, of the bodies as they are stored."""
    return _listing("objects", [row.body for row in page.rows], page.more, next_)


def manifest(page: Listing, next_: str) -> bytes:
    """Section 5.3.1."""
    records = [
        orjson.dumps(
            {
                "id": row.stix_id,
                "date_added": date_added(row.added),
                "version": version(row),
                "media_type": STIX_MEDIA_TYPE,
            }
        )
        for row in page.rows
    ]
    return _listing("objects", records, page.more, next_)


def versions(page: Listing, next_: str) -> bytes:
    """Section 5.8.1. `next` is not in the standard's resource, but without it no client could get the rest."""
    return _listing("versions", [orjson.dumps(version(row)) for row in page.rows], page.more, next_)


def version(row: Record) -> str:
    """`modified`, else `created`, else when it was added (section 3.4.1)."""
    return row.modified or date_added(row.added)


def _listing(name: str, elements: Sequence[bytes], more: bool, next_: str) -> bytes:
    if not elements:
        return b"{}"
    head = b'{"more":true,"next":%b,' % orjson.dumps(next_) if more else b'{"more":false,'
    return b'%b"%b":[%b]}' % (head, name.encode(), b",".join(elements))


def error(status: int, code: str, description: str) -> bytes:
    """The error message resource of section 3.6.1."""
    phrase = HTTPStatus(status).phrase
    return orjson.dumps(
        {"title": phrase, "description": description, "error_code": code, "http_status": str(status)}
    )
