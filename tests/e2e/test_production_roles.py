"""One process per role on a real Apache Kafka and a real PostgreSQL, with workers that are killed in mid-stream."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.running_hub import ROOT, environment
from tests.integration.kafka_broker import Broker, running_broker

READY_SECONDS = 60


@dataclass
class Stack:
    """The processes of one hub by name."""

    environment: dict[str, str]
    log: Path
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> None:
        """Starts a role and waits until it says that it is ready."""
        with (self.log / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.processes[name] = process
        assert process.stdout
        line = process.stdout.readline()
        assert "ready" in line, f"{name}: {line!r}: {(self.log / f'{name}.log').read_text()[-2000:]}"

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.communicate()

    def tocsin(self, *arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *map(str, arguments)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def feed_ids(self, partner: str) -> dict[str, str]:
        text = self.tocsin("feed", partner, "--format", "csv")
        return {f"{row['kind']} {row['value']}": row["id"] for row in csv.DictReader(io.StringIO(text))}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker() as running:
        yield running


@contextmanager
def stack(broker: Broker, postgres_url: str, folder: Path) -> Iterator[Stack]:
    address = f"127.0.0.1:{_free_port()}"
    hub = Stack(
        environment(
            folder / "data",
            f"http://{address}",
            TOCSIN_BROKER=broker.url,
            TOCSIN_DATABASE=postgres_url,
            TOCSIN_LISTEN=address,
        ),
        folder,
    )
    try:
        yield hub
    finally:
        for name in list(hub.processes):
            hub.kill(name)


@pytest.mark.timeout(600)
def test_real_feeds_through_killed_workers(broker: Broker, postgres_url: str, tmp_path: Path, shared: Path) -> None:
    data = shared / "data"
    files = sorted(
        f for pattern in ("stix21/*.stix2", "stix20/*.json", "csv/*", "misp/*") for f in data.glob(pattern)
    )
    truth = json.loads((data / "truth.json").read_text())["union"]
    with stack(broker, postgres_url, tmp_path) as hub:
        assert "up to date" in hub.tocsin("migrate")
        hub.start("serve", "serve")
        hub.start("core-1", "worker", "core")
        hub.start("core-2", "worker", "core")
        hub.start("ends-1", "worker", "share", "witness")

        said = hub.tocsin("push", *files, "--source", "amnesty")
        assert "21 of 21 files accepted" in said
        hub.kill("core-1")
        time.sleep(1)
        hub.kill("ends-1")
        hub.start("ends-2", "worker", "share", "witness")
        hub.start("core-3", "worker", "core")

        more = tmp_path / "more.csv"
        more.write_text("type,value\ndomain,one-more.example\n")
        hub.tocsin("push", more, "--source", "kestrel", "--wait")
        _wait_until(lambda: len(hub.feed_ids("horizon")) >= truth["distinct_canonical"] + 1, seconds=120)
        ids = hub.feed_ids("horizon")
        assert len(ids) == truth["distinct_canonical"] + 1
        assert len(set(ids.values())) == len(ids)

        hub.kill("core-2")
        hub.tocsin("push", *files, "--source", "amnesty", "--wait")
        assert hub.feed_ids("horizon") == ids, "again adds none and changes no id, under another owner"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until(holds: object, *, seconds: float) -> None:
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(1)
