"""What a language has to say in a digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Texts(NamedTuple):
    """Labels and sentences. Numbers stand behind a label and a colon, so that no language needs plural forms."""

    language: str
    direction: Literal["ltr", "rtl"]
    subject: str
    """Seen by whoever carries the message: it says nothing of what is inside."""
    title: str
    listed: str
    """Says that the contents follow."""
    counted: str
    """Says that there are only numbers, and why."""
    new: str
    withdrawn: str
    urgent: str
    by_category: str
    at_once: str
    """Above what is urgent."""
    stop: str
    """Above what was withdrawn: what to do."""
    category: str
    confidence: str
    seen: str
    id: str
    not_listed: str
    handling: str
    automatic: str
    categories: Mapping[str, str]
    """Of every category of `schemas.handling`, and of none (the empty name)."""
