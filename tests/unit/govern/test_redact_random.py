"""What holds whatever is asked, of every type: nothing dropped is left, what is left is STIX, twice is once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import stix2
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from schemas.fingerprint import Ioc
from schemas.known import Contribution
from schemas.outgoing import fill, is_placeholder
from schemas.safejson import walk
from schemas.stix import read_object
from schemas.stix_types import TYPES
from services.govern.obligations import ALLOWED
from services.govern.redact import NotRedacted, Subject, carry_out, impossible, leaves, whole, withheld
from services.govern.selectors import STRENGTH, at, find, name_of, named
from tests.unit.govern.full_objects import FULL, given_back, nothing_known, subject_of, taken

KEY = b"k" * 32
MADE = ("https://report.example/", "[domain-name:value = 'login.lure.example']")
"""What `host-only` makes of the URLs there are."""


def _selectors(body: Any) -> list[str]:
    return [name_of(tuple(steps)) for steps, _ in walk(body) if steps]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Contribution, dict[str, str], list[tuple[str, str]]]:
    """A contribution with some of what its type has, the ids of its ends, and what is asked of it."""
    full = FULL[draw(st.sampled_from(sorted(FULL)))]
    free = [name for name in full if name not in TYPES[full["type"]].required and name != "spec_version"]
    without = draw(st.sets(st.sampled_from(free)))
    if full["type"] == "malware":
        without.discard("name")
    if full["type"] in ("location", "observed-data"):
        without = set()
    contribution, ids = taken({name: value for name, value in full.items() if name not in without})
    selectors = _selectors(whole(contribution, ["XA", "XB"]))
    pairs = st.tuples(st.sampled_from(selectors), st.sampled_from(sorted(STRENGTH)))
    return contribution, ids, draw(st.lists(pairs, min_size=1, max_size=8))


def _possible(subject: Subject, asked: list[tuple[str, str]]) -> dict[str, str] | None:
    """What is asked, without what is impossible by itself; None where the rest together is."""
    alone = [pair for pair in asked if _can_be(subject, named(subject.body, [pair]))]
    obligations = named(subject.body, alone)
    return obligations if _can_be(subject, obligations) else None


def _can_be(subject: Subject, obligations: dict[str, str]) -> bool:
    return not any(
        impossible(subject, selector, technique, obligations.keys(), nothing_known)
        for selector, technique in obligations.items()
    )


def _dropped(body: Any, obligations: dict[str, str]) -> Iterator[str]:
    for selector, technique in obligations.items():
        path = find(body, selector)
        if technique == "drop" and path and path[0] != "affected":
            yield from leaves(at(body, path))


SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_every_type_that_leaves_is_among_them_and_is_valid() -> None:
    assert FULL.keys() >= ALLOWED.keys()
    for type_, body in FULL.items():
        assert read_object(dict(body), strict=True).type == type_
        stix2.parse(dict(body), version="2.1")
        contribution, ids = taken(body)
        assert given_back(contribution, ids) == body


@given(cases())
@SETTINGS
def test_what_is_left_is_valid_and_carrying_out_twice_is_once(
    case: tuple[Contribution, dict[str, str], list[tuple[str, str]]],
) -> None:
    contribution, ids, asked = case
    subject = subject_of(contribution)
    obligations = _possible(subject, asked)
    event("nothing possible" if not obligations else "possible together" if obligations else "")
    if obligations is None:
        return
    before = contribution.model_dump()
    try:
        after, ioc = carry_out(contribution, subject, obligations)
    except NotRedacted:
        # a location may be without its region, and without its country, but not without both
        assert subject.type == "location"
        return
    assert contribution.model_dump() == before
    assert carry_out(contribution, subject, obligations) == (after, ioc)
    assert carry_out(after, subject, obligations) == (after, ioc)
    body = fill(given_back(after, ids), KEY)
    assert read_object(body, strict=True).type == subject.type
    stix2.parse(body, version="2.1")


@given(cases())
@SETTINGS
def test_nothing_of_what_was_dropped_is_left(
    case: tuple[Contribution, dict[str, str], list[tuple[str, str]]],
) -> None:
    contribution, _, asked = case
    subject = subject_of(contribution)
    obligations = _possible(subject, [(selector, "drop") for selector, _ in asked])
    if obligations is None:
        return
    try:
        after = carry_out(contribution, subject, obligations).contribution
    except NotRedacted:
        return
    asked_to_go = list(_dropped(subject.body, obligations))
    kept = {name: value for name, value in subject.body.items() if name not in obligations and name != "affected"}
    elsewhere = {text.casefold() for name, value in kept.items() for text in leaves(value)}
    gone = {text for text in asked_to_go if text.casefold() not in elsewhere}
    left = set(leaves([after.object, after.labels, after.references, after.joins]))
    assert not gone & left
    assert withheld(contribution, after) & left == set()
    for text in gone - set(contribution.context):
        assert text in withheld(contribution, after) or any(text in other for other in left)


@given(cases())
@SETTINGS
def test_whatever_has_no_place_in_it_carrying_out_again_on_what_is_left_changes_nothing(
    case: tuple[Contribution, dict[str, str], list[tuple[str, str]]],
) -> None:
    contribution, _, asked = case
    asked = [(selector, technique) for selector, technique in asked if "[" not in selector]
    subject = subject_of(contribution)
    obligations = _possible(subject, asked)
    if not obligations:
        return
    try:
        after = carry_out(contribution, subject, obligations).contribution
    except NotRedacted:
        return
    there = {s: t for s, t in obligations.items() if find(whole(after, ["XA", "XB"]), s.split(".")[0])}
    ioc = Ioc("domain", "login.lure.example")
    again = Subject(subject.type, subject.kind, subject.value, whole(after, ["XA", "XB"]))
    if "pattern" in there:
        assert carry_out(contribution, subject, obligations).ioc == ioc
    else:
        assert carry_out(after, again, there).contribution == after


@given(cases(), st.data())
@SETTINGS
def test_one_more_obligation_never_leaves_more(
    case: tuple[Contribution, dict[str, str], list[tuple[str, str]]], data: st.DataObject
) -> None:
    contribution, _, asked = case
    subject = subject_of(contribution)
    more = data.draw(st.sampled_from(_selectors(subject.body)))
    technique = data.draw(st.sampled_from(sorted(STRENGTH))) if more not in dict(asked) else "drop"
    fewer, all_ = _possible(subject, asked), _possible(subject, [*asked, (more, technique)])
    if fewer is None or all_ is None:
        return
    try:
        of_fewer = carry_out(contribution, subject, fewer).contribution
        of_all = carry_out(contribution, subject, all_).contribution
    except NotRedacted:
        return
    texts = set(leaves([of_all.object, of_all.labels, of_all.context]))
    made = {text for text in texts if text in MADE or text.endswith("T00:00:00.000Z")}
    made |= set(filter(is_placeholder, texts))
    assert texts - made <= set(leaves([of_fewer.object, of_fewer.labels, of_fewer.context]))
    assert of_all.object.keys() <= of_fewer.object.keys()
    assert len(of_all.references) <= len(of_fewer.references)


@pytest.mark.parametrize("technique", sorted(STRENGTH))
def test_ten_thousand_selectors_take_well_under_a_second(technique: str) -> None:
    size = 10_000
    names = [f"name {number}" for number in range(size)]
    body = {**FULL["malware"], "aliases": names, "labels": names}
    contribution, _ = taken(body)
    subject = subject_of(contribution)
    started = time.perf_counter()
    obligations = named(subject.body, [(f"aliases.[{number}]", technique) for number in range(size - 1)])
    assert not any(impossible(subject, selector, technique, (), nothing_known) for selector in obligations)
    after = carry_out(contribution, subject, obligations).contribution
    withheld(contribution, after)
    assert time.perf_counter() - started < 1
    assert len(after.object["aliases"]) == (size if technique == "pseudonymise" else 1)


def test_ten_thousand_urls_are_not_compared_with_one_another() -> None:
    size = 10_000
    references = [{"source_name": f"s{n}", "url": f"https://a{n}.example/{'x' * 70}"} for n in range(size)]
    contribution, _ = taken({**FULL["malware"], "external_references": references})
    started = time.perf_counter()
    after = carry_out(contribution, subject_of(contribution), {"external_references": "host-only"}).contribution
    assert time.perf_counter() - started < 1
    assert "external_references" not in after.object
