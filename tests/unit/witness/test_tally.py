"""What a decision says about each recipient over all contributions."""

from __future__ import annotations

import pytest

from schemas.bits import of
from schemas.decision import Group, Judgement, Outcome
from services.witness.tally import outcomes, tally, verdicts
from tests.unit.witness.world import decision, group, of_source

NAMES = {0: "alpha", 1: "beta", 2: "gamma"}


PUBLIC_AND_RED = decision(
    of_source("feed", group("permit", 0, 1, rules=("P00",)), group("deny", 2, rules=("F08", "P00"))),
    of_source("ngo", group("permit", 0, rules=("F10",), name="drop"), group("deny", 1, 2, rules=("F02",))),
)


def test_one_permit_is_enough() -> None:
    found = outcomes(PUBLIC_AND_RED)
    assert {name: who for name, who in found.items() if who} == {"permit": of([0, 1]), "deny": of([2])}


@pytest.mark.parametrize(
    ("first", "second", "best"),
    [
        ("permit", "deny", "permit"),
        ("deny", "permit", "permit"),
        ("tombstone", "deny", "tombstone"),
        ("wait", "deny", "wait"),
        ("wait", "permit", "permit"),
        ("retract", "tombstone", "retract"),
        ("deny", "deny", "deny"),
    ],
)
def test_the_best_outcome(first: Outcome, second: Outcome, best: Outcome) -> None:
    found = outcomes(decision(of_source("a", group(first, 0)), of_source("b", group(second, 0))))
    assert [name for name, who in found.items() if who] == [best]


def test_tally_counts_recipients_once() -> None:
    assert tally(PUBLIC_AND_RED) == {
        "versions": 1,
        "outcome.permit": 2,
        "outcome.deny": 1,
        "denied.F02": 1,
        "denied.F08": 1,
        "denied.P00": 1,
    }


def test_verdicts_name_partners_and_contributions() -> None:
    found = verdicts(PUBLIC_AND_RED, NAMES)
    assert list(found) == ["alpha", "beta", "gamma"]
    assert found["alpha"] == {
        "outcome": "permit",
        "rules": ["F10", "P00"],
        "obligations": {},
        "contributions": [
            {"source": "feed", "outcome": "permit", "rules": ["P00"], "obligations": {}},
            {"source": "ngo", "outcome": "permit", "rules": ["F10"], "obligations": {"name": "drop"}},
        ],
    }
    assert (found["beta"]["outcome"], found["beta"]["rules"]) == ("permit", ["P00"])
    assert (found["gamma"]["outcome"], found["gamma"]["rules"]) == ("deny", ["F02", "F08", "P00"])
    assert list(verdicts(PUBLIC_AND_RED, {})) == ["#0", "#1", "#2"]


NAME, BOTH = {"name": "drop"}, {"name": "pseudonymise", "pattern": "host-only"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param([("permit", NAME)], NAME, id="one"),
        pytest.param([("permit", NAME), ("permit", {})], {}, id="another leaves it in clear"),
        pytest.param([("permit", NAME), ("permit", BOTH)], NAME, id="the strongest, where all have one"),
        pytest.param([("permit", BOTH), ("permit", NAME)], NAME, id="the strongest, whatever their order"),
        pytest.param([("permit", NAME), ("deny", {})], NAME, id="what is denied leaves nothing in clear"),
        pytest.param([("deny", {}), ("retract", {"*": "require-ack"})], {"*": "require-ack"}, id="of the outcome"),
        pytest.param([("deny", {})], {}, id="none"),
    ],
)
def test_obligations_are_of_the_merge(
    words: list[tuple[Outcome, dict[str, str]]], expected: dict[str, str]
) -> None:
    judgements = [
        Judgement(source=str(n), groups=(Group(outcome=outcome, obligations=what, recipients="1"),))
        for n, (outcome, what) in enumerate(words)
    ]
    assert verdicts(decision(*judgements), NAMES)["alpha"]["obligations"] == expected
