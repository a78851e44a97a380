"""The objects of real public bundles: every reference is resolved, and new ids are the same items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.report import Report
from schemas.topics import REPORTS
from services.accept import formats
from services.accept.framing import unpack
from services.accept.names import Origin
from services.accept.packing import prepare
from tests.fakes import NOW_MS, SECRET, source_agreement


def reports_of(file: Path) -> dict[str, list[Report]]:
    """By key."""
    reading = formats.read(file.read_bytes(), "", file.name, source_agreement(), NOW_MS, 1 << 26)
    packed = prepare(reading, Origin("s", "alpha", NOW_MS), SECRET)
    assert (packed.refused, packed.waiting) == (0, 0)
    found: dict[str, list[Report]] = {}
    for parcel in unpack(packed.messages):
        if parcel.topic is REPORTS:
            found.setdefault(parcel.key.hex(), []).append(Report.from_bytes(parcel.value))
    return found


@pytest.mark.parametrize("name", ["cytrox.stix2", "stalkerware_2022-04-27.stix2", "android_campaign.stix2"])
def test_every_relationship_is_resolved(shared: Path, name: str) -> None:
    file = shared / "data" / "stix21" / name
    written = [each for each in json.loads(file.read_bytes())["objects"] if each["type"] == "relationship"]
    found = reports_of(file)
    relationships = [report for each in found.values() for report in each if report.type == "relationship"]
    assert len(relationships) >= len(written)
    for report in relationships:
        ends = dict(report.references)
        assert ends.keys() >= {"source_ref", "target_ref"}
        assert found.keys() >= {ends["source_ref"], ends["target_ref"]}
        assert not {"source_ref", "target_ref", "created_by_ref"} & report.object.keys()


def test_a_feed_that_comes_again_with_new_ids_has_the_same_keys(shared: Path) -> None:
    old, new = (shared / "data" / "stix21" / name for name in ("cytrox_2021-12-16.stix2", "cytrox.stix2"))
    ids = [{each["id"] for each in json.loads(file.read_bytes())["objects"]} for file in (old, new)]
    assert not ids[0] & ids[1]
    before, after = reports_of(old), reports_of(new)
    hosts = {key for key, reports in before.items() if reports[0].type == "indicator"}
    assert len(hosts) > 300
    assert hosts <= after.keys()
