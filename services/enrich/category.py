"""The threat category that a source's own labels speak of.

Sources say it in many vocabularies: STIX indicator and malware types, MISP galaxies, the taxonomies of RSIT,
CIRCL and Access Now. The table below maps words of their values to the hub's categories, strongest first.
What a source's handling states always comes before what is read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from services.enrich.families import Families

# in the order in which one label decides for the whole: what harms most first
WORDS: tuple[tuple[str, str], ...] = (
    ("spyware", "spyware"),
    ("stalkerware", "spyware"),
    ("mercenary", "spyware"),
    ("surveillance", "surveillance"),
    ("interception", "surveillance"),
    ("shutdown", "shutdown"),
    ("device-seizure", "device-seizure"),
    ("intimate", "intimate-media"),
    ("account-takeover", "account-takeover"),
    ("account-compromise", "account-takeover"),
    ("phishing", "phishing"),
    ("credential", "phishing"),
    ("ddos", "ddos"),
    ("denial-of-service", "ddos"),
    ("doxxing", "doxxing"),
    ("doxing", "doxxing"),
    ("harassment", "harassment"),
    ("defamation", "defamation"),
    ("impersonation", "impersonation"),
    ("censorship", "censorship"),
    ("blocking", "censorship"),
    ("intrusion", "intrusion"),
    ("remote-access-trojan", "intrusion"),
    ("backdoor", "intrusion"),
)
_SEPARATORS = re.compile(r"[^a-z0-9]+")


def category(labels: Iterable[str]) -> str:
    """The category that the labels speak of, or "" where none of them does."""
    text = "-".join(_SEPARATORS.sub("-", label.lower()[:200]) for label in labels)
    padded = f"-{text}-"
    return next((name for word, name in WORDS if f"-{word}-" in padded), "")


def category_of(labels: Iterable[str], families: Families) -> str:
    """The category that labels speak of, and the families and vendors that the source's words name."""
    return category([*families.categories, *labels])
