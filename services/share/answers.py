"""What becomes of a receipt: what it says of which item, and which of several is the latest word. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import ValidationError

from schemas.errors import BodyRefused, clip
from schemas.receipt import FINAL, MAX_REASON_CHARS, Receipt, ReceiptStatus
from schemas.timestamps import parse_time

MAX_RECEIPTS = 1_000
MAX_HISTORY = 8
FORM = f"a receipt is an object with `item`, `status`, and if you like `reason` and `time`; at most {MAX_RECEIPTS}"
_ORDER: tuple[ReceiptStatus, ...] = ("received", "acting", "declined", "false-positive", "acted")

Result = Literal["taken", "kept", "withdrawn", "unknown", "refused"]


class Refusal(NamedTuple):
    """An entry that is no receipt, and why."""

    why: str


class Held(NamedTuple):
    """What the recipient has under an id: a `live` copy, one that is `withdrawn`, or none any more (`left`).

    `since` (ms since 1970) is when it came into the feed, or the withdrawal did.
    """

    state: Literal["live", "withdrawn", "left"]
    since_ms: int


class Word(NamedTuple):
    """All that is kept of a recipient's receipts for an item. Times are ms since 1970.

    `first_ms` is of its first word. `withdrawn_ms` is when it acknowledged the withdrawal. `history` has the last
    few (status, time), oldest first.
    """

    status: str
    reason: str
    at_ms: int
    received_ms: int
    first_ms: int
    withdrawn_ms: int | None
    history: tuple[tuple[str, int], ...]


class Answer(NamedTuple):
    """What the recipient is told of one receipt; `withdrawn`: the item is, and it is now known that they know."""

    item: str | None
    result: Result
    note: str = ""
    withdrawn: bool = False


def read(body: bytes) -> list[Receipt | Refusal]:
    """One receipt or a list of them; raises `BodyRefused` for what is neither, or too long."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BodyRefused("not-json", "the body is no JSON", hint=FORM) from None
    entries = [document] if isinstance(document, dict) else document
    if not isinstance(entries, list) or not entries:
        raise BodyRefused("receipts-missing", "the body is neither a receipt nor a list of some", hint=FORM)
    if len(entries) > MAX_RECEIPTS:
        what = f"{len(entries)} receipts are too many at once"
        raise BodyRefused("too-many-receipts", what, hint=f"send at most {MAX_RECEIPTS} at a time", status=413)
    return [_entry(entry) for entry in entries]


def _entry(entry: Any) -> Receipt | Refusal:
    try:
        receipt = Receipt.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(clip(step, 30) for step in first["loc"])
        said = _SAID.get(str(first["loc"][0]) if first["loc"] else "", first["msg"].lower())
        return Refusal(f"{where}: {said}" if where else said)
    if "\0" in receipt.reason:
        return Refusal("reason: a text has no NUL character")
    return receipt


_SAID = {
    "item": "the STIX id of an object from your feed",
    "status": f"one of {', '.join(_ORDER)}",
    "reason": f"a text of at most {MAX_REASON_CHARS:,} characters",
    "time": "a time in UTC, as YYYY-MM-DDTHH:MM:SS.sssZ",
}


def settle(receipt: Receipt, held: Held | None, before: Word | None, now_ms: int) -> tuple[Answer, Word | None]:
    """The answer to a receipt, and what is known of the recipient's doings then (None: as before).

    The latest of the final words counts, else the latest: so it is the same in whatever order they come, and
    however often.
    """
    item = receipt.item
    if held is None:
        return Answer(item, "unknown"), None
    at_ms, note = _time(receipt, held, now_ms)
    withdrawn = held.state == "withdrawn"
    if withdrawn and at_ms < held.since_ms:
        why = "the item is withdrawn since: stop using it, and acknowledge that (leave `time` out)"
        return Answer(item, "withdrawn", why, withdrawn=True), None
    reason, notes = receipt.reason, [note] if note else []
    if reason and held.state != "live":
        # it may quote what is to be forgotten
        reason = ""
        notes.append("the reason is not kept, since the item is not in your feed any more")
    said = Word(receipt.status, reason, at_ms, now_ms, at_ms, now_ms if withdrawn else None, ())
    after = said if before is None else _joined(before, said)
    after = after._replace(history=_history(before.history if before else (), said))
    overtakes = before is None or (after.status, after.at_ms) != (before.status, before.at_ms)
    known = before is not None and (before.withdrawn_ms is not None or not withdrawn)
    same = before is not None and (before.status, before.at_ms) == (said.status, said.at_ms)
    result: Result = "taken" if overtakes or not known or same else "kept"
    if result == "kept":
        notes.append(f"what you said before stands: {before.status if before else ''}")
    return Answer(item, result, "; ".join(notes), withdrawn), None if after == before else after


def _time(receipt: Receipt, held: Held, now_ms: int) -> tuple[int, str]:
    if receipt.time is None:
        return max(now_ms, held.since_ms), ""  # a clock may have been set back
    at_ms = parse_time(receipt.time)
    if at_ms > now_ms:
        return now_ms, "the time is still to come, and was taken for now"
    if at_ms < held.since_ms and held.state != "withdrawn":
        return min(held.since_ms, now_ms), "the time is before you were sent the item, and was taken for that"
    return at_ms, ""


def _joined(before: Word, said: Word) -> Word:
    """Either, whichever is the later word, with what stays of both."""
    later = said if _place(said) > _place(before) else before
    return later._replace(
        first_ms=min(before.first_ms, said.first_ms),
        withdrawn_ms=said.withdrawn_ms if before.withdrawn_ms is None else before.withdrawn_ms,
    )


def _place(word: Word) -> tuple[bool, int, int]:
    return word.status in FINAL, word.at_ms, _ORDER.index(word.status) if word.status in _ORDER else -1


def _history(before: Sequence[tuple[str, int]], said: Word) -> tuple[tuple[str, int], ...]:
    entries = {*before, (said.status, said.at_ms)}
    return tuple(sorted(entries, key=lambda entry: (entry[1], entry[0]))[-MAX_HISTORY:])
