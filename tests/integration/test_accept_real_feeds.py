"""The door on real public feeds: every indicator in them is understood, and once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import BodyRefused
from schemas.fingerprint import Ioc, fingerprint
from schemas.report import Report, with_seq
from schemas.topics import REPORTS
from services.accept import formats
from services.accept.framing import unpack
from services.accept.names import Origin
from services.accept.packing import prepare
from services.accept.reading import Reading
from tests.fakes import NOW_MS, SECRET, source_agreement

MAX_BYTES = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def truth(shared: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((shared / "data" / "truth.json").read_text())
    return document


@pytest.fixture(scope="module")
def readings(shared: Path, truth: dict[str, Any]) -> dict[str, Reading]:
    source = source_agreement()
    bodies = {name: (shared / "data" / name).read_bytes() for name in truth["files"]}
    return {
        name: formats.read(body, "application/octet-stream", name, source, NOW_MS, MAX_BYTES)
        for name, body in bodies.items()
    }


def indicators(reading: Reading) -> set[tuple[str, str]]:
    return {(draft.kind, draft.value) for draft in reading.drafts if draft.type == "indicator"}


def test_every_file_is_taken_whole(readings: dict[str, Reading], truth: dict[str, Any]) -> None:
    assert len(readings) == 21
    refused = {name: str(reading.refusals[0].error) for name, reading in readings.items() if reading.refusals}
    assert refused == {}


def test_each_file_gives_its_indicators(readings: dict[str, Reading], truth: dict[str, Any]) -> None:
    found = {name: indicators(reading) for name, reading in readings.items()}
    assert {name: len(iocs) for name, iocs in found.items()} == {
        name: file["distinct_canonical"] for name, file in truth["files"].items()
    }
    assert {name: dict(Counter(kind for kind, _ in iocs)) for name, iocs in found.items()} == {
        name: file["by_kind"] for name, file in truth["files"].items()
    }


def test_all_together_give_the_known_number(readings: dict[str, Reading], truth: dict[str, Any]) -> None:
    union = set().union(*(indicators(reading) for reading in readings.values()))
    assert len(union) == truth["union"]["distinct_canonical"] == 9133
    assert Counter(kind for kind, _ in union) == truth["union"]["by_kind"]


def test_every_object_of_stix_is_accounted_for(readings: dict[str, Reading], truth: dict[str, Any]) -> None:
    for name, file in truth["files"].items():
        if file["format"].startswith("stix"):
            assert len({item.pointer for item in readings[name].items}) == file["objects"]


def test_what_is_stored_can_be_read_by_the_next_stage(readings: dict[str, Reading]) -> None:
    fingerprints = set()
    for name, reading in readings.items():
        packed = prepare(reading, Origin(name, "alpha", NOW_MS), SECRET)
        assert packed.taken == len(reading.drafts)
        for parcel in unpack(packed.messages):
            assert parcel.topic is REPORTS
            report = Report.from_bytes(with_seq(parcel.value, 1))
            if report.type == "indicator":
                fingerprints.add(parcel.key)
                if report.kind != "complex":
                    assert parcel.key == fingerprint(SECRET, Ioc(report.kind, report.value))
    assert len(fingerprints) == 9133


def test_stix_1_is_refused_by_name(shared: Path) -> None:
    [file] = (shared / "data" / "stix1").iterdir()
    with pytest.raises(BodyRefused) as caught:
        formats.read(file.read_bytes(), "application/xml", file.name, source_agreement(), NOW_MS, MAX_BYTES)
    assert caught.value.code == "stix-1"
    assert caught.value.what.startswith("this is STIX 1.1.1 XML")
    assert "2.1" in caught.value.hint
