"""The sharing policy as a table of cases: what was worked out by hand from its text, against the real core."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from schemas.decision import Outcome
from schemas.handling import HANDLING_ID, TECHNIQUES, Kind
from services.govern.policy import RULES
from services.policy_cases import Case, Table, run
from tests.unit.govern.policy_table import FILES, table
from tests.unit.govern.world import DATA

TABLE = table("cases.json")
RECEIVING = {partner.id for partner in TABLE.partners if partner.receives}


@pytest.mark.parametrize("file", FILES)
def test_everybody_gets_what_the_table_says(file: str) -> None:
    rows = list(run(table(file), FILES[file]))
    assert rows
    wrong = [
        f"{row.case} {row.partner}: {row.outcome} {row.rules} {dict(row.obligations)}"
        for row in rows
        if not row.passed
    ]
    assert not wrong


def test_every_case_says_what_each_recipient_gets() -> None:
    for case in TABLE.cases:
        assert case.expect.keys() == RECEIVING, case.name
        for expected in case.expect.values():
            assert expected.obligations is not None if expected.outcome == "permit" else expected.rules, case.name


def test_the_table_is_wide_enough_to_hold_the_policy() -> None:
    """Every kind of partner, outcome, rule and technique is there, and both answers of each partner."""
    assert len(TABLE.cases) >= 60 and len(RECEIVING) >= 6
    assert len({case.name for case in TABLE.cases}) == len(TABLE.cases)
    assert {p.partner.kind for p in TABLE.partners if p.receives} == set(get_args(Kind))
    private = [p for p in TABLE.partners if p.receives and p.partner.kind != "government"]
    assert {bool(p.partner.controlled_by) for p in private} == {True, False}
    expected = [(name, one) for case in TABLE.cases for name, one in case.expect.items()]
    assert {one.outcome for _, one in expected} == set(get_args(Outcome))
    assert {rule for _, one in expected for rule in one.rules or ()} == {name for name, _ in RULES} | {"F07"}
    techniques = {technique for _, one in expected for technique in (one.obligations or {}).values()}
    assert techniques == set(TECHNIQUES) - {"deny"}
    permitted = Counter(name for name, one in expected if one.outcome == "permit")
    in_force = {p.id for p in TABLE.partners if p.id in RECEIVING and p.id != "old"}
    assert permitted.keys() == in_force and min(permitted.values()) > 20


def test_what_passes_tells_what_fails() -> None:
    """A table with another expectation fails: what is compared is what was decided."""
    case = next(case for case in TABLE.cases if case.name == "granular-red")
    other = case.model_copy(update={"expect": {**case.expect, "plat": case.expect["help"]}})
    rows = run(TABLE.model_copy(update={"cases": (other,)}), DATA)
    assert [row.partner for row in rows if not row.passed] == ["plat"]


def test_an_author_that_the_hub_does_not_hold_counts_as_withheld() -> None:
    indicator = _plain("green")
    author = "identity--2a5c1a3e-32c4-5c59-8d0a-9fd4e1d5a6b1"
    case = Case.model_validate(
        {
            "name": "author-unknown",
            "item": indicator["id"],
            "objects": [{**indicator, "created_by_ref": author}],
            "expect": {"help": {"outcome": "permit", "obligations": {"created_by_ref": "drop"}}},
        }
    )
    assert all(row.passed for row in run(_with(case), DATA))


def _plain(name: str) -> dict[str, object]:
    [body] = next(case for case in TABLE.cases if case.name == name).objects or ()
    assert HANDLING_ID in body["extensions"]
    return body


def _with(*cases: Case) -> Table:
    return TABLE.model_copy(update={"cases": cases})
