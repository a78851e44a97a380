"""Other rules tried on what the hub holds: who would get more, less, or something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import pytest

from schemas.bits import Bits, of, to_hex
from schemas.decision import Decision, Group, Judgement
from schemas.known import NEVER_MS, Held, Known, Sent
from schemas.topics import CLEARED, DECISIONS, KNOWN, REPORTS
from services.govern.compile import Compiled
from services.govern.settle import Rules
from services.pipeline import core, stamp_of
from services.rehearsal import Rehearsal
from services.simulation import Change, Impact, Simulation
from services.stream.types import Chunk, Effects, Output, Stage
from tests.unit.core_world import Core, key
from tests.unit.govern.world import DATA, NOW_MS, SECRET, agreement, world
from tests.unit.test_core import AMBER, CLEAR, RED, TERMS, link, opinion, said, site

SOURCES = [agreement(name, receives=False, contributes=TERMS) for name in ("alpha", "beta")]


def rules(low: Mapping[str, Any], *more: Any) -> Compiled:
    return world(agreement("high", tlp="amber"), agreement("low", **low), *SOURCES, *more)


OLD = rules({"tlp": "clear"})


def place(record_key: bytes) -> int:
    return Rehearsal(core(Rules(OLD, DATA, SECRET)), now_ms=0).partition_of(record_key)


def simulated(hub: Core, new: Compiled, slice_: int = 2) -> dict[tuple[str, str], set[str]]:
    """By partner and sort the items (values); `more` are those of which it gets more."""
    simulation = Simulation(
        core(Rules(new, DATA, SECRET), window_ms=0), hub.state, place, now_ms=hub.now_ms, epoch=hub.epoch + 1
    )
    for at in range(0, len(simulation.items), slice_):
        simulation.decide(simulation.items[at : at + slice_])
    simulation.settle()
    found: dict[tuple[str, str], set[str]] = {}
    names = {int(bits): name for name, bits in (*OLD.number.items(), *new.number.items())}
    for each in simulation.decided_otherwise:
        for change in simulation.changes(each, hub.decisions.get(each)):
            for bits, name in names.items():
                if change.to & bits:
                    found.setdefault((name, change.sort), set()).add(change.value)
                    if change.more:
                        found.setdefault((name, "more"), set()).add(change.value)
    return found


def hub_with(*words: Any, rules: Compiled = OLD) -> Core:
    hub = Core(rules)
    hub.hear(*words)
    hub.pass_time(120_000)
    return hub


ITEMS = (said("open", markings=CLEAR), said("inner", markings=AMBER), said("secret", markings=RED))


def test_the_same_rules_change_nothing() -> None:
    assert simulated(hub_with(*ITEMS), OLD) == {}


def test_other_rules_that_come_to_the_same_change_nothing() -> None:
    hub = hub_with(*ITEMS)
    assert simulated(hub, rules({"tlp": "green"})) == {}


def test_a_higher_ceiling_shares_more() -> None:
    found = simulated(hub_with(*ITEMS), rules({"tlp": "amber"}))
    assert found == {("low", "shared"): {"inner.example"}, ("low", "more"): {"inner.example"}}


def test_what_a_loud_rule_takes_is_withdrawn_and_what_a_silent_one_takes_is_gone() -> None:
    hub = hub_with(*ITEMS)
    lower = world(agreement("high", tlp="clear"), agreement("low", tlp="clear"), *SOURCES)
    assert simulated(hub, lower) == {("high", "withdrawn"): {"inner.example"}}
    none = world(agreement("high", tlp="amber", types=["malware"]), agreement("low", tlp="clear"), *SOURCES)
    assert simulated(hub, none) == {("high", "gone"): {"open.example", "inner.example"}}


def test_a_partner_that_leaves_loses_everything_in_silence() -> None:
    hub = hub_with(*ITEMS)
    assert simulated(hub, world(agreement("high", tlp="amber"), agreement("low", receives=False), *SOURCES)) == {
        ("low", "gone"): {"open.example"}
    }


def test_a_partner_that_is_new_gets_everything_new() -> None:
    hub = hub_with(*ITEMS)
    found = simulated(hub, rules({"tlp": "clear"}, agreement("zeta", tlp="clear")))
    assert found == {("zeta", "shared"): {"open.example"}, ("zeta", "more"): {"open.example"}}


def test_what_refers_to_something_follows_it_without_a_window() -> None:
    hub = hub_with(
        said("lure", markings=CLEAR),
        said("kit", type="malware", name="Kit", is_family=True, markings=AMBER),
        link("joins", "lure", "kit", markings=CLEAR),
    )
    found = simulated(hub, rules({"tlp": "amber"}))
    assert found[("low", "shared")] == {"kit.example", "joins.example"}


def test_another_word_on_what_a_partner_holds_is_more() -> None:
    hub = hub_with(said("lure", markings=CLEAR), said("lure", "beta", 2, markings=AMBER, name="Seen by us"))
    found = simulated(hub, rules({"tlp": "amber"}))
    assert found == {("low", "changed"): {"lure.example"}, ("low", "more"): {"lure.example"}}


def test_less_that_is_redacted_is_more_and_the_other_way_round() -> None:
    consent = {"status": "granted", "kinds": ["platform", "ngo"]}
    handling = {"consent": consent, "personal": {"description": "drop"}}
    word = said("lure", markings=CLEAR, handling=handling, description="Sent to Amina.")
    platform, ngo = (rules({"tlp": "clear", "kind": kind}) for kind in ("platform", "ngo"))
    changed = {("low", "changed"): {"lure.example"}}
    assert simulated(hub_with(word, rules=platform), ngo) == changed | {("low", "more"): {"lure.example"}}
    assert simulated(hub_with(word, rules=ngo), platform) == changed


def test_what_waits_for_its_window_is_decided_as_it_is() -> None:
    hub = hub_with(said("lure", markings=CLEAR), said("other", markings=AMBER))
    hub.hear(said("lure", "alpha", 3, markings=CLEAR, name="Later"), opinion("lure", "agree", markings=CLEAR))
    waits = hub.known("lure")
    assert waits.waiting_ms > hub.now_ms
    assert simulated(hub, OLD) == {}
    found = simulated(hub, rules({"tlp": "amber"}))
    assert found == {("low", "shared"): {"other.example"}, ("low", "more"): {"other.example"}}


def test_what_was_not_decided_yet_is_left_out() -> None:
    hub = hub_with(*ITEMS, said("new", markings=AMBER))
    new = hub.known("new").model_copy(update={"counter": 0, "judged": "", "sent": Sent(numbering="test")})
    hub.put(key("new"), key("new"), new.to_bytes(stamp_of(Rules(OLD, DATA, SECRET)), NEVER_MS))
    assert simulated(hub, OLD) == {}
    assert simulated(hub, rules({"tlp": "amber"}))[("low", "shared")] == {"inner.example"}


def test_what_belongs_together_is_counted_too() -> None:
    hub = hub_with(*(site(name, markings=AMBER) for name in ("a", "b", "c")))
    assert simulated(hub, OLD) == {}
    found = simulated(hub, rules({"tlp": "amber"}))
    assert found[("low", "shared")] == {*(f"{name}.evil.example" for name in "abc"), "domain:evil.example"}
    clear = world(agreement("high", tlp="clear"), agreement("low", tlp="clear"), *SOURCES)
    assert found[("low", "shared")] == simulated(hub, clear)[("high", "withdrawn")]


def test_what_the_hub_remembers_stays_as_it_is() -> None:
    hub = hub_with(*ITEMS)
    before = deepcopy(hub.state)
    simulated(hub, rules({"tlp": "amber"}))
    assert hub.state == before


# --- how a copy is redacted ---------------------------------------------------------------------------------------

HELD = Held(to=to_hex(of([0, 1])), content="a", generation=0, created_ms=1, modified_ms=1)
ITEM = Known(
    kind="domain",
    value="lure.example",
    type="indicator",
    counter=1,
    contributions={},
    sent=Sent(numbering="test", live=(HELD,)),
)
Words = Mapping[str, Mapping[str, str]]


def decision(words: Words, *, to: Sequence[int] = (0, 1)) -> Decision:
    """Permits these contributions, under these obligations."""
    judgements = tuple(
        Judgement(
            source=source,
            groups=(Group(outcome="permit", obligations=dict(obligations), recipients=to_hex(of(to))),),
        )
        for source, obligations in words.items()
    )
    return Decision(
        fingerprint=key("lure").hex(),
        id="indicator--1",
        type="indicator",
        kind="domain",
        epoch=1,
        counter=1,
        at_ms=NOW_MS,
        policy="p",
        numbering="test",
        judgements=judgements,
    )


def changes(was: Decision | None, now: Decision, after: Known = ITEM) -> list[Change]:
    """What comes of an item that a made-up core decides like this."""
    stamp = stamp_of(Rules(OLD, DATA, SECRET))

    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        outputs = [Output(DECISIONS.name, each, now.to_bytes()) for each in chunk.due]
        return Effects(outputs, {each: after.to_bytes(stamp, NEVER_MS) for each in chunk.due})

    stage = Stage("made-up", REPORTS, KNOWN, (CLEARED, DECISIONS), step, lambda value: None, CLEARED)
    state = [{key("lure"): ITEM.to_bytes(stamp, NEVER_MS)}]
    simulation = Simulation(stage, state, lambda _: 0, now_ms=NOW_MS, epoch=2)
    simulation.decide(simulation.items)
    simulation.settle()
    [each] = simulation.decided_otherwise
    return list(simulation.changes(each, was.to_bytes() if was else None))


@pytest.mark.parametrize(
    ("before", "after", "more"),
    [
        pytest.param({"a": {}}, {"a": {}}, None, id="the same"),
        pytest.param({"a": {}}, {"a": {"name": "drop"}}, False, id="one more"),
        pytest.param({"a": {"name": "drop"}}, {"a": {}}, True, id="one less"),
        pytest.param({"a": {"name": "drop"}}, {"a": {"name": "pseudonymise"}}, True, id="a weaker one"),
        pytest.param({"a": {"name": "pseudonymise"}}, {"a": {"name": "drop"}}, False, id="a stronger one"),
        pytest.param({"a": {"name": "generalise"}}, {"a": {"name": "host-only"}}, True, id="an equally strong one"),
        pytest.param(
            {"a": {"name": "drop"}}, {"a": {"name": "pseudonymise", "labels": "drop"}}, True, id="both ways"
        ),
        pytest.param({"a": {"labels.[0]": "drop"}}, {"a": {"labels": "drop"}}, False, id="a whole for a part"),
        pytest.param({"a": {"labels": "drop"}}, {"a": {"labels.[0]": "drop"}}, True, id="a part for a whole"),
        pytest.param({"a": {}, "b": {}}, {"a": {}}, False, id="one word less"),
        pytest.param({"a": {}}, {"a": {}, "b": {}}, True, id="one word more"),
        pytest.param(
            {"a": {"name": "drop"}}, {"a": {"name": "drop"}, "b": {}}, True, id="one that has it in clear"
        ),
        pytest.param(
            {"a": {}, "b": {"name": "drop"}}, {"a": {}, "b": {}}, None, id="what another has in clear anyway"
        ),
    ],
)
def test_what_is_redacted_differently(before: Words, after: Words, more: bool | None) -> None:
    found = [(change.sort, change.to, change.more) for change in changes(decision(before), decision(after))]
    assert found == ([] if more is None else [("changed", of([0, 1]), more)])


def test_only_those_whose_copy_changes_are_named() -> None:
    now = decision({"a": {}}, to=[0])
    [other] = decision({"a": {"name": "drop"}}, to=[1]).judgements
    now = now.model_copy(
        update={"judgements": (Judgement(source="a", groups=(*now.judgements[0].groups, *other.groups)),)}
    )
    [change] = changes(decision({"a": {}}), now)
    assert (change.to, change.before, change.after) == (of([1]), {}, {"name": "drop"})


def test_where_nobody_knows_how_it_was_redacted_another_content_is_more() -> None:
    assert changes(None, decision({"a": {}})) == []
    other = ITEM.model_copy(
        update={"sent": Sent(numbering="test", live=(HELD.model_copy(update={"content": "b"}),))}
    )
    [change] = changes(None, decision({"a": {}}), other)
    assert (change.sort, change.more) == ("changed", True)


def test_the_impact_counts_all_and_keeps_the_first() -> None:
    impact = Impact(most=1)
    for number in range(3):
        impact.add(Change("shared", of([0, 2]), True, f"indicator--{number}", "domain", "a.example"))
    impact.add(Change("gone", Bits(1), False, "indicator--9", "domain", "b.example"))
    assert impact.counts[0] == {"shared": 3, "withdrawn": 0, "gone": 1, "changed": 0}
    assert {sort: [change.id for change in some] for sort, some in impact.first[0].items()} == {
        "shared": ["indicator--0"],
        "gone": ["indicator--9"],
    }
    assert impact.widened == {0: 3, 2: 3}
