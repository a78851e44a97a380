"""Where an address is, by databases in MaxMind's format (MaxMind DB File Format Specification 2.0).

They are read from memory and by the reader in Python alone: the one in C ends the whole process on some damaged
files, and a mapped file that is cut short while it is read does so too. Whatever a look-up stumbles on is no place.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import maxminddb
from maxminddb.decoder import Decoder

from schemas.errors import Misconfigured, clip
from services.enrich.context import Place

MAX_NODES_TRIED: Final = 100_000
MAX_RECORDS_TRIED: Final = 1_000
MAX_RECORD_CHARS: Final = 20_000
"""Of what a record is as text; those of cities, in eight languages, have 3,000."""
MAX_ASN: Final = 2**32 - 1
_MARKER: Final = b"\xab\xcd\xefMaxMind.com"
_SEPARATOR_BYTES: Final = 16


def read_database(data: bytes, where: str) -> maxminddb.Reader:
    """A database, opened and tried: a sample of its tree leads to records, and those can be read.

    Raises `Misconfigured` where it is none, or is damaged in what was tried.
    """
    try:
        reader = maxminddb.open_database(io.BytesIO(data), maxminddb.MODE_FD)
        if complaint := _try(reader.metadata(), data):
            raise maxminddb.InvalidDatabaseError(complaint)
    except Exception as error:  # damaged metadata raise whatever their values do: TypeError, ValueError …
        raise Misconfigured(
            "database-invalid",
            clip(error, 160) or type(error).__name__,
            where=where,
            hint="fetch it again: it is no MMDB file, or a damaged one",
        ) from None
    return reader


def _try(metadata: Any, data: bytes) -> str:
    """What is wrong with a sample of the tree; "" for nothing. Its time is bounded, whatever the database is."""
    if metadata.ip_version not in (4, 6):
        return f"addresses of version {clip(metadata.ip_version, 20)}"
    nodes, first = metadata.node_count, metadata.search_tree_size + _SEPARATOR_BYTES
    end = data.rfind(_MARKER)
    decoder = Decoder(data, first)
    tried: set[int] = set()
    for record in _sample(data, nodes, metadata.record_size):
        place = record - nodes + metadata.search_tree_size
        if record <= nodes or place in tried:
            continue
        if not first <= place < end:
            return "its tree leads out of its data"
        if len(tried) < MAX_RECORDS_TRIED:
            tried.add(place)
            found, _ = decoder.decode(place)
            if len(repr(found)) > MAX_RECORD_CHARS:
                return f"a record has more than {MAX_RECORD_CHARS:,} characters"
    return ""


def _sample(tree: bytes, nodes: int, bits: int) -> Iterator[int]:
    """Both records of every node, or of `MAX_NODES_TRIED` all over the tree; a record has 24, 28 or 32 bits."""
    step = bits // 4
    for node in range(0, nodes, nodes // MAX_NODES_TRIED + 1):
        both = int.from_bytes(tree[node * step : (node + 1) * step], "big")
        left, right = both >> bits, both & ((1 << bits) - 1)
        if bits == 28:  # the byte in the middle has the highest four bits of both
            left, right = (both >> 32) | ((both >> 28 & 0xF) << 24), both & 0xFFFFFFF
        yield from (left, right)


def locator(readers: Sequence[maxminddb.Reader]) -> Callable[[str], Place]:
    """Asks the databases: GeoLite2, DB-IP and IPinfo name their fields differently, and all are understood."""

    def locate(address: str) -> Place:
        merged: dict[str, Any] = {}
        for reader in readers:
            try:
                found = reader.get(address)
            except Exception:  # an IPv6 address in a database of IPv4; damage that no sample showed  # noqa: S112
                continue
            if isinstance(found, dict):
                merged.update(found)
        return _place(merged)

    return locate


def _place(found: dict[str, Any]) -> Place:
    country = found.get("country") or found.get("registered_country") or found.get("country_code") or ""
    if isinstance(country, dict):
        country = country.get("iso_code", "")
    number = found.get("autonomous_system_number", found.get("asn"))
    digits = str(number or "").upper().removeprefix("AS")
    name = found.get("autonomous_system_organization") or found.get("as_name") or found.get("name") or ""
    return Place(
        country=str(country) if len(str(country)) == 2 else "",
        asn=_asn(digits),
        as_name=str(name)[:200],
    )


def _asn(digits: str) -> int | None:
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None
    return number if number is not None and number <= MAX_ASN else None
