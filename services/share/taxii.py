"""What TAXII 2.1 (OASIS Standard, 10 June 2021) says about requests and resources, as far as a feed is read. Pure.

Refusals are `BodyRefused` with the HTTP status that the standard gives them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from schemas.errors import BodyRefused, clip
from schemas.feed import FeedRow
from schemas.timestamps import format_time
from services.share.rows import Match, Page

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


class Query(NamedTuple):
    """What a request asks for; `nothing` where its filters can't match any object of this hub."""

    match: Match
    limit: int
    nothing: bool = False


PAGING = frozenset({"added_after", "limit", "next"})
OF_VERSIONS = PAGING | {"match[spec_version]"}
OF_OBJECT = OF_VERSIONS | {"match[version]"}
OF_OBJECTS = OF_OBJECT | {"match[id]", "match[type]"}


def read_query(
    parameters: Iterable[tuple[str, str]], known: frozenset[str], unseal: Callable[[str], int | None]
) -> Query:
    """The filters of section 3.4. `unseal` gives the place that a `next` stands for, None if it is not ours.

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
    versions = _versions(given.get("match[version]"))
    spec_versions = _values(given, "match[spec_version]", _spec_version)
    match = Match(
        after=max(after),
        ids=_values(given, "match[id]", is_object_id),
        types=_values(given, "match[type]", _type),
        versions=versions,
    )
    return Query(match, _read_limit(given.get("limit")), spec_versions is not None and "2.1" not in spec_versions)


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


def _versions(text: str | None) -> tuple[str, ...] | None:
    """The `modified` times asked for. A feed keeps one version of each object: it is first, last and all."""
    if text is None:
        return None
    values = text.split(",")
    times = [timestamp_us(value, "match[version]") for value in values if value not in ("first", "last", "all")]
    if len(times) < len(values):
        return None
    return tuple({format_time(us // 1_000) for us in times if us >= 0 and us % 1_000 == 0})


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


def collection_id(secret: bytes, partner: str) -> str:
    """The id of a partner's feed: a UUID that stays, and that nobody can guess."""
    raw = hmac.digest(secret, b"taxii-collection\0" + partner.encode(), "sha256")
    return str(UUID(bytes=raw[:16], version=4))


def collection(id_: str) -> dict[str, Any]:
    return {
        "id": id_,
        "title": "Your feed",
        "description": "Everything that this hub shares with you; withdrawn objects are revoked",
        "can_read": True,
        "can_write": False,
        "media_types": [STIX_MEDIA_TYPE],
    }


def envelope(page: Page, next_: str) -> bytes:
    """Section 3.7, of the bodies as they are stored."""
    return _listing("objects", [row.body for row in page.rows], page.more, next_)


def manifest(page: Page, next_: str) -> bytes:
    """Section 5.6.1."""
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


def versions(page: Page, next_: str) -> bytes:
    """Section 5.8.1. `next` is not in the standard's resource, but without it no client could get the rest."""
    return _listing("versions", [orjson.dumps(version(row)) for row in page.rows], page.more, next_)


def version(row: FeedRow) -> str:
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
