from __future__ import annotations

from typing import NamedTuple

from publicsuffixlist import PublicSuffixList

from services.enrich.domain import registrable_domain


class EnrichmentData(NamedTuple):
    suffixes: PublicSuffixList
    version: str = "0"


class Lookalike(NamedTuple):
    of: str
    distance: int
    how: str


class Warning(NamedTuple):
    list: str
    kind: str


class Context(NamedTuple):
    registrable_domain: str = ""
    lookalikes: tuple[Lookalike, ...] = ()
    country: str = ""
    asn: int | None = None
    as_name: str = ""
    warnings: tuple[Warning, ...] = ()
    do_not_block: bool = False
    protected: bool = False


def look(data: EnrichmentData, kind: str, value: str) -> Context:
    return Context(registrable_domain(data.suffixes, kind, value))
