"""STIX selectors (STIX 2.1, section 7.2.3.1): what they point at in an object, and what obligations come to on it.

A selector is hostile text: only objects and lists of JSON are looked into, by name and by index.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

Path = tuple[str | int, ...]
"""The steps from an object to what is selected: names, and places in lists from 0 on."""

STRENGTH: Final[Mapping[str, int]] = MappingProxyType(
    {"pseudonymise": 1, "generalise": 2, "host-only": 2, "drop": 3}
)
"""Of obligations on one selector the strongest holds (deploy/policy.md, "The rules")."""

_STEP = r"\.(?:\[[0-9]{1,6}\]|[A-Za-z0-9_-]{1,250})"
_matches = re.compile(rf"[A-Za-z0-9_-]{{1,250}}(?:{_STEP}){{0,32}}").fullmatch

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"external_references": ("source_name",), "kill_chain_phases": ("kill_chain_name", "phase_name")}
)
_ONE_NEEDED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"external_references": ("description", "url", "external_id")}
)


class Unselectable(ValueError):
    """A selector, or a technique, that nobody can carry out. It has no text of the source in it."""


def find(body: Mapping[str, Any], selector: str) -> Path | None:
    """Where in the object the selector points; None where nothing is there.

    Raises `Unselectable` where it is malformed, or steps by name into a list, by index into an object, or into
    what holds nothing.
    """
    if not _matches(selector):
        raise Unselectable("this is no selector: a property's name, then .name or .[index]")
    path: list[str | int] = []
    part: Any = body
    for step in selector.split("."):
        if isinstance(part, dict) and not step.startswith("["):
            if step not in part:
                return None
            path.append(step)
            part = part[step]
        elif isinstance(part, list) and step.startswith("["):
            index = int(step[1:-1])
            if index >= len(part):
                return None
            path.append(index)
            part = part[index]
        else:
            raise Unselectable(f"step {len(path) + 1} of the selector does not fit what it steps into")
    return tuple(path)


def at(body: Mapping[str, Any], path: Path) -> Any:
    """What lies at a path that `find` gave for this object."""
    part: Any = body
    for step in path:
        part = part[step]
    return part


def name_of(path: Path) -> str:
    """The selector that points there, in its one spelling: `list.[0].name`."""
    return ".".join(f"[{step}]" if isinstance(step, int) else step for step in path)


def named(body: Mapping[str, Any], asked: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What obligations (selector, technique) come to on this object: {selector: technique}, sorted.

    Only what the object has is named, each part once, with the strongest technique; where it is to be generalised
    as well as reduced to its host, neither does what the other is for, so that it is dropped. A whole list is named
    where all its elements are dropped, an element where it can't be without what is dropped of it, and nothing
    within what is dropped. Takes time in proportion to what is asked. Raises `Unselectable`.
    """
    found: dict[Path, str] = {}
    for selector, technique in asked:
        if technique not in STRENGTH:
            raise Unselectable("no such technique")
        path = find(body, selector)
        if path is not None:
            found[path] = _stronger(found.get(path, technique), technique)
    dropped = _closed(body, {path for path, technique in found.items() if technique == "drop"})
    all_named = found | dict.fromkeys(dropped, "drop")
    return dict(
        sorted(
            (name_of(path), technique)
            for path, technique in all_named.items()
            if not any(path[:length] in dropped for length in range(1, len(path)))
        )
    )


def _stronger(one: str, other: str) -> str:
    if one != other and STRENGTH[one] == STRENGTH[other]:
        return "drop"
    return max(one, other, key=STRENGTH.__getitem__)


def _closed(body: Mapping[str, Any], dropped: set[Path]) -> set[Path]:
    """What goes with it too: elements that can't be without it, and lists of which nothing is left."""
    closed = set(dropped)
    by_length: dict[int, set[Path]] = {}
    for path in dropped:
        by_length.setdefault(len(path), set()).add(path)
    for length in range(max(by_length, default=0), 1, -1):
        paths = by_length.get(length, set())
        above = _elements(body, paths) if length == 3 else set()
        in_lists = Counter(path[:-1] for path in paths if isinstance(path[-1], int))
        above |= {path for path, count in in_lists.items() if count == len(at(body, path))}
        by_length.setdefault(length - 1, set()).update(above)
        closed |= above
    return closed


def _elements(body: Mapping[str, Any], members: set[Path]) -> set[Path]:
    """The elements that are not whole without these members."""
    gone: dict[Path, set[str | int]] = {}
    for property_, index, member in members:
        if property_ in _NEEDED and isinstance(index, int) and isinstance(member, str):
            gone.setdefault((property_, index), set()).add(member)
    return {
        path
        for path, without in gone.items()
        if not is_whole(str(path[0]), [name for name in at(body, path) if name not in without])
    }


def is_whole(property_: str, members: Iterable[str]) -> bool:
    """Whether an element of this list may have just these members (STIX 2.1, sections 2.5 and 2.11)."""
    there = set(members)
    one_needed = _ONE_NEEDED.get(property_)
    return there.issuperset(_NEEDED.get(property_, ())) and (one_needed is None or not there.isdisjoint(one_needed))
