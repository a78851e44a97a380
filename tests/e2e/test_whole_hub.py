"""The whole way: a real hub, the real command, real feeds, a real TAXII client."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from aiokafka.partitioner import murmur2
from taxii2client.v21 import Server, as_pages

from schemas.topics import REPORTS
from services.store import Store
from services.stream import open_streams
from services.stream.types import Message
from tests.e2e.running_hub import READY_SECONDS, RunningHub, running_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub") / "data") as running:
        yield running


def feed_ids(hub: RunningHub, partner: str) -> dict[str, str]:
    """value → id of the indicators in a partner's feed."""
    text = hub.tocsin("feed", partner, "--format", "csv").stdout
    return {f"{row['kind']} {row['value']}": row["id"] for row in csv.DictReader(io.StringIO(text))}


def taxii_objects(hub: RunningHub, partner: str) -> list[dict[str, object]]:
    server = Server(f"{hub.url}/taxii2/", user=partner, password=hub.token(partner))
    (root,) = server.api_roots
    (collection,) = root.collections
    pages = as_pages(collection.get_objects, per_request=500)
    return [obj for page in pages for obj in page.get("objects", [])]


def test_it_is_ready_in_time(hub: RunningHub) -> None:
    assert hub.ready_seconds < READY_SECONDS
    assert requests.get(f"{hub.url}/healthz", timeout=5).status_code == 200
    assert requests.get(f"{hub.url}/readyz", timeout=5).status_code == 200


def test_the_demo_tells_each_items_journey(hub: RunningHub) -> None:
    said = hub.tocsin("demo").stdout
    assert "refused at the door" in said
    rules = ("F02", "F03", "F04", "F05", "F06", "host-only")
    threats = ("A shutdown", "Censorship", "A cyberattack", "Surveillance", "Doxxing", "Defamation")
    for words in (
        "horizon",
        "meadow",
        *rules,
        "mail-security-check.example",
        *(f"== {name}: " for name in threats),
    ):
        assert words in said, said
    assert said.count("  decided ") == said.count("\n== "), "every item is found, and was decided"


def test_all_real_feeds_once_and_again(hub: RunningHub, shared: Path) -> None:
    data = shared / "data"
    files = sorted(
        f for pattern in ("stix21/*.stix2", "stix20/*.json", "csv/*", "misp/*") for f in data.glob(pattern)
    )
    assert len(files) == 21
    truth = json.loads((data / "truth.json").read_text())["union"]

    before = feed_ids(hub, "horizon")
    pushed = hub.tocsin("push", *files, "--source", "amnesty", "--wait")
    assert "21 of 21 files in the feeds" in pushed.stdout
    ids = {name: id_ for name, id_ in feed_ids(hub, "horizon").items() if name not in before}
    assert len(ids) == truth["distinct_canonical"] == 9133
    assert Counter(name.split(" ")[0] for name in ids) == truth["by_kind"]
    assert len(set(ids.values())) == len(ids)

    hub.tocsin("push", *files, "--source", "amnesty", "--wait")
    assert feed_ids(hub, "horizon") == {**before, **ids}, "again adds none and changes no id"

    held = taxii_objects(hub, "horizon")
    assert {o["id"] for o in held if o["type"] == "indicator"} == set(feed_ids(hub, "horizon").values())
    versions = {(o["id"], o["modified"]) for o in held}
    assert len(versions) == len(held), "no version twice; what changes while it is read comes again"
    assert all(len(taxii_objects(hub, less)) < len(held) for less in ("cert-xa", "meadow"))


def test_stix_1_is_refused_by_name(hub: RunningHub, shared: Path) -> None:
    answer = hub.tocsin("push", *(shared / "data" / "stix1").glob("*"), "--source", "amnesty", check=False)
    assert answer.returncode == 1
    assert "STIX 1" in answer.stderr


def test_a_lower_tlp_sees_less_and_cannot_tell(hub: RunningHub) -> None:
    hub.tocsin("demo")
    red, green = ({str(o["id"]) for o in taxii_objects(hub, who)} for who in ("horizon", "meadow"))
    own = green - red
    assert len(own) == 1, "one copy is redacted, and so under an id that nobody else has"
    assert green - own < red
    secret = next(iter(red - green))
    server = Server(f"{hub.url}/taxii2/", user="meadow", password=hub.token("meadow"))
    collection = server.api_roots[0].collections[0]
    auth = requests.auth.HTTPBasicAuth("meadow", hub.token("meadow"))
    accept = {"Accept": "application/taxii+json;version=2.1"}

    def ask(id_: str) -> tuple[int, set[str], bytes]:
        answer = requests.get(f"{collection.url}objects/{id_}/", auth=auth, headers=accept, timeout=10)
        return answer.status_code, set(answer.headers), answer.content.replace(id_.encode(), b"ID")

    never = "indicator--" + secret[11:-4] + ("0000" if secret[-4:] != "0000" else "1111")
    assert ask(secret) == ask(never)
    theirs = Server(f"{hub.url}/taxii2/", user="horizon", password=hub.token("horizon")).api_roots[0].collections[0]
    answer = requests.get(theirs.url, auth=auth, headers=accept, timeout=10)
    assert answer.status_code == 404


def test_a_wrong_call_says_what_to_do(hub: RunningHub, tmp_path: Path) -> None:
    assert hub.tocsin("push", check=False).returncode == 2
    nothing = tmp_path / "nothing.json"
    nothing.write_text("not json")
    answer = hub.tocsin("push", nothing, "--source", "nobody", check=False)
    assert answer.returncode == 1
    assert "tocsin partner list" in answer.stderr


def test_what_was_accepted_is_there_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_hub(data) as first:
        first.tocsin("demo")
        ids = feed_ids(first, "horizon")
        assert ids
        assert first.stop() == 0
    feed = tmp_path / "more.csv"
    feed.write_text("type,value\n" + "".join(f"domain,more-{n}.example\n" for n in range(3000)))
    with running_hub(data) as second:
        assert feed_ids(second, "horizon") == ids
        assert "3000" in second.tocsin("push", feed, "--source", "kestrel").stdout
        second.process.kill()
        second.process.wait()
    with running_hub(data) as third:
        deadline = time.monotonic() + 60
        while len(feed_ids(third, "horizon")) < len(ids) + 3000:
            assert time.monotonic() < deadline, "what was answered 202 must arrive"
            time.sleep(0.5)
        assert len(feed_ids(third, "horizon")) == len(ids) + 3000


def test_a_suspended_partner_is_cut_off_at_once(hub: RunningHub) -> None:
    hub.tocsin("demo")
    assert feed_ids(hub, "meadow")
    hub.tocsin("partner", "suspend", "meadow")
    assert not feed_ids(hub, "meadow")
    assert not taxii_objects(hub, "meadow")
    assert "suspended" in hub.tocsin("partner", "list").stdout
    hub.tocsin("partner", "suspend", "meadow", "--lift")
    assert feed_ids(hub, "meadow")


def test_explain_names_the_rules_and_only_to_staff(hub: RunningHub) -> None:
    hub.tocsin("demo")
    said = hub.tocsin("explain", "203.0.113.77", "--partner", "meadow").stdout
    assert "deny: F02" in said
    assert "horizon" not in said
    answer = json.loads(hub.tocsin("explain", "203.0.113.77", "--json").stdout)
    assert {row["partner"] for row in answer["items"][0]["partners"]} >= {"horizon", "meadow", "cert-xa"}
    headers = {"Authorization": f"Bearer {hub.token('meadow')}"}
    for path in ("explain?item=203.0.113.77", "status", "rejected", "partners"):
        assert requests.get(f"{hub.url}/api/v1/{path}", headers=headers, timeout=5).status_code == 404


def test_what_is_refused_is_kept_and_shown(hub: RunningHub, tmp_path: Path) -> None:
    feed = tmp_path / "mixed.json"
    good, bad = (
        {
            "type": "indicator",
            "spec_version": "2.1",
            "id": f"indicator--11111111-1111-4111-8111-11111111111{n}",
            "created": "2026-11-01T00:00:00.000Z",
            "modified": "2026-11-01T00:00:00.000Z",
            "pattern": pattern,
            "pattern_type": "stix",
            "valid_from": "2026-11-01T00:00:00Z",
        }
        for n, pattern in enumerate(("[domain-name:value = 'kept.example']", "[domain-name:value ="))
    )
    feed.write_text(
        json.dumps({"type": "bundle", "id": "bundle--11111111-1111-4111-8111-111111111119", "objects": [good, bad]})
    )
    said = hub.tocsin("push", feed, "--source", "kestrel", "--wait").stdout
    assert "1 taken, 1 refused" in said
    listed = json.loads(hub.tocsin("rejected", "list", "--json").stdout)
    row = next(r for r in listed if r["origin"].endswith(" /objects/1"))
    assert (row["stage"], row["code"]) == ("accept", "pattern-invalid")
    shown = json.loads(hub.tocsin("rejected", "show", row["id"]).stdout)
    assert shown["id"] == row["id"]
    again = hub.tocsin("rejected", "replay", row["id"], check=False)
    assert again.returncode == 1
    assert "not a STIX pattern" in again.stderr


def test_a_poison_record_is_set_aside_and_the_stream_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_hub(data) as first:
        first.tocsin("demo")
        before = feed_ids(first, "horizon")
        assert first.stop() == 0
    asyncio.run(_append_poison(data))
    with running_hub(data) as second:
        feed = tmp_path / "after.csv"
        feed.write_text("type,value\n" + "".join(f"domain,after-{n}.example\n" for n in range(50)))
        second.tocsin("push", feed, "--source", "kestrel", "--wait")
        assert len(feed_ids(second, "horizon")) == len(before) + 50
        rows = [r for r in json.loads(second.tocsin("rejected", "list", "--json").stdout) if r["stage"] == "core"]
        assert len(rows) == 8
        assert all(r["origin"].startswith("tocsin.reports/") for r in rows)
        assert all("poison" not in json.dumps(r) for r in rows), "a list shows reasons, not contents"
        replayed = second.tocsin("rejected", "replay", rows[0]["id"], check=False)
        assert replayed.returncode == 1, "what is no report can't be sent through again"


async def _append_poison(data: Path) -> None:
    store = Store(f"sqlite:///{data / 'tocsin.db'}")
    streams = open_streams("sqlite:", store)
    await streams.start()
    keys: dict[int, bytes] = {}
    number = 0
    while len(keys) < REPORTS.partitions:
        key = number.to_bytes(16, "big")
        keys.setdefault((murmur2(key) & 0x7FFFFFFF) % REPORTS.partitions, key)
        number += 1
    await streams.append(REPORTS, [Message(key, b"poison") for key in keys.values()])
    await streams.stop()
    store.close()
