"""What local data say of an item, from its kind and value alone; nobody outside is asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from publicsuffixlist import PublicSuffixList

from schemas.fingerprint import Ioc
from services.enrich.domain import HOSTED_KINDS, host_of, registrable_domain
from services.enrich.families import Families, Vocabulary, find
from services.enrich.lookalikes import Lookalike, Protected, lookalikes
from services.enrich.warninglists import Hits, LeftOut, Warning, WarningIndex, is_page, warned


class Place(NamedTuple):
    """Where an address is, as a database of the operator's says."""

    country: str = ""
    asn: int | None = None
    as_name: str = ""


class DataSet(NamedTuple):
    """One set of data: `origin` a file or a package with its version; `changed_ms` 0 where it is not known."""

    name: str
    entries: int
    origin: str
    changed_ms: int


class EnrichmentData(NamedTuple):
    """All data of enrichment, indexed; the same `version` gives the same answers."""

    version: str
    suffixes: PublicSuffixList
    protected: Protected
    warnings: WarningIndex
    vocabulary: Vocabulary
    locate: Callable[[str], Place] | None
    protects: Callable[[Ioc], bool]
    sets: tuple[DataSet, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class Context(NamedTuple):
    """What is known of an item.

    What is known as benign has no look-alikes. `protected`: it is, or belongs to, what must never be shared.
    """

    registrable_domain: str = ""
    lookalikes: tuple[Lookalike, ...] = ()
    country: str = ""
    asn: int | None = None
    as_name: str = ""
    warnings: tuple[Warning, ...] = ()
    do_not_block: bool = False
    protected: bool = False


MAX_HOST_CHARS: Final = 253
"""RFC 1035 section 2.3.4: what is longer can't be looked up by anybody, and would cost the square of its length."""
NOWHERE = Place()
NAMED = Warning("protected names", "benign")
"""The warning that an item is of a protected name itself."""


def look(data: EnrichmentData, kind: str, value: str) -> Context:
    """What the data say of a canonical value; of an unknown or malformed one, nothing."""
    host = host_of(kind, value) if kind in HOSTED_KINDS else ""
    if len(host) > MAX_HOST_CHARS:
        host = ""
    domain = registrable_domain(data.suffixes, kind, value) if host else ""
    first, last = (None, None) if domain else _addresses(kind, value, host)
    hits = warned(data.warnings, kind, value, host, first, last)
    if domain in data.protected.domains and kind != "email":
        hits = Hits((*hits.warnings, NAMED), hits.do_not_block or not is_page(kind, value))
    benign = any(warning.kind == "benign" for warning in hits.warnings)
    place = NOWHERE
    if first is not None and data.locate:
        place = data.locate(host.strip("[]") or value.partition("/")[0])
    return Context(
        registrable_domain=domain,
        lookalikes=lookalikes(data.protected, domain, host) if domain and not benign else (),
        country=place.country,
        asn=place.asn if place.asn is not None or kind != "asn" else _number(value),
        as_name=place.as_name,
        warnings=hits.warnings,
        do_not_block=hits.do_not_block,
        protected=data.protects(Ioc(kind, value)),
    )


def named(data: EnrichmentData, words: Iterable[str]) -> Families:
    """The families, vendors and techniques that a source's own words name."""
    return find(data.vocabulary, words)


def _addresses(kind: str, value: str, host: str) -> tuple[int | None, int | None]:
    """The address of an item, or the first and last one of a network."""
    try:
        if kind == "cidr":
            network = ipaddress.ip_network(value, strict=False)
            return int(network.network_address), int(network.broadcast_address)
        if kind in ("ipv4", "ipv6") or host:
            return int(ipaddress.ip_address(host.strip("[]") or value)), None
    except ValueError:
        pass
    return None, None


def _number(value: str) -> int | None:
    digits = value.upper().removeprefix("AS")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None
