"""What becomes of a receipt, without a database."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BodyRefused
from schemas.receipt import FINAL, Receipt
from schemas.timestamps import format_time
from services.share.answers import MAX_HISTORY, MAX_RECEIPTS, Answer, Held, Refusal, Word, read, settle
from tests.fakes import NOW_MS

ID = "indicator--6f1c2f0a-5d0e-5b7c-9a51-0c8f6f0d2a11"
HOUR_MS = 3_600_000
CAME_MS = NOW_MS - 10 * HOUR_MS
LIVE, WITHDRAWN, LEFT = Held("live", CAME_MS), Held("withdrawn", CAME_MS), Held("left", CAME_MS)


def said(status: str = "received", hours_ago: float | None = None, reason: str = "") -> Receipt:
    time = None if hours_ago is None else format_time(int(NOW_MS - hours_ago * HOUR_MS))
    return Receipt.model_validate({"item": ID, "status": status, "reason": reason, "time": time})


def after(*receipts: Receipt, held: Held = LIVE, now_ms: int = NOW_MS) -> tuple[list[Answer], Word | None]:
    answers, word = [], None
    for receipt in receipts:
        answer, changed = settle(receipt, held, word, now_ms)
        answers.append(answer)
        word = changed or word
    return answers, word


BODIES: list[tuple[bytes, str]] = [
    (b"", "not-json"),
    (b"{", "not-json"),
    (b"\xff", "not-json"),
    (b"[" * 100_000, "not-json"),
    (b'{"a":' * 5_000, "not-json"),
    (b"null", "receipts-missing"),
    (b"7", "receipts-missing"),
    (b'"x"', "receipts-missing"),
    (b"[]", "receipts-missing"),
    (orjson.dumps([{}] * (MAX_RECEIPTS + 1)), "too-many-receipts"),
]


@pytest.mark.parametrize(("body", "code"), BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_none(body: bytes, code: str) -> None:
    with pytest.raises(BodyRefused) as refused:
        read(body)
    assert refused.value.code == code and refused.value.hint


ENTRIES: list[tuple[Any, str]] = [
    (None, ""),
    (7, ""),
    ([], ""),
    ({}, "item"),
    ({"item": ID}, "status"),
    ({"item": ID, "status": "done"}, "status"),
    ({"item": ID, "status": ["acted"]}, "status"),
    ({"item": 7, "status": "acted"}, "item"),
    ({"item": "x" * 100_000, "status": "acted"}, "item"),
    ({"item": ID + "\n", "status": "acted"}, "item"),
    ({"item": ID, "status": "acted", "reason": 7}, "reason"),
    ({"item": ID, "status": "acted", "reason": "x" * 2_001}, "reason"),
    ({"item": ID, "status": "acted", "reason": "a\0b"}, "reason"),
    ({"item": ID, "status": "acted", "time": "yesterday"}, "time"),
    ({"item": ID, "status": "acted", "time": 1_795_000_000}, "time"),
    ({"item": ID, "status": "acted", "time": "9999-01-01T00:00:00Z"}, "time"),
    ({"item": ID, "status": "acted", "partner": "other"}, "partner"),
]


@pytest.mark.parametrize(("entry", "where"), ENTRIES, ids=range(len(ENTRIES)))
def test_an_entry_that_is_none_is_refused_alone_and_not_quoted(entry: Any, where: str) -> None:
    good = {"item": ID, "status": "acted"}
    first, refusal, last = read(orjson.dumps([good, entry, good]))
    assert first == last == Receipt(item=ID, status="acted")
    assert isinstance(refusal, Refusal) and refusal.why.startswith(where) and len(refusal.why) < 200
    assert "xxx" not in refusal.why and "yesterday" not in refusal.why


def test_one_receipt_needs_no_list() -> None:
    assert read(orjson.dumps({"item": ID, "status": "acted"})) == [Receipt(item=ID, status="acted")]


TIMES = [
    (said(), NOW_MS, ""),
    (said(hours_ago=2), NOW_MS - 2 * HOUR_MS, ""),
    (said(hours_ago=-1), NOW_MS, "still to come"),
    (said(hours_ago=11), CAME_MS, "before you were sent"),
]


@pytest.mark.parametrize(("receipt", "at_ms", "note"), TIMES)
@pytest.mark.parametrize("held", [LIVE, LEFT])
def test_times(receipt: Receipt, at_ms: int, note: str, held: Held) -> None:
    [answer], word = after(receipt, held=held)
    assert word is not None and (word.at_ms, word.first_ms, word.received_ms) == (at_ms, at_ms, NOW_MS)
    assert (answer.result, answer.withdrawn) == ("taken", False)
    assert note in answer.note and bool(note) == bool(answer.note)


@pytest.mark.parametrize("status", ["received", "acting", "acted", "declined", "false-positive"])
def test_any_status_acknowledges_a_withdrawal(status: str) -> None:
    [answer], word = after(said(status), held=WITHDRAWN)
    assert answer == Answer(ID, "taken", "", True)
    assert word is not None and word.withdrawn_ms == NOW_MS


def test_what_was_said_before_a_withdrawal_does_not_acknowledge_it() -> None:
    [answer], word = after(said("acted", hours_ago=11), held=WITHDRAWN)
    assert answer.result == "withdrawn" and answer.withdrawn and word is None
    _, before = after(said("acted"))
    again, acknowledged = settle(said("received"), WITHDRAWN, before, NOW_MS + 1)
    assert before is not None and before.withdrawn_ms is None and again.result == "taken"
    assert acknowledged is not None and (acknowledged.status, acknowledged.withdrawn_ms) == ("acted", NOW_MS + 1)


def test_a_clock_that_was_set_back_does_not_keep_a_withdrawal_open() -> None:
    [answer], word = after(said(), held=WITHDRAWN, now_ms=CAME_MS - 1)
    assert answer.result == "taken" and word is not None and word.withdrawn_ms


def test_a_reason_is_kept_only_while_the_item_is_there() -> None:
    for held, kept in ((LIVE, "ours"), (WITHDRAWN, ""), (LEFT, "")):
        [answer], word = after(said("declined", reason="ours"), held=held)
        assert word is not None and word.reason == kept
        assert ("not kept" in answer.note) is (not kept) and "ours" not in answer.note


def test_the_order_of_words() -> None:
    table = [
        ([said("received", 5), said("acted", 4)], "acted", ["taken", "taken"]),
        ([said("acted", 4), said("received", 5)], "acted", ["taken", "kept"]),
        ([said("acted", 4), said("acting", 3)], "acted", ["taken", "kept"]),
        ([said("acted", 4), said("declined", 5)], "acted", ["taken", "kept"]),
        ([said("acted", 4), said("declined", 3)], "declined", ["taken", "taken"]),
        ([said("received", 1), said("acted", 4)], "acted", ["taken", "taken"]),
        ([said("acted", 4), said("acted", 4)], "acted", ["taken", "taken"]),
        ([said("acting", 5), said("received", 4)], "received", ["taken", "taken"]),
    ]
    for receipts, status, results in table:
        answers, word = after(*receipts)
        assert word is not None and word.status == status, receipts
        assert [answer.result for answer in answers] == results, receipts
        assert all("stands" in a.note for a in answers if a.result == "kept")


words = st.builds(
    said,
    st.sampled_from(["received", "acting", "acted", "declined", "false-positive"]),
    st.integers(0, 12).map(float),
)


@given(st.lists(words, min_size=1, max_size=5), st.sampled_from([LIVE, LEFT]))
def test_neither_order_nor_repetition_matters(receipts: list[Receipt], held: Held) -> None:
    _, word = after(*receipts, held=held)
    assert word is not None
    for order in itertools.permutations(receipts):
        assert after(*order, *order, held=held)[1] == word
    if any(receipt.status in FINAL for receipt in receipts):
        assert word.status in FINAL


@given(st.lists(words, max_size=40))
def test_history_is_bounded_and_in_order(receipts: list[Receipt]) -> None:
    _, word = after(*receipts)
    history = word.history if word else ()
    assert len(history) <= MAX_HISTORY and list(history) == sorted(history, key=lambda entry: entry[1])


def test_an_id_that_is_not_ones_own() -> None:
    assert settle(said("acted", 3, "because"), None, None, NOW_MS) == (Answer(ID, "unknown"), None)
