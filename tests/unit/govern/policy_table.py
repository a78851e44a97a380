"""The table of cases of the sharing policy, and how its cases are run with rules other than those in force."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from schemas.fingerprint import Ioc
from services.enrich.context import EnrichmentData
from services.policy_cases import Row, Table, read_table, run
from tests.unit.govern.world import DATA

FIXTURES = Path(__file__).parents[2] / "fixtures" / "policy"


def _is_ours(ioc: Ioc) -> bool:
    return ioc.value == "ours.example"


PROTECTING = DATA._replace(protects=_is_ours)
FILES: dict[str, EnrichmentData] = {"cases.json": DATA, "protected.json": PROTECTING}
"""Each table with the data of enrichment that it is decided with."""


@cache
def table(file: str) -> Table:
    return read_table((FIXTURES / file).read_bytes(), file)


def failures(*only: str) -> Iterator[Row]:
    """What fails of the cases with these names; of all, where none is named."""
    for file, data in FILES.items():
        whole = table(file)
        cases = tuple(case for case in whole.cases if not only or case.name in only)
        if cases:
            yield from (row for row in run(whole.model_copy(update={"cases": cases}), data) if not row.passed)
