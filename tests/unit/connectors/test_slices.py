"""What is too large for one body: cut so that nothing is lost, nothing comes twice, and nothing else moves."""

from __future__ import annotations

import random
from collections import Counter

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import slices
from connectors.slices import Element, Part, about, bundle, cut, hand_over, level, stix_parts
from schemas.errors import PartnerFailed
from tests.contract.puller_worlds import indicator, uuid


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", 10)


def elements(*numbers: int) -> list[Element]:
    return [Element(b"%d" % number, b"body of %d" % number) for number in numbers]


def test_nothing_is_lost_and_all_fits() -> None:
    for count in (0, 1, 10, 11, 100, 333):
        found = cut(elements(*range(count)))
        assert sorted(body for _, slice_ in found for body in slice_) == sorted(
            e.body for e in elements(*range(count))
        )
        assert all(len(slice_) <= 10 for _, slice_ in found)
        assert len(found) == 1 << (len(found) - 1).bit_length()
        assert len({name for name, _ in found}) == len(found)
    assert [name for name, _ in cut(elements(1))] == [""]


def test_one_more_changes_one_slice_only() -> None:
    before, after = dict(cut(elements(*range(20)))), dict(cut(elements(*range(19), 777)))
    assert before.keys() == after.keys()
    assert 1 <= sum(before[name] != after[name] for name in before) <= 2


def test_the_order_of_what_comes_is_no_matter() -> None:
    numbers = list(range(50))
    expected = {name: sorted(slice_) for name, slice_ in cut(elements(*numbers))}
    random.Random(1).shuffle(numbers)
    assert {name: sorted(slice_) for name, slice_ in cut(elements(*numbers))} == expected


@pytest.mark.parametrize(
    "given_",
    [[Element(b"a", b"x" * (16 * 1024 * 1024))], [Element(b"same", b"the same")] * 11],
    ids=["large", "alike"],
)
def test_what_can_not_be_cut_is_told(given_: list[Element]) -> None:
    with pytest.raises(PartnerFailed, match="larger than a submission"):
        cut(given_)


def test_a_crowd_about_one_thing_is_cut_too() -> None:
    crowd = [Element(b"same", b"sighting %d" % number) for number in range(100)]
    found = cut([*crowd, *elements(*range(20))])
    assert sum(len(slice_) for _, slice_ in found) == 120 and all(len(slice_) <= 10 for _, slice_ in found)


def test_what_ends_comes_last_and_only_of_a_snapshot() -> None:
    parts = [Part("/0.2", b"a"), Part("/1.2", b"")]
    found = list(hand_over("f", parts, ["", "/1.2"], snapshot=True, media_type="m", suffix=".x"))
    assert [(p.feed, p.body, p.snapshot) for p in found] == [
        ("f/0.2", b"a", True),
        ("f/1.2", b"", True),
        ("f", b"", True),
    ]
    found = list(hand_over("f", parts, [""], snapshot=False, media_type="m", suffix=".x"))
    assert [(p.feed, p.body, p.snapshot) for p in found] == [("f/0.2", b"a", False)]


TYPES = ("identity", "domain-name", "indicator", "malware", "relationship", "sighting", "report", "note")


@given(st.lists(st.sampled_from(TYPES), max_size=60), st.randoms(use_true_random=False))
def test_what_is_referred_to_comes_before(types: list[str], chance: random.Random) -> None:
    objects = [
        {"type": type_, "id": f"{type_}--{uuid(number)}"} | ({} if type_ == "domain-name" else {"created": "x"})
        for number, type_ in enumerate(types)
    ]
    for each in objects:
        if lower := [o["id"] for o in objects if level(o) < level(each)]:
            each["source_ref"] = chance.choice(lower)
    seen: set[str] = set()
    count = 0
    for part in stix_parts(objects, {"id": "x"}):
        held = orjson.loads(part.body)["objects"] if part.body else []
        seen |= {each["id"] for each in held}
        count += len(held)
        assert all(each.get("source_ref", each["id"]) in seen for each in held)
    assert count == len(objects)


def test_a_file_that_fits_goes_as_it_is() -> None:
    whole = b' {"type": "bundle", "objects": []}'
    assert stix_parts([indicator(1)], {}, whole) == [Part("", whole)]


def test_the_version_of_a_bundle_stays_around_its_objects() -> None:
    objects = [indicator(number) for number in range(30)]
    parts = stix_parts(objects, {"type": "bundle", "id": "bundle--1", "spec_version": "2.0"})
    read = [orjson.loads(part.body) for part in parts if part.body]
    assert len(read) > 2 and {each["spec_version"] for each in read} == {"2.0"}
    assert len({each["id"] for each in read}) == len(read)


def test_objects_with_new_ids_are_about_the_same() -> None:
    def world(first: int) -> Counter[bytes]:
        ids = [f"x--{uuid(first + number)}" for number in range(4)]
        objects = {
            ids[0]: {"type": "malware", "id": ids[0], "name": "Foo"},
            ids[1]: {"type": "indicator", "id": ids[1], "pattern": "[a:b = 'c']"},
            ids[2]: {
                "type": "relationship",
                "id": ids[2],
                "relationship_type": "indicates",
                "source_ref": ids[1],
                "target_ref": ids[0],
            },
            ids[3]: {"type": "sighting", "id": ids[3], "sighting_of_ref": ids[1]},
        }
        return Counter(about(each, lambda id_: objects.get(str(id_))) for each in objects.values())

    assert world(0) == world(100) and len(world(0)) == 4


def test_a_bundle_is_json() -> None:
    assert orjson.loads(bundle([b"{}", b"1"], {"id": "a", "objects": None}, ""))["objects"] == [{}, 1]
