"""A feed as a file: STIX and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
import pytest

from schemas.feed import FeedRow, Head
from services.accept.csv_table import find_table
from services.share.formats import FORMATS

FEED_ID = "7b1c9f6e-3f0d-4f5e-8a54-0a1b2c3d4e5f"


def row(value: str = "a.example", **fields: Any) -> FeedRow:
    pattern = f"[domain-name:value = '{value}']"
    given = {
        "added": 1,
        "stix_id": "indicator--1",
        "type": "indicator",
        "live": True,
        "modified": "",
        "kind": "domain",
        "value": value,
        "category": "phishing",
        "confidence": 40,
        "first_seen": "2026-10-01T00:00:00.000Z",
        "last_seen": "2026-11-01T00:00:00.000Z",
        "tlp": "green",
        "score": 64,
        "active_until": "2026-12-01T00:00:00.000Z",
        "registrable_domain": "a.example",
        "urgent": False,
        "body": orjson.dumps({"id": "indicator--1", "pattern": pattern}),
    }
    return FeedRow(**{**given, **fields})


def written(name: str, *pages: list[FeedRow]) -> bytes:
    chosen, any_rows, parts = FORMATS[name], False, [FORMATS[name].begin(Head(FEED_ID, 0, "meadow"))]
    for page in pages:
        parts.append(chosen.rows(page, any_rows))
        any_rows = any_rows or bool(page)
    return b"".join([*parts, chosen.end(any_rows)])


def table(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode(), newline="")))


@pytest.mark.parametrize(
    ("pages", "objects"),
    [([[]], None), ([[row()]], 1), ([[row(), row()], [row()]], 3), ([[row()], []], 1)],
)
def test_stix(pages: list[list[FeedRow]], objects: int | None) -> None:
    bundle = orjson.loads(written("stix", *pages))
    assert bundle["type"] == "bundle" and bundle["id"] == f"bundle--{FEED_ID}"
    assert (len(bundle["objects"]) if "objects" in bundle else None) == objects


def test_csv() -> None:
    text = written("csv", [row()])
    assert text.startswith(
        b"id,kind,value,pattern,category,confidence,first_seen,last_seen,tlp,registrable_domain,"
        b"score,active_until\r\n"
    )
    assert table(text) == [
        {
            "id": "indicator--1",
            "kind": "domain",
            "value": "a.example",
            "pattern": "[domain-name:value = 'a.example']",
            "category": "phishing",
            "confidence": "40",
            "first_seen": "2026-10-01T00:00:00.000Z",
            "last_seen": "2026-11-01T00:00:00.000Z",
            "tlp": "green",
            "registrable_domain": "a.example",
            "score": "64",
            "active_until": "2026-12-01T00:00:00.000Z",
        }
    ]


@pytest.mark.parametrize(
    "out", [row(live=False), row(type="malware"), row(type="identity")], ids=["withdrawn", "malware", "identity"]
)
def test_what_csv_leaves_out(out: FeedRow) -> None:
    assert [r["value"] for r in table(written("csv", [out, row("b.example")]))] == ["b.example"]


NASTY = ["a,b", 'a"b', "a\r\nb", "=1+1", "+491234", "-x", "@name", "\tx", "＝1", "'x", "naïve", "a;b", " x "]


@pytest.mark.parametrize("value", NASTY)
def test_csv_is_true_to_the_last_character(value: str) -> None:
    [read] = table(written("csv", [row(value)]))
    assert read["value"] == value and read["pattern"] == f"[domain-name:value = '{value}']"


@pytest.mark.parametrize("value", NASTY)
def test_no_cell_for_spreadsheets_begins_like_a_formula(value: str) -> None:
    [read] = table(written("spreadsheet", [row(value)]))
    assert read["value"].removeprefix("'") == value.removeprefix("'")
    assert not read["value"].startswith(("=", "+", "-", "@", "\t", "\r", "＝"))


def test_what_is_not_known_is_an_empty_cell() -> None:
    [read] = table(written("csv", [row(confidence=None, score=None, active_until="")]))
    assert (read["confidence"], read["score"], read["active_until"]) == ("", "", "")
    assert table(written("csv", [row(confidence=0, score=0)]))[0]["score"] == "0"


@pytest.mark.parametrize("name", ["csv", "spreadsheet"])
def test_a_hub_reads_the_table_of_another(name: str) -> None:
    assert find_table(written(name, [row()]).decode(), None) is not None
