"""Reading STIX: what is taken, what is noted, what is refused, and where the fault is said to be."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import BodyRefused, ItemRefused
from schemas.stix import LIMITS, StixObject, open_bundle, read_bundle, read_object
from schemas.timestamps import exact, format_time, parse_time

UUID = "0c1f2a3b-4d5e-4f60-8a7b-9c8d7e6f5a4b"
WHEN = "2026-11-01T00:00:00.000Z"
TLP_GREEN = "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"

INDICATOR: dict[str, Any] = {
    "type": "indicator",
    "spec_version": "2.1",
    "id": f"indicator--{UUID}",
    "created": WHEN,
    "modified": WHEN,
    "pattern": "[domain-name:value = 'c2.example']",
    "pattern_type": "stix",
    "valid_from": WHEN,
}
MALWARE: dict[str, Any] = {
    "type": "malware",
    "spec_version": "2.1",
    "id": f"malware--{UUID}",
    "created": WHEN,
    "modified": WHEN,
    "name": "Made up",
    "is_family": True,
}
RELATIONSHIP: dict[str, Any] = {
    "type": "relationship",
    "spec_version": "2.1",
    "id": f"relationship--{UUID}",
    "created": WHEN,
    "modified": WHEN,
    "relationship_type": "indicates",
    "source_ref": f"indicator--{UUID}",
    "target_ref": f"malware--{UUID}",
}
IDENTITY: dict[str, Any] = {
    "type": "identity",
    "spec_version": "2.1",
    "id": f"identity--{UUID}",
    "created": WHEN,
    "modified": WHEN,
    "name": "Horizon Rights Network",
}
STATEMENT: dict[str, Any] = {
    "type": "marking-definition",
    "spec_version": "2.1",
    "id": f"marking-definition--{UUID}",
    "created": WHEN,
    "definition_type": "statement",
    "definition": {"statement": "Made up terms"},
}
TLP: dict[str, Any] = {
    "type": "marking-definition",
    "spec_version": "2.1",
    "id": TLP_GREEN,
    "created": "2017-01-20T00:00:00.000Z",
    "definition_type": "tlp",
    "name": "TLP:GREEN",
    "definition": {"tlp": "green"},
}
LOCATION: dict[str, Any] = IDENTITY | {"type": "location", "id": f"location--{UUID}", "country": "XA"}
INDICATOR_2_0: dict[str, Any] = {
    "type": "indicator",
    "id": f"indicator--{UUID}",
    "created": WHEN,
    "modified": WHEN,
    "labels": ["malicious-activity"],
    "pattern": "[file:hashes.'SHA-256' = '" + "ab" * 32 + "']",
    "valid_from": WHEN,
}
MALWARE_2_0: dict[str, Any] = {
    "type": "malware",
    "id": f"malware--{UUID}",
    "created": WHEN,
    "modified": WHEN,
    "labels": ["spyware"],
    "name": "Made up",
}
ALL = (INDICATOR, MALWARE, RELATIONSHIP, IDENTITY, STATEMENT, TLP, LOCATION, INDICATOR_2_0, MALWARE_2_0)


def bundle(*objects: Any, **frame: Any) -> dict[str, Any]:
    return {"type": "bundle", "id": f"bundle--{UUID}", "objects": list(objects)} | frame


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


@pytest.mark.parametrize("body", ALL, ids=lambda body: body["type"])
def test_taken_without_a_note(body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    item = read_object(body, strict=True)
    assert item.type == body["type"]
    assert item.id == body["id"]
    assert item.notes == ()
    assert item.created_ms == parse_time(body["created"])
    assert item.body["spec_version"] == "2.1"
    assert body == before


def test_what_an_object_says_of_itself() -> None:
    item = read_object(INDICATOR | {"modified": "2026-11-02T00:00:00.123456Z", "revoked": True}, "/objects/3")
    assert item.modified_ms == 1_793_577_600_123
    assert item.revoked
    assert item.pointer == "/objects/3"
    assert item.spec_version == "2.1"
    assert item.parsed is not None
    assert [ioc.value for ioc in item.parsed.iocs] == ["c2.example"]


@pytest.mark.parametrize(
    ("body", "code", "field", "where"),
    [
        (without(INDICATOR, "pattern"), "property-missing", "pattern", "/pattern"),
        (without(INDICATOR, "pattern_type"), "property-missing", "pattern_type", "/pattern_type"),
        (without(INDICATOR, "created"), "property-missing", "created", "/created"),
        (without(INDICATOR, "type"), "type-invalid", "type", "/type"),
        (INDICATOR | {"type": "Indicator"}, "type-invalid", "type", "/type"),
        (INDICATOR | {"type": "bundle"}, "type-invalid", "type", "/type"),
        (INDICATOR | {"type": 5}, "type-invalid", "type", "/type"),
        (INDICATOR | {"spec_version": "1.2"}, "spec-version-unknown", "spec_version", "/spec_version"),
        (INDICATOR | {"spec_version": 2.1}, "spec-version-unknown", "spec_version", "/spec_version"),
        (INDICATOR | {"id": "indicator--4"}, "id-invalid", "id", "/id"),
        (INDICATOR | {"id": f"malware--{UUID}"}, "id-invalid", "id", "/id"),
        (INDICATOR | {"id": 7}, "property-type", "id", "/id"),
        (INDICATOR | {"created": "2026-02-30T00:00:00.000Z"}, "timestamp-invalid", "created", "/created"),
        (INDICATOR | {"created": "2026-11-01"}, "timestamp-invalid", "created", "/created"),
        (INDICATOR | {"created": "2026-11-01T00:00:00.000+01:00"}, "timestamp-invalid", "created", "/created"),
        (INDICATOR | {"created": "2026-11-01T00:00:00Z"}, "timestamp-precision", "created", "/created"),
        (INDICATOR | {"created": 1793491200}, "property-type", "created", "/created"),
        (INDICATOR | {"valid_from": "1969-12-31T23:59:59Z"}, "timestamp-out-of-range", "valid_from", "/valid_from"),
        (
            INDICATOR | {"valid_until": "5138-11-16T09:46:40Z"},
            "timestamp-out-of-range",
            "valid_until",
            "/valid_until",
        ),
        (INDICATOR | {"valid_until": WHEN}, "times-out-of-order", "valid_until", "/valid_until"),
        (INDICATOR | {"modified": "2026-10-31T23:59:59.999Z"}, "times-out-of-order", "modified", "/modified"),
        (
            INDICATOR | {"created": "2026-11-01T00:00:00.0001Z"},
            "times-out-of-order",
            "modified",
            "/modified",
        ),
        (INDICATOR | {"revoked": "no"}, "property-type", "revoked", "/revoked"),
        (INDICATOR | {"confidence": 101}, "property-value", "confidence", "/confidence"),
        (INDICATOR | {"confidence": True}, "property-type", "confidence", "/confidence"),
        (INDICATOR | {"confidence": 50.5}, "property-type", "confidence", "/confidence"),
        (INDICATOR | {"labels": ["a", 3]}, "property-type", "labels", "/labels/1"),
        (INDICATOR | {"labels": "a"}, "property-type", "labels", "/labels"),
        (INDICATOR | {"lang": "not a tag"}, "property-value", "lang", "/lang"),
        (INDICATOR | {"created_by_ref": "identity--1"}, "id-invalid", "created_by_ref", "/created_by_ref"),
        (
            INDICATOR | {"created_by_ref": f"malware--{UUID}"},
            "reference-invalid",
            "created_by_ref",
            "/created_by_ref",
        ),
        (
            INDICATOR | {"object_marking_refs": [TLP_GREEN, f"identity--{UUID}"]},
            "reference-invalid",
            "object_marking_refs",
            "/object_marking_refs/1",
        ),
        (
            INDICATOR | {"external_references": [{"source_name": "a", "url": "u"}, {"url": "u"}]},
            "property-missing",
            "external_references",
            "/external_references/1/source_name",
        ),
        (
            INDICATOR | {"external_references": [{"source_name": "a"}]},
            "property-missing",
            "external_references",
            "/external_references/0",
        ),
        (
            INDICATOR | {"external_references": [{"source_name": "a", "url": "u", "hashes": {"SHA-256": 1}}]},
            "property-type",
            "external_references",
            "/external_references/0/hashes/SHA-256",
        ),
        (
            INDICATOR | {"kill_chain_phases": [{"kill_chain_name": "made-up"}]},
            "property-missing",
            "kill_chain_phases",
            "/kill_chain_phases/0/phase_name",
        ),
        (
            INDICATOR | {"granular_markings": [{"selectors": ["description"], "marking_ref": TLP_GREEN}]},
            "selector-invalid",
            "granular_markings",
            "/granular_markings/0/selectors/0",
        ),
        (
            INDICATOR | {"labels": ["a"], "granular_markings": [{"selectors": ["labels.[1]"], "lang": "en"}]},
            "selector-invalid",
            "granular_markings",
            "/granular_markings/0/selectors/0",
        ),
        (
            INDICATOR | {"granular_markings": [{"selectors": ["[0]"], "lang": "en"}]},
            "selector-invalid",
            "granular_markings",
            "/granular_markings/0/selectors/0",
        ),
        (
            INDICATOR | {"granular_markings": [{"selectors": ["pattern"]}]},
            "property-missing",
            "granular_markings",
            "/granular_markings/0",
        ),
        (
            INDICATOR | {"extensions": {"Not Known": {"a": 1}}},
            "property-value",
            "extensions",
            "/extensions/Not Known",
        ),
        (INDICATOR | {"pattern": "[domain-name:value = "}, "pattern-invalid", "pattern", "/pattern"),
        (INDICATOR | {"pattern": "[url:value = '\u202egpj.example']"}, "control-character", "pattern", "/pattern"),
        (INDICATOR | {"description": "bell\x07"}, "control-character", "description", "/description"),
        (INDICATOR | {"x_a": {"b": ["\x9b"]}}, "control-character", "x_a", "/x_a/b/0"),
        (INDICATOR | {"description": "d" * (LIMITS.max_string + 1)}, "too-long", "description", "/description"),
        (INDICATOR | {"labels": ["a"] * (LIMITS.max_list + 1)}, "too-long", "labels", "/labels"),
        (INDICATOR | {"x_a": {f"k{n}": 1 for n in range(1001)}}, "too-long", "x_a", "/x_a"),
        (without(MALWARE, "is_family"), "property-missing", "is_family", "/is_family"),
        (without(MALWARE, "name"), "property-missing", "name", "/name"),
        (MALWARE | {"is_family": "true"}, "property-type", "is_family", "/is_family"),
        (MALWARE | {"malware_types": 1}, "property-type", "malware_types", "/malware_types"),
        (
            MALWARE | {"first_seen": WHEN, "last_seen": "2026-10-01T00:00:00Z"},
            "times-out-of-order",
            "last_seen",
            "/last_seen",
        ),
        (MALWARE | {"sample_refs": [f"url--{UUID}"]}, "reference-invalid", "sample_refs", "/sample_refs/0"),
        (RELATIONSHIP | {"source_ref": f"bundle--{UUID}"}, "reference-invalid", "source_ref", "/source_ref"),
        (RELATIONSHIP | {"target_ref": f"sighting--{UUID}"}, "reference-invalid", "target_ref", "/target_ref"),
        (
            RELATIONSHIP | {"relationship_type": "Indicates!"},
            "property-value",
            "relationship_type",
            "/relationship_type",
        ),
        (RELATIONSHIP | {"start_time": WHEN, "stop_time": WHEN}, "times-out-of-order", "stop_time", "/stop_time"),
        (TLP | {"definition": {"tlp": "white"}}, "marking-invalid", "definition", "/definition"),
        (TLP | {"id": f"marking-definition--{UUID}"}, "marking-invalid", "definition", "/definition"),
        (STATEMENT | {"definition": {"text": "x"}}, "property-value", "definition", "/definition"),
        (without(STATEMENT, "definition", "definition_type"), "property-missing", "definition", "/definition"),
        (without(STATEMENT, "definition_type"), "property-missing", "definition_type", "/definition_type"),
        (without(MALWARE_2_0, "labels"), "property-missing", "labels", "/labels"),
    ],
)
def test_refused(body: dict[str, Any], code: str, field: str, where: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        read_object(body, "/objects/17")
    assert (refused.value.code, refused.value.field) == (code, field)
    assert refused.value.where == "/objects/17" + where
    assert refused.value.hint
    assert len(str(refused.value)) < 600


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ItemRefused) as refused:
        read_object(RELATIONSHIP | {"start_time": "1900-01-01T00:00:00Z", "stop_time": "soon", "revoked": 1})
    assert refused.value.field == "start_time"
    assert "stop_time, revoked" in refused.value.what


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (INDICATOR | {"x_made_up": 1}, "custom-property: x_made_up"),
        (INDICATOR | {"severity-level": 1}, "property-name: severity-level"),
        (INDICATOR | {"description": None}, "empty: description"),
        (INDICATOR | {"labels": []}, "empty: labels"),
        (INDICATOR | {"extensions": {}}, "empty: extensions"),
        (INDICATOR | {"pattern_type": "STIX"}, "pattern-type-case: pattern_type"),
        (INDICATOR_2_0 | {"confidence": 60}, "property-of-2.1-in-2.0: confidence"),
        (INDICATOR_2_0 | {"spec_version": "2.0"}, "spec-version-in-2.0: spec_version"),
        (INDICATOR_2_0 | {"created": "2026-11-01T00:00:00Z"}, "timestamp-precision: created"),
        (without(INDICATOR_2_0, "labels"), "labels-missing: labels"),
        (without(LOCATION, "spec_version"), "spec-version-missing: spec_version"),
        (without(MALWARE, "spec_version"), "property-of-2.1-in-2.0: is_family"),
        (
            STATEMENT | {"id": "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"},
            "marking-body: definition",
        ),
    ],
)
def test_understood_and_noted(body: dict[str, Any], note: str) -> None:
    item = read_object(body, "/objects/0")
    assert note in item.notes
    code, _, field = note.partition(": ")
    if code == "custom-property":
        assert read_object(body, strict=True)
        return
    with pytest.raises(ItemRefused) as refused:
        read_object(body, "/objects/0", strict=True)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert refused.value.where == f"/objects/0/{field}"


def test_empty_properties_are_absent() -> None:
    item = read_object(INDICATOR | {"labels": [], "description": None})
    assert item.body == INDICATOR


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (
            INDICATOR_2_0,
            {
                "spec_version": "2.1",
                "indicator_types": ["malicious-activity"],
                "pattern_type": "stix",
                "pattern_version": "2.0",
                "labels": None,
            },
        ),
        (
            INDICATOR_2_0 | {"labels": ["malicious-activity", "tlp:green"]},
            {"indicator_types": ["malicious-activity"], "labels": ["tlp:green"]},
        ),
        (INDICATOR_2_0 | {"labels": ["tlp:green"]}, {"indicator_types": None, "labels": ["tlp:green"]}),
        (
            INDICATOR_2_0 | {"granular_markings": [{"selectors": ["labels"], "marking_ref": TLP_GREEN}]},
            {"labels": ["malicious-activity"], "indicator_types": None},
        ),
        (MALWARE_2_0, {"malware_types": ["spyware"], "labels": None, "is_family": False}),
    ],
)
def test_2_0_becomes_2_1(body: dict[str, Any], changed: dict[str, Any]) -> None:
    item = read_object(body)
    assert item.spec_version == "2.0"
    for name, value in changed.items():
        assert item.body.get(name) == value, name


@pytest.mark.parametrize("pattern_type", ["yara", "snort", "sigma", "pcre"])
def test_other_pattern_languages_are_taken_unread(pattern_type: str) -> None:
    item = read_object(INDICATOR | {"pattern_type": pattern_type, "pattern": "rule made_up { condition: true }"})
    assert item.parsed is None


def test_direction_marks_are_text_in_a_description() -> None:
    assert read_object(INDICATOR | {"name": "\u202bاسم\u202c", "description": "one\n\ttwo\r\n"}).notes == ()


def test_observables_and_custom_types_need_little() -> None:
    url = {"type": "url", "id": f"url--{UUID}", "value": "https://c2.example/", "created": 5, "revoked": "x"}
    item = read_object(url)
    assert (item.created_ms, item.modified_ms, item.revoked) == (None, None, False)
    assert item.body["spec_version"] == "2.1"
    custom = {"type": "x-made-up", "id": f"x-made-up--{UUID}", "first_seen": 1, "last_seen": 0}
    assert read_object(custom).type == "x-made-up"


def test_valid_objects_are_taken_from_among_invalid_ones() -> None:
    read = read_bundle(bundle(INDICATOR, MALWARE | {"is_family": 3}, 5, IDENTITY))
    assert [item.pointer for item in read.objects] == ["/objects/0", "/objects/3"]
    assert [refused.where for refused in read.refused] == ["/objects/1/is_family", "/objects/2"]
    assert read.id == f"bundle--{UUID}"


def test_the_same_object_twice_is_noted() -> None:
    later = INDICATOR | {"modified": "2026-11-02T00:00:00.000Z"}
    read = read_bundle(bundle(INDICATOR, INDICATOR, later))
    assert [item.notes for item in read.objects] == [(), ("object-twice: id",), ()]
    assert [refused.code for refused in read_bundle(bundle(INDICATOR, INDICATOR), strict=True).refused] == [
        "object-twice"
    ]


@pytest.mark.parametrize(
    ("document", "pointer", "notes"),
    [
        (bundle(INDICATOR, spec_version="2.0"), "/objects/0", ()),
        (bundle(INDICATOR, id="bundle--1"), "/objects/0", ("bundle-id: id",)),
        (without(bundle(INDICATOR), "id"), "/objects/0", ("bundle-id: id",)),
        (INDICATOR, "", ()),
        ([INDICATOR], "/0", ("envelope: list",)),
        ({"more": False, "objects": [INDICATOR]}, "/objects/0", ("envelope: objects",)),
    ],
)
def test_frames(document: Any, pointer: str, notes: tuple[str, ...]) -> None:
    read = read_bundle(document)
    assert [item.pointer for item in read.objects] == [pointer]
    assert read.notes == notes
    if notes:
        with pytest.raises(BodyRefused):
            read_bundle(document, strict=True)


def test_a_bundle_may_be_empty() -> None:
    assert read_bundle(without(bundle(), "objects")).objects == ()
    assert read_bundle(bundle()).notes == ("empty: objects",)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (None, "unknown-format"),
        ("bundle", "unknown-format"),
        ([], "unknown-format"),
        ([1, 2], "unknown-format"),
        ({}, "unknown-format"),
        ({"type": "FeatureCollection", "features": []}, "unknown-format"),
        ({"Event": {"info": "made up"}}, "unknown-format"),
        ({"stix_header": {}, "version": "1.2", "id": "example:Package-1"}, "unknown-format"),
        (bundle(INDICATOR, id="my-prefix--"), "bundle-invalid"),
        (bundle(INDICATOR, id=5), "bundle-invalid"),
        (bundle(INDICATOR, objects={"0": INDICATOR}), "bundle-invalid"),
        (bundle(INDICATOR, spec_version="1.2"), "bundle-invalid"),
    ],
)
def test_documents_that_are_refused_whole(document: Any, code: str) -> None:
    with pytest.raises(BodyRefused) as refused:
        read_bundle(document)
    assert refused.value.code == code
    assert refused.value.hint


def test_the_number_of_objects_is_bounded() -> None:
    with pytest.raises(BodyRefused) as refused:
        read_bundle(bundle(*[INDICATOR] * 11), limits=LIMITS._replace(max_objects=10))
    assert (refused.value.code, refused.value.status) == ("too-many-objects", 413)


def test_objects_are_read_as_they_are_drawn() -> None:
    opened = open_bundle(bundle(*[INDICATOR] * 1000))
    assert opened.total == 1000
    first = next(opened.items)
    assert isinstance(first, StixObject)
    assert first.pointer == "/objects/0"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([WHEN, UUID]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
property_names = st.sampled_from(sorted({name for body in ALL for name in body})) | st.sampled_from(
    ["granular_markings", "object_marking_refs", "external_references", "extensions", "first_seen", "last_seen"]
)


@settings(max_examples=400)
@given(st.sampled_from(ALL), st.dictionaries(property_names, json_values, max_size=4))
def test_whatever_stands_in_it_is_taken_or_refused(body: dict[str, Any], changes: dict[str, Any]) -> None:
    read = read_bundle(bundle(body | changes))
    assert len(read.objects) + len(read.refused) == 1


HOSTILE: dict[str, dict[str, Any]] = {
    "labels": INDICATOR_2_0 | {"labels": ["benign", "made-up"] * 50_000},
    "selectors": MALWARE
    | {"granular_markings": [{"selectors": ["labels.[9]"] * 100, "lang": "en"}] * 100, "labels": ["a"] * 10},
    "custom properties": INDICATOR | {f"x_{n}": n for n in range(900)},
    "faults": INDICATOR | {"external_references": [{}] * 100_000},
    "selector": MALWARE | {"granular_markings": [{"selectors": ["a" * 1_000_000], "lang": "en"}]},
    "timestamp": INDICATOR | {"created": "2026-11-01T00:00:00." + "0" * 1_000_000 + "Z"},
    "id": INDICATOR | {"id": "indicator-" + "-" * 1_000_000},
    "type": INDICATOR | {"type": "a-" * 500_000},
    "base64": {"type": "artifact", "id": f"artifact--{UUID}", "payload_bin": "A" * 1_000_001},
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_time_grows_with_size_alone(shape: str) -> None:
    began = time.process_time()
    read_bundle(bundle(HOSTILE[shape]))
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-01T00:00:00.1Z", 1_793_491_200_100),
        ("2026-11-01T00:00:00.123999Z", 1_793_491_200_123),
        ("2024-02-29T23:59:59.000000000001Z", 1_709_251_199_000),
        ("2100-12-31T23:59:59.999Z", 4_133_980_799_999),
    ],
)
def test_times(text: str, ms: int) -> None:
    assert parse_time(text) == ms
    assert parse_time(format_time(ms)) == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-01 00:00:00Z",
        "20261101T000000Z",
        "2026-W01-1T00:00:00Z",
        "2026-11-01T24:00:00Z",
        "2026-11-01T00:00:60Z",
        "2026-11-01T00:00:00z",
        "2026-11-01T00:00:00+00:00",
        "2026-11-01T00:00:00.Z",
        "2026-11-01T00:00:00Z\n",
        "٢٠٢٦-11-01T00:00:00Z",
    ],
)
def test_times_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        parse_time(text)
    assert refused.value.code == "timestamp-invalid"


def test_times_sort_by_all_their_digits() -> None:
    texts = [
        "2026-11-01T00:00:00Z",
        "2026-11-01T00:00:00.0000001Z",
        "2026-11-01T00:00:00.12Z",
        "2026-11-01T00:00:01Z",
    ]
    assert sorted(texts, key=exact) == texts
    assert exact("2026-11-01T00:00:00Z") == exact("2026-11-01T00:00:00.000Z")
