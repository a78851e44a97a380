"""Runs a pure step on a slice and narrows a failure down to the record or key that causes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from schemas.errors import Misconfigured, TocsinError, Unavailable
from services.stream.log import RESERVED_KEYS
from services.stream.types import MAX_VALUE_BYTES, Chunk, Effects, Output, Record, Stage

T = TypeVar("T")
FATAL = (Misconfigured, Unavailable, MemoryError)
"""Not the record's fault: these end the process instead of rejecting all that comes."""


class Rejection(NamedTuple):
    """A record, or a due key without one, and what it raised."""

    key: bytes
    record: Record | None
    error: Exception


class Worked(NamedTuple):
    """What a slice came to: all effects in order, when changed keys are due, and what was rejected."""

    outputs: list[Output]
    changes: dict[bytes, bytes | None]
    due_ms: list[tuple[bytes, int | None]]
    rejected: list[Rejection]


class Overlay(Mapping[bytes, bytes]):
    """The state as it will be once `changes` are applied; copies nothing."""

    def __init__(self, state: Mapping[bytes, bytes], changes: Mapping[bytes, bytes | None]) -> None:
        self._state = state
        self._changes = changes

    def __getitem__(self, key: bytes) -> bytes:
        if key in self._changes:
            value = self._changes[key]
            if value is None:
                raise KeyError(key)
            return value
        return self._state[key]

    def __iter__(self) -> Iterator[bytes]:
        yield from (key for key in self._state if key not in self._changes)
        yield from (key for key, value in self._changes.items() if value is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def work(stage: Stage, chunk: Chunk, state: Mapping[bytes, bytes]) -> Worked:
    """The effects of `chunk`, with those of its records left out that make the step fail.

    A part that fails is halved; the later half sees the changes of the earlier one. Raises what is FATAL.
    """
    done = Worked([], {}, [], [])
    parts = [chunk]
    while parts:
        part = parts.pop()
        try:
            effects = stage.step(part, Overlay(state, done.changes) if done.changes else state)
            _check(effects)
            due_ms = [(key, stage.due_ms(value) if value else None) for key, value in effects.changes.items()]
        except FATAL:
            raise
        except Exception as error:
            if len(part.records) + len(part.due) > 1:
                parts.extend(reversed(_halves(part)))
            else:
                done.rejected.append(_rejection(part, error))
            continue
        done.outputs.extend(effects.outputs)
        done.changes.update(effects.changes)
        done.due_ms.extend(due_ms)
    return done


def attempt(call: Callable[[Record], T], records: Sequence[Record]) -> tuple[list[T], list[Rejection]]:
    """`call` on each record; what it raises rejects that record. Raises what is FATAL."""
    results: list[T] = []
    rejected: list[Rejection] = []
    for record in records:
        try:
            results.append(call(record))
        except FATAL:
            raise
        except Exception as error:
            rejected.append(Rejection(record.key, record, error))
    return results, rejected


def _check(effects: Effects) -> None:
    if not RESERVED_KEYS.isdisjoint(effects.changes):
        raise TocsinError("key-reserved", "sets a key that is the changelog's own")
    values = [output.value for output in effects.outputs] + [v for v in effects.changes.values() if v]
    largest = max(map(len, values), default=0)
    if largest > MAX_VALUE_BYTES:
        raise TocsinError("result-too-large", f"makes a record of {largest} bytes; {MAX_VALUE_BYTES} are the most")


def _halves(part: Chunk) -> list[Chunk]:
    if part.records and part.due:
        return [part._replace(due=()), part._replace(records=())]
    if part.records:
        middle = len(part.records) // 2
        return [part._replace(records=part.records[:middle]), part._replace(records=part.records[middle:])]
    middle = len(part.due) // 2
    return [part._replace(due=part.due[:middle]), part._replace(due=part.due[middle:])]


def _rejection(part: Chunk, error: Exception) -> Rejection:
    if part.records:
        return Rejection(part.records[0].key, part.records[0], error)
    if part.due:
        return Rejection(part.due[0], None, error)
    raise RuntimeError("a step fails on an empty chunk") from error
