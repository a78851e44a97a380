"""Timestamps of STIX (2.1 section 3.6: RFC 3339 in UTC, written with `Z`) and milliseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from schemas.errors import ItemRefused, clip

FIRST_YEAR, LAST_YEAR = 1970, 2100
FORM = "write it in UTC as YYYY-MM-DDTHH:MM:SS.sssZ"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)
_matches = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,64})?Z").fullmatch


def parse_time(text: str) -> int:
    """Milliseconds since 1970, finer digits cut off.

    Raises as `parse_time_us` does.
    """
    return (_moment(text) - _EPOCH) // _MILLISECOND


def parse_time_us(text: str) -> int:
    """Microseconds since 1970, finer digits cut off.

    Raises `ItemRefused`: `timestamp-invalid` where it is no such time, `timestamp-out-of-range` where its
    year is outside 1970 to 2100.
    """
    return (_moment(text) - _EPOCH) // _MICROSECOND


def is_time(text: str) -> bool:
    try:
        _moment(text)
    except ItemRefused:
        return False
    return True


def _moment(text: str) -> datetime:
    if not _matches(text):
        raise ItemRefused("timestamp-invalid", f"{clip(text)!r} is not a timestamp", hint=FORM)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ItemRefused("timestamp-invalid", f"{clip(text)!r} is no point in time: {error}", hint=FORM) from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ItemRefused(
            "timestamp-out-of-range",
            f"{clip(text)!r} lies outside the years {FIRST_YEAR} to {LAST_YEAR}",
            hint="leave the property out if the time is not known",
        )
    return moment


def format_time(ms: int) -> str:
    """`2026-11-01T00:00:00.000Z`, the form that STIX prescribes for `created` and `modified`."""
    return (_EPOCH + ms * _MILLISECOND).isoformat(timespec="milliseconds")[:23] + "Z"


def exact(text: str) -> str:
    """A key by which well-formed timestamps sort to their last digit, however many they have."""
    return text[:19] + text[20:-1].rstrip("0")
