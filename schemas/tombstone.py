"""What is left of a withdrawn object: that it is withdrawn (policy.md, "Withdrawal"). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.timestamps import format_time

_NOTHING_ID = "identity--8c6af861-7b20-41ef-9b59-6344fd872a8f"
"""Where a withdrawn object must refer to something: an object that there is not."""

# what each type must have to be valid STIX; `indicator` has its own dates besides
_NEUTRAL: Mapping[str, Mapping[str, Any]] = {
    "indicator": {"pattern": "[domain-name:value = 'withdrawn.invalid']", "pattern_type": "stix"},
    "malware": {"is_family": False},
    "location": {"region": "world"},
    "relationship": {"relationship_type": "related-to", "source_ref": _NOTHING_ID, "target_ref": _NOTHING_ID},
    "sighting": {"sighting_of_ref": _NOTHING_ID},
    "report": {"published": "1970-01-01T00:00:00.000Z", "object_refs": [_NOTHING_ID]},
    "grouping": {"context": "unspecified", "object_refs": [_NOTHING_ID]},
    "note": {"content": "withdrawn", "object_refs": [_NOTHING_ID]},
    "opinion": {"opinion": "neutral", "object_refs": [_NOTHING_ID]},
    "observed-data": {
        "first_observed": "1970-01-01T00:00:00.000Z",
        "last_observed": "1970-01-01T00:00:00.000Z",
        "number_observed": 1,
        "object_refs": ["domain-name--8c6af861-7b20-41ef-9b59-6344fd872a8f"],
    },
    "malware-analysis": {"product": "withdrawn", "result": "unknown"},
    "language-content": {"object_ref": _NOTHING_ID, "contents": {"en": {"name": "withdrawn"}}},
}
_NAMED = frozenset(
    (
        *("attack-pattern", "campaign", "course-of-action", "grouping", "identity", "incident", "infrastructure"),
        *("intrusion-set", "location", "malware", "report", "threat-actor", "tool", "vulnerability"),
    )
)


def tombstone(stix_type: str, id_: str, created_ms: int, modified_ms: int) -> dict[str, Any]:
    """What recipients of a withdrawn item get: nothing but that it is withdrawn (no reason)."""
    body: dict[str, Any] = {
        "type": stix_type,
        "spec_version": "2.1",
        "id": id_,
        "created": format_time(created_ms),
        "modified": format_time(modified_ms),
        "revoked": True,
    }
    if stix_type == "indicator":
        body["valid_from"] = format_time(created_ms)
    elif stix_type in _NAMED:
        body["name"] = "withdrawn"
    return {**body, **_NEUTRAL.get(stix_type, {})}
