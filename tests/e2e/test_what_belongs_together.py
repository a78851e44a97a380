"""Through a whole hub: relationships, old ids, feedback, snapshots, data, and what staff are told of an item."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from schemas.enrichment import ENRICHMENT_ID
from schemas.markings import Tlp, marking_id
from services.accept import formats
from tests.e2e.running_hub import ROOT, RunningHub, running_hub
from tests.fakes import NOW_MS, source_agreement

T = TypeVar("T")
DAY = "2026-11-02T09:00:00.000Z"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("hub")
    agreements = folder / "agreements"
    shutil.copytree(ROOT / "deploy" / "agreements", agreements)
    snapshots = (agreements / "kestrel.toml").read_text().replace('id = "kestrel"', 'id = "gazette"')
    (agreements / "gazette.toml").write_text(snapshots + "snapshot = true\n")
    with running_hub(folder / "data", TOCSIN_AGREEMENTS=str(agreements), TOCSIN_WINDOW_SECONDS="1") as running:
        yield running


def sdo(type_: str, number: int, **fields: Any) -> dict[str, Any]:
    common = {
        "type": type_,
        "spec_version": "2.1",
        "id": f"{type_}--00000000-0000-4000-8000-{number:012d}",
        "created": DAY,
        "modified": DAY,
    }
    return common | fields


def indicator(number: int, domain: str, tlp: Tlp = Tlp.GREEN, **fields: Any) -> dict[str, Any]:
    return sdo(
        "indicator",
        number,
        pattern=f"[domain-name:value = '{domain}']",
        pattern_type="stix",
        valid_from=DAY,
        object_marking_refs=[marking_id(tlp)],
        **fields,
    )


def push(hub: RunningHub, folder: Path, source: str, name: str, *objects: dict[str, Any]) -> str:
    file = folder / f"{name}.json"
    bundle = {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "objects": list(objects)}
    file.write_text(json.dumps(bundle))
    return hub.tocsin("push", file, "--source", source, "--wait").stdout


def feed(hub: RunningHub, partner: str) -> dict[str, dict[str, Any]]:
    bundle = json.loads(hub.tocsin("feed", partner, "--format", "stix").stdout)
    return {obj["id"]: obj for obj in bundle.get("objects", [])}


def soon(look: Callable[[], T], seconds: float = 30) -> T:
    """The first answer that is one; letters take two more hops than a report."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "did not come"
        time.sleep(0.2)
    return found


def explain(hub: RunningHub, what: str) -> dict[str, Any]:
    [item] = json.loads(hub.tocsin("explain", what, "--json").stdout)["items"]
    return dict(item)


def test_a_bundles_relationships_survive_for_those_who_may_see_both_ends(hub: RunningHub, tmp_path: Path) -> None:
    lure, kit = indicator(1, "joined.lure.example"), sdo("malware", 2, name="Made-up Kit", is_family=True)
    kit["object_marking_refs"] = [marking_id(Tlp.AMBER)]
    link = sdo(
        "relationship", 3, relationship_type="indicates", source_ref=lure["id"], target_ref=kit["id"],
        object_marking_refs=[marking_id(Tlp.GREEN)],
    )  # fmt: skip
    push(hub, tmp_path, "kestrel", "joined", lure, kit, link)

    def joined() -> list[dict[str, Any]]:
        return [obj for obj in feed(hub, "horizon").values() if obj["type"] == "relationship"]

    [relationship] = soon(joined)
    held = feed(hub, "horizon")
    assert held[relationship["source_ref"]]["pattern"] == "[domain-name:value = 'joined.lure.example']"
    assert held[relationship["target_ref"]]["name"] == "Made-up Kit"
    assert not {lure["id"], kit["id"], link["id"]} & held.keys(), "no id of the source leaves"
    assert "relationship" not in {obj["type"] for obj in feed(hub, "meadow").values()}

    # all that is new are the ids
    again = json.loads(json.dumps([lure, kit, link]).replace("-0000-4000-8000-", "-1111-4111-8111-"))
    before = feed(hub, "horizon").keys()
    push(hub, tmp_path, "kestrel", "joined-again", *again)
    time.sleep(2)
    assert feed(hub, "horizon").keys() == before


def test_a_later_report_may_refer_to_an_old_id_and_withdraw_by_it(hub: RunningHub, tmp_path: Path) -> None:
    push(
        hub,
        tmp_path,
        "kestrel",
        "first",
        indicator(11, "early.example"),
        sdo("malware", 12, name="Old", is_family=True),
    )
    link = sdo(
        "relationship", 13, relationship_type="indicates",
        source_ref=indicator(11, "")["id"], target_ref="malware--00000000-0000-4000-8000-000000000012",
    )  # fmt: skip
    push(hub, tmp_path, "kestrel", "second", link)

    def linked() -> list[str]:
        held = feed(hub, "horizon")
        return [
            obj["id"]
            for obj in held.values()
            if obj["type"] == "relationship" and held[obj["target_ref"]].get("name") == "Old"
        ]

    assert len(soon(linked)) == 1
    gone = indicator(11, "withdrawn.invalid", revoked=True) | {"modified": "2026-11-03T09:00:00.000Z"}
    push(hub, tmp_path, "kestrel", "third", gone)
    item = explain(hub, "early.example")
    assert {row["outcome"] for row in item["partners"] if row["partner"] == "horizon"} == {"tombstone"}


def test_a_partners_false_positive_lowers_the_score_and_names_nobody(hub: RunningHub, tmp_path: Path) -> None:
    push(hub, tmp_path, "kestrel", "doubtful", indicator(21, "doubtful.example", confidence=90))

    def held() -> dict[str, Any]:
        return next(o for o in feed(hub, "lantern").values() if "doubtful.example" in o.get("pattern", ""))

    before = held()
    score = before["extensions"][ENRICHMENT_ID]["score"]
    opinion = sdo(
        "opinion", 22, opinion="strongly-disagree", explanation="it is our own server", object_refs=[before["id"]]
    )
    answer = requests.post(
        f"{hub.url}/api/v1/submissions",
        json={"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000009", "objects": [opinion]},
        headers={"Authorization": f"Bearer {hub.token('lantern')}"},
        timeout=10,
    )
    assert answer.status_code == 202, answer.text
    lowered = soon(lambda: (now := held())["extensions"][ENRICHMENT_ID]["score"] < score and now)
    assert lowered["id"] == before["id"]
    assert lowered["modified"] > before["modified"]
    meadow = next(o for o in feed(hub, "meadow").values() if "doubtful.example" in o.get("pattern", ""))
    assert meadow["extensions"][ENRICHMENT_ID]["score"] == score, "lantern's words are AMBER"
    opinions = soon(lambda: [o for o in feed(hub, "horizon").values() if o["type"] == "opinion"])
    assert opinions[0]["object_refs"] == [before["id"]]
    assert "lantern" not in json.dumps(feed(hub, "horizon"))
    said = hub.tocsin("explain", "doubtful.example").stdout
    assert "said by   kestrel (A), once, 2026-11-02, confidence 90" in said
    assert "opinion   lantern: 1" in said
    assert "disputed -" in said


def test_what_a_snapshot_lacks_is_withdrawn(hub: RunningHub, tmp_path: Path) -> None:
    names = ("stays.example", "leaves.example")
    said = push(hub, tmp_path, "gazette", "list", *(indicator(31 + n, name) for n, name in enumerate(names)))
    assert "2 taken" in said
    push(hub, tmp_path, "gazette", "list", indicator(33, "stays.example"))

    def patterns() -> set[str]:
        return {o.get("pattern", "") for o in feed(hub, "horizon").values() if not o.get("revoked")}

    soon(lambda: "[domain-name:value = 'leaves.example']" not in patterns())
    assert "[domain-name:value = 'stays.example']" in patterns()


def test_a_campaign_is_told_to_those_who_hold_its_members(hub: RunningHub, tmp_path: Path) -> None:
    hosts = [f"{name}.campaign-site.example" for name in ("login", "mail", "files")]
    push(hub, tmp_path, "kestrel", "campaign", *(indicator(41 + n, host) for n, host in enumerate(hosts)))

    def grouping() -> dict[str, Any] | None:
        return next(
            (
                obj
                for obj in feed(hub, "horizon").values()
                if obj["type"] == "grouping"
                and "campaign-site.example" in obj["name"]
                and len(obj["object_refs"]) == 3
            ),
            None,
        )

    found = soon(grouping)
    assert found is not None
    held = feed(hub, "horizon")
    assert {held[ref]["type"] for ref in found["object_refs"]} == {"indicator"}


def test_two_real_sources_on_one_item(hub: RunningHub, shared: Path) -> None:
    files = [shared / "data" / name for name in ("stix21/targetedthreats.stix2", "csv/amnesty_2018-08_nso.csv")]
    for file, source in zip(files, ("kestrel", "amnesty"), strict=True):
        hub.tocsin("push", file, "--source", source, "--wait")
    read = [
        {
            draft.value
            for draft in formats.read(f.read_bytes(), "", f.name, source_agreement(), NOW_MS, 2**24).drafts
        }
        for f in files
    ]
    both = sorted(read[0] & read[1])
    assert len(both) == 595
    item = explain(hub, both[0])
    assert {word["source"] for word in item["contributions"]} == {"kestrel", "amnesty"}
    assert item["score"]["parts"]["sources"] > 0
    assert sum(item["score"]["parts"].values()) == item["score"]["value"]


def test_new_data_take_effect_without_a_restart(hub: RunningHub, tmp_path: Path) -> None:
    push(hub, tmp_path, "kestrel", "ours", indicator(51, "our-own-site.example"), indicator(52, "popular.example"))

    def shown(domain: str) -> list[dict[str, Any]]:
        return [o for o in feed(hub, "horizon").values() if f"'{domain}'" in o.get("pattern", "")]

    [popular] = shown("popular.example")
    [own] = shown("our-own-site.example")
    assert "do_not_block" not in popular["extensions"][ENRICHMENT_ID]
    new = tmp_path / "new-data"
    (new / "warninglists").mkdir(parents=True)
    ours = tmp_path / "ours.txt"
    ours.write_text("our-own-site.example # the people's own\n")
    hub.tocsin("data", "protect", ours, "-o", new / "protected-hashes.txt")
    assert "our-own-site" not in (new / "protected-hashes.txt").read_text()
    warning = {
        "name": "Known benign sites", "description": "made up", "version": 1, "type": "hostname",
        "category": "False positive", "list": ["popular.example"], "matching_attributes": ["domain"],
    }  # fmt: skip
    (new / "warninglists" / "list.json").write_text(json.dumps(warning | {"type": "nonsense"}))
    refused = hub.tocsin("data", "update", new, check=False)
    assert refused.returncode == 1
    assert "list.json" in refused.stderr
    (new / "warninglists" / "list.json").write_text(json.dumps(warning))
    before = explain(hub, "popular.example")["enrichment"]["data_version"]
    hub.tocsin("data", "update", new)
    assert soon(lambda: not shown("our-own-site.example"))
    [marked] = soon(
        lambda: [o for o in shown("popular.example") if "do_not_block" in o["extensions"][ENRICHMENT_ID]]
    )
    assert marked["id"] == popular["id"]
    assert marked["extensions"][ENRICHMENT_ID]["score"] < popular["extensions"][ENRICHMENT_ID]["score"]
    assert explain(hub, "popular.example")["enrichment"]["data_version"] != before
    item = explain(hub, "our-own-site.example")
    assert {"F12"} <= {rule for row in item["partners"] for rule in row["rules"]}
    withdrawn = [o for o in feed(hub, "horizon").values() if o.get("revoked")]
    assert own["id"] in {o["id"] for o in withdrawn}, "somebody may be blocking the people's own site"
