"""Makes a hub from its settings and runs parts of it in this process until it is told to stop.

Crash-only: when a part dies, the process ends with the reason, and a supervisor starts it again. Nothing that
was answered 202 is lost by that.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from connectors.registry import CONNECTORS
from schemas.errors import Misconfigured
from schemas.topics import TOPICS
from services import directory, inforce, tokens
from services.accept.agent import Relay
from services.accept.door import Door
from services.connect import ConnectService
from services.core import CoreService
from services.govern.agent import PostSink
from services.govern.policy import describe
from services.hub import Hub, now_ms
from services.inforce import PolicyWatch
from services.migrate import is_current, upgrade
from services.pipeline import CORE
from services.private import write_private
from services.settings import Settings
from services.share.agent import Reminder, ShareSink
from services.store import Store
from services.stream import open_streams
from services.stream.state import open_state
from services.stream.types import Service, Streams
from services.web import application
from services.witness.agent import WitnessSink

PARTS = ("serve", CORE, "share", "witness", "connect")
log = logging.getLogger("tocsin")


def open_hub(settings: Settings, store: Store) -> Hub:
    """The hub of this process; raises `Misconfigured` where settings are wrong, or a new hub's agreements."""
    with store.engine.begin() as connection:
        key = secret(settings.secret_path, new=directory.secret_mark(connection) is None)
        directory.keep_secret_mark(connection, key, settings.secret_path)
        partners = inforce.opened(connection, settings, describe(), now_ms())
    return Hub(settings=settings, store=store, secret=key, directory=partners)


def secret(file: Path, *, new: bool) -> bytes:
    """The hub's secret (32 bytes, hex in a file of mode 0600); made where there is none and the hub is `new`.

    Every id and fingerprint hangs on it: another secret is another hub.
    """
    if new and not file.exists():
        write_private(file, secrets.token_hex(32) + "\n")
    try:
        found = bytes.fromhex(file.read_text("ascii").strip())
    except (OSError, ValueError):
        found = b""
    if len(found) < 32:
        raise Misconfigured(
            "secret-missing",
            "the hub's secret is not here, or is not 32 bytes in hex",
            where=str(file),
            hint="restore it: all ids hang on it; TOCSIN_SECRET_FILE names another place",
        )
    return found


def leave_staff_token(hub: Hub) -> None:
    """Leaves the operator's token in the data directory, for commands on the same machine."""
    file = hub.settings.staff_token_path
    with hub.store.engine.begin() as connection:
        if file.exists() and tokens.is_valid(connection, file.read_text().strip(), now_ms()):
            return
        write_private(file, tokens.issue(connection, tokens.STAFF, "staff", now_ms()) + "\n")


async def run(settings: Settings, parts: tuple[str, ...], *, migrate: bool, ready: Callable[[str], None]) -> None:
    """Runs `parts` of PARTS until SIGINT or SIGTERM. `ready` is told the address once everything works.

    With `migrate` the database and the topics are brought up to date first; else they must be.
    """
    os.umask(0o077)  # database, log and secrets are for nobody else on this machine
    settings.data.mkdir(parents=True, exist_ok=True)
    stopping = _stop_signals()
    async with AsyncExitStack() as stack:
        store = Store(settings.database_url)
        stack.callback(store.close)
        kept = open_state(settings.state, settings.data)
        streams = open_streams(settings.broker, store, settings.kafka_security, open_state=kept)
        await streams.start()
        stack.push_async_callback(streams.stop)
        if migrate:
            await asyncio.to_thread(upgrade, store.engine)
            await streams.create_topics(TOPICS)
        elif not await store.read(is_current):
            raise Misconfigured("not-migrated", "the database is not of this version", hint="run `tocsin migrate`")
        hub = open_hub(settings, store)
        if "serve" in parts:
            leave_staff_token(hub)
        address = ""
        watch = PolicyWatch(hub, describe(), takes_files="serve" in parts)
        await watch.start()
        stack.push_async_callback(watch.stop)
        services: list[Service] = []
        relay = Relay(hub, streams) if "serve" in parts else None
        for part in PARTS[1:]:
            if part in parts:
                services += _workers(part, hub, streams, relay)
        if relay:
            services.append(relay)
        for service in services:
            stack.push_async_callback(service.stop)
        await asyncio.gather(*(service.start() for service in services))
        if relay:
            address = await _listen(application(hub, relay.wake.set), hub, stack)
        gc.freeze()
        gc.set_threshold(200_000, 20, 50)  # decoded JSON would start a collection every few dozen objects
        ready(address)
        await _until(stopping, [watch, *services])
        log.info("stopping")


async def migrate(settings: Settings, *, check: bool) -> bool:
    """Brings database and topics up to date, or with `check` only says whether the database is."""
    os.umask(0o077)
    settings.data.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        store = Store(settings.database_url)
        stack.callback(store.close)
        if check:
            return await store.read(is_current)
        streams = open_streams(settings.broker, store, settings.kafka_security)
        await streams.start()
        stack.push_async_callback(streams.stop)
        await asyncio.to_thread(upgrade, store.engine)
        await streams.create_topics(TOPICS)
    return True


def _workers(part: str, hub: Hub, streams: Streams, relay: Relay | None) -> list[Service]:
    if part == CORE:
        return [CoreService(hub, streams), streams.run(PostSink(hub, streams))]
    if part == "connect":
        return [ConnectService(hub, CONNECTORS, Door(hub, relay.wake.set if relay else lambda: None))]
    if part == "share":
        return [streams.run(ShareSink(hub)), Reminder(hub)]
    return [streams.run(WitnessSink(hub))]


async def _listen(app: web.Application, hub: Hub, stack: AsyncExitStack) -> str:
    host, port = hub.settings.host_and_port
    # bodies stay compressed: accept unpacks them within bounds, and notices where one was cut off
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5, auto_decompress=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise Misconfigured(
            "address-in-use",
            f"can't listen on {hub.settings.listen}: {error.strerror}",
            hint="choose another --port",
        ) from None
    bound = runner.addresses[0]
    return f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"


def _stop_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def _until(stopping: asyncio.Event, services: list[Service]) -> None:
    """Waits for the signal; raises what any part died of."""
    stop = asyncio.create_task(stopping.wait())
    deaths = [asyncio.create_task(service.failed()) for service in services]
    done, _ = await asyncio.wait([stop, *deaths], return_when=asyncio.FIRST_COMPLETED)
    for task in [stop, *deaths]:
        task.cancel()
    for death in deaths:
        if death in done:
            raise death.result()
