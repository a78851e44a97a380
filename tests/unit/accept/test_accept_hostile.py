"""Whatever stands where something else belongs costs its own item, and no other; nothing poisons what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from schemas.report import Report, with_seq
from schemas.topics import REPORTS
from services.accept import csv_markings, formats, indicators, misp, stix_door
from services.accept.framing import unpack
from services.accept.names import Origin
from services.accept.packing import Packed, prepare
from tests.fakes import NOW_MS, SECRET, source_agreement

UUID = "aaaaaaaa-0000-4000-8000-000000000001"
TIMES = {"created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z"}
GOOD = {
    "type": "indicator", "spec_version": "2.1", "id": "indicator--aaaaaaaa-0000-4000-8000-000000000002", **TIMES,
    "pattern": "[domain-name:value = 'good.example']", "pattern_type": "stix", "valid_from": "2026-01-01T00:00:00Z",
}  # fmt: skip
BASES: list[dict[str, Any]] = [
    GOOD | {"id": f"indicator--{UUID}"},
    {name: value for name, value in GOOD.items() if name != "spec_version"} | {"id": f"indicator--{UUID}"},
    {"type": "x-foo", "spec_version": "2.1", "id": f"x-foo--{UUID}", **TIMES},
    {"type": "x-foo", "spec_version": "2.1", "id": f"x-foo--{UUID}"},
    {"type": "domain-name", "spec_version": "2.1", "id": f"domain-name--{UUID}", "value": "v.example"},
    {"type": "campaign", "spec_version": "2.1", "id": f"campaign--{UUID}", "name": "n", **TIMES},
    {"type": "identity", "spec_version": "2.1", "id": f"identity--{UUID}", "name": "n", **TIMES},
]
NAMES = """first_seen last_seen valid_from valid_until start_time stop_time first_observed last_observed labels
    confidence lang revoked created modified extensions object_marking_refs granular_markings
    external_references pattern pattern_type pattern_version indicator_types malware_types identity_types
    campaign_types x_foo_types x-foo_types domain-name_types spec_version id name type definition
    kill_chain_phases""".split()  # noqa: SIM905
VALUES: list[Any] = [
    5, -1, 1.5, 10**18, True, None, "", "x", "2026-01-01T00:00:00Z", [1], [{}], [[]], ["x", 1], [None], ["x"] * 101,
    {"a": 1}, {"a": {}}, {"a": {"extension_type": 5}}, [{"a": 1}], [{"marking_ref": 5}], [{"selectors": ["x"]}],
]  # fmt: skip


def taken(body: Any) -> Packed:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    reading = formats.read(raw, "", "", source_agreement(), NOW_MS, 1 << 24)
    packed = prepare(reading, Origin("s", "alpha", NOW_MS), SECRET)
    for parcel in unpack(packed.messages):
        if parcel.topic is REPORTS:
            assert Report.from_bytes(with_seq(parcel.value, 1)).value
    for refusal in reading.refusals:
        assert refusal.error.code != "not-understood", refusal.error
    return packed


@pytest.mark.parametrize("name", NAMES)
def test_any_value_under_any_name_of_stix(name: str) -> None:
    for base in BASES:
        for value in VALUES:
            packed = taken([GOOD, base | {name: value}, GOOD])
            assert packed.taken >= 2
            assert packed.taken + packed.refused + packed.skipped == 3


ATTRIBUTE = {"type": "domain", "value": "a.example"}
MISP_NAMES = """type value uuid timestamp first_seen last_seen comment Tag distribution deleted to_ids category
    Galaxy""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", MISP_NAMES)
def test_any_value_under_any_name_of_misp(name: str) -> None:
    for value in VALUES:
        odd = ATTRIBUTE | {name: value}
        event = {"info": "made up", "Attribute": [ATTRIBUTE, odd, ATTRIBUTE], "Object": [{"Attribute": [odd]}]}
        packed = taken({"Event": event})
        assert packed.taken >= 2
        assert packed.taken + packed.refused + packed.skipped == 4


@pytest.mark.parametrize(
    "name", ["Attribute", "Object", "Tag", "timestamp", "date", "distribution", "info", "uuid"]
)
def test_any_value_in_the_frame_of_misp(name: str) -> None:
    good = {"Event": {"info": "made up", "Attribute": [ATTRIBUTE]}}
    for value in VALUES:
        assert taken([good, {"Event": {"info": "x", "Attribute": [], name: value}}, good]).taken >= 2
        assert taken([good, {"Event": {"info": "x", "Object": [{"Attribute": [], name: value}]}}, good]).taken >= 2


class Secret(Exception):
    """Something that nobody thought of, with the item's content in it."""


EVENT = {"info": "", "Attribute": [ATTRIBUTE, ATTRIBUTE | {"x": "odd"}, ATTRIBUTE]}
BODIES: list[tuple[Any, str, int, bytes]] = [
    (stix_door, "_draft", 0, orjson.dumps([GOOD, {**GOOD, "name": "odd"}, GOOD])),
    (misp, "_word", 0, orjson.dumps({"Event": EVENT})),
    (csv_markings, "read", 2, b"kind,value,note\ndomain,a.example,\ndomain,b.example,odd\ndomain,c.example,\n"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name", "place", "body"), BODIES, ids=["stix", "misp", "csv"])
def test_what_nobody_thought_of_refuses_one_item(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, place: int, body: bytes
) -> None:
    original = getattr(module, name)

    def trips(*given: Any) -> Any:
        if "odd" in str(given[place]):
            raise Secret("odd")
        return original(*given)

    monkeypatch.setattr(module, name, trips)
    reading = formats.read(body, "", "", source_agreement(), NOW_MS, 1 << 24)
    [refusal] = reading.refusals
    assert len(reading.drafts) == 2
    assert (refusal.error.code, "odd" in str(refusal.error)) == ("not-understood", False)
    assert b"odd" in refusal.raw()


def test_what_nobody_thought_of_in_the_schemas_refuses_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    def trips(body: Mapping[str, Any]) -> bool:
        raise Secret("odd")

    monkeypatch.setattr("schemas.markings.agrees", trips)
    marking = {
        "type": "marking-definition", "spec_version": "2.1", "id": f"marking-definition--{UUID}",
        "created": TIMES["created"], "definition_type": "statement", "definition": {"statement": "odd"},
    }  # fmt: skip
    reading = formats.read(orjson.dumps([GOOD, marking, GOOD]), "", "", source_agreement(), NOW_MS, 1 << 24)
    assert [(r.pointer, r.error.code) for r in reading.refusals] == [("/1", "not-understood")]
    assert len(reading.drafts) == 2


def test_running_out_of_memory_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(indicators, "_object", fails)
    with pytest.raises(MemoryError):
        taken(b"kind,value\ndomain,a.example\n")
