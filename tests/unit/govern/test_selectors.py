"""What selectors point at, and what obligations on one object come to."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.govern.selectors import Unselectable, at, find, name_of, named

BODY: dict[str, Any] = {
    "type": "malware",
    "name": "Lure",
    "aliases": ["a", "b"],
    "nothing": None,
    "empty": [],
    "external_references": [
        {"source_name": "case", "external_id": "C-7", "hashes": {"SHA-256": "00"}},
        {"source_name": "web", "url": "https://a.example/", "description": "d"},
    ],
    "kill_chain_phases": [{"kill_chain_name": "k", "phase_name": "p"}, {"kill_chain_name": "k", "phase_name": "q"}],
    "nested": [["x", "y"], ["z"]],
}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("name", ("name",)),
        ("aliases", ("aliases",)),
        ("aliases.[1]", ("aliases", 1)),
        ("aliases.[001]", ("aliases", 1)),
        ("aliases.[2]", None),
        ("empty.[0]", None),
        ("nothing", ("nothing",)),
        ("external_references.[0].hashes.SHA-256", ("external_references", 0, "hashes", "SHA-256")),
        ("external_references.[1].external_id", None),
        ("nested.[0].[1]", ("nested", 0, 1)),
        ("description", None),
        ("description.[0].name", None),
        ("__class__", None),
        ("external_references.[0].__class__.__init__", None),
        ("external_references.[0].keys", None),
    ],
)
def test_where_a_selector_points(selector: str, expected: tuple[str | int, ...] | None) -> None:
    assert find(BODY, selector) == expected
    if expected is not None:
        assert find(BODY, name_of(expected)) == expected


@pytest.mark.parametrize(
    "selector",
    [
        *("", ".", "name.", ".name", "a b", "name\n", "aliases[0]", "aliases.[]", "aliases.[-1]", "aliases.[x]"),
        *("[0]", "aliases.[0", "aliases.[0000001]", "näme", "aliases.[\u0661]", "a" * 251, "a" + ".a" * 33),
        *("aliases.name", "external_references.source_name", "aliases.__class__", "nested.[0].name"),
        *("name.[0]", "name.x", "nothing.x", "aliases.[0].[0]", "external_references.[0].[0]"),
    ],
)
def test_what_is_no_selector_or_does_not_fit_is_refused(selector: str) -> None:
    with pytest.raises(Unselectable):
        find(BODY, selector)


@pytest.mark.parametrize("selector", ["of amina", "name.amina", "aliases.amina"])
def test_a_refusal_quotes_nothing(selector: str) -> None:
    with pytest.raises(Unselectable) as caught:
        find(BODY, selector)
    assert "amina" not in str(caught.value)


def test_only_json_is_looked_into() -> None:
    class Sly(dict[str, Any]):
        secret = "s"

    assert find({"a": Sly(b=1)}, "a.secret") is None
    with pytest.raises(Unselectable):
        find({"a": ("x",)}, "a.[0]")


def test_at_gives_what_lies_there() -> None:
    assert at(BODY, ("external_references", 1, "url")) == "https://a.example/"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], {}),
        ([("description", "drop")], {}),
        ([("name", "generalise")], {"name": "generalise"}),
        # the strongest, in whatever order and spelling
        ([("name", "drop"), ("name", "generalise")], {"name": "drop"}),
        ([("name", "pseudonymise"), ("name", "host-only")], {"name": "host-only"}),
        ([("name", "pseudonymise"), ("name", "generalise")], {"name": "generalise"}),
        ([("name", "host-only"), ("name", "generalise")], {"name": "drop"}),
        ([("name", "generalise"), ("name", "host-only"), ("name", "generalise")], {"name": "drop"}),
        ([("aliases.[0]", "pseudonymise"), ("aliases.[00]", "drop")], {"aliases.[0]": "drop"}),
        # lists
        ([("aliases.[1]", "drop")], {"aliases.[1]": "drop"}),
        ([("aliases.[1]", "drop"), ("aliases.[0]", "drop")], {"aliases": "drop"}),
        ([("aliases.[1]", "drop"), ("aliases.[01]", "drop")], {"aliases.[1]": "drop"}),
        (
            [("aliases.[1]", "drop"), ("aliases.[0]", "generalise")],
            {"aliases.[0]": "generalise", "aliases.[1]": "drop"},
        ),
        ([("aliases.[1]", "pseudonymise"), ("aliases", "drop")], {"aliases": "drop"}),
        (
            [("aliases.[1]", "drop"), ("aliases", "generalise")],
            {"aliases": "generalise", "aliases.[1]": "drop"},
        ),
        ([("nested.[0].[0]", "drop"), ("nested.[0].[1]", "drop")], {"nested.[0]": "drop"}),
        ([("nested.[0]", "drop"), ("nested.[1].[0]", "drop")], {"nested": "drop"}),
        ([(f"nested.[{i}].[{j}]", "drop") for i, j in ((0, 0), (0, 1), (1, 0))], {"nested": "drop"}),
        # what an element can't be without
        ([("external_references.[0].source_name", "drop")], {"external_references.[0]": "drop"}),
        ([("external_references.[0].external_id", "drop")], {"external_references.[0]": "drop"}),
        ([("external_references.[1].url", "drop")], {"external_references.[1].url": "drop"}),
        (
            [("external_references.[1].url", "drop"), ("external_references.[1].description", "drop")],
            {"external_references.[1]": "drop"},
        ),
        (
            [("external_references.[1].source_name", "drop"), ("external_references.[0].external_id", "drop")],
            {"external_references": "drop"},
        ),
        ([("kill_chain_phases.[1].phase_name", "drop")], {"kill_chain_phases.[1]": "drop"}),
        (
            [("kill_chain_phases.[0].kill_chain_name", "drop"), ("kill_chain_phases.[1]", "drop")],
            {"kill_chain_phases": "drop"},
        ),
        # upwards through lists only
        (
            [("external_references.[0].hashes.SHA-256", "drop")],
            {"external_references.[0].hashes.SHA-256": "drop"},
        ),
    ],
)
def test_what_obligations_come_to(asked: list[tuple[str, str]], expected: dict[str, str]) -> None:
    assert named(BODY, asked) == expected
    assert list(named(BODY, reversed(asked))) == sorted(expected)
    assert named(BODY, named(BODY, asked).items()) == expected


@pytest.mark.parametrize("asked", [("aliases.name", "drop"), ("name", "deny"), ("name", "obscure"), ("", "drop")])
def test_what_nobody_can_carry_out_is_refused(asked: tuple[str, str]) -> None:
    with pytest.raises(Unselectable):
        named(BODY, [("name", "drop"), asked])


def test_elements_of_other_shapes_are_only_elements() -> None:
    body = {"type": "x-custom", "kill_chain_phases": [[{}], "text", {"a": 1}]}
    assert named(body, [("kill_chain_phases.[0].[0]", "drop")]) == {"kill_chain_phases.[0]": "drop"}
    assert named(body, [("kill_chain_phases.[1]", "drop")]) == {"kill_chain_phases.[1]": "drop"}


def test_ten_thousand_selectors_take_well_under_a_second() -> None:
    size = 10_000
    references = [{"source_name": f"s{i}", "url": "https://a.example/"} for i in range(size)]
    body = {"type": "malware", "external_references": references, "aliases": [str(i) for i in range(size)]}
    asked = [(f"aliases.[{i}]", "drop") for i in range(size - 1)]
    asked += [(f"external_references.[{i}].source_name", "drop") for i in range(size)]
    started = time.perf_counter()
    found = named(body, asked)
    assert time.perf_counter() - started < 1
    assert len(found) == size
    assert found["external_references"] == "drop"
    assert "aliases" not in found
