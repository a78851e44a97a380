"""A whole hub in a process of its own, started and spoken to as its users do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY = re.compile(r"Tocsin is ready at (http://\S+)")
READY_SECONDS = 20


@dataclass
class RunningHub:
    """A hub at `url` with its data in `data`."""

    url: str
    data: Path
    process: subprocess.Popen[str]
    ready_seconds: float

    def tocsin(
        self, *arguments: str | Path, check: bool = True, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command as an operator on the same machine would."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *map(str, arguments)],
            cwd=ROOT,
            env=environment(self.data, self.url),
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout,
        )

    def token(self, partner: str) -> str:
        return self.tocsin("partner", "token", partner).stdout.splitlines()[-1]

    def stop(self) -> int:
        """Ctrl-C, and the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def environment(data: Path, url: str = "", **settings: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    own = {"TOCSIN_DATA": str(data), "PYTHONUNBUFFERED": "1", **({"TOCSIN_URL": url} if url else {})}
    return {**inherited, **own, **settings}


@contextmanager
def running_hub(data: Path, **settings: str) -> Iterator[RunningHub]:
    """A hub with the embedded defaults (but for `settings`) on a free port; killed at the end if it still runs."""
    started = time.monotonic()
    with (
        _log_of(data).open("a") as log,
        subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up", "--data", str(data), "--port", "0"],
            cwd=ROOT,
            env=environment(data, **settings),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield RunningHub(_address(process, data), data, process, time.monotonic() - started)
        finally:
            if process.poll() is None:
                process.kill()


def _log_of(data: Path) -> Path:
    return data.parent / f"{data.name}.log"


def _address(process: subprocess.Popen[str], data: Path) -> str:
    assert process.stdout
    line = process.stdout.readline()
    found = READY.search(line)
    assert found, f"no ready line but {line!r}; log: {_log_of(data).read_text()[-3000:]}"
    return found[1]
