"""Who leaves the hub, while that waits to be confirmed."""

from __future__ import annotations

import pytest

from schemas.agreement import Rulebook
from services.policy_changes import in_force
from tests.unit.govern.world import NOW_MS
from tests.unit.govern.world import agreement as world_agreement
from tests.unit.test_policy_changes import book, permitted

PLAIN = {"type": "indicator", "markings": (), "confidence": None, "now_ms": NOW_MS, "ends": []}


@pytest.mark.parametrize("suspects", [[], ["XA"]])
def test_who_leaves_lifts_no_suspicion_while_that_waits(suspects: list[str]) -> None:
    """Its word that nobody is suspected opened others' words to governments; it is gone under the new terms."""
    terms = {"reliability": "A", "defaults": {"tlp": "green", "consent": "not-required"}}
    old = book(
        world_agreement("alpha", kind="government", controlled_by=("XA",), jurisdiction="XA"),
        world_agreement("source", receives=False, contributes=terms),
        world_agreement("other", receives=False, contributes=terms),
    )
    new = Rulebook({name: a for name, a in old.agreements.items() if name != "other"}, old.policy)
    item = PLAIN | {"suspects": suspects, "handling": {"category": "spyware"}, "days": 0}
    assert ("alpha" in permitted(old, item)) is (not suspects)
    assert "alpha" not in permitted(in_force(old, new, ()), item)
    assert "alpha" not in permitted(new, item)
