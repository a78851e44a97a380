"""A new source: nothing of it goes anywhere before staff have looked at it, item by item."""

from __future__ import annotations

import json
import time
from pathlib import Path
from shutil import copytree

from tests.e2e.running_hub import ROOT, RunningHub, running_hub

AGREEMENT = """[partner]
id = "newcomer"
name = "A new source"
kind = "ngo"
jurisdiction = "XN"
controlled_by = []
starts = 2026-01-01
ends = 2036-01-01
[contributes]
reliability = "C"
probation = true
defaults = { tlp = "green", consent = "not-required", category = "phishing" }
"""


def held(hub: RunningHub) -> list[str]:
    lines = hub.tocsin("feed", "horizon", "--format", "csv").stdout.splitlines()
    return [line for line in lines if "slow." in line]


def test_items_of_a_new_source_are_released_one_by_one(tmp_path: Path) -> None:
    agreements = tmp_path / "agreements"
    copytree(ROOT / "deploy/agreements", agreements)
    (agreements / "newcomer.toml").write_text(AGREEMENT)
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("one.slow.example\ntwo.slow.example\n")
    with running_hub(tmp_path / "data", TOCSIN_AGREEMENTS=str(agreements)) as hub:
        hub.tocsin("push", hosts, "--source", "newcomer", "--wait")
        assert held(hub) == []
        deadline = time.monotonic() + 20
        while len(waiting := json.loads(hub.tocsin("release", "--json").stdout)["waiting"]) < 2:
            assert time.monotonic() < deadline, waiting
            time.sleep(0.1)
        assert {row["value"] for row in waiting} == {"one.slow.example", "two.slow.example"}
        [seen] = [row for row in waiting if row["value"] == "one.slow.example"]
        one = f"{seen['id']}@{seen['version']}"
        assert one in hub.tocsin("release").stdout
        stale = hub.tocsin("release", f"{seen['id']}@{'0' * 32}", check=False)
        assert (stale.returncode, "look again" in stale.stderr, held(hub)) == (1, True, [])
        assert hub.tocsin("release", seen["id"], check=False).returncode == 2
        other = hub.tocsin("release", one, "--source", "kestrel")
        assert "0 released" in other.stdout
        assert "1 released" in hub.tocsin("release", one).stdout
        while not (now := held(hub)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert ["one.slow.example" in line for line in now] == [True]
        assert "two.slow.example" in hub.tocsin("release").stdout
        nothing = hub.tocsin("release", f"indicator--00000000-0000-4000-8000-000000000000@{'0' * 32}", check=False)
        assert (nothing.returncode, "nothing under this id" in nothing.stderr) == (1, True)
