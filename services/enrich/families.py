"""Malware families, vendors of spyware and ATT&CK techniques that a source names in its own words.

Names are matched on whole words, the longest first, whatever stands between the words of a name (`Hacking Team`,
`HackingTeam`, `hacking-team`). What keeps prose from matching:

- A name of several words, or with a digit or a capital inside (`FlexiSPY`, `CarbonSteal`), is *distinct* and counts
  anywhere; so do the names in `vendors.toml`, but for those that it calls ordinary.
- Any other name may be an ordinary word (`Predator`, `Hermit`, `Falcon`). It counts where it is all that a text
  says, where one of COMPANY stands beside it (`Predator spyware`), or, for what a vendor sells, where a vendor is
  named in the same text (`Cytrox Predator`).
- What is in GENERIC names nothing, anywhere.

`states` are where a vendor is, or was, established, as published; never who used its product.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from schemas.errors import Misconfigured, clip

MAX_TEXT_CHARS: Final = 4_096
CATEGORIES: Final = frozenset({"spyware", "surveillance", "device-seizure", "phishing", "intrusion"})
_MAX_WORDS: Final = 5
_MIN_CHARS: Final = 3


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMPANY: Final = _set("""
    backdoor family implant malware rat spyware stalkerware surveillanceware trojan watchware
""")
GENERIC: Final = _set("""
    access agent android app application apt area attack backdoor banker bot botnet campaign cloud dropper edge elm
    exploit family generic group hacktool implant infostealer ios iphone linux loader mac macos malware mobile
    phishing ransomware rat remote rootkit server spy spyware stalkerware stealer surveillance system the tool
    trojan unknown unnamed utility virus watchware windows worm
""")
_WORDS = re.compile(r"[^\W_]+").findall
_TECHNIQUE = re.compile(r"(?<![A-Za-z0-9.])T[0-9]{4}(?:\.[0-9]{3})?(?![A-Za-z0-9])").findall
_INNER_CAPITAL = re.compile(r"[a-z][A-Z]|[0-9]").search


class Families(NamedTuple):
    """What a source's own words name, each sorted; `techniques` are ATT&CK ids, `states` ISO 3166-1 alpha-2,
    `categories` those of the hub that the families and vendors are of."""

    families: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


class Term(NamedTuple):
    """What one name stands for. `distinct` names count anywhere in a text."""

    distinct: bool
    family: str = ""
    vendor: str = ""
    technique: str = ""
    category: str = ""


class Vocabulary(NamedTuple):
    """All names, by their words run together; and the states of each vendor."""

    terms: Mapping[str, Term]
    states: Mapping[str, tuple[str, ...]]


NONE: Final = Families()


# -- reading ----------------------------------------------------------------------------------------------


class Names(NamedTuple):
    """What one file names: (name, what it stands for), and the states of its vendors."""

    terms: tuple[tuple[str, Term], ...]
    states: Mapping[str, tuple[str, ...]]


def read_vendors(document: Mapping[str, Any], where: str) -> Names:
    """Our own `vendors.toml`: `[[vendor]]`, each with `[[vendor.family]]`; `[[family]]` of no known vendor.

    Raises `Misconfigured` naming the table and key.
    """
    terms: list[tuple[str, Term]] = []
    states: dict[str, tuple[str, ...]] = {}

    def family(table: Mapping[str, Any], at: str, vendor: str, category: str) -> None:
        name, names = _names(table, at, where)
        terms.extend((n, Term(sure, family=name, vendor=vendor, category=category)) for n, sure in names)

    for number, table in enumerate(_tables(document, "vendor", where), 1):
        at = f"vendor {number}"
        name, names = _names(table, at, where)
        states[name] = tuple(sorted(_texts(table, "states", at, where)))
        if not all(re.fullmatch("[A-Z]{2}", state) for state in states[name]):
            raise _wrong(at, "states", "must be ISO 3166-1 codes of two capitals", where)
        category = _category(table, at, where)
        terms += [(n, Term(sure, vendor=name, category=category)) for n, sure in names]
        for place, inner in enumerate(_tables(table, "family", where), 1):
            family(inner, f"{at} family {place}", name, category)
    for number, table in enumerate(_tables(document, "family", where), 1):
        family(table, f"family {number}", "", _category(table, f"family {number}", where))
    return Names(tuple(terms), states)


def read_galaxy(document: Any, where: str) -> Names:
    """A cluster file of misp-galaxy: families, or vendors where its type is `surveillance-vendor`."""
    if not isinstance(document, dict) or not isinstance(document.get("values"), list):
        raise _wrong("(document)", "values", "must be an array: take the file from misp-galaxy's `clusters`", where)
    type_ = str(document.get("type", ""))
    category = {"stalkerware": "spyware", "surveillance-vendor": "surveillance"}.get(type_, "")
    terms: list[tuple[str, Term]] = []
    for number, value in enumerate(document["values"]):
        at = f"values/{number}"
        meta = value.get("meta") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(meta, dict | None):
            raise _wrong(at, "meta", "entry and `meta` must be objects", where)
        name = _text(value, "value", at, where)
        names = (name, *_texts(meta or {}, "synonyms", at, where))
        if type_ == "surveillance-vendor":
            terms += [(n, Term(_is_distinct(n), vendor=name, category=category)) for n in names]
            for product in _texts(meta or {}, "products", at, where):
                terms.append((product, Term(_is_distinct(product), family=product, vendor=name, category=category)))
        else:
            terms += [(n, Term(_is_distinct(n), family=name, category=category)) for n in names]
    return Names(tuple(terms), {})


def read_attack(document: Any, where: str) -> Names:
    """A STIX bundle of ATT&CK: software gives families, attack-patterns techniques; nothing that was revoked."""
    if not isinstance(document, dict) or not isinstance(document.get("objects"), list):
        raise _wrong("(document)", "objects", "must be an array: take a bundle of attack-stix-data", where)
    terms: list[tuple[str, Term]] = []
    for number, thing in enumerate(document["objects"]):
        if not isinstance(thing, dict) or thing.get("revoked") or thing.get("x_mitre_deprecated"):
            continue
        at = f"objects/{number}"
        if thing.get("type") in ("malware", "tool"):
            name = _text(thing, "name", at, where)
            aliases = _texts(thing, "x_mitre_aliases", at, where)
            terms += [(each, Term(_is_distinct(each), family=name)) for each in dict.fromkeys((name, *aliases))]
        elif thing.get("type") == "attack-pattern":
            name = _text(thing, "name", at, where)
            references = thing.get("external_references", [])
            if not isinstance(references, list):
                raise _wrong(at, "external_references", "must be an array", where)
            references = [r for r in references if isinstance(r, dict)]
            ids = [r.get("external_id") for r in references if r.get("source_name") == "mitre-attack"]
            terms += [(name, Term(_is_distinct(name), technique=id_)) for id_ in ids[:1] if isinstance(id_, str)]
    return Names(tuple(terms), {})


def _wrong(at: str, key: str, what: str, where: str) -> Misconfigured:
    return Misconfigured(
        "names-invalid", f"{at}: {key}: {what}", where=where, hint="mend it, or leave the file out"
    )


def _tables(document: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    tables = document.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _wrong("(document)", key, f"write [[{key}]]", where)
    return tables


def _text(table: Mapping[str, Any], key: str, at: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise _wrong(at, key, f"must be a text of at most 200 characters, not {clip(value, 40)}", where)
    return value.strip()


def _texts(table: Mapping[str, Any], key: str, at: str, where: str) -> list[str]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _wrong(at, key, "must be an array of texts", where)
    return [value for value in values if len(value) <= 200]


def _names(table: Mapping[str, Any], at: str, where: str) -> tuple[str, list[tuple[str, bool]]]:
    """The name of a vendor or family, and all its names with whether each is distinct.

    Each vendor and family must say where it was published.
    """
    name = _text(table, "name", at, where)
    if not _text(table, "source", at, where).startswith("https://"):
        raise _wrong(at, "source", "must be the https address of what was published", where)
    ordinary = _texts(table, "ordinary", at, where)
    return name, [(each, each not in ordinary) for each in (name, *_texts(table, "names", at, where))]


def _category(table: Mapping[str, Any], at: str, where: str) -> str:
    category = table.get("category", "spyware")
    if not isinstance(category, str) or category not in CATEGORIES:
        raise _wrong(at, "category", f"must be one of {', '.join(sorted(CATEGORIES))}", where)
    return category


def _is_distinct(name: str) -> bool:
    words = _WORDS(name)
    return len(words) > 1 or bool(_INNER_CAPITAL(name))


# -- putting together -------------------------------------------------------------------------------------


def vocabulary(sources: Iterable[Names]) -> Vocabulary:
    """All names of all files; of two that name the same, the earlier file says what it stands for."""
    terms: dict[str, Term] = {}
    states: dict[str, tuple[str, ...]] = {}
    for source in sources:
        states = {**source.states, **states}
        for name, term in source.terms:
            words = [word.lower() for word in _WORDS(name)]
            key = "".join(words)
            if len(words) <= _MAX_WORDS and len(key) >= _MIN_CHARS and not GENERIC.issuperset(words):
                terms.setdefault(key, term)
    return Vocabulary(terms, states)


# -- finding ----------------------------------------------------------------------------------------------


def find(vocabulary: Vocabulary, words: Iterable[str]) -> Families:
    """What texts name; of all of them together the first `MAX_TEXT_CHARS` are read."""
    terms: set[Term] = set()
    techniques: set[str] = set()
    left = MAX_TEXT_CHARS
    for text in words:
        if left <= 0:
            break
        text = text[:left]
        left -= len(text)
        techniques.update(_TECHNIQUE(text))
        terms.update(_terms(vocabulary, text))
    if not (terms or techniques):
        return NONE
    vendors = {term.vendor for term in terms}
    return Families(
        families=_sorted(term.family for term in terms),
        vendors=_sorted(vendors),
        techniques=_sorted([*techniques, *(term.technique for term in terms)]),
        states=_sorted(state for vendor in vendors for state in vocabulary.states.get(vendor, ())),
        categories=_sorted(term.category for term in terms),
    )


def _sorted(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*found} - {""}))


def _terms(vocabulary: Vocabulary, text: str) -> list[Term]:
    """The terms of one text that count."""
    words = [word.lower() for word in _WORDS(text)]
    whole = vocabulary.terms.get("".join(words)) if len(words) <= _MAX_WORDS else None
    if whole:
        return [whole]
    sure: list[Term] = []
    unsure: list[Term] = []
    place = 0
    while place < len(words):
        length, term = _longest(vocabulary, words, place)
        if term:
            beside = words[max(0, place - 1) : place] + words[place + length : place + length + 1]
            certain = term.distinct or not COMPANY.isdisjoint(beside)
            (sure if certain else unsure).append(term)
        place += length
    named = {term.vendor for term in unsure if not term.family} & {term.vendor for term in unsure if term.family}
    by_vendor = any(term.vendor for term in sure)
    return sure + [t for t in unsure if t.vendor and (t.vendor in named or (t.family and by_vendor))]


def _longest(vocabulary: Vocabulary, words: list[str], place: int) -> tuple[int, Term | None]:
    for length in range(min(_MAX_WORDS, len(words) - place), 0, -1):
        if term := vocabulary.terms.get("".join(words[place : place + length])):
            return length, term
    return 1, None
