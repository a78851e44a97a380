"""The core with all its partitions: references, campaigns, feedback, windows, and that nothing withheld shows."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.markings import Tlp, marking_id
from schemas.report import Report
from services.enrich.joins import Join
from services.govern import campaign
from tests.unit.core_world import WINDOW_MS, Core, key, report
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, world

TERMS = {"defaults": {"consent": "not-required"}}
CLEAR, AMBER, RED = ((marking_id(level),) for level in (Tlp.CLEAR, Tlp.AMBER, Tlp.RED))
WORLD = world(
    agreement("low", tlp="clear"),
    agreement("high", tlp="amber"),
    agreement("plain", tlp="amber", types=["indicator"]),
    *(agreement(name, receives=False, contributes=TERMS) for name in ("alpha", "beta", "gamma")),
)


def said(
    name: str, source: str = "alpha", seq: int = 1, /, *, record: str = "", **fields: Any
) -> tuple[str, Report]:
    return record or name, report(name, source, seq, **fields)


def link(
    name: str, source_ref: str, target_ref: str, source: str = "alpha", seq: int = 1, /, **fields: Any
) -> tuple[str, Report]:
    ends = (("source_ref", source_ref), ("target_ref", target_ref))
    return said(name, source, seq, type="relationship", relationship_type="indicates", references=ends, **fields)


# --- references ---------------------------------------------------------------------------------------------------


def test_who_may_see_both_ends_sees_them_joined_and_nobody_else_sees_the_join() -> None:
    core = Core(WORLD)
    core.hear(
        said("lure", markings=CLEAR),
        said("kit", type="malware", name="Kit", is_family=True, markings=AMBER),
        link("joins", "lure", "kit", markings=CLEAR),
    )
    [joined] = core.of_type("high", "relationship")
    held = core.holds("high")
    assert (held[joined["source_ref"]]["type"], held[joined["target_ref"]]["type"]) == ("indicator", "malware")
    assert not core.of_type("low", "relationship")
    assert "malware" not in str(core.holds("low")), "no id of what is withheld"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_in_which_ends_come_does_not_matter(order: tuple[int, ...]) -> None:
    words = [
        said("lure", markings=CLEAR),
        said("kit", type="malware", name="Kit", is_family=True, markings=CLEAR),
        link("joins", "lure", "kit", markings=CLEAR),
    ]
    core = Core(WORLD)
    for place in order:
        core.hear(words[place])
    assert len(core.of_type("low", "relationship")) == 1


def test_a_relationship_without_category_takes_that_of_its_ends() -> None:
    phishing = world(
        agreement("bank", tlp="amber", categories=["phishing"]),
        agreement("alpha", receives=False, contributes=TERMS),
    )
    core = Core(phishing)
    of = {"markings": CLEAR, "handling": {"category": "phishing"}}
    core.hear(said("a", **of), said("b", **of), said("c", markings=CLEAR), link("ab", "a", "b", markings=CLEAR))
    core.hear(link("ac", "a", "c", markings=CLEAR))
    assert len(core.of_type("bank", "relationship")) == 1


def test_an_end_that_is_withdrawn_takes_its_relationships_along_in_silence() -> None:
    core = Core(WORLD)
    core.hear(said("a", markings=CLEAR), said("b", markings=CLEAR), link("ab", "a", "b", markings=CLEAR))
    assert core.of_type("low", "relationship")
    core.hear(said("a", "alpha", 2, markings=CLEAR, revoked=True))
    assert not core.of_type("low", "relationship")
    assert [body["type"] for body in core.holds("low", withdrawn=True).values()] == ["indicator"]


def test_each_entry_of_a_list_is_for_those_who_hold_it() -> None:
    core = Core(WORLD)
    refs = [("object_refs", name) for name in ("open", "closed", "missing")]
    core.hear(
        said("open", markings=CLEAR),
        said("closed", markings=AMBER),
        said(
            "story", type="report", name="Story", published="2026-01-01T00:00:00Z", references=refs, markings=CLEAR
        ),
    )
    [low], [high] = core.of_type("low", "report"), core.of_type("high", "report")
    assert (len(low["object_refs"]), len(high["object_refs"])) == (1, 2)
    assert set(high["object_refs"]) <= core.holds("high").keys()
    core.hear(said("missing", markings=CLEAR))
    assert len(core.of_type("low", "report")[0]["object_refs"]) == 2
    assert core.of_type("low", "report")[0]["modified"] > low["modified"]


def test_an_object_that_refers_to_nothing_it_can_be_without_goes_to_nobody() -> None:
    core = Core(WORLD)
    core.hear(link("nowhere", "never-came", "nor-this", markings=CLEAR))
    core.hear(said("bare", type="sighting", of="x", record="x", markings=CLEAR))
    assert not core.holds("high")


def test_many_that_refer_to_one_are_all_told() -> None:
    core = Core(WORLD)
    count = 300  # more than two pages of askers
    core.hear(*(said(f"i{n}", value=f"i{n}.site{n}.example", markings=CLEAR) for n in range(count)))
    core.hear(*(link(f"r{n}", f"i{n}", "kit", markings=CLEAR) for n in range(count)))
    assert not core.of_type("low", "relationship")
    core.hear(said("kit", type="malware", name="Kit", is_family=True, markings=CLEAR))
    assert len(core.of_type("low", "relationship")) == count
    core.hear(said("kit", "alpha", 2, type="malware", name="Kit", is_family=True, markings=AMBER))
    assert not core.of_type("low", "relationship")


# --- campaigns ----------------------------------------------------------------------------------------------------


def site(name: str, source: str = "alpha", seq: int = 1, /, **fields: Any) -> tuple[str, Report]:
    return said(name, source, seq, value=f"{name}.evil.example", **fields)


def test_a_campaign_has_a_stable_id_while_it_grows() -> None:
    core = Core(WORLD)
    core.hear(site("a", markings=CLEAR))
    assert not core.of_type("low", "grouping")
    core.hear(site("b", markings=CLEAR))
    core.pass_time(WINDOW_MS)
    [two] = core.of_type("low", "grouping")
    core.hear(site("c", markings=CLEAR))
    core.pass_time(WINDOW_MS)
    [three] = core.of_type("low", "grouping")
    assert (two["id"], two["created"]) == (three["id"], three["created"])
    assert (
        set(two["object_refs"])
        < set(three["object_refs"])
        == {body["id"] for body in core.of_type("low", "indicator")}
    )
    assert "evil.example" in three["name"]
    assert not core.of_type("plain", "grouping"), "who takes indicators only gets no grouping"


def test_a_campaign_is_made_of_what_its_recipient_holds() -> None:
    core = Core(WORLD)
    core.hear(site("a", markings=CLEAR), site("b", markings=CLEAR), site("c", markings=AMBER))
    core.pass_time(WINDOW_MS)
    [low], [high] = core.of_type("low", "grouping"), core.of_type("high", "grouping")
    assert (len(low["object_refs"]), len(high["object_refs"])) == (2, 3)
    assert low["object_marking_refs"] == list(CLEAR)
    assert high["object_marking_refs"] == list(AMBER)
    core.hear(site("a", "alpha", 2, markings=CLEAR, revoked=True))
    assert not core.of_type("low", "grouping")
    assert len(core.of_type("high", "grouping")[0]["object_refs"]) == 2


def test_who_lost_a_member_in_silence_hears_of_the_campaign_no_more() -> None:
    core = Core(WORLD)
    core.hear(*(site(name, markings=CLEAR) for name in "abc"))
    core.pass_time(WINDOW_MS)
    assert len(core.of_type("low", "grouping")[0]["object_refs"]) == 3
    core.hear(site("a", "alpha", 2, markings=CLEAR, handling={"embargo": {"until": "2030-01-01T00:00:00Z"}}))
    assert len(core.of_type("low", "indicator")) == 2
    assert not core.of_type("low", "grouping")
    assert not core.holds("low", withdrawn=True), "a withdrawal would tell a suspect"


def test_what_joins_too_much_joins_nothing() -> None:
    core = Core(WORLD)
    names = [f"m{n}" for n in range(campaign.MAX_MEMBERS + 1)]
    core.hear(*(site(name, markings=CLEAR) for name in names[:-1]))
    core.pass_time(WINDOW_MS)
    assert len(core.of_type("low", "grouping")[0]["object_refs"]) == campaign.MAX_MEMBERS
    core.hear(site(names[-1], markings=CLEAR))
    core.pass_time(WINDOW_MS)
    assert not core.of_type("low", "grouping")
    assert core.of_type("low", "indicator")


def test_a_report_joins_for_those_who_may_see_the_word_that_says_so() -> None:
    core = Core(WORLD)
    joins: tuple[Join, ...] = (("report", "abc"),)
    core.hear(
        said("a", value="one.example", markings=CLEAR),
        said("b", value="two.example", markings=CLEAR),
        said("a", "beta", 2, value="one.example", markings=AMBER, joins=joins),
        said("b", "beta", 2, value="two.example", markings=AMBER, joins=joins),
    )
    core.pass_time(WINDOW_MS)
    assert not core.of_type("low", "grouping")
    [grouping] = core.of_type("high", "grouping")
    assert len(grouping["object_refs"]) == 2


# --- feedback -----------------------------------------------------------------------------------------------------


def score(core: Core, partner: str) -> int:
    [body] = core.of_type(partner, "indicator")
    scores = [fields["score"] for fields in body["extensions"].values() if "score" in fields]
    assert len(scores) == 1
    return int(scores[0])


def opinion(of: str, value: str, source: str = "beta", seq: int = 5, **fields: Any) -> tuple[str, Report]:
    return said(
        f"opinion-{source}",
        source,
        seq,
        of=of,
        record=of,
        type="opinion",
        opinion=value,
        references=[("object_refs", of)],
        **fields,
    )


def test_a_false_positive_lowers_the_score_at_once_for_those_who_may_know() -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=CLEAR))
    before = score(core, "low"), score(core, "high")
    core.hear(opinion("lure", "strongly-disagree", markings=AMBER))
    assert score(core, "low") == before[0]
    assert score(core, "high") < before[1]
    assert score(core, "plain") == score(core, "high"), "to take no opinions is not to be kept from what they say"
    [shown] = core.of_type("high", "opinion")
    assert shown["object_refs"] == [core.of_type("high", "indicator")[0]["id"]]
    assert "beta" not in str(core.holds("high"))


def test_an_opinion_that_is_taken_back_bears_no_more() -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=CLEAR))
    before = score(core, "low")
    core.hear(opinion("lure", "strongly-disagree", markings=CLEAR))
    assert score(core, "low") < before
    core.hear(opinion("lure", "strongly-disagree", seq=6, markings=CLEAR, revoked=True))
    assert score(core, "low") == before


def test_an_opinion_that_comes_before_its_item_bears_on_it_all_the_same() -> None:
    early, late = Core(WORLD), Core(WORLD)
    words = [said("lure", markings=CLEAR), opinion("lure", "disagree", markings=CLEAR)]
    for word in words:
        late.hear(word)
    for word in reversed(words):
        early.hear(word)
    assert score(early, "low") == score(late, "low") < 70
    assert len(early.known("lure").feedback) == 1


def test_sightings_count_from_the_next_window_on() -> None:
    core = Core(WORLD)
    old_ms = NOW_MS - 40 * DAY_MS
    core.hear(said("lure", markings=CLEAR, at_ms=old_ms))
    versions = core.versions
    core.hear(
        *(
            said(f"s{n}", "beta", n, of="lure", record="lure", type="sighting", markings=CLEAR, count=n,
                 references=[("sighting_of_ref", "lure")])
            for n in range(1, 4)
        )
    )  # fmt: skip
    assert core.versions - versions == 3, "three sightings, and no new version of what was seen"
    assert len(core.of_type("low", "sighting")) == 3
    assert len(core.known("lure").feedback) == 3
    core.pass_time(WINDOW_MS)
    assert len(core.of_type("low", "indicator")) == 1


# --- windows ------------------------------------------------------------------------------------------------------


def test_later_words_go_out_once_in_a_window_and_what_narrows_at_once() -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=CLEAR))
    versions = core.versions
    for n in range(2, 30):
        core.hear(said("lure", "alpha", n, markings=CLEAR, name=f"n{n}", at_ms=NOW_MS + n))
    assert core.versions == versions
    core.pass_time(WINDOW_MS)
    assert core.versions == versions + 1
    assert core.of_type("low", "indicator")[0]["name"] == "n29"
    assert core.known("lure").contributions["alpha"].count == 29
    core.hear(said("lure", "alpha", 30, markings=AMBER, name="narrowed", at_ms=NOW_MS + 30))
    assert not core.of_type("low", "indicator")
    assert core.of_type("high", "indicator")[0]["name"] == "narrowed"


def test_another_source_is_heard_at_once() -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=AMBER))
    core.hear(said("lure", "beta", 2, markings=CLEAR))
    assert core.of_type("low", "indicator")


def test_what_left_a_snapshot_is_withdrawn_and_may_come_back_under_a_new_id() -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=CLEAR))
    [before] = core.of_type("low", "indicator")
    core.hear(("lure", report("lure", "alpha", 2, gone=True).model_copy(update={"object": {}})))
    assert list(core.holds("low", withdrawn=True)) == [before["id"]]
    core.hear(said("lure", "alpha", 3, markings=CLEAR))
    [after] = core.of_type("low", "indicator")
    assert after["id"] != before["id"]


# --- nothing withheld shows ---------------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
WORD = st.fixed_dictionaries(
    {
        "what": st.sampled_from(
            ["item", "item", "item", "relationship", "opinion", "sighting", "revoke", "gone", "report", "time"]
        ),
        "name": st.sampled_from(NAMES),
        "other": st.sampled_from(NAMES),
        "source": st.sampled_from(["alpha", "beta", "gamma"]),
        "age_days": st.integers(0, 400),
        "label": st.sampled_from(["phishing", "spyware", "kit: pot"]),
        "value": st.sampled_from(["strongly-disagree", "agree", "strongly-agree"]),
        "joins": st.booleans(),
    }
)


def spoken(step: dict[str, Any], seq: int, level: tuple[str, ...]) -> tuple[str, Report] | None:
    name, source = step["name"], step["source"]
    at_ms = NOW_MS - step["age_days"] * DAY_MS - seq
    common: dict[str, Any] = {"markings": level, "at_ms": at_ms, "labels": (step["label"],)}
    if step["joins"]:
        common["joins"] = (("report", "r"),)
    match step["what"]:
        case "item":
            return site(name, source, seq, **common)
        case "revoke":
            return site(name, source, seq, revoked=True, **common)
        case "gone":
            return name, report(name, source, seq, gone=True).model_copy(update={"object": {}})
        case "relationship":
            return link(f"rel-{name}-{step['other']}", name, step["other"], source, seq, **common)
        case "report":
            refs = [("object_refs", name), ("object_refs", step["other"])]
            return said(f"rep-{source}", source, seq, type="report", name="R", references=refs, **common)
        case "opinion":
            return opinion(name, step["value"], source, seq, **common)
        case "sighting":
            common |= {"count": step["age_days"] % 3, "references": [("sighting_of_ref", name)]}
            return said(f"s-{source}-{name}", source, seq, of=name, record=name, type="sighting", **common)
        case _:
            return None


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(WORD, st.booleans()), max_size=14))
def test_a_recipient_can_not_tell_whether_there_is_more(history: list[tuple[dict[str, Any], bool]]) -> None:
    """Two hubs, one of which never hears what `low` may not see. Each source speaks on one level only."""
    whole, bare = Core(WORLD), Core(WORLD)
    secret_of = dict.fromkeys(("alpha", "beta", "gamma"), False)
    for step, hidden in history:
        secret_of[step["source"]] |= hidden
    for seq, (step, _) in enumerate(history, 1):
        hidden = secret_of[step["source"]]
        if step["what"] == "time":
            whole.pass_time(step["age_days"] * DAY_MS // 4)
            bare.pass_time(step["age_days"] * DAY_MS // 4)
        elif word := spoken(step, seq, AMBER if hidden else CLEAR):
            whole.hear(word)
            if not hidden:
                bare.hear(word)
        assert whole.view("low") == bare.view("low")
        for body in whole.holds("low").values():
            referred = [body[n] for n in ("source_ref", "target_ref", "sighting_of_ref") if n in body]
            referred += body.get("object_refs", [])
            assert set(referred) <= whole.holds("low").keys(), "no reference dangles"


@settings(deadline=None, max_examples=60)
@given(st.lists(WORD, max_size=10))
def test_hearing_everything_twice_changes_nothing(history: list[dict[str, Any]]) -> None:
    core = Core(WORLD)
    words = [word for seq, step in enumerate(history, 1) if (word := spoken(step, seq, CLEAR))]
    for word in words:
        core.hear(word)
    before = {partner: (core.holds(partner), core.holds(partner, withdrawn=True)) for partner in ("low", "high")}
    versions = core.versions
    for word in words:
        core.hear(word)
    assert core.versions == versions
    assert before == {
        partner: (core.holds(partner), core.holds(partner, withdrawn=True)) for partner in ("low", "high")
    }


def test_a_flood_of_letters_is_worked_off_in_time() -> None:
    """Linear in the members: a campaign of many and a report of many references."""
    core = Core(WORLD)
    began = time.process_time()
    names = [f"m{n}" for n in range(800)]
    core.hear(*(site(name, markings=CLEAR) for name in names))
    refs = [("object_refs", name) for name in names]
    core.hear(
        said("story", type="report", name="S", published="2026-01-01T00:00:00Z", references=refs, markings=CLEAR)
    )
    core.pass_time(WINDOW_MS)
    assert len(core.of_type("low", "report")[0]["object_refs"]) == len(names)
    assert time.process_time() - began < 30


def test_keys_are_spread() -> None:
    assert len({sum(key(name)) % 8 for name in ("lure", "kit", "joins", "a", "b", "ab")}) > 2
