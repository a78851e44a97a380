"""What a source may ask to be withdrawn, and what it is told where it asks wrongly."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import BodyRefused
from schemas.withdrawal import MAX_NAMED, read, spelled

SUBMISSION = "00000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    "document",
    [
        {"ids": ["indicator--1"], "why": "revoked"},
        {"ids": ["i"] * MAX_NAMED, "items": ["x"], "submissions": [SUBMISSION], "why": "consent"},
        {"consents": ["case 17 – Ö"], "why": "consent"},
    ],
)
def test_in_order(document: dict[str, Any]) -> None:
    assert read(document).why == document["why"]


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], ""),
        ("SECRET", ""),
        ({"why": "revoked"}, ""),
        ({"ids": ["SECRET"]}, "/why"),
        ({"ids": ["SECRET"], "why": ""}, ""),
        ({"ids": ["SECRET"], "why": "SECRET"}, "/why"),
        ({"ids": ["SECRET"], "why": "revoked", "SECRET": 1}, "/SECRET"),
        ({"ids": "SECRET", "why": "revoked"}, "/ids"),
        ({"ids": ["", "SECRET"], "why": "revoked"}, "/ids/0"),
        ({"ids": [7], "why": "revoked"}, "/ids/0"),
        ({"ids": ["x" * 301], "why": "revoked"}, "/ids/0"),
        ({"items": ["SECRET\0"], "why": "revoked"}, "/items/0"),
        ({"ids": ["i"] * (MAX_NAMED + 1), "why": "revoked"}, "/ids"),
        ({"submissions": ["SECRET"], "why": "revoked"}, "/submissions/0"),
        ({"submissions": [SUBMISSION] * 1_001, "why": "revoked"}, "/submissions"),
        ({"consents": ["SECRET"], "why": "revoked"}, ""),
        ({"consents": ["SECRET" * 50], "why": "consent"}, "/consents/0"),
        ({"consents": ["c"] * 101, "why": "consent"}, "/consents"),
    ],
)
def test_refused_without_a_word_of_what_was_sent(document: Any, where: str) -> None:
    with pytest.raises(BodyRefused) as caught:
        read(document)
    error = caught.value
    assert (error.code, error.status, error.where) == ("withdrawal-invalid", 422, where)
    assert "SECRET" not in error.what


def test_what_looks_the_same_is_the_same_reference() -> None:
    assert spelled(" Mu\u0308ller 7 ") == spelled("M\u00fcller 7")
