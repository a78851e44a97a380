"""Until when an item belongs into feeds of what is active. Pure.

That end takes nothing away: the item stays known, and whoever was sent it keeps it. A feed of active indicators is
for blocking, where what is out of use costs time and hits the next owner; who looks back at what happened on a
device asks for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

DAY_MS = 86_400_000


class Days(NamedTuple):
    """How many days after it was last seen: `places` are addresses and pages, `names` what is registered."""

    places: int
    names: int


PLACES = frozenset({"ipv4", "ipv6", "cidr", "url", "email-subject"})
NAMES = frozenset({"domain", "asn", "email", "user-account"})
"""All other kinds (hashes, certificates, names of files and apps, rules) describe what a thing is, and not where it
is now: that does not end."""

BY_CATEGORY: Mapping[str, Days] = MappingProxyType(
    {
        # 84 % of the pages are down after 4.5 days, the others last 12 on average (Lee and others, "7 Days Later",
        # WWW 2025); a name comes back with the next page, but seldom after a quarter
        "phishing": Days(30, 90),
        "account-takeover": Days(30, 90),
        "impersonation": Days(90, 180),
        # machines of others, that are cleaned up or move on
        "ddos": Days(14, 30),
        # built to last, reused against the next people, and found years later
        "spyware": Days(365, 1_095),
        "surveillance": Days(365, 1_095),
        "intrusion": Days(180, 730),
        # measured again as long as it goes on
        "censorship": Days(90, 180),
        "shutdown": Days(30, 90),
        # what was put up stays up until somebody has it taken down
        "doxxing": Days(365, 365),
        "harassment": Days(180, 365),
        "defamation": Days(365, 365),
        "intimate-media": Days(365, 365),
    }
)
"""By the category of `schemas.handling`."""
OTHER = Days(90, 365)


def active_until_ms(
    kind: str, category: str, last_seen_ms: int, valid_until_ms: Sequence[int | None]
) -> int | None:
    """The earlier of two ends, None where there is neither.

    One is of the sources, whose `valid_until_ms` has an entry for each contribution that the recipient may see: the
    latest, and none if one of them names none. The other is of the table, counted from when the item was last seen.
    """
    ends = [end for end in valid_until_ms if end is not None]
    stated = max(ends) if ends and len(ends) == len(valid_until_ms) else None
    days = _days(kind, category)
    if days is None:
        return stated
    faded = last_seen_ms + days * DAY_MS
    return faded if stated is None else min(stated, faded)


def _days(kind: str, category: str) -> int | None:
    of_category = BY_CATEGORY.get(category, OTHER)
    if kind in PLACES:
        return of_category.places
    return of_category.names if kind in NAMES else None
