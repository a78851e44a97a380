"""A worker as a process of its own, to be killed: runs the tally and its sink until SIGTERM.

Usage: python -m tests.contract.streams.worker_process '<JSON>' with url, folder, prefix, kept, and optionally
parts (["stage", "sink"]), seconds_per_record, crash ({"at": "outputs" | "state" | "transaction", "after": n}).
Prints `started`, then `working` behind the first slice. Exits 0 when stopped, 70 when a part of it died.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from services.stream import kafka, sqlite_log
from services.stream.types import Sink, Stage
from tests.contract.streams.tally import EffectsSink, Names, tally

KILLED, DIED = 137, 70


async def main(config: dict[str, Any]) -> int:
    names = Names(config["url"], Path(config["folder"]), config["prefix"], config["kept"])
    if "crash" in config:
        crash(names, **config["crash"])
    store = names.store()
    streams = names.streams(store)
    await streams.start()
    parts: dict[str, Stage | Sink] = {
        "stage": tally(names, config.get("seconds_per_record", 0.0)),
        "sink": EffectsSink(names, store),
    }
    services: list[Any] = [streams.run(parts[part]) for part in config.get("parts", parts)]
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    for service in services:
        await service.start()
    print("started", flush=True)
    tasks = [asyncio.create_task(service.failed()) for service in services]
    telling = asyncio.create_task(tell(services))
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    for task in tasks:
        if task.done():
            print(f"died: {task.result()!r}", flush=True)
            os._exit(DIED)
        task.cancel()
    for service in services:
        await service.stop()
    await streams.stop()
    store.close()
    return 0


async def tell(services: Sequence[Any]) -> None:
    while not any(service.stats.records_in for service in services):  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    print("working", flush=True)


def crash(names: Names, at: str, after: int) -> None:
    """Makes the process vanish in the middle of its `after`-th slice: behind its outputs, or behind its state,
    or (on the SQLite log) inside of the transaction that holds both."""
    left = after

    def due(is_slice: bool) -> bool:
        nonlocal left
        left -= is_slice
        return is_slice and left <= 0

    def vanish() -> None:
        os._exit(KILLED)

    if at == "transaction":
        insert: Callable[..., Any] = sqlite_log.SqliteLog._insert

        def insert_and_vanish(self: Any, together: Any, connection: Any) -> Any:
            result = insert(self, together, connection)
            if due(any(len(drafts) > 1 for p in together for t, _, drafts in p.batches if t == names.output.name)):
                vanish()
            return result

        sqlite_log.SqliteLog._insert = insert_and_vanish  # type: ignore[method-assign]
        return
    topic = names.output.name if at == "outputs" else names.state.name
    write: Callable[..., Any] = kafka.KafkaPort.write

    async def write_and_vanish(self: Any, batches: Any) -> list[int]:
        offsets: list[int] = await write(self, batches)
        if due(any(name == topic and len(drafts) > 1 for name, _, drafts in batches)):
            vanish()
        return offsets

    kafka.KafkaPort.write = write_and_vanish  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(asyncio.run(main(json.loads(sys.argv[1]))))
