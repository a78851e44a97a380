"""Contributions kept apart, replays that change nothing, and late words that never win."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from schemas.known import Known
from schemas.report import Report, with_seq
from services.dedupe.merge import merge, next_window_ms, release

KEY = b"k" * 16
NOW_MS = 1_795_000_000_000


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
        heard = merge(known, one, KEY, "n", NOW_MS, 0)
        known = release(heard.known, NOW_MS) if heard else known
    assert known is not None
    return known


def test_sources_stay_apart_with_their_own_terms() -> None:
    known = after(report(1, markings=("a",)), report(2, source="beta", markings=("b",)))
    assert {source: c.markings for source, c in known.contributions.items()} == {"alpha": ("a",), "beta": ("b",)}


@pytest.mark.parametrize("replayed", [(1, 0), (1, 1), (2, 0)])
def test_a_replay_changes_nothing_counts_included(replayed: tuple[int, int]) -> None:
    known = after(report(1), report(1, index=1), report(2))
    seq, index = replayed
    assert merge(known, report(seq, index=index, name="changed"), KEY, "n", NOW_MS, 0) is None


def test_a_newer_version_replaces_and_an_older_one_is_only_counted() -> None:
    known = after(
        report(1, at=2000, name="first"), report(2, at=3000, name="newer"), report(3, at=1000, name="older")
    )
    word = known.contributions["alpha"]
    assert (word.object["name"], word.count) == ("newer", 3)
    assert (word.created_ms, word.first_seen_ms, word.last_seen_ms) == (1000, 1000, 3000)


def test_revoking_one_of_two_objects_with_the_same_value_leaves_the_other() -> None:
    first = [report(1, id="indicator--1"), report(2, id="indicator--2")]
    assert not after(*first, report(3, id="indicator--1", revoked=True)).contributions["alpha"].revoked
    assert after(*first, report(3, id="indicator--2", revoked=True)).contributions["alpha"].revoked


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


def test_the_markings_of_ever_more_objects_do_not_pile_up() -> None:
    """A source can send as many objects as it likes that are equally new."""
    some = [(("red", ("name",)),), (("amber", ("name",)),)] * 20
    words = [report(n, id=f"indicator--{n}", granular=each) for n, each in enumerate(some, 1)]
    assert set(after(*words).contributions["alpha"].granular) == {each for (each,) in some}
    others = [report(n, id=f"indicator--{n}", granular=((f"m{n}", ("name",)),)) for n in range(1, 300)]
    word = after(*others).contributions["alpha"]
    assert len(word.granular) == 200
    assert word.handling == {"consent": {"status": "unknown"}}


def test_the_order_of_sources_does_not_matter() -> None:
    words = [report(n, source=source, at=1000 * n) for n, source in enumerate(("alpha", "beta", "gamma"), 1)]
    assert all(after(*order) == after(*words) for order in permutations(words))


def test_known_survives_its_own_encoding() -> None:
    known = after(report(1, handling={"category": "phishing"}))
    assert Known.from_bytes(known.to_bytes(b"12345678", 5)) == known


def test_a_report_gets_its_place_in_the_inbox() -> None:
    assert Report.from_bytes(with_seq(report(0).to_bytes(), 42)) == report(42)


# --- windows ------------------------------------------------------------------------------------------------------

WINDOW_MS = 60_000


def heard(known: Known | None, word: Report, now_ms: int = NOW_MS) -> tuple[Known, bool]:
    result = merge(known, word, KEY, "n", now_ms, WINDOW_MS)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("why", "change", "at_once"),
    [
        ("only counted", {}, False),
        ("a later sighting", {"at": 2000}, False),
        ("another name", {"name": "other", "at": 2000}, False),
        ("another marking", {"markings": ("red",), "at": 2000}, True),
        ("handling", {"handling": {"urgent": True}, "at": 2000}, True),
        ("revoked", {"revoked": True}, True),
        ("gone", {"gone": True}, True),
        ("another reference", {"references": (("source_ref", "aa"),), "at": 2000}, True),
    ],
)
def test_what_changes_terms_is_heard_at_once_and_the_rest_waits(
    why: str, change: dict[str, Any], at_once: bool
) -> None:
    known, _ = heard(None, report(1))
    after, decided = heard(known, report(2, **change))
    assert decided is at_once, why
    if not at_once:
        assert after.contributions["alpha"].object == known.contributions["alpha"].object
        shown = release(after, NOW_MS + WINDOW_MS)
        assert (shown.contributions["alpha"].count, shown.waiting) == (2, {})


def test_a_word_that_waits_is_replaced_by_the_next_and_shown_at_the_windows_end() -> None:
    known, _ = heard(None, report(1))
    known, _ = heard(known, report(2, at=2000, name="second"))
    due_ms = known.waiting_ms
    known, _ = heard(known, report(3, at=3000, name="third"), NOW_MS + 5)
    assert known.waiting_ms == due_ms
    assert release(known, due_ms - 1) is known
    shown = release(known, due_ms).contributions["alpha"]
    assert (shown.object["name"], shown.count, shown.last_seen_ms) == ("third", 3, 3000)
    narrowed, at_once = heard(known, report(4, at=4000, name="fourth", markings=("red",)), NOW_MS + 6)
    assert at_once
    assert narrowed.contributions["alpha"].object["name"] == "fourth"
    assert not narrowed.waiting


@pytest.mark.parametrize("now_ms", [NOW_MS, NOW_MS + 1, NOW_MS + WINDOW_MS - 1])
def test_windows_are_the_items_own_and_do_not_overlap(now_ms: int) -> None:
    begins = next_window_ms(KEY, now_ms, WINDOW_MS)
    assert now_ms < begins <= now_ms + WINDOW_MS
    assert next_window_ms(KEY, begins, WINDOW_MS) == begins + WINDOW_MS
    assert begins % WINDOW_MS == next_window_ms(KEY, 0, WINDOW_MS) % WINDOW_MS


def test_whom_a_word_reached_is_kept_while_the_next_waits() -> None:
    known, _ = heard(None, report(1))
    known, _ = heard(known, report(2, at=2000, name="second"))
    reached = known.contributions["alpha"].model_copy(update={"reached": "ff"})
    known = known.model_copy(update={"contributions": {"alpha": reached}})
    assert release(known, known.waiting_ms).contributions["alpha"].reached == "ff"


# --- what a source holds no more ----------------------------------------------------------------------------------


def test_what_is_gone_comes_back_whatever_its_date() -> None:
    known = after(report(1, at=5000), report(2, gone=True))
    assert known.contributions["alpha"].gone
    back = after(report(1, at=5000), report(2, gone=True), report(3, at=1000, id="indicator--new"))
    assert not back.contributions["alpha"].gone
    assert back.contributions["alpha"].object["id"] == "indicator--new"


def test_that_an_unknown_item_is_gone_says_nothing() -> None:
    assert merge(None, report(1, gone=True), KEY, "n", NOW_MS, 0) is None
    known = after(report(1))
    assert merge(known, report(2, source="beta", gone=True), KEY, "n", NOW_MS, 0) is None


def test_a_revocation_keeps_what_it_revokes() -> None:
    word = after(report(1, name="lure", markings=("clear",)), report(2, revoked=True)).contributions["alpha"]
    assert (word.revoked, word.object["name"], word.markings) == (True, "lure", ("clear",))


def test_what_joins_is_gathered_and_bounded() -> None:
    words = [report(n, at=n, joins=(("report", str(n)),)) for n in range(1, 40)]
    joins = after(*words).contributions["alpha"].joins
    assert len(joins) == 20
    assert joins[0] == ("report", "1")


@pytest.mark.parametrize(
    ("then", "revoked"),
    [
        ({"at": 1000}, True),
        ({"at": 999}, True),
        ({"at": 1001}, False),
        ({"at": 10, "id": "indicator--other"}, False),
    ],
)
@pytest.mark.parametrize("also_gone", [False, True])
def test_a_revocation_is_undone_by_a_newer_version_or_another_object_only(
    then: dict[str, Any], revoked: bool, also_gone: bool
) -> None:
    words = [report(1), report(2, revoked=True), *([report(3, gone=True)] if also_gone else [])]
    word = after(*words, report(4, **then)).contributions["alpha"]
    assert word.revoked is revoked
    assert (word.revoked or word.gone) is revoked


# --- withdrawals --------------------------------------------------------------------------------------------------

CONSENTS = {"consent": {"status": "granted", "kinds": ["ngo"]}}


def withdrawal(seq: int, why: str = "revoked", *, at: int = 5000, **fields: Any) -> Report:
    word = report(seq, at=at, withdrawn=why, **fields)
    return word.model_copy(update={"kind": "", "value": "", "object": {"type": "indicator"}})


def told() -> Report:
    return report(
        1,
        name="lure",
        markings=("clear",),
        granular=(("red", ("name",)),),
        handling={"affected": ["XA"]},
        labels=("l",),
        references=(("created_by_ref", "aa"),),
        context=("c",),
        joins=(("report", "j"),),
    )


@pytest.mark.parametrize(
    ("why", "revoked", "handling"),
    [("revoked", True, {}), ("consent", False, {"consent": {"status": "withdrawn"}})],
)
def test_a_withdrawal_ends_and_erases_a_contribution_at_once(
    why: str, revoked: bool, handling: dict[str, Any]
) -> None:
    known, _ = heard(None, told())
    waits = {"seq": 2, "modified_ms": 2000, "object": {"id": "indicator--1", "name": "waits"}}
    known, _ = heard(known, told().model_copy(update=waits))
    reached = known.contributions["alpha"].model_copy(update={"reached": "ff"})
    known = known.model_copy(update={"contributions": {"alpha": reached}})
    assert known.waiting
    ended, at_once = heard(known, withdrawal(3, why))
    assert at_once
    assert (ended.value, ended.waiting) == ("", {})
    word = ended.contributions["alpha"]
    assert (word.withdrawn, word.revoked, word.handling, word.reached) == (why, revoked, handling, "ff")
    left = word.model_dump(exclude_defaults=True, exclude={"withdrawn", "revoked", "handling", "reached"})
    times = dict.fromkeys(("created_ms", "modified_ms", "first_seen_ms", "last_seen_ms"), 5000)
    assert left == {"seq": 3, "index": 0, "object": {"id": "indicator--1"}, **times}


def test_a_withdrawal_leaves_what_others_say() -> None:
    known = after(report(1), report(2, source="beta", name="theirs"), withdrawal(3, "consent"))
    assert (known.value, known.contributions["beta"].object["name"]) == ("lure.example", "theirs")
    assert not known.contributions["beta"].withdrawn


def test_a_withdrawal_of_what_the_source_never_said_says_nothing() -> None:
    assert merge(None, withdrawal(1), KEY, "n", NOW_MS, 0) is None
    assert merge(after(report(1)), withdrawal(2, source="beta"), KEY, "n", NOW_MS, 0) is None


@pytest.mark.parametrize("why", ["revoked", "consent"])
@pytest.mark.parametrize("late", [told(), withdrawal(2), report(2, at=9000, handling=CONSENTS)])
def test_after_a_withdrawal_replays_change_nothing(why: str, late: Report) -> None:
    known = after(told(), withdrawal(2, why))
    assert merge(known, late, KEY, "n", NOW_MS, 0) is None


@pytest.mark.parametrize(
    ("why", "then", "is_heard"),
    [
        ("revoked", {"at": 5000}, False),
        ("revoked", {"at": 5000, "id": "indicator--other"}, False),
        ("revoked", {"at": 5001}, True),
        ("revoked", {"at": 9000, "gone": True}, False),
        ("revoked", {"at": 9000, "revoked": True}, False),
        ("consent", {"at": 9000}, False),
        ("consent", {"at": 9000, "handling": {"consent": {"status": "unknown"}}}, False),
        ("consent", {"at": 9000, "handling": {"consent": {"status": "withdrawn"}}}, False),
        ("consent", {"at": 5000, "handling": CONSENTS}, False),
        ("consent", {"at": 5001, "handling": CONSENTS}, True),
        ("consent", {"at": 5001, "handling": {"consent": {"status": "not-required"}}}, True),
    ],
)
def test_what_is_heard_after_a_withdrawal(why: str, then: dict[str, Any], is_heard: bool) -> None:
    known = after(told(), withdrawal(2, why))
    reached = known.contributions["alpha"].model_copy(update={"reached": "ff"})
    known = known.model_copy(update={"contributions": {"alpha": reached}})
    result = merge(known, report(3, **then), KEY, "n", NOW_MS, WINDOW_MS)
    assert (result is not None) is is_heard
    if result is not None:
        word = result.known.contributions["alpha"]
        assert (result.at_once, result.known.value, word.withdrawn, word.revoked) == (
            True, "lure.example", "", False,
        )  # fmt: skip
        # nothing of what was withdrawn comes back with it, but whom it reached
        assert (word.count, word.joins, word.created_ms, word.reached) == (1, (), then["at"], "ff")


def test_what_was_dated_ahead_is_withdrawn_too() -> None:
    known = after(report(1, at=6000), withdrawal(2, at=5000))
    assert merge(known, report(3, at=6000), KEY, "n", NOW_MS, 0) is None


@pytest.mark.parametrize(("first", "second"), [("revoked", "consent"), ("consent", "revoked")])
def test_a_withdrawn_consent_stays_withdrawn(first: str, second: str) -> None:
    known = after(report(1), withdrawal(2, first))
    again, at_once = heard(known, withdrawal(3, second, at=7000))
    word = again.contributions["alpha"]
    assert (word.withdrawn, word.modified_ms, at_once) == ("consent", 7000, first == "revoked")
    assert merge(again, report(4, at=6000, handling=CONSENTS), KEY, "n", NOW_MS, 0) is None


# --- what staff released ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "stays"),
    [
        ({"at": 2000}, True),
        ({"at": 500}, True),
        ({"at": 2000, "name": "other"}, False),
        ({"at": 2000, "labels": ("l",)}, False),
        ({"at": 2000, "markings": ("clear",)}, False),
        ({"at": 500, "name": "older"}, True),
    ],
)
def test_only_what_was_released_stays_released(then: dict[str, Any], stays: bool) -> None:
    known = after(report(1))
    released = known.contributions["alpha"].model_copy(update={"released": True})
    known = known.model_copy(update={"contributions": {"alpha": released}})
    again, _ = heard(known, report(2, **then))
    assert release(again, again.waiting_ms or NOW_MS).contributions["alpha"].released is stays
    assert not after(report(1), withdrawal(2), report(3, at=9000)).contributions["alpha"].released


# --- urgency ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "at_once"), [({"name": "other", "at": 2000}, True), ({}, False)])
def test_what_is_urgent_waits_for_no_window(change: dict[str, Any], at_once: bool) -> None:
    urgent = {"handling": {"urgent": True}}
    known, _ = heard(None, report(1, **urgent))
    after, decided = heard(known, report(2, **urgent, **change))
    assert (decided, after.waiting) == (at_once, {})
