"""A real Apache Kafka for tests: one KRaft node from Maven's jars, on a free port, gone at the end.

The jars are fetched once by `kafka/pom.xml` into a cache outside of the tree. Used by the fixture `kafka`:

    from tests.integration.kafka_broker import kafka  # noqa: F401  (in a conftest.py)
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

POM = Path(__file__).with_name("kafka") / "pom.xml"
CLUSTER = "5L6g3nShT-eMCtK--X86sw"
START_SECONDS = 60
FETCH_SECONDS = 600
SERVER = """
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""


@dataclass(frozen=True)
class Broker:
    """`servers` is host:port, `url` as TOCSIN_BROKER has it; `pid` is 0 where it isn't ours to stop or freeze."""

    servers: str
    pid: int = 0

    @property
    def url(self) -> str:
        return f"kafka://{self.servers}"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The broker neither answers nor closes anything meanwhile."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """The broker that TOCSIN_TEST_KAFKA names, else one started here."""
    if given := os.environ.get("TOCSIN_TEST_KAFKA"):
        yield Broker(given.removeprefix("kafka://"))
        return
    if missing := [tool for tool in ("java", "mvn") if shutil.which(tool) is None]:
        pytest.skip(f"needs Kafka: install {' and '.join(missing)}, or name a broker in TOCSIN_TEST_KAFKA")
    with running_broker() as broker:
        yield broker


@contextmanager
def running_broker() -> Iterator[Broker]:
    """Starts a broker of its own and waits until it answers."""
    jars = fetch_jars()
    folder = Path(tempfile.mkdtemp(prefix="tocsin-kafka-"))
    port, controller = _free_port(), _free_port()
    config = folder / "server.properties"
    config.write_text(SERVER.format(port=port, controller=controller, folder=folder))
    java = ["java", "-Xms256m", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*"]
    log = (folder / "server.log").open("wb")
    try:
        subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(config)],
            check=True,
            stdout=log,
            stderr=log,
        )
        server = subprocess.Popen(
            [*java, "kafka.Kafka", str(config)], stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_for(port, server, folder / "server.log")
            yield Broker(f"127.0.0.1:{port}", server.pid)
        finally:
            server.send_signal(signal.SIGCONT)
            server.kill()
            server.wait()
    finally:
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def fetch_jars() -> Path:
    """The folder of the broker's jars; fetched by Maven where the cache lacks them."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tocsin" / "kafka-4.3.1"
    jars = cache / "libs"
    if not (cache / "complete").exists():
        cache.mkdir(parents=True, exist_ok=True)
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        subprocess.run(command, check=True, stdout=sys.stderr, timeout=FETCH_SECONDS)
        (cache / "complete").touch()
    return jars


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"Kafka did not start:\n{log.read_text(errors='replace')[-4000:]}")
