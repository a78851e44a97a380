"""A table of cases against the real core: what is read of a file, what is refused of it, and what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.errors import Misconfigured
from schemas.handling import HANDLING_ID
from schemas.markings import Tlp, marking_id
from services.cli import cli
from services.policy_cases import Row, read_table, run
from tests.unit.govern.world import DATA

NOW = "2026-11-20T12:00:00Z"
LURE = "indicator--00000000-0000-4000-8000-000000000001"
KIT = "malware--00000000-0000-4000-8000-000000000002"
JOINS = "relationship--00000000-0000-4000-8000-000000000003"


def body(id_: str, tlp: Tlp | None = Tlp.GREEN, **fields: Any) -> dict[str, Any]:
    """An object; `handling` is phishing that needs no consent, where nothing else is said."""
    handling = {"category": "phishing", "consent": {"status": "not-required"}} | fields.pop("handling", {})
    type_ = id_.partition("--")[0]
    own: dict[str, dict[str, Any]] = {
        "indicator": {
            "pattern": "[domain-name:value = 'lure.example']",
            "pattern_type": "stix",
            "valid_from": "2026-11-01T00:00:00Z",
        },
        "malware": {"name": "Kit", "is_family": True},
        "relationship": {"relationship_type": "indicates", "source_ref": LURE, "target_ref": KIT},
    }
    return {
        "type": type_,
        "spec_version": "2.1",
        "id": id_,
        "created": "2026-11-01T00:00:00.000Z",
        "modified": "2026-11-10T00:00:00.000Z",
        **({"object_marking_refs": [marking_id(tlp)]} if tlp is not None else {}),
        "extensions": {HANDLING_ID: {"extension_type": "property-extension", **handling}},
        **own[type_],
        **fields,
    }


def partner(name: str, tlp: str = "amber", **receives: Any) -> dict[str, Any]:
    return {
        "partner": {
            "id": name,
            "name": name.title(),
            "kind": "ngo",
            "jurisdiction": "XN",
            "controlled_by": [],
            "starts": "2026-01-01",
            "ends": "2027-01-01",
        },
        "receives": {
            "tlp": tlp,
            "pap": "red",
            "onward": "none",
            "purposes": ["detect"],
            "categories": ["*"],
            "max_age_days": 365,
            **receives,
        },
    }


def case(*objects: dict[str, Any], item: str = LURE, **fields: Any) -> dict[str, Any]:
    content = {"objects": list(objects)} if objects else {}
    return {"name": "case", "why": "because", "item": item, "sent_to": [], "expect": {}, **content, **fields}


def word(source: str, *objects: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"source": source, "defaults": {}, "objects": list(objects), **fields}


def document(*cases: dict[str, Any], **fields: Any) -> dict[str, Any]:
    partners = [partner("low", "clear"), partner("high", "amber")]
    return {
        "now": NOW,
        "pacts": [],
        "state_capable": ["spyware"],
        "partners": partners,
        "cases": [*cases],
        **fields,
    }


def rows_of(*cases: dict[str, Any], **fields: Any) -> list[Row]:
    raw = json.dumps(document(*cases, **fields)).encode()
    return list(run(read_table(raw, "cases.json"), DATA))


def told(*cases: dict[str, Any], **fields: Any) -> dict[str, str]:
    """By partner the outcome and the rules of one case."""
    return {
        row.partner: " ".join([row.outcome, *(row.rules if row.outcome != "permit" else ())])
        for row in rows_of(*cases, **fields)
    }


SENT = {"sent_to": ["high"]}
BY_SELECTOR = {"granular_markings": [{"marking_ref": marking_id(Tlp.RED), "selectors": ["description"]}]}
CONTRIBUTIONS = [
    word("public", body(LURE, None), defaults={"tlp": "clear", "published": True}),
    word("shy", body(LURE, Tlp.RED)),
]


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        pytest.param(case(body(LURE)), "deny F02", "permit", id="a ceiling"),
        pytest.param(case(body(LURE, None)), "deny F01", "deny F01", id="no default of the made-up source"),
        pytest.param(case(body(LURE, handling={"consent": {}})), "deny P00", "deny P00", id="refused at the door"),
        pytest.param(case(body(LURE, **BY_SELECTOR)), "deny F01", "deny F01", id="refused for a granular marking"),
        pytest.param(
            case(body(LURE, None, object_marking_refs=["x"])), "deny F01", "deny F01", id="refused for a marking"
        ),
        pytest.param(case(body(LURE, revoked=True)), "deny F07", "deny F07", id="revoked, never sent"),
        pytest.param(case(body(LURE, revoked=True), **SENT), "deny F07", "tombstone F07", id="revoked, sent"),
        pytest.param(
            case(body(LURE, handling={"consent": {"status": "withdrawn"}}), **SENT),
            "deny F03",
            "retract F03",
            id="consent withdrawn, sent",
        ),
        pytest.param(
            case(body(LURE, Tlp.CLEAR), body(KIT, Tlp.GREEN), body(JOINS, Tlp.CLEAR), item=JOINS),
            "deny F11",
            "permit",
            id="an end in another partition",
        ),
        pytest.param(
            case(body(LURE), body(JOINS), item=JOINS), "deny F11", "deny F11", id="an end that never came"
        ),
        pytest.param(
            case(body(LURE, pattern="[domain-name:value = 'withdrawn.invalid']", revoked=True), **SENT),
            "deny P00",
            "deny P00",
            id="a revocation of nobody knows what",
        ),
        pytest.param(
            case(contributions=CONTRIBUTIONS), "permit", "permit", id="one permit of several sources is enough"
        ),
        pytest.param(
            case(contributions=[word("one", body(LURE, Tlp.RED)), word("other", body(LURE, None))]),
            "deny F01 F02",
            "deny F01 F02",
            id="all that deny, of several sources",
        ),
        pytest.param(
            case(
                contributions=[
                    word("one", body(LURE, Tlp.RED)),
                    word("other", body(LURE.replace("0001", "0009"), Tlp.CLEAR)),
                ]
            ),
            "permit",
            "permit",
            id="by identity, under another id",
        ),
        pytest.param(
            case(contributions=[word("one", body(LURE, Tlp.CLEAR)), word("other", body(LURE, handling={"x": 1}))]),
            "permit",
            "permit",
            id="one of them refused",
        ),
        pytest.param(
            case(
                item=JOINS,
                contributions=[
                    word("one", body(LURE, Tlp.CLEAR), body(KIT, Tlp.CLEAR)),
                    word("other", body(JOINS, Tlp.CLEAR)),
                ],
            ),
            "deny F11",
            "deny F11",
            id="references are to the source's own objects",
        ),
        pytest.param(
            case(contributions=[word("low", body(LURE, None), defaults={"tlp": "clear"})]),
            "permit",
            "permit",
            id="a source that is a partner",
        ),
    ],
)
def test_what_becomes_of_a_case(given: dict[str, Any], low: str, high: str) -> None:
    assert told(given) == {"low": low, "high": high}


def test_suspicion_counts_from_reliable_sources_only() -> None:
    cited = body(LURE, Tlp.CLEAR, external_references=[{"source_name": "case", "external_id": "7"}])
    suspected = body(LURE, Tlp.RED, handling={"suspects": {"XN": 50}})

    def told_to_one_in_the_suspected_state(reliability: str) -> tuple[str, dict[str, str]]:
        words = [word("one", cited), word("other", suspected, reliability=reliability)]
        [row] = rows_of(case(contributions=words), partners=[partner("low")])
        return row.outcome, dict(row.obligations)

    assert told_to_one_in_the_suspected_state("E") == ("permit", {})
    assert told_to_one_in_the_suspected_state("B") != ("permit", {})


def test_one_id_may_mean_different_items_of_different_sources() -> None:
    other = body(LURE, Tlp.GREEN, pattern="[domain-name:value = 'other.example']")
    given = case(contributions=[word("one", body(LURE, Tlp.CLEAR)), word("other", other)])
    assert told(given) == {"low": "permit", "high": "permit"}
    given = case(contributions=[word("one", body(LURE, Tlp.RED)), word("other", other)], sent_to=["low"])
    assert told(given) == {"low": "deny F02", "high": "permit"}


def test_a_table_may_say_what_markings_mean() -> None:
    unknown = "marking-definition--00000000-0000-4000-8000-00000000000a"
    given = case(body(LURE, None, object_marking_refs=[unknown]))
    assert told(given)["high"] == "deny F01"
    assert told(given, markings={unknown: "green"}) == {"low": "deny F02", "high": "permit"}


def test_who_only_contributes_gets_nothing() -> None:
    giver = {"partner": partner("giver")["partner"], "contributes": {"reliability": "A"}}
    assert told(case(body(LURE)), partners=[giver]) == {"giver": "deny P00"}


@pytest.mark.parametrize(
    ("expected", "passed"),
    [
        ({"outcome": "deny"}, True),
        ({"outcome": "deny", "rules": ["F02"]}, True),
        ({"outcome": "permit"}, False),
        ({"outcome": "deny", "rules": []}, False),
        ({"outcome": "deny", "rules": ["F02", "F08"]}, False),
        ({"outcome": "deny", "obligations": {}}, True),
        ({"outcome": "deny", "obligations": {"name": "drop"}}, False),
    ],
)
def test_only_what_is_expected_is_compared(expected: dict[str, Any], passed: bool) -> None:
    low, high = rows_of(case(body(LURE), expect={"low": expected}))
    assert (low.passed, high.expected) == (passed, None)


SEVERAL = "[domain-name:value = 'a.example' OR domain-name:value = 'b.example']"
FINE = document(case(body(LURE)))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        pytest.param({**FINE, "extra": 1}, "/extra", id="a key at the top"),
        pytest.param(document(case(body(LURE), extra=1)), "/cases/0/extra", id="a key of a case"),
        pytest.param(
            document(case(body(LURE), expect={"low": {"outcome": "deny", "rule": []}})),
            "/cases/0/expect/low/rule",
            id="a key of an expectation",
        ),
        pytest.param(
            document(case(contributions=[word("a", body(LURE), weight=1)])),
            "/cases/0/contributions/0/weight",
            id="a key of a contribution",
        ),
        pytest.param(
            document(case(contributions=[word("a", body(LURE), defaults={"tpl": "red"})])),
            "/cases/0/contributions/0/defaults/tpl",
            id="a key of a source's defaults",
        ),
        pytest.param(document(case(body(LURE)), partners=[partner("a", colour=1)]), "/partners/0/receives/colour"),
        pytest.param(
            document(case(body(LURE), expect={"low": {"outcome": "maybe"}})), "/cases/0/expect/low/outcome"
        ),
        pytest.param(document(case(body(LURE), expect={"who": {"outcome": "deny"}})), "'who'", id="nobody's"),
        pytest.param(document(case(body(LURE), sent_to=["who"])), "'who'", id="sent to nobody"),
        pytest.param(document(case()), "either `objects` or `contributions`", id="no objects"),
        pytest.param(document(case(body(LURE), contributions=CONTRIBUTIONS)), "either `objects`", id="both"),
        pytest.param(document(case(body(LURE), item=KIT)), "none of the objects", id="no such item"),
        pytest.param(
            document(case(contributions=[word("a", body(LURE)), word("a", body(LURE))])), "'a' is there twice"
        ),
        pytest.param(document(case(body(LURE)), partners=[partner("a"), partner("a")]), "'a' is there twice"),
        pytest.param(document(case(body(LURE)), markings={"x": "blue"}), "'blue'", id="a level"),
        pytest.param(document(case(body(LURE)), now="today"), "/now", id="the clock"),
        pytest.param(document(), "/cases", id="no cases"),
        pytest.param(document(case(body(LURE, pattern=SEVERAL))), "several items", id="an object of several items"),
    ],
)
def test_a_file_that_is_wrong_is_refused_and_the_place_is_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        list(run(read_table(json.dumps(wrong).encode(), "cases.json"), DATA))
    assert says in str(caught.value)
    assert "cases" in caught.value.where
    assert caught.value.hint


@pytest.mark.parametrize("raw", [b"", b"{", b'{"now": 1, "now": 2}', b"[" * 100, b"\xff", b'{"now": NaN}', b"[]"])
def test_what_is_no_json_of_ours_is_refused(raw: bytes) -> None:
    with pytest.raises(Misconfigured):
        read_table(raw, "cases.json")


# --- the command --------------------------------------------------------------------------------------------------


def command(tmp_path: Path, given: dict[str, Any] | str, *options: str) -> tuple[int, str]:
    file = tmp_path / "cases.json"
    file.write_text(given if isinstance(given, str) else json.dumps(given))
    result = CliRunner().invoke(cli, ["policy", "test", str(file), *options])
    return result.exit_code, result.output


PASSES = case(body(LURE), expect={"low": {"outcome": "deny", "rules": ["F02"]}, "high": {"outcome": "permit"}})
FAILS = case(body(LURE), name="wrong", expect={"low": {"outcome": "permit", "obligations": {"name": "drop"}}})


def test_the_command_says_what_passed(tmp_path: Path) -> None:
    code, said = command(tmp_path, document(PASSES))
    assert code == 0
    assert said.splitlines()[-1] == "2 passed, 0 failed"
    assert [line.split()[:5] for line in said.splitlines()[1:-1]] == [
        ["PASS", "case", "low", "deny", "F02"],
        ["PASS", "case", "high", "permit", said.splitlines()[2].split()[4]],
    ]


def test_the_command_says_what_failed_and_what_was_expected(tmp_path: Path) -> None:
    code, said = command(tmp_path, document(PASSES, FAILS))
    assert code == 1
    assert said.splitlines()[-1] == "2 passed, 1 failed"
    [failed] = [line for line in said.splitlines() if line.startswith("FAIL")]
    assert failed.endswith("expected: permit, obligations name: drop")
    [uncompared] = [line for line in said.splitlines() if line.startswith("-")]
    assert uncompared.split()[1:4] == ["wrong", "high", "permit"]


def test_the_command_says_why_the_door_refused(tmp_path: Path) -> None:
    given = case(body(LURE, **BY_SELECTOR), expect={"low": {"outcome": "deny", "rules": ["F01"]}})
    code, said = command(tmp_path, document(given))
    assert code == 0
    assert "at the door: case-source /objects/0: granular_markings: the selector" in said


def test_the_command_speaks_json(tmp_path: Path) -> None:
    code, said = command(tmp_path, document(PASSES, FAILS), "--json")
    found = json.loads(said)
    assert (code, found["passed"], found["failed"]) == (1, 2, 1)
    assert found["rows"][2] == {
        "case": "wrong",
        "why": "because",
        "partner": "low",
        "passed": False,
        "outcome": "deny",
        "rules": ["F02"],
        "obligations": {},
        "expected": {"outcome": "permit", "obligations": {"name": "drop"}},
        "notes": [],
    }


@pytest.mark.parametrize("given", ["{", json.dumps({**FINE, "extra": 1})])
def test_a_file_that_is_wrong_is_exit_2(tmp_path: Path, given: str) -> None:
    code, said = command(tmp_path, given)
    assert code == 2
    assert "cases.json" in said


def test_the_table_that_defines_the_policy(shared: Path) -> None:
    file = shared / "policy" / "cases.json"
    failed = [row for row in run(read_table(file.read_bytes(), str(file)), DATA) if not row.passed]
    assert not failed, "\n".join(
        f"{row.case} {row.partner}: {row.outcome} {row.rules} {dict(row.obligations)}, not {row.expected}"
        for row in failed
    )
