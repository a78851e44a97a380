"""Made-up data of enrichment for tests."""

from __future__ import annotations

from services.enrich.assets import nothing_protected
from services.enrich.context import EnrichmentData
from services.enrich.domain import suffix_list
from services.enrich.families import vocabulary
from services.enrich.lookalikes import protect
from services.enrich.warninglists import index

SUFFIXES = suffix_list()
EMPTY = EnrichmentData(
    version="made-up",
    suffixes=SUFFIXES,
    protected=protect([], {}),
    warnings=index([])[0],
    vocabulary=vocabulary([]),
    locate=None,
    protects=nothing_protected,
)


def data(**parts: object) -> EnrichmentData:
    """Empty data with some parts given."""
    return EMPTY._replace(**parts)  # type: ignore[arg-type]
