"""What left a recipient's feed in silence is not told by a new version of what referred to it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.markings import Tlp, marking_id
from schemas.reference import Letter, Seen, Standing
from schemas.report import Report
from services.govern import campaign, references
from services.govern.references import leaving
from tests.unit.core_world import WINDOW_MS, Core, key, report
from tests.unit.govern.random_graphs import items_of
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, world

GREEN, RED = (marking_id(Tlp.GREEN),), (marking_id(Tlp.RED),)
TERMS = {"defaults": {"consent": "not-required"}}
WORLD = world(
    agreement("state", kind="government", jurisdiction="XA", tlp="green", max_age_days=30),
    agreement("ngo", tlp="green"),
    *(agreement(name, receives=False, contributes=TERMS) for name in ("alpha", "beta")),
)
PLAIN: dict[str, Any] = {"category": "phishing", "suspects": {}}
SUSPECTED: dict[str, Any] = {**PLAIN, "suspects": {"XA": 50}}
STORY: dict[str, Any] = {"type": "report", "published": "2026-01-01T00:00:00Z"}
NOTE: dict[str, Any] = {"type": "note", "content": "A note."}

Word = tuple[str, Report]


def said(name: str, source: str = "alpha", seq: int = 1, /, **fields: Any) -> Word:
    type_ = fields.get("type", "indicator")
    value = {"value": f"{name}.{name}.example"} if type_ == "indicator" else {}
    return name, report(name, source, seq, **({"markings": GREEN, "handling": PLAIN, **value} | fields))


def lists(name: str, *ends: str, seq: int = 1, source: str = "alpha", **fields: Any) -> Word:
    of_type = fields if "type" in fields else STORY | fields
    return said(name, source, seq, references=[("object_refs", end) for end in ends], **of_type)


def link(name: str, source: str, target: str, seq: int = 1, **fields: Any) -> Word:
    ends = [("source_ref", source), ("target_ref", target)]
    return said(name, "alpha", seq, type="relationship", relationship_type="related-to", references=ends, **fields)


def kit(seq: int = 1, **fields: Any) -> Word:
    return said("kit", "alpha", seq, type="malware", name="Kit", is_family=True, **fields)


def suspected(name: str, seq: int = 2, **fields: Any) -> Word:
    return said(name, "alpha", seq, handling=SUSPECTED, **fields)


def entries(core: Core, partner: str, stix_type: str = "report") -> list[int]:
    """How many objects each of a partner's reports refers to."""
    return sorted(len(body["object_refs"]) for body in core.of_type(partner, stix_type))


def heard(*words: Word) -> Core:
    core = Core(WORLD)
    for word in words:
        core.hear(word)
    return core


@pytest.mark.parametrize(
    "fields", [STORY, {"type": "grouping", "context": "suspicious-activity"}, NOTE], ids=lambda f: f["type"]
)
def test_what_lists_it_leaves_with_it(fields: dict[str, Any]) -> None:
    core = heard(said("a"), said("b"), lists("story", "a", "b", **fields))
    assert entries(core, "state", fields["type"]) == [2]
    core.hear(suspected("a"))
    assert not core.of_type("state", fields["type"])
    assert not core.holds("state", withdrawn=True)
    assert entries(core, "ngo", fields["type"]) == [2], "it holds what is listed"
    core.hear(said("c"), lists("story", "a", "b", "c", seq=2, **fields))
    assert not core.of_type("state", fields["type"])
    core.hear(lists("story", "a", "b", "c", seq=3, revoked=True, **fields))
    [told] = core.holds("state", withdrawn=True).values()
    assert told["type"] == fields["type"], "its end is told to all who were sent it"


def test_it_is_back_when_that_is_back() -> None:
    core = heard(said("a"), said("b"), lists("story", "a", "b"))
    before = core.of_type("state", "report")
    core.hear(suspected("a"))
    core.hear(said("a", "alpha", 3))
    [after] = core.of_type("state", "report")
    assert after["object_refs"] == before[0]["object_refs"]
    assert after["id"] == before[0]["id"]


def test_what_was_withdrawn_aloud_leaves_what_lists_it() -> None:
    core = heard(said("a"), said("b"), lists("story", "a", "b"))
    core.hear(said("a", "alpha", 2, markings=RED))
    assert len(core.holds("state", withdrawn=True)) == 1
    assert entries(core, "state") == [1]


def test_what_was_taken_aloud_leaves_what_lists_the_relationship_that_hung_on_it() -> None:
    core = heard(said("a"), said("b"), link("ab", "a", "b"), lists("story", "a", "b", "ab"))
    assert entries(core, "state") == [3]
    core.hear(said("a", "alpha", 2, revoked=True))
    assert not core.of_type("state", "relationship")
    assert entries(core, "state") == [1]


def test_what_lists_a_relationship_leaves_when_its_end_left_in_silence() -> None:
    core = heard(said("a"), said("b"), said("c"), link("ab", "a", "b"), lists("story", "ab", "c"))
    assert entries(core, "state") == [2]
    core.hear(suspected("a"))
    assert not core.of_type("state", "report")
    core.hear(said("a", "alpha", 3))
    assert entries(core, "state") == [2]


def test_age_is_no_secret() -> None:
    core = heard(said("a", at_ms=NOW_MS - 29 * DAY_MS), said("b"), lists("story", "a", "b"))
    core.pass_time(2 * DAY_MS)
    assert (entries(core, "state"), entries(core, "ngo")) == ([1], [2])


def test_malware_that_nothing_refers_to_any_more_takes_no_list_along() -> None:
    """It left because a relationship was withdrawn, which is no secret."""
    narrow = world(
        agreement("state", kind="government", jurisdiction="XA", categories=["phishing"]),
        agreement("alpha", receives=False, contributes=TERMS),
    )
    core = Core(narrow)
    spyware = {"category": "spyware", "suspects": {}}
    core.hear(said("a"), said("b"), kit(handling=spyware), link("joins", "a", "kit"), lists("story", "b", "kit"))
    core.hear(lists("other", "a", "b"))
    assert entries(core, "state") == [2, 2]
    core.hear(lists("story", "b", "kit", seq=2, revoked=True), link("joins", "a", "kit", 2, revoked=True))
    assert not core.of_type("state", "malware")
    assert entries(core, "state") == [2]
    core.hear(lists("third", "b", "kit"))
    assert entries(core, "state") == [2, 2]


def test_who_never_held_it_misses_nothing() -> None:
    core = heard(said("a"), suspected("a"), said("b"), lists("story", "a", "b"))
    assert entries(core, "state") == [1]
    core.hear(suspected("a", 3, description="Again."))
    core.hear(suspected("a", 4, labels=("more",)))
    assert entries(core, "state") == [1]


def test_what_a_word_refers_to_that_is_hidden_takes_nothing_along() -> None:
    whole, bare = heard(), heard()
    for core in (whole, bare):
        core.hear(said("a"), said("b"), said("c"), lists("story", "a", "b"))
        if core is whole:
            core.hear(lists("story", "c", source="beta", markings=RED))
        core.hear(suspected("c"))
        core.pass_time(WINDOW_MS)
    assert whole.view("state") == bare.view("state")
    assert entries(whole, "state") == [2]


def test_words_of_others_do_not_keep_it_there() -> None:
    core = heard(said("a"), said("b"), said("c"), lists("story", "a", "b"))
    core.hear(lists("story", "b", "c", source="beta"))
    assert entries(core, "state") == [3]
    core.hear(suspected("a"))
    assert not core.of_type("state", "report")


def test_that_two_list_each_other_keeps_neither_away() -> None:
    core = heard(said("a"), said("b"), lists("story", "a", "b"), lists("note", "story", "b", **NOTE))
    core.hear(lists("story", "a", "b", "note", seq=2))
    assert (entries(core, "state"), entries(core, "state", "note")) == ([3], [2])
    core.hear(suspected("a"))
    assert not core.of_type("state", "report") and not core.of_type("state", "note")
    core.hear(said("a", "alpha", 3))
    assert (entries(core, "state"), entries(core, "state", "note")) == ([3], [2])


def test_what_is_suspected_itself_and_lists_what_lists_it_comes_back() -> None:
    core = heard(said("b"), lists("story", "b"), lists("note", "story", "b", **NOTE))
    core.hear(lists("story", "b", "note", seq=2))
    core.hear(lists("story", "b", "note", seq=3, handling=SUSPECTED))
    assert not core.of_type("state", "report") and not core.of_type("state", "note")
    core.hear(lists("story", "b", "note", seq=4))
    assert (entries(core, "state"), entries(core, "state", "note")) == ([2], [2])


def test_the_end_of_a_suspicion_does_not_show_while_something_else_withholds_it() -> None:
    core = heard(said("a"), said("b"), lists("story", "a", "b"))
    core.hear(suspected("a"))
    core.hear(said("a", "alpha", 3, markings=RED))
    assert not core.of_type("state", "report")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_what_becomes_secret_makes_no_difference(order: tuple[int, ...]) -> None:
    words = [suspected("a"), link("ab", "a", "b", 2, handling=SUSPECTED), suspected("b")]
    core = heard(said("a"), said("b"), said("c"), link("ab", "a", "b"), lists("story", "ab", "c"))
    for place in order:
        core.hear(words[place])
    assert [body["type"] for body in core.holds("state").values()] == ["indicator"]
    assert not core.holds("state", withdrawn=True)
    for word in (said("a", "alpha", 3), said("b", "alpha", 3), link("ab", "a", "b", 3)):
        assert not core.of_type("state", "report")
        core.hear(word)
    assert entries(core, "state") == [2]


def test_what_is_heard_again_changes_nothing() -> None:
    words = [said("a"), said("b"), lists("story", "a", "b"), suspected("a")]
    core = heard(*words)
    before = (core.versions, dict(core.decisions), [dict(state) for state in core.state])
    core.hear(*words)
    asks = Letter(to=key("a").hex(), of=key("story").hex(), route=key("story").hex())
    core.work([(key("a"), asks.to_bytes())])
    assert (core.versions, core.decisions, core.state) == before
    assert not core.of_type("state", "report")


def test_it_is_not_shown_without_what_comes_back_in_a_window() -> None:
    names = [f"i{n}" for n in range(references.MANY + 5)]
    core = heard(*map(said, names), lists("story", *names))
    core.pass_time(WINDOW_MS)
    assert entries(core, "state") == [len(names)]
    core.hear(suspected(names[0]))
    assert not core.of_type("state", "report")
    core.hear(said(names[0], "alpha", 3))
    assert entries(core, "state") in ([], [len(names)])
    core.pass_time(WINDOW_MS)
    assert entries(core, "state") == [len(names)]


def test_a_campaign_is_not_shown_without_a_member_that_comes_back_in_a_window() -> None:
    def site(name: str, seq: int = 1, **fields: Any) -> Word:
        return said(name, "alpha", seq, **{"value": f"{name}.evil.example", **fields})

    core = heard(*map(site, "abc"))
    core.pass_time(WINDOW_MS)
    assert entries(core, "state", "grouping") == [3]
    core.hear(site("a", 2, handling=SUSPECTED))
    assert not core.of_type("state", "grouping")
    core.hear(site("a", 3))
    assert not core.of_type("state", "grouping")
    core.hear(site("d"))
    core.pass_time(WINDOW_MS)
    assert entries(core, "state", "grouping") == [4]


def test_members_that_are_not_back_yet_are_missed() -> None:
    known = campaign.new(("domain", "evil.example"), "n")
    held = Standing(epoch=1, counter=1, copies=(Seen(to="3", id="indicator--1"),))
    gone = Standing(epoch=1, counter=2, copies=(Seen(to="1", id="indicator--1"),), gone=("2",))
    back = held.model_copy(update={"counter": 3})
    first = campaign.told(known, "aa", held, 5)
    assert first is not None
    shown = first.known.model_copy(update={"ends": {"aa": held}, "arriving": {}})
    second = campaign.told(shown, "aa", gone, 5)
    assert second is not None and second.known.ends["aa"].gone == ("2",)
    third = campaign.told(second.known, "aa", back, 5)
    assert third is not None and third.known.ends["aa"].gone == ("2",)
    assert third.known.arriving["aa"] == back


def test_standing_of_the_first_versions_is_read() -> None:
    assert Standing.model_validate({"gone": "6"}).gone == ("6",)
    assert Standing.model_validate({"gone": "0"}).gone == ()


# --- whatever happens ---------------------------------------------------------------------------------------------

INDICATORS = ("a", "b", "c")
LISTS = {"r": STORY, "q": STORY, "n": NOTE, "m": NOTE}
ALL = (*INDICATORS, *LISTS, "ab", "rb")
STATES: dict[str, dict[str, Any]] = {
    "open": {},
    "suspected": {"handling": SUSPECTED},
    "red": {"markings": RED},
    "revoked": {"revoked": True},
}


@st.composite
def words(draw: st.DrawFn) -> list[Word]:
    """Objects that refer to each other as it comes, in circles too."""
    listed = st.lists(st.sampled_from(ALL), min_size=1, max_size=4, unique=True)
    return [
        *map(said, INDICATORS),
        *(lists(name, *draw(listed), **fields) for name, fields in LISTS.items()),
        link("ab", "a", "b"),
        link("rb", "r", "b"),
    ]


CHANGES = st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(list(STATES))), max_size=8)


def referring(core: Core, partner: str) -> dict[str, set[str]]:
    """What a partner holds, and to what that refers, by fingerprints."""
    item = items_of(core)
    return {
        item[id_]: {item[end] for name in leaving(body["type"]) for end in _list(body.get(name, []))}
        for id_, body in core.holds(partner).items()
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _again(word: Report, seq: int, fields: dict[str, Any]) -> Report:
    terms = {"handling": PLAIN, "markings": GREEN, "revoked": False} | fields
    return word.model_copy(update={"seq": seq, "modified_ms": word.modified_ms + seq, **terms})


@settings(max_examples=60, deadline=None)
@given(words(), CHANGES)
def test_when_nothing_is_secret_any_more_all_is_back(first: list[Word], changes: list[tuple[str, str]]) -> None:
    core, fresh = heard(*first), heard(*first)
    spoken = dict(first)
    for seq, (name, state) in enumerate(changes, 2):
        core.hear((name, _again(spoken[name], seq, STATES[state])))
    for name, word in first:
        core.hear((name, _again(word, len(changes) + 2, {})))
    core.pass_time(WINDOW_MS)
    for partner in ("state", "ngo"):
        assert referring(core, partner) == referring(fresh, partner)
    versions, states = core.versions, [dict(state) for state in core.state]
    core.hear(*first)
    assert (core.versions, core.state) == (versions, states)


@settings(max_examples=60, deadline=None)
@given(words(), st.lists(st.tuples(st.sampled_from(ALL), st.booleans()), max_size=8))
def test_nothing_goes_on_without_what_a_suspicion_took(first: list[Word], changes: list[tuple[str, bool]]) -> None:
    core = heard(*first)
    spoken = dict(first)
    most = referring(core, "state")
    for seq, (name, is_suspected) in enumerate(changes, 2):
        core.hear((name, _again(spoken[name], seq, STATES["suspected" if is_suspected else "open"])))
        for item, ends in referring(core, "state").items():
            assert ends == most[item]
        assert not core.holds("state", withdrawn=True)


@settings(max_examples=60, deadline=None)
@given(words(), st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(["open", "red", "revoked"])), max_size=8))
def test_what_was_withdrawn_aloud_leaves_what_there_would_be_without_it(
    first: list[Word], changes: list[tuple[str, str]]
) -> None:
    core = heard(*first)
    spoken, last = dict(first), dict(first)
    for seq, (name, state) in enumerate(changes, 2):
        last[name] = _again(spoken[name], seq, STATES[state])
        core.hear((name, last[name]))
    assert referring(core, "ngo") == referring(heard(*last.items()), "ngo")
