"""Contributions kept apart, replays that change nothing, and late words that never win."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from schemas.known import Known
from schemas.report import Report, with_seq
from services.dedupe.merge import merge


def report(seq: int = 1, *, source: str = "alpha", at: int = 1000, **fields: Any) -> Report:
    return Report(
        seq=seq,
        index=fields.pop("index", 0),
        submission="s",
        pointer="/objects/0",
        source=source,
        received_ms=at,
        kind="domain",
        value="lure.example",
        type="indicator",
        object={"id": fields.pop("id", "indicator--1"), "name": fields.pop("name", "")},
        created_ms=at,
        modified_ms=at,
        first_seen_ms=at,
        last_seen_ms=at,
        **fields,
    )


def after(*reports: Report) -> Known:
    known = None
    for one in reports:
        known = merge(known, one, "n")
    assert known is not None
    return known


def test_sources_stay_apart_with_their_own_terms() -> None:
    known = after(report(1, markings=("a",)), report(2, source="beta", markings=("b",)))
    assert {source: c.markings for source, c in known.contributions.items()} == {"alpha": ("a",), "beta": ("b",)}


@pytest.mark.parametrize("replayed", [(1, 0), (1, 1), (2, 0)])
def test_a_replay_changes_nothing_counts_included(replayed: tuple[int, int]) -> None:
    known = after(report(1), report(1, index=1), report(2))
    seq, index = replayed
    assert merge(known, report(seq, index=index, name="changed"), "n") is known


def test_a_newer_version_replaces_and_an_older_one_is_only_counted() -> None:
    known = after(
        report(1, at=2000, name="first"), report(2, at=3000, name="newer"), report(3, at=1000, name="older")
    )
    word = known.contributions["alpha"]
    assert (word.object["name"], word.count) == ("newer", 3)
    assert (word.created_ms, word.first_seen_ms, word.last_seen_ms) == (1000, 1000, 3000)


def test_revoking_one_of_two_objects_with_the_same_value_leaves_the_other() -> None:
    two = after(report(1, id="indicator--1"), report(2, id="indicator--2"))
    assert not merge(two, report(3, id="indicator--1", revoked=True), "n").contributions["alpha"].revoked
    assert merge(two, report(3, id="indicator--2", revoked=True), "n").contributions["alpha"].revoked


def test_a_revocation_of_the_present_word_counts_whatever_its_date() -> None:
    known = after(report(1, at=5000), report(2, at=4000, revoked=True))
    assert known.contributions["alpha"].revoked
    assert known.contributions["alpha"].modified_ms == 5000


def test_of_two_equally_new_objects_the_markings_of_both_hold() -> None:
    words = [report(1, id="indicator--1", markings=("red",)), report(2, id="indicator--2", markings=("clear",))]
    swapped = [report(1, id="indicator--2", markings=("clear",)), report(2, id="indicator--1", markings=("red",))]
    for some in (words, swapped):
        assert set(after(*some).contributions["alpha"].markings) == {"red", "clear"}
    corrected = after(*words, report(3, id="indicator--2", at=2000, markings=("clear",)))
    assert corrected.contributions["alpha"].markings == ("clear",)


def test_the_order_of_sources_does_not_matter() -> None:
    words = [report(n, source=source, at=1000 * n) for n, source in enumerate(("alpha", "beta", "gamma"), 1)]
    assert all(after(*order) == after(*words) for order in permutations(words))


def test_known_survives_its_own_encoding() -> None:
    known = after(report(1, handling={"category": "phishing"}))
    assert Known.from_bytes(known.to_bytes(b"12345678", 5)) == known


def test_a_report_gets_its_place_in_the_inbox() -> None:
    assert Report.from_bytes(with_seq(report(0).to_bytes(), 42)) == report(42)
