"""What the bench says at the end: percentiles, a table for people, a document for programs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

FORMAT = 1


class Figure(NamedTuple):
    """One measured value. `name` is its key in the document: words joined by dots, the unit in the last."""

    name: str
    value: float
    unit: str
    label: str
    note: str = ""


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` % are not above. NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def weighted_percentile(values: Sequence[tuple[float, int]], percent: float) -> float:
    """As `percentile`, where each (value, weight) stands for `weight` equal values."""
    wanted = percent / 100 * sum(weight for _, weight in values)
    reached = 0
    for value, weight in sorted(values):
        reached += weight
        if reached >= wanted:
            return value
    return math.nan


def number(value: float) -> str:
    """Three significant digits, thousands parted."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(figures: Sequence[Figure]) -> str:
    """One line a figure: what, value, unit, note."""
    rows = [(f.label, number(f.value), f.unit, f.note) for f in figures]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return "\n".join(
        f"{label:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}  {note}".rstrip()
        for label, value, unit, note in rows
    )


def document(
    *,
    at: str,
    machine: dict[str, Any],
    settings: dict[str, Any],
    figures: Sequence[Figure],
    problems: Sequence[str],
) -> dict[str, Any]:
    """The results as they are kept. With `problems` they are worth nothing, and say so in `valid`."""
    results: dict[str, Any] = {}
    for figure in figures:
        place = results
        *path, last = figure.name.split(".")
        for step in path:
            place = place.setdefault(step, {})
        place[last] = None if not math.isfinite(figure.value) else round(figure.value, 3)
    return {
        "format": FORMAT,
        "at": at,
        "valid": not problems,
        "problems": list(problems),
        "machine": machine,
        "settings": settings,
        "results": results,
    }
