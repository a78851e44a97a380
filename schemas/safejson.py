"""JSON from strangers (RFC 8259, kept to what I-JSON, RFC 7493, calls interoperable).

Every check is linear in the size of the body, and none recurses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import orjson

from schemas.errors import BodyRefused, clip

MAX_VALUES = 4_000_000
MAX_SEARCHED = 1_000_000
_BOM = b"\xef\xbb\xbf"
_LEAST_INT, _GREATEST_INT = -(2**63), 2**64 - 1

_control = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]").search


def loads(raw: bytes, max_depth: int = 64) -> Any:
    """The value of a JSON text; a leading byte order mark is dropped.

    Raises `BodyRefused`: `not-json` (`where` is line and column; also for what is no UTF-8, NaN, Infinity and
    lone surrogates), `too-deep`, `too-complex` (more than 4,000,000 values), `duplicate-key`
    (`where` is its JSON pointer), `number-out-of-range` (integers beyond 64 bits, floats beyond a double).
    """
    raw = raw.removeprefix(_BOM)
    if raw.count(b"{") + raw.count(b"[") + raw.count(b",") > MAX_VALUES:
        raise BodyRefused(
            "too-complex",
            f"more than {MAX_VALUES:,} values",
            hint="send it in several smaller submissions",
            status=413,
        )
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _undecodable(error, max_depth) from None
    if _is_deeper(value, max_depth):
        raise _too_deep(max_depth)
    _refuse_duplicates(raw)
    return value


def _undecodable(error: orjson.JSONDecodeError, max_depth: int) -> BodyRefused:
    where = f"line {error.lineno} column {error.colno}"
    if "depth limit" in error.msg:
        return _too_deep(max_depth, where)
    if "infinity" in error.msg:
        return _out_of_range(where)
    return BodyRefused(
        "not-json", f"this is not JSON: {clip(error.msg, 120)}", where=where, hint="mend it there, and send again"
    )


def _too_deep(max_depth: int, where: str = "") -> BodyRefused:
    return BodyRefused(
        "too-deep", f"nested deeper than {max_depth} levels", where=where, hint="flatten the document"
    )


def _out_of_range(where: str) -> BodyRefused:
    what = "this number does not fit in 64 bits"
    return BodyRefused("number-out-of-range", what, where=where, hint="send such numbers as strings")


def _is_deeper(value: Any, max_depth: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(max_depth):
        if not level:
            return False
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
    return bool(level)


class _Fault(Exception):
    """Carries the refusal without its place."""


_UNFIT = object()


def _refuse_duplicates(raw: bytes) -> None:
    """orjson keeps the last of equal keys in silence, and reads long integers as floats; this pass does not."""
    text = raw.decode()
    try:
        json.loads(text, object_pairs_hook=_unique, parse_int=_in_range, parse_float=len)
    except _Fault as fault:
        # only now is it worth the memory to keep every key, so as to say where the fault is
        tree = json.loads(text, object_pairs_hook=_Pairs, parse_int=_marked, parse_float=len)
        raise next(_faults(tree), fault.args[0]) from None


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _Fault(_duplicate("", "a key"))


def _in_range(digits: str) -> None:
    if not _fits(digits):
        raise _Fault(_out_of_range(""))


def _marked(digits: str) -> object:
    return None if _fits(digits) else _UNFIT


def _fits(digits: str) -> bool:
    return len(digits) <= 20 and _LEAST_INT <= int(digits) <= _GREATEST_INT


class _Pairs(list[tuple[str | int, Any]]):
    """An object as its pairs, in the order in which they stand."""


def _faults(tree: Any) -> Iterator[BodyRefused]:
    for steps, value in islice(walk(tree), MAX_SEARCHED):
        if value is _UNFIT:
            yield _out_of_range(pointer_to(steps))
        elif isinstance(value, _Pairs):
            seen: set[str | int] = set()
            for key, _ in value:
                if key in seen:
                    yield _duplicate(pointer_to([*steps, key]), repr(clip(key)))
                seen.add(key)


def _duplicate(where: str, key: str) -> BodyRefused:
    what = f"{key} stands twice in one object"
    return BodyRefused("duplicate-key", what, where=where, hint="keep one of them")


def control_character(value: Any) -> str | None:
    """The JSON pointer of the first string, or key, with a C0 or C1 control character or a lone surrogate.

    Tab, line feed and carriage return are text.
    """
    if not _holds_control(value):
        return None
    for steps, part in walk(value):
        if isinstance(part, str) and _control(part):
            return pointer_to(steps)
        for key in part if isinstance(part, dict) else ():
            if _control(key):
                return pointer_to([*steps, key])
    return None


def _holds_control(value: Any) -> bool:
    stack = [value]
    for part in stack:
        kind = type(part)
        if kind is str:
            # nearly every string is printable, and asking that is far cheaper than a search
            if not part.isprintable() and _control(part):
                return True
        elif kind is dict:
            stack.extend(part)
            stack.extend(part.values())
        elif kind is list:
            stack.extend(part)
    return False


def walk(value: Any) -> Iterator[tuple[list[str | int], Any]]:
    """Every value below `value` in document order, with the steps to it (which the next one overwrites)."""
    yield [], value
    steps: list[str | int] = []
    open_containers = [_children(value)]
    while open_containers:
        entry = next(open_containers[-1], None)
        if entry is None:
            open_containers.pop()
            continue
        step, child = entry
        steps[len(open_containers) - 1 :] = [step]
        yield steps, child
        open_containers.append(_children(child))


def _children(part: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(part, dict):
        return iter(part.items())
    if isinstance(part, _Pairs):
        return iter(part)
    return iter(enumerate(part)) if isinstance(part, list) else iter(())


def pointer_to(steps: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901), made safe for a message: overlong and unprintable names are clipped."""
    return "".join(f"/{escape(clip(step))}" for step in steps)


def escape(key: str) -> str:
    """A key as a step of a JSON pointer (RFC 6901 section 3)."""
    return key.replace("~", "~0").replace("/", "~1")
