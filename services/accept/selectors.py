"""What granular markings and personal selectors point at, in the terms in which an object is kept. Pure.

Selectors (STIX 2.1, section 7.2.3) are written for the object as its source sent it. Labels that are markings are
taken out of it, and references are kept in a field of their own, so selectors of single entries are counted anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from schemas.errors import ItemRefused, clip

MAX_MARKINGS = 100
MAX_SELECTED = 2_000  # pairs of marking and selector: each is looked at for every recipient that differs
MAX_PLACES = 20
MAX_NAMED = 5
_STRENGTH = MappingProxyType({"pseudonymise": 1, "generalise": 2, "host-only": 2, "drop": 3, "deny": 4})

Granular = tuple[tuple[str, tuple[str, ...]], ...]
Places = Mapping[str, Sequence[Sequence[int]]]
"""By property, for each of its entries as they were, where it stands now; nowhere, where it was taken out."""

_entry = re.compile(r"([a-z0-9_-]+)\.\[([0-9]+)\]").fullmatch


def grouped(markings: Iterable[Mapping[str, Any]]) -> Granular:
    """By marking (id in lower case) what it selects; what only names a language marks nothing.

    Raises `ItemRefused` (`too-many-granular-markings`) past `MAX_MARKINGS` and `MAX_SELECTED`.
    """
    by_marking: dict[str, dict[str, None]] = {}
    for marking in markings:
        if "marking_ref" in marking:
            by_marking.setdefault(marking["marking_ref"].lower(), {}).update(dict.fromkeys(marking["selectors"]))
    if len(by_marking) > MAX_MARKINGS or sum(map(len, by_marking.values())) > MAX_SELECTED:
        raise ItemRefused(
            "too-many-granular-markings",
            f"{MAX_MARKINGS} different granular markings with {MAX_SELECTED:,} selectors are the most that "
            "one object may have",
            where="/granular_markings",
            hint="mark whole properties instead of their parts, or the object itself",
            field="granular_markings",
        )
    return tuple((id_, tuple(selected)) for id_, selected in by_marking.items())


def check_personal(body: Mapping[str, Any], personal: Iterable[str], where: str) -> tuple[str, ...]:
    """Notes on selectors that select nothing in the object. `where` is the pointer of `personal` in it.

    Raises `ItemRefused` (`handling-invalid`) for one that can't select anything: it walks into a list without an
    index, or into a text.
    """
    nothing: list[str] = []
    for selector in personal:
        found = _look(body, selector)
        if found == "wrong":
            raise ItemRefused(
                "handling-invalid",
                f"handling.personal: the selector {clip(selector)!r} walks into a list without an index, or into "
                "what has no parts",
                where=f"{where}/{clip(selector)}",
                hint="select an entry of a list as list.[0], or the property as a whole",
                field="personal",
            )
        if found == "nothing":
            nothing.append(clip(selector))
    if not nothing:
        return ()
    more = f" and {len(nothing) - MAX_NAMED} more" if len(nothing) > MAX_NAMED else ""
    return (f"personal-selects-nothing: {', '.join(nothing[:MAX_NAMED])}{more}",)


def _look(body: Mapping[str, Any], selector: str) -> Literal["found", "nothing", "wrong"]:
    part: Any = body
    for step in selector.split("."):
        if step.startswith("["):
            if type(part) is not list:
                return "wrong"
            index = int(step[1:-1])
            if index >= len(part):
                return "nothing"
            part = part[index]
        elif type(part) is dict:
            if step not in part:
                return "nothing"
            part = part[step]
        else:
            return "wrong"
    return "found"


def has_any(granular: Granular, handling: Mapping[str, Any]) -> bool:
    """Whether there is a selector to be counted anew."""
    return bool(granular or handling.get("personal"))


def moved(granular: Granular, handling: Mapping[str, Any], places: Places) -> tuple[Granular, Mapping[str, Any]]:
    """Granular markings and handling for the object whose entries moved; what was taken out is not selected."""
    return _each(granular, handling, lambda selector: _moved(selector, places)) if places else (granular, handling)


def out_of(granular: Granular, handling: Mapping[str, Any], extension: str) -> tuple[Granular, Mapping[str, Any]]:
    """The same where the handling is taken out of the object; it was the extension with this id.

    Of the handling three fields leave the hub. `affected` is selected as the property that it is then; what selects
    one of the others selects what no object can be without, since they can't be left out.
    """
    return _each(granular, handling, lambda selector: _out_of(selector, f"extensions.{extension}"))


def _out_of(selector: str, ours: str) -> Iterable[str]:
    if selector == "extensions":
        return ("extensions", "type")
    if selector == ours:
        return ("type",)
    if not selector.startswith(f"{ours}."):
        return (selector,)
    field = selector.removeprefix(f"{ours}.").partition(".")[0]
    return {"affected": ("affected",), "category": ("type",), "purposes": ("type",)}.get(field, ())


def _each(
    granular: Granular, handling: Mapping[str, Any], move: Callable[[str], Iterable[str]]
) -> tuple[Granular, Mapping[str, Any]]:
    marked = (
        (id_, tuple(dict.fromkeys(new for old in selected for new in move(old)))) for id_, selected in granular
    )
    granular = tuple((id_, selected) for id_, selected in marked if selected)
    if written := handling.get("personal"):
        personal: dict[str, str] = {}
        for old, technique in written.items():
            for new in move(old):
                personal[new] = _stronger(personal.get(new, technique), technique)
        handling = {name: value for name, value in handling.items() if name != "personal"}
        handling |= {"personal": personal} if personal else {}
    return granular, handling


def _stronger(one: str, other: str) -> str:
    """Of two that are equally strong neither does what the other is for."""
    if one != other and _STRENGTH[one] == _STRENGTH[other]:
        return "drop"
    return max(one, other, key=_STRENGTH.__getitem__)


def _moved(selector: str, places: Places) -> Iterator[str]:
    """The selectors of what one pointed at; the whole property where that is very many of its entries."""
    match = _entry(selector)
    name = match[1] if match else selector
    if name not in places:
        yield selector
    elif match is None:
        if any(places[name]):
            yield name
    elif int(match[2]) >= len(places[name]):
        yield selector
    elif len(now := places[name][int(match[2])]) > MAX_PLACES:
        yield name
    else:
        yield from (f"{name}.[{place}]" for place in now)


def of_labels(written: Sequence[str], kept: Sequence[str]) -> Sequence[Sequence[int]]:
    """Where the labels of an object stand among those that are no markings."""
    number = {label: place for place, label in enumerate(kept)}
    return [(number[text],) if (text := label.strip()) in number else () for label in written]


def of_references(
    written: Mapping[str, Any], kept: Iterable[tuple[str, str]]
) -> dict[str, Sequence[Sequence[int]]]:
    """Where the references of an object (id, or a list of ids, by property) stand among the pairs of both."""
    number: dict[str, dict[str, int]] = {name: {} for name in written}
    for name, id_ in kept:
        number[name][id_] = len(number[name])
    return {
        name: [(number[name][id_],) if id_ in number[name] else () for id_ in _listed(value)]
        for name, value in written.items()
    }


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else (value,)


def of_found(references: Sequence[tuple[str, Sequence[str]]], most: int) -> Places:
    """Where each reference stands once it is what it was found to stand for; nowhere beyond the first `most`."""
    places: dict[str, list[Sequence[int]]] = {}
    count: dict[str, int] = {}
    left = most
    for name, found in references:
        taken = min(len(found), left)
        left -= taken
        start = count.get(name, 0)
        count[name] = start + taken
        places.setdefault(name, []).append(range(start, start + taken))
    return places
