"""Until when an item is active: the sources' end, the table's, and the earlier of the two."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from schemas.handling import CATEGORIES
from services.enrich.activity import BY_CATEGORY, DAY_MS, NAMES, OTHER, PLACES, active_until_ms
from services.enrich.score import LIVES
from tests.fakes import NOW_MS

# kind, category, days after it was last seen at which each source says that it ends; the day on which it does
CASES: list[tuple[str, str, list[int | None], int | None]] = [
    ("url", "phishing", [None], 30),
    ("domain", "phishing", [None], 90),
    ("domain", "spyware", [None], 1_095),
    ("ipv4", "spyware", [None], 365),
    ("ipv6", "ddos", [None], 14),
    ("domain", "", [None], 365),
    ("domain", "of-tomorrow", [None], 365),
    ("ipv4", "", [None], 90),
    ("email", "doxxing", [], 365),
    ("sha256", "phishing", [None], None),
    ("cert-sha256", "spyware", [None], None),
    ("app-id", "spyware", [None], None),
    ("pattern:yara", "", [None], None),
    ("complex", "", [None], None),
    ("stix:malware", "spyware", [], None),
    ("domain", "phishing", [10], 10),
    ("domain", "phishing", [10, 20], 20),
    ("domain", "phishing", [20, 10], 20),
    ("domain", "phishing", [10, None], 90),
    ("domain", "phishing", [700], 90),
    ("domain", "phishing", [-5], -5),
    ("sha256", "", [10], 10),
    ("sha256", "", [10, None], None),
    ("sha256", "", [], None),
]


@pytest.mark.parametrize(("kind", "category", "stated", "expected"), CASES)
def test_end(kind: str, category: str, stated: Sequence[int | None], expected: int | None) -> None:
    valid_until_ms = [None if days is None else NOW_MS + days * DAY_MS for days in stated]
    found = active_until_ms(kind, category, NOW_MS, valid_until_ms)
    assert found == (None if expected is None else NOW_MS + expected * DAY_MS)


def test_every_category_that_has_places_is_in_the_table() -> None:
    # what is taken from people's hands is no place on a network
    assert set(CATEGORIES) - set(BY_CATEGORY) == {"device-seizure"}


def test_places_end_before_names() -> None:
    assert all(days.places <= days.names for days in (*BY_CATEGORY.values(), OTHER))
    assert BY_CATEGORY["phishing"].names < BY_CATEGORY["spyware"].places
    assert set(LIVES) >= PLACES | NAMES
