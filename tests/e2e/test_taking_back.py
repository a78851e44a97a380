"""Through a whole hub: a source takes back what it said, by each of the names that it may have for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from schemas.markings import Tlp, marking_id
from tests.e2e.running_hub import RunningHub, running_hub

DAY = "2026-11-02T09:00:00.000Z"
REFERENCE = "consent of Maja, 17 March"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub") / "data", TOCSIN_LOG="debug") as running:
        yield running


def indicator(number: int, domain: str) -> dict[str, Any]:
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--00000000-0000-4000-8000-{number:012d}",
        "created": DAY,
        "modified": DAY,
        "pattern": f"[domain-name:value = '{domain}']",
        "pattern_type": "stix",
        "valid_from": DAY,
        "object_marking_refs": [marking_id(Tlp.AMBER)],
    }


def push(hub: RunningHub, folder: Path, *objects: dict[str, Any], check: bool = True, **options: str) -> Any:
    file = folder / "bundle.json"
    document = {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "objects": list(objects)}
    file.write_text(json.dumps(document))
    more = [part for name, value in options.items() for part in (f"--{name}", value)]
    return hub.tocsin("push", file, "--source", "kestrel", "--wait", "--json", *more, check=check)


def feed(hub: RunningHub, partner: str) -> list[dict[str, Any]]:
    bundle = json.loads(hub.tocsin("feed", partner, "--format", "stix").stdout)
    return [obj for obj in bundle.get("objects", []) if obj["type"] == "indicator"]


def held(hub: RunningHub, domain: str) -> list[dict[str, Any]]:
    return [obj for obj in feed(hub, "horizon") if domain in obj["pattern"]]


def withdraw(hub: RunningHub, *arguments: str, check: bool = True) -> Any:
    return hub.tocsin("withdraw", *arguments, "--source", "kestrel", "--wait", check=check)


@pytest.mark.parametrize(
    ("way", "outcome"),
    [("id", "tombstone"), ("item", "tombstone"), ("submission", "tombstone"), ("consent", "retract")],
)
def test_each_way_reaches_those_who_have_it_and_nobody_else(
    hub: RunningHub, tmp_path: Path, way: str, outcome: str
) -> None:
    number = {"id": 1, "item": 2, "submission": 3, "consent": 4}[way]
    domain = f"{way}.lure.example"
    sent = indicator(number, domain)
    [submission] = json.loads(push(hub, tmp_path, sent, consent=f"{REFERENCE} {way}").stdout)["submissions"]
    [copy] = held(hub, domain)
    before = len(feed(hub, "meadow"))
    names = {"id": sent["id"], "item": copy["id"], "submission": submission["id"], "consent": f"{REFERENCE} {way}"}
    said = withdraw(hub, names[way], *([] if way == "id" else [f"--{way}"])).stdout
    assert said.startswith("1 item withdrawn; the feeds show it")
    assert held(hub, domain) == []
    [tombstone] = [obj for obj in feed(hub, "horizon") if obj["id"] == copy["id"]]
    assert tombstone["revoked"] is True
    assert tombstone["modified"] > copy["modified"]
    assert tombstone["pattern"] == "[domain-name:value = 'withdrawn.invalid']"
    # who never had it learns nothing of it
    assert len(feed(hub, "meadow")) == before
    [item] = json.loads(hub.tocsin("explain", tombstone["id"], "--json").stdout)["items"]
    assert item["value"] == ""
    assert f"({tombstone['id']})" in hub.tocsin("explain", tombstone["id"]).stdout.splitlines()[0]
    outcomes = {one["partner"]: one["outcome"] for one in item["partners"]}
    assert (outcomes["horizon"], outcomes["meadow"]) == (outcome, "deny")


def test_nothing_more_is_taken_under_a_consent_that_was_withdrawn(hub: RunningHub, tmp_path: Path) -> None:
    first = indicator(11, "first.lure.example")
    push(hub, tmp_path, first, consent=REFERENCE)
    answer = json.loads(withdraw(hub, REFERENCE, "--consent", "--json").stdout)
    assert (answer["named"], answer["unknown"]) == (1, [])
    refused = push(hub, tmp_path, indicator(12, "later.lure.example"), consent=REFERENCE, check=False)
    assert refused.returncode == 1
    assert "the consent that this refers to was withdrawn" in refused.stderr
    assert held(hub, "later.lure.example") == []
    # nor a version that says nothing of consent, whatever it came under
    push(hub, tmp_path, first | {"modified": time.strftime("%Y-%m-%dT%H:%M:%S.999Z", time.gmtime(time.time() + 5))})
    assert held(hub, "first.lure.example") == []
    for file in hub.data.parent.rglob("*"):
        assert not file.is_file() or b"Maja" not in file.read_bytes(), file


def test_what_is_not_the_sources_own_is_not_known(hub: RunningHub) -> None:
    said = withdraw(hub, "indicator--00000000-0000-4000-8000-999999999999", check=False)
    assert (said.returncode, said.stdout[:8]) == (1, "0 items ")
    assert "nothing that was shared has such a name" in said.stdout
    assert "sent nothing under this name" in said.stderr
    usage = withdraw(hub, "x", "--consent", "--why", "revoked", check=False)
    assert (usage.returncode, "leave --why out" in usage.stderr) == (2, True)


def test_a_partner_withdraws_with_its_own_token(hub: RunningHub, tmp_path: Path) -> None:
    sent = indicator(21, "own.lure.example")
    push(hub, tmp_path, sent)
    headers = {"Authorization": f"Bearer {hub.token('kestrel')}"}
    address = f"{hub.url}/api/v1/withdrawals"
    response = requests.post(address, json={"why": "revoked", "ids": [sent["id"]]}, headers=headers, timeout=30)
    assert (response.status_code, response.json()["named"]) == (202, 1)
    status = f"{hub.url}{response.json()['status_url']}"
    deadline = time.monotonic() + 30
    while requests.get(status, headers=headers, timeout=30).json()["state"] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert held(hub, "own.lure.example") == []
