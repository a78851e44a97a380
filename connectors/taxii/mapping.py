"""TAXII 2.1 from the client's side: what a server's answers say, and how far a client got. Pure.

Source: TAXII 2.1 (OASIS Standard, 10 June 2021), sections 1.6.8 and 3 to 5. Tolerated where the standard lets one,
or nothing can be lost by it: a media type without a version, an envelope without `more`, `next` that stays the same
from page to page (medallion), a `next` that is no longer known, dates that were cut off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urljoin

import orjson

from connectors.slices import Part, stix_parts
from schemas import safejson
from schemas.errors import BodyRefused, PartnerFailed, clip

ACCEPT = "application/taxii+json;version=2.1"
MEDIA_TYPES = (
    "application/taxii+json",
    "application/vnd.oasis.taxii+json",
    "application/stix+json",
    "application/vnd.oasis.stix+json",
    "application/json",
)
MAX_COLLECTIONS = 1_000
MAX_NEXT_CHARS = 2_048
MAX_AHEAD = timedelta(days=1)
CUT_OFF = timedelta(seconds=1)
"""Servers may keep finer dates than they show."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_YEAR = 9_999
MAX_SEEN = 4_096
MAX_SEEN_OF_ALL = 65_536
"""Of all collections together: what is remembered between two pulls is bounded."""
LAST = "x-taxii-date-added-last"
FIRST = "x-taxii-date-added-first"


class Page(NamedTuple):
    """One page of a collection. `first` and `last` are when the first and last object in it were added, None where
    the server does not say so. `keys` are those of its objects; `mark` is the same for the same objects."""

    objects: Sequence[Mapping[str, Any]]
    more: bool
    next: str
    first: datetime | None
    last: datetime | None
    keys: Sequence[str]
    mark: str


def document(body: bytes, media_type: str, where: str) -> Mapping[str, Any]:
    """A resource. Raises `PartnerFailed` where it is none."""
    if media_type not in MEDIA_TYPES:
        what = f"it answers with the media type {clip(media_type) or 'of nothing'!r}"
        raise PartnerFailed("media-type", what, where=where, hint="is there a TAXII 2.1 server?")
    try:
        found = safejson.loads(body)
    except BodyRefused as refusal:
        raise PartnerFailed(refusal.code, f"its answer: {refusal.what}", where=where) from None
    if not isinstance(found, dict):
        raise _not_taxii(where)
    return found


def api_roots(resource: Mapping[str, Any], url: str, where: str) -> list[str]:
    """The API roots that a discovery resource (section 4.1) names; the address itself where it is one (4.2)."""
    if "api_roots" not in resource and ("versions" in resource or "max_content_length" in resource):
        return [_folder(url)]
    named = resource.get("api_roots") or [resource.get("default")]
    if not isinstance(named, list) or not all(isinstance(each, str) and each for each in named):
        raise _not_taxii(where)
    try:
        return list(dict.fromkeys(_folder(urljoin(url, each)) for each in named))[:MAX_COLLECTIONS]
    except ValueError:
        raise _not_taxii(where) from None


def collections(resource: Mapping[str, Any], wanted: Iterable[str], where: str) -> Mapping[str, str]:
    """The ids of the collections (section 5.2) that can be read, by what they are asked for with; all of them
    where none is `wanted`."""
    found = resource.get("collections", [])
    if not isinstance(found, list) or len(found) > MAX_COLLECTIONS:
        raise _not_taxii(where)
    readable: dict[str, str] = {}
    names = set(wanted)
    for each in found:
        if not isinstance(each, dict) or not isinstance(id_ := each.get("id"), str) or not id_:
            raise _not_taxii(where)
        called = {name for name in (id_, each.get("alias"), each.get("title")) if isinstance(name, str)}
        known_as = called & names if names else {id_}
        if each.get("can_read", True) is True and known_as:
            readable.update(dict.fromkeys(known_as, id_))
    return readable


def page(resource: Mapping[str, Any], headers: Mapping[str, str], where: str) -> Page:
    """An envelope (section 3.7), or a bundle in its place. Raises `PartnerFailed` where it is none."""
    objects = resource.get("objects", [])
    next_ = resource.get("next") or ""
    if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
        raise _not_taxii(where)
    if not isinstance(next_, str) or len(next_) > MAX_NEXT_CHARS:
        raise PartnerFailed("next-invalid", "its `next` is no short text", where=where)
    named = {name.lower(): value for name, value in headers.items()}
    more = resource.get("more")
    keys = [key(each) for each in objects]
    return Page(
        objects,
        bool(next_) if more is None else more is True,
        next_,
        moment(named.get(FIRST), where),
        moment(named.get(LAST), where),
        keys,
        hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32],
    )


def seen_of_each(collections: int) -> int:
    """Of how many objects the keys are remembered of each of so many collections."""
    return min(MAX_SEEN, MAX_SEEN_OF_ALL // max(collections, 1))


def key(stix: Mapping[str, Any]) -> str:
    """A short name for an object as it is: another one for each version."""
    return hashlib.sha256(orjson.dumps(stix, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def moment(text: str | None, where: str) -> datetime | None:
    """A timestamp of the standard (section 2), whatever digits it has.

    None lies before 1970: next to the first or last one that there can be, nothing can be reckoned with any more.
    """
    if text is None or not text.strip():
        return None
    found: datetime | None = None
    try:
        said = datetime.fromisoformat(text.strip())
        found = said.astimezone(UTC) if said.tzinfo is not None and said.year < MAX_YEAR else None
    except (ValueError, OverflowError):
        pass
    if found is None or found < EPOCH or len(text) > 64:
        raise PartnerFailed(
            "date-invalid", "it does not say in a timestamp when its objects were added", where=where
        )
    return found


def written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def check_dates(found: Page, after: datetime | None, now_ms: int, fresh: bool, where: str) -> None:
    """Raises `PartnerFailed` where a server's dates lie: what is remembered of them must not blind the hub.

    `after` is what was asked for: all of the page has to have been added later. `fresh` says that something on it
    was not on the last pages.
    """
    if not found.objects:
        return
    if found.last is None and not (found.more and found.next):
        what = "it does not say when its objects were added"
        raise PartnerFailed("dates-missing", what, where=where, hint="section 3.4 of TAXII 2.1 demands it")
    if found.last is not None and found.last > datetime.fromtimestamp(now_ms / 1_000, UTC) + MAX_AHEAD:
        raise PartnerFailed("clock-ahead", "by its clock objects were added in the future", where=where)
    if after is None:
        return
    too_early = found.first is not None and found.first < after - CUT_OFF
    if too_early or (fresh and found.last is not None and found.last <= after):
        what = "it gives what was added before the time that it was asked for"
        raise PartnerFailed("added-after-ignored", what, where=where)


def parts(objects: Sequence[Mapping[str, Any]], mark: str) -> list[Part]:
    """The objects of a page in bodies for accept, at least one."""
    return stix_parts(objects, {"id": mark})


def _folder(url: str) -> str:
    return url if url.endswith("/") else url + "/"


def _not_taxii(where: str) -> PartnerFailed:
    return PartnerFailed(
        "not-taxii", "its answer is no resource of TAXII 2.1", where=where, hint="check the address"
    )
