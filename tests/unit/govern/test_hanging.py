"""What refers to others goes only where something stands by itself in the end: nothing keeps itself alive."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

import pytest

from schemas.bits import Bits
from schemas.markings import Tlp, marking_id
from schemas.reference import Seen, Standing
from schemas.report import Report
from services.govern import references
from services.govern.references import MAX_STEPS
from tests.unit.core_world import WINDOW_MS, Core, report
from tests.unit.govern.world import NOW_MS, agreement, world

CLEAR, AMBER = (marking_id(Tlp.CLEAR),), (marking_id(Tlp.AMBER),)
TERMS = {"defaults": {"consent": "not-required"}}
WORLD = world(
    agreement("low", tlp="clear"),
    agreement("high", tlp="amber"),
    *(agreement(name, receives=False, contributes=TERMS) for name in ("alpha", "beta")),
)
STORY: dict[str, Any] = {"type": "report", "published": "2026-01-01T00:00:00Z"}
NOTE: dict[str, Any] = {"type": "note", "content": "A note."}
GROUP: dict[str, Any] = {"type": "grouping", "context": "suspicious-activity"}

Word = tuple[str, Report]


def said(name: str, source: str = "alpha", seq: int = 1, /, **fields: Any) -> Word:
    type_ = fields.get("type", "indicator")
    value = {"value": f"{name}.{name}.example"} if type_ == "indicator" else {}
    return name, report(name, source, seq, **({"markings": CLEAR, **value} | fields))


def lists(fields: dict[str, Any], name: str, *ends: str, seq: int = 1, source: str = "alpha", **more: Any) -> Word:
    return said(name, source, seq, references=[("object_refs", end) for end in ends], **fields, **more)


def link(name: str, source: str, target: str, seq: int = 1) -> Word:
    ends = [("source_ref", source), ("target_ref", target)]
    return said(name, "alpha", seq, type="relationship", relationship_type="related-to", references=ends)


def types(core: Core, partner: str = "low") -> list[str]:
    return sorted(body["type"] for body in core.holds(partner).values())


def revoked(name: str) -> Word:
    return said(name, "alpha", 9, revoked=True, at_ms=NOW_MS)


ROUND: dict[str, list[Word]] = {
    "report and note": [lists(STORY, "x", "y", "lure"), lists(NOTE, "y", "x")],
    "report, note and grouping": [lists(STORY, "x", "y"), lists(NOTE, "y", "z"), lists(GROUP, "z", "x", "lure")],
    "report and relationship": [lists(STORY, "x", "y", "lure"), link("y", "x", "other")],
    "two reports": [lists(STORY, "x", "y", "lure"), lists(STORY, "y", "x")],
    "two sightings": [
        said("x", type="sighting", references=[("sighting_of_ref", "y"), ("sighting_of_ref", "lure")]),
        said("y", type="sighting", references=[("sighting_of_ref", "x")]),
    ],
}


@pytest.mark.parametrize("words", ROUND.values(), ids=ROUND)
def test_what_hangs_only_on_one_another_falls(words: list[Word]) -> None:
    core = Core(WORLD)
    core.hear(said("lure"), said("other"), *words)
    assert len(types(core)) == 2 + len(words)
    core.hear(revoked("lure"))
    assert types(core) == ["indicator"]
    assert [body["type"] for body in core.holds("low", withdrawn=True).values()] == ["indicator"]
    core.hear(said("lure", "alpha", 10, at_ms=NOW_MS + 1))
    assert len(types(core)) == 2 + len(words), "it is back with that on which it hung"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_makes_no_difference(order: tuple[int, ...]) -> None:
    words = [said("lure"), *ROUND["report and note"]]
    core, again = Core(WORLD), Core(WORLD)
    for place in order:
        core.hear(words[place])
    again.hear(*words)
    assert core.view("low") == again.view("low")
    assert len(types(core)) == 3
    core.hear(*words)
    assert core.view("low") == again.view("low")


@pytest.mark.parametrize("name", ["lure", "other"])
def test_what_hangs_on_something_stays_when_another_goes(name: str) -> None:
    core = Core(WORLD)
    core.hear(said("lure"), said("other"), lists(STORY, "x", "y", "lure"), lists(NOTE, "y", "x", "other"))
    core.hear(revoked(name))
    assert types(core) == ["indicator", "note", "report"]


def test_a_report_of_reports_goes_where_something_is_in_them() -> None:
    core = Core(WORLD)
    names = ["lure", *(f"r{n}" for n in range(MAX_STEPS + 2))]
    core.hear(said("lure"), *(lists(STORY, name, end) for end, name in pairwise(names)))
    assert len(core.of_type("low", "report")) == MAX_STEPS, "further up nothing is told apart from a round"
    core.hear(revoked("lure"))
    assert types(core) == []


def test_a_word_that_is_hidden_lets_nothing_stand() -> None:
    whole, bare = Core(WORLD), Core(WORLD)
    for core in (whole, bare):
        core.hear(said("lure"), said("other", markings=AMBER), *ROUND["report and note"])
        if core is whole:
            core.hear(lists(STORY, "x", "other", source="beta", markings=AMBER))
        core.hear(revoked("lure"))
        core.pass_time(WINDOW_MS)
    assert whole.view("low") == bare.view("low")
    assert types(whole, "low") == []
    assert types(whole, "high") == ["indicator", "note", "report"]


def test_what_refers_to_many_falls_too() -> None:
    core = Core(WORLD)
    names = [f"i{n}" for n in range(references.MANY + 5)]
    core.hear(*map(said, names), lists(STORY, "x", "y", *names), lists(NOTE, "y", "x"))
    core.pass_time(WINDOW_MS)
    assert len(types(core)) == len(names) + 2
    core.hear(*map(revoked, names))
    core.pass_time(WINDOW_MS)
    assert types(core) == []


# --- by steps -----------------------------------------------------------------------------------------------------


def standing(to: str, *hanging: str) -> Standing:
    return Standing(epoch=1, counter=1, copies=(Seen(to=to, id="report--1"),), hanging=hanging)


def test_each_step_is_one_more_than_the_nearest_that_can_not_be_done_without() -> None:
    ends = {"a": standing("f"), "b": standing("f", "f", "3"), "c": standing("7", "7", "7", "1")}
    some = [("object_refs", "b"), ("object_refs", "c")]
    assert references.ends_of("report", some, ends, Bits(15), "own").near == (0, 12, 15, 15)
    both = [("source_ref", "b"), ("target_ref", "c")]
    assert references.ends_of("relationship", both, ends, Bits(15), "own").near == (0, 0, 6, 7)
    assert references.ends_of("note", [("object_refs", "a")], ends, Bits(15), "own").near == (15,)
    assert references.hanging_by(Bits(15), (0, 0, 6, 7)) == ("f", "f", "f", "9", "8")


def test_what_hangs_by_all_steps_counts_for_nothing() -> None:
    ends = {"a": standing("3", *["1"] * MAX_STEPS)}
    found = references.ends_of("report", [("object_refs", "a")], ends, Bits(3), "own")
    assert (found.required, found.near[0], len(found.near)) == (2, 2, MAX_STEPS)
    assert len(references.hanging_by(Bits(3), found.near)) == MAX_STEPS


def test_of_several_words_each_gives_those_whom_it_lets_have_it() -> None:
    near = references.nearest([(Bits(1), (Bits(0), Bits(3))), (Bits(2), (Bits(3),))])
    assert near == [2, 3]


def test_who_hangs_on_less_by_the_next_window_hangs_on_as_much_before() -> None:
    before, after = standing("3", "3", "1"), standing("7", "7")
    now = references.kept(before, after)
    assert (now.copies[0].to, now.hanging) == ("3", ("7", "1"))
    assert references.kept(after, before) == before
