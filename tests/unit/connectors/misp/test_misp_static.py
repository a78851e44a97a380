"""The folder that a MISP fetches: what PyMISP makes of it, and what happens from one writing to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from pymisp import MISPEvent
from pymisp.tools import feed_meta_generator

from connectors.base import Tools
from connectors.http import Http
from connectors.misp import FEED, MispFeedSettings
from connectors.misp.mapping import event_uuid
from connectors.misp.static import StaticFeed
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow
from schemas.markings import Tlp
from tests.unit.connectors.rows import HEAD, NOW_MS, indicator, other, paged, tombstone

FIRST, SECOND = event_uuid("meadow", "2026-11-01"), event_uuid("meadow", "2026-11-05")
LATER = HEAD._replace(at_ms=NOW_MS + 60_000)


def on_second_day(row: FeedRow) -> FeedRow:
    return row._replace(body=row.body.replace(b'"created":"2026-11-01', b'"created":"2026-11-05'))


ROWS = [
    indicator("a.example"),
    on_second_day(indicator("b.example", tlp=Tlp.AMBER)),
    other("malware", "m", name="m"),
    tombstone("c.example"),
    on_second_day(indicator("d.example", pap=None)),
]


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((folder / "manifest.json").read_bytes())
    return found


async def publish(folder: Path, *pages: Sequence[FeedRow], head: Any = HEAD) -> dict[str, bytes]:
    await StaticFeed(folder).publish(head, paged(pages))
    return files(folder)


def loaded(folder: Path, uuid: str) -> dict[str, tuple[str, bool]]:
    """Value and whether it is deleted, by the attribute's UUID."""
    event = MISPEvent(strict_validation=True)
    event.load_file(folder / f"{uuid}.json")
    assert event.uuid == uuid
    return {a.uuid: (a.value, a.deleted) for a in event.attributes}


async def test_to_the_last_byte(tmp_path: Path) -> None:
    found = await publish(tmp_path, ROWS[:1])
    assert found.keys() == {"manifest.json", "hashes.csv", ".tocsin", f"{FIRST}.json"}
    assert found["hashes.csv"] == b"af60befa758e782df5bdf9901187616d,%b\n" % FIRST.encode()
    orgc = b'{"name":"Tocsin","uuid":"b4bb0ea4-6b60-5ae2-9b4e-8f3bb2a1a4d6"}'
    assert found["manifest.json"] == (
        b'{"%b":{"Orgc":%b,"Tag":[{"name":"tlp:green"}],"info":"Tocsin: 2026-11-01","date":"2026-11-01",'
        b'"analysis":"2","threat_level_id":"4","timestamp":"1795000000"}}\n' % (FIRST.encode(), orgc)
    )
    assert found[f"{FIRST}.json"] == (
        b'{"Event":{"Attribute":[\n{"uuid":"%b","type":"domain","category":"Network activity",'
        b'"value":"a.example","to_ids":true,"comment":"","timestamp":"1793577600","deleted":false,'
        b'"disable_correlation":false,"first_seen":"2026-10-01T00:00:00.000Z",'
        b'"last_seen":"2026-11-01T00:00:00.000Z","Tag":[{"name":"tlp:green"},{"name":"PAP:GREEN"},'
        b'{"name":"tocsin:category=\\"phishing\\""}]}\n],"uuid":"%b","info":"Tocsin: 2026-11-01",'
        b'"date":"2026-11-01","threat_level_id":"4","analysis":"2","distribution":"0","published":true,'
        b'"timestamp":"1795000000","publish_timestamp":"1795000000","extends_uuid":"","Orgc":%b,'
        b'"Tag":[{"name":"tlp:green"}]}}\n' % (ROWS[0].stix_id[11:].encode(), FIRST.encode(), orgc)
    )


async def test_pymisp_loads_every_event(tmp_path: Path) -> None:
    await publish(tmp_path, ROWS[:2], ROWS[2:])
    assert manifest(tmp_path).keys() == {FIRST, SECOND}
    assert {value for value, _ in loaded(tmp_path, SECOND).values()} == {"b.example", "d.example"}
    assert sorted(loaded(tmp_path, FIRST).values())[0] == ("a.example", False)
    assert [deleted for _, deleted in loaded(tmp_path, FIRST).values()] == [False, True]
    assert manifest(tmp_path)[SECOND]["Tag"] == [{"name": "tlp:amber"}]


async def test_pymisp_would_say_the_same_of_it(tmp_path: Path) -> None:
    """Its own generator, over the same events; of tags it says more, and it counts what is deleted."""
    ours = await publish(tmp_path, [row for row in ROWS if row.live])
    feed_meta_generator(tmp_path)
    theirs = files(tmp_path)
    assert sorted(theirs["hashes.csv"].splitlines()) == sorted(ours["hashes.csv"].splitlines())
    said, expected = orjson.loads(ours["manifest.json"]), orjson.loads(theirs["manifest.json"])
    for event in expected.values():
        event["Tag"] = [{"name": tag["name"]} for tag in event["Tag"]]
    assert _as_text(said) == _as_text(expected)


def _as_text(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _as_text(value) for name, value in part.items()}
    return [_as_text(value) for value in part] if isinstance(part, list) else str(part)


async def test_what_did_not_change_is_not_fetched_again(tmp_path: Path) -> None:
    before = await publish(tmp_path, ROWS)
    inode = (tmp_path / f"{FIRST}.json").stat().st_ino
    assert await publish(tmp_path, ROWS, head=LATER) == before
    assert (tmp_path / f"{FIRST}.json").stat().st_ino == inode


async def test_what_changed_is_newer_whatever_its_rows_say(tmp_path: Path) -> None:
    await publish(tmp_path, ROWS)
    old = manifest(tmp_path)
    await publish(tmp_path, [*ROWS, indicator("old.example", modified="2020-01-01T00:00:00.000Z")], head=LATER)
    new = manifest(tmp_path)
    assert int(new[FIRST]["timestamp"]) == int(old[FIRST]["timestamp"]) + 60
    assert new[SECOND] == old[SECOND]
    await publish(tmp_path, ROWS, head=HEAD)  # a clock that was set back
    assert int(manifest(tmp_path)[FIRST]["timestamp"]) == int(new[FIRST]["timestamp"]) + 1


async def test_a_withdrawal_deletes_and_overwrites(tmp_path: Path) -> None:
    await publish(tmp_path, ROWS)
    after = await publish(tmp_path, [tombstone("a.example"), *ROWS[1:]], head=LATER)
    uuid = ROWS[0].stix_id[11:]
    assert loaded(tmp_path, FIRST)[uuid] == (f"withdrawn {uuid}", True)
    assert not any(b"a.example" in content for content in after.values())


async def test_what_leaves_in_silence_is_gone(tmp_path: Path) -> None:
    await publish(tmp_path, ROWS)
    found = await publish(tmp_path, ROWS[2:4], head=LATER)
    assert manifest(tmp_path).keys() == {FIRST} and f"{SECOND}.json" not in found
    await publish(tmp_path, ROWS, head=LATER)
    assert int(manifest(tmp_path)[SECOND]["timestamp"]) == LATER.at_ms // 1_000


async def test_an_empty_feed(tmp_path: Path) -> None:
    found = await publish(tmp_path)
    assert (found["manifest.json"], found["hashes.csv"]) == (b"{}\n", b"")


@pytest.mark.parametrize("error", [PartnerFailed("x", "y"), asyncio.CancelledError(), RuntimeError()])
async def test_until_all_is_there_the_old_stays(error: BaseException, tmp_path: Path) -> None:
    async def failing() -> AsyncIterator[Sequence[FeedRow]]:
        yield ROWS[1:]
        raise error

    before = await publish(tmp_path, ROWS[:1])
    with pytest.raises(type(error)):
        await StaticFeed(tmp_path).publish(LATER, failing())
    assert files(tmp_path) == before


async def test_a_folder_that_remembers_nothing(tmp_path: Path) -> None:
    for damage in (b"", b"[]", b'{"../../x":["",1]}', b'{"x":1}'):
        await publish(tmp_path, ROWS)
        (tmp_path / ".tocsin").write_bytes(damage)
        await publish(tmp_path, ROWS, head=LATER)
        assert manifest(tmp_path)[FIRST]["timestamp"] == str(LATER.at_ms // 1_000)


async def test_what_a_crash_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / f".{FIRST}.json.part").write_bytes(b"half of something")
    found = await publish(tmp_path, ROWS)
    assert len(loaded(tmp_path, FIRST)) == 2 and not any(name.endswith(".part") for name in found)


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PartnerFailed) as refused:
        await publish(tmp_path / "none", ROWS)
    assert refused.value.code == "folder"


async def test_as_it_is_set_up(tmp_path: Path) -> None:
    assert FEED.publish
    tools = Tools(Http(()), lambda _: b"", lambda: 0, "meadow")
    publisher = await FEED.publish(MispFeedSettings(folder=tmp_path), tools)
    await publisher.publish(HEAD, paged([ROWS]))
    await publisher.close()
    assert manifest(tmp_path).keys() == {FIRST, SECOND}
