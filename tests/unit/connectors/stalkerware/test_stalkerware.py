"""ECHAP's list: what becomes of it, that ids stay, and what accept makes of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.stalkerware import mapping
from schemas.errors import PartnerFailed
from services.accept import formats
from tests.fakes import NOW_MS, source_agreement
from tests.pulled import bodies, door, last_checkpoint, objects, pull

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures" / "connectors" / "stalkerware"
RAW = (FIXTURES / "ioc.yaml").read_bytes()
EXPECTED = FIXTURES / "bundle.json"
AT_MS = 1_793_491_200_000


def stix(raw: bytes, at_ms: int = AT_MS) -> list[dict[str, Any]]:
    return [dict(each) for each in mapping.objects(mapping.apps(raw, "list"), at_ms)]


def test_the_list_as_a_bundle() -> None:
    [part] = mapping.parts(RAW, AT_MS, "list")
    assert orjson.loads(part.body) == orjson.loads(EXPECTED.read_bytes())


def test_what_it_names() -> None:
    found = stix(RAW)
    assert [(m["name"], m.get("aliases"), m["labels"]) for m in found if m["type"] == "malware"] == [
        ("WatchOver", ["OverSeer"], ["stalkerware"]),
        ("FamilyWatch", None, ["watchware"]),
    ]
    assert {each["pattern"]: each["labels"] for each in found if each["type"] == "indicator"} == {
        "[app:id = 'com.watchover.example']": ["package"],
        "[x509-certificate:hashes.'SHA-1' = '31a6ececd97cf39bc4126b8745cd94a7c30bf81c']": ["certificate"],
        "[domain-name:value = 'www.watchover.example']": ["website"],
        "[domain-name:value = 'shared.example']": ["c2", "website"],
        "[domain-name:value = 'get.watchover.example']": ["distribution"],
        "[ipv4-addr:value = '192.0.2.7']": ["distribution"],
        "[ipv4-addr:value = '192.0.2.1']": ["c2"],
        "[ipv6-addr:value = '2001:db8::1']": ["c2"],
        "[domain-name:value = 'c2.watchover.example']": ["c2"],
        "[domain-name:value = 'it\\'s not a host']": ["website"],
    }
    ids = {each["id"]: each for each in found}
    links = {
        (ids[each["source_ref"]]["pattern"], ids[each["target_ref"]]["name"])
        for each in found
        if each["type"] == "relationship"
    }
    assert len(links) == 11 and ("[app:id = 'com.watchover.example']", "FamilyWatch") in links


def test_ids_stay_whatever_the_time_and_the_order() -> None:
    entries = RAW.split(b"- name: FamilyWatch")
    other = b"- name: FamilyWatch" + entries[1] + entries[0]
    assert {each["id"] for each in stix(other, AT_MS + 1)} == {each["id"] for each in stix(RAW)}
    assert {each["modified"] for each in stix(RAW, AT_MS + 1)} != {each["modified"] for each in stix(RAW)}


def test_accept_takes_all_of_it() -> None:
    [part] = mapping.parts(RAW, AT_MS, "list")
    reading = formats.read(part.body, "application/json", "part.json", source_agreement(), NOW_MS, 1 << 24)
    kinds = Counter(draft.kind for draft in reading.drafts if draft.type == "indicator")
    assert kinds == {"app-id": 1, "cert-sha1": 1, "domain": 5, "ipv4": 2, "ipv6": 1}
    assert len(reading.drafts) == 2 + 10 + 11 and reading.refusals == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not-a-list"),
        (b"[]", "not-a-list"),
        (b"a: b", "not-a-list"),
        (b"- a", "app-invalid"),
        (b"- {name: ''}", "app-invalid"),
        (b"- {name: a, packages: b}", "app-invalid"),
        (b"- {name: a, packages: [[b]]}", "app-invalid"),
        (b"- {name: a, c2: [b]}", "app-invalid"),
        (b"- &a {name: a}\n- *a", "yaml-alias"),
        (b"- {name: a, type: !x b}", "yaml-tag"),
        (b"<html>", "not-a-list"),
    ],
)
def test_what_is_no_such_list(raw: bytes, code: str) -> None:
    with pytest.raises(PartnerFailed) as failed:
        mapping.parts(raw, AT_MS, "https://list.example")
    assert failed.value.code == code and failed.value.where.startswith("https://list.example")


async def test_what_is_no_longer_on_the_list_is_withdrawn(tmp_path: Path) -> None:
    file = tmp_path / "ioc.yaml"
    file.write_bytes(RAW.replace(b"it's not a host", b"family.example"))
    async with door(tmp_path, snapshot=True) as at_the_door:
        first = await pull("stalkerware", {"file": str(file)})
        await at_the_door.take(first)
        before = await at_the_door.live()
        assert len(before) == 2 + 10 + 11
        assert await pull("stalkerware", {"file": str(file)}, last_checkpoint(first)) == []
        file.write_bytes(RAW.partition(b"- name: FamilyWatch")[0].replace(b"    - 192.0.2.1\n", b""))
        second = await pull("stalkerware", {"file": str(file)}, last_checkpoint(first), now_ms=NOW_MS + 1_000)
        assert len(bodies(second)) == 1 and len(objects(second)) == 1 + 8 + 8
        await at_the_door.take(second)
        assert len(await at_the_door.live()) == 1 + 8 + 8
