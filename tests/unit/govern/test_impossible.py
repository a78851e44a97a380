"""Which obligations can't be carried out, so that the rule that asks for them denies."""

from __future__ import annotations

import pytest

from schemas.fingerprint import Ioc
from services.enrich.context import Context
from services.enrich.warninglists import Warning
from services.govern.redact import NotRedacted, Subject, carry_out, impossible
from services.govern.selectors import Unselectable
from tests.unit.govern.full_objects import FULL, URL, contribution_of, nothing_known, subject_of

ALL = ("drop", "generalise", "pseudonymise", "host-only", "deny")


@pytest.mark.parametrize(
    ("type_", "selector", "techniques"),
    [
        # what the type requires
        *((type_, name, ALL) for type_ in FULL for name in ("type", "id", "spec_version")),
        *((type_, name, ("drop", "pseudonymise", "host-only", "deny")) for type_ in FULL for name in ("created",)),
        ("indicator", "pattern", ("drop", "generalise", "pseudonymise", "deny")),
        ("indicator", "pattern_type", ALL),
        ("indicator", "pattern_version", ALL),
        ("indicator", "valid_from", ("drop", "pseudonymise", "host-only", "deny")),
        ("malware", "is_family", ALL),
        ("malware", "name", ("drop", "generalise", "host-only", "deny")),
        ("tool", "name", ("drop", "generalise", "host-only", "deny")),
        ("identity", "name", ("drop", "generalise", "host-only", "deny")),
        ("relationship", "relationship_type", ALL),
        ("relationship", "source_ref", ALL),
        ("relationship", "target_ref", ALL),
        ("sighting", "sighting_of_ref", ALL),
        ("report", "published", ("drop", "pseudonymise", "host-only", "deny")),
        ("report", "object_refs", ALL),
        ("report", "object_refs.[0]", ("generalise", "pseudonymise", "host-only", "deny")),
        ("grouping", "context", ALL),
        ("note", "content", ("drop", "generalise", "host-only", "deny")),
        ("opinion", "opinion", ALL),
        ("observed-data", "number_observed", ("drop", "pseudonymise", "host-only", "deny")),
        ("observed-data", "object_refs", ALL),
        ("observed-data", "object_refs.[1]", ("generalise", "pseudonymise", "host-only", "deny")),
        ("observed-data", "first_observed", ("drop", "pseudonymise", "host-only", "deny")),
        # all else can at least be dropped
        *((type_, "labels", ("deny",)) for type_ in FULL),
        *((type_, "created_by_ref", ("deny",)) for type_ in FULL),
        *((type_, "external_references.[0].source_name", ("deny",)) for type_ in FULL),
        ("indicator", "name", ("deny",)),
        ("indicator", "valid_until", ("deny",)),
        ("indicator", "kill_chain_phases.[0].phase_name", ("deny",)),
        ("identity", "identity_class", ("deny",)),
        ("sighting", "count", ("deny",)),
        ("sighting", "where_sighted_refs.[1]", ("deny",)),
        ("location", "city", ("deny",)),
        ("location", "region", ("deny",)),
        ("opinion", "explanation", ("deny",)),
        # and what is not there needs nothing done
        ("indicator", "objective", ()),
        ("indicator", "labels.[9]", ()),
    ],
)
def test_what_is_impossible(type_: str, selector: str, techniques: tuple[str, ...]) -> None:
    subject = subject_of(contribution_of(type_))
    found = [technique for technique in ALL if impossible(subject, selector, technique, (), nothing_known)]
    assert found == list(techniques)
    for technique in set(techniques) - {"deny"} if "[" not in selector else ():
        with pytest.raises(NotRedacted):
            carry_out(contribution_of(type_), subject, {selector: technique})
    for technique in {"drop", "generalise", "pseudonymise", "host-only"} - set(techniques):
        carry_out(contribution_of(type_), subject, {selector: technique})


def test_what_more_can_be_impossible() -> None:
    family = subject_of(contribution_of("malware"))
    single = subject_of(contribution_of("malware", is_family=False))
    assert impossible(family, "name", "drop", (), nothing_known)
    assert not impossible(single, "name", "drop", (), nothing_known)

    one_end = subject_of(contribution_of("report", object_refs=FULL["report"]["object_refs"][:1]))
    assert impossible(one_end, "object_refs.[0]", "drop", (), nothing_known)
    assert not impossible(subject_of(contribution_of("report")), "object_refs.[0]", "drop", (), nothing_known)

    fine = ("administrative_area", "city", "street_address", "postal_code")
    point = subject_of(contribution_of("location", region=None, country=None, **dict.fromkeys(fine)))
    assert impossible(point, "latitude", "generalise", (), nothing_known)
    only_a_country = subject_of(
        contribution_of("location", region=None, latitude=None, longitude=None, precision=None)
    )
    assert impossible(only_a_country, "country", "drop", (), nothing_known)
    assert not impossible(only_a_country, "country", "generalise", (), nothing_known)

    rule = contribution_of("indicator", pattern="rule x {}", pattern_type="yara", pattern_version="4")
    yara = subject_of(rule, "pattern:yara", "rule x {}")
    assert not impossible(yara, "pattern_version", "drop", (), nothing_known)
    assert impossible(yara, "pattern", "host-only", (), nothing_known)

    url_as_name = subject_of(contribution_of("tool", name="https://tool.example/amina"))
    assert not impossible(url_as_name, "name", "host-only", (), nothing_known)
    assert impossible(
        subject_of(contribution_of("tool", name="https://amina.example/amina")),
        "name",
        "host-only",
        (),
        nothing_known,
    )

    affected = Subject("indicator", "url", URL, {"type": "indicator", "affected": ["XA"]})
    assert not impossible(affected, "affected", "generalise", (), nothing_known)
    assert not impossible(affected, "affected.[0]", "drop", (), nothing_known)
    assert impossible(affected, "affected", "deny", (), nothing_known)


@pytest.mark.parametrize(("selector", "technique"), [("name.x", "drop"), ("", "drop"), ("name", "obscure")])
def test_what_nobody_can_carry_out_is_an_error(selector: str, technique: str) -> None:
    contribution = contribution_of("tool")
    with pytest.raises(Unselectable):
        impossible(subject_of(contribution), selector, technique, (), nothing_known)
    with pytest.raises(Unselectable):
        carry_out(contribution, subject_of(contribution), {selector: technique})


@pytest.mark.parametrize(
    ("kind", "value", "personal", "warned", "expected"),
    [
        ("url", URL, (), "", False),
        ("url", "https://user:pass@203.0.113.7:8080/u/amina-k", (), "", False),
        ("domain", "lure.example", (), "", True),
        ("complex", "[url:value LIKE 'x']", (), "", True),
        ("pattern:yara", "rule x {}", (), "", True),
        ("url", "file:///home/amina", (), "", True),
        # the host itself tells
        ("url", "https://amina-k.lure.example/u/amina-k", (), "", True),
        ("url", "https://quiet-heron.example/u/1", ("name",), "", True),
        ("url", "https://quiet-heron.example/u/1", ("description",), "", False),
        ("url", "https://seen.example/u/1", ("labels",), "", True),
        ("url", "https://seen.example/u/1", ("labels.[1]",), "", False),
        ("url", "https://report.lure.example/u/1", ("external_references.[1]",), "", True),
        ("url", "https://lure2026.example/u/1", ("valid_from", "id", "created_by_ref", "pattern"), "", False),
        ("url", "https://nothing.example/u/1", ("objective", "labels.[7]"), "", False),
        # others use it too
        ("url", URL, (), "shared-hosting", True),
        ("url", URL, (), "popular", True),
        ("url", URL, (), "dynamic-dns", True),
        ("url", URL, (), "scanner", False),
    ],
)
def test_when_a_host_can_stand_for_a_pattern(
    kind: str, value: str, personal: tuple[str, ...], warned: str, expected: bool
) -> None:
    def look(ioc: Ioc) -> Context:
        named = ioc.value in ("login.lure.example", "203.0.113.7") and warned
        return Context(warnings=(Warning("a list", warned),)) if named else Context()

    subject = subject_of(contribution_of("indicator"), kind, value)
    assert impossible(subject, "pattern", "host-only", ("pattern", *personal), look) is expected


def test_a_host_can_not_be_compared_with_any_number_of_texts() -> None:
    few, many = ([f"word {number}" for number in range(size)] for size in (300, 301))
    for labels, expected in ((few, False), (many, True)):
        subject = subject_of(contribution_of("indicator", labels=labels), "url", "https://quiet.example/u")
        assert impossible(subject, "pattern", "host-only", ["labels"], nothing_known) is expected


def test_long_personal_texts_have_words_that_are_in_any_host() -> None:
    for text, expected in (("quiet" + " " * 59, True), ("quiet" + " " * 60, False)):
        subject = subject_of(contribution_of("indicator", description=text), "url", "https://quiet.example/u")
        assert impossible(subject, "pattern", "host-only", ["description"], nothing_known) is expected


def test_what_fails_while_looking_is_not_passed_over() -> None:
    def fails(ioc: Ioc) -> Context:
        raise LookupError

    with pytest.raises(LookupError):
        impossible(subject_of(contribution_of("indicator")), "pattern", "host-only", (), fails)
