"""A hub in processes of its own, with the bench's agreements: one process, or one for each role."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
READY = re.compile(r"Tocsin is ready(?: at (http://\S+))?")
READY_SECONDS = 60
STOP_SECONDS = 30
WORKERS = (("worker", "core"), ("worker", "share"), ("worker", "witness"))


@dataclass(frozen=True)
class RunningHub:
    """A hub at `url`, its processes by role."""

    url: str
    staff_token: str
    pids: Mapping[str, int]


@contextmanager
def running_hub(
    folder: Path, agreements: Path, settings: Mapping[str, str], *, apart: bool
) -> Iterator[RunningHub]:
    """With `apart` every role is a process of its own, on the broker and the database that `settings` name.

    `settings` are environment variables. Raises `click.ClickException` with the end of the log where a process
    does not become ready.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")} | {
        "TOCSIN_DATA": str(folder / "data"),
        "TOCSIN_AGREEMENTS": str(agreements),
        "TOCSIN_LISTEN": "127.0.0.1:0",
        "TOCSIN_LOG": "warning",
        "PYTHONUNBUFFERED": "1",
        **settings,
    }
    if apart:
        subprocess.run(_command("migrate"), cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    commands: Sequence[Sequence[str]] = [("serve",), *WORKERS] if apart else [("up",)]
    url, pids = "", {}
    with ExitStack() as stack:
        for command in commands:
            name = command[-1]
            process, address = stack.enter_context(_running(command, environment, folder / f"{name}.log"))
            url = address or url
            pids[name] = process.pid
        token = (folder / "data" / "staff.token").read_text().strip()
        yield RunningHub(url, token, pids)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "services.cli", *arguments]


@contextmanager
def _running(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with log.open("w") as errors:
        process = subprocess.Popen(
            _command(*arguments), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield process, _address(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_collect, args=(process, lines), daemon=True).start()
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            line = lines.get(timeout=0.1)
        except queue.Empty:
            if process.poll() is not None:
                break
            continue
        if found := READY.search(line):
            return found[1] or ""
    raise click.ClickException(f"the hub did not become ready; the end of its log:\n{log.read_text()[-2000:]}")


def _collect(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    for line in process.stdout or ():
        lines.put(line)
