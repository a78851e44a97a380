"""What a recipient may do with a copy."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.acting import may_be_blocked, may_be_used, pap_of
from schemas.enrichment import ENRICHMENT_ID
from schemas.handling import HANDLING_ID
from schemas.markings import Pap, Tlp, marking_id


def body(*levels: Pap | Tlp, **extensions: Any) -> dict[str, Any]:
    ids = {"handling": HANDLING_ID, "enrichment": ENRICHMENT_ID}
    return {
        "object_marking_refs": [marking_id(level) for level in levels],
        "extensions": {ids[name]: fields for name, fields in extensions.items()},
    }


BLOCKED = [
    (body(Tlp.CLEAR, Pap.CLEAR), True),
    (body(Tlp.AMBER, Pap.GREEN), True),
    (body(Tlp.CLEAR, Pap.AMBER), False),
    (body(Tlp.CLEAR, Pap.RED), False),
    (body(Tlp.CLEAR, Pap.CLEAR, Pap.RED), False),
    (body(Tlp.CLEAR), False),
    (body(), False),
    ({}, False),
    (body(Pap.GREEN, handling={"category": "phishing"}), True),
    (body(Pap.GREEN, handling={"purposes": ["detect", "protect"]}), True),
    (body(Pap.GREEN, handling={"purposes": ["detect"]}), False),
    (body(Pap.GREEN, handling={"purposes": []}), False),
    (body(Pap.GREEN, enrichment={"warning_lists": ["of some sort"]}), True),
    (body(Pap.GREEN, enrichment={"do_not_block": True}), False),
    (
        {
            "object_marking_refs": [
                marking_id(Pap.GREEN).upper().replace("MARKING-DEFINITION", "marking-definition")
            ]
        },
        True,
    ),
]


@pytest.mark.parametrize(("copy", "permitted"), BLOCKED)
def test_blocking(copy: dict[str, Any], permitted: bool) -> None:
    assert may_be_blocked(copy) is permitted


def test_the_strictest_pap_counts() -> None:
    assert pap_of(body(Pap.GREEN, Pap.AMBER, Tlp.RED)) is Pap.AMBER and pap_of(body(Tlp.RED)) is None


def test_purposes() -> None:
    assert may_be_used({}, "detect") and not may_be_used(body(handling={"purposes": ["assist"]}), "detect")
