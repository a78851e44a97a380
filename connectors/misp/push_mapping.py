"""From rows of a feed to what MISP's REST API takes: the attributes and events of `mapping`, one by one. Pure.

The uuid of an attribute is that of its STIX id, in the static feed and here, since a withdrawal tells no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from connectors.misp import mapping
from schemas.feed import FeedRow
from schemas.markings import Tlp, level_named
from schemas.timestamps import parse_time

_OWN_ORGANISATION, _THIS_COMMUNITY, _INHERIT = "0", "1", "5"
_OF_A_FILE = ("deleted", "disable_correlation")


class Attribute(NamedTuple):
    """One attribute as it is to be, and the uuid of the event that it belongs to."""

    event: str
    fields: Mapping[str, Any]

    @property
    def uuid(self) -> str:
        return str(self.fields["uuid"])


def attribute_uuid(row: FeedRow) -> str:
    return row.stix_id.partition("--")[2]


def attribute_of(row: FeedRow, partner: str) -> Attribute | None:
    """None where MISP has no attribute for such a row, or the row is a withdrawal."""
    fields = mapping.attribute(row) if row.live else None
    if fields is None or not fields["value"]:
        return None
    kept = {name: value for name, value in fields.items() if name not in _OF_A_FILE}
    return Attribute(mapping.event_uuid(partner, mapping.day(row)), {**kept, "distribution": _distribution(row)})


def _distribution(row: FeedRow) -> str:
    """Of an attribute: that of its event, but no wider than its TLP lets anybody pass it on. AMBER is not for other
    communities, and what is stricter, or not known, is for one organisation."""
    level = level_named(row.tlp)
    if not isinstance(level, Tlp) or level > Tlp.AMBER:
        return _OWN_ORGANISATION
    return _THIS_COMMUNITY if level == Tlp.AMBER else _INHERIT


def event_of(rows: Sequence[FeedRow], distribution: int, partner: str) -> dict[str, Any]:
    """The event of rows that share one, without its attributes. Whose it is MISP knows by the key."""
    day = mapping.day(rows[0])
    fields = mapping.event(partner, day, day, max(parse_time(row.modified) // 1_000 for row in rows))
    names = ("uuid", "info", "date", "threat_level_id", "analysis", "Tag")
    return {**{name: fields[name] for name in names}, "distribution": str(distribution), "published": False}
