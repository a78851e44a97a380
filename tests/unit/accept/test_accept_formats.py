"""What each format gives: fixture pairs of raw bodies and the items expected of them, and single rules."""

from __future__ import annotations

import gzip
import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import BodyRefused, ItemRefused
from schemas.handling import HANDLING_ID
from schemas.markings import PINNED, Pap, Tlp, marking_id
from schemas.timestamps import format_time
from services.accept import formats, reading
from services.accept.reading import Draft, Gathering, Reading
from services.accept.times import read_time
from tests.fakes import NOW_MS, source_agreement
from tests.unit.accept.simplified import simplified

FIXTURES = Path(__file__).parents[2] / "fixtures" / "accept"
EXPECTED = sorted(FIXTURES.glob("*.expected.json"))
MAX_BYTES = 16 * 1024 * 1024
UUID = "aaaaaaaa-0000-4000-8000-000000000007"


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


@pytest.mark.parametrize("distribution", ["0", 4, None])
def test_what_was_refused_keeps_the_distribution_of_its_object(distribution: Any) -> None:
    attribute = DOMAIN | {"timestamp": "bad", "distribution": "5"}
    body = misp(Object=[{"distribution": distribution, "Attribute": [attribute]}], distribution="3")
    [refusal] = read(body).refusals
    mended = read(refusal.raw().replace(b'"bad"', b'"1767323045"')).drafts
    assert mended == [
        draft._replace(pointer="/Event/Object/0/Attribute/0")
        for draft in read(body.replace(b'"bad"', b'"1767323045"')).drafts
    ]
    assert levels(mended[0]) == (set() if distribution is None else STRICT)


def test_every_entry_of_a_mixed_list_has_a_fate() -> None:
    stix = indicator("[domain-name:value = 'b.example']")
    found = read(orjson.dumps([{"Event": {"info": "x", "Attribute": [DOMAIN]}}, stix, 5, {"Event": {}}, {}]))
    assert [(item.pointer, type(item).__name__) for item in found.items] == [
        ("/0/Event/Attribute/0", "Draft"),
        ("/1", "Refusal"),
        ("/2", "Refusal"),
        ("/3/Event", "Aside"),
        ("/4", "Refusal"),
    ]
    assert [draft.value for draft in read(found.refusals[0].raw()).drafts] == ["b.example"]


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


def test_a_list_of_hosts_may_begin_like_json() -> None:
    text = "[2001:db8::1]:80\na.example\n"
    assert [d.value for d in read(text, "text/plain").drafts] == ["2001:db8::1", "a.example"]
    assert len(read(text, name="hosts.TXT").drafts) == 2


@pytest.mark.parametrize("text", ['[\n"a.example",\n"b.example"\n', '["a.example",\nb.example\n', "{\na.example\n"])
def test_broken_json_is_no_list_of_hosts(text: str) -> None:
    with pytest.raises(BodyRefused) as caught:
        read(text, "text/plain")
    assert caught.value.code == "not-json"


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
    monkeypatch.setattr(reading, "MAX_GRAMMAR_MICROSECONDS", 5000)
    simple = [indicator(f"[domain-name:value = 'h{n}.example']", n) for n in range(50)]
    complicated = [indicator(f"[a:b = '{n}' AND c:d = 'x']", 100 + n) for n in range(20)]
    found = read(bundle(*complicated, *simple))
    cost = reading.grammar_microseconds("[a:b = '7' AND c:d = 'x']")
    assert 3 < sum(draft.kind == "complex" for draft in found.drafts) <= 5000 // cost + 1
    assert sum(draft.kind == "domain" for draft in found.drafts) == 50
    assert {refusal.error.code for refusal in found.refusals} == {"patterns-too-complex"}


HEAVY = [
    lambda n: "".join(f"([a:b={n}] AND " for _ in range(30)) + "[a:b=2]" + ")" * 30,
    lambda n: "[" + "".join(f"(a:b={n} OR " for _ in range(30)) + "a:b=2" + ")" * 30 + "]",
    lambda n: "(" * 31 + f"[a:b={n}]" + ")" * 31,
    lambda n: f"[a:b={n}]",
    lambda n: f"[a:b={n} AND " + " AND ".join(["a:b=1"] * 500) + "]",
    lambda n: f"[a:b={n}] FOLLOWEDBY " + " FOLLOWEDBY ".join(["([a:b=1] OR [a:b=2])"] * 150),
    lambda n: f"[a:b MATCHES '{n}" + "x " * 3500 + "']",
    lambda n: f"[a:b={n}" + " " * 7000 + "AND a:b=1]",
]  # fmt: skip


@pytest.mark.parametrize("pattern", HEAVY, ids=range(len(HEAVY)))
def test_what_complex_patterns_are_charged_is_about_what_they_cost(pattern: Callable[[int], str]) -> None:
    """So that a submission holds a parser for as long as is said, whatever its patterns look like."""
    read(bundle(indicator(pattern(0))))
    took = []
    for n in range(1, 16):
        began = time.thread_time()
        Gathering().parse(pattern(n))
        took.append(time.thread_time() - began)
    # the factor leaves room for a slower core than the one it was measured on
    assert statistics.median(took) < 3 * reading.grammar_microseconds(pattern(1)) / 1_000_000


@pytest.mark.parametrize("pattern", ["\\'" * 30_000, "'" * 60_001, "'" + "\\'" * 30_000, "[" * 60_000])
def test_charging_takes_linear_time(pattern: str) -> None:
    began = time.perf_counter()
    reading.grammar_microseconds(pattern)
    assert time.perf_counter() - began < 0.5


NEUTRAL = "[ domain-name:value = 'withdrawn.invalid' ]"


def test_a_revocation_that_does_not_say_of_what_names_nothing() -> None:
    revoked = indicator(NEUTRAL, revoked=True)
    other = indicator("[domain-name:value = 'a.example']", 2, revoked=True)
    found = read(bundle(revoked, other, indicator(NEUTRAL, 3)))
    assert [(draft.kind, draft.value, draft.revoked) for draft in found.drafts] == [
        ("", "", True),
        ("domain", "a.example", True),
        ("domain", "withdrawn.invalid", False),
    ]


def test_ids_of_markings_and_of_the_handling_count_in_upper_case() -> None:
    red, shouted = marking_id(Tlp.RED), HANDLING_ID.partition("--")[2].upper()
    fields = {"extension_type": "property-extension", "consent": {"status": "unknown"}}
    body = indicator(
        "[domain-name:value = 'a.example']",
        object_marking_refs=["marking-definition--" + red.partition("--")[2].upper()],
        extensions={f"extension-definition--{shouted}": fields},
    )
    [draft] = read(bundle(body)).drafts
    assert draft.markings == (red,)
    assert draft.handling == {"consent": {"status": "unknown"}}
    assert "extensions" not in draft.object


def test_labels_that_nobody_checked_are_read_for_markings_only() -> None:
    name = {"type": "domain-name", "id": f"domain-name--{UUID}", "value": "a.example"}
    [draft] = read(orjson.dumps([name | {"labels": ["tlp:red", 7, {"x": "y"}]}])).drafts
    assert levels(draft) == {Tlp.RED}
    [draft] = read(orjson.dumps([name | {"labels": "TLP:RED"}])).drafts
    assert levels(draft) == {Tlp.RED}


@pytest.mark.parametrize(("confidence", "kept"), [(80, True), (101, False), (True, False), ("high", False)])
def test_a_confidence_that_nobody_checked_is_kept_only_where_it_is_one(confidence: Any, kept: bool) -> None:
    name = {"type": "domain-name", "id": f"domain-name--{UUID}", "value": "a.example", "confidence": confidence}
    [draft] = read(orjson.dumps([name])).drafts
    assert ("confidence" in draft.object) is kept


def test_the_kind_of_a_threat_actor_is_a_label() -> None:
    actor = {
        **{name: value for name, value in indicator("").items() if name in ("created", "modified", "spec_version")},
        "type": "threat-actor", "id": f"threat-actor--{UUID}", "name": "made up", "threat_actor_types": ["spy"],
    }  # fmt: skip
    assert read(bundle(actor)).drafts[0].labels == ("spy",)


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
