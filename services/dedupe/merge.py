"""One item per fingerprint, each source's contribution kept apart with its own terms."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from schemas.fingerprint import named_fingerprint
from schemas.known import Contribution, Known, Sent
from schemas.report import Report, Withdrawn

MAX_JOINS = 20
MAX_MARKINGS = 200  # of two objects that are equally new; what has more goes to nobody
NARROWING = ("suspects", "consent", "personal", "embargo", "purposes", "named", "published", "affected")
"""What a source says about handling that can keep an item from somebody."""
CONSENTING = ("granted", "not-required")
"""What a source has to say of the consent to be heard again after it was withdrawn."""


def unheard(numbering: str) -> Known:
    """An item of which nobody has reported anything yet but what others think of it: it has no kind."""
    return Known(kind="", value="", type="", contributions={}, sent=Sent(numbering=numbering))


class Heard(NamedTuple):
    """What is known after a report, and whether the item must be decided again at once."""

    known: Known
    at_once: bool


def merge(
    known: Known | None, report: Report, record_key: bytes, numbering: str, now_ms: int, window_ms: int
) -> Heard | None:
    """What is known after a report that came under `record_key`; None where that is what was known before.

    A source's first word on the item counts at once, and so does a word that changes its terms. Later ones are
    counted, and what they change waits, so that the item goes out at most once in a window for them. Windows
    are the item's own and begin whatever happens: that something was held back, or was not, tells of nothing else.

    A replay (a report not newer in the inbox than the contribution it would change) changes nothing, counts
    included. A later report of an older version is counted and widens the dates, and never replaces the newer.

    A withdrawal ends the source's contribution, and erases it, at once; of an item on which the source said nothing
    it says nothing. What the source said before comes before it, since a source's reports keep their order.
    """
    if known is None or not known.kind:
        if report.gone or report.withdrawn:
            return None
        route = record_key.hex() if report.identity else ""
        feedback = known.feedback if known else {}
        first = _first(report, numbering, route).model_copy(update={"feedback": feedback})
        return Heard(first, at_once=True)
    shown = known.contributions.get(report.source)
    if shown is None:
        if report.gone or report.withdrawn:
            return None
        return Heard(_named(_show(known, report.source, _contribution(report)), report), at_once=True)
    before = known.waiting.get(report.source, shown)
    if (report.seq, report.index) <= (before.seq, before.index):
        return None
    if report.withdrawn:
        return _end(known, report.source, before, report)
    if before.withdrawn:
        if not _is_heard_again(before, report):
            return None
        return Heard(_named(_show(known, report.source, _contribution(report)), report), at_once=True)
    after = _gone(before, report) if report.gone else _succeed(before, report)
    if _terms(after) != _terms(shown):
        return Heard(_show(known, report.source, after), at_once=True)
    if _said(after) == _said(shown):
        return Heard(_show(known, report.source, after), at_once=False)
    if after.handling.get("urgent") is True:
        return Heard(_show(known, report.source, after), at_once=True)
    waiting_ms = known.waiting_ms or next_window_ms(record_key, now_ms, window_ms)
    waiting = {**known.waiting, report.source: after}
    return Heard(known.model_copy(update={"waiting": waiting, "waiting_ms": waiting_ms}), at_once=False)


def next_window_ms(key: bytes, now_ms: int, window_ms: int) -> int:
    """When the item's next window begins. Windows of different items begin at different times."""
    if not window_ms:
        return now_ms
    phase_ms = int.from_bytes(key[:6], "big") % window_ms
    return now_ms + window_ms - (now_ms - phase_ms) % window_ms


def release(known: Known, now_ms: int) -> Known:
    """What is known once what waited is shown; the same where nothing has waited long enough."""
    if not known.waiting_ms or now_ms < known.waiting_ms:
        return known
    for source, word in known.waiting.items():
        known = _show(known, source, word)
    ends = {**known.ends, **known.arriving}
    return known.model_copy(update={"ends": ends, "arriving": {}, "waiting_ms": 0})


def _show(known: Known, source: str, word: Contribution) -> Known:
    """Whom the contribution reached is known of the one that was shown."""
    if (shown := known.contributions.get(source)) is not None:
        word = word.model_copy(update={"reached": shown.reached})
    waiting = {name: other for name, other in known.waiting.items() if name != source}
    return known.model_copy(update={"contributions": {**known.contributions, source: word}, "waiting": waiting})


def _terms(word: Contribution) -> tuple[object, ...]:
    """What can narrow who gets the item, or tell them that it is withdrawn: it waits for no window."""
    confidence = word.object.get("confidence")
    return (
        *(word.markings, word.granular, word.handling, word.revoked, word.gone, word.references, confidence),
        word.object.get("valid_until"),
    )


def _said(word: Contribution) -> Contribution:
    """All that a copy of the item may show of it."""
    return word.model_copy(update={"seq": 0, "index": 0, "count": 0, "reached": "0"})


def _first(report: Report, numbering: str, route: str) -> Known:
    return Known(
        kind=report.kind,
        value=report.value,
        type=report.type,
        contributions={report.source: _contribution(report)},
        sent=Sent(numbering=numbering),
        route=route,
    )


def _contribution(report: Report) -> Contribution:
    return Contribution(
        seq=report.seq,
        index=report.index,
        object=report.object,
        markings=report.markings,
        granular=report.granular,
        handling=report.handling,
        revoked=report.revoked,
        created_ms=report.created_ms,
        modified_ms=report.modified_ms,
        first_seen_ms=report.first_seen_ms,
        last_seen_ms=report.last_seen_ms,
        labels=report.labels,
        value=report.value if report.kind == "complex" else "",
        references=report.references,
        context=report.context,
        joins=report.joins[:MAX_JOINS],
    )


# --- withdrawals --------------------------------------------------------------------------------------------------


def _end(known: Known, source: str, before: Contribution, report: Report) -> Heard:
    """A consent that was withdrawn stays so when the source takes its word back too."""
    withdrawn: Withdrawn = "consent" if before.withdrawn == "consent" else report.withdrawn
    ended = _erased(before, report, withdrawn)
    known = _show(known, source, ended)
    if all(word.withdrawn for word in known.contributions.values()):
        known = known.model_copy(update={"value": ""})  # nobody says any more that there is such a thing
    return Heard(known, at_once=withdrawn != before.withdrawn)


def _erased(before: Contribution, report: Report, withdrawn: Withdrawn) -> Contribution:
    """What is left of a contribution: which object it was, and how it ended, in the words of the rules.

    No word that the source said before is heard after it, one that it had dated ahead included. Whom it suspects is
    about the item, and named nobody: were it forgotten with a consent, others' words would go to the suspects.
    """
    at_ms = max(before.modified_ms, report.modified_ms)
    handling: dict[str, Any] = {}
    if withdrawn == "consent":
        handling = {"consent": {"status": "withdrawn"}}
        if (suspects := before.handling.get("suspects")) is not None:
            handling["suspects"] = suspects
    kept = {name: before.object[name] for name in ("type", "id") if name in before.object}
    return Contribution(
        seq=report.seq,
        index=report.index,
        object=kept,
        handling=handling,
        revoked=withdrawn == "revoked",
        created_ms=at_ms,
        modified_ms=at_ms,
        first_seen_ms=at_ms,
        last_seen_ms=at_ms,
        withdrawn=withdrawn,
    )


def _is_heard_again(before: Contribution, report: Report) -> bool:
    """Whether a word undoes a withdrawal: a newer one, and after consent was withdrawn one that states it anew."""
    if report.gone or report.revoked or report.modified_ms <= before.modified_ms:
        return False
    consent = report.handling.get("consent")
    stated = consent.get("status") if isinstance(consent, dict) else None
    return before.withdrawn == "revoked" or stated in CONSENTING


def _named(known: Known, report: Report) -> Known:
    """The item under its value, which it has no more where all that was said of it was withdrawn."""
    return known if known.value else known.model_copy(update={"value": report.value})


# --- one word after another ---------------------------------------------------------------------------------------


def _gone(before: Contribution, report: Report) -> Contribution:
    return before.model_copy(update={"gone": True, "seq": report.seq, "index": report.index})


def _succeed(before: Contribution, report: Report) -> Contribution:
    """The contribution after one more report of the same source.

    A source may hold several objects with one value: revoking one that is not its present word is no revocation
    of the others, and of two that are equally new the markings of both hold, so that their order can't widen.
    Revoking the present word counts whatever its date: in STIX a revocation is for ever (2.1, section 3.6), so
    only a newer version of the same object undoes it. What was gone, or revoked under another id, and is reported
    again is the source's word, whatever its date.
    """
    other = report.object.get("id") != before.object.get("id")
    ended = before.gone or before.revoked
    latest = _contribution(report)
    if report.revoked:
        after = before if other else before.model_copy(update={"revoked": True})
    elif before.revoked and not other:
        after = latest if report.modified_ms > before.modified_ms else before
    elif ended or report.modified_ms >= before.modified_ms:
        after = latest
    else:
        after = before
    if other and report.modified_ms == before.modified_ms and not report.revoked and not ended:
        after = _both(before, latest)
    # what was said under other terms does not show under these: no date, and nothing that joins
    said = [word for word in (before, latest) if report.revoked or _marked(word) == _marked(after)]
    joins = dict.fromkeys(join for word in (*said, after) for join in word.joins)
    return after.model_copy(
        update={
            "modified_ms": max(before.modified_ms, after.modified_ms, report.modified_ms if report.revoked else 0),
            "seq": report.seq,
            "index": report.index,
            "created_ms": min(word.created_ms for word in (after, *said)),
            "first_seen_ms": min(word.first_seen_ms for word in (after, *said)),
            "last_seen_ms": max(word.last_seen_ms for word in (after, *said)),
            "count": before.count + 1,
            "released": before.released and _worded(after) == _worded(before),
            "joins": tuple(joins)[:MAX_JOINS],
        }
    )


def _worded(word: Contribution) -> tuple[object, ...]:
    """What staff looked at who released it."""
    return word.object, *_marked(word), word.labels, word.value, word.references, word.context


def wording(secret: bytes, word: Contribution) -> str:
    """What stands for what staff look at (hex). Keyed: nobody can look for two words that have the same."""
    text = orjson.dumps(_worded(word), option=orjson.OPT_SORT_KEYS).decode()
    return named_fingerprint(secret, "release", text).hex()


def _marked(word: Contribution) -> tuple[object, ...]:
    """Under what terms it was said."""
    return word.markings, word.granular, word.handling


def _both(before: Contribution, after: Contribution) -> Contribution:
    """The later of two objects that are equally new, under the terms of both; under none that anybody may have it
    by, where those can't be told together."""
    markings = (*before.markings, *(m for m in after.markings if m not in before.markings))
    granular = tuple(dict.fromkeys((*before.granular, *after.granular)))
    handling = after.handling
    apart = any(before.handling.get(name) != after.handling.get(name) for name in NARROWING)
    if apart or max(len(markings), len(granular)) > MAX_MARKINGS:
        markings, granular = markings[:MAX_MARKINGS], granular[:MAX_MARKINGS]
        handling = {**before.handling, **after.handling, "consent": {"status": "unknown"}}
    suspects = [word.handling["suspects"] for word in (before, after) if word.handling.get("suspects") is not None]
    if suspects:  # they are about the item, and bind what others say of it
        united = {state: max(said.get(state, 0) for said in suspects) for said in suspects for state in said}
        handling = {**handling, "suspects": united}
    return after.model_copy(update={"markings": markings, "granular": granular, "handling": handling})
