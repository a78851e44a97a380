"""OONI's API, and files of measurements: both are counted as they are read, and nothing of them is kept."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from yarl import URL

from connectors.base import Pulled, Tools
from connectors.incidents import MEDIA_TYPE, bundles, document, malformed
from connectors.ooni import mapping
from schemas.errors import BodyRefused, PartnerFailed
from schemas.safejson import loads
from schemas.timestamps import format_time

MAX_PAGES = 200
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_FILES = 10_000
MAX_FILE_BYTES = 4 * 1024 * 1024 * 1024
"""Unpacked."""
MAX_LINE_BYTES = 16 * 1024 * 1024
"""Of one measurement."""
LINES_AT_ONCE = 500
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


class _Settings(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def folder(self) -> Path | None: ...
    @property
    def countries(self) -> tuple[str, ...]: ...
    @property
    def tests(self) -> tuple[str, ...]: ...
    @property
    def domains(self) -> tuple[str, ...]: ...
    @property
    def window_days(self) -> int: ...
    @property
    def bounds(self) -> mapping.Bounds: ...


async def open_puller(settings: _Settings, tools: Tools) -> OoniPuller:
    return OoniPuller(settings, tools)


class OoniPuller:
    """Counts the measurements of the last days anew at every pull, and says what is new of what they show."""

    def __init__(self, settings: _Settings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._url = str(URL(settings.url) / "api" / "v1" / "measurements")
        self._where = str(URL(settings.url).origin())

    async def pull(self, checkpoint: Mapping[str, Any]) -> AsyncIterator[Pulled]:
        known = mapping.resume(checkpoint)
        until_ms = self._tools.now_ms()
        since_ms = until_ms - until_ms % mapping.DAY_MS - self._settings.window_days * mapping.DAY_MS
        tally = mapping.Tally(since_ms, until_ms)
        try:
            if self._settings.folder is not None:
                await _count_files(self._settings.folder, self._settings.countries, tally)
            else:
                await self._count_listed(tally, since_ms, until_ms)
        except OverflowError:
            raise self._too_many() from None
        changed, after = mapping.follow(known, tally.counts, since_ms, self._settings.bounds)
        bodies = list(bundles([list(mapping.objects(event)) for event in changed]))
        for number, body in enumerate(bodies, 1):
            # remembered only when all of it is stored: what comes again is the same
            state = after.model_dump() if number == len(bodies) else None
            yield Pulled(body, MEDIA_TYPE, "ooni.json", feed="blocking", checkpoint=state)

    async def _count_listed(self, tally: mapping.Tally, since_ms: int, until_ms: int) -> None:
        window = {"since": format_time(since_ms)[:19], "until": format_time(until_ms)[:19]}
        for query in self._queries():
            async for rows in self._pages(query | window):
                for row in rows:
                    one = mapping.listed(row, self._where)
                    if one is not None and one.day_ms > until_ms + mapping.DAY_MS:
                        raise PartnerFailed(
                            "clock-ahead",
                            "one of its measurements lies in the future",
                            where=self._where,
                            hint="compare its clock with that of this machine",
                        )
                    # a list for one country counts for that one alone, whatever its entries say
                    if one is not None and one.country == query["probe_cc"]:
                        tally.add(one)

    def _queries(self) -> Iterator[dict[str, str]]:
        for country in self._settings.countries:
            for test in self._settings.tests:
                query = {"probe_cc": country, "test_name": test}
                if test == mapping.SITE and self._settings.domains:
                    yield from (query | {"domain": domain} for domain in self._settings.domains)
                else:
                    yield query

    async def _pages(self, query: Mapping[str, str]) -> AsyncIterator[list[Any]]:
        """Pages by their number: addresses of further pages in an answer are not followed."""
        order = {"order_by": "measurement_start_time", "order": "asc", "limit": str(mapping.LIMIT)}
        seen: set[bytes] = set()
        for page in range(MAX_PAGES):
            params = {**query, **order, "offset": str(page * mapping.LIMIT)}
            answer = await self._tools.http.request("GET", self._url, params=params, max_bytes=MAX_ANSWER_BYTES)
            found = document(answer, self._where)
            rows = found.get("results") if isinstance(found, dict) else None
            if not isinstance(rows, list):
                raise malformed("its answer holds no measurements", self._where)
            yield rows
            if len(rows) < mapping.LIMIT:
                return
            digest = hashlib.sha256(repr(rows).encode()).digest()
            if digest in seen:
                raise PartnerFailed("pages-loop", "it gives the same page again and again", where=self._where)
            seen.add(digest)
        raise self._too_many()

    def _too_many(self) -> PartnerFailed:
        hint = "name `domains`, fewer countries, or a shorter window"
        return PartnerFailed(
            "too-many", "there are more measurements than can be read", where=self._where, hint=hint
        )

    async def close(self) -> None:
        """What is open belongs to who lent it."""


# --- files --------------------------------------------------------------------------------------------------------


async def _count_files(folder: Path, countries: tuple[str, ...], tally: mapping.Tally) -> None:
    """Of the countries that are named, else of all; some lines at a time, so that it can be cancelled.

    An error says the number of a file and not its name, in which are network, time and report of a volunteer.
    """
    try:
        for number, file in enumerate(await asyncio.to_thread(_files, folder), 1):
            where = f"{folder}, file {number} by name"
            lines = _lines(file, where)
            while await asyncio.to_thread(_count_some, lines, where, countries, tally):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise PartnerFailed(
            "file-damaged", "a file is cut off or damaged", where=str(folder), hint="fetch it again"
        ) from None
    except OSError as error:
        raise PartnerFailed(
            "folder", f"it can't be used: {error.strerror}", where=str(folder), hint="mend the folder"
        ) from None


def _files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.name.endswith(SUFFIXES))
    if len(files) > MAX_FILES:
        raise PartnerFailed("too-many", "there are too many files", where=str(folder), hint="remove old ones")
    return files


def _count_some(lines: Iterator[bytes], where: str, countries: tuple[str, ...], tally: mapping.Tally) -> bool:
    """Whether there were any."""
    some = False
    for line in islice(lines, LINES_AT_ONCE):
        some = True
        one = mapping.raw(_parsed(line, where))
        if one is not None and (not countries or one.country in countries):
            tally.add(one)
    return some


def _lines(file: Path, where: str) -> Iterator[bytes]:
    """One measurement each: a line, or the whole of a `.json`."""
    with _opened(file) as stream:
        if ".jsonl" not in file.name:
            whole = stream.read(MAX_LINE_BYTES + 1)
            if len(whole) > MAX_LINE_BYTES:
                raise _too_large(where)
            yield whole
            return
        size = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            size += len(line)
            if len(line) > MAX_LINE_BYTES or size > MAX_FILE_BYTES:
                raise _too_large(where)
            if not line.isspace():
                yield line


def _opened(file: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")


def _too_large(where: str) -> PartnerFailed:
    return PartnerFailed("file-too-large", "a file, or a line in it, is too large", where=where, hint="split it")


def _parsed(line: bytes, where: str) -> Any:
    try:
        return loads(line)
    except (BodyRefused, UnicodeDecodeError) as error:
        code = error.code if isinstance(error, BodyRefused) else "not-json"
        raise PartnerFailed(
            code, "a measurement in it can't be read", where=where, hint="take it out of the file"
        ) from None
