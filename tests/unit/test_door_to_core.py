"""From a source's bundle to its recipients: what is selected at the door is what is left out behind it."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.report import with_seq
from schemas.topics import REPORTS
from services.accept import stix_door
from services.accept.framing import unpack
from services.accept.packing import prepare
from tests.fakes import source_agreement
from tests.unit.accept.test_selectors import HANDLING_ID, ORIGIN, RED, host, id_of, marked, personal, report
from tests.unit.core_world import Core
from tests.unit.govern.world import SECRET, agreement, world

TERMS = {"defaults": {"consent": "not-required", "tlp": "clear"}}
WORLD = world(
    agreement("low", tlp="clear", kind="platform"),
    agreement("alpha", receives=False, contributes=TERMS),
)


def sent(*objects: dict[str, Any]) -> Core:
    """What the recipients hold once the source sent these."""
    document = {"type": "bundle", "id": id_of("bundle", 0), "objects": list(objects)}
    reading = stix_door.read(document, source_agreement("alpha"), ORIGIN.received_ms)
    packed = prepare(reading, ORIGIN, SECRET)
    assert packed.refused == 0, packed.refusals
    core = Core(WORLD)
    core.now_ms = ORIGIN.received_ms
    core.work([(p.key, with_seq(p.value, 1)) for p in unpack(packed.messages) if p.topic is REPORTS])
    return core


@pytest.mark.parametrize("by", ["marking", "personal"])
def test_the_label_that_is_selected_is_left_out_and_no_other(by: str) -> None:
    labels = ["tlp:clear", "phishing", "of-somebody", "credential"]
    said = marked("labels.[2]") if by == "marking" else personal(**{"labels.[2]": "drop"})
    [body] = sent(host(1, "a.example", labels=labels, **said)).of_type("low", "indicator")
    assert body["labels"] == ["phishing", "credential"]


def test_the_reference_that_is_selected_is_left_out_and_no_other() -> None:
    hosts = [host(1, "a.example"), host(2, "b.example", "c.example"), host(3, "d.example")]
    refs = [id_of("indicator", 9), *(one["id"] for one in hosts)]
    core = sent(*hosts, report(*refs, **marked("object_refs.[2]")))
    [body] = core.of_type("low", "report")
    patterns = {one["id"]: one["pattern"] for one in core.of_type("low", "indicator")}
    assert sorted(patterns[id_] for id_ in body["object_refs"]) == [
        "[domain-name:value = 'a.example']",
        "[domain-name:value = 'd.example']",
    ]


@pytest.mark.parametrize(("field", "there"), [("affected", True), ("category", False), ("suspects", True)])
def test_what_of_the_handling_is_marked_does_not_leave(field: str, there: bool) -> None:
    body = host(1, "a.example", **marked(f"extensions.{HANDLING_ID}.{field}"))
    said = {"category": "phishing", "affected": ["XA"], "suspects": {}}
    body["extensions"] = {HANDLING_ID: {"extension_type": "property-extension", **said}}
    held = sent(body).of_type("low", "indicator")
    assert bool(held) is there
    for each in held:
        ours = each["extensions"][HANDLING_ID]
        assert ("affected" in ours) is (field != "affected")


def test_marked_above_what_anybody_may_have_is_for_nobody() -> None:
    assert sent(host(1, "a.example", **marked("pattern", by=RED))).holds("low") == {}
