"""MISP warning lists: values that are known for something, so that an indicator among them is likely an error.

The format is that of the project misp-warninglists (`schema.json` there): a name, a type, the MISP attribute types
that the list is for, and entries. Differences from MISP, all towards fewer false hits: a substring that is a host
name matches whole labels only; an entry of a `string` list that begins with a dot matches what lies below, as its
authors mean; a URL is matched by its host as well.
"""

from __future__ import annotations

import ipaddress
import re
from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.errors import Misconfigured, clip
from services.enrich.kinds import NEVER_BLOCK, PLACES_OF_OTHERS, kind_of, why_left_out

MAX_ENTRIES: Final = 250_000
MAX_ENTRY_CHARS: Final = 2_048
MAX_MATCHED_CHARS: Final = 1_024
MAX_PATTERNS: Final = 200
TYPES: Final = frozenset({"string", "hostname", "substring", "cidr", "regex"})
_GRAM: Final = 4
_HOST = re.compile(r"\.?[a-z0-9_-]+(?:\.[a-z0-9_-]+)+").fullmatch
_ALL_KINDS: Final = frozenset({""})
_ATTRIBUTE_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "domain": ("domain",),
    "hostname": ("domain",),
    "domain|ip": ("domain", "ipv4", "ipv6", "cidr"),
    "url": ("url",),
    "uri": ("url",),
    "link": ("url",),
    "AS": ("asn",),
    "whois-registrant-email": ("email",),
    "dns-soa-email": ("email",),
    "target-email": ("email",),
    "filename": ("file-name",),
}


class Warning(NamedTuple):
    """A list that the item is on; `kind` says what that means (see `services/enrich/kinds.py`)."""

    list: str
    kind: str


class WarningList(NamedTuple):
    """One list, read and checked. `kinds` are those of the indicators that it is for; {""} stands for all.
    `networks` of a `cidr` list are (version, first address, last address), and it has no other entries."""

    name: str
    kind: str
    type: str
    version: str
    kinds: frozenset[str]
    entries: tuple[str, ...]
    networks: tuple[tuple[int, int, int], ...] = ()

    @property
    def size(self) -> int:
        return len(self.entries) + len(self.networks)


class LeftOut(NamedTuple):
    """Something of the data that is not used, and why."""

    what: str
    reason: str


class Ranges(NamedTuple):
    """Address space cut where any list begins or ends: `lists[i]` hold from `starts[i]` on."""

    starts: Sequence[int]
    lists: Sequence[tuple[int, ...]]

    def at(self, address: int) -> tuple[int, ...]:
        place = bisect_right(self.starts, address) - 1
        return self.lists[place] if place >= 0 else ()


class WarningIndex(NamedTuple):
    """All lists, for looking up; numbers are places in `lists`."""

    lists: tuple[WarningList, ...]  # without their entries
    exact: Mapping[str, tuple[int, ...]]
    suffixes: Mapping[str, tuple[int, ...]]
    below: Mapping[str, tuple[int, ...]]
    grams: Mapping[str, tuple[tuple[str, int], ...]]
    patterns: tuple[tuple[re.Pattern[str], int], ...]
    ipv4: Ranges
    ipv6: Ranges


class Hits(NamedTuple):
    warnings: tuple[Warning, ...]
    do_not_block: bool


NO_HITS: Final = Hits((), False)


# -- reading ----------------------------------------------------------------------------------------------


def read_list(document: Any, where: str) -> WarningList:
    """One list from its JSON; raises `Misconfigured` saying which key is wrong."""

    def wrong(key: str, what: str) -> Misconfigured:
        return Misconfigured(
            "warninglist-invalid",
            f"{key}: {what}",
            where=where,
            hint="take the list as misp-warninglists publishes it",
        )

    if not isinstance(document, dict):
        raise wrong("(document)", "this is no JSON object")
    name, type_, entries = document.get("name"), document.get("type"), document.get("list")
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        raise wrong("name", "must be a text of at most 200 characters")
    if not isinstance(type_, str) or type_ not in TYPES:
        raise wrong("type", f"is {clip(type_)}, and not one of {', '.join(sorted(TYPES))}")
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise wrong("list", f"must be an array of at most {MAX_ENTRIES:,} entries")
    networks = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, str) or not 0 < len(entry) <= MAX_ENTRY_CHARS:
            raise wrong(f"list/{number}", f"must be a text of 1 to {MAX_ENTRY_CHARS} characters")
        if type_ == "cidr":
            if (network := _network(entry)) is None:
                raise wrong(f"list/{number}", f"{clip(entry)} is no network")
            networks.append(network)
    attributes = document.get("matching_attributes", [])
    if not isinstance(attributes, list) or not all(isinstance(each, str) for each in attributes):
        raise wrong("matching_attributes", "must be an array of texts")
    kinds = frozenset(kind for each in attributes for kind in _kinds(each)) if attributes else _ALL_KINDS
    return WarningList(
        name=name,
        kind=kind_of(name, str(document.get("category", ""))),
        type=type_,
        version=str(document.get("version", ""))[:40],
        kinds=kinds,
        entries=() if networks else tuple(entries),
        networks=tuple(networks),
    )


def _kinds(attribute: str) -> tuple[str, ...]:
    if attribute.startswith(("ip-src", "ip-dst")):
        return ("ipv4", "ipv6", "cidr")
    if attribute.startswith("email-"):
        return ("email",)
    if attribute.startswith("x509-fingerprint-"):
        return (f"cert-{attribute.removeprefix('x509-fingerprint-')}",)
    return _ATTRIBUTE_KINDS.get(attribute, (attribute.removeprefix("filename|"),))


def _network(entry: str) -> tuple[int, int, int] | None:
    """Version, first and last address."""
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
    return network.version, int(network.network_address), int(network.broadcast_address)


# -- indexing ---------------------------------------------------------------------------------------------


def index(lists: Iterable[WarningList]) -> tuple[WarningIndex, tuple[LeftOut, ...]]:
    """Everything for looking up, and what was left out of it. Of two lists of one name the later one counts."""
    by_name = {each.name: each for each in lists}
    left_out = [LeftOut(name, reason) for name in by_name if (reason := why_left_out(name))]
    used = [each for name, each in sorted(by_name.items()) if not why_left_out(name)]
    exact: dict[str, list[int]] = defaultdict(list)
    suffixes: dict[str, list[int]] = defaultdict(list)
    below: dict[str, list[int]] = defaultdict(list)
    grams: dict[str, list[tuple[str, int]]] = defaultdict(list)
    patterns: list[tuple[re.Pattern[str], int]] = []
    networks: dict[int, list[tuple[int, int, int]]] = {4: [], 6: []}
    unused: Counter[tuple[str, str]] = Counter()
    for number, each in enumerate(used):
        for version, first, last in each.networks:
            networks[version].append((first, last, number))
        for entry in each.entries:
            if each.type == "regex":
                if (reason := _why_no_pattern(entry, len(patterns))) or (pattern := _compiled(entry)) is None:
                    unused[each.name, reason or "it is no regular expression"] += 1
                else:
                    patterns.append((pattern, number))
            elif each.type == "hostname" or (each.type == "substring" and _HOST(entry.lower())):
                suffixes[entry.lower().lstrip(".")].append(number)
            elif each.type == "substring":
                if len(entry) < _GRAM:
                    unused[each.name, f"it has fewer than {_GRAM} characters"] += 1
                else:
                    grams[entry[:_GRAM].lower()].append((entry.lower(), number))
            elif entry.startswith(".") and _HOST(entry.lower()):
                below[entry[1:].lower()].append(number)
            else:
                exact[entry.lower()].append(number)
    left_out += [LeftOut(f"{n} of {name}", f"each: {reason}") for (name, reason), n in sorted(unused.items())]
    return WarningIndex(
        lists=tuple(each._replace(entries=(), networks=()) for each in used),
        exact=_shared(exact),
        suffixes=_shared(suffixes),
        below=_shared(below),
        grams={gram: tuple(found) for gram, found in grams.items()},
        patterns=tuple(patterns),
        ipv4=_ranges(networks[4], array("Q")),
        ipv6=_ranges(networks[6], []),
    ), tuple(left_out)


def _shared(found: Mapping[str, list[int]]) -> dict[str, tuple[int, ...]]:
    """Most entries are on the same few combinations of lists: each is kept once."""
    kept: dict[tuple[int, ...], tuple[int, ...]] = {}
    return {key: kept.setdefault(t, t) for key, numbers in found.items() if (t := tuple(sorted(set(numbers))))}


def _ranges(networks: list[tuple[int, int, int]], starts: Any) -> Ranges:
    """Sweeps over all beginnings and ends once."""
    events = sorted([(first, 0, n) for first, _, n in networks] + [(last + 1, 1, n) for _, last, n in networks])
    kept: dict[tuple[int, ...], tuple[int, ...]] = {}
    open_: dict[int, int] = defaultdict(int)
    lists: list[tuple[int, ...]] = []
    for place, (at, ends, number) in enumerate(events):
        open_[number] += -1 if ends else 1
        if not open_[number]:
            del open_[number]
        if place + 1 == len(events) or events[place + 1][0] != at:
            numbers = tuple(sorted(open_))
            starts.append(at)
            lists.append(kept.setdefault(numbers, numbers))
    return Ranges(starts, lists)


_GROUP = re.compile(r"\(\?|\\[0-9]|\\k|\)[*+?{]")
_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]")
_REPEAT = re.compile(r"(?:[*+?]|\{[0-9]*,?[0-9]*\})[?+]?")


def _why_no_pattern(entry: str, so_many: int) -> str:
    """Why a regular expression is not used; "" for one that takes time at most in the square of a short text.

    Only a plain kind is taken: one choice, be it a repetition of one character or class (`?` and `{3}` count) or
    a group of alternatives; no group repeated, no back-reference, no look-around. Choices one after the other
    multiply, so that whatever is beyond that may backtrack without bound.
    """
    if so_many >= MAX_PATTERNS:
        return f"more than {MAX_PATTERNS} regular expressions"
    bare = _CLASS.sub("x", entry)
    choices = len(_REPEAT.findall(bare)) + (bare.count("(") if "|" in bare else 0)
    if _GROUP.search(entry) or choices > 1:
        return "it can backtrack: chooses more than once, repeats a group, or refers back"
    return ""


def _compiled(entry: str) -> re.Pattern[str] | None:
    body, flags = entry, re.ASCII
    if entry.startswith("/") and (end := entry.rfind("/")) > 0:
        body = entry[1:end]
        flags |= re.IGNORECASE if "i" in entry[end:] else re.ASCII
    try:
        return re.compile(body, flags)
    except (re.error, OverflowError, RecursionError, ValueError):
        return None


# -- looking up -------------------------------------------------------------------------------------------


def warned(lists: WarningIndex, kind: str, value: str, host: str, address: int | None, last: int | None) -> Hits:
    """The lists that an item is on.

    `host` is the host of a domain, URL or e-mail address, else "". `address` is that of an `ipv4` or `ipv6`, or of
    a URL's host; `last` the last one of a `cidr`, which is listed where both its ends are.
    """
    found: dict[int, bool] = {}  # whether the item itself is listed, rather than a host above it
    if address is not None:
        ranges = lists.ipv6 if kind == "ipv6" or ":" in (host or value) else lists.ipv4
        numbers = ranges.at(address)
        found = {n: True for n in numbers if last is None or n in ranges.at(last)}
    for key in (value, host) if host and host != value else (value,):
        for number in lists.exact.get(key, ()):
            found[number] = True
    if host:
        _look_above(lists, kind, host, found)
    if lists.grams or lists.patterns:
        for number in _contained(lists, value[:MAX_MATCHED_CHARS].lower()):
            found.setdefault(number, True)
    if not found:
        return NO_HITS
    warnings, harmful = [], False
    page = is_page(kind, value)
    for number, itself in sorted(found.items()):
        each = lists.lists[number]
        if "" in each.kinds or kind in each.kinds:
            warnings.append(Warning(each.name, each.kind))
            whole = itself or each.kind not in PLACES_OF_OTHERS
            harmful = harmful or (each.kind in NEVER_BLOCK and whole and not page)
    return Hits(tuple(warnings), harmful)


def is_page(kind: str, value: str) -> bool:
    """Whether an item is one page of a host, which can be blocked without the host."""
    return kind == "url" and value.partition("://")[2].partition("/")[2] != ""


def _look_above(lists: WarningIndex, kind: str, host: str, found: dict[int, bool]) -> None:
    """The host and each domain above it, the longest first; a hostile host of 127 labels costs 254 look-ups."""
    above, itself = host, True
    while above:
        for number in lists.suffixes.get(above, ()):
            found.setdefault(number, itself)
        for number in lists.below.get(above, ()):
            found.setdefault(number, itself)
        itself = False
        above = above.partition(".")[2]


def _contained(lists: WarningIndex, text: str) -> Iterator[int]:
    if lists.grams:
        for start in range(len(text) - _GRAM + 1):
            for entry, number in lists.grams.get(text[start : start + _GRAM], ()):
                if text.startswith(entry, start):
                    yield number
    for pattern, number in lists.patterns:
        if pattern.search(text[:320]):
            yield number
