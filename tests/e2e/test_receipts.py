"""A source revokes what it sent; its recipients are told, and the hub waits until they say that they know."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

from tests.e2e.running_hub import ROOT, RunningHub, environment, running_hub

ID = "indicator--22222222-2222-4222-8222-222222222222"


def bundle(folder: Path, **fields: Any) -> Path:
    indicator = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": ID,
        "created": "2026-11-01T00:00:00.000Z",
        "modified": "2026-11-01T00:00:00.000Z",
        "pattern": "[domain-name:value = 'to-be-revoked.example']",
        "pattern_type": "stix",
        "valid_from": "2026-11-01T00:00:00Z",
        **fields,
    }
    file = folder / "bundle.json"
    whole = {"type": "bundle", "id": "bundle--22222222-2222-4222-8222-222222222229", "objects": [indicator]}
    file.write_text(json.dumps(whole))
    return file


def objects(hub: RunningHub, partner: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(hub.tocsin("feed", partner).stdout).get("objects", [])
    return [each for each in found if each["type"] == "indicator"]


def owes(hub: RunningHub, partner: str) -> dict[str, Any]:
    rows = json.loads(hub.tocsin("status", "--json").stdout)["partners"]
    return next(row["owes"] for row in rows if row["id"] == partner)


def as_partner(hub: RunningHub, token: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        cwd=ROOT,
        env=environment(hub.data, hub.url, TOCSIN_TOKEN=token),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_withdrawal_is_outstanding_until_it_is_acknowledged(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        hub.tocsin("push", bundle(tmp_path), "--source", "kestrel", "--wait")
        [sent] = objects(hub, "horizon")
        assert "to-be-revoked.example" in sent["pattern"]
        token = hub.token("horizon")
        said = as_partner(hub, token, "receipt", "acting", sent["id"], "--reason", "asking our resolver's team")
        assert said.returncode == 0 and said.stdout.strip() == f"{sent['id']}  taken"
        assert "asking our resolver's team" in hub.tocsin("receipt", "show", sent["id"]).stdout
        assert owes(hub, "horizon")["withdrawals"] == 0

        revoked = bundle(tmp_path, revoked=True, modified="2026-11-02T00:00:00.000Z")
        hub.tocsin("push", revoked, "--source", "kestrel", "--wait")
        [tombstone] = objects(hub, "horizon")
        assert tombstone["id"] == sent["id"] and tombstone["revoked"] is True
        assert "to-be-revoked" not in json.dumps(tombstone)
        assert "asking" not in hub.tocsin("receipt", "show", sent["id"]).stdout
        assert owes(hub, "horizon")["withdrawals"] == 1
        assert "withdrawals not acknowledged 1, since 0 h" in hub.tocsin("status").stdout
        assert as_partner(hub, token, "receipt", "list").stdout.startswith(f"{sent['id']}  withdrawn, since ")

        others = owes(hub, "meadow")["withdrawals"]
        strange = as_partner(hub, token, "receipt", "acted", ID)
        assert strange.returncode == 1 and "unknown" in strange.stdout, "the source's own id is not the partner's"
        said = as_partner(hub, token, "receipt", "received", sent["id"])
        assert said.returncode == 0 and "withdrawn, and you know it" in said.stdout
        assert owes(hub, "horizon")["withdrawals"] == 0 and owes(hub, "meadow")["withdrawals"] == others
        assert as_partner(hub, token, "receipt", "list", "--what", "withdrawal").stdout == ""
        [same] = objects(hub, "horizon")
        assert same == tombstone
        assert hub.stop() == 0


def test_a_withdrawal_that_nobody_acknowledges_is_put_into_the_feed_anew(tmp_path: Path) -> None:
    """Two days are made to pass by setting the withdrawal back in the database while the hub is down."""
    data = tmp_path / "data"
    with running_hub(data) as hub:
        hub.tocsin("push", bundle(tmp_path), "--source", "kestrel", "--wait")
        revoked = bundle(tmp_path, revoked=True, modified="2026-11-02T00:00:00.000Z")
        hub.tocsin("push", revoked, "--source", "kestrel", "--wait")
        [tombstone] = objects(hub, "horizon")
        assert hub.stop() == 0
    two_days_us = 2 * 86_400_000_000
    with closing(sqlite3.connect(data / "tocsin.db")) as connection:
        connection.execute("UPDATE feed SET added = added - ? WHERE live = 0", (two_days_us,))
        connection.commit()
    started_us = time.time_ns() // 1_000
    with running_hub(data) as hub:
        auth = requests.auth.HTTPBasicAuth("horizon", hub.token("horizon"))
        accept = {"Accept": "application/taxii+json;version=2.1"}
        root = f"{hub.url}/taxii2/api/collections/"
        [collection] = requests.get(root, auth=auth, headers=accept, timeout=10).json()["collections"]
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_us // 1_000_000 - 3_600))
        found: list[dict[str, Any]] = []
        for _ in range(100):
            address = f"{root}{collection['id']}/objects/?added_after={since}"
            found = requests.get(address, auth=auth, headers=accept, timeout=10).json().get("objects", [])
            if found:
                break
            time.sleep(0.2)
        assert found == [tombstone]
        assert owes(hub, "horizon")["reminders"] == 1 and owes(hub, "horizon")["oldest_hours"] == 48
        assert hub.stop() == 0
