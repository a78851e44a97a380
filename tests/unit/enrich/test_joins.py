"""What joins an item with others, and what joins nothing because many share it."""

from __future__ import annotations

from typing import Any

import pytest

from services.enrich.context import Context, Warning
from services.enrich.families import Families
from services.enrich.joins import by_value, by_word
from tests.unit.govern.world import contribution


@pytest.mark.parametrize(
    ("context", "joins"),
    [
        (Context(), []),
        (Context(registrable_domain="evil.example"), [("domain", "evil.example")]),
        (Context("host.example", warnings=(Warning("Hosting", "shared-hosting"),)), []),
        (Context("host.example", warnings=(Warning("Dynamic", "dynamic-dns"),)), []),
        (Context("host.example", warnings=(Warning("Links", "url-shortener"),)), []),
        (Context("host.example", warnings=(Warning("Holes", "sinkhole"),)), [("domain", "host.example")]),
        (Context(asn=64500), []),
    ],
)
def test_by_value(context: Context, joins: list[tuple[str, str]]) -> None:
    assert list(by_value(context)) == joins


@pytest.mark.parametrize(
    ("fields", "families", "asn", "joins"),
    [
        ({}, (), 64500, []),
        ({}, ("Predator",), None, []),
        ({}, ("Predator",), 64500, [("asn-kit", "AS64500 Predator")]),
        ({"labels": ("phishing-kit: Sixteen Shop",)}, (), 64500, [("asn-kit", "AS64500 sixteen shop")]),
        ({"labels": ("Kit=pot", "kit=pot")}, (), 64500, [("asn-kit", "AS64500 pot")]),
        ({"labels": ("kitchen: sink", "kit:")}, (), 64500, []),
        ({"joins": (("report", "r"), ("certificate", "c"))}, (), None, [("report", "r"), ("certificate", "c")]),
    ],
)
def test_by_word(
    fields: dict[str, Any], families: tuple[str, ...], asn: int | None, joins: list[tuple[str, str]]
) -> None:
    word = contribution(**fields)
    assert list(by_word(word, Families(families=families), Context(asn=asn))) == joins
