"""What a person is told of an item, from the JSON that the hub answers."""

from __future__ import annotations

from typing import Any

import pytest

from services.telling import journey, overview

DAY_MS = 1_790_000_000_000  # 2026-09-21
WORD = {
    "source": "kestrel",
    "reliability": "A",
    "count": 3,
    "first_seen_ms": DAY_MS,
    "last_seen_ms": DAY_MS + 86_400_000,
    "confidence": 80,
    "labels": ["phishing"],
    "revoked": False,
    "gone": False,
}
FOUND: dict[str, Any] = {
    "data_version": "abcdef0123456789",
    "registrable_domain": "evil.example",
    "lookalikes": [{"of": "good.example", "distance": 1, "how": "edit"}],
    "country": "XA",
    "asn": 64500,
    "as_name": "Example Net",
    "warnings": [{"list": "Some list", "kind": "benign"}],
    "do_not_block": True,
    "protected": False,
    "families": ["Pot"],
    "vendors": ["Pan Ltd"],
    "techniques": ["T1566"],
    "states": ["XA"],
}


def told(**fields: Any) -> list[str]:
    item = {"id": "indicator--1", "kind": "domain", "value": "login.evil.example", "partners": [], **fields}
    return journey({"items": [item]}, {}).splitlines()


def test_who_said_it_and_what_is_known() -> None:
    lines = told(
        contributions=[WORD, {**WORD, "source": "lantern", "count": 1, "last_seen_ms": DAY_MS, "revoked": True}],
        feedback=[{"kind": "opinion", "source": "meadow", "value": 1, "at_ms": DAY_MS}],
        enrichment=FOUND,
        joins=[["domain", "evil.example"]],
        score={"value": 44, "parts": {"base": 80, "disputed": -36}},
        active_until_ms=DAY_MS,
    )
    assert lines == [
        "domain login.evil.example  (indicator--1)",
        "  said by   kestrel (A), 3 times, 2026-09-21 to 2026-09-22, confidence 80, labels phishing",
        "  said by   lantern (A), once, 2026-09-21, confidence 80, labels phishing, revoked",
        "  opinion   meadow: 1, 2026-09-21",
        "  found     registrable domain evil.example · looks like good.example (edit, distance 1) · "
        "AS64500 Example Net · country XA · on warning lists: Some list · do not block · families Pot · "
        "vendors Pan Ltd · techniques T1566 · context XA (of the vendor or group; nobody is suspected by this)"
        "  (data abcdef012345)",
        "  joined by domain evil.example",
        "  score     44 of 100: base +80, disputed -36; active until 2026-09-21",
    ]


def test_where_nothing_is_known_nothing_is_made_up() -> None:
    assert told() == ["domain login.evil.example  (indicator--1)"]
    empty = {name: type(value)() for name, value in FOUND.items()} | {"asn": None, "data_version": "v"}
    assert told(enrichment=empty) == ["domain login.evil.example  (indicator--1)", "  found     nothing  (data v)"]


@pytest.mark.parametrize("count", [1, 8, 9, 500])
def test_many_sources_are_summed_up(count: int) -> None:
    lines = told(contributions=[{**WORD, "source": f"s{n}"} for n in range(count)])
    assert len(lines) == 1 + min(count, 8) + (count > 8)


OWES = {"withdrawals": 0, "acknowledge": 0, "act": 0, "more": [], "oldest_hours": None, "reminders": 0}
OWED: list[tuple[dict[str, Any], str]] = [
    ({}, "receives"),
    ({"reminders": 7}, "receives"),
    ({"withdrawals": 3, "oldest_hours": 30}, "receives; withdrawals not acknowledged 3, since 30 h"),
    (
        {"withdrawals": 10_000, "oldest_hours": 99, "reminders": 1_234, "act": 2, "more": ["withdrawals"]},
        "receives; withdrawals not acknowledged 10,000+, since 99 h (1,234 reminders so far); overdue to act on 2",
    ),
    ({"acknowledge": 1_000, "more": ["acknowledge"]}, "receives; overdue to acknowledge 1,000+"),
]


@pytest.mark.parametrize(("owes", "said"), OWED)
def test_status_says_what_partners_owe(owes: dict[str, Any], said: str) -> None:
    row = {"id": "alpha", "suspended": False, "receives": True, "owes": {**OWES, **owes}}
    answer = {
        "counts": {},
        "outbox": 0,
        "rejected": 0,
        "policy": "0" * 64,
        "policy_version": 1,
        "policy_problem": None,
        "policy_waits": [],
        "connectors": {"problem": None, "connectors": []},
        "partners": [row],
    }
    assert overview(answer).splitlines()[-1] == f"  {'alpha':<20} {said}"


def copy(id_: str, live: bool) -> dict[str, Any]:
    return {"live": live, "object": {"id": id_, "type": "indicator", "created": "2026-11-02T09:00:00.000Z"}}


def row(name: str, *copies: dict[str, Any]) -> dict[str, Any]:
    return {"partner": name, "outcome": "deny", "rules": ["F07"], "feed": list(copies)}


def test_a_withdrawn_item_is_told_by_the_id_that_was_sent() -> None:
    partners = [row("alpha", copy("indicator--0", False)), row("beta", copy("indicator--b", False)), row("gamma")]
    assert told(value="", partners=partners)[:4] == [
        "domain (withdrawn)  (indicator--0)",
        "  x alpha            was told that it is withdrawn",
        "  x beta             was told that it is withdrawn, as indicator--b",
        "  - gamma            deny: F07",
    ]


def test_who_has_it_under_an_id_of_its_own_is_told_with_that() -> None:
    partners = [row("alpha", copy("indicator--1", True)), row("beta", copy("indicator--b", True))]
    first, alpha, beta = told(partners=partners)[:3]
    assert first.endswith("(indicator--1)")
    assert ("indicator--" in alpha, beta.endswith(", as indicator--b")) == (False, True)


def test_one_reminder_is_one() -> None:
    answer: dict[str, Any] = {
        "counts": {}, "outbox": 0, "rejected": 0, "policy": "0" * 64, "policy_version": 1,
        "policy_problem": None, "policy_waits": [], "connectors": {"problem": None, "connectors": []},
        "partners": [
            {"id": "a", "suspended": False, "receives": True,
             "owes": {**OWES, "withdrawals": 1, "oldest_hours": 25, "reminders": 1}}
        ],
    }  # fmt: skip
    assert overview(answer).endswith("since 25 h (1 reminder so far)")
