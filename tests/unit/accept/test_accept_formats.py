"""What each format gives: fixture pairs of raw bodies and the items expected of them, and single rules."""

from __future__ import annotations

import gzip
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import BodyRefused, ItemRefused
from schemas.markings import PINNED, Pap, Tlp
from schemas.timestamps import format_time
from services.accept import formats, reading
from services.accept.reading import Draft, Reading
from services.accept.times import read_time
from tests.fakes import NOW_MS, source_agreement
from tests.unit.accept.simplified import simplified

FIXTURES = Path(__file__).parents[2] / "fixtures" / "accept"
EXPECTED = sorted(FIXTURES.glob("*.expected.json"))
MAX_BYTES = 16 * 1024 * 1024


def read(body: bytes | str, content_type: str = "", name: str = "", **contributes: Any) -> Reading:
    raw = body.encode() if isinstance(body, str) else body
    return formats.read(raw, content_type, name, source_agreement(**contributes), NOW_MS, MAX_BYTES)


def misp(*attributes: dict[str, Any], **event: Any) -> bytes:
    return orjson.dumps({"Event": {"info": "made up", "Attribute": list(attributes), **event}})


def bundle(*objects: dict[str, Any]) -> bytes:
    return orjson.dumps(
        {"type": "bundle", "id": "bundle--aaaaaaaa-0000-4000-8000-000000000000", "objects": list(objects)}
    )


def indicator(pattern: str, number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--aaaaaaaa-0000-4000-8000-{number:012x}",
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "valid_from": "2026-01-01T00:00:00Z",
        "pattern": pattern,
        "pattern_type": "stix",
        **more,
    }


def levels(draft: Draft) -> set[Any]:
    return {PINNED.get(id_, "unresolved") for id_ in draft.markings}


def test_there_are_fixtures() -> None:
    assert len(EXPECTED) >= 10


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda path: path.name)
def test_fixture(expected: Path) -> None:
    raw = expected.with_name(expected.name.removesuffix(".expected.json"))
    found = simplified(read(raw.read_bytes(), name=raw.name))
    assert found["items"] == json.loads(expected.read_text())


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda path: path.name)
def test_gzip_and_a_wrong_content_type_change_nothing(expected: Path) -> None:
    raw = expected.with_name(expected.name.removesuffix(".expected.json"))
    plain = simplified(read(raw.read_bytes(), name=raw.name))
    zipped = gzip.compress(raw.read_bytes())
    assert simplified(read(zipped, "application/x-unheard-of", raw.name + ".gz")) == plain


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda path: path.name)
def test_what_was_refused_is_refused_again_by_itself(expected: Path) -> None:
    """So that it can be mended and sent again, and so that a replay does not change its meaning."""
    raw = expected.with_name(expected.name.removesuffix(".expected.json"))
    for refusal in read(raw.read_bytes(), name=raw.name).refusals:
        again = read(refusal.raw(), name=raw.name)
        assert [r.error.code for r in again.refusals] == [refusal.error.code]
        assert not again.drafts


# -- MISP ------------------------------------------------------------------------------------------------------

DOMAIN = {"type": "domain", "value": "a.example"}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda event: {"Event": event},
        lambda event: event,
        lambda event: {"response": [{"Event": event}]},
        lambda event: {"response": {"Event": event}},
        lambda event: [{"Event": event}],
        lambda event: [event],
    ],
)
def test_every_wrapping_of_an_event(wrap: Any) -> None:
    found = read(orjson.dumps(wrap({"info": "made up", "Attribute": [DOMAIN]})))
    assert found.format == "misp"
    assert [(draft.kind, draft.value) for draft in found.drafts] == [("domain", "a.example")]


STRICT = {Tlp.AMBER_STRICT}


@pytest.mark.parametrize(
    ("event", "attribute", "expected"),
    [
        ({}, {}, set()),
        ({"distribution": "3"}, {"distribution": "5"}, set()),
        ({"distribution": "0"}, {"distribution": "5"}, STRICT),
        ({"distribution": 0}, {}, STRICT),
        ({"distribution": "4"}, {}, STRICT),
        ({"distribution": "3"}, {"distribution": "4"}, STRICT),
        ({"distribution": "0"}, {"distribution": "3"}, STRICT),
        ({"distribution": "99"}, {}, STRICT),
        ({"distribution": "0", "Tag": [{"name": "tlp:green"}]}, {}, {Tlp.GREEN}),
        ({"distribution": "0"}, {"Tag": [{"name": "tlp:white"}]}, {Tlp.CLEAR}),
        ({"distribution": "0"}, {"Tag": [{"name": "PAP:RED"}]}, {Pap.RED} | STRICT),
        ({"Tag": [{"name": "tlp:green"}]}, {"Tag": [{"name": "tlp:red"}]}, {Tlp.GREEN, Tlp.RED}),
        ({"Tag": [{"name": "TLP:Amber+Strict"}]}, {}, STRICT),
        ({"Tag": [{"name": "tlp:mauve"}]}, {}, {"unresolved"}),
        ({"distribution": "0", "Tag": [{"name": "tlp:mauve"}]}, {}, {"unresolved"} | STRICT),
    ],
)
def test_tags_and_distribution_are_markings(event: Any, attribute: Any, expected: set[Any]) -> None:
    [draft] = read(misp(DOMAIN | attribute, **event)).drafts
    assert levels(draft) == expected


def test_an_agreement_can_say_that_distribution_means_nothing() -> None:
    [draft] = read(misp(DOMAIN, distribution="0"), distribution="ignore").drafts
    assert draft.markings == ()


def test_the_distribution_of_an_object_holds_for_its_attributes() -> None:
    body = misp(Object=[{"distribution": "4", "Attribute": [DOMAIN | {"distribution": "5"}]}], distribution="3")
    assert levels(read(body).drafts[0]) == STRICT


@pytest.mark.parametrize("tag", [{"name": 7}, "tlp:red", {}, None])
def test_a_tag_that_cannot_be_read_refuses_what_it_is_on(tag: Any) -> None:
    of_attribute = read(misp(DOMAIN | {"Tag": [tag]}, {"type": "domain", "value": "b.example"}))
    assert [draft.value for draft in of_attribute.drafts] == ["b.example"]
    assert [refusal.pointer for refusal in of_attribute.refusals] == ["/Event/Attribute/0"]
    of_event = read(misp(DOMAIN, Tag=[tag]))
    assert not of_event.drafts
    assert [refusal.pointer for refusal in of_event.refusals] == ["/Event"]


def test_a_fault_in_the_frame_of_an_event_leaves_the_other_events() -> None:
    bad, good = {"info": "x", "Attribute": {}}, {"info": "y", "Attribute": [DOMAIN]}
    found = read(orjson.dumps({"response": [{"Event": bad}, {"Event": good}, 5]}))
    assert [draft.value for draft in found.drafts] == ["a.example"]
    assert [refusal.pointer for refusal in found.refusals] == ["/response/0/Event", "/response/2"]


# -- CSV -------------------------------------------------------------------------------------------------------


def test_a_mapping_in_the_agreement() -> None:
    mapping = {"value": "Beobachtung", "type": "Art", "tlp": "Ampel", "first_seen": "Seit", "description": "Notiz"}
    [draft] = read("Art,Notiz,Beobachtung,Ampel,Seit\ndomain,x,A.example,amber,2026-01-02\n", csv=mapping).drafts
    assert (draft.kind, draft.value, levels(draft)) == ("domain", "a.example", {Tlp.AMBER})
    assert format_time(draft.first_seen_ms) == "2026-01-02T00:00:00.000Z"
    assert draft.object["description"] == "x"


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [({"value": "v", "kind": "app-id"}, [("app-id", "a.example")]), ({"value": "v"}, [("domain", "a.example")])],
)
def test_a_mapping_for_files_of_one_kind_or_of_free_cells(mapping: Any, expected: Any) -> None:
    drafts = read("v,w\na.example,z\n", csv=mapping).drafts
    assert [(draft.kind, draft.value) for draft in drafts] == expected


def test_a_mapping_that_does_not_fit_leaves_the_header_to_speak() -> None:
    assert len(read("kind,value\ndomain,a.example\n", csv={"value": "nowhere"}).drafts) == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_separators(delimiter: str, newline: str) -> None:
    text = newline.join(delimiter.join(row) for row in (["Type", "VALUE"], ["url", "http://a.example/?x=1"]))
    assert [draft.value for draft in read(text).drafts] == ["http://a.example/?x=1"]


def test_an_unclosed_quote_is_listed_with_the_line_it_opens_on() -> None:
    found = read('kind,value\ndomain,a.example\ndomain,"b.example\ndomain,c.example\n')
    assert [draft.value for draft in found.drafts] == ["a.example"]
    assert [(r.pointer, r.error.code) for r in found.refusals] == [("line 3", "csv-invalid")]


def test_strict_refuses_what_would_be_left_out() -> None:
    text = "kind,value,confidence\ndomain,a.example,high\n"
    [draft] = read(text).drafts
    assert draft.notes == ("confidence: 'high' is no confidence; left out",)
    [refusal] = read(text, strict=True).refusals
    assert (refusal.error.code, refusal.error.field) == ("confidence-invalid", "confidence")


def test_a_list_of_hosts_needs_to_be_called_one() -> None:
    assert [d.value for d in read("a.example\nb.example\n", "text/plain").drafts] == ["a.example", "b.example"]
    assert len(read("a.example\n", name="list.txt").drafts) == 1
    with pytest.raises(BodyRefused):
        read("a.example\nb.example\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02", "2026-01-02T00:00:00.000Z"),
        ("20260102", "2026-01-02T00:00:00.000Z"),
        ("2026-01-02 03:04", "2026-01-02T03:04:00.000Z"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T03:04:05.678901+02:00", "2026-01-02T01:04:05.678Z"),
        ("2026-01-02 03:04:05 UTC", "2026-01-02T03:04:05.000Z"),
        ("1767323045", "2026-01-02T03:04:05.000Z"),
        ("1767323045678", "2026-01-02T03:04:05.678Z"),
        ("0", None),
        ("", None),
        ("  ", None),
    ],
)
def test_times(text: str, expected: str | None) -> None:
    found = read_time(text)
    assert (None if found is None else format_time(found)) == expected


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-13-01", "20261301", "2026-01-02T25:00", "١٢٣٤٥٦٧٨٩", "1" * 500, "2026-01-02T", "-1"]
)
def test_no_times(text: str) -> None:
    with pytest.raises(ItemRefused) as caught:
        read_time(text)
    assert caught.value.code == "timestamp-invalid"


# -- STIX ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: [o], lambda o: {"objects": [o]}])
def test_single_objects_lists_and_envelopes(wrap: Any) -> None:
    found = read(orjson.dumps(wrap(indicator("[domain-name:value = 'a.example']"))))
    assert [(draft.kind, draft.value) for draft in found.drafts] == [("domain", "a.example")]


@pytest.mark.parametrize(
    ("wrap", "where"),
    [
        (lambda o: o, "/pattern"),
        (lambda o: [o], "/0/pattern"),
        (lambda o: {"type": "bundle", "id": "bundle--aaaaaaaa-0000-4000-8000-000000000000", "objects": [o]},
         "/objects/0/pattern"),
    ],
)  # fmt: skip
def test_where_a_fault_is(wrap: Any, where: str) -> None:
    [refusal] = read(orjson.dumps(wrap(indicator("[broken")))).refusals
    assert refusal.error.where == where
    assert refusal.pointer == where.removesuffix("/pattern")
    assert orjson.loads(refusal.raw())["pattern"] == "[broken"


def test_complex_patterns_are_known_by_their_normal_form() -> None:
    one, two = read(
        bundle(
            indicator("[a:b = '1' AND c:d = '2']"),
            indicator("[ c:d='2'   AND a:b='1' ]", 2),
        )
    ).drafts
    assert one.identity == two.identity
    assert one.value != two.value


def test_alternatives_do_not_carry_each_other() -> None:
    many = " OR ".join(f"[domain-name:value = 'h{n}.example']" for n in range(500))
    drafts = read(bundle(indicator(many))).drafts
    assert len(drafts) == 500
    assert drafts[7].object["pattern"] == "[domain-name:value = 'h7.example']"
    assert sum(len(str(draft.object)) for draft in drafts) < 500 * 500


def test_the_work_on_complex_patterns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_GRAMMAR_CHARS", 1000)
    simple = [indicator(f"[domain-name:value = 'h{n}.example']", n) for n in range(50)]
    complicated = [indicator(f"[a:b = '{n}' AND c:d = 'x']", 100 + n) for n in range(20)]
    found = read(bundle(*complicated, *simple))
    assert sum(draft.kind == "complex" for draft in found.drafts) == 1000 // (64 + 25)
    assert sum(draft.kind == "domain" for draft in found.drafts) == 50
    assert {refusal.error.code for refusal in found.refusals} == {"patterns-too-complex"}


def test_strictness_is_an_option_of_the_agreement() -> None:
    twice = bundle(indicator("[domain-name:value = 'a.example']"), indicator("[domain-name:value = 'a.example']"))
    assert len(read(twice).drafts) == 2
    assert read(twice).drafts[1].notes
    assert len(read(twice, strict=True).drafts) == 1


# -- bounds ----------------------------------------------------------------------------------------------------


def test_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ITEMS", 5)
    with pytest.raises(BodyRefused) as caught:
        read("kind,value\n" + "domain,a.example\n" * 6)
    assert (caught.value.code, caught.value.status, caught.value.where) == ("too-many-items", 413, "line 7")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("STIX_Package " * 300_000, "a.xml"),
        ("<" + "STIX_Package " * 300_000, "a.xml"),
        ("<STIX_Package version = " * 150_000, "a.xml"),
        ("kind,value\n" + '"' * 3_000_000, "a.csv"),
        ("kind,value\ndomain," + "á" * 1_000_000, "a.csv"),
        ("kind,value,tags\n" + "domain,a.example," + "tlp:x;" * 20_000 + "\n", "a.csv"),
        ("," * 3_000_000, "a.csv"),
        ("\n" * 3_000_000, "a.txt"),
        ("﻿" * 1_000_000, "a.txt"),
        ("kind,value\n" + "\u0301" * 60_000 + "\n", "a.csv"),
    ],
)
def test_hostile_texts_take_no_time(body: str, name: str) -> None:
    began = time.perf_counter()
    with suppress(BodyRefused):
        read(body, name=name)
    assert time.perf_counter() - began < 3


def test_tags_of_an_event_are_not_multiplied_by_its_attributes() -> None:
    tags = [{"name": f"label-{n}-{'x' * 900}"} for n in range(100)]
    began = time.perf_counter()
    found = read(misp(*([DOMAIN] * 20_000), Tag=tags))
    assert len(found.drafts) == 20_000
    assert len({id(draft.labels) for draft in found.drafts}) == 1
    assert time.perf_counter() - began < 10
    assert [r.error.code for r in read(misp(DOMAIN, Tag=[*tags, {"name": "y"}])).refusals] == ["too-many-tags"]
