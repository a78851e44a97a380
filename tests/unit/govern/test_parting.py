"""What is found in a finished copy and was to be withheld: ids of what it refers to, and purposes, included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from schemas.bits import Bits
from schemas.decision import Decision
from schemas.markings import Tlp, marking_id
from schemas.outgoing import outgoing_id
from schemas.reference import Standing
from schemas.report import Report
from services.govern import parting
from services.govern.obligations import Draft
from tests.unit.core_world import Core, key, report
from tests.unit.govern.world import agreement, world

CLEAR, AMBER, RED = ((marking_id(level),) for level in (Tlp.CLEAR, Tlp.AMBER, Tlp.RED))
TERMS = {"defaults": {"consent": "not-required", "category": "phishing"}}
WORLD = world(
    agreement("low", tlp="clear"),
    agreement("high", tlp="amber"),
    *(agreement(name, receives=False, contributes=TERMS) for name in ("alpha", "beta")),
)
PLAIN: dict[str, Any] = {"suspects": {}}
STORY = {"type": "report", "published": "2026-01-01T00:00:00Z"}


def said(name: str, source: str = "alpha", seq: int = 1, /, **fields: Any) -> tuple[str, Report]:
    return name, report(name, source, seq, **({"markings": CLEAR, "handling": PLAIN} | fields))


def story(*ends: str, **fields: Any) -> tuple[str, Report]:
    return said("story", references=[("object_refs", end) for end in ends], **STORY, **fields)


def errors(core: Core, name: str) -> tuple[str, ...]:
    return Decision.from_bytes(core.decisions[key(name)]).errors


def test_an_id_that_a_source_wrote_into_a_text_goes_only_to_those_who_hold_what_it_is_of() -> None:
    core = Core(WORLD)
    core.hear(said("open"), said("closed", markings=AMBER))
    core.hear(story("open", "closed", description=f"See {outgoing_id('indicator', key('closed'))}."))
    assert not core.of_type("low", "report")
    assert len(core.of_type("high", "report")[0]["object_refs"]) == 2
    assert errors(core, "story") == ("copies: Leaked",)
    core.hear(said("closed", "alpha", 2))
    assert len(core.of_type("low", "report")[0]["object_refs"]) == 2


def test_a_reference_that_was_put_in_by_mistake_costs_those_the_copy_who_may_not_follow_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def all_to_all(
        to: Bits, stix_type: str, references: Sequence[tuple[str, str]], ends: Mapping[str, Standing]
    ) -> list[tuple[Bits, dict[str, Any]]]:
        return [(to, {"object_refs": [copy.id for standing in ends.values() for copy in standing.copies]})]

    monkeypatch.setattr(parting, "split", all_to_all)
    core = Core(WORLD)
    core.hear(said("open"), said("closed", markings=AMBER), story("open", "closed"))
    assert not core.of_type("low", "report")
    assert core.of_type("high", "report")
    assert "copies: Leaked" in errors(core, "story")


def test_what_is_put_in_last_is_looked_through_and_only_its_recipients_are_denied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low, high = (WORLD.number[name] for name in ("low", "high"))

    def telling(members: Bits, draft: Draft, *_: object) -> Iterator[tuple[Bits, Draft]]:
        yield Bits(members & low), draft._replace(body=draft.body | {"summary": "Amina K."})
        yield Bits(members & high), draft

    monkeypatch.setattr(parting, "_with_purposes", telling)
    core = Core(WORLD)
    core.hear(said("lure"), said("lure", "beta", 2, markings=RED, description="Amina K."))
    assert not core.holds("low")
    assert core.holds("high")
    assert errors(core, "lure") == ("copies: Leaked",)


@pytest.mark.parametrize("hidden", [("detect", "purposes"), ("source_ref",), ("indicator--",), ("malware",)])
def test_what_is_hidden_and_stands_in_what_is_put_in_last_takes_nothing_away(hidden: tuple[str, ...]) -> None:
    whole, bare = Core(WORLD), Core(WORLD)
    ends = [("source_ref", "lure"), ("target_ref", "kit")]
    link: dict[str, Any] = {"type": "relationship", "relationship_type": "indicates", "references": ends}
    limited = {**PLAIN, "purposes": ["detect"]}
    for core in (whole, bare):
        core.hear(said("lure"), said("kit", type="malware", name="Kit", is_family=True))
        core.hear(said("link", **link, handling=limited))
    whole.hear(said("link", "beta", 2, **link, markings=RED, labels=hidden))
    assert whole.of_type("low", "relationship") == bare.of_type("low", "relationship") != []
