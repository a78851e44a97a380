"""The extension for what the hub found out: what is in it, that it is stable, and that it is STIX."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
import stix2

from schemas import stix_values
from schemas.enrichment import ENRICHMENT_ID, Fields, extension
from schemas.handling import HANDLING_ID

WHOLE: Fields = {
    "score": 64,
    "score_parts": [("base", 70), ("age", -6)],
    "registrable_domain": "lure.example",
    "lookalikes": ["b.example", "a.example", "b.example"],
    "country": "XA",
    "asn": 64_496,
    "as_name": "Example",
    "warning_lists": {"popular"},
    "do_not_block": True,
    "families": ("Zeta", "Alpha"),
    "vendors": ("Made-Up",),
    "techniques": ["T1566.002"],
    "active_until": "2026-12-01T00:00:00.000Z",
    "data_version": "2026-11-01",
}


@pytest.fixture
def whole() -> dict[str, Any]:
    return extension(**WHOLE)


def test_everything(whole: dict[str, Any]) -> None:
    assert whole == {
        ENRICHMENT_ID: {
            "extension_type": "property-extension",
            "active_until": "2026-12-01T00:00:00.000Z",
            "as_name": "Example",
            "asn": 64_496,
            "country": "XA",
            "data_version": "2026-11-01",
            "do_not_block": True,
            "families": ["Alpha", "Zeta"],
            "lookalikes": ["a.example", "b.example"],
            "registrable_domain": "lure.example",
            "score": 64,
            "score_parts": {"age": -6, "base": 70},
            "techniques": ["T1566.002"],
            "vendors": ["Made-Up"],
            "warning_lists": ["popular"],
        }
    }


EMPTY: list[tuple[Fields, list[str]]] = [
    ({}, []),
    ({"data_version": "1"}, []),
    ({"score": None, "lookalikes": [], "country": "", "do_not_block": False, "score_parts": ()}, []),
    ({"families": iter(()), "data_version": "1"}, []),
    ({"score": 0}, ["score"]),
    ({"score": 1, "data_version": "1"}, ["data_version", "score"]),
    ({"asn": None, "do_not_block": True}, ["do_not_block"]),
]


@pytest.mark.parametrize(("fields", "names"), EMPTY)
def test_what_is_empty_is_left_out(fields: Fields, names: list[str]) -> None:
    found = extension(**fields)
    assert (list(found[ENRICHMENT_ID]) if found else []) == (["extension_type", *names] if names else [])


def test_equal_findings_give_equal_bytes() -> None:
    one = extension(lookalikes=["a", "b"], score=3, score_parts=[("base", 4), ("age", -1)])
    other = extension(score_parts=[("age", -1), ("base", 4)], score=3, lookalikes=("b", "a", "a"))
    assert orjson.dumps(one) == orjson.dumps(other)


@pytest.mark.parametrize("allow_custom", [True, False])
def test_it_is_stix(whole: dict[str, Any], allow_custom: bool) -> None:
    body = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": "indicator--3b8e5d53-5f3f-4b62-9b1d-1a2b3c4d5e6f",
        "created": "2026-11-01T00:00:00.000Z",
        "modified": "2026-11-01T00:00:00.000Z",
        "pattern": "[domain-name:value = 'lure.example']",
        "pattern_type": "stix",
        "valid_from": "2026-11-01T00:00:00.000Z",
        "extensions": {HANDLING_ID: {"extension_type": "property-extension", "category": "phishing"}, **whole},
    }
    read = stix2.parse(orjson.dumps(body), allow_custom=allow_custom)
    assert orjson.loads(read.serialize())["extensions"] == body["extensions"]


def test_its_names_are_those_that_stix_allows(whole: dict[str, Any]) -> None:
    """Section 3.1: property names; section 2.3: keys of dictionaries; section 7.3: the id."""
    fields = whole[ENRICHMENT_ID]
    assert set(fields) == {"extension_type", *Fields.__annotations__}
    for name in (*fields, *fields["score_parts"]):
        assert re.fullmatch("[a-z][a-z0-9_]{2,249}", name)
    assert re.fullmatch(f"extension-definition--{stix_values.UUID_HEX}", ENRICHMENT_ID)
    assert ENRICHMENT_ID != HANDLING_ID and ENRICHMENT_ID[36] == "4"
