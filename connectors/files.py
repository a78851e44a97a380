"""Files of a feed in a folder, where a partner's system reads them: whoever reads sees the old or the new."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from schemas.errors import PartnerFailed
from schemas.feed import FeedRow, Format, Head, is_active

T = TypeVar("T")
MODE = 0o640
"""The group of the folder may read (give the folder that of whoever reads, and the setgid bit), others may not."""


class NewFiles:
    """Files that are written beside those of a folder, and take their places when all of them are whole.

    Use it as a context manager; what has not taken its place at the end is removed. Raises `OSError`.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names
        self._streams: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> NewFiles:
        with ExitStack() as opening:
            for name in self._names:
                opening.callback(self._remove, name)
                # what a crash left behind goes; a link, or another name of a file, that somebody put there is not
                # written through
                self._remove(name)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                stream = os.fdopen(os.open(self._part(name), flags, MODE), "wb")
                self._streams[name] = opening.enter_context(stream)
                os.fchmod(stream.fileno(), MODE)  # the process may have a narrower mask
            self._stack = opening.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def write(self, name: str, data: bytes) -> None:
        self._streams[name].write(data)

    def stream(self, name: str) -> BinaryIO:
        return self._streams[name]

    def replace(self) -> None:
        """All are on the disk before the first takes its place; in the order of their names as they were given."""
        for stream in self._streams.values():
            stream.flush()
            os.fsync(stream.fileno())
        for name in self._names:
            self._part(name).replace(self._folder / name)
        sync_folder(self._folder)

    def _part(self, name: str) -> Path:
        return self._folder / f".{name}.part"

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._part(name).unlink()


def sync_folder(folder: Path) -> None:
    """Until this is done, a new name may be lost with the power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FolderPublisher:
    """Writes a feed in some formats; `formats` are by the file's name. The folder must be there."""

    def __init__(self, folder: Path, formats: Mapping[str, Format]) -> None:
        self._folder = folder
        self._formats = formats

    async def publish(self, head: Head, pages: AsyncIterator[Sequence[FeedRow]]) -> None:
        try:
            with NewFiles(self._folder, list(self._formats)) as files:
                await self._write(files, head, pages)
        except OSError as error:
            raise folder_failed(error, self._folder) from None

    async def _write(self, files: NewFiles, head: Head, pages: AsyncIterator[Sequence[FeedRow]]) -> None:
        any_rows = dict.fromkeys(self._formats, False)
        for name, format_ in self._formats.items():
            files.write(name, format_.begin(head))
        async for page in pages:
            await in_thread(partial(self._write_page, files, head, page, any_rows))
        for name, format_ in self._formats.items():
            files.write(name, format_.end(any_rows[name]))
        await in_thread(files.replace)

    def _write_page(self, files: NewFiles, head: Head, page: Sequence[FeedRow], any_rows: dict[str, bool]) -> None:
        active = [row for row in page if is_active(row, head.at_ms)]
        for name, format_ in self._formats.items():
            written = format_.rows(active if format_.active else page, any_rows[name])
            files.write(name, written)
            any_rows[name] = any_rows[name] or bool(written)

    async def close(self) -> None:
        """Nothing is open."""


async def in_thread(work: Callable[[], T]) -> T:
    """Runs `work` in a thread, to its end even where this is cancelled: nobody may clear away below its feet."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def folder_failed(error: OSError, folder: Path) -> PartnerFailed:
    return PartnerFailed(
        "folder",
        f"it can't be written: {error.strerror}",
        where=str(folder),
        hint="make it a folder of the hub's user, with room on its disk",
    )
