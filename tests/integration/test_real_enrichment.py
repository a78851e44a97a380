"""Real warning lists, families and techniques held against the indicators of real public feeds."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.fingerprint import Ioc
from schemas.patterns import parse
from services.data import load
from services.enrich.context import EnrichmentData, look, named

AVERAGE_SECONDS = 0.0002
"""Far above the 10 µs that are usual: the test is to find what has become a scan, on any machine."""


@pytest.fixture(scope="module")
def data(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> EnrichmentData:
    folder = tmp_path_factory.mktemp("data")
    for name in ("warninglists", "galaxy", "attack"):
        shutil.copytree(shared / "data" / name, folder / name)
    return load(folder)


def bundle(shared: Path, name: str) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = json.loads((shared / "data" / "stix21" / name).read_bytes())["objects"]
    return objects


@pytest.fixture(scope="module")
def iocs(shared: Path) -> set[Ioc]:
    found: set[Ioc] = set()
    for file in (shared / "data" / "stix21").glob("*.stix2"):
        for thing in bundle(shared, file.name):
            if thing["type"] == "indicator":
                found.update(parse(thing["pattern"]).iocs)
    return found


def test_warning_lists_hit_few_of_what_researchers_published(data: EnrichmentData, iocs: set[Ioc]) -> None:
    started = time.perf_counter()
    contexts = {ioc: look(data, ioc.kind, ioc.value) for ioc in iocs}
    seconds = time.perf_counter() - started
    assert len(iocs) > 5_000 and seconds / len(iocs) < AVERAGE_SECONDS
    ways = Counter(each.how for c in contexts.values() for each in c.lookalikes)
    unblockable = sorted(ioc.value for ioc, c in contexts.items() if c.do_not_block)
    # spyware's own infrastructure is on rented servers, and next to none of it is known as benign
    assert 0 < sum(bool(c.warnings) for c in contexts.values()) < len(iocs) * 0.25
    assert len(unblockable) < len(iocs) * 0.02
    assert ways["combo"] > 10 and ways["edit"] > 0 and ways["tld"] > 0


@pytest.mark.parametrize(
    ("name", "families", "vendors"),
    [
        ("predator.stix2", {"Predator"}, {"Cytrox", "Intellexa"}),
        ("kingspawn.stix2", {"KingsPawn"}, {"QuaDream"}),
        ("novispy.stix2", {"NoviSpy"}, set()),
        ("cellebrite.stix2", set(), {"Cellebrite"}),
    ],
)
def test_what_real_bundles_name(
    data: EnrichmentData, shared: Path, name: str, families: set[str], vendors: set[str]
) -> None:
    words = [t[k] for t in bundle(shared, name) if t["type"] == "malware" for k in ("name", "description")]
    found = named(data, words)
    assert families <= set(found.families) and vendors <= set(found.vendors)


def test_most_of_a_real_stalkerware_list_is_known(data: EnrichmentData, shared: Path) -> None:
    names = [t["name"] for t in bundle(shared, "stalkerware_2022-04-27.stix2") if t["type"] == "malware"]
    known = [name for name in names if "spyware" in named(data, [name]).categories]
    assert len(known) > len(names) * 0.9


def test_prose_of_attack_names_few_families(data: EnrichmentData, shared: Path) -> None:
    """Descriptions of techniques are prose about malware: what they name should be named there on purpose."""
    objects = json.loads((shared / "data" / "attack" / "mobile-attack-17.1_trimmed.json").read_bytes())["objects"]
    texts = [t["description"] for t in objects if t["type"] == "attack-pattern"]
    found = Counter(family for text in texts for family in named(data, [text]).families)
    assert sum(found.values()) < len(texts) * 0.2
