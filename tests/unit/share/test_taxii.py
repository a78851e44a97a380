"""What TAXII 2.1 says about requests and resources."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BodyRefused
from schemas.feed import FeedRow
from services.share import cursor, taxii
from services.share.rows import Match, Page

SECRET = bytes(range(32))

ACCEPTS = [
    (None, True),
    ("application/taxii+json;version=2.1", True),
    ("application/taxii+json; version=2.1", True),
    ('application/taxii+json;version="2.1"', True),
    ("application/taxii+json", True),
    ("Application/TAXII+JSON;Version=2.1", True),
    ("*/*", True),
    ("application/*", True),
    ("text/html, application/taxii+json;version=2.1;q=0.1", True),
    ("application/taxii+json;version=2.0, */*;q=0.1", True),
    ("application/taxii+json;version=2.0", False),
    ("application/taxii+json;version=2.1;q=0", False),
    ("application/taxii+json;q=0.000", False),
    ("application/vnd.oasis.taxii+json;version=2.0", False),
    ("application/json", False),
    ("text/*", False),
    ("", False),
    (",;=", False),
]


@pytest.mark.parametrize(("header", "taken"), ACCEPTS)
def test_accept(header: str | None, taken: bool) -> None:
    assert taxii.accepts(header) is taken


def query(*parameters: tuple[str, str], known: frozenset[str] = taxii.OF_OBJECTS) -> taxii.Query:
    return taxii.read_query(parameters, known, lambda text: cursor.unseal(SECRET, "alpha", text))


ID = "indicator--5b3f2b5e-0c1f-4d0a-9b0e-2a3b4c5d6e7f"
PLACE_US = 1_795_000_000_123_456
TAKEN: list[tuple[list[tuple[str, str]], taxii.Query]] = [
    ([], taxii.Query(Match(), 1_000)),
    ([("limit", "5")], taxii.Query(Match(), 5)),
    ([("limit", "999999999")], taxii.Query(Match(), taxii.MAX_LIMIT)),
    ([("added_after", "1970-01-01T00:00:01Z")], taxii.Query(Match(after=1_000_000), 1_000)),
    ([("added_after", "1970-01-01T00:00:00.1234567Z")], taxii.Query(Match(after=123_456), 1_000)),
    ([("added_after", "0001-01-01T00:00:00Z")], taxii.Query(Match(after=-1), 1_000)),
    ([("next", cursor.seal(SECRET, "alpha", 7))], taxii.Query(Match(after=7), 1_000)),
    (
        [("next", cursor.seal(SECRET, "alpha", 7)), ("added_after", "1970-01-01T00:00:01Z")],
        taxii.Query(Match(after=1_000_000), 1_000),
    ),
    ([("match[id]", f"{ID},{ID}")], taxii.Query(Match(ids=(ID,)), 1_000)),
    ([("match[type]", "indicator,malware")], taxii.Query(Match(types=("indicator", "malware")), 1_000)),
    ([("match[version]", "last")], taxii.Query(Match(), 1_000)),
    ([("match[version]", "all")], taxii.Query(Match(), 1_000, versions=taxii.ALL)),
    (
        [("match[version]", "first,1970-01-01T00:00:01Z,last")],
        taxii.Query(Match(), 1_000, versions=taxii.Versions(first=True, last=True, exact=(1_000_000,))),
    ),
    (
        [("match[version]", "1970-01-01T00:00:01Z,1970-01-01T00:00:01.000Z")],
        taxii.Query(
            Match(versions=("1970-01-01T00:00:01.000Z",)), 1_000, versions=taxii.Versions(exact=(1_000_000,))
        ),
    ),
    (
        [("match[version]", "1970-01-01T00:00:00.0001Z")],
        taxii.Query(Match(versions=()), 1_000, versions=taxii.Versions(exact=(100,))),
    ),
    ([("match[spec_version]", "2.1")], taxii.Query(Match(), 1_000)),
    ([("match[spec_version]", "2.0,2.1")], taxii.Query(Match(), 1_000)),
    ([("match[spec_version]", "2.0")], taxii.Query(Match(), 1_000, nothing=True)),
    ([("utm", "x")], taxii.Query(Match(), 1_000)),
]


@pytest.mark.parametrize(("parameters", "expected"), TAKEN)
def test_filters(parameters: list[tuple[str, str]], expected: taxii.Query) -> None:
    assert query(*parameters) == expected


VERSIONS = [
    (taxii.LAST, {1, 2, 3}, {3}),
    (taxii.Versions(first=True), {1, 2, 3}, {1}),
    (taxii.Versions(first=True, last=True), {1, 2, 3}, {1, 3}),
    (taxii.ALL, {1, 2, 3}, {1, 2, 3}),
    (taxii.Versions(exact=(2, 9)), {1, 2, 3}, {2}),
    (taxii.Versions(first=True, exact=(2,)), {1, 2, 3}, {1, 2}),
    (taxii.LAST, set(), set()),
    (taxii.ALL, set(), set()),
]


@pytest.mark.parametrize(("versions", "there", "meant"), VERSIONS)
def test_which_versions_are_meant(versions: taxii.Versions, there: set[int], meant: set[int]) -> None:
    assert versions.choose(there) == meant


CONTENT_TYPES = [
    ("application/taxii+json;version=2.1", True),
    ('Application/TAXII+json; charset=utf-8; version="2.1"', True),
    ("application/taxii+json", False),
    ("application/taxii+json;version=2.0", False),
    ("application/taxii+json;version=2.1;version=2.0", False),
    ("application/stix+json;version=2.1", False),
    ("application/json", False),
    ("*/*", False),
    ("", False),
    (None, False),
]


@pytest.mark.parametrize(("header", "taken"), CONTENT_TYPES)
def test_content_type(header: str | None, taken: bool) -> None:
    assert taxii.is_taxii(header) is taken


def test_collections_are_of_one_partner_and_stay() -> None:
    alpha, beta = (
        taxii.collections(SECRET, name, ("spyware", "ddos", "spyware"), contributes=True)
        for name in ("alpha", "beta")
    )
    assert [(held.category, held.own) for held in alpha] == [
        ("", False),
        ("spyware", False),
        ("ddos", False),
        ("", True),
    ]
    assert [held.resource()["can_write"] for held in alpha] == [False, False, False, True]
    ids = [held.id for held in (*alpha, *beta)]
    assert len(set(ids)) == 8 and all(UUID(id_).version == 4 for id_ in ids)
    fewer = taxii.collections(SECRET, "alpha", ("ddos",), contributes=False)
    assert [held.id for held in fewer] == [alpha[0].id, alpha[2].id]


REFUSED = [
    [("limit", "0")],
    [("limit", "-1")],
    [("limit", "1.5")],
    [("limit", "")],
    [("limit", "٣")],
    [("limit", "9" * 40)],
    [("limit", "5"), ("limit", "5")],
    [("added_after", "")],
    [("added_after", "yesterday")],
    [("added_after", "2026-11-01")],
    [("added_after", "2026-11-01T00:00:00")],
    [("added_after", "2026-11-01T00:00:00+00:00")],
    [("added_after", "2026-13-01T00:00:00Z")],
    [("added_after", "2026-11-01T00:00:60Z")],
    [("added_after", "2026-11-01T00:00:00Z,2026-11-01T00:00:00Z")],
    [("added_after", "2026-11-01T00:00:00Z"), ("added_after", "2026-11-01T00:00:00Z")],
    [("next", "")],
    [("next", "7")],
    [("next", cursor.seal(SECRET, "beta", 7))],
    [("match[id]", "")],
    [("match[id]", "indicator--1")],
    [("match[id]", f"{ID},")],
    [("match[type]", "Indicator")],
    [("match[type]", "x y")],
    [("match[version]", "latest")],
    [("match[version]", "")],
    [("match[version]", "all,last")],
    [("match[spec_version]", "two")],
    [("match[name]", "x")],
    [("match[]", "x")],
]


@pytest.mark.parametrize("parameters", REFUSED)
def test_malformed_filters(parameters: list[tuple[str, str]]) -> None:
    with pytest.raises(BodyRefused) as refusal:
        query(*parameters)
    assert (refusal.value.status, refusal.value.where) == (400, parameters[0][0])
    assert refusal.value.hint


@pytest.mark.parametrize("name", ["match[id]", "match[type]", "match[version]"])
def test_a_filter_that_versions_do_not_have(name: str) -> None:
    with pytest.raises(BodyRefused, match="is not a filter of this endpoint"):
        query((name, "last"), known=taxii.OF_VERSIONS)


@given(st.text(max_size=60), st.sampled_from(sorted(taxii.OF_OBJECTS)))
def test_any_text_is_a_filter_or_a_refusal(text: str, name: str) -> None:
    try:
        query((name, text))
    except BodyRefused as refusal:
        assert refusal.status == 400


def row(added: int = PLACE_US, modified: str = "2026-11-01T00:00:00.000Z", **fields: Any) -> FeedRow:
    given = dict.fromkeys(FeedRow._fields, "") | {"added": added, "stix_id": ID, "modified": modified}
    return FeedRow(**{**given, "body": b'{"x":1}', **fields})


def test_resources() -> None:
    page, last = Page([row(), row(body=b'{"x":2}')], True), Page([row(modified="")], False)
    assert orjson.loads(taxii.envelope(page, 'n"')) == {"more": True, "next": 'n"', "objects": [{"x": 1}, {"x": 2}]}
    assert orjson.loads(taxii.envelope(last, "")) == {"more": False, "objects": [{"x": 1}]}
    assert orjson.loads(taxii.manifest(last, "")) == {
        "more": False,
        "objects": [
            {
                "id": ID,
                "date_added": "2026-11-18T11:06:40.123456Z",
                "version": "2026-11-18T11:06:40.123456Z",
                "media_type": "application/stix+json;version=2.1",
            }
        ],
    }
    assert orjson.loads(taxii.versions(page, "n")) == {
        "more": True,
        "next": "n",
        "versions": ["2026-11-01T00:00:00.000Z", "2026-11-01T00:00:00.000Z"],
    }
    for write in (taxii.envelope, taxii.manifest, taxii.versions):
        assert write(Page([], False), "") == b"{}"
    assert orjson.loads(taxii.error(404, "not-found", "no")) == {
        "title": "Not Found",
        "description": "no",
        "error_code": "not-found",
        "http_status": "404",
    }


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (PLACE_US, "2026-11-18T11:06:40.123456Z"),
    ],
)
def test_dates_have_six_decimals(us: int, text: str) -> None:
    assert taxii.date_added(us) == text
    assert taxii.timestamp_us(text, "added_after") == us


def test_collection_ids_stay_and_differ() -> None:
    ids = [taxii.collection_id(secret, name) for secret in (SECRET, b"other") for name in ("alpha", "beta")]
    assert len(set(ids)) == 4 and ids[0] == taxii.collection_id(SECRET, "alpha")
    assert all(UUID(id_).version == 4 for id_ in ids)


@given(st.integers(0, 2**64 - 1), st.sampled_from(["alpha", "beta"]))
def test_a_cursor_opens_for_its_partner_only(place: int, partner: str) -> None:
    text = cursor.seal(SECRET, partner, place)
    assert cursor.unseal(SECRET, partner, text) == place
    assert cursor.unseal(SECRET, "gamma", text) is None
    assert cursor.unseal(b"other", partner, text) is None
    assert text == cursor.seal(SECRET, partner, place)


@given(st.integers(0, 31), st.integers(0, 2**40), st.characters())
def test_a_changed_cursor_is_none(at: int, place: int, other: str) -> None:
    text = cursor.seal(SECRET, "alpha", place)
    changed = text[:at] + other + text[at + 1 :]
    assert cursor.unseal(SECRET, "alpha", changed) == (place if changed == text else None)
