"""What a warning list's name says of those on it.

MISP gives a list a name and, at most, a category; what follows from being on it is for the reader to know. The
table below is that knowledge. A list that nothing here names goes by its category.
"""

from __future__ import annotations

from typing import Final

NAMES: Final[tuple[tuple[str, str], ...]] = (
    # part of the list's name in lower case, and what being on the list means; the first that fits decides
    ("sinkhole", "sinkhole"),
    ("blockpage", "sinkhole"),
    ("dynamic dns", "dynamic-dns"),
    ("shortener", "url-shortener"),
    ("link in bio", "link-in-bio"),
    ("parking", "parking"),
    ("disposable email", "disposable-email"),
    ("vpn", "vpn"),
    ("gpt crawler", "scanner"),
    ("googlebot", "scanner"),
    ("scanning", "scanner"),
    ("scanner", "scanner"),
    ("tenable", "scanner"),
    ("attack simulator", "exercise"),
    ("eicar", "exercise"),
    ("public dns", "public-dns"),
    ("ipfs gateway", "shared-hosting"),
    ("trusted sites", "shared-hosting"),
    ("akamai", "shared-hosting"),
    ("cloudflare", "shared-hosting"),
    ("fastly", "shared-hosting"),
    ("stackpath", "shared-hosting"),
    ("zscaler", "shared-hosting"),
    ("ovh cluster", "shared-hosting"),
    ("github", "shared-hosting"),
    ("amazon aws", "cloud"),
    ("gcp", "cloud"),
    ("azure", "cloud"),
    ("rfc ", "special-use"),
    ("link local", "special-use"),
    ("top ", "popular"),
    ("benign", "benign"),
    ("empty files", "benign"),
    ("false positive", "benign"),
    ("false-positive", "benign"),
    ("known", "benign"),
    ("valid", "benign"),
    ("whitelist", "benign"),
    ("bank", "benign"),
    ("universit", "benign"),
    ("captive portal", "benign"),
    ("trusted c", "benign"),
    ("crl and ocsp", "benign"),
    ("common contact", "benign"),
)
CATEGORIES: Final = {"False positive": "benign", "Known identifier": "known"}
OTHERWISE: Final = "known"

LEFT_OUT: Final[tuple[tuple[str, str], ...]] = (
    ("tlds as known", "every domain ends in a suffix, so that it says nothing of a single one"),
    ("digitalside", "names whole hosting platforms by an aggregate of feeds that is no longer kept"),
    ("1,000,000", "a domain may be among a million by what its attackers send it"),
    ("1million", "a domain may be among a million by what its attackers send it"),
    ("top 20 000", "the first thousand say enough; further down are domains made for attacks"),
    ("top 10 000", "the first thousand say enough; further down are domains made for attacks"),
    ("top 10000", "the first thousand say enough; further down are domains made for attacks"),
    ("top 10k", "the first thousand say enough; further down are domains made for attacks"),
    ("top 5000", "the first thousand say enough; further down are domains made for attacks"),
    ("alexa", "was given up in 2022"),
)
"""Part of a list's name in lower case, and why the list is not used."""

NEVER_BLOCK: Final = frozenset(
    {"benign", "popular", "shared-hosting", "special-use", "url-shortener", "link-in-bio"}
)
"""Blocking what is listed would harm people who have nothing to do with the attack. (Not `public-dns`: of the tens
of thousands that MISP lists, most are somebody's open machine; the well-known ones are on a list of ours.)"""

PLACES_OF_OTHERS: Final = frozenset({"dynamic-dns", "shared-hosting", "url-shortener", "link-in-bio", "popular"})
"""What lies below such a host belongs to somebody else than the host, and can be blocked."""


def kind_of(name: str, category: str) -> str:
    """The kind of a list: by its name, else by its category as in CATEGORIES, else `known`."""
    lower = name.lower()
    return next((kind for part, kind in NAMES if part in lower), CATEGORIES.get(category, OTHERWISE))


def why_left_out(name: str) -> str:
    """Why a list of this name is not used; "" where it is."""
    lower = name.lower()
    return next((reason for part, reason in LEFT_OUT if part in lower), "")
