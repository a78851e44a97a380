"""The sample's outbox after interruptions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from connectors.base import DELIVERED
from connectors.sample.client import OUTBOX, SamplePusher
from tests.partners.rows import row

ROWS = [row(f"{letter}.example") for letter in "abc"]


def written(folder: Path) -> list[str]:
    lines = (folder / OUTBOX).read_bytes().splitlines()
    return [orjson.loads(line)["id"] for line in lines if line.endswith(b"}")]


async def test_after_a_line_that_was_cut_off_none_is_lost(tmp_path: Path) -> None:
    await SamplePusher(tmp_path).push(ROWS[:2])
    outbox = tmp_path / OUTBOX
    outbox.write_bytes(outbox.read_bytes()[:-30])
    assert await SamplePusher(tmp_path).push(ROWS) == [DELIVERED] * 3
    assert sorted(written(tmp_path)) == sorted(one.stix_id for one in ROWS)


async def test_a_push_after_a_cancelled_one_writes_nothing_twice(tmp_path: Path) -> None:
    pusher = SamplePusher(tmp_path)
    many = [row(f"{number}.example") for number in range(2_000)]
    for _ in range(5):
        task = asyncio.create_task(pusher.push(many))
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await pusher.push(many)
    assert sorted(written(tmp_path)) == sorted(one.stix_id for one in many)
