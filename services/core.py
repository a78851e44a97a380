"""The core as a part of a process: with rules, and data of enrichment, that may change while it runs."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from schemas.errors import TocsinError
from services.data import in_use, load, mark
from services.enrich.context import EnrichmentData
from services.govern.compile import compile_policy
from services.govern.settle import Rules
from services.hub import Directory, Hub
from services.pipeline import core
from services.stream.types import Stage, StageService, Streams

LOOK_SECONDS = 2.0
log = logging.getLogger("tocsin")


class CoreService:
    """See `stream.types.Service`. Raises `Misconfigured` at start where the data are wrong.

    Another version of the policy and new data take effect within seconds: all that is held is decided again in the
    background. New data that are wrong leave the old ones in force, and are said to be wrong in the log. Rules that
    can't be compiled end the process: the old ones may give what the new ones deny.
    """

    def __init__(self, hub: Hub, streams: Streams) -> None:
        self._hub = hub
        self._streams = streams
        self._folder = hub.settings.enrichment_path
        self._directory = hub.directory
        self._compiled = compile_policy(hub.directory)
        self._data: EnrichmentData
        self._service: StageService | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        seen = await asyncio.to_thread(mark, self._folder)
        self._service = self._streams.run(await asyncio.to_thread(self._stage))
        await self._service.start()
        self._watching = asyncio.create_task(self._watch(seen, self._service), name="data-watch")

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._watching
        if self._service is not None:
            await self._service.stop()

    async def failed(self) -> BaseException:
        if self._service is None or self._watching is None:
            raise RuntimeError("the core was not started")
        death = asyncio.ensure_future(self._service.failed())
        await asyncio.wait([death, self._watching], return_when=asyncio.FIRST_COMPLETED)
        if death.done():
            return death.result()
        death.cancel()
        if self._watching.cancelled():
            await asyncio.Event().wait()
        return self._watching.exception() or RuntimeError("nobody looks for new rules and data any more")

    def _stage(self) -> Stage:
        """With the data that are there now."""
        self._data = load(in_use(self._folder), secret=self._hub.secret)
        log.debug("data of enrichment: version %s", self._data.version)
        return self._stage_of(self._data)

    def _stage_of(self, data: EnrichmentData) -> Stage:
        settings = self._hub.settings
        return core(Rules(self._compiled, data, self._hub.secret), settings.window_seconds * 1000)

    def _under_new_rules(self, directory: Directory) -> Stage:
        self._compiled = compile_policy(directory)
        return self._stage_of(self._data)

    async def _watch(self, seen: str, service: StageService) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if (directory := self._hub.directory) is not self._directory:
                self._directory = directory
                service.renew(await asyncio.to_thread(self._under_new_rules, directory))
            now = await asyncio.to_thread(mark, self._folder)
            if now == seen:
                continue
            seen = now
            try:
                service.renew(await asyncio.to_thread(self._stage))
            except Exception as error:  # whatever it is, the old data are better than no hub
                log.error("new data of enrichment are not taken, the old ones stay in force: %s", _said(error))


def _said(error: Exception) -> str:
    """What an operator can do something with: our own errors and the system's say it themselves."""
    return str(error) if isinstance(error, TocsinError | OSError) else f"{type(error).__name__}: {error}"
