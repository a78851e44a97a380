"""Families, vendors and techniques in a source's words: what counts, and what prose must not match."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import Misconfigured
from services.enrich.category import category_of
from services.enrich.families import (
    MAX_TEXT_CHARS,
    Families,
    find,
    read_attack,
    read_galaxy,
    read_vendors,
    vocabulary,
)

SOURCE = "https://reports.example/1"
VENDORS: dict[str, Any] = {
    "vendor": [
        {
            "name": "Grey Heron Group",
            "names": ["GreyHeron Ltd"],
            "states": ["XA"],
            "source": SOURCE,
            "family": [{"name": "Otter", "names": ["OtterMobile"], "ordinary": ["Otter"], "source": SOURCE}],
        },
        {
            "name": "Wren",
            "ordinary": ["Wren"],
            "states": ["XC", "XB"],
            "source": SOURCE,
            "family": [{"name": "Agent", "source": SOURCE}],
        },
        {"name": "UnlockWorks", "states": ["XD"], "category": "device-seizure", "source": SOURCE},
    ],
    "family": [{"name": "NightJar2", "source": SOURCE}],
}
GALAXY = {
    "type": "stalkerware",
    "values": [
        {"value": "WatchNest", "meta": {"synonyms": ["Nest Watch Pro", "Android"]}},
        {"value": "Falcon"},
    ],
}
ATTACK = {
    "objects": [
        {
            "type": "attack-pattern",
            "name": "Audio Capture",
            "external_references": [{"source_name": "mitre-attack", "external_id": "T1429"}],
        },
        {
            "type": "attack-pattern",
            "name": "Old One",
            "revoked": True,
            "external_references": [{"source_name": "mitre-attack", "external_id": "T1000"}],
        },
        {"type": "malware", "name": "CarbonWren", "x_mitre_aliases": ["CarbonWren", "Sooty Wren"]},
    ]
}
WORDS = vocabulary([read_vendors(VENDORS, "v"), read_galaxy(GALAXY, "g"), read_attack(ATTACK, "a")])


@pytest.mark.parametrize(
    ("texts", "families", "vendors", "techniques"),
    [
        ([], [], [], []),
        (["nothing of the kind"], [], [], []),
        # distinct names, anywhere, however they are written
        (["seen with NightJar2 in June"], ["NightJar2"], [], []),
        (["grey-heron_group tooling"], [], ["Grey Heron Group"], []),
        (["greyherongroup"], [], ["Grey Heron Group"], []),
        (["IOCs of the Sooty Wren implant"], ["CarbonWren"], [], []),
        (["Nest Watch Pro installer"], ["WatchNest"], [], []),
        # ordinary words: alone, beside a word for malware, or beside their vendor
        (["Otter"], ["Otter"], ["Grey Heron Group"], []),
        (["an otter was seen"], [], [], []),
        (["the Otter spyware was seen"], ["Otter"], ["Grey Heron Group"], []),
        (["spyware: Otter"], ["Otter"], ["Grey Heron Group"], []),
        (["GreyHeron Ltd sells it as Otter"], ["Otter"], ["Grey Heron Group"], []),
        (["UnlockWorks, and not the Otter"], ["Otter"], ["Grey Heron Group", "UnlockWorks"], []),  # any vendor
        (["UnlockWorks saw a falcon"], [], ["UnlockWorks"], []),  # which no vendor sells
        (["falcon nests"], [], [], []),
        (["Falcon stalkerware"], ["Falcon"], [], []),
        (["a wren sang"], [], [], []),
        # words that name nothing, not even alone
        (["Agent"], [], [], []),
        (["Android malware"], [], [], []),
        # the longest first: no `Wren` within
        (["Sooty Wren malware"], ["CarbonWren"], [], []),
        # techniques by id and by name
        (["T1429 and T1660.001; not T14290, XT1429 or t1429"], [], [], ["T1429", "T1660.001"]),
        (['misp-galaxy:mitre-attack-pattern="Audio Capture - T1429"'], [], [], ["T1429"]),
        (["does audio capture"], [], [], ["T1429"]),
        (["Old One"], [], [], []),
        # parts of words are not names
        (["NightJar2x", "xOtterMobile"], [], [], []),
    ],
)
def test_what_is_named(texts: list[str], families: list[str], vendors: list[str], techniques: list[str]) -> None:
    found = find(WORDS, texts)
    assert (list(found.families), list(found.vendors), list(found.techniques)) == (families, vendors, techniques)


def test_states_are_those_of_the_vendor() -> None:
    assert find(WORDS, ["Wren spyware"]).states == ("XB", "XC")
    assert find(WORDS, ["NightJar2"]).states == ()


def test_only_the_beginning_of_long_texts_is_read() -> None:
    filler = "x " * (MAX_TEXT_CHARS // 2)
    assert find(WORDS, [filler, "NightJar2"]) == Families()
    assert find(WORDS, ["NightJar2", filler]).families == ("NightJar2",)


@pytest.mark.parametrize(
    ("labels", "texts", "expected"),
    [
        ([], ["Otter spyware"], "spyware"),
        (["phishing"], ["WatchNest"], "spyware"),
        ([], ["UnlockWorks"], "device-seizure"),
        (["spyware"], ["UnlockWorks"], "spyware"),
        (["phishing"], ["CarbonWren"], "phishing"),
        ([], ["CarbonWren"], ""),
    ],
)
def test_category_by_families(labels: list[str], texts: list[str], expected: str) -> None:
    assert category_of(labels, find(WORDS, texts)) == expected


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"vendor": {}}, "vendor: write [[vendor]]"),
        ({"vendor": [{"source": SOURCE}]}, "vendor 1: name"),
        ({"vendor": [{"name": "A"}]}, "vendor 1: source"),
        ({"vendor": [{"name": "A", "source": "http://reports.example"}]}, "vendor 1: source"),
        ({"vendor": [{"name": "A", "source": SOURCE, "states": ["xa"]}]}, "vendor 1: states"),
        ({"vendor": [{"name": "A", "source": SOURCE, "states": "XA"}]}, "vendor 1: states"),
        ({"vendor": [{"name": "A", "source": SOURCE, "ordinary": "A"}]}, "vendor 1: ordinary"),
        ({"vendor": [{"name": "A", "source": SOURCE, "category": "bad"}]}, "vendor 1: category"),
        ({"vendor": [{"name": "A", "source": SOURCE, "family": [{"name": "B"}]}]}, "vendor 1 family 1: source"),
    ],
)
def test_wrong_vendors_are_refused_with_table_and_key(document: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        read_vendors(document, "vendors.toml")
    assert said in caught.value.what and caught.value.where == "vendors.toml"


@pytest.mark.parametrize("document", [[], {}, {"values": [1]}, {"values": [{"value": 1}]}, {"values": {}}])
def test_a_wrong_galaxy_is_refused(document: Any) -> None:
    with pytest.raises(Misconfigured):
        read_galaxy(document, "g.json")
