"""The identity of the indicators in real public feeds, held against the counts and digests in `truth.json`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc, fingerprint, from_cell, from_type
from schemas.patterns import generate, parse


def read_stix(file: Path) -> Iterator[tuple[Ioc, ...]]:
    version = "2.0" if file.parent.name == "stix20" else "2.1"
    for thing in json.loads(file.read_bytes())["objects"]:
        if thing["type"] == "indicator":
            yield parse(thing["pattern"], version).iocs  # type: ignore[arg-type]


def read_misp(file: Path) -> Iterator[tuple[Ioc, ...]]:
    document: Any = json.loads(file.read_bytes())
    document = document.get("response", document)
    event = (document[0] if isinstance(document, list) else document)["Event"]
    attributes = [*event["Attribute"], *(each for thing in event.get("Object", []) for each in thing["Attribute"])]
    for attribute in attributes:
        if not attribute.get("deleted"):
            yield tuple(from_type(attribute["type"], attribute["value"]))


def read_csv(file: Path) -> Iterator[tuple[Ioc, ...]]:
    for row in csv.DictReader(io.StringIO(file.read_text("utf-8-sig"), newline="")):
        if not any(row.values()):
            continue
        if "Indicator" in row:
            found = from_cell(row["Indicator"])
            yield (found,) if found else ()
        elif "domain_name" in row:
            yield tuple(from_type("domain_name", row["domain_name"]) + from_type("ip_address", row["ip_address"]))
        else:
            yield tuple(
                from_type(row.get("indicator_type") or row["type"], row.get("indicator_value") or row["value"])
            )


READERS = {"stix20": read_stix, "stix21": read_stix, "misp": read_misp, "csv": read_csv}


@cache
def records_of(file: Path) -> list[tuple[Ioc, ...]]:
    return list(READERS[file.parent.name](file))


def by_kind(iocs: set[Ioc]) -> dict[str, int]:
    return dict(Counter(ioc.kind for ioc in iocs))


def digest(iocs: set[Ioc]) -> str:
    return hashlib.sha256("\n".join(sorted(f"{ioc.kind}\t{ioc.value}" for ioc in iocs)).encode()).hexdigest()


@pytest.fixture(scope="session")
def truth(shared: Path) -> dict[str, Any]:
    truth: dict[str, Any] = json.loads((shared / "data" / "truth.json").read_bytes())
    return truth


def test_each_feed(shared: Path, truth: dict[str, Any]) -> None:
    assert len(truth["files"]) == 21
    for name, expected in truth["files"].items():
        records = records_of(shared / "data" / name)
        iocs = {ioc for record in records for ioc in record}
        assert by_kind(iocs) == expected["by_kind"], name
        assert len(iocs) == expected["distinct_canonical"], name
        assert sum(map(len, records)) == expected["occurrences_canonical"], name
        assert digest(iocs) == expected["digest_sha256"], name
        if not name.startswith("misp/"):  # records of a MISP event are counted there without the other attributes
            assert len(records) == expected["records"], name
            assert records.count(()) == expected["records_yielding_none"], name


def test_all_feeds(shared: Path, truth: dict[str, Any]) -> None:
    files = {
        name: {ioc for record in records_of(shared / "data" / name) for ioc in record} for name in truth["files"]
    }
    union = set[Ioc]().union(*files.values())
    expected = truth["union"]
    assert len(union) == expected["distinct_canonical"] == 9133
    assert by_kind(union) == expected["by_kind"]
    assert digest(union) == expected["digest_sha256"]
    assert len({fingerprint(b"secret", ioc) for ioc in union}) == len(union)
    seen = Counter(ioc for iocs in files.values() for ioc in iocs)
    assert sum(count >= 2 for count in seen.values()) == expected["in_2_or_more_files"]
    assert sum(count >= 3 for count in seen.values()) == expected["in_3_or_more_files"]


def test_what_is_sent_out_reads_back_the_same(shared: Path, truth: dict[str, Any]) -> None:
    for name in truth["files"]:
        for record in records_of(shared / "data" / name):
            for ioc in record:
                assert parse(generate(ioc)).iocs == (ioc,), ioc


def patterns_of(shared: Path, name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((shared / "stix-corpus" / "patterns" / name).read_bytes())
    return entries


def test_valid_patterns(shared: Path) -> None:
    entries = patterns_of(shared, "valid.json")
    assert len(entries) == 1389
    for entry in entries:
        parsed = parse(entry["pattern"])
        if parsed.canonical:
            assert parse(parsed.iocs[0].value) == parsed
            assert parse(parsed.canonical).canonical == parsed.canonical


def test_invalid_patterns(shared: Path) -> None:
    verdicts: Counter[tuple[str, str]] = Counter()
    for entry in patterns_of(shared, "invalid.json"):
        try:
            parse(entry["pattern"])
        except ItemRefused as refusal:
            assert refusal.code == "pattern-invalid"
            verdicts[entry["confidence"], "refused"] += 1
        else:
            verdicts[entry["confidence"], "taken"] += 1
    # taken: a SHA-256 of three digits, which is a `badhash` and no fault of the pattern
    assert verdicts == {("high", "refused"): 46, ("medium", "refused"): 3, ("medium", "taken"): 1}


def test_disputed_patterns_are_taken_or_refused(shared: Path) -> None:
    entries = patterns_of(shared, "disputed.json")
    assert len(entries) == 16
    for entry in entries:
        try:
            assert parse(entry["pattern"]).identities is not None
        except ItemRefused as refusal:
            assert refusal.hint
