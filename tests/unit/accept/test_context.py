"""What a relationship beside an indicator says of it, where it says so under the same terms."""

from __future__ import annotations

from typing import Any

import pytest

from services.accept import stix_door
from services.accept.reading import Draft
from tests.fakes import NOW_MS, source_agreement

GREEN = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
AMBER = "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421"
DAY = "2026-11-02T09:00:00.000Z"


def sdo(type_: str, number: int, *, marked: str = GREEN, **fields: Any) -> dict[str, Any]:
    return {
        "type": type_,
        "spec_version": "2.1",
        "id": f"{type_}--00000000-0000-4000-8000-{number:012d}",
        "created": DAY,
        "modified": DAY,
        "object_marking_refs": [marked],
        **fields,
    }


def bundle(*, kit: str = GREEN, link: str = GREEN, saying: str = "indicates", **malware: Any) -> dict[str, Any]:
    lure = sdo("indicator", 1, pattern="[domain-name:value = 'lure.example']", pattern_type="stix", valid_from=DAY)
    named = sdo("malware", 2, marked=kit, **{"name": "Made-up Kit", "is_family": True, **malware})
    says = sdo(
        "relationship", 3, marked=link, relationship_type=saying, source_ref=lure["id"], target_ref=named["id"]
    )
    return {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "objects": [says, lure, named]}


def context(document: dict[str, Any]) -> tuple[str, ...]:
    reading = stix_door.read(document, source_agreement(), NOW_MS)
    [indicator] = [item for item in reading.items if isinstance(item, Draft) and item.type == "indicator"]
    return indicator.context


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ("Made-up Kit",)),
        ({"aliases": ["Pot", "Pan"]}, ("Made-up Kit", "Pot", "Pan")),
        ({"saying": "related-to"}, ("Made-up Kit",)),
        ({"saying": "derived-from"}, ()),
        ({"kit": AMBER}, ()),
        ({"link": AMBER}, ()),
        ({"kit": AMBER, "link": AMBER}, ()),
        ({"revoked": True}, ()),
        ({"aliases": [f"n{n}" for n in range(50)]}, ("Made-up Kit", *(f"n{n}" for n in range(9)))),
    ],
)
def test_names_count_under_the_same_terms_only(fields: dict[str, Any], names: tuple[str, ...]) -> None:
    assert context(bundle(**fields)) == names


def test_a_bundle_without_such_names_is_left_as_it_is() -> None:
    document = bundle()
    document["objects"] = document["objects"][:2]
    assert context(document) == ()
