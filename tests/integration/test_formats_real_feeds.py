"""The file formats on real public feeds, taken in by the door: whole, and in the programs that read them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import orjson
import pytest
from mvt.common.indicators import Indicators
from pymisp import MISPEvent

from connectors.misp.mapping import attribute
from connectors.mvt.mapping import PATHS, pattern
from connectors.registry import FORMATS
from schemas.feed import FeedRow
from services.accept import formats
from services.enrich.domain import registrable_domain, suffix_list
from tests.fakes import NOW_MS, source_agreement
from tests.unit.connectors.rows import indicator, written

MAX_BYTES = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[FeedRow]:
    """Every indicator of every file once, as if it were shared and might be blocked."""
    suffixes, source = suffix_list(), source_agreement()
    found: dict[tuple[str, str], FeedRow] = {}
    for name in json.loads((shared / "data" / "truth.json").read_text())["files"]:
        body = (shared / "data" / name).read_bytes()
        for draft in formats.read(body, "application/octet-stream", name, source, NOW_MS, MAX_BYTES).drafts:
            if draft.type == "indicator":
                domain = registrable_domain(suffixes, draft.kind, draft.value)
                row = indicator(draft.value, draft.kind, registrable_domain=domain)
                found[draft.kind, draft.value] = row
    return list(found.values())


def test_mvt_counts_every_one(rows: list[FeedRow], tmp_path: Path) -> None:
    file = tmp_path / "feed.stix2"
    file.write_bytes(written(FORMATS["mvt"], rows))
    read = Indicators()
    read.parse_stix2(str(file))
    expected = {(PATHS[row.kind], row.value.lower()) for row in rows if pattern(row)}
    # it has domains and addresses in one list, and each value once
    assert abs(read.total_ioc_count - len(expected)) <= 5 and len(expected) > 1_000
    left_out = Counter(row.kind for row in rows if row.kind in PATHS and not pattern(row))
    assert left_out.keys() <= {"url", "file-path", "file-name", "process-name"}


def test_bind_loads_the_zone(rows: list[FeedRow], tmp_path: Path) -> None:
    program = shutil.which("named-checkzone", path="/usr/bin:/usr/sbin")
    if program is None:
        pytest.skip("needs named-checkzone (Debian: bind9)")
    zone = tmp_path / "rpz.zone"
    zone.write_bytes(written(FORMATS["rpz"], rows))
    checked = subprocess.run([program, "-k", "ignore", "rpz.tocsin", str(zone)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout[-2_000:]
    listed = written(FORMATS["domains"], rows).decode().splitlines()
    domains = [row for row in rows if row.kind == "domain"]
    assert len(listed) > 0.95 * len(domains) and len(set(listed)) == len(listed)


def test_pymisp_loads_the_event(rows: list[FeedRow]) -> None:
    [found] = orjson.loads(written(FORMATS["misp"], rows))["response"]
    made = MISPEvent()
    made.load(found)
    assert len(made.attributes) == len(rows)
    known = made.describe_types["category_type_mappings"]
    assert all(each["type"] in known[each["category"]] for row in rows if (each := attribute(row)))


def test_the_others_are_whole(rows: list[FeedRow]) -> None:
    updates = orjson.loads(written(FORMATS["threatexchange"], rows))["data"]
    assert len({update["id"] for update in updates}) == len(updates) > 1_000
    addresses = written(FORMATS["ips"], rows).decode().splitlines()
    assert len(addresses) > 0.9 * sum(row.kind in ("ipv4", "ipv6", "cidr") for row in rows)
    urls = written(FORMATS["urls"], rows).decode().splitlines()
    assert set(urls) <= {row.value for row in rows if row.kind == "url"}
