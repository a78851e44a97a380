"""What recipients see over time: the ledger's promises, held by random histories."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.bits import from_hex, members
from schemas.cleared import Cleared
from schemas.errors import Misconfigured
from schemas.known import NEVER_MS, Contribution, Known
from schemas.markings import Tlp, marking_id
from services.govern.compile import Compiled
from services.govern.settle import Settled, settle
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, contribution, known, names, world

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
    return settle(item, KEY, compiled, "", now_ms, 7)


def seen(cleared: Cleared | None, who: str, compiled: Compiled = WORLD) -> list[dict[str, Any]]:
    """The bodies that one recipient holds after a state."""
    copies = cleared.copies if cleared else ()
    return [copy.body for copy in copies if who in names(from_hex(copy.to), compiled)]


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
    assert not private.keys() & body.keys()


def test_revoking_tells_exactly_those_that_hold_it() -> None:
    amber = contribution(markings=(marking_id(Tlp.AMBER),))
    first = decide(known(alpha=amber))
    assert not seen(first.cleared, "low")
    gone = first.known.model_copy(update={"contributions": {"alpha": amber.model_copy(update={"revoked": True})}})
    second = decide(gone)
    (stone,) = seen(second.cleared, "middle")
    (before,) = seen(first.cleared, "middle")
    assert (stone["id"], stone["created"], stone["revoked"]) == (before["id"], before["created"], True)
    assert stone["modified"] > before["modified"]
    assert stone["pattern"] == "[domain-name:value = 'withdrawn.invalid']"
    assert not seen(second.cleared, "low")
    third = decide(second.known.model_copy(update={"contributions": {"alpha": amber}}))
    fresh, old = sorted(seen(third.cleared, "middle"), key=lambda body: body.get("revoked", False))
    assert fresh["id"] != before["id"], "a revocation in STIX is for ever"
    assert old == stone


def test_with_another_contribution_left_a_revocation_is_a_new_version() -> None:
    a, b = (contribution(markings=(marking_id(Tlp.CLEAR),), name=name) for name in ("A", "B"))
    first = decide(known(alpha=a, beta=b))
    left = {"alpha": a.model_copy(update={"revoked": True}), "beta": b}
    second = decide(first.known.model_copy(update={"contributions": left}))
    (body,) = seen(second.cleared, "low")
    assert (body["name"], body.get("revoked")) == ("B", None)


def test_growing_too_old_is_silent_and_comes_by_itself() -> None:
    item = known(alpha=contribution(markings=(marking_id(Tlp.AMBER),)))
    first = decide(item)
    assert first.due_ms == NOW_MS + 29 * DAY_MS + 1
    later = decide(first.known, now_ms=first.due_ms)
    assert not seen(later.cleared, "high")
    assert seen(later.cleared, "middle") == seen(first.cleared, "middle")


def test_raising_the_tlp_retracts_from_those_above_whom_it_now_is() -> None:
    green, red = ((marking_id(level),) for level in (Tlp.CLEAR, Tlp.RED))
    first = decide(known(alpha=contribution(markings=green)))
    second = decide(first.known.model_copy(update={"contributions": {"alpha": contribution(markings=red)}}))
    assert all(seen(second.cleared, who)[0]["revoked"] for who in ("low", "middle", "high"))


def test_an_agreement_that_ends_is_due() -> None:
    compiled = world(agreement("brief", ends="2026-12-01"), agreement("source", contributes=TERMS))
    settled = decide(known(source=contribution(markings=(marking_id(Tlp.CLEAR),))), compiled)
    assert settled.due_ms < NEVER_MS
    later = decide(settled.known, compiled, settled.due_ms)
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
        item = item.model_copy(update={"contributions": {**item.contributions, source: word}})
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
