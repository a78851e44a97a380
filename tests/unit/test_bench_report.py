"""The pure parts of the bench: what it reckons from its samples, what it sends, and how it finds a fault."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest

from schemas.markings import Tlp
from tests.bench.completeness import compare
from tests.bench.incoming import DUPLICATES, MADE_UP, MAX_BUNDLE, Feeds, shapes_of
from tests.bench.partners import SOURCES, Word, must_get, receivers
from tests.bench.report import Figure, document, number, percentile, table, weighted_percentile

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([5.0], 50, 5.0),
        ([5.0], 99, 5.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 101)], 100, 100.0),
        ([float(n) for n in range(1, 101)], 0, 1.0),
    ],
)
def test_percentile(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected
    assert weighted_percentile([(value, 1) for value in values], percent) == expected


def test_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 50))
    assert math.isnan(weighted_percentile([], 50))


def test_weights_count_as_repetitions() -> None:
    weighted = [(1.0, 1), (10.0, 97), (100.0, 2)]
    repeated = [value for value, weight in weighted for _ in range(weight)]
    for percent in (1, 2, 50, 98, 99, 100):
        assert weighted_percentile(weighted, percent) == percentile(repeated, percent), percent


@pytest.mark.parametrize(
    ("value", "expected"), [(12345.6, "12,346"), (99.94, "99.9"), (1.234, "1.23"), (0.0, "0.00"), (math.nan, "-")]
)
def test_number(value: float, expected: str) -> None:
    assert number(value) == expected


FIGURES = (
    Figure("rate.visible_per_second", 1234.5678, "indicators/s", "accept to visible", "of 4 sources"),
    Figure("half_load.p50_ms", 12.3, "ms", "half load, p50"),
    Figure("half_load.p99_ms", math.nan, "ms", "half load, p99"),
)


def test_table_lines_up() -> None:
    assert table(FIGURES).splitlines() == [
        "accept to visible  1,235 indicators/s  of 4 sources",
        "half load, p50      12.3 ms",
        "half load, p99         - ms",
    ]


@pytest.mark.parametrize(("problems", "valid"), [([], True), (["amber-1: 3 of 7 are missing"], False)])
def test_document(problems: list[str], valid: bool) -> None:
    made = document(
        at="2026-11-01T00:00:00+00:00", machine={"cores": 2}, settings={}, figures=FIGURES, problems=problems
    )
    assert made["results"] == {
        "rate": {"visible_per_second": 1234.568},
        "half_load": {"p50_ms": 12.3, "p99_ms": None},
    }
    assert (made["valid"], made["problems"]) == (valid, problems)
    assert orjson.loads(orjson.dumps(made)) == made


def test_feeds_are_of_the_size_and_the_repetition_promised() -> None:
    feeds = Feeds(MADE_UP, NOW_MS)
    bundles = list(feeds.bundles(20_000))
    assert sum(bundle.size for bundle in bundles) == 20_000 == feeds.sent.indicators
    assert all(1 <= bundle.size <= MAX_BUNDLE for bundle in bundles)
    assert {bundle.source for bundle in bundles} == set(SOURCES)
    assert 1 - len(feeds.sent.items) / 20_000 == pytest.approx(DUPLICATES, abs=0.02)
    assert len({item.pattern for item in feeds.sent.items.values()}) == len(feeds.sent.items)
    objects = [thing for bundle in bundles for thing in orjson.loads(bundle.body)["objects"]]
    assert len({thing["id"] for thing in objects}) == 20_000
    assert bundles == list(Feeds(MADE_UP, NOW_MS).bundles(20_000)), "the same seed gives the same feeds"


@pytest.mark.parametrize(
    ("indicator", "taken"),
    [
        ({"type": "indicator", "pattern": "[domain-name:value='a.example']"}, True),
        ({"type": "indicator", "pattern": "[file:hashes.'SHA-256' = '%s']" % ("0" * 64)}, True),
        ({"type": "indicator", "pattern": "[url:value = 'https://a.example/x#part']"}, True),
        ({"type": "indicator", "pattern": "[a:b = 'x' AND c:d = 'y']"}, False),
        ({"type": "indicator", "pattern": "rule x {}"}, False),
        ({"type": "indicator"}, False),
        ({"type": "malware", "name": "x"}, False),
    ],
)
def test_shapes(indicator: dict[str, Any], taken: bool) -> None:
    assert len(shapes_of([indicator])) == taken


CLEAR, GREEN, AMBER, STRICT = SOURCES


@pytest.mark.parametrize(
    ("word", "who"),
    [
        (
            Word(CLEAR, None, 1),
            {"everything", "amber", "green", "state-cert", "government", "clear", "strict", "community", "recent"},
        ),
        (
            Word(CLEAR, None, 100),
            {"everything", "amber", "green", "state-cert", "government", "clear", "strict", "community"},
        ),
        (Word(CLEAR, Tlp.AMBER, 1), {"everything", "amber", "strict"}),
        (Word(GREEN, None, 1), {"everything", "amber", "green", "strict", "community", "recent", "confident"}),
        (Word(AMBER, None, 1), {"everything", "amber", "strict"}),
        (Word(STRICT, None, 1), {"everything", "strict", "confident"}),
    ],
)
def test_who_must_get_what(word: Word, who: set[str]) -> None:
    partners = receivers(10)
    assert {p.id.removesuffix("-1") for p in partners if must_get(p, [word])} == who
    assert not any(must_get(p, []) for p in partners)


@pytest.mark.parametrize(
    ("objects", "complaint"),
    [
        ([{"pattern": "a"}, {"pattern": "b"}], ""),
        ([{"pattern": "a", "id": "1"}, {"pattern": "b"}, {"pattern": "a", "id": "1"}], ""),
        ([{"pattern": "a"}, {"pattern": "b"}, {"type": "grouping"}], ""),
        ([{"pattern": "a"}], "1 of 2 are missing"),
        ([{"pattern": "a"}, {"pattern": "b"}, {"pattern": "c"}], "must not be"),
        ([{"pattern": "a"}, {"pattern": "b"}, {"pattern": "b"}], "twice"),
        ([{"pattern": "a"}, {"pattern": "b", "revoked": True}], "withdrawn"),
    ],
)
def test_an_incomplete_feed_is_noticed(objects: list[dict[str, Any]], complaint: str) -> None:
    whole = [{"type": "indicator", "id": f"no {number}", **thing} for number, thing in enumerate(objects)]
    problems = compare("amber-1", {"a", "b"}, whole)
    assert len(problems) == bool(complaint)
    assert all(complaint in problem for problem in problems)
