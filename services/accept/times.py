"""Times as MISP and CSV feeds write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from schemas.errors import ItemRefused, clip
from schemas.timestamps import FIRST_YEAR, LAST_YEAR

HINT = "write it as YYYY-MM-DD, or as YYYY-MM-DDTHH:MM:SSZ in UTC"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECONDS = re.compile(r"[0-9]{9,12}").fullmatch
_MILLISECONDS = re.compile(r"[0-9]{13,14}").fullmatch
_DAY = re.compile(r"[0-9]{8}").fullmatch
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?: ?(?:Z|UTC|[+-][0-9]{2}:?[0-9]{2}))?)?"
).fullmatch


def read_time(text: str) -> int | None:
    """Milliseconds since 1970; None for an empty text and for 0, which MISP writes where it knows no time.

    Takes ISO 8601 dates (with or without dashes) and times, UTC where no offset is given, and Unix time in
    seconds or milliseconds. Raises `ItemRefused`: `timestamp-invalid`, `timestamp-out-of-range`.
    """
    text = text.strip()
    if not text.strip("0"):
        return None
    try:
        ms = _milliseconds(text)
    except (ValueError, OverflowError):
        ms = None
    if ms is None:
        raise ItemRefused("timestamp-invalid", f"{clip(text)!r} is not a time", hint=HINT)
    if not FIRST_YEAR <= (_EPOCH + ms * _MILLISECOND).year <= LAST_YEAR:
        raise ItemRefused(
            "timestamp-out-of-range",
            f"{clip(text)!r} lies outside the years {FIRST_YEAR} to {LAST_YEAR}",
            hint="leave it out if the time is not known",
        )
    return ms


def _milliseconds(text: str) -> int | None:
    if _SECONDS(text):
        return int(text) * 1000
    if _MILLISECONDS(text):
        return int(text)
    if _DAY(text):
        return _since_1970(datetime.strptime(text, "%Y%m%d"))
    if _ISO(text):
        return _since_1970(datetime.fromisoformat(text.replace("UTC", "Z").replace(" Z", "Z").replace(" +", "+")))
    return None


def _since_1970(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MILLISECOND
