"""The handling extension: every field optional, unknown fields an error, errors point at the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import ItemRefused
from schemas.handling import HANDLING_ID, Handling, outgoing, read

ROOT = f"/extensions/{HANDLING_ID}"


def test_absent_means_that_nothing_is_said() -> None:
    handling = read({})
    assert handling == Handling()
    assert handling.suspects is None
    assert handling.consent is None
    assert handling.purposes is None
    assert handling.published is None
    assert handling.urgent is False


def test_all_fields() -> None:
    handling = read(
        {
            HANDLING_ID: {
                "extension_type": "property-extension",
                "category": "spyware",
                "affected": ["XA", "GB"],
                "suspects": {"XB": 40},
                "consent": {
                    "status": "granted",
                    "kinds": ["ngo"],
                    "purposes": ["assist"],
                    "until": "2027-01-01T00:00:00Z",
                },
                "named": ["horizon"],
                "embargo": {"until": "2026-11-23T12:00:00Z", "group": ["horizon"]},
                "personal": {"pattern": "host-only", "external_references.[0].url": "drop"},
                "purposes": ["detect", "protect"],
                "published": True,
                "urgent": True,
            }
        }
    )
    assert handling.suspects == {"XB": 40}
    assert handling.consent is not None
    assert handling.consent.until_ms == 1_798_761_600_000
    assert handling.embargo is not None
    assert handling.embargo.until_ms == 1_795_435_200_000
    assert handling.embargo.group == ("horizon",)
    assert handling.personal["external_references.[0].url"] == "drop"
    assert Handling.model_validate(handling.model_dump(mode="json")) == handling


def test_no_suspects_is_not_the_same_as_unknown_suspects() -> None:
    assert read({HANDLING_ID: {"suspects": {}}}).suspects == {}


def test_a_grant_without_kinds_is_left_to_the_policy() -> None:
    consent = read({HANDLING_ID: {"consent": {"status": "granted"}}}).consent
    assert consent is not None
    assert consent.kinds is None


@pytest.mark.parametrize(
    ("fields", "where", "field"),
    [
        ({"categroy": "spyware"}, "/categroy", "categroy"),
        ({"category": "malware"}, "/category", "category"),
        ({"category": ["spyware"]}, "/category", "category"),
        ({"affected": ["UK"]}, "/affected/0", "affected"),
        ({"affected": ["XA", "xb"]}, "/affected/1", "affected"),
        ({"affected": "XA"}, "/affected", "affected"),
        ({"suspects": {"UK": 50}}, "/suspects/UK", "suspects"),
        ({"suspects": {"XA": 0}}, "/suspects/XA", "suspects"),
        ({"suspects": {"XA": 101}}, "/suspects/XA", "suspects"),
        ({"suspects": {"XA": True}}, "/suspects/XA", "suspects"),
        ({"suspects": {"XA": "50"}}, "/suspects/XA", "suspects"),
        ({"suspects": ["XA"]}, "/suspects", "suspects"),
        ({"consent": {}}, "/consent/status", "consent"),
        ({"consent": {"status": "yes"}}, "/consent/status", "consent"),
        ({"consent": {"status": "granted", "kind": ["ngo"]}}, "/consent/kind", "consent"),
        ({"consent": {"status": "granted", "until": "2027-01-01"}}, "/consent/until", "consent"),
        ({"consent": {"status": "granted", "until": "3027-01-01T00:00:00Z"}}, "/consent/until", "consent"),
        ({"embargo": {"group": ["horizon"]}}, "/embargo/until", "embargo"),
        ({"named": ["Not A Slug"]}, "/named/0", "named"),
        ({"named": "horizon"}, "/named", "named"),
        ({"personal": {"description": "hide"}}, "/personal/description", "personal"),
        ({"personal": {"a/b": "drop"}}, "/personal/a~1b", "personal"),
        ({"personal": {"pattern\n": "drop"}}, "/personal/pattern\\n", "personal"),
        ({"purposes": ["sell"]}, "/purposes/0", "purposes"),
        ({"published": 1}, "/published", "published"),
        ({"urgent": "true"}, "/urgent", "urgent"),
        ({"extension_type": "new-sdo"}, "/extension_type", "extension_type"),
        ({"affected": ["XA"] * 301}, "/affected", "affected"),
        ("spyware", "", HANDLING_ID),
        (None, "", HANDLING_ID),
    ],
)
def test_faults_are_pointed_at(fields: Any, where: str, field: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        read({HANDLING_ID: fields})
    assert refused.value.code == "handling-invalid"
    assert refused.value.where == ROOT + where
    assert refused.value.field == field
    assert refused.value.hint


@pytest.mark.parametrize("upper", [str.upper, lambda uuid: uuid[:20] + uuid[20:].upper()])
def test_its_id_may_be_in_upper_case(upper: Callable[[str], str]) -> None:
    prefix, _, uuid = HANDLING_ID.partition("--")
    shouted = f"{prefix}--{upper(uuid)}"
    assert read({shouted: {"urgent": True}, "archive-ext": {}}).urgent
    with pytest.raises(ItemRefused) as refused:
        read({shouted: {"urgent": "yes"}})
    assert refused.value.where == f"/extensions/{shouted}/urgent"
    with pytest.raises(ItemRefused) as refused:
        read({HANDLING_ID: {"urgent": True}, shouted: {"consent": {"status": "unknown"}}})
    assert (refused.value.code, refused.value.where) == ("handling-invalid", f"/extensions/{shouted}")


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError):
        setattr(Handling(), "category", "spyware")  # noqa: B010 - what a type checker would refuse


def test_only_three_fields_leave() -> None:
    assert outgoing("spyware", ["XB", "XA"], ["protect", "detect"]) == {
        HANDLING_ID: {
            "extension_type": "property-extension",
            "category": "spyware",
            "affected": ["XA", "XB"],
            "purposes": ["detect", "protect"],
        }
    }
    assert outgoing(None, None, ["detect"]) == {
        HANDLING_ID: {"extension_type": "property-extension", "purposes": ["detect"]}
    }
