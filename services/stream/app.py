"""A Faust app for one stage or sink, without Faust's command line, web server, tables and files.

Why no Faust table: its recovery reads the changelog before we could claim it, knows no epochs, and takes about
100 s for 1,000,000 keys; ours (`worker.py`) takes a tenth of it and runs beside the deliveries, per partition.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import faust
import faust.tables

from services.stream.runner import Runner
from services.stream.types import Stage
from services.stream.worker import Stats

STOP_GRACE_SECONDS, STOP_SECONDS = 10.0, 5.0

log = logging.getLogger(__name__)
for name in ("faust", "mode", "aiokafka"):
    logging.getLogger(name).setLevel(logging.WARNING)


class App(faust.App):  # type: ignore[misc]
    """Tells of its life where Faust does, not among our own messages."""

    logger = logging.getLogger("faust")

    def _create_directories(self) -> None:
        """None are needed."""


class Tables(faust.tables.TableManager):  # type: ignore[misc]
    """There are none, so there is no second to wait for them."""

    logger = logging.getLogger("faust")

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class StreamService:
    """Runs one stage or sink; see `types.Service`."""

    def __init__(self, group: str, runner: Runner, transport: Callable[[Any], Any], **settings: Any) -> None:
        self._runner = runner
        self._app = _app(group, runner, transport, settings)

    @property
    def stats(self) -> Stats:
        return self._runner.stats

    @property
    def consumer(self) -> Any:
        return self._app.consumer

    def renew(self, stage: Stage) -> None:
        self._runner.renew(stage)

    async def start(self) -> None:
        await self._app.start()

    async def stop(self) -> None:
        """Ends the slices in flight, commits what is done, leaves the group; does not wait for a silent broker."""
        await self._runner.end(STOP_GRACE_SECONDS)
        stopping = asyncio.create_task(self._commit_and_stop(), name=f"stop-{self._app.conf.id}")
        done, _ = await asyncio.wait([stopping], timeout=STOP_SECONDS)
        if not done:
            log.warning("%s: the broker does not answer; stopping without it", self._app.conf.id)
            stopping.cancel()
            await _abandon(self._app)
        elif error := stopping.exception():
            log.warning("%s: stopping failed: %r", self._app.conf.id, error)

    async def _commit_and_stop(self) -> None:
        if self._app.started and not self._app.crashed and not self._runner.failure.done():
            await self._app.consumer.commit()
        await self._app.stop()

    async def failed(self) -> BaseException:
        crashed = asyncio.ensure_future(self._app._crashed.wait())
        try:
            await asyncio.wait([crashed, self._runner.failure], return_when=asyncio.FIRST_COMPLETED)
        finally:
            crashed.cancel()
        if self._runner.failure.done():
            return self._runner.failure.result()
        error = self._app.crash_reason or RuntimeError("the Faust app crashed")
        self._runner.fail(error)
        return error


async def _abandon(app: Any) -> None:
    """Ends the tasks of an app that can't be stopped. Some of Faust's swallow the first cancellation."""
    app._crash(TimeoutError("the broker does not answer"))
    for _ in range(10):
        tasks = {future for service in _services(app) for future in service._futures if not future.done()}
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=0.2)


def _services(app: Any) -> set[Any]:
    """The app and all services below it; agents and their supervisors are not among its children."""
    found: set[Any] = set()
    left = [app, *app.agents.values()]
    while left:
        service = left.pop()
        if service is not None and service not in found:
            found.add(service)
            left += [*service._children, service.supervisor]
    return found


def _app(group: str, runner: Runner, transport: Callable[[Any], Any], settings: dict[str, Any]) -> Any:
    app = App(
        group,
        broker="kafka://unused",  # the transport below is made by us
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_wait_empty=False,
        stream_buffer_maxsize=16,
        broker_commit_every=None,
        broker_commit_interval=1.0,
        worker_redirect_stdouts=False,
        TableManager=Tables,
        **settings,
    )
    app.transport = app.producer_transport = transport(app)
    source = app.topic(
        *(topic.name for topic in runner.topics),
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
    )

    async def deliver(stream: Any) -> None:
        async for event in stream.noack().events():
            runner.deliver((event.message.topic, event.message.partition), event.message.value)

    app.agent(source, name=group)(deliver)
    return app
