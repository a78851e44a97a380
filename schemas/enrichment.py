"""The property-extension under which leaves what the hub itself found out about an item (STIX 2.1 section 7.3).

It stands among the `extensions` of a copy, beside the handling; nothing in it is a source's word. Who does not know
it may ignore it (the object is valid and means the same without).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict, Unpack

ENRICHMENT_ID = "extension-definition--d2f30c6e-5b5b-4c1e-9a3f-6e0a4d1f7b82"


class Fields(TypedDict, total=False):
    """What can be said. Text is as it is to leave: nothing here looks at it."""

    score: int | None
    """0 to 100 when the copy was made."""
    score_parts: Iterable[tuple[str, int]]
    """Of what the score is made, in points, each name once."""
    registrable_domain: str
    lookalikes: Iterable[str]
    """What the name imitates, how, and at what distance: `bank.example (homoglyph, 1)`."""
    country: str
    """ISO 3166-1 alpha-2, of the address's network."""
    asn: int | None
    as_name: str
    warning_lists: Iterable[str]
    do_not_block: bool
    """To block it would do more harm than it does."""
    families: Iterable[str]
    vendors: Iterable[str]
    """Who sells what it belongs to."""
    techniques: Iterable[str]
    """Ids of MITRE ATT&CK."""
    active_until: str
    """A STIX timestamp: from then on it counts as out of use."""
    data_version: str
    """Of the local data that all this is from; by itself it says nothing."""


def extension(**fields: Unpack[Fields]) -> dict[str, Any]:
    """The entry for `extensions`, empty where nothing is known: equal findings in any order give equal bytes.

    Lists are sorted and without repetition. What is empty or false is left out (STIX has no empty lists, section
    2.12), a score of 0 is not. `score_parts` become a dictionary of name and points.
    """
    said = {name: plain for name, value in sorted(fields.items()) if not _is_empty(plain := _plain(value))}
    if not said.keys() - {"data_version"}:
        return {}
    return {ENRICHMENT_ID: {"extension_type": "property-extension", **said}}


def _plain(value: object) -> object:
    if isinstance(value, str | int) or not isinstance(value, Iterable):
        return value
    entries = sorted(set(value))
    return dict(entries) if entries and isinstance(entries[0], tuple) else entries


def _is_empty(value: object) -> bool:
    return value is None or value is False or value in ("", [])
