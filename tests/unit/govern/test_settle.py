"""What recipients see over time: the ledger's promises, held by random histories."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.bits import from_hex, members
from schemas.cleared import Cleared
from schemas.errors import Misconfigured
from schemas.known import Contribution, Known
from schemas.markings import Tlp, marking_id
from services.govern.compile import Compiled
from services.govern.settle import Rules, Settled, settle
from tests.unit.govern.world import DATA, DAY_MS, NOW_MS, SECRET, agreement, contribution, known, names, world

KEY = bytes(16)
SOURCES = ("alpha", "beta", "gamma")
TERMS = {"defaults": {"consent": "not-required"}}
WORLD = world(
    agreement("low", tlp="clear"),
    agreement("middle", tlp="amber", purposes=["detect"]),
    agreement("high", tlp="red", max_age_days=30),
    *(agreement(name, receives=False, contributes=TERMS) for name in SOURCES),
)


def decide(item: Known, compiled: Compiled = WORLD, now_ms: int = NOW_MS) -> Settled:
    return settle(item, KEY, Rules(compiled, DATA, SECRET), now_ms, 7)


def says(item: Known, source: str, word: Contribution) -> Known:
    """The item after a source's next word; whom its contribution reached stays known."""
    before = item.contributions.get(source)
    word = word.model_copy(update={"reached": before.reached if before else "0"})
    return item.model_copy(update={"contributions": {**item.contributions, source: word}})


def seen(cleared: Cleared | None, who: str, compiled: Compiled = WORLD) -> list[dict[str, Any]]:
    """The bodies that one recipient holds after a state."""
    copies = cleared.copies if cleared else ()
    return [copy.body for copy in copies if who in names(from_hex(copy.to), compiled)]


def waited(settled: Settled, until_ms: int, compiled: Compiled = WORLD) -> Settled:
    """The item each time it is due, up to `until_ms`, at which it must be due."""
    while settled.due_ms <= until_ms:
        at_ms, settled = settled.due_ms, decide(settled.known, compiled, settled.due_ms)
    assert at_ms == until_ms
    return settled


def test_each_recipient_sees_the_merge_of_what_it_may_see_and_nothing_else() -> None:
    public = contribution(
        markings=(marking_id(Tlp.CLEAR),),
        created_ms=NOW_MS - 6 * DAY_MS,
        modified_ms=NOW_MS - 5 * DAY_MS,
        labels=("phishing",),
        name="Public",
    )
    secret = contribution(
        markings=(marking_id(Tlp.AMBER),),
        created_ms=NOW_MS - 9 * DAY_MS,
        name="Secret",
        description="from the case",
    )
    settled = decide(known(alpha=public, beta=secret))
    (low,), (middle,) = seen(settled.cleared, "low"), seen(settled.cleared, "middle")
    assert low["id"] == middle["id"]
    assert "case" not in str(low)
    assert low["modified"] < middle["modified"]
    assert low["created"] > middle["created"]
    assert low["object_marking_refs"] == [marking_id(Tlp.CLEAR)]
    assert middle["object_marking_refs"] == [marking_id(Tlp.AMBER)]
    alone = decide(known(alpha=public))
    assert seen(alone.cleared, "low") == [low], "another source's secret report must leave no trace"


def test_a_refusal_to_all_leaves_a_decision_and_no_copy() -> None:
    settled = decide(known(alpha=contribution()))
    assert settled.cleared is None
    assert settled.decision is not None
    assert {group.outcome for j in settled.decision.judgements for group in j.groups} == {"deny"}
    again = decide(settled.known)
    assert (again.cleared, again.decision) == (None, None)


def test_the_pattern_is_made_from_the_identity() -> None:
    item = known(
        alpha=contribution(markings=(marking_id(Tlp.CLEAR),), pattern="[domain-name:value='LURE.example.']")
    )
    (body,) = seen(decide(item).cleared, "low")
    assert body["pattern"] == "[domain-name:value = 'lure.example']"


def test_a_complex_pattern_shows_the_spelling_of_a_source_that_the_recipient_may_see() -> None:
    spelled = {"alpha": ("[a:b = 'x' AND a:c = 'y']", Tlp.AMBER), "beta": ("[a:c = 'y' AND a:b = 'x']", Tlp.CLEAR)}
    words = {
        source: contribution(markings=(marking_id(level),)).model_copy(update={"value": value})
        for source, (value, level) in spelled.items()
    }
    item = known(kind="complex", value=spelled["alpha"][0], **words)
    copies = decide(item).cleared
    assert seen(copies, "low")[0]["pattern"] == spelled["beta"][0]
    assert {copy.value for copy in copies.copies if "low" in names(from_hex(copy.to), WORLD)} == {
        spelled["beta"][0]
    }


def test_what_is_on_no_list_does_not_leave() -> None:
    private = {"x_case": "C-7", "created_by_ref": "identity--1", "extensions": {"a": {}}, "object_refs": []}
    item = known(alpha=contribution(markings=(marking_id(Tlp.CLEAR),), labels=("tlp:red",), **private))
    (body,) = seen(decide(item).cleared, "low")
    assert not (private.keys() - {"extensions"}) & body.keys()
    assert "a" not in body["extensions"]


def test_revoking_tells_exactly_those_that_hold_it() -> None:
    amber = contribution(markings=(marking_id(Tlp.AMBER),))
    first = decide(known(alpha=amber))
    assert not seen(first.cleared, "low")
    second = decide(says(first.known, "alpha", amber.model_copy(update={"revoked": True})))
    (stone,) = seen(second.cleared, "middle")
    (before,) = seen(first.cleared, "middle")
    assert (stone["id"], stone["created"], stone["revoked"]) == (before["id"], before["created"], True)
    assert stone["modified"] > before["modified"]
    assert stone["pattern"] == "[domain-name:value = 'withdrawn.invalid']"
    assert not seen(second.cleared, "low")
    third = decide(says(second.known, "alpha", amber))
    fresh, old = sorted(seen(third.cleared, "middle"), key=lambda body: body.get("revoked", False))
    assert fresh["id"] != before["id"], "a revocation in STIX is for ever"
    assert old == stone


def test_with_another_contribution_left_a_revocation_is_a_new_version() -> None:
    a, b = (contribution(markings=(marking_id(Tlp.CLEAR),), name=name) for name in ("A", "B"))
    first = decide(known(alpha=a, beta=b))
    second = decide(says(first.known, "alpha", a.model_copy(update={"revoked": True})))
    (body,) = seen(second.cleared, "low")
    assert (body["name"], body.get("revoked")) == ("B", None)


def test_growing_too_old_is_silent_and_comes_by_itself() -> None:
    item = known(alpha=contribution(markings=(marking_id(Tlp.AMBER),)))
    first = decide(item)
    later = waited(first, NOW_MS + 29 * DAY_MS + 1)
    assert not seen(later.cleared, "high")
    assert [body["id"] for body in seen(later.cleared, "middle")] == [
        body["id"] for body in seen(first.cleared, "middle")
    ]


def test_raising_the_tlp_retracts_from_those_above_whom_it_now_is() -> None:
    green, red = ((marking_id(level),) for level in (Tlp.CLEAR, Tlp.RED))
    first = decide(known(alpha=contribution(markings=green)))
    second = decide(says(first.known, "alpha", contribution(markings=red)))
    assert all(seen(second.cleared, who)[0]["revoked"] for who in ("low", "middle", "high"))


CLEAR, AMBER, RED = ((marking_id(level),) for level in (Tlp.CLEAR, Tlp.AMBER, Tlp.RED))
SUSPECTS = {"suspects": {"XA": 50}}


def test_a_suspect_is_not_told_even_when_something_that_it_never_saw_is_revoked() -> None:
    for first in ("silence", "revocation"):
        item = decide(known(alpha=contribution(markings=CLEAR), beta=contribution(markings=RED))).known
        words = [
            ("alpha", contribution(markings=CLEAR, handling=SUSPECTS)),
            ("beta", contribution(markings=RED, revoked=True)),
        ]
        for source, word in words if first == "silence" else reversed(words):
            settled = decide(says(item, source, word))
            item = settled.known
        assert not item.sent.withdrawn, first


def test_what_nobody_ever_got_silences_no_retraction() -> None:
    first = decide(known(alpha=contribution(markings=CLEAR)))
    hostile = decide(
        says(
            first.known,
            "beta",
            contribution(markings=CLEAR, handling={"embargo": {"until": "2027-01-01T00:00:00Z"}}),
        )
    )
    second = decide(says(hostile.known, "alpha", contribution(markings=RED)))
    assert [body.get("revoked") for body in seen(second.cleared, "low")] == [True]


def test_a_partner_without_an_agreement_still_hears_of_a_revocation() -> None:
    first = decide(known(alpha=contribution(markings=CLEAR)))
    terms = {"defaults": {"consent": "not-required"}}
    sources = [agreement(name, receives=False, contributes=terms) for name in SOURCES]
    without = world(*sources, agreement("low", receives=False), agreement("middle"), agreement("high"))
    assert without.numbering == WORLD.numbering
    second = decide(says(first.known, "alpha", contribution(markings=CLEAR, revoked=True)), without)
    low = WORLD.number["low"]
    assert [copy.live for copy in second.cleared.copies if from_hex(copy.to) & low] == [False]


def test_a_second_sighting_shows_and_anothers_does_not() -> None:
    first = decide(known(alpha=contribution(markings=CLEAR, last_seen_ms=NOW_MS - 5 * DAY_MS)))
    other = decide(says(first.known, "beta", contribution(markings=AMBER, last_seen_ms=NOW_MS)))
    (mine,) = [c for c in other.cleared.copies if "low" in names(from_hex(c.to), WORLD)]
    assert mine.last_seen == first.cleared.copies[0].last_seen
    own = decide(says(other.known, "alpha", contribution(markings=CLEAR, last_seen_ms=NOW_MS - DAY_MS)))
    (later,) = [c for c in own.cleared.copies if "low" in names(from_hex(c.to), WORLD)]
    assert later.last_seen > mine.last_seen
    assert (later.digest, later.body) == (mine.digest, mine.body), "no new version for a sighting"


def test_sharing_again_touches_only_those_that_were_told_of_the_withdrawal() -> None:
    item = decide(known(alpha=contribution(markings=CLEAR), beta=contribution(markings=AMBER, name="More"))).known
    (before,) = seen(decide(known(alpha=contribution(markings=CLEAR))).cleared, "low")
    for word in (contribution(markings=RED), contribution(markings=AMBER, name="More")):
        settled = decide(says(item, "beta", word))
        item = settled.known
        assert seen(settled.cleared, "low") in ([], [before])


def test_an_error_in_making_copies_silences_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    first = decide(known(alpha=contribution(markings=CLEAR)))

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("services.govern.parting.merge_visible", broken)
    second = decide(says(first.known, "alpha", contribution(markings=CLEAR, name="Other")))
    assert not seen(second.cleared, "low")
    assert second.decision.errors == ("copies: ZeroDivisionError",)


def test_facts_that_cannot_be_read_deny_their_contribution_only() -> None:
    strange = contribution(markings=CLEAR, handling={"category": "no such thing"})
    settled = decide(known(alpha=strange, beta=contribution(markings=CLEAR, name="B")))
    assert [body["name"] for body in seen(settled.cleared, "low")] == ["B"]
    assert settled.decision.errors == ("facts: ValidationError",)


def test_long_lists_are_joined_in_linear_time() -> None:
    entries = [f"type-{n}" for n in range(30_000)]
    item = known(alpha=contribution(markings=CLEAR, indicator_types=[*entries, *entries]))
    started = time.process_time()
    (body,) = seen(decide(item).cleared, "low")
    assert body["indicator_types"] == entries
    assert time.process_time() - started < 2


def test_an_agreement_that_ends_is_due() -> None:
    compiled = world(agreement("brief", ends="2026-12-01"), agreement("source", contributes=TERMS))
    settled = decide(known(source=contribution(markings=(marking_id(Tlp.CLEAR),))), compiled)
    later = waited(settled, 1_796_083_200_000, compiled)  # 2026-12-01
    assert seen(settled.cleared, "brief", compiled)
    assert not seen(later.cleared, "brief", compiled)


def test_a_ledger_of_another_database_stops_everything() -> None:
    strange = known(alpha=contribution())
    sent = strange.sent.model_copy(update={"numbering": "other"})
    with pytest.raises(Misconfigured, match="another numbering"):
        decide(strange.model_copy(update={"sent": sent}))


words = st.builds(
    lambda level, revoked, name, age: contribution(
        markings=(marking_id(level),) if level else (),
        revoked=revoked,
        name=name,
        modified_ms=NOW_MS - age * DAY_MS,
        last_seen_ms=NOW_MS - age * DAY_MS,
        created_ms=NOW_MS - (age + 1) * DAY_MS,
    ),
    st.sampled_from([None, *Tlp]),
    st.booleans(),
    st.sampled_from(["one", "two"]),
    st.sampled_from([1, 2, 40]),
)
histories = st.lists(st.tuples(st.sampled_from(SOURCES), words), min_size=1, max_size=12)


@given(histories)
@settings(max_examples=200, deadline=None)
def test_the_ledgers_promises(history: list[tuple[str, Contribution]]) -> None:
    item = known()
    held: dict[str, list[dict[str, Any]]] = {who: [] for who in ("low", "middle", "high")}
    withdrawn: dict[str, set[str]] = {who: set() for who in held}
    for source, word in history:
        item = says(item, source, word)
        settled = decide(item)
        assert decide(item) == settled, "a replay gives the same"
        item = settled.known
        again = decide(item)
        assert (again.cleared, again.decision) == (None, None), "and once remembered, nothing"
        if settled.cleared is None:
            continue
        assert len({copy.digest for copy in settled.cleared.copies}) == len(settled.cleared.copies)
        for copy in settled.cleared.copies:
            assert list(members(from_hex(copy.to))), "a copy is for somebody"
        for who, former in held.items():
            now = seen(settled.cleared, who)
            _check_one(former, now, withdrawn[who])
            held[who] = now
            withdrawn[who] |= {body["id"] for body in now if body.get("revoked")}


def _check_one(former: list[dict[str, Any]], now: list[dict[str, Any]], withdrawn: set[str]) -> None:
    before = {body["id"]: body for body in former}
    after = {body["id"]: body for body in now}
    assert len(after) == len(now), "one copy under one id"
    assert sum(not body.get("revoked") for body in now) <= 1
    assert withdrawn <= {id_ for id_, body in after.items() if body.get("revoked")}, "withdrawn is for ever"
    for id_, body in after.items():
        if id_ not in before:
            continue
        assert body["created"] == before[id_]["created"]
        same = {**body, "modified": ""} == {**before[id_], "modified": ""}
        assert (body["modified"] == before[id_]["modified"]) == same
        assert body["modified"] >= before[id_]["modified"]


@given(histories, st.sampled_from(["low", "middle", "high"]))
@settings(max_examples=200, deadline=None)
def test_what_one_may_never_see_changes_nothing_that_it_sees(
    history: list[tuple[str, Contribution]], who: str
) -> None:
    """Two hubs, one without the words that never reach this recipient: it holds the same in both, dates too."""
    reached: set[str] = set()
    both, without = known(), known()
    shown: list[list[dict[str, Any]]] = [[], []]
    for source, word in history:
        visible = bool(seen(decide(known(**{source: word})).cleared, who))
        reached |= {source} if visible else set()
        hubs = [both, without] if source in reached else [both]
        for place, item in enumerate(hubs):
            settled = decide(says(item, source, word))
            if settled.cleared is not None:
                shown[place] = seen(settled.cleared, who)
            both, without = (settled.known, without) if place == 0 else (both, settled.known)
        assert sorted(str(body | {"id": ""}) for body in shown[0]) == sorted(
            str(body | {"id": ""}) for body in shown[1]
        ), "ids are opaque; all else must be the same"
