"""What a change of agreements and policy widens; and that what is said to widen nothing really widens nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.agreement import Agreement, Policy, Receives, Rulebook
from schemas.bits import NOBODY, union
from schemas.handling import CATEGORIES, CONSENT_STATUSES, PURPOSES
from schemas.known import Known
from schemas.markings import PREFIX, Pap, Tlp, marking_id
from services import policy_changes
from services.govern.compile import compile_policy
from services.govern.policy import decide
from services.govern.references import Ends
from services.hub import Directory
from services.policy_changes import changes, in_force, widening
from tests.unit.govern.world import DAY_MS, NOW_MS, contribution, facts_in, names
from tests.unit.govern.world import agreement as world_agreement

OPENCTI = PREFIX + "826578e1-40ad-459f-bc73-ede076f81f37"
OWN = PREFIX + "0b57a0a5-0000-4000-8000-0000000000aa"


def book(*agreements: Agreement, **policy: Any) -> Rulebook:
    return Rulebook({a.id: a for a in agreements}, Policy.model_validate(policy))


def told(old: Rulebook, new: Rulebook) -> dict[str, bool]:
    """name → whether anything of it widens."""
    found: dict[str, bool] = {}
    for change in changes(old, new):
        assert change.what and "None" not in change.what
        found[change.name] = found.get(change.name, False) or change.widens
    assert set(widening(old, new)) == {name for name, widens in found.items() if widens}
    return found


RECEIVES: list[tuple[str, Any, Any, bool, bool]] = [
    # key, one value, another; whether the change widens, and whether the change back does
    ("tlp", "green", "amber", True, False),
    ("pap", "clear", "red", True, False),
    ("onward", "none", "clients", True, True),
    ("onward", "clients", "community", True, True),
    ("purposes", ["detect"], ["detect", "assist"], True, False),
    ("purposes", ["detect"], ["assist"], True, True),
    ("categories", ["spyware"], ["*"], True, False),
    ("categories", ["spyware", "*"], ["*"], False, False),
    ("categories", list(CATEGORIES), ["*"], True, False),
    ("types", ["indicator"], ["indicator", "malware"], True, False),
    ("max_age_days", 30, 31, True, False),
    ("min_confidence", 30, 31, False, True),
    ("collections", [], ["spyware", "ddos"], False, False),
    ("starts", "2026-01-01", "2026-01-02", False, True),
    ("ends", "2027-01-01", "2027-01-02", True, False),
    ("kind", "ngo", "government", True, True),
    ("jurisdiction", "XA", "XB", True, True),
    ("controlled_by", [], ["XA"], False, True),
    ("controlled_by", ["XA"], ["XB"], True, True),
    ("receives", False, True, True, False),
]


@pytest.mark.parametrize(("key", "one", "other", "there", "back"), RECEIVES)
def test_what_a_recipient_may_get(key: str, one: Any, other: Any, there: bool, back: bool) -> None:
    before, after = (book(world_agreement("alpha", **{key: value})) for value in (one, other))
    assert any(told(before, after).values()) is there
    assert any(told(after, before).values()) is back


def test_who_passes_on_to_nobody_gets_no_more_where_it_is_not_cleared_for_more() -> None:
    before, after = (book(world_agreement("alpha", tlp="green", onward=to)) for to in ("community", "none"))
    assert told(before, after) == {"alpha": False}


CONTRIBUTES: list[tuple[dict[str, Any], dict[str, Any], bool, bool]] = [
    ({}, {"attribution": "must-not"}, False, True),
    ({}, {"attribution": "must"}, True, False),
    ({"probation": True}, {}, True, False),
    ({}, {"distribution": "ignore"}, True, False),
    ({}, {"strict": True}, False, True),
    ({}, {"snapshot": True}, False, True),
    ({}, {"csv": {"value": "ioc"}}, True, True),
    ({"reliability": "C"}, {"reliability": "D"}, True, True),
    ({"reliability": "A"}, {"reliability": "C"}, False, False),
    ({}, {"defaults": {"tlp": "red"}}, True, False),
    ({"defaults": {"tlp": "red"}}, {"defaults": {"tlp": "amber"}}, True, False),
    ({}, {"defaults": {"pap": "red"}}, False, True),
    ({}, {"defaults": {"consent": "not-required"}}, True, False),
    ({}, {"defaults": {"consent": "unknown"}}, False, False),
    ({}, {"defaults": {"purposes": ["detect"]}}, False, True),
    ({}, {"defaults": {"category": "phishing"}}, True, True),
    ({}, {"defaults": {"affected": ["XA"]}}, True, True),
    ({"defaults": {"affected": ["XA"]}}, {"defaults": {"affected": ["XA", "XB"]}}, False, True),
    ({}, {"defaults": {"confidence": 1}}, True, False),
    (
        {"defaults": {"tlp": "clear"}},
        {"defaults": {"tlp": "clear", "published": True}},
        True,
        False,
    ),
]


@pytest.mark.parametrize(("one", "other", "there", "back"), CONTRIBUTES)
def test_what_a_source_lets_go(one: dict[str, Any], other: dict[str, Any], there: bool, back: bool) -> None:
    before, after = (book(world_agreement("src", receives=False, contributes=terms)) for terms in (one, other))
    assert told(before, after) == {"src": there}
    assert told(after, before) == {"src": back}


POLICIES: list[tuple[dict[str, Any], dict[str, Any], bool, bool]] = [
    ({}, {"pacts": [["XA", "XB"]]}, False, True),
    ({"pacts": [["XA", "XB"]]}, {"pacts": [["XA", "XC"]]}, True, True),
    ({"state_capable": ["spyware"]}, {"state_capable": ["spyware", "ddos"]}, False, True),
    ({}, {"markings": {OWN: "red"}}, True, False),
    ({"markings": {OWN: "red"}}, {"markings": {OWN: "amber"}}, True, False),
    ({"markings": {OWN: "red"}}, {"markings": {OWN: "pap:red"}}, True, True),
    ({"markings": {OWN: "red"}}, {"markings": {OWN: "statement"}}, True, True),
    ({}, {"markings": {OPENCTI: "red"}}, False, True),
    ({"markings": {OWN: "red"}}, {"markings": {OWN.upper().replace(PREFIX.upper(), ""): "red"}}, False, True),
    ({"statistics_k": 5}, {"statistics_k": 4}, True, False),
    ({"retention_days": 5}, {"retention_days": 4}, False, True),
    ({"confirmations": 2}, {"confirmations": 1}, True, False),
]


@pytest.mark.parametrize(("one", "other", "there", "back"), POLICIES)
def test_what_is_no_partners(one: dict[str, Any], other: dict[str, Any], there: bool, back: bool) -> None:
    before, after = book(**one), book(**other)
    assert told(before, after) == {"policy": there}
    assert told(after, before) == {"policy": back}


def test_a_pact_the_other_way_round_is_the_same_pact() -> None:
    assert changes(book(pacts=[["XA", "XB"]]), book(pacts=[["XB", "XA"]])) == ()


def test_who_comes_is_confirmed_and_who_goes_is_gone_at_once() -> None:
    alpha, src = world_agreement("alpha"), world_agreement("src", receives=False, contributes={"reliability": "D"})
    assert told(book(), book(alpha)) == {"alpha": True}
    assert in_force(book(), book(alpha), ()) == book()
    assert in_force(book(), book(alpha), {"alpha"}) == book(alpha)
    assert told(book(alpha, src), book()) == {"alpha": False, "src": False}
    assert in_force(book(alpha, src), book(), ()) == book()


def test_a_source_that_goes_says_nothing_more_but_goes_on_suspecting() -> None:
    both = world_agreement("both", contributes={"reliability": "B"})
    assert told(book(both), book()) == {"both": True}
    held = in_force(book(both), book(), ()).agreements["both"]
    assert held.receives is None
    assert held.contributes is not None and held.contributes.probation and held.contributes.reliability == "B"
    assert held.partner.ends < both.partner.ends
    assert in_force(book(both), book(), {"both"}) == book()


def test_what_narrows_does_not_wait_for_what_widens() -> None:
    before = world_agreement("alpha", tlp="red", onward="none", max_age_days=100, purposes=["detect", "assist"])
    after = world_agreement("alpha", tlp="red", onward="clients", max_age_days=30, purposes=["detect", "respond"])
    receives = in_force(book(before), book(after), ()).agreements["alpha"].receives
    assert receives is not None
    assert (receives.tlp, receives.onward, receives.max_age_days, receives.purposes) == (
        "amber",
        "none",
        30,
        ("detect",),
    )


def test_of_two_kinds_neither_holds_before_it_is_confirmed() -> None:
    before, after = world_agreement("alpha", kind="ngo"), world_agreement("alpha", kind="government")
    assert in_force(book(before), book(after), ()).agreements["alpha"].receives is None
    assert in_force(book(before), book(after), {"alpha"}) == book(after)


def test_a_confirmation_is_for_one_transition() -> None:
    low, middle, high = (book(world_agreement("alpha", tlp=tlp)) for tlp in ("green", "amber", "red"))
    assert len({widening(*pair)["alpha"] for pair in ((low, middle), (low, high), (middle, high))}) == 3


# -- the proof: by deciding -------------------------------------------------------------------------------

STATES = st.sampled_from(["XA", "XB", "XC"])


def some(values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=3)


DATES = st.sampled_from(["2026-01-01", "2026-11-18", "2026-11-19", "2027-01-01"])
PARTNER: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(["platform", "government", "ngo", "cert"]),
    "jurisdiction": STATES,
    "controlled_by": st.lists(STATES, unique=True, max_size=2),
    "starts": st.sampled_from(["2025-01-01", "2026-11-18", "2026-11-19"]),
    "ends": st.sampled_from(["2026-11-20", "2027-01-01"]),
}
TERMS: dict[str, st.SearchStrategy[Any]] = {
    "tlp": st.sampled_from([level.label for level in Tlp]),
    "pap": st.sampled_from([level.label for level in Pap]),
    "onward": st.sampled_from(["none", "clients", "community"]),
    "purposes": some(PURPOSES),
    "categories": some(["*", "spyware", "phishing"]),
    "types": some(["*", "indicator", "relationship"]),
    "max_age_days": st.sampled_from([1, 10, 100]),
    "min_confidence": st.sampled_from([0, 50, 100]),
}
DEFAULTS: dict[str, st.SearchStrategy[Any]] = {
    "tlp": st.sampled_from([None, *(level.label for level in Tlp)]),
    "pap": st.sampled_from([None, *(level.label for level in Pap)]),
    "consent": st.sampled_from([None, *CONSENT_STATUSES]),
    "purposes": st.none() | some(PURPOSES),
    "category": st.sampled_from([None, "spyware", "phishing"]),
    "affected": st.none() | st.lists(STATES, unique=True, max_size=2),
    "published": st.sampled_from([None, True, False]),
    "confidence": st.sampled_from([None, 10, 60]),
}
CONTRIBUTED: dict[str, st.SearchStrategy[Any]] = {
    "reliability": st.sampled_from("ABCDEF"),
    "probation": st.sampled_from([False, False, True]),
}
RULES: dict[str, st.SearchStrategy[Any]] = {
    "pacts": st.lists(st.tuples(STATES, STATES), max_size=2),
    "state_capable": some(["spyware", "phishing"]),
    "markings": st.dictionaries(
        st.sampled_from([OWN, OWN.upper().replace(PREFIX.upper(), PREFIX), OPENCTI]),
        st.sampled_from(["statement", "clear", "amber", "red", "pap:green", "pap:red"]),
    ),
}
Document = dict[str, dict[str, Any]]


WIDE: dict[str, Any] = {
    "kind": "ngo",
    "jurisdiction": "XA",
    "controlled_by": [],
    "starts": "2025-01-01",
    "ends": "2027-01-01",
    "tlp": "red",
    "pap": "red",
    "onward": "none",
    "purposes": [*PURPOSES],
    "categories": ["*"],
    "types": ["*"],
    "max_age_days": 100,
    "min_confidence": 0,
    "reliability": "A",
    "probation": False,
    "consent": "not-required",
    "category": None,
    "affected": None,
    "published": None,
    "confidence": 60,
}
"""With these an item is mostly permitted, so that a change of one of them shows."""


def fields(table: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    wide = {key: st.just(WIDE[key]) for key in table if key in WIDE}
    return st.fixed_dictionaries({k: v | wide[k] | wide[k] | wide[k] if k in wide else v for k, v in table.items()})


def documents(source: bool) -> st.SearchStrategy[Document]:
    parts = {"partner": fields(PARTNER), "receives": st.just({}) if source else fields(TERMS)}
    parts["contributes"] = fields(CONTRIBUTED) if source else st.just({})
    parts["defaults"] = fields(DEFAULTS) if source else st.just({})
    return st.fixed_dictionaries(parts)


TABLES = {"partner": PARTNER, "receives": TERMS, "contributes": CONTRIBUTED, "defaults": DEFAULTS}


@st.composite
def changed(draw: st.DrawFn, document: Document) -> Document | None:
    """The same with a few other values, or nothing at all."""
    if draw(st.integers(0, 9)) == 0:
        return None
    new = {part: dict(values) for part, values in document.items()}
    places = [(part, key) for part, values in document.items() for key in values]
    for part, key in draw(st.lists(st.sampled_from(places), max_size=2)):
        new[part][key] = draw(TABLES[part][key])
    return new


def agreement(name: str, document: Document) -> Agreement:
    defaults = dict(document["defaults"])
    if defaults.get("published") and defaults["tlp"] != "clear":
        defaults["published"] = None
    contributes = {**document["contributes"], "defaults": defaults} if document["contributes"] else None
    return world_agreement(
        name,
        contributes=contributes,
        receives=bool(document["receives"]),
        **document["partner"],
        **document["receives"],
    )


SOURCES = ("other", "source")
NAMES = ("alpha", "beta", *SOURCES)


@st.composite
def rulebooks(draw: st.DrawFn) -> tuple[Rulebook, Rulebook]:
    old: dict[str, Agreement] = {}
    new: dict[str, Agreement] = {}
    for name in NAMES:
        document = draw(documents(name in SOURCES))
        later = draw(changed(document))
        old[name] = agreement(name, document)
        if later is not None:
            new[name] = agreement(name, later)
    rules = draw(fields(RULES))
    later_rules = dict(rules)
    for key in draw(st.lists(st.sampled_from(sorted(RULES)), max_size=1)):
        later_rules[key] = draw(RULES[key])
    return Rulebook(old, Policy.model_validate(rules)), Rulebook(new, Policy.model_validate(later_rules))


MARKINGS = [
    *(marking_id(tlp) for tlp in Tlp),
    marking_id(Pap.GREEN),
    marking_id(Pap.RED),
    OWN,
    OWN.upper(),
    OPENCTI,
]


def _item(draw: st.DrawFn) -> dict[str, Any]:
    handling: dict[str, Any] = {}
    for key, values in {
        "published": st.booleans(),
        "category": st.sampled_from(["spyware", "phishing"]),
        "affected": st.lists(STATES, unique=True, max_size=2),
        "purposes": some(PURPOSES),
        "named": st.just(["alpha"]),
        "consent": st.sampled_from([{"status": status} for status in ("not-required", "unknown")]),
    }.items():
        if draw(st.integers(0, 3)) == 0:
            handling[key] = draw(values)
    return {
        "type": draw(st.sampled_from(["indicator", "indicator", "relationship", "malware"])),
        "markings": tuple(draw(st.lists(st.sampled_from(MARKINGS), max_size=2))),
        "handling": handling,
        "confidence": draw(st.sampled_from([None, 10, 60, 100])),
        "days": draw(st.sampled_from([0, 5, 50])),
        "suspects": draw(st.lists(STATES, unique=True, max_size=1)),
        "now_ms": NOW_MS + draw(st.sampled_from([-DAY_MS, 0, 0, DAY_MS])),
        "ends": draw(st.lists(st.sampled_from(["alpha", "beta"]), unique=True)),
    }


ITEMS = 12


@st.composite
def items(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [_item(draw) for _ in range(ITEMS)]


def permitted(rules: Rulebook, item: dict[str, Any]) -> set[str]:
    """Who gets what `source` says of an item of which `other` may suspect somebody."""
    compiled = compile_policy(
        Directory(rules.agreements, rules.policy, "", "test", {name: bit for bit, name in enumerate(NAMES)})
    )
    at_ms = item["now_ms"] - item["days"] * DAY_MS
    object_ = {} if item["confidence"] is None else {"confidence": item["confidence"]}
    word = contribution(
        markings=item["markings"], handling=item["handling"], modified_ms=at_ms, last_seen_ms=at_ms, **object_
    )
    doubt = contribution(handling={"suspects": dict.fromkeys(item["suspects"], 50)})
    known = Known.model_validate(
        {
            "kind": "domain",
            "value": "lure.example",
            "type": item["type"],
            "contributions": {"source": word, "other": doubt},
            "sent": {"numbering": "test"},
        }
    )
    facts = facts_in(known, "source", compiled, now_ms=item["now_ms"])
    holders = union(compiled.number.get(name, NOBODY) for name in item["ends"])
    facts = facts._replace(ends=Ends(compiled.everyone, holders))
    return names(decide(facts, compiled).permitted, compiled)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rulebooks(), items())
def test_what_does_not_widen_permits_nobody_who_was_denied(
    books: tuple[Rulebook, Rulebook], pool: list[dict[str, Any]]
) -> None:
    old, new = books
    held = in_force(old, new, ())
    assert not widening(old, held)
    assert in_force(held, new, ()) == held, "what waits is not taken again and again"
    assert in_force(old, new, widening(old, new)) == in_force(held, new, widening(held, new)) == new
    for name in widening(old, new):
        one = in_force(old, new, {name})
        assert set(widening(one, new)) <= set(widening(old, new)) - {name}
    certain = not widening(old, new)
    for item in pool:
        before = permitted(old, item)
        assert permitted(held, item) <= before
        if certain:
            assert permitted(new, item) <= before


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rulebooks(), items())
def test_until_it_is_confirmed_nobody_gets_what_the_new_terms_deny(
    books: tuple[Rulebook, Rulebook], pool: list[dict[str, Any]]
) -> None:
    """But for a source's default category, of which none is narrower than another."""
    old, new = books
    for name in SOURCES:
        before, after = old.agreements[name].contributes, new.agreements.get(name, old.agreements[name]).contributes
        if before and after and before.defaults.category != after.defaults.category:
            return
    held = in_force(old, new, ())
    for item in pool if "source" in new.agreements else ():
        assert permitted(held, item) <= permitted(new, item)


def _pool() -> list[dict[str, Any]]:
    """Items of which each is on the other side of some edge than the next."""
    plain = {
        "type": "indicator",
        "markings": (),
        "handling": {},
        "confidence": None,
        "days": 0,
        "suspects": [],
        "now_ms": NOW_MS,
        "ends": [],
    }
    clear = (marking_id(Tlp.CLEAR),)
    published = {"published": True}
    edges: list[dict[str, Any]] = [
        *({"markings": (marking,)} for marking in MARKINGS),
        *({"markings": (marking,), "handling": {"named": ["alpha"]}} for marking in MARKINGS),
        *({"handling": {"affected": [state]}} for state in ("XA", "XB")),
        *({"suspects": [state], "markings": marks} for state in ("XA", "XB", "XC") for marks in ((), clear)),
        *({"handling": {"purposes": [purpose]}} for purpose in PURPOSES),
        *({"handling": {"category": category}} for category in ("spyware", "phishing")),
        *({"handling": {"category": c, "affected": ["XA"]}} for c in ("spyware", "phishing")),
        *({"handling": published, "markings": clear, "suspects": suspects} for suspects in ([], ["XA"])),
        {"handling": {"consent": {"status": "unknown"}}},
        *({"confidence": number} for number in (10, 60, 100)),
        *({"days": days} for days in (5, 50)),
        *({"type": type_, "ends": ["alpha", "beta"]} for type_ in ("relationship", "malware")),
        *({"now_ms": NOW_MS + days * DAY_MS} for days in (-1, 1)),
    ]
    return [{**plain, **edge} for edge in [{}, *edges]]


VALUES: dict[str, tuple[Any, ...]] = {
    "kind": ("ngo", "government"),
    "jurisdiction": ("XA", "XB"),
    "controlled_by": ([], ["XA"], ["XA", "XB"]),
    "starts": ("2026-11-17", "2026-11-18", "2026-11-19"),
    "ends": ("2026-11-19", "2026-11-20"),
    "tlp": tuple(level.label for level in Tlp),
    "pap": tuple(level.label for level in Pap),
    "onward": ("none", "clients", "community"),
    "purposes": ([], ["detect"], ["detect", "assist"], [*PURPOSES]),
    "categories": ([], ["spyware"], ["spyware", "phishing"], ["*"]),
    "types": ([], ["indicator"], ["indicator", "malware"], ["*"]),
    "max_age_days": (1, 10, 100),
    "min_confidence": (0, 50, 100),
    "reliability": tuple("ABCDEF"),
    "probation": (True, False),
    "consent": (None, "not-required", "granted", "withdrawn", "unknown"),
    "category": (None, "spyware", "phishing"),
    "affected": (None, [], ["XA"], ["XA", "XB"]),
    "published": (None, True, False),
    "confidence": (None, 10, 60),
    "pacts": ((), [("XA", "XB")], [("XA", "XB"), ("XB", "XC")]),
    "state_capable": ([], ["spyware"], ["spyware", "phishing"]),
    "markings": (
        {},
        *({OWN: word} for word in ("statement", "clear", "amber", "pap:green", "pap:red")),
        *({OPENCTI: word} for word in ("statement", "clear", "red")),
    ),
}
ENDS = [
    {"kind": "ngo", "jurisdiction": "XA"},
    {"kind": "government", "jurisdiction": "XB"},
    {"kind": "cert", "jurisdiction": "XC", "controlled_by": ["XA"]},
    {"tlp": "green", "onward": "clients", "categories": ["spyware"], "jurisdiction": "XC"},
]


def _books(part: str, key: str, rest: dict[str, Any]) -> list[Rulebook]:
    """One for each value of `key`, all else being the same."""
    found = []
    for value in (None, *VALUES[key]) if part == "defaults" else VALUES[key]:
        given: dict[str, dict[str, Any]] = {name: {k: WIDE.get(k) for k in table} for name, table in TABLES.items()}
        given["defaults"] |= {"tlp": "clear", "pap": None, "purposes": None}
        rules = {} if part != "rules" else {key: value}
        if part in ("defaults", "contributes"):
            given[part][key] = value
        both = {**given["partner"], **given["receives"], **rest, **({key: value} if part == "receives" else {})}
        alpha = {
            "partner": {k: both[k] for k in PARTNER},
            "receives": {k: both[k] for k in TERMS},
            "contributes": {},
            "defaults": {},
        }
        source = {"partner": given["partner"], "receives": {}, **{k: given[k] for k in ("contributes", "defaults")}}
        found.append(
            Rulebook(
                {"alpha": agreement("alpha", alpha), **{name: agreement(name, source) for name in SOURCES}},
                Policy.model_validate(rules),
            )
        )
    return found


SWEPT = [
    *(("receives", key) for key in (*PARTNER, *TERMS)),
    *(("contributes", key) for key in CONTRIBUTED),
    *(("defaults", key) for key in DEFAULTS),
    *(("rules", key) for key in RULES),
]


@pytest.mark.parametrize(("part", "key"), SWEPT)
def test_every_change_of_one_key_is_held_against_every_edge(part: str, key: str) -> None:
    pool = _pool()
    for rest in ENDS:
        books = _books(part, key, rest)
        seen = [[permitted(rules, item) for item in pool] for rules in books]
        for old, before in zip(books, seen, strict=True):
            for new, after in zip(books, seen, strict=True):
                if not widening(old, new):
                    assert all(now <= then for then, now in zip(before, after, strict=True)), changes(old, new)
                held = in_force(old, new, ())
                for item, then in zip(pool, before, strict=True):
                    assert permitted(held, item) <= then


def test_the_proof_can_fail() -> None:
    """Some random item is permitted: a rule that denied everybody would prove anything."""
    alpha = world_agreement("alpha")
    src = world_agreement(
        "source", receives=False, contributes={"defaults": {"tlp": "green", "consent": "not-required"}}
    )
    item = {
        "type": "indicator",
        "markings": (),
        "handling": {},
        "confidence": None,
        "days": 0,
        "suspects": [],
        "now_ms": NOW_MS,
        "ends": [],
    }
    assert permitted(book(alpha, src), item) == {"alpha"}


class Later(Receives):
    """With a key that is not known yet."""

    glow: int = 0


def test_a_key_that_nobody_thought_of_widens_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    known = policy_changes._TOLD
    for model, keys in known.items():
        assert set(model.model_fields) == keys, "write down in services/policy_changes.py what the new key widens"
    monkeypatch.setattr(policy_changes, "_TOLD", {**known, Later: known[Receives]})
    alpha = world_agreement("alpha")
    assert alpha.receives is not None
    dark, bright = (
        book(alpha.model_copy(update={"receives": Later(**alpha.receives.model_dump(), glow=n)})) for n in (0, 1)
    )
    assert told(dark, bright) == told(bright, dark) == {"alpha": True}
    held = in_force(dark, bright, ()).agreements["alpha"].receives
    assert isinstance(held, Later) and held.glow == 0


def test_what_was_taken_away_and_put_back_is_told_as_one_change() -> None:
    gone = world_agreement("alpha", contributes={"reliability": "A"})
    held = in_force(book(gone), book(), ())
    [change] = changes(held, book(gone))
    assert (change.name, change.widens) == ("alpha", True)
    assert change.what.startswith("is a partner again, as before it was taken away: Alpha, ngo in XN")
