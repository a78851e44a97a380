"""What staff release of a source on probation, through the core: what they saw, and nothing else."""

from __future__ import annotations

from typing import Any

from schemas.decision import Decision
from schemas.reference import Letter
from services.govern.compile import Compiled
from tests.unit.core_world import WINDOW_MS, Core, key, report
from tests.unit.govern.world import NOW_MS, agreement, world

GREEN = ("marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",)


def rules(**partner: Any) -> Compiled:
    terms = {"probation": True, "defaults": {"consent": "not-required"}}
    return world(agreement("high"), agreement("new", receives=False, contributes=terms, **partner))


def said(core: Core, seq: int, at_ms: int = NOW_MS - 1000, **fields: Any) -> None:
    core.hear(("lure", report("lure", "new", seq, at_ms=at_ms, markings=GREEN, **fields)))


def decision(core: Core) -> Decision:
    return Decision.from_bytes(core.decisions[key("lure")])


def release(core: Core, word: str) -> None:
    letter = Letter(to=key("lure").hex(), of="", release="new", word=word)
    core.work([(key("lure"), letter.to_bytes())])


def test_what_staff_saw_is_released() -> None:
    core = Core(rules())
    said(core, 1)
    seen = decision(core)
    assert (seen.probation, list(seen.words), core.holds("high")) == (("new",), ["new"], {})
    release(core, seen.words["new"])
    assert len(core.holds("high")) == 1
    assert (decision(core).probation, decision(core).words) == ((), {})


def test_what_changed_between_look_and_release_waits_in_a_version_of_its_own() -> None:
    core = Core(rules())
    said(core, 1)
    seen = decision(core)
    # at once, since its terms are others; everybody is denied it as before
    said(core, 2, NOW_MS, description="another", confidence=10)
    shown = decision(core)
    assert (shown.counter, shown.probation) == (seen.counter + 1, ("new",))
    assert shown.words != seen.words
    for stale in (seen.words["new"], "", "0" * 32):
        release(core, stale)
        assert core.holds("high") == {}
    release(core, shown.words["new"])
    assert [body["description"] for body in core.holds("high").values()] == ["another"]


def test_what_waits_for_its_window_is_not_released_with_what_was_seen() -> None:
    core = Core(rules())
    said(core, 1, name="before")
    seen = decision(core)
    said(core, 2, NOW_MS, name="after")
    assert decision(core).words == seen.words, "it is not shown yet"
    release(core, seen.words["new"])
    assert [body["name"] for body in core.holds("high").values()] == ["before"]
    core.pass_time(2 * WINDOW_MS)
    assert core.holds("high") == {}
    assert decision(core).words.keys() == {"new"} and decision(core).words != seen.words


def test_the_same_word_once_more_makes_no_new_version() -> None:
    core = Core(rules())
    said(core, 1)
    seen = decision(core)
    said(core, 2)
    assert decision(core) == seen


def test_under_an_agreement_that_is_not_in_force_nothing_is_released() -> None:
    core = Core(rules(ends="2026-11-01"))
    said(core, 1)
    release(core, decision(core).words["new"])
    assert core.holds("high") == {}
    assert decision(core).probation == ("new",), "it waits for an agreement in force"
