"""What the door lets through at most is decided in a bounded time. The bounds are wide: machines are busy."""

from __future__ import annotations

import time
from typing import Any

from schemas.cleared import Cleared
from schemas.markings import Tlp, marking_id
from services.stream.types import MAX_VALUE_BYTES
from tests.unit.core_world import Core, report
from tests.unit.govern.world import agreement, world

GREEN = (marking_id(Tlp.GREEN),)
PLAIN = {"category": "phishing", "suspects": {}}
SOURCE = agreement("alpha", receives=False, contributes={"defaults": {"consent": "not-required"}})
FEW = [agreement(f"p{n}", kind="platform", tlp="green" if n % 2 else "red") for n in range(20)]
SECONDS = 5.0


def heard(core: Core, *words: Any) -> float:
    began = time.process_time()
    core.hear(*words)
    return time.process_time() - began


def test_two_thousand_selectors() -> None:
    labels = [f"label-{n}" for n in range(2_000)]
    granular = tuple(
        (marking_id(Tlp.AMBER), tuple(f"labels.[{n}]" for n in range(start, start + 20)))
        for start in range(0, 2_000, 20)
    )
    core = Core(world(SOURCE, *FEW))
    word = report("many", "alpha", 1, markings=GREEN, handling=PLAIN, granular=granular)
    word = word.model_copy(update={"object": {**word.object, "labels": labels[:-1]}})
    assert heard(core, ("many", word)) < SECONDS
    assert "labels" not in next(iter(core.holds("p1").values()))


def test_a_thousand_references() -> None:
    core = Core(world(SOURCE, *FEW))
    names = [f"i{n}" for n in range(1_000)]
    ends = [("object_refs", name) for name in names]
    story = report("story", "alpha", 1, type="report", markings=GREEN, handling=PLAIN, references=ends, name="s")
    items = [(name, report(name, "alpha", 1, markings=GREEN, handling=PLAIN)) for name in names]
    assert heard(core, *items, ("story", story)) < 4 * SECONDS
    core.pass_time(120_000)
    assert len(core.of_type("p1", "report")[0]["object_refs"]) == 1_000


def test_a_thousand_recipients_with_a_copy_of_their_own() -> None:
    many = [agreement(f"p{n}", kind="platform") for n in range(1_000)]
    core = Core(world(SOURCE, *many))
    handling = {**PLAIN, "personal": {"name": "pseudonymise", "description": "drop"}}
    word = report("lure", "alpha", 1, markings=GREEN, handling=handling, name="A. B.", description="x" * 500)
    assert heard(core, ("lure", word)) < SECONDS
    [raw] = core.cleared.values()
    assert len(raw) < MAX_VALUE_BYTES
    copies = Cleared.from_bytes(raw).copies
    assert len({copy.body["id"] for copy in copies}) == len({copy.body["name"] for copy in copies}) == 1_000


def test_very_many_hidden_labels() -> None:
    sources = [
        agreement(f"s{n}", receives=False, contributes={"defaults": {"consent": "not-required"}}) for n in range(10)
    ]
    core = Core(world(SOURCE, *sources, *FEW))
    core.hear(("lure", report("lure", "alpha", 1, markings=GREEN, handling=PLAIN, description="é" * 60_000)))
    red = (marking_id(Tlp.RED),)
    words = [
        ("lure", report("lure", f"s{n}", 2, markings=red, labels=tuple(f"{n}-label-{m}" for m in range(9_000))))
        for n in range(10)
    ]
    assert heard(core, *words) < SECONDS
    assert core.holds("p0")
