"""What makes two objects the same item, and what is taken out of them as references."""

from __future__ import annotations

from typing import Any
from uuid import uuid5

import pytest

from schemas import objects
from schemas.errors import ItemRefused
from schemas.fingerprint import named_fingerprint
from schemas.objects import Identity, identify, joined, key_of, seen, take_references, when_seen
from schemas.stix_types import TYPES
from tests.fakes import SECRET

UUID_4 = "00000000-0000-4000-8000-000000000001"


def thing(type_: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "id": f"{type_}--{UUID_4}", "created": "2026-01-01T00:00:00.000Z", **more}


def attack(id_: str, source_name: str = "mitre-attack") -> dict[str, Any]:
    return {"external_references": [{"source_name": "other"}, {"source_name": source_name, "external_id": id_}]}


SAME = [
    ("case and blanks", thing("tool", name="Made  Up\n"), thing("tool", name=" made up")),
    ("case folding", thing("tool", name="STRASSE"), thing("tool", name="straße")),
    ("NFC", thing("tool", name="e\u0301x"), thing("tool", name="éX")),
    ("folding that undoes NFC", thing("tool", name="\u1e9e\u0345"), thing("tool", name="ss\u03b9")),
    ("technique", thing("attack-pattern", name="a", **attack("T1566.001")),
     thing("attack-pattern", name="b", **attack("T1566.001", "mitre-mobile-attack"))),
    ("technique in lower case", thing("attack-pattern", name="a", **attack("t1566.001")),
     thing("attack-pattern", name="b", **attack(" T1566.001"))),
    ("no technique", thing("attack-pattern", name="A", **attack("TA0001")), thing("attack-pattern", name="a")),
    ("CVE", thing("vulnerability", name="x", **attack("cve-2026-12345", "cve")),
     thing("vulnerability", name="CVE-2026-12345")),
    ("identity", thing("identity", name="Ada", identity_class="Individual"),
     thing("identity", name="ADA", identity_class="individual")),
]  # fmt: skip
DIFFERENT = [
    ("family", thing("malware", name="x", is_family=True), thing("malware", name="x", is_family=False)),
    ("type", thing("malware", name="x", is_family=False), thing("tool", name="x")),
    ("technique", thing("attack-pattern", name="a", **attack("T1566.001")),
     thing("attack-pattern", name="a", **attack("T1566"))),
    ("technique of nobody", thing("attack-pattern", name="a", **attack("T1566", "made-up")),
     thing("attack-pattern", name="b", **attack("T1566", "made-up"))),
    ("class", thing("identity", name="Ada", identity_class="individual"), thing("identity", name="Ada")),
    ("name and technique", thing("attack-pattern", name="T1566"),
     thing("attack-pattern", name="x", **attack("T1566"))),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [c[1:] for c in SAME], ids=[c[0] for c in SAME])
def test_the_same_from_two_sources(one: dict[str, Any], other: dict[str, Any]) -> None:
    other = other | {"id": other["id"].replace("1", "2")}
    assert identify(one, "alpha") == identify(other, "beta")


@pytest.mark.parametrize(("one", "other"), [c[1:] for c in DIFFERENT], ids=[c[0] for c in DIFFERENT])
def test_not_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of(SECRET, identify(one, "alpha")) != key_of(SECRET, identify(other, "alpha"))


BY_ID = [
    *(thing(type_, name="x") for type_ in (
        "campaign", "course-of-action", "grouping", "incident", "infrastructure", "intrusion-set", "location",
        "note", "observed-data", "opinion", "report", "threat-actor", "malware-analysis", "language-content",
        "x-own",
    )),
    thing("malware", is_family=False),
    thing("malware", name="\u200b ", is_family=False),
    thing("vulnerability", name="a hole"),
    thing("domain-name", value="a.example"),
    thing("process", pid=1),
]  # fmt: skip


@pytest.mark.parametrize("body", BY_ID, ids=lambda body: body["type"])
def test_all_others_are_known_by_their_id(body: dict[str, Any]) -> None:
    value = f"alpha/{body['id']}"
    assert identify(body, "alpha") == Identity((f"stix:{body['type']}", value), value)
    assert key_of(SECRET, identify(body, "alpha")) == named_fingerprint(SECRET, f"stix:{body['type']}", value)


VALUES = [
    (thing("malware", name="Made Up", is_family=True), "made up"),
    (thing("attack-pattern", name="x", **attack("T1566")), "T1566"),
    (thing("vulnerability", name="cve-2026-12345"), "CVE-2026-12345"),
    (thing("identity", name="Ada", identity_class="individual"), ""),
]


@pytest.mark.parametrize(("body", "value"), VALUES, ids=[v[0]["type"] for v in VALUES])
def test_what_a_person_may_look_up(body: dict[str, Any], value: str) -> None:
    assert identify(body, "alpha").value == value


# the id, or what it is made of: the canonical JSON of the contributing properties (section 2.9)
CONTENT: list[tuple[dict[str, Any], str]] = [
    ({"type": "ipv4-addr", "value": "198.51.100.3"}, "28bb3599-77cd-5a82-a950-b5bc3caf07c4"),
    ({"type": "file", "hashes": {"SHA-256": "aa", "MD5": "bb"}, "name": "é"}, '{"hashes":{"MD5":"bb"},"name":"é"}'),
    ({"type": "autonomous-system", "number": 15139, "name": "x"}, '{"number":15139}'),
    ({"type": "windows-registry-key", "key": "k", "values": [{"name": "b", "data": "a"}]},
     '{"key":"k","values":[{"data":"a","name":"b"}]}'),
    ({"type": "x509-certificate", "hashes": {"zz": "1", "aa": "2"}}, '{"hashes":{"aa":"2"}}'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "made_of"), CONTENT, ids=[c[0]["type"] for c in CONTENT])
def test_deterministic_ids_need_no_source(body: dict[str, Any], made_of: str) -> None:
    made = made_of if made_of[0] != "{" else str(uuid5(objects.OBSERVABLES, made_of))
    own = body | {"id": f"{body['type']}--{made}"}
    assert identify(own, "alpha") == identify(own, "beta")
    assert identify(own, "alpha").value == own["id"]


def test_an_id_that_only_looks_deterministic_is_its_source_s() -> None:
    own = {"type": "url", "value": "http://a.example/", "id": f"url--{uuid5(objects.OBSERVABLES, 'other')}"}
    assert identify(own, "alpha") != identify(own, "beta")


def test_a_name_that_nobody_can_read_is_refused() -> None:
    with pytest.raises(ItemRefused):
        identify(thing("tool", name="x" * 100_000), "alpha")


def test_relationships_and_sightings() -> None:
    one, other = b"\1" * 16, b"\2" * 16
    assert joined("uses", one, other).value == f"uses {one.hex()} {other.hex()}"
    assert joined("uses", one, other) != joined("uses", other, one)
    assert seen(one, "alpha", "1") != seen(one, "beta", "1")


FIRST, LAST = {"first_seen": "2026-01-01T00:00:01Z"}, {"last_seen": "2026-01-01T00:00:02Z"}


@pytest.mark.parametrize(
    ("times", "when"),
    [
        ({}, f"sighting--{UUID_4}"),
        ({"first_seen": "2026-01-01T00:00:01Z"}, "1767225601000/"),
        ({"last_seen": "2026-01-01T00:00:02Z"}, "/1767225602000"),
        (
            {"first_seen": "2026-01-01T00:00:01Z", "last_seen": "2026-01-01T00:00:02Z"},
            "1767225601000/1767225602000",
        ),
    ],
)
def test_when_seen(times: dict[str, str], when: str) -> None:
    assert when_seen(thing("sighting", **times)) == when


def test_sightings_of_one_moment_are_the_same_only_where_they_say_when_or_have_one_id() -> None:
    first = thing("sighting", count=3)
    second = first | {"id": first["id"].replace("1", "2")}
    assert when_seen(first) != when_seen(second)
    assert when_seen(first) == when_seen(first | {"count": 5, "modified": "2026-02-01T00:00:00.000Z"})
    assert when_seen(first | FIRST) == when_seen(second | FIRST)


@pytest.mark.parametrize(
    ("body", "references", "left"),
    [
        ({"type": "report", "object_refs": ["b", "a", "b"], "created_by_ref": "c", "object_marking_refs": ["m"]},
         (("created_by_ref", "c"), ("object_refs", "b"), ("object_refs", "a")), {"object_marking_refs": ["m"]}),
        ({"type": "indicator"}, (), {}),
        ({"type": "note", "object_refs": ["marking-definition--1", "tool--1", "extension-definition--1"]},
         (("object_refs", "tool--1"),), {}),
        ({"type": "x-own", "created_by_ref": "c", "x_ref": "d"}, (("created_by_ref", "c"),), {"x_ref": "d"}),
        ({"type": "email-message", "from_ref": "a", "to_refs": ["b"], "body_multipart": [{"body_raw_ref": "n"}]},
         (("from_ref", "a"), ("to_refs", "b")), {"body_multipart": [{"body_raw_ref": "n"}]}),
    ],
)  # fmt: skip
def test_references_are_taken_out(body: dict[str, Any], references: Any, left: dict[str, Any]) -> None:
    type_ = body["type"]
    assert take_references(body) == references
    assert body == {"type": type_, **left}


def test_every_end_is_a_reference_that_its_type_requires() -> None:
    for type_, ends in objects.ENDS.items():
        assert set(ends) <= set(objects.REFERENCES[type_])
        assert set(ends) <= set(TYPES[type_].required)
