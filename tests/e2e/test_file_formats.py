"""From a source's bundle to the files that partners' systems read, by the command."""

from __future__ import annotations

import json
from pathlib import Path

from mvt.common.indicators import Indicators
from pymisp import MISPEvent

from schemas.markings import Pap, Tlp, marking_id
from tests.e2e.running_hub import RunningHub, running_hub

PERMITTED, SILENT, WATCHED = "blocked.example", "says-nothing.example", "only-watched.example"


def bundle() -> dict[str, object]:
    levels = {PERMITTED: [Pap.GREEN], SILENT: [], WATCHED: [Pap.AMBER]}
    objects = [
        {
            "type": "indicator",
            "spec_version": "2.1",
            "id": f"indicator--00000000-0000-4000-8000-{number:012d}",
            "created": "2026-11-02T09:00:00.000Z",
            "modified": "2026-11-02T09:00:00.000Z",
            "pattern": f"[domain-name:value = '{name}']",
            "pattern_type": "stix",
            "valid_from": "2026-11-02T09:00:00.000Z",
            "object_marking_refs": [marking_id(level) for level in (Tlp.GREEN, *paps)],
        }
        for number, (name, paps) in enumerate(levels.items())
    ]
    return {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "objects": objects}


def file_of(hub: RunningHub, format_: str, folder: Path) -> Path:
    file = folder / f"feed.{format_}"
    hub.tocsin("feed", "horizon", "--format", format_, "-o", file)
    return file


def test_what_may_be_blocked_is_in_the_lists_and_nothing_else(tmp_path: Path) -> None:
    given = tmp_path / "given.json"
    given.write_text(json.dumps(bundle()))
    with running_hub(tmp_path / "data") as hub:
        hub.tocsin("push", given, "--source", "kestrel", "--wait")
        zone = file_of(hub, "rpz", tmp_path).read_text()
        assert f"{PERMITTED} CNAME .\n*.{PERMITTED} CNAME .\n" in zone
        assert SILENT not in zone and WATCHED not in zone
        assert file_of(hub, "domains", tmp_path).read_text() == f"{PERMITTED}\n"
        telephone = Indicators()
        telephone.parse_stix2(str(file_of(hub, "mvt", tmp_path)))
        assert {ioc.value for ioc in telephone.get_iocs("domains")} == {PERMITTED, SILENT, WATCHED}
        event = MISPEvent()
        event.load(json.loads(file_of(hub, "misp", tmp_path).read_text())["response"][0])
        assert {a.value: a.to_ids for a in event.attributes} == {PERMITTED: True, SILENT: False, WATCHED: False}
        updates = json.loads(file_of(hub, "threatexchange", tmp_path).read_text())["data"]
        assert {update["indicator"] for update in updates} == {PERMITTED, SILENT, WATCHED}
