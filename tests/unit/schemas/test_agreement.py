"""Agreements and the policy file: what is read, and what an error tells the operator."""

from __future__ import annotations

from datetime import date

import pytest

from schemas.agreement import Agreement, Policy, read_agreement, read_policy
from schemas.errors import Misconfigured

PARTNER = """\
[partner]
id = "horizon"
name = "Horizon Rights Network"
kind = "ngo"
jurisdiction = "XN"
controlled_by = []
starts = 2026-01-01
ends = 2027-01-01
"""
RECEIVES = """\
[receives]
tlp = "amber+strict"
pap = "amber"
onward = "none"
purposes = ["detect", "assist"]
categories = ["phishing", "spyware"]
max_age_days = 180
"""
CONTRIBUTES = """\
[contributes]
reliability = "B"
defaults = { tlp = "green", consent = "not-required" }
"""


def agreement(text: str) -> Agreement:
    return read_agreement(text, "horizon.toml")


def test_a_whole_agreement_is_read() -> None:
    read = agreement(PARTNER + RECEIVES + CONTRIBUTES + "[respond]\nack_hours = 12\nact_hours = 48\n")
    assert read.id == "horizon"
    assert read.receives is not None
    assert (read.receives.tlp, read.receives.types, read.receives.min_confidence) == ("amber+strict", ("*",), 0)
    assert read.contributes is not None
    assert (read.contributes.attribution, read.contributes.distribution) == ("may", "marks")
    assert (read.contributes.probation, read.contributes.strict, read.contributes.snapshot) == (False,) * 3
    assert read.respond is not None
    assert (read.respond.ack_hours, read.respond.act_hours) == (12, 48)


def test_what_is_absent_is_not_granted() -> None:
    read = agreement(PARTNER)
    assert read.receives is None
    assert read.contributes is None
    assert read.respond is None, "no times are agreed"


@pytest.mark.parametrize(
    ("day", "in_force"),
    [
        (date(2025, 12, 31), False),
        (date(2026, 1, 1), True),
        (date(2026, 12, 31), True),
        (date(2027, 1, 1), False),
    ],
)
def test_an_agreement_is_in_force_from_its_first_day_until_the_day_before_its_end(
    day: date, in_force: bool
) -> None:
    assert agreement(PARTNER).in_force(day) is in_force


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ('kind = "ngo"', 'kind = "army"', 4, "partner.kind"),
        ('id = "horizon"', 'id = "../etc"', 2, "partner.id"),
        ('id = "horizon"', 'id = "Horizon"', 2, "partner.id"),
        ('jurisdiction = "XN"', 'jurisdiction = "UK"', 5, "no country code"),
        ('jurisdiction = "XN"', 'jurisdiction = "xn"', 5, "no country code"),
        ("controlled_by = []\n", "", 1, "partner.controlled_by"),
        ("controlled_by = []", 'controlled_by = ["ZZ"]', 6, "partner.controlled_by"),
        ("ends = 2027-01-01", "ends = 2026-01-01", 1, "must be later"),
        ("max_age_days = 180", "max_age_days = 180\nmin_confidense = 50", 16, "receives.min_confidense"),
        ("ends = 2027-01-01", 'ends = "never"', 8, "partner.ends"),
        ('tlp = "amber+strict"', 'tlp = "AMBER+STRICT"', 10, "receives.tlp"),
        ('tlp = "amber+strict"', 'tlp = "white"', 10, "receives.tlp"),
        ('pap = "amber"', 'pap = "amber+strict"', 11, "receives.pap"),
        ('onward = "none"', 'onward = "all"', 12, "receives.onward"),
        ('"assist"]', '"attack"]', 13, "receives.purposes"),
        ('"spyware"]', '"malware"]', 14, "receives.categories"),
        ("max_age_days = 180", "max_age_days = -1", 15, "receives.max_age_days"),
        ("max_age_days = 180", "min_confidence = 101\nmax_age_days = 180", 15, "receives.min_confidence"),
        ('reliability = "B"', 'reliability = "G"', 17, "contributes.reliability"),
        ('tlp = "green",', 'tlp = "green", published = true,', 18, "published"),
        ('tlp = "green",', 'tlp = "green", confidence = 101,', 18, "confidence"),
        ('tlp = "green",', 'tlp = "green", suspects = 1,', 18, "suspects"),
        ('consent = "not-required"', 'consent = "yes"', 18, "consent"),
        ("[contributes]", "[contributions]", 16, "contributions"),
    ],
)
def test_an_error_names_file_line_and_key(old: str, new: str, line: int, what: str) -> None:
    text = PARTNER + RECEIVES + CONTRIBUTES
    assert text.count(old) == 1
    with pytest.raises(Misconfigured) as caught:
        agreement(text.replace(old, new))
    assert caught.value.where == f"horizon.toml:{line}"
    assert what in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            'kind = "ngo"',
            'kind = "army"',
            "partner.kind: 'army' is not one of 'platform', 'government', 'ngo', 'cert'",
        ),
        ("ends = 2027-01-01", "ends = 2026-01-01", "partner: `ends` must be later than `starts`"),
        ("ends = 2027-01-01", 'ends = "never"', "partner.ends: 'never' is no date"),
        ("controlled_by = []\n", "", "partner.controlled_by: is missing"),
        ("max_age_days = 180", "max_age_days = -1", "receives.max_age_days: -1 is less than 0"),
        ("max_age_days = 180", 'max_age_days = "x"', "receives.max_age_days: 'x' is no whole number"),
        ("[contributes]", "[contributions]", "contributions: there is no such key"),
        ("controlled_by = []", 'controlled_by = "XN"', "partner.controlled_by: 'XN' is no list"),
        ('"spyware"]', '"malware"]', "receives.categories.1: 'malware' is not one of 'shutdown'"),
    ],
)
def test_an_error_is_told_in_words_of_the_file(old: str, new: str, what: str) -> None:
    text = PARTNER + RECEIVES + CONTRIBUTES
    assert text.count(old) == 1
    with pytest.raises(Misconfigured) as caught:
        agreement(text.replace(old, new))
    assert caught.value.what.startswith(what)
    assert not any(word in caught.value.what for word in ("Input", "Value error", "literal["))


def test_published_needs_clear() -> None:
    defaults = 'defaults = { tlp = "clear", consent = "not-required", published = true }'
    text = PARTNER + CONTRIBUTES.replace('defaults = { tlp = "green", consent = "not-required" }', defaults)
    read = agreement(text)
    assert read.contributes is not None
    assert read.contributes.defaults.published is True


@pytest.mark.parametrize("text", ["", "x = 1", "[partner]", "[partner", "partner = 3", "[[partner]]\nid = 1"])
def test_what_is_no_agreement_says_so(text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        agreement(text)
    assert caught.value.where.startswith("horizon.toml")
    assert caught.value.hint


def test_further_errors_are_counted() -> None:
    with pytest.raises(Misconfigured, match="1 more"):
        agreement(PARTNER.replace('"ngo"', '"army"').replace('"XN"', '"UK"'))


def test_a_csv_mapping_is_read() -> None:
    mapping = '[contributes.csv]\nvalue = "IOC"\nkind = "domain"\ntlp = "Marking"\n'
    read = agreement(PARTNER + CONTRIBUTES + mapping)
    assert read.contributes is not None
    assert read.contributes.csv is not None
    assert (read.contributes.csv.value, read.contributes.csv.kind, read.contributes.csv.type) == (
        "IOC",
        "domain",
        None,
    )


def test_an_agreement_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        agreement(PARTNER).partner.kind = "government"


def test_the_policy_file_has_defaults() -> None:
    assert read_policy("", "policy.toml") == Policy()
    assert "spyware" in Policy().state_capable
    assert Policy().pacts == ()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('pacts = [["XA"]]', "pacts"),
        ('pacts = [["XA", "XB", "XC"]]', "pacts"),
        ('pacts = [["XA", "ZZ"]]', "pacts"),
        ('state_capable = ["weather"]', "state_capable"),
        ("statistics_k = 0", "statistics_k"),
        ("retention = 5", "retention"),
    ],
)
def test_an_error_in_the_policy_file_is_told(text: str, what: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        read_policy(text, "policy.toml")
    assert caught.value.where == "policy.toml:1"
    assert what in caught.value.what


def test_pacts_and_markings_are_read() -> None:
    text = 'pacts = [["XA", "XB"]]\n[markings]\n"00000000-0000-4000-8000-000000000001" = "amber"\n'
    policy = read_policy(text, "policy.toml")
    assert policy.pacts == (("XA", "XB"),)
    assert policy.markings == {"00000000-0000-4000-8000-000000000001": "amber"}
