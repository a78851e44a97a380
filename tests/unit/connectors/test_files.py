"""Files in a folder: the old or the new, never a part, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from connectors.files import FolderPublisher, NewFiles, in_thread
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow, Format
from tests.unit.connectors.rows import HEAD, indicator, paged

LINES = Format(
    "text/plain",
    "txt",
    False,
    lambda head: f"for {head.partner}\n".encode(),
    lambda rows, more: b"".join(b"%d %s\n" % (more, row.value.encode()) for row in rows),
    lambda any_rows: b"end %d\n" % any_rows,
)
EXPIRED = indicator("old.example", active_until="2026-01-01T00:00:00.000Z")


def held(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


async def test_each_format_has_its_rows(tmp_path: Path) -> None:
    formats = {"all.txt": LINES, "active.txt": LINES._replace(active=True)}
    await FolderPublisher(tmp_path, formats).publish(HEAD, paged([[EXPIRED], [indicator("a.example")]]))
    assert (tmp_path / "all.txt").read_text() == "for meadow\n0 old.example\n1 a.example\nend 1\n"
    assert (tmp_path / "active.txt").read_text() == "for meadow\n0 a.example\nend 1\n"
    assert stat.S_IMODE((tmp_path / "all.txt").stat().st_mode) == 0o640
    assert held(tmp_path).keys() == {"all.txt", "active.txt"}


@pytest.mark.parametrize("error", [RuntimeError(), PartnerFailed("x", "y"), asyncio.CancelledError()])
async def test_until_all_is_there_the_old_stays(error: BaseException, tmp_path: Path) -> None:
    async def failing() -> AsyncIterator[Sequence[FeedRow]]:
        yield [indicator("new.example")]
        raise error

    (tmp_path / "all.txt").write_text("old")
    with pytest.raises(type(error)):
        await FolderPublisher(tmp_path, {"all.txt": LINES}).publish(HEAD, failing())
    assert held(tmp_path) == {"all.txt": "old"}


@pytest.mark.parametrize("put", [os.link, os.symlink])
async def test_nothing_is_written_into_what_somebody_put_in_its_way(
    put: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.write_text("of the hub")
    other.chmod(0o600)
    put(other, folder / ".all.txt.part")
    await FolderPublisher(folder, {"all.txt": LINES}).publish(HEAD, paged([]))
    assert other.read_text() == "of the hub" and stat.S_IMODE(other.stat().st_mode) == 0o600
    assert held(folder) == {"all.txt": "for meadow\nend 0\n"}


async def test_whoever_has_opened_the_old_reads_on_in_it(tmp_path: Path) -> None:
    publisher = FolderPublisher(tmp_path, {"all.txt": LINES})
    await publisher.publish(HEAD, paged([[indicator("a.example")]]))
    with (tmp_path / "all.txt").open() as old:
        await publisher.publish(HEAD, paged([]))
        assert "a.example" in old.read()
    assert (tmp_path / "all.txt").read_text() == "for meadow\nend 0\n"


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PartnerFailed) as refused:
        await FolderPublisher(tmp_path / "none", {"all.txt": LINES}).publish(HEAD, paged([]))
    assert (refused.value.code, refused.value.where) == ("folder", str(tmp_path / "none"))


def test_what_a_crash_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_text("half of something long")
    with NewFiles(tmp_path, ["a"]) as files:
        files.write("a", b"whole")
        files.replace()
    assert held(tmp_path) == {"a": "whole"}


async def test_what_is_cancelled_is_waited_for() -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result()
        ended.append(True)

    task = asyncio.create_task(in_thread(work))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
