"""What joins an item with others into a campaign: registrable domain, ASN and kit, report, certificate.

What follows from the value alone holds for everyone; what follows from a source's words, for those who may see
that word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from schemas.known import Contribution
from services.enrich.context import Context
from services.enrich.families import Families

Join = tuple[str, str]
"""(kind, value): `domain`, `asn-kit`, `report` or `certificate`, and which one."""

SHARED_BY_MANY = frozenset({"shared-hosting", "dynamic-dns", "url-shortener", "cloud", "benign", "vpn", "cdn"})
"""Kinds of warning lists on what many unrelated people use: it joins nothing."""

_kit = re.compile(r"(?:phishing-|exploit-)?kit[:=_\- ]+([a-z0-9][a-z0-9 _.\-]{1,60})").fullmatch


def by_value(context: Context) -> Iterator[Join]:
    """The registrable domain, unless many share it."""
    if context.registrable_domain and not any(w.kind in SHARED_BY_MANY for w in context.warnings):
        yield "domain", context.registrable_domain


def by_word(word: Contribution, families: Families, context: Context) -> Iterator[Join]:
    """What a contribution's words join it by. A network alone joins nothing: many rent from it."""
    yield from word.joins
    if context.asn is not None:
        for kit in dict.fromkeys((*families.families, *_kits(word.labels))):
            yield "asn-kit", f"AS{context.asn} {kit}"


def _kits(labels: Iterable[str]) -> Iterator[str]:
    for label in labels:
        if found := _kit(label.lower()[:100]):
            yield found[1]
