"""What those hear who were sent an item that they may have no more: a withdrawal, or nothing (policy.md)."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.markings import Tlp, marking_id
from schemas.report import Report
from tests.unit.core_world import Core, report
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, world

GREEN, RED = (marking_id(Tlp.GREEN),), (marking_id(Tlp.RED),)
UNKNOWN = ("marking-definition--00000000-0000-4000-8000-000000000000",)
PHISHING = {"category": "phishing", "suspects": {}}
WORLD = world(
    agreement(
        "ministry", kind="government", jurisdiction="XA", min_confidence=50, categories=["phishing", "spyware"]
    ),
    agreement("alpha", receives=False, contributes={"defaults": {"consent": "not-required"}}),
)
EMBARGO = {"embargo": {"until": "2030-01-01T00:00:00Z"}}
SUSPECTED = {"suspects": {"XA": 50}}
GRANT = {"status": "granted", "kinds": ["government"]}

LOUD: dict[str, dict[str, Any]] = {
    "F01": {"markings": UNKNOWN},
    "F02": {"markings": RED},
    "F03 unknown": {"handling": {"consent": {"status": "unknown"}}},
    "F03 withdrawn": {"handling": {"consent": {"status": "withdrawn"}}},
    "F03 of another kind": {"handling": {"consent": GRANT | {"kinds": ["ngo"]}}},
    "F03 run out": {"handling": {"consent": GRANT | {"until": "2026-11-01T00:00:00Z"}}},
    "F07": {"revoked": True},
    "F08": {"handling": {"purposes": []}},
    "F10": {"handling": {"personal": {"description": "deny"}}},
}
SILENT: dict[str, dict[str, Any]] = {
    "F04": {"handling": SUSPECTED},
    "F05": {"handling": {"category": "spyware", "suspects": None}},
    "F06": {"handling": EMBARGO},
    "F12": {"confidence": 10},
    "P00": {"handling": {"category": "ddos"}},
}
SPEAKS_ALL_THE_SAME = {"F03 unknown", "F03 withdrawn", "F03 of another kind", "F03 run out", "F07"}


def word(seq: int, *changes: dict[str, Any]) -> tuple[str, Report]:
    """What alpha says, with one change after the other."""
    handling: dict[str, Any] = dict(PHISHING)
    fields: dict[str, Any] = {"markings": GREEN, "confidence": 90, "description": "d"}
    for change in changes:
        handling |= change.get("handling", {})
        fields |= {name: value for name, value in change.items() if name != "handling"}
    fields["handling"] = {name: value for name, value in handling.items() if value is not None}
    return "lure", report("lure", "alpha", seq, at_ms=NOW_MS + seq, **fields)


def heard(*changes: dict[str, Any]) -> Core:
    core = Core(WORLD)
    core.hear(word(1))
    assert core.holds("ministry")
    core.hear(word(2, *changes))
    assert not core.holds("ministry")
    return core


def told(core: Core) -> int:
    return len(core.holds("ministry", withdrawn=True))


@pytest.mark.parametrize("rule", LOUD)
def test_a_withdrawal(rule: str) -> None:
    core = heard(LOUD[rule])
    assert told(core) == 1
    core.hear(word(3, LOUD[rule]))
    core.pass_time(10 * DAY_MS)
    assert told(core) == 1


@pytest.mark.parametrize("rule", SILENT)
def test_silence(rule: str) -> None:
    core = heard(SILENT[rule])
    core.pass_time(10 * DAY_MS)
    assert not core.copies()


@pytest.mark.parametrize("silent", SILENT)
@pytest.mark.parametrize("loud", LOUD)
def test_silence_wins_but_over_lifecycle_and_consent(loud: str, silent: str) -> None:
    assert told(heard(LOUD[loud], SILENT[silent])) == (loud in SPEAKS_ALL_THE_SAME)


@pytest.mark.parametrize("silent", SILENT)
def test_who_fell_silent_is_told_when_it_ends(silent: str) -> None:
    core = heard(SILENT[silent])
    core.hear(word(3, SILENT[silent], {"revoked": True}))
    assert told(core) == 1


@pytest.mark.parametrize("silent", SILENT)
def test_what_comes_back_after_silence_has_its_id(silent: str) -> None:
    core = heard(SILENT[silent])
    before = Core(WORLD)
    before.hear(word(1))
    core.hear(word(3))
    assert core.holds("ministry").keys() == before.holds("ministry").keys()


def test_age_is_silent() -> None:
    core = Core(
        world(
            agreement("recent", max_age_days=30),
            agreement("alpha", receives=False, contributes={"defaults": {"consent": "not-required"}}),
        )
    )
    core.hear(word(1))
    assert core.holds("recent")
    core.pass_time(40 * DAY_MS)
    assert not core.copies()


def test_an_end_that_is_lost_is_silent() -> None:
    core = Core(WORLD)
    ends = [("source_ref", "lure"), ("target_ref", "other")]
    other = report("other", "alpha", 1, markings=GREEN, handling=PHISHING, confidence=90)
    link = report(
        "link",
        "alpha",
        1,
        type="relationship",
        relationship_type="related-to",
        references=ends,
        markings=GREEN,
        handling=PHISHING,
        confidence=90,
    )
    core.hear(word(1), ("other", other), ("link", link))
    assert len(core.holds("ministry")) == 3
    core.hear(word(2, SILENT["F04"]))
    assert [body["type"] for body in core.holds("ministry").values()] == ["indicator"]
    assert not core.holds("ministry", withdrawn=True)


# --- what is told later -------------------------------------------------------------------------------------------

HARMLESS = ("F06", "F12", "P00")
"""Silent rules that name no suspect."""
NAMING = ("F04", "F05")
LATER_LOUD = sorted(LOUD.keys() - SPEAKS_ALL_THE_SAME)


@pytest.mark.parametrize("silent", HARMLESS)
@pytest.mark.parametrize("loud", LATER_LOUD)
def test_what_is_withdrawn_in_silence_is_told_when_only_what_withdraws_it_is_left(loud: str, silent: str) -> None:
    core = heard(LOUD[loud], SILENT[silent])
    assert not told(core)
    core.hear(word(3, LOUD[loud]))
    assert told(core) == 1
    core.hear(word(4, LOUD[loud]))
    core.pass_time(DAY_MS)
    assert told(core) == 1


def test_the_end_of_an_embargo_tells_what_was_withdrawn_under_it() -> None:
    core = heard(LOUD["F02"], {"handling": {"embargo": {"until": "2026-12-01T00:00:00Z"}}})
    core.pass_time(DAY_MS)
    assert not told(core)
    core.pass_time(30 * DAY_MS)
    assert told(core) == 1


@pytest.mark.parametrize("loud", LATER_LOUD)
@pytest.mark.parametrize("silent", NAMING)
def test_who_was_suspected_can_not_tell_that_it_is_no_more(silent: str, loud: str) -> None:
    """It sees the same whether the suspicion ended or not, and whatever else kept silence before or after."""
    others = [SILENT["F06"], SILENT["F12"]]
    for before, after in ((others, []), ([], others), ([], [])):
        core = heard(LOUD[loud], *before, SILENT[silent])
        core.hear(word(3, LOUD[loud], *after))
        core.hear(word(4, LOUD[loud]))
        core.pass_time(10 * DAY_MS)
        assert not core.holds("ministry", withdrawn=True)
    core.hear(word(5, {"revoked": True}))
    assert told(core) == 1, "its end is told to everybody"


def test_who_is_suspected_while_something_else_keeps_silence_is_not_told_later() -> None:
    core = heard(SILENT["F06"])
    core.hear(word(3, SILENT["F06"], SILENT["F04"]))
    core.hear(word(4, LOUD["F02"]))
    assert not told(core)


def test_who_was_sent_it_anew_after_a_suspicion_is_told_as_everybody() -> None:
    core = heard(SILENT["F04"])
    core.hear(word(3))
    assert core.holds("ministry")
    core.hear(word(4, LOUD["F02"], SILENT["F06"]))
    core.hear(word(5, LOUD["F02"]))
    assert told(core) == 1


def test_what_was_lost_with_its_end_is_not_told_when_the_end_is_back() -> None:
    """The end could have gone because of a suspicion."""
    core = Core(WORLD)
    common: dict[str, Any] = {"handling": PHISHING, "confidence": 90}
    link: dict[str, Any] = {"type": "relationship", "relationship_type": "related-to"}
    ends = [("source_ref", "lure"), ("target_ref", "other")]
    core.hear(word(1), ("other", report("other", "alpha", 1, markings=GREEN, **common)))
    core.hear(("link", report("link", "alpha", 1, references=ends, markings=GREEN, **link, **common)))
    core.hear(word(2, SILENT["F04"]))
    core.hear(("link", report("link", "alpha", 2, references=ends, markings=RED, **link, **common)))
    core.hear(word(3))
    assert [body["type"] for body in core.holds("ministry").values()] == ["indicator", "indicator"]
    assert not told(core)
