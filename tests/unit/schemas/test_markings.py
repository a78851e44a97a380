"""Markings are known by pinned id; the strictest wins; what is not known stays unresolved."""

from __future__ import annotations

import time

import pytest

from schemas import markings
from schemas.markings import PREFIX, Pap, Resolved, Tlp, from_cell, from_misp_distribution, from_tag, resolve

CLEAR = PREFIX + "94868c89-83c2-464b-929b-a1a8aa3c8487"
GREEN = PREFIX + "bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
AMBER = PREFIX + "55d920b0-5e8b-4f79-9ee9-91f868d9b421"
AMBER_STRICT = PREFIX + "939a9414-2ddd-4d32-a0cd-375ea402b003"
RED = PREFIX + "e828b379-4e03-4974-9ac4-e53a884c97c1"
WHITE_1 = PREFIX + "613f2e26-407d-48c7-9eca-b8e91df99dc9"
AMBER_1 = PREFIX + "f88d31f6-486f-44da-b317-01333bde0b82"
RED_1 = PREFIX + "5e57c739-391a-4eb3-b6be-7d15ca92d5ed"
PAP_GREEN = PREFIX + "66ee1b7d-0097-4e5d-a561-22ee53b9c77f"
PAP_RED = PREFIX + "95048e7c-b1bb-4d67-ad78-980513895578"
MITRE = PREFIX + "fa42a846-8d90-4e51-bc29-71d5b4802168"
OPENCTI = PREFIX + "826578e1-40ad-459f-bc73-ede076f81f37"
NOBODYS = PREFIX + "11111111-2222-4333-8444-555555555555"


def test_levels_are_ordered_by_strictness_and_all_are_truthy() -> None:
    assert Tlp.CLEAR < Tlp.GREEN < Tlp.AMBER < Tlp.AMBER_STRICT < Tlp.RED
    assert Pap.CLEAR < Pap.GREEN < Pap.AMBER < Pap.RED
    assert all([*Tlp, *Pap])
    assert [level.label for level in Tlp] == ["clear", "green", "amber", "amber+strict", "red"]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], Resolved(None, None, (), ())),
        ([CLEAR], Resolved(Tlp.CLEAR, None, (), ())),
        ([GREEN, RED, AMBER], Resolved(Tlp.RED, None, (), ())),
        ([AMBER, AMBER_STRICT], Resolved(Tlp.AMBER_STRICT, None, (), ())),
        ([WHITE_1], Resolved(Tlp.CLEAR, None, (), ())),
        ([AMBER_1, GREEN], Resolved(Tlp.AMBER, None, (), ())),
        ([RED_1, CLEAR], Resolved(Tlp.RED, None, (), ())),
        ([PAP_GREEN], Resolved(None, Pap.GREEN, (), ())),
        ([PAP_RED, GREEN, PAP_GREEN], Resolved(Tlp.GREEN, Pap.RED, (), ())),
        ([MITRE], Resolved(None, None, (MITRE,), ())),
        ([OPENCTI], Resolved(Tlp.AMBER_STRICT, None, (), ())),
        ([CLEAR, NOBODYS], Resolved(Tlp.CLEAR, None, (), (NOBODYS,))),
        ([""], Resolved(None, None, (), ("",))),
        ([PREFIX + RED.removeprefix(PREFIX).upper()], Resolved(Tlp.RED, None, (), ())),
        (
            [PREFIX + MITRE.removeprefix(PREFIX).upper(), AMBER.upper()],
            Resolved(Tlp.AMBER, None, (PREFIX + MITRE.removeprefix(PREFIX).upper(),), ()),
        ),
    ],
)
def test_resolve(ids: list[str], expected: Resolved) -> None:
    assert resolve(ids) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("green", Resolved(Tlp.GREEN, None, (), ())),
        ("tlp:AMBER+STRICT", Resolved(Tlp.AMBER_STRICT, None, (), ())),
        ("pap:amber", Resolved(None, Pap.AMBER, (), ())),
        ("statement", Resolved(None, None, (NOBODYS,), ())),
        ("grene", Resolved(None, None, (), (NOBODYS,))),
    ],
)
@pytest.mark.parametrize("key", [NOBODYS, NOBODYS.removeprefix(PREFIX)])
def test_the_policy_names_further_markings(key: str, word: str, expected: Resolved) -> None:
    assert resolve([NOBODYS], {key: word}) == expected


def test_the_policy_can_not_change_a_pinned_marking() -> None:
    assert resolve([RED], {RED: "clear"}).tlp is Tlp.RED


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("tlp:white", CLEAR),
        ("TLP:CLEAR", CLEAR),
        ("tlp:green", GREEN),
        ("Tlp:Amber", AMBER),
        ("tlp:amber+strict", AMBER_STRICT),
        (" TLP : RED ", RED),
        ("\uff34\uff2c\uff30:RED", RED),
        ("tlp\u200b:red", RED),
        ("tlp\ufe0f:red", RED),
        ("t\u034flp:re\u0301d", RED),
        ("tlp\u20dd:red", RED),
        ("tlp\n:\tred", RED),
        ("\u2800tlp:red\u3164", RED),
        ("PAP:GREEN", PAP_GREEN),
        ("pap:red", PAP_RED),
        ("tlp", None),
        ("tlpx:red", None),
        ("httlp:red", None),
        ("papaya", None),
        ("map: red", None),
        ("paper-clip", None),
        ("clear green red", None),
        ("misp-galaxy:threat-actor='Made Up'", None),
        ("", None),
    ],
)
def test_tags(tag: str, expected: str | None) -> None:
    assert from_tag(tag) == expected


@pytest.mark.parametrize(
    "tag",
    [
        "tlp:ex:chr",
        "TLP:",
        "tlp:amber-strict",
        "PAP:AMBER+STRICT",
        "tlp:redd",
        "[TLP:RED]",
        "TLP=RED",
        "TLP-RED",
        "TLP_RED",
        "TLP RED",
        "TLP.RED",
        "TLP\u2013RED",
        "TLPRED",
        "foo|tlp:red",
        "foo\ntlp:red",
        "foo\u200btlp:red",
        "misp:tlp:red",
        "#tlp:red",
        "tlp:red tlp:amber",
        "phishing tlp:red",
        "not tlp:clear",
        "TLP:CLEAR?",
        "my PAP : mauve",
    ],
)
def test_an_unknown_level_is_a_marking_that_nothing_resolves(tag: str) -> None:
    unknown = from_tag(tag)
    assert unknown is not None
    assert unknown.startswith(PREFIX)
    assert unknown == from_tag(tag.upper())
    assert resolve([unknown]).unresolved == (unknown,)


@pytest.mark.parametrize(
    ("text", "speaks", "names"),
    [
        ("seen on a mailing list", False, False),
        ("do not share: TLP:RED", True, True),
        ("tlp: see the header", True, False),
        ("tlp\u200b\u200b (amber)", True, True),
        ("tlp_level", True, False),
        ("TLP", False, False),
    ],
)
def test_what_speaks_of_markings(text: str, speaks: bool, names: bool) -> None:
    assert (markings.speaks_of_markings(text), markings.names_level(text)) == (speaks, names)


@pytest.mark.parametrize("part", ["tlp ", "t\0", "tlp\u200b", "\ufdfa", "a\u0301", "tlp\u0301 ", "pap-"])
def test_reading_a_tag_takes_linear_time(part: str) -> None:
    began = time.perf_counter()
    from_tag("-".join([part * 100_000, "tlp"]))
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("scheme", "cell", "expected"),
    [("tlp", "Amber", AMBER), ("tlp", "TLP:RED", RED), ("tlp", "  ", None), ("pap", "red", PAP_RED)],
)
def test_cells(scheme: str, cell: str, expected: str | None) -> None:
    assert from_cell(scheme, cell) == expected


@pytest.mark.parametrize("cell", ["tlp", "tlp red", "pap:red", "?"])
def test_a_cell_that_names_no_level_denies(cell: str) -> None:
    unknown = from_cell("tlp", cell)
    assert unknown is not None
    assert resolve([unknown]).unresolved


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (0, AMBER_STRICT),
        ("0", AMBER_STRICT),
        (4, AMBER_STRICT),
        ("4", AMBER_STRICT),
        (1, None),
        ("2", None),
        (3, None),
        ("5", None),
        ("", AMBER_STRICT),
        (17, AMBER_STRICT),
    ],
)
def test_misp_distribution(distribution: str | int, expected: str | None) -> None:
    assert from_misp_distribution(distribution) == expected


def test_definition_of_tlp_is_that_of_the_oasis_extension() -> None:
    assert markings.definition(Tlp.AMBER_STRICT) == {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": AMBER_STRICT,
        "created": "2022-10-01T00:00:00.000Z",
        "name": "TLP:AMBER+STRICT",
        "extensions": {
            "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d": {
                "extension_type": "property-extension",
                "tlp_2_0": "amber+strict",
            }
        },
    }


@pytest.mark.parametrize("level", [*Tlp, *Pap])
def test_definitions_are_valid_stix_and_resolve_to_their_level(level: markings.Level) -> None:
    stix2 = pytest.importorskip("stix2")
    body = markings.definition(level)
    assert stix2.parse(body, allow_custom=True)["name"] == body["name"]
    resolved = resolve([body["id"]])
    assert (resolved.tlp if isinstance(level, Tlp) else resolved.pap) is level
    body["name"] = "changed"
    assert markings.definition(level)["name"] != "changed"
