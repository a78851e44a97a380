"""The score: what each part gives and takes, and which way nothing may ever move it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrich.score import (
    DAY_MS,
    LIVES,
    OTHER_LIFE,
    STEP,
    WEIGHTS,
    Feedback,
    Score,
    Word,
    next_step_ms,
    score,
)
from tests.fakes import NOW_MS


def word(source: str = "a", reliability: str = "A", confidence: int | None = None, days: float = 0) -> Word:
    """What a source said that last saw the item `days` ago."""
    last_ms = NOW_MS - int(days * DAY_MS)
    return Word(source, reliability, confidence, last_ms - DAY_MS, last_ms, 1)


def opinion(value: int, source: str = "z", reliability: str = "A") -> Feedback:
    return Feedback(source, reliability, "opinion", value, NOW_MS)


def sighting(value: int, source: str = "z", reliability: str = "A", days: float = 0) -> Feedback:
    return Feedback(source, reliability, "sighting", value, NOW_MS - int(days * DAY_MS))


def parts_of(
    words: Sequence[Word], feedback: Sequence[Feedback] = (), kind: str = "domain", warnings: Sequence[str] = ()
) -> dict[str, int]:
    found = score(words, feedback, kind, warnings, NOW_MS)
    assert sum(points for _, points in found.parts) == found.value
    return {"value": found.value, **dict(found.parts)}


BASES = [
    ("A", 100, 100),
    ("A", None, 70),
    ("A", 0, 0),
    ("A", 500, 100),
    ("B", 90, 76),
    ("C", 50, 35),
    ("D", None, 28),
    ("E", None, 14),
    ("F", None, 35),
    ("F", 100, 50),
    ("?", 100, 50),
]


@pytest.mark.parametrize(("reliability", "confidence", "value"), BASES)
def test_base(reliability: str, confidence: int | None, value: int) -> None:
    assert score([word("a", reliability, confidence)], (), "domain", (), NOW_MS).value == value


def test_who_can_not_be_judged_is_not_the_worst() -> None:
    ranked = sorted(WEIGHTS, key=lambda letter: -WEIGHTS[letter].word)
    assert ranked == ["A", "B", "C", "F", "D", "E"]
    assert WEIGHTS["F"].dispute < WEIGHTS["D"].dispute


WORDS: list[tuple[str, list[Word], dict[str, int]]] = [
    ("nobody", [], {"value": 0}),
    ("a second source", [word("a"), word("b")], {"value": 82, "base": 70, "sources": 12}),
    ("a third adds less", [word("a"), word("b"), word("c")], {"value": 87, "base": 70, "sources": 17}),
    ("one that says it twice counts once", [word("a"), word("a")], {"value": 70, "base": 70}),
    ("of what one says the best counts", [word("a", "A", 30), word("a", "A", 90)], {"value": 90, "base": 90}),
    (
        "the most reliable need not be the surest",
        [word("a", "A", 10), word("c", "C", 90)],
        {"value": 66, "base": 63, "sources": 3},
    ),
    ("a weak one adds little", [word("a"), word("e", "E", 20)], {"value": 71, "base": 70, "sources": 1}),
    ("all sure", [word(str(i), "A", 100) for i in range(9)], {"value": 100, "base": 100}),
]


@pytest.mark.parametrize(("words", "expected"), [case[1:] for case in WORDS], ids=[case[0] for case in WORDS])
def test_words(words: list[Word], expected: dict[str, int]) -> None:
    assert parts_of(words) == expected


AGES = [
    ("domain", 0, 100),
    ("domain", 3.6, 100),
    ("domain", 3.7, 90),
    ("domain", 91, 60),
    ("domain", 91.3, 50),
    ("domain", 364, 10),
    ("domain", 365, 0),
    ("domain", 9_999, 0),
    ("domain", -5, 100),
    ("ipv4", 22.4, 60),
    ("ipv6", 22.5, 50),
    ("url", 22.5, 50),
    ("url", 90, 0),
    ("sha256", 364, 100),
    ("sha256", 365, 90),
    ("sha256", 1_825, 50),
    ("app-id", 1_825, 0),
    ("pattern:yara", 912, 60),
    ("pattern:yara", 913, 50),
    ("complex", 36.5, 90),
    ("other:x-thing:y", 36.5, 90),
]


@pytest.mark.parametrize(("kind", "days", "value"), AGES)
def test_age(kind: str, days: float, value: int) -> None:
    assert score([word("a", "A", 100, days)], (), kind, (), NOW_MS).value == value


@given(st.integers(1, 100), st.sampled_from(list(LIVES)), st.floats(0, 1.2))
def test_age_is_the_papers_curve_in_steps(strength: int, kind: str, part: float) -> None:
    life = LIVES[kind]
    exact = strength * max(0.0, 1 - part ** (1 / life.speed))
    if abs(exact / STEP - round(exact / STEP)) < 1e-6:
        return  # on the edge of a step the curve's rounding decides
    found = score([word("a", "A", strength, part * life.days)], (), kind, (), NOW_MS).value
    assert found == min(strength, math.ceil(exact / STEP) * STEP)


def test_places_fade_before_names_and_names_before_content() -> None:
    halves = [LIVES[kind].days / 2 ** LIVES[kind].speed for kind in ("url", "ipv4", "domain", "email", "sha256")]
    assert halves == sorted(halves) and halves[0] <= 30 < halves[2] < 365 < halves[-1]


OLD = word("a", "A", 100, days=200)  # 30 are left
FEEDBACK: list[tuple[str, list[Word], list[Feedback], dict[str, int]]] = [
    ("nothing", [OLD], [], {"value": 30, "base": 100, "age": -70}),
    ("seen today", [OLD], [sighting(1)], {"value": 100, "base": 100, "age": -70, "sightings": 70}),
    ("often", [OLD], [sighting(900)], {"value": 100, "base": 100, "age": -70, "sightings": 70}),
    ("half of the way", [OLD], [sighting(1, "f", "F")], {"value": 50, "base": 100, "age": -70, "sightings": 20}),
    ("a while ago", [OLD], [sighting(1, days=50)], {"value": 70, "base": 100, "age": -70, "sightings": 40}),
    ("before that", [OLD], [sighting(1, days=300)], {"value": 30, "base": 100, "age": -70}),
    ("a reporter sees it again", [OLD, word("a", "A", 100)], [], {"value": 100, "base": 100}),
    ("not seen", [word()], [sighting(0)], {"value": 34, "base": 70, "disputed": -36}),
    (
        "not seen today is no sighting",
        [OLD],
        [sighting(0, "f", "F")],
        {"value": 24, "base": 100, "age": -70, "disputed": -6},
    ),
    ("strongly disagrees", [word()], [opinion(1)], {"value": 10, "base": 70, "disputed": -60}),
    ("disagrees", [word()], [opinion(2)], {"value": 34, "base": 70, "disputed": -36}),
    ("C disagrees", [word()], [opinion(1, "c", "C")], {"value": 40, "base": 70, "disputed": -30}),
    ("F disagrees", [word()], [opinion(1, "f", "F")], {"value": 60, "base": 70, "disputed": -10}),
    ("neutral", [word()], [opinion(3)], {"value": 70, "base": 70}),
    ("agrees", [word()], [opinion(4)], {"value": 75, "base": 70, "agreed": 5}),
    ("strongly agrees", [word()], [opinion(5)], {"value": 80, "base": 70, "agreed": 10}),
    ("many agree", [word()], [opinion(5, str(i)) for i in range(9)], {"value": 80, "base": 70, "agreed": 10}),
    ("no such opinion", [word()], [opinion(9), opinion(0), opinion(-1)], {"value": 70, "base": 70}),
    ("the same twice", [word()], [opinion(2), opinion(2), sighting(0)], {"value": 34, "base": 70, "disputed": -36}),
    ("its worst counts", [word()], [opinion(1), opinion(5)], {"value": 10, "base": 70, "disputed": -60}),
    (
        "two disagree",
        [word()],
        [opinion(1), opinion(1, "y")],
        {"value": 0, "base": 70, "disputed": -120, "bound": 50},
    ),
    (
        "never above the end",
        [word("a", "A", 98)],
        [opinion(5)],
        {"value": 100, "base": 98, "agreed": 10, "bound": -8},
    ),
    ("nobody's", [], [opinion(1), sighting(1)], {"value": 0, "disputed": -60, "bound": 60}),
]


@pytest.mark.parametrize(
    ("words", "feedback", "expected"), [case[1:] for case in FEEDBACK], ids=[case[0] for case in FEEDBACK]
)
def test_feedback(words: list[Word], feedback: list[Feedback], expected: dict[str, int]) -> None:
    assert parts_of(words, feedback) == expected


@pytest.mark.parametrize(
    ("warnings", "value"),
    [
        ((), 70),
        (("benign",), 10),
        (("popular",), 30),
        (("shared-hosting",), 45),
        (("dynamic-dns",), 60),
        (("sinkhole",), 45),
        (("shared-hosting", "popular"), 30),
        (("one that nobody knows",), 50),
    ],
)
def test_warnings(warnings: tuple[str, ...], value: int) -> None:
    assert parts_of([word()], warnings=warnings)["value"] == value


# --- which way nothing may move it ------------------------------------------------------------------------------

letters = st.sampled_from("ABCDEF?")
names = st.sampled_from("abcdef")
# half of the times close by, where addresses fade, half of them anywhere
times = st.one_of(st.integers(NOW_MS - 90 * DAY_MS, NOW_MS), st.integers(0, NOW_MS + 400 * DAY_MS))
kinds = st.sampled_from([*LIVES, "complex", "pattern:yara", "other:x"])
lists = st.sets(st.sampled_from(["benign", "popular", "shared-hosting", "sinkhole", "else"]))
words_ = st.builds(
    Word,
    source=names,
    reliability=letters,
    confidence=st.none() | st.integers(0, 100),
    first_seen_ms=times,
    last_seen_ms=times,
    count=st.integers(1, 9),
)
feedback_ = st.builds(
    Feedback,
    source=names,
    reliability=letters,
    kind=st.sampled_from(["sighting", "opinion"]),
    value=st.integers(0, 6),
    at_ms=times,
)
disagreements = feedback_.filter(lambda f: f.value <= (2 if f.kind == "opinion" else 0))
items = st.tuples(st.lists(words_, max_size=5), st.lists(feedback_, max_size=5), kinds, lists)
Item = tuple[list[Word], list[Feedback], str, set[str]]


def value_of(item: Item, now_ms: int = NOW_MS) -> int:
    return score(*item, now_ms).value


@given(items, st.data())
def test_order_does_not_matter_and_the_parts_add_up(item: Item, data: Any) -> None:
    words, feedback, kind, warnings = item
    found = score(words, feedback, kind, warnings, NOW_MS)
    shuffled = (data.draw(st.permutations(words)), data.draw(st.permutations(feedback)))
    assert score(*shuffled, kind, sorted(warnings), NOW_MS) == found
    assert 0 <= found.value <= 100 and found.value == sum(points for _, points in found.parts)
    assert len(dict(found.parts)) == len(found.parts) and isinstance(found, Score)


@given(items, words_)
def test_another_word_never_lowers(item: Item, more: Word) -> None:
    words, *rest = item
    assert value_of(([*words, more], *rest)) >= value_of(item)


@given(items, disagreements)
def test_another_disagreement_never_raises(item: Item, more: Feedback) -> None:
    words, feedback, kind, warnings = item
    assert value_of((words, [*feedback, more], kind, warnings)) <= value_of(item)


@given(items, st.builds(Feedback, names, letters, st.just("sighting"), st.integers(1, 9), times))
def test_another_sighting_never_lowers(item: Item, more: Feedback) -> None:
    words, feedback, kind, warnings = item
    assert value_of((words, [*feedback, more], kind, warnings)) >= value_of(item)


@given(items, st.integers(0, 4_000 * DAY_MS))
def test_age_never_raises(item: Item, later_ms: int) -> None:
    assert value_of(item, NOW_MS + later_ms) <= value_of(item)


@given(items, st.sampled_from(["benign", "popular", "shared-hosting", "else", "other"]))
def test_a_warning_never_raises(item: Item, more: str) -> None:
    words, feedback, kind, warnings = item
    assert value_of((words, feedback, kind, warnings | {more})) <= value_of(item)


STEPS: list[tuple[str, list[Word], list[Feedback], tuple[str, ...], float | None]] = [
    ("from 100 to 90", [word("a", "A", 100)], [], (), 3.65),
    ("from 70 to 60", [word()], [], (), 365 / 49),
    ("what is above 100 goes first", [word("a", "A", 100)], [opinion(5)], (), 365 * 0.2**2),
    ("a sighting counts from when it was", [OLD], [sighting(1, days=-1)], (), 4.65),
    ("to what the warning leaves", [word("a", "A", 70)], [], ("benign",), 365 / 49),
    ("nothing is left", [word()], [opinion(1), opinion(1, "y")], (), None),
    ("all is gone", [word(days=400)], [], (), None),
    ("nobody's", [], [opinion(5)], (), None),
]


@pytest.mark.parametrize(
    ("words", "feedback", "warnings", "days"), [case[1:] for case in STEPS], ids=[case[0] for case in STEPS]
)
def test_next_step(
    words: list[Word], feedback: list[Feedback], warnings: tuple[str, ...], days: float | None
) -> None:
    found = next_step_ms(words, feedback, "domain", warnings, NOW_MS)
    assert found == (None if days is None else NOW_MS + math.ceil(round(days * DAY_MS, 3)))


@given(items)
def test_the_next_step_is_when_the_value_falls_and_not_before(item: Item) -> None:
    now_ms, value, steps = NOW_MS, value_of(item), 0
    while (turn_ms := next_step_ms(*item, now_ms)) is not None:
        assert turn_ms > now_ms and value_of(item, turn_ms - 1) == value
        lower = value_of(item, turn_ms)
        assert value - STEP <= lower < value
        now_ms, value, steps = turn_ms, lower, steps + 1
    assert steps <= 100 / STEP
    assert value_of(item, now_ms + 40_000 * DAY_MS) == value


def test_kinds_of_the_table_are_those_of_fingerprints() -> None:
    from schemas import fingerprint

    known = set((fingerprint.__doc__ or "").replace("…", "`cert-sha1` `cert-sha256`").split("`")[1::2])
    assert known >= {"domain", "cert-sha1"} and set(LIVES) - known == {"pattern"}
    assert OTHER_LIFE not in LIVES.values()
