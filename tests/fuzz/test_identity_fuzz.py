"""A while of random trouble for the identity of indicators; `python -m tests.fuzz SECONDS` makes more of it."""

from __future__ import annotations

import pytest

from tests.fuzz.identity import TARGETS, Finding, Target, check_value, fuzz
from tests.fuzz.mutation import shortened

SECONDS = 6.0
SEED = 20_261_123  # the same in every run, so that only a change to the code can fail it

GROUPS = {
    "patterns": tuple(target for target in TARGETS if target.name == "pattern"),
    "values": tuple(target for target in TARGETS if " " not in target.name and target.name != "pattern"),
    "paths and types": tuple(target for target in TARGETS if " " in target.name),
}


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_is_found(group: str) -> None:
    *found, tried = fuzz(GROUPS[group], SECONDS, SEED)
    findings = [str(each) for each in found if isinstance(each, Finding)]
    assert not findings, "\n".join(findings)
    assert isinstance(tried, int)
    assert tried > 100


def test_what_is_wrong_would_be_found() -> None:
    from schemas.fingerprint import Ioc

    broken = Target("broken", lambda text: check_value(lambda raw: Ioc("file-name", raw.lower()), text), ("Evil",))
    found = [each for each in fuzz((broken,), 0.5, 1) if isinstance(each, Finding)]
    assert found
    assert any("blanks around it count" in each.what for each in found)


def test_a_finding_is_made_short() -> None:
    assert shortened("some Xtext", lambda text: "X" in text) == "X"
