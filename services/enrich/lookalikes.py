"""Domains that look like one of a protected list: what a phishing page for people of that list would be called.

Four ways, in the order in which they are looked for; each is known from the literature on squatting (Kintis et al.,
"Hiding in Plain Sight", CCS 2017, for combosquatting; Unicode Technical Standard 39 for homoglyphs):

    tld        the same name below another suffix                amnesty.example
    homoglyph  letters that look alike, IDN or not               arnnesty.example, аmnesty.example (Cyrillic а)
    edit       few letters added, left out, changed or swapped   amnetsy.example
    combo      the name beside other words                       amnesty-login.example, amnesty.org.lure.example

What is registered under the same domain as a protected one is never a look-alike.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

MAX_PROTECTED: Final = 5_000
MAX_FOUND: Final = 8
_MAX_LABELS: Final = 12
_MIN_HOMOGLYPH: Final = 4
_MIN_EDIT: Final = 5
_MIN_TWO_EDITS: Final = 10
_MIN_COMBO: Final = 4
_MIN_JOINED: Final = 6
_ALIKE: Final = str.maketrans({"0": "o", "1": "l", "3": "e", "4": "a", "5": "s", "7": "t", "i": "l"})
_LURES: Final = """
    account accounts alert app auth center check confirm download help id invite live login mail mobile official
    online password portal recover recovery secure security service services signin sso support team update
    verification verify web
"""
_LURING: Final = frozenset(_LURES.split())


class Lookalike(NamedTuple):
    """`of` the protected domain; `distance` in letters between the two names (Damerau-Levenshtein, restricted)."""

    of: str
    distance: int
    how: str


class Name(NamedTuple):
    """A protected domain's own label. An ordinary `word` (signal, apple) is no sign by itself: it counts below
    another suffix, by homoglyphs, and beside a word that lures (`signal-support`)."""

    label: str
    domain: str
    word: bool


class Protected(NamedTuple):
    """The protected list, for looking up. `confusables` maps a character to the Latin letter that it looks like."""

    domains: frozenset[str]
    by_label: Mapping[str, Name]
    by_skeleton: Mapping[str, Name]
    by_length: Mapping[int, tuple[str, ...]]
    joined_lengths: tuple[int, ...]
    confusables: Mapping[int, str]


def protect(names: Iterable[Name], confusables: Mapping[int, str]) -> Protected:
    """The index over the protected names; of two with one label the first stands for both."""
    by_label: dict[str, Name] = {}
    domains = set()
    for name in names:
        domains.add(name.domain)
        by_label.setdefault(name.label, name)
    by_length: dict[int, list[str]] = defaultdict(list)
    for label, name in by_label.items():
        if len(label) >= _MIN_EDIT and not name.word:
            for length in range(len(label) - 2, len(label) + 3):
                by_length[length].append(label)
    return Protected(
        domains=frozenset(domains),
        by_label=by_label,
        by_skeleton={skeleton(n.label): n for n in by_label.values() if len(n.label) >= _MIN_HOMOGLYPH},
        by_length={length: tuple(labels) for length, labels in by_length.items()},
        joined_lengths=tuple(
            sorted(
                {len(skeleton(n.label)) for n in by_label.values() if len(n.label) >= _MIN_JOINED and not n.word}
            )
        ),
        confusables=confusables,
    )


def skeleton(label: str) -> str:
    """A label with letters that look alike made one, so that those of look-alikes are equal."""
    plain = label.translate(_ALIKE)
    return plain.replace("rn", "m").replace("vv", "w") if "rn" in plain or "vv" in plain else plain


def lookalikes(protected: Protected, registrable: str, host: str) -> tuple[Lookalike, ...]:
    """The protected domains that a host resembles, the nearest first; at most `MAX_FOUND`."""
    if not registrable or registrable in protected.domains:
        return ()
    own = registrable.partition(".")[0]
    labels = host[: len(host) - len(registrable)].split(".")[:-1][-_MAX_LABELS:]
    found: dict[str, Lookalike] = {}
    _by_own_label(protected, own, found)
    for label in (own, *labels):
        for name in _combined(protected, label, label is own):
            near = Lookalike(name.domain, OSA.distance(_readable(label), name.label), "combo")
            found.setdefault(name.domain, near)
    if not found:
        return ()
    return tuple(sorted(found.values(), key=lambda each: (each.distance, each.of))[:MAX_FOUND])


def _by_own_label(protected: Protected, own: str, found: dict[str, Lookalike]) -> None:
    if same := protected.by_label.get(own):
        found[same.domain] = Lookalike(same.domain, 0, "tld")
        return
    seen = _readable(own)
    latin = _latin(protected, seen)
    if alike := protected.by_skeleton.get(skeleton(latin)):
        found[alike.domain] = Lookalike(alike.domain, OSA.distance(seen, alike.label), "homoglyph")
        return
    candidates = protected.by_length.get(len(latin))
    if candidates:
        for label, distance, _ in process.extract(
            latin, candidates, scorer=OSA.distance, score_cutoff=2, limit=MAX_FOUND
        ):
            if distance <= (2 if len(label) >= _MIN_TWO_EDITS else 1):
                domain = protected.by_label[label].domain
                found[domain] = Lookalike(domain, distance, "edit")


def _combined(protected: Protected, label: str, own: bool) -> list[Name]:
    """The names that are words of a label, or that it begins or ends with."""
    seen = _readable(label)
    latin = _latin(protected, seen)
    words = latin.split("-")
    if own and len(words) == 1 and len(latin) < _MIN_JOINED:
        return []
    found = []
    for word in words:
        plain = skeleton(word)
        if name := protected.by_skeleton.get(plain):
            if len(name.label) >= _MIN_COMBO and (not name.word or not _LURING.isdisjoint(words)):
                found.append(name)
            continue
        for length in protected.joined_lengths:
            if length >= len(plain):
                break
            name = protected.by_skeleton.get(plain[:length]) or protected.by_skeleton.get(plain[-length:])
            if name and not name.word and len(name.label) >= _MIN_JOINED:
                found.append(name)
    return found


def _latin(protected: Protected, seen: str) -> str:
    """A label with each character as the Latin letter that it looks like, without accents."""
    if seen.isascii():
        return seen
    plain = "".join(c for c in unicodedata.normalize("NFKD", seen) if not unicodedata.combining(c))
    return plain.translate(protected.confusables)


def _readable(label: str) -> str:
    """An A-label as people see it; a malformed one stays as it is."""
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, OverflowError):
        return label
