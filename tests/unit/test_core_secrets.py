"""What a recipient must not be able to tell, case by case: pairs of hubs, one of which never hears what is hidden.

The random histories of `test_core` seldom come upon these.
"""

from __future__ import annotations

import pytest

from schemas.bits import from_hex
from schemas.cleared import Cleared
from schemas.reference import Standing
from schemas.report import Report
from services.govern import campaign, references
from services.govern.compile import Compiled
from tests.unit.core_world import WINDOW_MS, Core, key
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, world
from tests.unit.test_core import AMBER, CLEAR, TERMS, WORLD, opinion, said, site

Word = tuple[str, Report]
JOINED = (("report", "r"),)
SUSPECTS = {"suspects": {"XA": 50}}
SILENCED = {"embargo": {"until": "2030-01-01T00:00:00Z"}}
"""What takes an item from everyone without a word."""


def shown(*history: int | Word | tuple[None, Word], compiled: Compiled = WORLD) -> tuple[list[str], list[str]]:
    """What `low` holds in the end with and without what is hidden, `(None, word)`; a number lets time pass (ms)."""
    whole, bare = Core(compiled), Core(compiled)
    for step in history:
        for core in (whole, bare):
            if isinstance(step, int):
                core.pass_time(step)
            elif isinstance(step[0], str):
                core.hear(step)  # type: ignore[arg-type]
            elif core is whole:
                core.hear(step[1])  # type: ignore[arg-type]
    return whole.view("low"), bare.view("low")


def hidden(word: Word) -> tuple[None, Word]:
    return None, word


def test_a_join_that_is_hidden_takes_no_campaign_away() -> None:
    whole, bare = shown(
        said("y", value="y.one.example", markings=CLEAR, joins=JOINED),
        said("z", value="z.two.example", markings=CLEAR, joins=JOINED),
        said("x", value="x.three.example", markings=CLEAR),
        hidden(said("x", "beta", 5, value="x.three.example", markings=AMBER, joins=JOINED)),
        WINDOW_MS,
        said("x", "alpha", 6, value="x.three.example", markings=CLEAR, handling=SILENCED),
        2 * WINDOW_MS,
    )
    assert whole == bare
    assert any("grouping" in body for body in whole)


def test_opinions_that_are_hidden_crowd_out_none() -> None:
    many = [
        said(f"o{n}", "beta", 10 + n, of="lure", record="lure", type="opinion", opinion="agree",
             references=[("object_refs", "lure")], markings=AMBER)
        for n in range(40)
    ]  # fmt: skip
    against = opinion("lure", "strongly-disagree", "gamma", 5, markings=CLEAR, at_ms=NOW_MS - DAY_MS)
    whole, bare = shown(said("lure", markings=CLEAR), against, *map(hidden, many), WINDOW_MS)
    assert whole == bare


def test_what_a_source_said_under_stricter_terms_does_not_show_under_wider_ones() -> None:
    early = hidden(said("lure", markings=AMBER, at_ms=NOW_MS - 100 * DAY_MS))
    whole, bare = shown(early, said("lure", "alpha", 2, markings=CLEAR, at_ms=NOW_MS - DAY_MS), WINDOW_MS)
    assert whole == bare
    members = [said(n, value=f"{n}.{n}{n}.example", markings=CLEAR, joins=JOINED) for n in "yz"]
    closed = hidden(said("x", value="x.three.example", markings=AMBER, joins=JOINED))
    opened = said("x", "alpha", 2, value="x.three.example", markings=CLEAR)
    whole, bare = shown(*members, closed, opened, 2 * WINDOW_MS)
    assert whole == bare


def test_a_sighting_that_was_hidden_counts_from_its_own_window_on() -> None:
    def seen(seq: int, level: tuple[str, ...]) -> Word:
        return said(
            "s", "beta", seq, of="lure", record="lure", type="sighting", count=3,
            references=[("sighting_of_ref", "lure")], markings=level,
        )  # fmt: skip

    old = said("lure", markings=CLEAR, at_ms=NOW_MS - 60 * DAY_MS)
    whole, bare = shown(old, hidden(seen(2, AMBER)), WINDOW_MS, seen(3, CLEAR))
    assert whole == bare


def test_a_wait_is_not_cut_short_by_what_waits_with_it() -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=CLEAR, name="first"))
    core.hear(said("lure", "beta", 2, markings=AMBER, name="first"))
    core.hear(said("lure", "beta", 3, markings=AMBER, name="hidden", at_ms=NOW_MS + 1))
    core.now_ms += WINDOW_MS  # the window is over, and nobody has looked yet
    core.hear(said("lure", "alpha", 4, markings=CLEAR, name="second", at_ms=NOW_MS + 2))
    assert core.of_type("low", "indicator")[0]["name"] == "first"
    core.pass_time(WINDOW_MS)
    assert core.of_type("low", "indicator")[0]["name"] == "second"


def test_each_shows_the_end_of_activity_of_its_own_copy() -> None:
    core = Core(WORLD)
    end = "2026-11-18T11:06:39.000Z"
    core.hear(said("lure", markings=CLEAR, valid_until=end), said("lure", "beta", 2, markings=AMBER))
    ends = {
        who: copy.active_until
        for copy in Cleared.from_bytes(core.cleared[key("lure")]).copies
        for who in ("low", "high")
        if from_hex(copy.to) & WORLD.number[who]
    }
    assert ends["low"] == end
    assert ends["high"] > end, "one word without an end keeps the item valid, for those who may see it"


# --- who is told of an end ----------------------------------------------------------------------------------------


def test_a_revocation_that_was_answered_does_not_speak_again() -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=CLEAR), said("lure", "beta", 2, markings=CLEAR))
    core.hear(said("lure", "alpha", 3, markings=CLEAR, revoked=True))
    assert len(core.holds("low")) == 1
    core.hear(said("lure", "beta", 4, markings=CLEAR, handling=SILENCED, at_ms=NOW_MS + 5))
    assert not core.view("low"), "silence: a withdrawal would tell a suspect"


def test_an_agreement_that_ends_is_no_withdrawal_of_campaigns() -> None:
    for names in (("a", "b"), ("c", "d"), ("q7", "k9")):
        core = Core(
            world(
                agreement("low", tlp="clear", ends="2026-12-01"),
                agreement("alpha", receives=False, contributes=TERMS),
            )
        )
        core.hear(*(site(name, markings=CLEAR) for name in names))
        core.pass_time(WINDOW_MS)
        assert core.of_type("low", "grouping")
        core.pass_time(40 * DAY_MS)
        assert not core.view("low")


def test_age_takes_members_and_not_the_campaign() -> None:
    core = Core(
        world(agreement("low", tlp="clear", max_age_days=10), agreement("alpha", receives=False, contributes=TERMS))
    )
    core.hear(site("a", markings=CLEAR, at_ms=NOW_MS - 9 * DAY_MS), *(site(n, markings=CLEAR) for n in "bcd"))
    core.pass_time(WINDOW_MS)
    assert len(core.of_type("low", "grouping")[0]["object_refs"]) == 4
    core.pass_time(2 * DAY_MS)
    assert len(core.of_type("low", "grouping")[0]["object_refs"]) == 3


def test_who_asks_for_confidence_gets_no_campaign_without_one() -> None:
    picky = world(
        agreement("low", tlp="clear", min_confidence=80), agreement("alpha", receives=False, contributes=TERMS)
    )
    core = Core(picky)
    core.hear(*(site(name, markings=CLEAR, confidence=90) for name in "ab"))
    core.pass_time(WINDOW_MS)
    assert [body["type"] for body in core.holds("low").values()] == ["indicator", "indicator"]


def test_suspects_that_one_source_names_hold_for_the_words_of_others() -> None:
    states = world(
        agreement("low", tlp="clear", kind="government", jurisdiction="XA"),
        agreement("far", tlp="clear", jurisdiction="XB"),
        agreement("ministry", tlp="clear", kind="government", jurisdiction="XC"),
        *(agreement(name, receives=False, contributes=TERMS) for name in ("alpha", "beta")),
    )
    core = Core(states)
    core.hear(said("lure", "beta", markings=CLEAR, handling={"category": "phishing"}))
    assert core.holds("low")
    core.hear(said("lure", "alpha", 2, markings=AMBER, handling=SUSPECTS))
    assert not core.view("low"), "it is suspected"
    assert core.holds("far")
    core.hear(said("other", "beta", markings=CLEAR, handling={"category": "spyware", "affected": ["XA"]}))
    assert not core.holds("low")
    assert len(core.holds("far")) == 2
    assert len(core.holds("ministry")) == 2
    assert "XA" not in str(core.view("ministry"))


# --- what must not stop, grow or stay for ever --------------------------------------------------------------------


@pytest.mark.parametrize("odd", [{"aliases": 5}, {"name": 7}, {"description": {}}, {"external_references": 5}])
def test_odd_properties_of_one_word_do_not_cost_the_others(odd: dict[str, object]) -> None:
    core = Core(WORLD)
    core.hear(said("lure", markings=CLEAR, title="x"))
    core.hear(("lure", _with(said("lure", "beta", 2, markings=AMBER)[1], odd)))
    assert core.holds("low")


def _with(word: Report, more: dict[str, object]) -> Report:
    return word.model_copy(update={"object": {**word.object, **more}})


def test_what_holds_others_together_does_not_keep_itself_alive() -> None:
    core = Core(WORLD)
    refs = [("object_refs", "story"), ("object_refs", "lure"), ("object_refs", "other")]
    common = {"type": "report", "published": "2026-01-01T00:00:00Z", "markings": CLEAR}
    core.hear(said("lure", markings=CLEAR), said("story", title="S", references=refs, **common))
    core.hear(said("other", "alpha", title="O", references=[("object_refs", "story")], **common))
    assert core.of_type("low", "report")
    core.hear(said("lure", "alpha", 2, markings=CLEAR, revoked=True))
    assert not core.of_type("low", "report")


def test_ends_that_an_object_refers_to_no_more_are_forgotten() -> None:
    core = Core(WORLD)
    for version in range(1, 6):
        refs = [("object_refs", f"end-{version}-{n}") for n in range(20)]
        core.hear(
            said("story", "alpha", version, type="report", published="2026-01-01T00:00:00Z", references=refs,
                 markings=CLEAR, at_ms=NOW_MS + version)
        )  # fmt: skip
    assert len(core.known("story").ends) == 20


def test_what_refers_to_many_gains_by_windows_and_loses_at_once() -> None:
    core = Core(WORLD)
    names = [f"i{n}" for n in range(references.MANY + 5)]
    refs = [("object_refs", name) for name in names]
    core.hear(said("story", type="report", published="2026-01-01T00:00:00Z", references=refs, markings=CLEAR))
    core.hear(*(said(name, value=f"{name}.{name}.example", markings=CLEAR) for name in names))
    assert not core.of_type("low", "report")
    core.pass_time(WINDOW_MS)
    assert len(core.of_type("low", "report")[0]["object_refs"]) == len(names)
    core.hear(said(names[0], "alpha", 2, value=f"{names[0]}.{names[0]}.example", markings=CLEAR, revoked=True))
    assert len(core.of_type("low", "report")[0]["object_refs"]) == len(names) - 1


def test_an_opinion_on_nothing_writes_nothing_strange() -> None:
    core = Core(WORLD)
    core.hear(said("op", type="opinion", opinion="agree", references=[("object_refs", "op")], markings=CLEAR))
    assert all(len(k) in (16, 20) for state in core.state for k in state)
    assert not core.view("low")


def test_what_comes_and_goes_for_ever_stops_coming() -> None:
    core = Core(WORLD)
    for seq in range(1, 100, 2):
        core.hear(said("lure", "alpha", seq, markings=CLEAR))
        core.hear(("lure", said("lure", "alpha", seq + 1, gone=True)[1].model_copy(update={"object": {}})))
    assert len(core.holds("low", withdrawn=True)) <= 34


def test_a_full_campaign_makes_room_for_what_more_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "MAX_KNOWN_MEMBERS", 3)
    known = campaign.new(("domain", "evil.example"), "n")
    seen = [references.Seen(to=to, id=f"indicator--{n}") for n, to in enumerate(("1", "3", "3", "7"))]
    for number, copy in enumerate(seen):
        told = campaign.told(known, f"{number:032x}", Standing(epoch=1, counter=1, copies=(copy,)), 5)
        known = told.known if told else known
        known = known.model_copy(update={"ends": {**known.ends, **known.arriving}, "arriving": {}})
    assert {standing.copies[0].id for standing in known.ends.values()} == {f"indicator--{n}" for n in (1, 2, 3)}


def test_ends_of_a_campaign_are_told_by_their_newest_version_only() -> None:
    known = campaign.new(("domain", "evil.example"), "n")
    copy = references.Seen(to="1", id="indicator--1")
    newer = campaign.told(known, "aa", Standing(epoch=2, counter=1, copies=(copy,)), 5)
    assert newer is not None
    assert campaign.told(newer.known, "aa", Standing(epoch=1, counter=9), 5) is None
