"""Facts of this machine, and what processes on it have used, from /proc."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("aiohttp", "aiokafka", "faust-streaming", "orjson", "pydantic", "SQLAlchemy")


def facts(root: Path) -> dict[str, Any]:
    """What two results must have in common to be compared."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        **_commit(root),
    }


def _commit(root: Path) -> dict[str, Any]:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed_files": len(git("status", "--short").splitlines())}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "changed_files": None}


def _field(file: Path, name: str) -> str:
    lines = file.read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes since their start."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """CPU time that all cores of the machine have spent on anything since its start."""
    fields = [int(part) for part in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _waiting, interrupts, soft, _stolen = fields
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pids: Iterable[int]) -> int:
    """The sum of the most memory that each of the processes ever held (VmHWM)."""
    return sum(1024 * int(_field(Path(f"/proc/{pid}/status"), "VmHWM").split()[0]) for pid in pids)


def status_bytes(name: str) -> int:
    """A field of this process's memory: VmRSS, RssFile, VmHWM."""
    return 1024 * int(_field(Path("/proc/self/status"), name).split()[0])
