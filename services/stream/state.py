"""Where the state of a stage's partition is while we own it: in memory, or in RocksDB for more than that holds.

The changelog is what survives; this is a copy of it, made anew on each assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from schemas.errors import Misconfigured


class State(Protocol):
    """The state of one partition, empty at first. Keys are any bytes; no value is empty."""

    @property
    def view(self) -> Mapping[bytes, bytes]:
        """The state as it is, read-only. To count it may mean to read all of it."""

    def change(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Sets values; None or empty deletes."""

    def keys(self) -> Iterator[bytes]:
        """Every key that is there from now until the iterator passes it; the state may be changed meanwhile."""

    def close(self) -> None:
        """The end of it. The view can't be used any more."""


OpenState = Callable[[str, int], State]
"""Makes the empty state of a stage's partition, by the stage's name and the partition's number."""


class MemoryState:
    """See `State`."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self.view: Mapping[bytes, bytes] = MappingProxyType(self._values)

    def change(self, changes: Mapping[bytes, bytes | None]) -> None:
        values = self._values
        for key, value in changes.items():
            if value:
                values[key] = value
            else:
                values.pop(key, None)

    def keys(self) -> Iterator[bytes]:
        return iter(list(self._values))

    def close(self) -> None:
        self._values.clear()


def in_memory(stage: str, partition: int) -> State:
    """An `OpenState`."""
    return MemoryState()


def open_state(kind: str, data: Path) -> OpenState:
    """By the setting TOCSIN_STATE: `memory`, or `rocksdb` in folders under `data`. Raises `Misconfigured`."""
    if kind == "memory":
        return in_memory
    if kind != "rocksdb":
        raise Misconfigured(
            "state-unknown", f"no way to keep state: {kind}", where="TOCSIN_STATE", hint="memory or rocksdb"
        )
    try:
        from services.stream.rocks import RocksStates
    except ImportError:
        raise Misconfigured(
            "rocksdb-missing",
            "state in RocksDB needs the package rocksdict",
            where="TOCSIN_STATE",
            hint="install tocsin[rocksdb], or set memory",
        ) from None
    return RocksStates(data / "state").open
