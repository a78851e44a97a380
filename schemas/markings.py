"""TLP and PAP markings: known by pinned id, never by the body that came with the id.

STIX defines no precedence among markings; here the strictest wins (deploy/policy.md, "Markings").
The ids of TLP 1.0 are those of STIX 2.1 section 7.2.1.4, the ids and bodies of TLP 2.0 those of the OASIS
extension definition for TLP 2.0. The ids of PAP are this project's own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID, uuid5

PREFIX = "marking-definition--"
TLP2_EXTENSION = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"


class Tlp(IntEnum):
    """Traffic Light Protocol 2.0, in rising strictness; `label` is the name in agreements and file formats."""

    CLEAR = 1
    GREEN = 2
    AMBER = 3
    AMBER_STRICT = 4
    RED = 5

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", "+")


class Pap(IntEnum):
    """Permissible Actions Protocol, in rising strictness."""

    CLEAR = 1
    GREEN = 2
    AMBER = 3
    RED = 4

    @property
    def label(self) -> str:
        return self.name.lower()


Level = Tlp | Pap

_TLP2 = {
    Tlp.CLEAR: PREFIX + "94868c89-83c2-464b-929b-a1a8aa3c8487",
    Tlp.GREEN: PREFIX + "bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    Tlp.AMBER: PREFIX + "55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    Tlp.AMBER_STRICT: PREFIX + "939a9414-2ddd-4d32-a0cd-375ea402b003",
    Tlp.RED: PREFIX + "e828b379-4e03-4974-9ac4-e53a884c97c1",
}
_TLP1 = {
    Tlp.CLEAR: PREFIX + "613f2e26-407d-48c7-9eca-b8e91df99dc9",
    Tlp.GREEN: PREFIX + "34098fce-860f-48ae-8e50-ebd3cc5e41da",
    Tlp.AMBER: PREFIX + "f88d31f6-486f-44da-b317-01333bde0b82",
    Tlp.RED: PREFIX + "5e57c739-391a-4eb3-b6be-7d15ca92d5ed",
}
_PAP = {
    Pap.CLEAR: PREFIX + "97529925-13ba-4a9f-9b10-e6aec550172c",
    Pap.GREEN: PREFIX + "66ee1b7d-0097-4e5d-a561-22ee53b9c77f",
    Pap.AMBER: PREFIX + "f0590427-e66d-4822-a44e-c5fb382cfab9",
    Pap.RED: PREFIX + "95048e7c-b1bb-4d67-ad78-980513895578",
}

TLP1_LEVELS: Mapping[str, str] = MappingProxyType(
    {id_: "white" if level is Tlp.CLEAR else level.label for level, id_ in _TLP1.items()}
)
"""The ids of STIX's own TLP marking definitions, and the word that their bodies must hold."""

PINNED: Mapping[str, Level] = MappingProxyType(
    {id_: level for table in (_TLP2, _TLP1) for level, id_ in table.items()}
    | {id_: level for level, id_ in _PAP.items()}
)

STATEMENT = "statement"
SHIPPED: Mapping[str, str] = MappingProxyType(
    {
        PREFIX + "fa42a846-8d90-4e51-bc29-71d5b4802168": STATEMENT,  # MITRE's terms of use
        PREFIX + "826578e1-40ad-459f-bc73-ede076f81f37": "amber+strict",  # OpenCTI
    }
)
"""Markings that much-used feeds carry; the form of the policy file's `[markings]`."""

_LEVELS: Mapping[str, Level] = MappingProxyType(
    {level.label: level for level in Tlp}
    | {f"tlp:{level.label}": level for level in Tlp}
    | {"white": Tlp.CLEAR, "tlp:white": Tlp.CLEAR}
    | {f"pap:{level.label}": level for level in Pap}
    | {"pap:white": Pap.CLEAR}
)

_HIDDEN = "\0"  # stands for what a reader can't see: it may part two words, and may stand within one
_SCHEME = r"(?<![a-z0-9])(?:t\0*l\0*p|p\0*a\0*p)"
_LEVEL_WORD = r"[^a-z0-9]{0,8}(?:white|clear|green|amber|red)(?![a-z0-9])"
_mentions_level = re.compile(_SCHEME + _LEVEL_WORD).search
_mentions = re.compile(rf"{_SCHEME}(?:[\s\0]*[:=_-]|{_LEVEL_WORD})").search
_words = re.compile(r"[a-z0-9]+").findall
_FILLERS = frozenset("\u115f\u1160\u2800")  # letters and symbols by category, and yet nothing to be seen

_UNKNOWN = UUID("5a2f7d0e-6b0c-4c0b-9b53-0f7d0f4a8e36")  # namespace of ids of tags that name no known level


class Resolved(NamedTuple):
    """What a set of markings amounts to: the strictest levels, statements, and ids that nobody knows."""

    tlp: Tlp | None
    pap: Pap | None
    statements: tuple[str, ...]
    unresolved: tuple[str, ...]


def resolve(ids: Iterable[str], extra: Mapping[str, str] = SHIPPED) -> Resolved:
    """The strictest TLP and PAP among `ids`.

    `extra` maps further ids, with or without `marking-definition--`, to a level (`green`, `pap:amber`) or to
    `statement`. It can't change the meaning of a pinned id; a level that it misspells leaves its id unresolved.
    """
    tlp: Tlp | None = None
    pap: Pap | None = None
    statements: list[str] = []
    unresolved: list[str] = []
    for id_ in ids:
        level = pinned(id_) or _extra_level(id_, extra)
        if isinstance(level, Tlp):
            tlp = level if tlp is None else max(tlp, level)
        elif isinstance(level, Pap):
            pap = level if pap is None else max(pap, level)
        else:
            (statements if level == STATEMENT else unresolved).append(id_)
    return Resolved(tlp, pap, tuple(statements), tuple(unresolved))


def pinned(id_: str) -> Level | None:
    """The level whose id this is: hexadecimal digits may come in either case (RFC 9562 section 4)."""
    return PINNED.get(id_) or PINNED.get(id_.lower())


def _extra_level(id_: str, extra: Mapping[str, str]) -> Level | str | None:
    spellings = (id_, id_.removeprefix(PREFIX), id_.lower(), id_.lower().removeprefix(PREFIX))
    word = next((extra[spelling] for spelling in spellings if spelling in extra), "")
    return STATEMENT if word == STATEMENT else level_named(word)


def level_named(word: str) -> Level | None:
    """The level of `green`, `tlp:green` or `pap:green`, in any case; None where there is none."""
    return _LEVELS.get(word.lower())


def marking_id(level: Level) -> str:
    """The id under which a level leaves the hub (TLP: that of TLP 2.0)."""
    return _TLP2[level] if isinstance(level, Tlp) else _PAP[level]


def from_tag(tag: str) -> str | None:
    """The marking that a tag or label `tlp:…` or `PAP:…` is; None for a tag that speaks of neither.

    One that is not wholly one known level (`tlp:mauve`, `[TLP:RED]`, `not tlp:red`) becomes an id that nothing
    resolves, so that the item is denied.
    """
    text = _plain(tag)
    if not _mentions(text):
        return None
    scheme, _, word = text.replace(_HIDDEN, "").partition(":")
    level = _LEVELS.get(f"{scheme.strip()}:{word.strip()}")
    return _unknown(text) if level is None else marking_id(level)


def from_cell(scheme: str, cell: str) -> str | None:
    """The marking in a cell of a column that holds `tlp` or `pap`; None where the cell is empty."""
    text = _plain(cell).replace(_HIDDEN, "").strip()
    if not text:
        return None
    named = text if text.startswith(f"{scheme}:") else f"{scheme}:{text}"
    return from_tag(named)


def speaks_of_markings(text: str) -> bool:
    """Whether TLP or PAP is spoken of in any way: true wherever `from_tag` gives a marking. Linear."""
    return _mentions(_plain(text)) is not None


def words_of(text: str) -> frozenset[str]:
    """The words of a name, of letters a to z and digits, as `from_tag` would read them."""
    return frozenset(_words(_plain(text).replace(_HIDDEN, "")))


def names_level(text: str) -> bool:
    """Whether a level of TLP or PAP is named somewhere in a text, whatever else is there."""
    return _mentions_level(_plain(text)) is not None


def _plain(text: str) -> str:
    """As a reader sees it, without case, width and accents; what can't be seen becomes `_HIDDEN`."""
    lower = text.lower()
    if lower.isascii() and lower.isprintable():
        return lower.strip()
    return lower.translate({ord(c): _seen(c) for c in set(lower) if not " " <= c <= "~"}).strip()


def _seen(character: str) -> str:
    if character.isspace():
        return " "
    return "".join(
        _HIDDEN if part in _FILLERS or unicodedata.category(part)[0] in "CM" else part
        for part in unicodedata.normalize("NFKD", character).casefold()
    )


def _unknown(tag: str) -> str:
    return f"{PREFIX}{uuid5(_UNKNOWN, tag)}"


def from_misp_distribution(distribution: str | int) -> str | None:
    """The marking that MISP's distribution stands for where no TLP tag does.

    0 (own organisation) and 4 (a sharing group) are AMBER+STRICT, and so is a value that MISP does not define;
    1, 2, 3 (communities, all) and 5 (that of the event) are no marking.
    """
    return None if str(distribution) in ("1", "2", "3", "5") else _TLP2[Tlp.AMBER_STRICT]


def definition(level: Level) -> dict[str, Any]:
    """The STIX 2.1 marking-definition that goes out beside objects which carry the marking."""
    name = f"{type(level).__name__.upper()}:{level.label.upper()}"
    marking: dict[str, Any] = {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": marking_id(level),
        "created": "2022-10-01T00:00:00.000Z",
        "name": name,
    }
    if isinstance(level, Tlp):
        fields = {"extension_type": "property-extension", "tlp_2_0": level.label}
        return marking | {"extensions": {TLP2_EXTENSION: fields}}
    return marking | {"definition_type": "statement", "definition": {"statement": name}}


def is_tlp1(body: Mapping[str, Any]) -> bool:
    """Whether a body with `definition_type` tlp is one of the four that STIX 2.1 section 7.2.1.4 prescribes."""
    word = TLP1_LEVELS.get(body["id"].lower())
    return (
        word is not None
        and body["definition"] == {"tlp": word}
        and body["created"] == "2017-01-20T00:00:00.000Z"
        and body.get("name", f"TLP:{word.upper()}") == f"TLP:{word.upper()}"
    )


def agrees(body: Mapping[str, Any]) -> bool:
    """Whether a marking-definition says what its id is known to mean; true where its id is not pinned."""
    level = pinned(body["id"])
    if level is None:
        return True
    if body["id"].lower() in TLP1_LEVELS:
        return "definition" not in body or is_tlp1(body)
    expected = definition(level)
    if isinstance(level, Tlp):
        extension = body.get("extensions", {}).get(TLP2_EXTENSION)
        return isinstance(extension, dict) and extension.get("tlp_2_0") == level.label
    return bool(body.get("definition") == expected["definition"])
