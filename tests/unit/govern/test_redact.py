"""What each technique leaves of each kind of property, and what can't be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from schemas.fingerprint import Ioc
from schemas.known import Contribution
from schemas.outgoing import fill, pseudonym_placeholder
from schemas.timestamps import parse_time
from services.govern.redact import (
    NotRedacted,
    Redacted,
    Subject,
    band,
    carry_out,
    epoch_of,
    leaves,
    month_start_ms,
    whole,
    withheld,
)
from tests.unit.govern.full_objects import FULL, URL, contribution_of, subject_of

HOST = Ioc("domain", "login.lure.example")


def _carried(type_: str, obligations: Mapping[str, str], **changes: Any) -> Redacted:
    contribution = contribution_of(type_, **changes)
    return carry_out(contribution, subject_of(contribution), obligations)


def _object(type_: str, obligations: Mapping[str, str], **changes: Any) -> dict[str, Any]:
    return _carried(type_, obligations, **changes).contribution.object


# --- the body that selectors are meant for ----------------------------------------------------------------------


def test_the_whole_body_has_references_and_affected_in_their_places() -> None:
    contribution = Contribution(
        seq=1,
        index=0,
        object={"type": "report", "name": "n"},
        references=(("created_by_ref", "aa"), ("object_refs", "bb"), ("object_refs", ""), ("object_refs", "cc")),
        created_ms=0,
        modified_ms=0,
        first_seen_ms=0,
        last_seen_ms=0,
    )
    body = whole(contribution, ("XA", "XB"))
    assert body == {
        "type": "report",
        "name": "n",
        "created_by_ref": "aa",
        "object_refs": ["bb", "", "cc"],
        "affected": ["XA", "XB"],
    }
    assert "affected" not in whole(contribution, ())
    assert "affected" not in whole(contribution, None)
    after = carry_out(contribution, Subject("report", "stix:report", "v", body), {"object_refs.[1]": "drop"})
    assert after.contribution.references == (
        ("created_by_ref", "aa"),
        ("object_refs", "bb"),
        ("object_refs", "cc"),
    )


# --- drop -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", sorted(FULL))
def test_dropped_properties_are_gone_and_all_others_stay(type_: str) -> None:
    after = _carried(
        type_, {"labels": "drop", "external_references": "drop", "created_by_ref": "drop"}
    ).contribution
    before = contribution_of(type_)
    assert after.object == {
        name: value for name, value in before.object.items() if name not in ("labels", "external_references")
    }
    assert after.references == tuple(pair for pair in before.references if pair[0] != "created_by_ref")
    assert after.joins == ()


@pytest.mark.parametrize(
    ("obligations", "expected"),
    [
        ({"external_references.[0]": "drop"}, [FULL["malware"]["external_references"][1]]),
        ({"external_references.[1].hashes": "drop"}, [
            FULL["malware"]["external_references"][0],
            {"source_name": "web", "url": "https://report.example/cases/amina"},
        ]),
        ({"external_references.[1].hashes.SHA-256": "drop"}, [
            FULL["malware"]["external_references"][0],
            {"source_name": "web", "url": "https://report.example/cases/amina"},
        ]),
        ({"external_references.[0].source_name": "drop"}, [FULL["malware"]["external_references"][1]]),
        ({"external_references.[1].url": "drop"}, [FULL["malware"]["external_references"][0]]),
        ({"external_references.[0].description": "drop", "external_references.[1]": "drop"}, [
            {"source_name": "case file", "external_id": "C-7"},
        ]),
        ({"external_references.[0]": "drop", "external_references.[1].url": "generalise"}, None),
    ],
)  # fmt: skip
def test_what_is_left_of_external_references(obligations: dict[str, str], expected: list[Any] | None) -> None:
    assert _object("malware", obligations).get("external_references") == expected


def test_elements_go_by_their_places_in_what_the_source_gave() -> None:
    obligations = {"aliases.[0]": "drop", "kill_chain_phases.[1].phase_name": "drop", "sample_refs.[0]": "drop"}
    after = _carried("malware", obligations).contribution
    assert after.object["aliases"] == ["Still Heron"]
    assert after.object["kill_chain_phases"] == FULL["malware"]["kill_chain_phases"][:1]
    assert [name for name, _ in after.references].count("sample_refs") == 1


def test_labels_and_context_lose_what_was_dropped() -> None:
    before = contribution_of("indicator").model_copy(
        update={
            "labels": ("seen-by-amina", " Seen-By-AMINA", "phishing", "attribution", "from elsewhere"),
            "context": ("Quiet Heron", "ATTRIBUTION"),
        }
    )
    subject = subject_of(before)

    def after(obligations: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        found = carry_out(before, subject, obligations).contribution
        return found.labels, found.context

    stays = ("phishing", "attribution", "from elsewhere")
    assert after({"labels.[0]": "drop"}) == (stays, before.context)
    assert after({"labels.[0]": "pseudonymise"}) == (stays, before.context)
    assert after({"labels": "drop"}) == (("attribution", "from elsewhere"), ())
    assert after({"indicator_types.[1]": "drop"}) == ((*before.labels[:3], "from elsewhere"), ("Quiet Heron",))
    assert after({"name": "drop"}) == (before.labels, ())
    assert after({"description": "pseudonymise"}) == (before.labels, ())
    assert after({"kill_chain_phases": "drop"}) == (before.labels, before.context)


def test_without_obligations_that_find_something_nothing_changes() -> None:
    before = contribution_of("indicator")
    for obligations in ({}, {"objective": "drop"}, {"affected": "generalise"}):
        assert carry_out(before, subject_of(before), obligations) == Redacted(before)


def test_what_was_given_stays_as_it_was() -> None:
    before = contribution_of("malware")
    copy = before.model_copy(deep=True)
    carry_out(before, subject_of(before), {"aliases.[0]": "drop", "external_references": "pseudonymise"})
    assert before == copy


def test_another_contribution_is_refused() -> None:
    one, other = contribution_of("malware"), contribution_of("malware", description="Of another source.")
    with pytest.raises(NotRedacted):
        carry_out(one, subject_of(other), {"aliases": "drop"})
    partly = carry_out(one, subject_of(one), {"aliases": "drop"}).contribution
    with pytest.raises(NotRedacted):  # it would bring the aliases back
        carry_out(partly, subject_of(one), {"labels": "drop"})


def test_what_only_the_caller_knows_of_is_left_to_the_caller() -> None:
    before = contribution_of("indicator").model_copy(
        update={"handling": {"affected": ["XA"], "personal": {"name": "drop"}}, "markings": ("m",), "reached": "7"}
    )
    after = carry_out(before, subject_of(before), {"affected": "generalise", "name": "drop"}).contribution
    assert (after.handling, after.markings, after.reached) == (before.handling, before.markings, before.reached)
    assert "affected" not in after.object


# --- generalise -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "name", "expected"),
    [
        ("sighting", "first_seen", {"first_seen": "2026-10-01", "last_seen": "2026-11-01"}),
        ("sighting", "last_seen", {"first_seen": "2026-10-01", "last_seen": "2026-11-01"}),
        ("malware", "last_seen", {"first_seen": "2026-10-01", "last_seen": "2026-11-01"}),
        ("indicator", "valid_from", {"valid_from": "2026-11-01", "valid_until": "2026-12-01"}),
        ("indicator", "valid_until", {"valid_from": "2026-11-01", "valid_until": "2026-12-01"}),
        ("relationship", "stop_time", {"start_time": "2026-11-01", "stop_time": "2026-12-01"}),
        ("observed-data", "first_observed", {"first_observed": "2026-11-01", "last_observed": "2026-11-01"}),
        ("report", "published", {"published": "2026-11-01"}),
        ("report", "modified", {"created": "2026-11-01", "modified": "2026-11-01"}),
    ],
)
def test_times_become_months_and_spans_stay_spans(type_: str, name: str, expected: dict[str, str]) -> None:
    after = _object(type_, {name: "generalise"})
    assert {each: after[each] for each in expected} == {
        each: f"{day}T00:00:00.000Z" for each, day in expected.items()
    }


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", "2026-12-01T00:00:00.000Z"),
        ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00.0001Z", "2027-01-01T00:00:00.000Z"),
        ("2026-11-01T00:00:00.00001Z", "2026-11-01T00:00:00.00002Z", "2026-12-01T00:00:00.000Z"),
        ("2026-01-01T00:00:00Z", "2026-01-31T00:00:00Z", "2026-02-01T00:00:00.000Z"),
        ("2100-12-30T00:00:00Z", "2100-12-31T00:00:00Z", None),
    ],
)
def test_the_end_of_a_span_that_may_not_be_empty_is_the_next_month(
    start: str, stop: str, expected: str | None
) -> None:
    after = _object("relationship", {"start_time": "generalise"}, start_time=start, stop_time=stop)
    assert after.get("stop_time") == expected


@pytest.mark.parametrize("obligations", [{"first_seen": "drop"}, {"first_seen": "pseudonymise"}])
def test_the_other_end_of_a_span_goes_along(obligations: dict[str, str]) -> None:
    after = _object("sighting", obligations)
    assert "first_seen" not in after
    assert after["last_seen"] == "2026-11-01T00:00:00.000Z"


def test_the_times_beside_the_object_follow() -> None:
    november, october = parse_time("2026-11-01T00:00:00Z"), parse_time("2026-10-01T00:00:00Z")
    after = _carried("sighting", {"last_seen": "generalise"}).contribution
    assert (after.first_seen_ms, after.last_seen_ms) == (october, november)
    before = contribution_of("sighting")
    older = before.model_copy(update={"first_seen_ms": parse_time("2026-08-17T01:02:03Z")})
    after = carry_out(older, subject_of(older), {"first_seen": "drop"}).contribution
    assert (after.first_seen_ms, after.last_seen_ms) == (november, november)
    assert (after.created_ms, after.modified_ms) == (before.created_ms, before.modified_ms)
    after = carry_out(older, subject_of(older), {"first_seen": "generalise"}).contribution
    assert after.first_seen_ms == parse_time("2026-08-01T00:00:00Z")
    after = _carried("indicator", {"valid_until": "generalise"}).contribution
    assert after.first_seen_ms == november
    after = _carried("tool", {"created": "generalise"}).contribution
    assert {after.created_ms, after.modified_ms, after.first_seen_ms, after.last_seen_ms} == {november}
    untouched = _carried("sighting", {"description": "drop"}).contribution
    assert (untouched.first_seen_ms, untouched.last_seen_ms) == (before.first_seen_ms, before.last_seen_ms)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, 0), (1, 1), (2, 2), (9, 2), (10, 10), (99, 10), (100, 100), (999, 100), (999_999_999, 100_000_000)],
)
def test_counts_become_bands(count: int, expected: int) -> None:
    assert band(count) == band(expected) == expected
    assert _object("sighting", {"count": "generalise"}, count=count)["count"] == expected


@pytest.mark.parametrize("name", ["city", "latitude", "postal_code", "region", "country"])
def test_of_a_place_no_more_is_left_than_its_country(name: str) -> None:
    after = _object("location", {name: "generalise"})
    left = after.keys() - FULL["tool"].keys()
    assert left == {"region", "country"}
    assert "name" not in after
    assert "description" not in after


def test_a_region_may_be_all_that_is_left() -> None:
    after = _object("location", {"city": "generalise"}, country=None)
    assert after["region"] == "western-africa"
    assert "city" not in after


@pytest.mark.parametrize(
    ("type_", "selector"),
    [
        *(("indicator", name) for name in ("name", "labels", "confidence", "lang", "external_references")),
        *(("sighting", name) for name in ("summary", "where_sighted_refs", "description")),
        *(("threat-actor", name) for name in ("roles", "sophistication", "goals")),
    ],
)
def test_what_has_nothing_more_general_is_dropped(type_: str, selector: str) -> None:
    after = _carried(type_, {selector: "generalise"}).contribution
    assert selector not in whole(after, ())


# --- pseudonymise -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "selector"),
    [
        *(("identity", name) for name in ("name", "description", "contact_information")),
        *((type_, "name") for type_ in ("tool", "malware", "report", "campaign")),
        *(("note", name) for name in ("abstract", "content")),
    ],
)
def test_texts_get_a_pseudonym_for_a_quarter(type_: str, selector: str) -> None:
    after = _object(type_, {selector: "pseudonymise"})
    assert after[selector] == pseudonym_placeholder(FULL[type_][selector], "2026Q4")
    assert fill(after, b"a" * 32)[selector] != fill(after, b"b" * 32)[selector]


def test_elements_get_a_pseudonym_each() -> None:
    after = _object("malware", {"aliases": "pseudonymise", "external_references": "pseudonymise"})
    assert after["aliases"] == [pseudonym_placeholder(text, "2026Q4") for text in FULL["malware"]["aliases"]]
    case = FULL["malware"]["external_references"][0]
    expected = {name: pseudonym_placeholder(text, "2026Q4") for name, text in case.items()}
    assert after["external_references"] == [expected]  # without its URL the other one says nothing
    hashes = _object("malware", {"external_references.[1].hashes": "pseudonymise"})["external_references"][1]
    assert hashes.keys() == {"source_name", "url"}
    one = _object("malware", {"aliases.[1]": "pseudonymise"})
    assert one["aliases"] == ["Grey Heron", pseudonym_placeholder("Still Heron", "2026Q4")]


@pytest.mark.parametrize(
    ("type_", "selector"),
    [
        *(("indicator", name) for name in ("indicator_types", "valid_until", "confidence", "lang")),
        *(("threat-actor", name) for name in ("sophistication", "primary_motivation", "first_seen")),
        *(("sighting", name) for name in ("count", "summary", "first_seen", "where_sighted_refs")),
        ("identity", "identity_class"),
        ("location", "country"),
    ],
)
def test_what_no_pseudonym_can_stand_for_is_dropped(type_: str, selector: str) -> None:
    assert selector not in whole(_carried(type_, {selector: "pseudonymise"}).contribution, ())


@pytest.mark.parametrize(
    ("day", "expected"),
    [("2026-01-01", "2026Q1"), ("2026-03-31", "2026Q1"), ("2026-04-01", "2026Q2"), ("2026-12-31", "2026Q4")],
)
def test_quarters(day: str, expected: str) -> None:
    assert epoch_of(parse_time(f"{day}T23:59:59.999Z")) == expected


# --- host-only --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "ioc", "pattern"),
    [
        (URL, HOST, "[domain-name:value = 'login.lure.example']"),
        ("https://203.0.113.7:8080/u/amina-k", Ioc("ipv4", "203.0.113.7"), "[ipv4-addr:value = '203.0.113.7']"),
        ("https://[2001:db8::1]/u/amina-k", Ioc("ipv6", "2001:db8::1"), "[ipv6-addr:value = '2001:db8::1']"),
    ],
)
def test_a_url_pattern_becomes_one_of_its_host(value: str, ioc: Ioc, pattern: str) -> None:
    before = contribution_of("indicator")
    after = carry_out(before, subject_of(before, "url", value), {"pattern": "host-only"})
    assert after.ioc == ioc
    assert after.contribution.object["pattern"] == pattern


@pytest.mark.parametrize(
    "text",
    [
        URL,
        "hxxps://login[.]lure[.]example/u/amina-k",
        "See HTTPS://LOGIN.LURE.EXAMPLE/U/AMINA-K for it",
        "https://login.lure.example/%75/amina%2Dk",
        "u/amina-k",
    ],
)
def test_what_repeats_the_url_goes_with_it(text: str) -> None:
    before = contribution_of("indicator", name=text, description=f"in: {text}", labels=[text, "phishing"])
    before = before.model_copy(update={"context": (text,)})
    after = carry_out(before, subject_of(before), {"pattern": "host-only"}).contribution
    assert not {"name", "description"} & after.object.keys()
    assert after.object["labels"] == ["phishing"]
    assert text not in (*after.labels, *after.context)
    assert URL in withheld(before, after)


def test_what_does_not_repeat_the_url_stays() -> None:
    before = contribution_of("indicator", name="https://login.lure.example/", description="and/or by u/k")
    after = carry_out(before, subject_of(before), {"pattern": "host-only"}).contribution
    assert after.object["name"] == "https://login.lure.example/"
    assert after.object["description"] == "and/or by u/k"


def test_a_url_that_repeats_what_an_indicator_must_have_takes_nothing_of_that() -> None:
    before = contribution_of("indicator", description="of an indicator")
    subject = subject_of(before, "url", "https://indicator@login.lure.example/indicator")
    after = carry_out(before, subject, {"pattern": "host-only"}).contribution
    assert after.object["type"] == "indicator"
    assert after.references == before.references
    assert "description" not in after.object


def test_urls_in_texts_show_their_hosts() -> None:
    after = _object("malware", {"external_references.[1].url": "host-only", "aliases": "host-only"})
    assert after["external_references"][1]["url"] == "https://report.example/"
    assert "aliases" not in after
    told = [{"source_name": "web", "url": "https://amina.example/cases/1"}]
    after = _object("malware", {"external_references": "host-only"}, external_references=told)
    assert "external_references" not in after
    obligations = {"external_references.[0].url": "host-only", "aliases.[0]": "drop"}
    after = _object("malware", obligations, external_references=told, aliases=["Amina"])
    assert "external_references" not in after


# --- two at once ------------------------------------------------------------------------------------------------


def test_two_techniques_on_one_value_drop_it() -> None:
    obligations = {"aliases": "pseudonymise", "aliases.[0]": "generalise", "external_references": "pseudonymise"}
    after = _object("malware", obligations)
    assert after["aliases"] == [pseudonym_placeholder("Still Heron", "2026Q4")]
    obligations = {"external_references": "pseudonymise", "external_references.[1].url": "host-only"}
    assert len(_object("malware", obligations)["external_references"]) == 1


@pytest.mark.parametrize(
    ("type_", "obligations", "expected"),
    [
        # as in the decision table of the policy: what plat and gov are sent
        ("indicator", {"description": "drop", "created_by_ref": "drop", "external_references": "drop"}, {}),
        ("indicator", {"description": "drop", "affected": "generalise"}, {}),
        (
            "sighting",
            {
                "where_sighted_refs": "drop",
                "first_seen": "generalise",
                "last_seen": "generalise",
                "count": "generalise",
                "observed_data_refs": "drop",
                "created_by_ref": "drop",
            },
            {"first_seen": "2026-10-01T00:00:00.000Z", "last_seen": "2026-11-01T00:00:00.000Z", "count": 10},
        ),
    ],
)
def test_obligations_of_the_policy(type_: str, obligations: dict[str, str], expected: dict[str, Any]) -> None:
    before = contribution_of(type_)
    after = carry_out(before, subject_of(before), obligations).contribution
    dropped = {name for name, technique in obligations.items() if technique == "drop"}
    assert not dropped & whole(after, ()).keys()
    assert whole(after, ()) == {
        name: expected.get(name, value) for name, value in whole(before, ()).items() if name not in dropped
    }


# --- what is gone -----------------------------------------------------------------------------------------------


def test_leaves_are_all_texts_in_their_order() -> None:
    assert list(leaves({"a": ["x", {"b": "y"}], "c": [1, None, True, ("z",)], "d": ""})) == ["x", "y", "z", ""]
    deep: Any = "core"
    for _ in range(100_000):
        deep = [deep]
    assert list(leaves(deep)) == ["core"]


def test_what_is_withheld_is_what_is_nowhere_else() -> None:
    before = contribution_of("malware", description="Heron", aliases=["Quiet", "Loud"], labels=["Grey"])
    before = before.model_copy(update={"context": ("Said beside",)})
    after = carry_out(
        before, subject_of(before), {"description": "drop", "aliases": "drop", "labels": "drop"}
    ).contribution
    # `Heron` and `Quiet` are parts of the name that is left, as is what had joined it of a URL
    assert withheld(before, after) == {"Loud", "Grey", "Said beside"}
    assert withheld(before, before) == set()


def test_comparing_texts_takes_bounded_time() -> None:
    labels = [f"label {number}" for number in range(20_000)]
    before = contribution_of("tool", labels=labels, description="x" * 1_000_000 + "label 1")
    after = carry_out(before, subject_of(before), {"labels": "drop"}).contribution
    assert set(labels) <= withheld(before, after)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2026-02-28T23:59:59.999Z", "2026-02-01T00:00:00Z"),
        ("2100-12-31T23:59:59Z", "2100-12-01T00:00:00Z"),
    ],
)
def test_months_begin_in_utc(text: str, expected: str) -> None:
    assert month_start_ms(parse_time(text)) == parse_time(expected)
