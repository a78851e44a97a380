"""Runs the connectors: each by itself, by its schedule, so that one that fails holds up none of the others.

What is set up is in the file TOCSIN_CONNECTORS, which is read again when it changes. One process runs connectors:
on PostgreSQL a second one waits until the first is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from connectors.base import Manifest, Tools
from connectors.http import Http
from schemas.errors import Misconfigured, PartnerFailed, TocsinError
from services import connector_states as states
from services.accept.door import Door
from services.accept.pull import Pulling
from services.connect_http import PROBLEM
from services.connector_states import DAY_MS, State
from services.directory import MAX_FILE_BYTES
from services.hub import Hub
from services.instances import Instance, read_instances
from services.only_one import OnlyOne
from services.positions import upsert
from services.share.deliver import Delivering, Publishing, looked_at, news
from services.tables import CONNECT_LOCK, facts

LOOK_SECONDS = 1.0
END_SECONDS = 5.0
"""So long has a connector to end when it is told to; none may hold up the end of the process."""
OPEN_SECONDS = 300
RUSH_ROUNDS = 100
"""So many rounds in a row before others' time comes: a long queue is gone through in many turns."""
MAX_SECRET_BYTES = 64 * 1024
log = logging.getLogger("tocsin")


class Work(Protocol):
    """One connector, opened. `round` is false where there was nothing (more) to do."""

    async def round(self) -> bool: ...

    async def give_up(self) -> None: ...


class Closing(Protocol):
    async def close(self) -> None: ...


@dataclass
class _Running:
    instance: Instance
    task: asyncio.Task[None]
    wake: asyncio.Event
    news: asyncio.Event
    """Set where its partner's feed has something new."""
    ending: bool = False


class ConnectService:
    """See `stream.types.Service`. `random` spreads what would else come at the same moment."""

    def __init__(
        self, hub: Hub, connectors: Mapping[str, Manifest], door: Door, *, random: Random | None = None
    ) -> None:
        self._hub = hub
        self._connectors = connectors
        self._door = door
        self._random = random or SystemRandom()
        self._wanted: Mapping[str, Instance] = {}
        self._running: dict[str, _Running] = {}
        self._seen = ""
        self._newest = -1
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._watching = asyncio.create_task(self._watch(), name="connect")

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._watching

    async def failed(self) -> BaseException:
        if self._watching is None:
            raise RuntimeError("the connectors were not started")
        await asyncio.wait([self._watching])
        if self._watching.cancelled():
            await asyncio.Event().wait()
        return self._watching.exception() or RuntimeError("nobody looks after the connectors any more")

    async def _watch(self) -> None:
        async with AsyncExitStack() as stack:
            only = stack.enter_context(OnlyOne(self._hub.store, CONNECT_LOCK))
            stack.push_async_callback(self._end_all)
            while True:
                try:
                    if await asyncio.to_thread(only.held):
                        await self._look()
                    else:
                        await self._end_all()
                except SQLAlchemyError as error:  # without the database there is nothing to bring anywhere
                    log.error("connectors: the database can't be asked: %s", type(error).__name__)
                await asyncio.sleep(LOOK_SECONDS)

    # -- which there are -------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Starts and ends connectors as the file says, and wakes those that somebody asked for."""
        file = self._hub.settings.connectors
        mark = await asyncio.to_thread(_mark, file)
        if mark != self._seen:
            await self._read(file)
            self._seen = mark
        self._renew()
        for name in await self._hub.store.read(states.called):
            if name in self._running:
                self._running[name].wake.set()
        pushing = [one.instance for one in self._running.values() if one.instance.does == "push"]
        self._newest, names = await self._hub.store.read(
            lambda connection: news(connection, self._hub, pushing, self._newest)
        )
        for name in names:
            self._running[name].news.set()
            self._running[name].wake.set()

    async def _read(self, file: Path) -> None:
        try:
            found = await asyncio.to_thread(read_instances, file, self._connectors)
        except Exception as error:  # whatever it is, what runs goes on
            said = _as_problem(error)
            await self._hub.store.write(lambda connection: _note(connection, json.dumps(said)))
            log.error("connectors are not taken, the old ones go on: %s: %s", said["where"], said["what"])
            return
        # before what they leave behind is looked at
        await self._end([n for n, one in self._running.items() if _is_other(one.instance, found.get(n))])
        now_ms = self._hub.clock()

        def work(connection: Connection) -> None:
            states.enter(connection, found.values(), now_ms)
            _note(connection, "")

        await self._hub.store.write(work)
        self._wanted = found

    def _renew(self) -> None:
        """Starts what is to run and does not. One that would not end keeps its name until it has, since it may
        still be sending; that holds up nobody else."""
        for name, one in list(self._running.items()):
            if one.task.done():
                if not one.ending:  # it catches everything: this is the database, or a fault of ours
                    error = None if one.task.cancelled() else one.task.exception()
                    log.error("connector %s ended: %s", name, type(error).__name__)
                del self._running[name]
        for name, instance in self._wanted.items():
            if name not in self._running:
                wake, news_ = asyncio.Event(), asyncio.Event()
                task = asyncio.create_task(self._run(instance, wake, news_), name=f"connector-{name}")
                self._running[name] = _Running(instance, task, wake, news_)

    async def _end(self, names: Sequence[str]) -> None:
        """Waits for them for a while, all at once."""
        tasks = {name: self._running[name].task for name in names}
        for name, task in tasks.items():
            self._running[name].ending = True
            task.add_done_callback(looked_at)
            task.cancel()
        if tasks:
            await asyncio.wait(tasks.values(), timeout=END_SECONDS)
        for name, task in tasks.items():
            if task.done():
                del self._running[name]
            else:
                log.error("connector %s does not end; restart the process that runs connectors", name)

    async def _end_all(self) -> None:
        self._wanted, self._seen = {}, ""
        await self._end(list(self._running))

    # -- one of them -----------------------------------------------------------------------------------------------

    async def _run(self, instance: Instance, wake: asyncio.Event, news: asyncio.Event) -> None:
        """Turn after turn, for ever: by the schedule, when somebody asks, and for news as long as nothing fails."""
        while True:
            wake.clear()
            state = await self._hub.store.read(lambda connection: states.state(connection, instance.name))
            if state is None:
                return
            now_ms = self._hub.clock()
            may_start = states.may_start(instance.destination, state.accepted)
            if not may_start:
                if state.health != "waits":
                    log.warning("connector %s waits: `tocsin connector accept %s`", instance.name, instance.name)
                    await self._say(instance.name, health="waits", since_ms=now_ms)
            elif state.asked or _is_due(instance, state, now_ms) or (news.is_set() and not state.failures):
                news.clear()
                await self._turn(instance, state)
                if _is_cancelled():
                    raise asyncio.CancelledError  # a connector may have caught what was meant for us
                continue
            pause = (state.next_ms - now_ms) / 1_000 if may_start else 3_600.0
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(pause, 0.05), 3_600.0)):  # `wait_for` may lose a cancellation
                    await wake.wait()

    async def _turn(self, instance: Instance, state: State) -> None:
        """Opens it, lets it work, and notes how that went."""
        began_ms = self._hub.clock()
        await self._say(
            instance.name,
            tried_ms=max(began_ms, state.asked_ms),
            **({} if state.failures else {"health": "running"}),
        )
        try:
            more = await self._work(instance, state)
        except TocsinError as error:
            await self._failed(instance, state, error)
        except BaseException as error:  # whatever it is, it must not end the others
            if isinstance(error, (KeyboardInterrupt, GeneratorExit)) or _is_cancelled():
                raise
            incident = secrets.token_hex(8)
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("connector %s, incident %s: %s\n%s", instance.name, incident, type(error).__name__, frames)
            what = f"something went wrong in it; the hub's log names it incident {incident}"
            await self._failed(instance, state, PartnerFailed("connector-error", what, where=instance.name))
        else:
            now_ms = self._hub.clock()
            pause_ms = 0 if more else round(instance.every_seconds * 1_000 * self._random.uniform(0.9, 1.1))
            await self._hub.store.write(
                lambda connection: states.healthy(
                    connection, instance.name, now_ms, now_ms + pause_ms, was=state.health
                )
            )

    async def _failed(self, instance: Instance, state: State, error: TocsinError) -> None:
        now_ms = self._hub.clock()
        after_ms = states.wished_ms(error.after_seconds) if isinstance(error, PartnerFailed) else 0
        pause_ms = max(states.pause_ms(state.failures + 1), after_ms)
        next_ms = now_ms + round(pause_ms * self._random.uniform(0.75, 1.25))
        if state.failures == 0 or state.failures % 20 == 0:
            log.warning("connector %s fails: %s", instance.name, error.code)
        await self._hub.store.write(lambda connection: states.failing(connection, state, error, now_ms, next_ms))

    async def _work(self, instance: Instance, state: State) -> bool:
        """True where there is more to do at once."""
        async with AsyncExitStack() as stack:
            work = await self._open(instance, state, stack)
            try:
                for _ in range(RUSH_ROUNDS):
                    if not await work.round():
                        return False
            except Exception:
                if state.failures and self._hub.clock() - state.since_ms >= DAY_MS:
                    await work.give_up()
                raise
        return True

    async def _open(self, instance: Instance, state: State, stack: AsyncExitStack) -> Work:
        manifest = instance.manifest
        http = Http(manifest.hosts(instance.settings), private=instance.private, ca_file=instance.ca_file)
        await stack.enter_async_context(http)
        memory = json.loads(state.checkpoint or "{}") if instance.does == "push" else {}
        tools = Tools(
            http=http,
            secret=_secret,
            now_ms=self._hub.clock,
            partner=instance.partner,
            language=instance.language,
            memory=memory,
        )
        opening = getattr(manifest, instance.does)
        if opening is None:
            raise Misconfigured("connector-invalid", f"it can't {instance.does}", where=instance.name)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                opened = await opening(instance.settings, tools)
        except TimeoutError:
            raise PartnerFailed("slow", f"it was not ready after {OPEN_SECONDS} seconds") from None
        stack.push_async_callback(_close, instance.name, opened)
        match instance.does:
            case "push":
                return Delivering(self._hub, instance, opened, self._random, memory)
            case "publish":
                return Publishing(self._hub, instance, opened, state)
            case "pull":
                return Pulling(self._hub, instance, opened, state, self._door)

    async def _say(self, name: str, **values: object) -> None:
        await self._hub.store.write(lambda connection: states.change(connection, name, **values))


async def _close(name: str, opened: Closing) -> None:
    """Bounded, and without a word of its own: how the work went is what counts."""
    closing = asyncio.ensure_future(opened.close())
    closing.add_done_callback(looked_at)
    try:
        await asyncio.wait({closing}, timeout=END_SECONDS)
    finally:
        closing.cancel()
    if not closing.done():
        log.error("connector %s could not be closed in time", name)
    elif not closing.cancelled() and (error := closing.exception()) is not None:
        log.error("connector %s could not be closed: %s", name, type(error).__name__)


def _is_cancelled() -> bool:
    """Whether somebody told this task to end; a connector may raise the same of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_other(running: Instance, wanted: Instance | None) -> bool:
    return wanted is None or (running.text, running.destination) != (wanted.text, wanted.destination)


def _is_due(instance: Instance, state: State, now_ms: int) -> bool:
    """By its time; or that is further away than any could be: the clock was set back, or `every_seconds` is less
    than it was."""
    longest_ms = 2 * DAY_MS if state.failures else 1_100 * instance.every_seconds
    return not 0 < state.next_ms - now_ms <= longest_ms


def _as_problem(error: Exception) -> dict[str, str]:
    if isinstance(error, TocsinError):
        return {"what": error.what, "where": error.where, "hint": error.hint}
    return {
        "what": f"it can't be read: {type(error).__name__}",
        "where": "",
        "hint": "look at what was changed last",
    }


def _mark(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return repr((file.stat().st_mtime_ns, stream.read(MAX_FILE_BYTES + 1)))
    except OSError as error:
        return type(error).__name__


def _secret(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            found = stream.read(MAX_SECRET_BYTES + 1).rstrip(b"\r\n")
    except OSError as error:
        raise Misconfigured(
            "secret-unreadable", f"a secret can't be read: {error.strerror}", where=str(file), hint="put it there"
        ) from None
    if not found or len(found) > MAX_SECRET_BYTES:
        raise Misconfigured(
            "secret-unreadable", "a secret is empty, or far too long", where=str(file), hint="put it there"
        )
    return found


def _note(connection: Connection, text: str) -> None:
    statement = upsert(connection)(facts).values(name=PROBLEM, value=text)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[facts.c.name], set_={"value": statement.excluded.value})
    )
