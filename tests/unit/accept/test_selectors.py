"""What is selected stays selected when what was around it is taken out."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from schemas.handling import HANDLING_ID
from schemas.objects import take_references
from services.accept import selectors, stix_door
from services.accept.names import Known, Origin
from services.accept.reading import Aside, Draft, Refusal
from services.accept.resolving import Settled, resolve
from tests.fakes import NOW_MS, SECRET, source_agreement

GREEN = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
RED = "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"
ORIGIN = Origin("11111111-2222-4333-8444-555555555555", "alpha", NOW_MS)
AT = "2026-01-01T00:00:00.000Z"


def id_of(type_: str, number: int) -> str:
    return f"{type_}--00000000-0000-4000-8000-{number:012}"


def thing(type_: str, number: int, **more: Any) -> dict[str, Any]:
    return {"type": type_, "spec_version": "2.1", "id": id_of(type_, number), "created": AT, "modified": AT} | more


def host(number: int, *names: str, **more: Any) -> dict[str, Any]:
    pattern = "[" + " OR ".join(f"domain-name:value = '{name}'" for name in names) + "]"
    return thing("indicator", number, pattern=pattern, pattern_type="stix", valid_from=AT, **more)


def report(*refs: str, **more: Any) -> dict[str, Any]:
    return thing("report", 1, name="r", published=AT, object_refs=list(refs), **more)


def marked(*selected: str, by: str = RED) -> dict[str, Any]:
    return {"granular_markings": [{"selectors": list(selected), "marking_ref": by}]}


def personal(**techniques: str) -> dict[str, Any]:
    return {"extensions": {HANDLING_ID: {"extension_type": "property-extension", "personal": techniques}}}


def read(*objects: dict[str, Any]) -> list[Draft | Refusal | Aside]:
    document = {"type": "bundle", "id": id_of("bundle", 0), "objects": list(objects)}
    return list(stix_door.read(document, source_agreement("alpha"), NOW_MS).items)


def drafted(body: dict[str, Any]) -> Draft:
    [draft] = read(body)
    assert isinstance(draft, Draft), draft
    return draft


def refused(body: dict[str, Any]) -> Refusal:
    [refusal] = read(body)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def settled(*objects: dict[str, Any]) -> Settled:
    """The last of the objects."""
    *_, last = resolve(read(*objects), ORIGIN, SECRET, Known()).items
    assert isinstance(last, Settled)
    return last


# --- grouping and bounds ------------------------------------------------------------------------------------------


def test_selectors_are_grouped_by_marking_and_the_markings_leave_the_body() -> None:
    markings = [
        {"selectors": ["name", "description"], "marking_ref": "marking-definition--" + RED[20:].upper()},
        {"selectors": ["name"], "lang": "fr"},
        {"selectors": ["description"], "marking_ref": GREEN},
        {"selectors": ["name", "pattern"], "marking_ref": RED},
    ]
    draft = drafted(host(1, "a.example", name="n", description="d", granular_markings=markings))
    assert draft.granular == ((RED, ("name", "description", "pattern")), (GREEN, ("description",)))
    assert "granular_markings" not in draft.object


@pytest.mark.parametrize("selector", ["__class__", "name.__len__", "labels.name", "labels.[1]", "name.[0]"])
def test_a_granular_marking_that_selects_nothing_is_refused(selector: str) -> None:
    refusal = refused(host(1, "a.example", name="n", labels=["l"], **marked(selector)))
    assert (refusal.error.code, refusal.error.field) == ("selector-invalid", "granular_markings")


@pytest.mark.parametrize(("markings", "each", "fits"), [(100, 20, True), (101, 1, False), (1, 2_001, False)])
def test_what_may_be_marked_is_bounded(markings: int, each: int, fits: bool) -> None:
    labels = [f"l{n}" for n in range(each)]
    given = [
        {"selectors": [f"labels.[{n}]" for n in range(each)], "marking_ref": id_of("marking-definition", number)}
        for number in range(markings)
    ]
    [item] = read(report(id_of("indicator", 1), labels=labels[:900], x_many=labels, granular_markings=[
        {**one, "selectors": [s.replace("labels", "x_many") for s in one["selectors"]]} for one in given
    ]))  # fmt: skip
    assert isinstance(item, Draft) is fits
    if isinstance(item, Refusal):
        assert (item.error.code, item.error.where) == ("too-many-granular-markings", "/granular_markings")


def test_very_many_granular_markings_cost_little() -> None:
    """In the door they are gone through once: 10,000 take milliseconds."""
    given = [{"selectors": ["labels.[0]", "name"], "marking_ref": RED}] * 10_000
    start = time.process_time()
    granular = selectors.grouped(given)
    selectors.moved(granular, {}, {"labels": [(3,)]})
    assert time.process_time() - start < 0.2
    assert granular == ((RED, ("labels.[0]", "name")),)


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "selected", "kept"),
    [
        (["a", "b"], ("labels.[1]",), ("labels.[1]",)),
        (["tlp:green", "a", "PAP:GREEN", "b"], ("labels.[1]", "labels.[3]"), ("labels.[0]", "labels.[1]")),
        (["tlp:green", "a"], ("labels.[0]", "labels"), ("labels",)),
        (["tlp:green"], ("labels.[0]",), None),
        (["tlp:green"], ("labels", "name"), ("name",)),
        (["a", " a ", "b"], ("labels.[1]", "labels.[2]"), ("labels.[0]", "labels.[1]")),
    ],
)
def test_labels_are_counted_without_those_that_are_markings(
    labels: list[str], selected: tuple[str, ...], kept: tuple[str, ...] | None
) -> None:
    draft = drafted(host(1, "a.example", name="n", labels=labels, **marked(*selected)))
    assert draft.granular == (((RED, kept),) if kept else ())


def test_labels_of_2_0_stay_labels_where_something_personal_is_among_them() -> None:
    old = host(1, "a.example", labels=["malicious-activity", "of-somebody"]) | personal(**{"labels.[1]": "drop"})
    del old["spec_version"]
    draft = drafted(old)
    assert draft.object["labels"] == ["malicious-activity", "of-somebody"]
    assert draft.handling["personal"] == {"labels.[1]": "drop"}


# --- what is personal ---------------------------------------------------------------------------------------------


def test_what_is_personal_moves_as_what_is_marked_does() -> None:
    said = {"labels.[0]": "deny", "labels.[1]": "generalise", "labels.[2]": "host-only", "name": "generalise"}
    draft = drafted(host(1, "a.example", name="n", labels=["tlp:green", "x", "x "]) | personal(**said))
    assert draft.handling["personal"] == {"labels.[0]": "drop", "name": "generalise"}
    assert draft.notes == ()


@pytest.mark.parametrize(
    "selector", ["description", "labels.[7]", "external_references.[0].description", "__class__", "object_refs"]
)
def test_what_is_personal_and_not_there_is_told_and_kept(selector: str) -> None:
    more = {"labels": ["l"], "external_references": [{"source_name": "s", "url": "https://s.example/"}]}
    draft = drafted(host(1, "a.example", **more) | personal(**{selector: "deny"}))
    assert draft.notes == (f"personal-selects-nothing: {selector}",)
    assert draft.handling["personal"] == {selector: "deny"}


@pytest.mark.parametrize("selector", ["labels.name", "name.first", "name.[0]", "external_references.url"])
def test_what_is_personal_and_can_never_be_there_is_refused(selector: str) -> None:
    more = {
        "name": "n",
        "labels": ["l"],
        "external_references": [{"source_name": "s", "url": "https://s.example/"}],
    }
    refusal = refused(host(1, "a.example", **more) | personal(**{selector: "drop"}))
    assert refusal.error.code == "handling-invalid"
    assert refusal.error.where == f"/extensions/{HANDLING_ID}/personal/{selector}"


OURS = f"extensions.{HANDLING_ID}"


@pytest.mark.parametrize(
    ("selected", "kept"),
    [
        (f"{OURS}.affected", ("affected",)),
        (f"{OURS}.affected.[0]", ("affected",)),
        (f"{OURS}.category", ("type",)),
        (f"{OURS}.purposes.[0]", ("type",)),
        (OURS, ("type",)),
        ("extensions", ("extensions", "type")),
        (f"{OURS}.suspects", None),
        (f"{OURS}.suspects.XA", None),
        ("extensions.extension-definition--00000000-0000-4000-8000-000000000001", None),
    ],
)
def test_what_is_marked_of_the_handling_is_marked_where_it_leaves(
    selected: str, kept: tuple[str, ...] | None
) -> None:
    """Fields that leave the hub and can't be left out are what nothing can be without."""
    other = "extension-definition--00000000-0000-4000-8000-000000000001"
    said = {"category": "phishing", "affected": ["XA"], "purposes": ["detect"], "suspects": {"XA": 3}}
    body = host(1, "a.example", **marked(selected)) | personal(**{selected: "drop"})
    body["extensions"][HANDLING_ID] |= said
    body["extensions"][other] = {"extension_type": "property-extension"}
    draft = drafted(body)
    kept = (selected,) if kept is None and other in selected else kept
    assert draft.granular == (((RED, kept),) if kept else ())
    assert draft.handling == said | ({"personal": dict.fromkeys(kept, "drop")} if kept else {})


# --- references ---------------------------------------------------------------------------------------------------


def test_what_is_not_found_keeps_its_place() -> None:
    known, unknown = host(1, "a.example"), id_of("indicator", 9)
    last = settled(known, report(unknown, known["id"], created_by_ref=id_of("identity", 1)))
    assert [(name, bool(found)) for name, found in last.references] == [
        ("created_by_ref", False), ("object_refs", False), ("object_refs", True),
    ]  # fmt: skip


def test_selected_references_are_counted_as_they_are_kept() -> None:
    several, one, marking = host(1, "a.example", "b.example"), host(2, "c.example"), id_of("marking-definition", 1)
    refs = (several["id"], marking, several["id"], one["id"])
    selected = (
        "object_refs.[0]",
        "object_refs.[1]",
        "object_refs.[2]",
        "object_refs.[3]",
        "created_by_ref",
        "name",
    )
    who = {"created_by_ref": id_of("identity", 1)}
    last = settled(several, one, report(*refs, **who, **marked("name", *selected)))
    assert [name for name, _ in last.references] == ["created_by_ref", *["object_refs"] * 3]
    assert last.draft.granular == (
        (RED, ("name", "object_refs.[0]", "object_refs.[1]", "object_refs.[2]", "created_by_ref")),
    )
    [(_, first)] = settled(several, one, report(*refs, **who, **marked("object_refs.[3]"))).draft.granular
    assert first == ("object_refs.[2]",)
    assert settled(several, one, report(*refs, **who, **marked("object_refs.[1]"))).draft.granular == ()
    told = settled(several, one, report(*refs, **who) | personal(**{"object_refs.[0]": "drop"}))
    assert told.draft.handling["personal"] == {"object_refs.[0]": "drop", "object_refs.[1]": "drop"}


def test_a_reference_to_very_many_items_is_selected_with_its_whole_list() -> None:
    several = host(1, *(f"h{n}.example" for n in range(selectors.MAX_PLACES + 1)))
    assert settled(several, report(several["id"], **marked("object_refs.[0]"))).draft.granular == (
        (RED, ("object_refs",)),
    )


def test_references_beyond_the_most_are_not_selected() -> None:
    found = [("object_refs", ["a", "b"]), ("created_by_ref", ["c"]), ("object_refs", ["d", "e"])]
    places = selectors.of_found(found, 4)
    assert {name: [list(each) for each in some] for name, some in places.items()} == {
        "object_refs": [[0, 1], [2]],
        "created_by_ref": [[0]],
    }


def test_places_of_references_are_those_that_were_taken() -> None:
    body = report(id_of("marking-definition", 1), id_of("indicator", 1), id_of("indicator", 1))
    written = {"object_refs": list(body["object_refs"])}
    assert selectors.of_references(written, take_references(body)) == {"object_refs": [(), (0,), (0,)]}


def test_what_is_said_of_handling_is_json() -> None:
    draft = drafted(host(1, "a.example", name="n") | personal(name="drop"))
    assert orjson.loads(orjson.dumps(draft.handling)) == {"personal": {"name": "drop"}}
