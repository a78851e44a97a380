"""Files of STIX: which are read, how large ones are cut, and what is withdrawn when it is gone."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from connectors import slices
from connectors.registry import CONNECTORS
from connectors.stix_files import mapping
from schemas.errors import Misconfigured, PartnerFailed
from tests.contract.puller_worlds import AT, bundle, indicator, uuid
from tests.pulled import bodies, door, last_checkpoint, objects, opened, pull, serving

INDEX = b"""indicators:
  -
    type: github
    name: Made up
    sources: [Lab]
    references: [https://lab.example/report]
    github: {owner: lab, repo: iocs, branch: main, path: a folder/x.stix2}
  - {type: download, name: Other, download_url: "https://other.example/y.stix2"}
  - {type: download, name: Again, download_url: "https://other.example/y.stix2"}
"""


def test_the_index_that_mvt_keeps() -> None:
    assert mapping.addresses(INDEX, "x") == [
        "https://raw.githubusercontent.com/lab/iocs/main/a%20folder/x.stix2",
        "https://other.example/y.stix2",
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"indicators: a",
        b"indicators: [a]",
        b"indicators: [{type: github}]",
        b"indicators: [{type: github, github: {owner: a, repo: b, branch: c, path: ../../d}}]",
        b"indicators: [{type: github, github: {owner: a, repo: b, branch: c, path: ''}}]",
        b"indicators:\n" + b"- {download_url: x}\n" * 1_001,
    ],
)
def test_what_is_no_index(raw: bytes) -> None:
    with pytest.raises(PartnerFailed) as failed:
        mapping.addresses(raw, "x")
    assert failed.value.code == "not-an-index"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"type": "error", "message": "We are back soon"}', "not-stix"),
        (b'[{"type": "error", "id": "e-1"}]', "not-stix"),
        (b"{}", "not-stix"),
        (b"[]", "not-stix"),
        (b'{"type": "bundle", "objects": {}}', "not-stix"),
        (b'{"type": "bundle", "objects": [1]}', "not-stix"),
        (b"nonsense", "not-json"),
        (b'{"type": "bundle", "type": "x"}', "duplicate-key"),
    ],
)
def test_what_is_no_stix(raw: bytes, code: str) -> None:
    with pytest.raises(PartnerFailed) as failed:
        mapping.parts(raw, "x")
    assert failed.value.code == code


def test_lists_and_single_objects_are_stix_too() -> None:
    for raw in (orjson.dumps([indicator(1)]), orjson.dumps(indicator(1)), bundle(1)):
        assert [part.body for part in mapping.parts(raw, "x")] == [raw]
    assert mapping.parts(b'{"type": "bundle"}', "x") == []


@pytest.mark.parametrize(
    "settings", [{}, {"url": "https://a.example", "folder": "/x"}, {"url": "https://a.example", "more": 1}]
)
def test_settings_that_say_too_little_or_too_much(settings: Any) -> None:
    with pytest.raises(ValueError, match=r"set one of|Extra inputs"):
        CONNECTORS["stix_files"].settings.model_validate(settings)


async def test_an_index_leads_to_no_other_host_than_those_that_are_set() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/index":
            return web.Response(text=f'indicators: [{{download_url: "{request.url.origin()}/a"}}]')
        return web.Response(body=bundle(1))

    async def other(_: web.Request) -> web.Response:
        return web.Response(text=f'indicators: [{{download_url: "{url}/a"}}, {{download_url: "ftp://x/a"}}]')

    async with serving(answer) as url, serving(other) as there:
        assert len(objects(await pull("stix_files", {"index": f"{url}/index"}))) == 1
        with pytest.raises((PartnerFailed, Misconfigured)) as failed:
            await pull("stix_files", {"index": f"{there}/index"})
        assert failed.value.code == "redirect-elsewhere"


async def test_one_file_that_can_not_be_had_holds_up_no_other(tmp_path: Path) -> None:
    for name, content in (("a.json", b"nonsense"), ("b.stix2", bundle(1)), ("c.txt", b"nonsense")):
        (tmp_path / name).write_bytes(content)
    settings = {"folder": str(tmp_path)}
    got = []
    async with opened("stix_files", settings) as puller, aclosing(puller.pull({})) as pieces:
        with pytest.raises(PartnerFailed) as failed:
            async for piece in pieces:
                got.append(piece)
    assert bodies(got) == [bundle(1)] and failed.value.code == "not-json"
    (tmp_path / "a.json").write_bytes(bundle(2))
    assert bodies(await pull("stix_files", settings, last_checkpoint(got))) == [bundle(2)]


def published(first: int, *names: str) -> bytes:
    """A bundle in the shape that Amnesty and MVT publish, with new ids each time."""
    head = {"spec_version": "2.1", "created": AT, "modified": AT}
    malware = {"type": "malware", "id": f"malware--{uuid(first)}", **head, "name": "Foo", "is_family": False}
    found: list[dict[str, Any]] = [malware]
    for number, name in enumerate(names, first + 1):
        found += [
            {
                "type": "relationship",
                "id": f"relationship--{uuid(number)}",
                **head,
                "relationship_type": "indicates",
                "source_ref": f"indicator--{uuid(number)}",
                "target_ref": malware["id"],
            },
            {**indicator(number), "pattern": f"[domain-name:value='{name}']"},
        ]
    return orjson.dumps({"type": "bundle", "id": f"bundle--{uuid(first)}", "objects": found})


@pytest.mark.parametrize("cut_at", [10_000, 8])
async def test_a_snapshot_withdraws_what_it_lacks_and_nothing_else(
    tmp_path: Path, cut_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole and in slices; every version has new ids, as those of real feeds have."""
    monkeypatch.setattr(slices, "MAX_ELEMENTS", cut_at)
    folder = tmp_path / "files"
    folder.mkdir()
    settings = {"folder": str(folder), "snapshot": True}
    names = [f"h{number}.example" for number in range(30)]
    checkpoint: Any = {}
    async with door(tmp_path, snapshot=True) as at_the_door:
        for first, held, live in [
            (1_000, names[:20], 1 + 20 + 20),
            (2_000, names[:20], 1 + 20 + 20),
            (3_000, names[5:], 1 + 25 + 25),
            (4_000, names[:3], 1 + 3 + 3),
            (5_000, names, 1 + 30 + 30),
        ]:
            before = await at_the_door.live()
            (folder / "a.json").write_bytes(published(first, *held))
            pieces = await pull("stix_files", settings, checkpoint)
            assert (len(bodies(pieces)) > 1) == (cut_at == 8 and 2 * len(held) >= 8)
            await at_the_door.take(pieces)
            checkpoint = last_checkpoint(pieces, checkpoint)
            after = await at_the_door.live()
            assert len(after) == live
            assert (before.keys() <= after.keys()) == (live >= len(before) and first != 3_000)
        # what falls out is withdrawn, once, and what stays is not touched by it
        withdrawn = await at_the_door.withdrawn()

        async def again() -> int:
            nonlocal checkpoint
            pieces = await pull("stix_files", settings, checkpoint)
            checkpoint = last_checkpoint(pieces, checkpoint)
            await at_the_door.take(pieces)
            return len(await at_the_door.live())

        (folder / "a.json").write_bytes(published(6_000, *names[1:]))
        assert await again() == 1 + 29 + 29
        assert await at_the_door.withdrawn() == withdrawn + 2
        # a second file holds some of it too; when the first is gone, only what it alone held is withdrawn
        (folder / "b.json").write_bytes(published(7_000, *names[:10]))
        assert await again() == 1 + 30 + 30
        (folder / "a.json").unlink()
        assert await again() == 1 + 10 + 10


@pytest.mark.parametrize("cut_at", [10_000, 8])
async def test_a_file_that_is_empty_all_at_once_withdraws_nothing(
    tmp_path: Path, cut_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", cut_at)
    file, empty = tmp_path / "a.json", b'{"type": "bundle", "objects": []}'
    settings = {"folder": str(tmp_path), "snapshot": True}
    file.write_bytes(empty)
    assert bodies(await pull("stix_files", settings)) == [], "what has been empty ever since is no fault"
    file.write_bytes(published(1_000, *(f"h{number}.example" for number in range(30))))
    pieces = await pull("stix_files", settings)
    assert (len(bodies(pieces)) > 1) == (cut_at == 8)
    file.write_bytes(empty)
    with pytest.raises(PartnerFailed) as failed:
        await pull("stix_files", settings, last_checkpoint(pieces))
    assert failed.value.code == "empty"


async def test_a_folder_that_is_empty_all_at_once_withdraws_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(bundle(1))
    settings = {"folder": str(tmp_path), "snapshot": True}
    checkpoint = last_checkpoint(await pull("stix_files", settings))
    (tmp_path / "a.json").unlink()
    for folder, code in ((tmp_path, "all-gone"), (tmp_path / "unmounted", "folder")):
        with pytest.raises(PartnerFailed) as failed:
            await pull("stix_files", {**settings, "folder": str(folder)}, checkpoint)
        assert failed.value.code == code


async def test_nothing_is_withdrawn_where_another_file_can_not_be_read(tmp_path: Path) -> None:
    """What was in the one that is gone may have moved to the one that can't be read."""
    (tmp_path / "a.json").write_bytes(bundle(1))
    settings = {"folder": str(tmp_path), "snapshot": True}
    checkpoint = last_checkpoint(await pull("stix_files", settings))
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    (tmp_path / "b.json").write_bytes(b"half of it")
    with pytest.raises(PartnerFailed):
        await pull("stix_files", settings, checkpoint)
    (tmp_path / "b.json").write_bytes(bundle(1))
    pieces = await pull("stix_files", settings, checkpoint)
    assert [bool(piece.body) for piece in pieces if piece.feed] == [True, False], (
        "first what is there, then the end"
    )


@pytest.mark.parametrize("name", ["novispy", "cytrox", "wyrmspy_dragonegg", "stalkerware_2022-04-27"])
def test_real_files_can_be_cut(name: str, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", 100)
    raw = (shared / "data" / "stix21" / f"{name}.stix2").read_bytes()
    seen: set[str] = set()
    for part in mapping.parts(raw, "x"):
        held = orjson.loads(part.body)["objects"] if part.body else []
        seen |= {each["id"] for each in held}
        for each in held:
            assert {each.get("source_ref", each["id"]), each.get("target_ref", each["id"])} <= seen
    assert seen == {each["id"] for each in orjson.loads(raw)["objects"]}
