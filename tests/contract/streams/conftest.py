"""One set of contract tests, both drivers."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.store import Store
from services.stream.types import Streams
from tests.contract.streams.tally import Names, prepare
from tests.integration.kafka_broker import Broker, kafka

__all__ = ["kafka"]

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def kept() -> str:
    """How stages keep their state; a file of tests may say otherwise."""
    return "memory"


@pytest.fixture(params=["sqlite", "kafka"])
def names(request: pytest.FixtureRequest, tmp_path: Path, kept: str) -> Names:
    """Topics, groups and a database of its own for each test, on each driver."""
    broker: Broker | None = request.getfixturevalue("kafka") if request.param == "kafka" else None
    return Names(broker.url if broker else "sqlite:", tmp_path, f"t{secrets.token_hex(4)}", kept)


@pytest.fixture
def kafka_names(kafka: Broker, tmp_path: Path) -> Names:
    return Names(kafka.url, tmp_path, f"t{secrets.token_hex(4)}")


@pytest.fixture
def sqlite_names(tmp_path: Path) -> Names:
    return Names("sqlite:", tmp_path, f"t{secrets.token_hex(4)}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The database of this test's `names`, with the tables of its sink."""
    store = Store(f"sqlite:///{tmp_path / 'effects.db'}")
    prepare(store)
    yield store
    store.close()


@pytest.fixture
async def streams(names: Names, store: Store) -> AsyncIterator[Streams]:
    """Started, with the topics of this test."""
    streams = names.streams(store)
    await streams.start()
    await streams.create_topics(names.topics)
    yield streams
    await streams.stop()


@dataclass
class Worker:
    """A worker process. What it printed is in `said`."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            self.said.extend(iter(lines.readline, ""))

    def has_said(self, word: str) -> bool:
        return any(line.startswith(word) for line in list(self.said))

    async def wait_until(self, word: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.has_said(word):
            assert self.process.poll() is None, f"the worker ended ({self.process.returncode}): {self.said}"
            assert time.monotonic() < deadline, f"not {word} after {seconds} s: {self.said}"
            await asyncio.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self, number: signal.Signals, seconds: float = 30.0) -> int:
        """Sends the signal and waits; the exit status."""
        self.send(number)
        return await self.ended(seconds)

    async def ended(self, seconds: float = 60.0) -> int:
        return await asyncio.to_thread(self.process.wait, seconds)


Start = Callable[..., Worker]


@pytest.fixture
def start_worker() -> Iterator[Start]:
    """Starts worker processes of a test's `names`; what is left of them at the end is killed."""
    workers: list[Worker] = []

    def start(names: Names, **config: object) -> Worker:
        config = {
            "url": names.url,
            "folder": str(names.folder),
            "prefix": names.prefix,
            "kept": names.kept,
            **config,
        }
        command = [sys.executable, "-m", "tests.contract.streams.worker_process", json.dumps(config)]
        worker = Worker(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()
