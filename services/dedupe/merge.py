"""One item per fingerprint, each source's contribution kept apart with its own terms."""

from __future__ import annotations

from schemas.known import Contribution, Known, Sent
from schemas.report import Report


def merge(known: Known | None, report: Report, numbering: str) -> Known:
    """What is known after a report.

    A replay (a report not newer in the inbox than the contribution it would change) changes nothing, counts
    included. A later report of an older version is counted and widens the dates, and never replaces the newer.
    """
    if known is None:
        return Known(
            kind=report.kind,
            value=report.value,
            type=report.type,
            contributions={report.source: _contribution(report)},
            sent=Sent(numbering=numbering),
        )
    before = known.contributions.get(report.source)
    if before is None:
        after = _contribution(report)
    elif (report.seq, report.index) <= (before.seq, before.index):
        return known
    else:
        after = _succeed(before, report)
    return known.model_copy(update={"contributions": {**known.contributions, report.source: after}})


def says_more(before: Known | None, after: Known, source: str) -> bool:
    """Whether a source's word changed in anything but how often it was said: only then a decision can change."""
    old = before.contributions.get(source) if before else None
    new = after.contributions[source]
    return old is None or old.model_copy(update={"seq": new.seq, "index": new.index, "count": new.count}) != new


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
    )


def _succeed(before: Contribution, report: Report) -> Contribution:
    """The contribution after one more report of the same source.

    A source may hold several objects with one value: revoking one that is not its present word is no revocation
    of the others, and of two that are equally new the markings of both hold, so that their order can't widen.
    Revoking the present word counts whatever its date: in STIX a revocation is for ever (2.1, section 3.6).
    """
    other = report.object.get("id") != before.object.get("id")
    newer = report.modified_ms >= before.modified_ms
    replaces = not other if report.revoked else newer
    after = _contribution(report) if replaces else before
    if other and report.modified_ms == before.modified_ms and not report.revoked:
        both = (*before.markings, *(m for m in report.markings if m not in before.markings))
        after = after.model_copy(update={"markings": both, "granular": before.granular or report.granular})
    return after.model_copy(
        update={
            "modified_ms": max(before.modified_ms, after.modified_ms),
            "seq": report.seq,
            "index": report.index,
            "created_ms": min(before.created_ms, report.created_ms),
            "first_seen_ms": min(before.first_seen_ms, report.first_seen_ms),
            "last_seen_ms": max(before.last_seen_ms, report.last_seen_ms),
            "count": before.count + 1,
            "reached": before.reached,
        }
    )
