from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from services.enrich.context import EnrichmentData


class Families(NamedTuple):
    families: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


def named(data: EnrichmentData, words: Iterable[str]) -> Families:
    return Families()
