"""A process that takes a changelog over, and says how long that took and what it holds then.

Usage: python -m tests.bench.recovering '<JSON>' with folder (of the database), agreements, kept, and items (how
many there are). Prints one line of JSON, see `Recovered`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from services.data import load
from services.govern.compile import compile_policy
from services.govern.settle import Rules
from services.pipeline import core
from services.store import Store
from services.stream import open_streams
from services.stream.state import open_state
from tests.bench import machine
from tests.bench.isolated import introduced

LONGEST_SECONDS = 600
REST_SECONDS = 3.0  # all that is due within hours has been looked up by then


class Recovered(NamedTuple):
    """`rss_bytes` is all that is resident; of it, `file_bytes` are pages of files, which the system may drop."""

    keys: int
    seconds: float
    cpu_seconds: float
    rss_bytes: int
    file_bytes: int
    peak_bytes: int
    disk_bytes: int
    decided: int


async def recover(folder: Path, agreements: Path, kept: str, items: int) -> Recovered:
    """Runs the core on all partitions, and no record comes."""
    store = Store(f"sqlite:///{folder / 'tocsin.db'}")
    stage = core(Rules(compile_policy(introduced(store, agreements)), load(None), bytes(32)))
    streams = open_streams("sqlite:", store, open_state=open_state(kept, folder))
    await streams.start()
    service: Any = streams.run(stage)
    began, cpu = time.perf_counter(), time.process_time()
    await service.start()
    failed = asyncio.create_task(service.failed())
    while service.stats.recovered_keys < items and time.perf_counter() - began < LONGEST_SECONDS:
        if failed.done():
            raise failed.result()
        await asyncio.sleep(0.01)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    await asyncio.sleep(REST_SECONDS)
    found = Recovered(
        keys=service.stats.recovered_keys,
        seconds=seconds,
        cpu_seconds=cpu,
        rss_bytes=machine.status_bytes("VmRSS"),
        file_bytes=machine.status_bytes("RssFile"),
        peak_bytes=machine.status_bytes("VmHWM"),
        disk_bytes=_disk_bytes(folder),
        decided=service.stats.records_out,
    )
    failed.cancel()
    await service.stop()
    await streams.stop()
    store.close()
    return found


def _disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("state/*/*"))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    result = recover(Path(given["folder"]), Path(given["agreements"]), given["kept"], given["items"])
    print(json.dumps(asyncio.run(result)._asdict()))
