"""What real public feeds have in common, read as the door reads them, held against the figures in `truth.json`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from schemas.fingerprint import Ioc
from services.accept import formats
from tests.fakes import NOW_MS, source_agreement

MAX_BYTES = 16 * 1024 * 1024
AMNESTY = "csv/amnesty_2018-08_nso.csv"
TARGETED_THREATS = "stix21/targetedthreats.stix2"


class Read(NamedTuple):
    """A feed's indicators: each once, and how often in all."""

    iocs: frozenset[Ioc]
    occurrences: int


@pytest.fixture(scope="module")
def truth(shared: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((shared / "data" / "truth.json").read_bytes())
    return document


@pytest.fixture(scope="module")
def feeds(shared: Path, truth: dict[str, Any]) -> dict[str, Read]:
    return {name: read(shared / "data" / name) for name in truth["files"]}


def read(file: Path) -> Read:
    reading = formats.read(
        file.read_bytes(), "application/octet-stream", file.name, source_agreement(), NOW_MS, MAX_BYTES
    )
    assert not reading.refusals
    found = [Ioc(draft.kind, draft.value) for draft in reading.drafts if draft.type == "indicator"]
    return Read(frozenset(found), len(found))


def digest(iocs: frozenset[Ioc]) -> str:
    return hashlib.sha256("\n".join(sorted(f"{ioc.kind}\t{ioc.value}" for ioc in iocs)).encode()).hexdigest()


def www_folded(iocs: frozenset[Ioc]) -> int:
    folded = {ioc._replace(value=ioc.value.removeprefix("www.")) if ioc.kind == "domain" else ioc for ioc in iocs}
    return len(folded)


def test_each_feed(feeds: dict[str, Read], truth: dict[str, Any]) -> None:
    assert len(feeds) == 21
    for name, expected in truth["files"].items():
        assert feeds[name].occurrences == expected["occurrences_canonical"], name
        assert digest(feeds[name].iocs) == expected["digest_sha256"], name
        assert www_folded(feeds[name].iocs) == expected["distinct_www_folded"], name


def test_the_union(feeds: dict[str, Read], truth: dict[str, Any]) -> None:
    expected = truth["union"]
    union = frozenset().union(*(feed.iocs for feed in feeds.values()))
    assert len(feeds) == expected["files"]
    assert sum(file["records"] for file in truth["files"].values()) == expected["records"]
    assert sum(len(feed.iocs) for feed in feeds.values()) == expected["sum_distinct_canonical_per_file"]
    assert len(union) == expected["distinct_canonical"] == 9133
    assert dict(Counter(ioc.kind for ioc in union)) == expected["by_kind"]
    assert digest(union) == expected["digest_sha256"]
    assert www_folded(union) == expected["www_folded"]
    seen = Counter(ioc for feed in feeds.values() for ioc in feed.iocs)
    assert sum(count >= 2 for count in seen.values()) == expected["in_2_or_more_files"]
    assert sum(count >= 3 for count in seen.values()) == expected["in_3_or_more_files"]


def test_the_stix_feeds_alone(feeds: dict[str, Read], truth: dict[str, Any]) -> None:
    stix = [feed.iocs for name, feed in feeds.items() if name.startswith("stix")]
    expected = truth["union"]["stix_only_naive_vs_canonical"]
    assert len(frozenset().union(*stix)) == expected["distinct_canonical"]


def test_the_overlap_of_any_two(feeds: dict[str, Read], truth: dict[str, Any]) -> None:
    found: dict[str, dict[str, int]] = {name: {} for name in feeds}
    for one, other in permutations(feeds, 2):
        if common := len(feeds[one].iocs & feeds[other].iocs):
            found[one][other] = common
    assert found == truth["overlap"]


def test_what_two_organisations_found_apart(feeds: dict[str, Read], truth: dict[str, Any]) -> None:
    common = feeds[TARGETED_THREATS].iocs & feeds[AMNESTY].iocs
    assert len(common) == truth["overlap"][TARGETED_THREATS][AMNESTY] == 595
    assert {ioc.kind for ioc in common} == {"domain"}


def test_what_was_published_again(feeds: dict[str, Read], truth: dict[str, Any]) -> None:
    found = [
        {
            "older": pair["older"],
            "newer": pair["newer"],
            "same": len(older & newer),
            "only_older": len(older - newer),
            "only_newer": len(newer - older),
            "withdrawn": sorted(ioc.value for ioc in older - newer),
        }
        for pair in truth["republication_pairs"]
        for older, newer in [(feeds[pair["older"]].iocs, feeds[pair["newer"]].iocs)]
    ]
    assert found == truth["republication_pairs"]
    assert len(found) == 2
    assert not any(pair["withdrawn"] for pair in found)


def test_what_one_may_argue_about(feeds: dict[str, Read], truth: dict[str, Any]) -> None:
    union = frozenset().union(*(feed.iocs for feed in feeds.values()))
    assert len(truth["debatable"]) == 4
    assert {Ioc(*case["canonical"]) for case in truth["debatable"]} <= union
