"""What obligations do to one contribution: the copy that is left to be merged, and whether it can be made at all.

| technique | on | what is left |
|---|---|---|
| `drop` | anything | nothing |
| `generalise` | times | the first of the month, in UTC; ends of spans that may not be empty: of the next one |
| | `count`, `number_observed` | the lower bound of its band: 0, 1, 2 (to 9), 10 (to 99), 100 (to 999) … |
| | a part of a place, in a location | region and country |
| `pseudonymise` | texts | a placeholder, the same for the same text within one quarter (`schemas/outgoing.py`) |
| `host-only` | a URL pattern | a pattern of its host |
| | texts that are URLs | `https://host/`, if the host does not say whom the URL was made for |

What can't be generalised, pseudonymised or reduced to a host is dropped; where the type requires it, that is
`impossible`, and the rule that asks for it denies. Two techniques on one value, by itself and by what it lies in,
drop it. Whatever is asked of one end of a span, the other is generalised; of one part of a place, all finer parts
go. Nothing here recurses deeper than a document may be nested.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.known import Contribution
from schemas.outgoing import is_placeholder, pseudonym_placeholder
from schemas.patterns import generate
from schemas.patterns import parse as parse_pattern
from schemas.stix_rules import relation_faults
from schemas.stix_types import TYPES, StixType, custom_type
from schemas.stix_values import time, version_time
from schemas.timestamps import exact, format_time, parse_time
from services.enrich.context import Context
from services.govern import hosts
from services.govern.selectors import STRENGTH, Path, Unselectable, at, find, is_whole

AFFECTED: Final = "affected"
"""The one field of the handling that obligations name."""

_TIMES = frozenset({time, version_time})
_COUNTS = frozenset({"count", "number_observed"})
_FINER_THAN_A_COUNTRY = frozenset(
    {
        *("city", "street_address", "postal_code", "administrative_area", "latitude", "longitude", "precision"),
        *("name", "description"),
    }
)
_PLACES = _FINER_THAN_A_COUNTRY - {"name", "description"} | {"region", "country"}
_NO_NAMES = frozenset(
    {
        *("type", "spec_version", "id", "pattern", "pattern_type", "pattern_version", "lang", "relationship_type"),
        *("opinion", "context", "identity_class", "sectors", "resource_level", "primary_motivation", "url"),
        *("secondary_motivations", "personal_motivations", "sophistication", "region", "country", "hashes"),
        *("architecture_execution_envs", "implementation_languages", "capabilities", "infrastructure_types"),
    }
)
"""Vocabularies, URLs and what is computed: no pseudonym can stand there."""
_FIRST_SEEN = ("valid_from", "first_seen", "first_observed", "start_time")
_LAST_SEEN = ("last_seen", "last_observed", "stop_time")
_DATING = frozenset((*_FIRST_SEEN, *_LAST_SEEN, "created", "modified"))
_MIN_REPEATED_CHARS = 6
_MOST_SEARCHED_CHARS = 200_000_000


class Subject(NamedTuple):
    """What obligations are about: the item's type and identity, and the `whole` body of one contribution."""

    type: str
    kind: str
    value: str
    body: Mapping[str, Any]


class Redacted(NamedTuple):
    """A contribution without what was to go, and the indicator that it is of now, if that is another."""

    contribution: Contribution
    ioc: Ioc | None = None


class NotRedacted(ValueError):
    """The obligations can't be carried out on this. It has no text of the source in it."""


def whole(contribution: Contribution, affected: Iterable[str] | None) -> dict[str, Any]:
    """The body that selectors are meant for: the object with its references and with `affected`, where known.

    References are fingerprints in hex, "" for what the hub does not hold; positions in lists are as in
    `contribution.references`.
    """
    body = dict(contribution.object)
    lists: dict[str, list[str]] = {}
    for name, end in contribution.references:
        if name.endswith("_refs"):
            lists.setdefault(name, []).append(end)
        else:
            body[name] = end
    body |= lists
    if states := list(affected or ()):
        body[AFFECTED] = states
    return body


# --- whether it can be done -------------------------------------------------------------------------------------


def impossible(
    subject: Subject, selector: str, technique: str, personal: Collection[str], look: Callable[[Ioc], Context]
) -> bool:
    """Whether this obligation can't be carried out, so that the rule that asks for it has to deny.

    `personal` are the selectors of all that is personal in the object, `look` what local data say of an indicator.
    What `named` makes of several obligations is to be asked, not each of them: together they may empty a list.
    Raises `Unselectable`, and what `look` raises.
    """
    if technique != "deny" and technique not in STRENGTH:
        raise Unselectable("no such technique")
    path = find(subject.body, selector)
    if path is None or path[0] == AFFECTED:
        return technique == "deny" and path is not None
    if technique == "deny":
        return True
    name = str(path[0])
    stix_type = _type_of(subject.type)
    required = _required(subject, stix_type)
    if name == "pattern" and technique == "host-only":
        return not _has_host_alone(subject, personal, look)
    if name not in required and name not in stix_type.some_of and name not in _CONDITIONS.get(subject.type, ()):
        return False
    value = subject.body[name]
    if technique == "drop" and isinstance(value, list) and len(path) == 2:
        return len(value) == 1
    after = _reduced(subject, {selector: technique}, "", personal).body
    if (
        technique != "drop"
        and (name in required or isinstance(value, list))
        and _size(value) != _size(after.get(name))
    ):
        return True  # what is left of a list may be dropped by others
    return _is_unfit(subject, after)


_CONDITIONS: Final[Mapping[str, Collection[str]]] = {
    "malware": ("name",),
    "artifact": ("hashes",),
    "location": _FINER_THAN_A_COUNTRY,
}
"""What may be required for the sake of something else, see `schemas/stix_rules.py`."""


def _type_of(name: str) -> StixType:
    return TYPES.get(name) or custom_type(name, versioned=True)


def _required(subject: Subject, stix_type: StixType) -> frozenset[str]:
    """By the type, and of indicators what the hub writes itself."""
    made = {"pattern_version"} if subject.type == "indicator" and not subject.kind.startswith("pattern:") else set()
    return frozenset((*stix_type.required, "spec_version", *made))


def _is_unfit(subject: Subject, after: Mapping[str, Any]) -> bool:
    """Whether the body lacks what it had and its type asks for."""
    stix_type = _type_of(subject.type)
    before = subject.body
    if any(name in before and name not in after for name in _required(subject, stix_type)):
        return True
    if any(name not in after for name in stix_type.required):
        return False  # it never was an object of the type: what belongs together can't be asked
    faults = relation_faults(after, subject.type, stix_type)
    return any(faults) and not any(relation_faults(before, subject.type, stix_type))


def _has_host_alone(subject: Subject, personal: Iterable[str], look: Callable[[Ioc], Context]) -> bool:
    if subject.kind != "url":
        return False
    host, others = hosts.of_url(subject.value), _texts_at(subject.body, personal)
    if host is None or others is None or hosts.holds_personal(host, subject.value, others):
        return False
    return not hosts.is_shared(host, look)


def _texts_at(body: Mapping[str, Any], selectors: Iterable[str]) -> list[hosts.Said] | None:
    """The short texts that are selected, but for those that name nobody; None where too many are selected."""
    paths = dict.fromkeys(find(body, selector) for selector in selectors)
    selected = (
        text
        for path in paths
        if path and path[0] not in ("pattern", "id", AFFECTED) and not _is_reference(str(path[0]))
        for text in leaves(at(body, path))
    )
    texts = list(islice(selected, hosts.MAX_TEXTS + 1))
    if len(texts) > hosts.MAX_TEXTS:
        return None
    return [
        hosts.said(text)
        for text in dict.fromkeys(texts)
        if len(text) <= hosts.MAX_TEXT_CHARS and not is_placeholder(text) and not _is_time(text)
    ]


def _is_time(text: str) -> bool:
    try:
        parse_time(text)
    except ItemRefused:
        return False
    return True


def _is_reference(name: str) -> bool:
    return name.endswith(("_ref", "_refs"))


def _size(value: Any) -> int:
    """How many single values are in a value."""
    return sum(1 for _ in _singles(value))


# --- carrying it out on a body ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Asked:
    """What is asked of a value, and of what lies in it."""

    techniques: set[str] = field(default_factory=set)
    below: dict[str | int, _Asked] = field(default_factory=dict)


class _Body(NamedTuple):
    """A body that obligations were carried out on, and the properties that they touched."""

    body: dict[str, Any]
    touched: Mapping[str, _Asked]
    repeats: Callable[[str], bool] | None
    """Whether a text repeats what the pattern has lost, where it has lost something."""


_GONE: Final = object()
_ONLY_GENERALISE = frozenset({"generalise"})


def _reduced(subject: Subject, obligations: Mapping[str, str], epoch: str, personal: Iterable[str]) -> _Body:
    """`personal` selects the texts that no host may repeat."""
    stix_type = _type_of(subject.type)
    touched = _asked(subject.body, obligations)
    _take_along(subject, stix_type, touched)
    others = _texts_at(subject.body, personal) if "host-only" in obligations.values() else None
    work = _Work(subject, stix_type, epoch, others)
    body = {}
    for name, value in subject.body.items():
        after = work.property_(name, value, touched[name]) if name in touched else value
        if after is not _GONE:
            body[name] = after
    repeats = None
    if "pattern" in touched and subject.kind == "url":
        repeats = _repeats_of(subject.value)
        fixed = _required(subject, stix_type)
        left = ((name, value if name in fixed else _without(name, value, repeats)) for name, value in body.items())
        body = {name: value for name, value in left if value is not _GONE}
    return _Body(body, touched, repeats)


def _asked(body: Mapping[str, Any], obligations: Mapping[str, str]) -> dict[str, _Asked]:
    root = _Asked()
    for selector, technique in obligations.items():
        if technique not in STRENGTH:
            raise Unselectable("no such technique")
        path: Path | None = find(body, selector)
        if path is None or path[0] == AFFECTED:
            continue
        node = root
        for step in path:
            node = node.below.setdefault(step, _Asked())
        node.techniques.add(technique)
    return {str(name): node for name, node in root.below.items()}


def _take_along(subject: Subject, stix_type: StixType, touched: dict[str, _Asked]) -> None:
    """Adds what goes with what is asked: the other end of a span, all finer parts of a place."""

    def add(name: str, technique: str) -> None:
        if name in subject.body:
            touched.setdefault(name, _Asked()).techniques.add(technique)

    # whatever is asked of one: were it only for `generalise`, a `drop` on top of that would leave more of the other
    for order in stix_type.orders:
        for one, other in ((order.earlier, order.later), (order.later, order.earlier)):
            if one in touched:
                add(other, "generalise")
    if subject.type == "location" and not touched.keys().isdisjoint(_PLACES):
        for name in _FINER_THAN_A_COUNTRY:
            add(name, "drop")


class _Work(NamedTuple):
    """What is needed to carry out obligations on the properties of one subject."""

    subject: Subject
    type: StixType
    epoch: str
    others: list[hosts.Said] | None
    """The personal texts; None where no host can be compared with them."""

    def property_(self, name: str, value: Any, asked: _Asked) -> Any:
        """What is left of a property: what its type takes, or nothing."""
        if name == "pattern":
            return self._pattern(asked)
        after = self._part(name, name, value, asked, frozenset())
        check = self.type.checks.get(name)
        if after is _GONE or check is None or _is_reference(name):
            return after
        try:
            check(after)
        except ItemRefused:
            return _GONE
        return after

    def _pattern(self, asked: _Asked) -> Any:
        host = hosts.of_url(self.subject.value) if self.subject.kind == "url" else None
        return generate(host) if host and asked.techniques == {"host-only"} else _GONE

    def _part(self, property_: str, name: str, value: Any, asked: _Asked | None, held: frozenset[str]) -> Any:
        """What is left of a part of a property; `held` is what is asked of all that it lies in."""
        if asked is not None:
            held |= asked.techniques
        if "drop" in held:
            return _GONE
        below = asked.below if asked is not None else {}
        if not held and not below:
            return value
        if isinstance(value, dict):
            inside = name if name == "hashes" else ""
            parts = (
                (key, self._part(property_, inside or key, part, below.get(key), held))
                for key, part in value.items()
            )
            return {key: part for key, part in parts if part is not _GONE} or _GONE
        if isinstance(value, list):
            elements = [
                self._part(property_, name, part, below.get(place), held) for place, part in enumerate(value)
            ]
            return [element for element in elements if _stays(property_, element)] or _GONE
        return self._single(property_, name, value, held) if len(held) == 1 else _GONE

    def _single(self, property_: str, name: str, value: Any, held: frozenset[str]) -> Any:
        if _is_reference(property_):
            return _GONE
        if held == _ONLY_GENERALISE:
            return self._general(property_, value)
        if type(value) is not str:
            return _GONE
        if is_placeholder(value):
            return value
        if "host-only" in held:
            return (None if self.others is None else hosts.shown(value, self.others)) or _GONE
        is_name = not ({property_, name} & _NO_NAMES or property_.endswith("_types"))
        return pseudonym_placeholder(value, self.epoch) if is_name else _GONE

    def _general(self, name: str, value: Any) -> Any:
        if self.type.checks.get(name) in _TIMES:
            later = any(order.strict and order.later == name for order in self.type.orders)
            return _month(value, later) or _GONE
        if name in _COUNTS and type(value) is int and value >= 0:
            return band(value)
        if self.subject.type == "location" and name in _PLACES - _FINER_THAN_A_COUNTRY:
            return value
        return _GONE


def _stays(property_: str, element: Any) -> bool:
    return element is not _GONE and (not isinstance(element, dict) or is_whole(property_, element))


def band(count: int) -> int:
    """The lower bound of the band that a count is in: 0, 1, 2 (to 9), 10 (to 99), 100 (to 999) …"""
    return count if count < 2 else 2 if count < 10 else int("1" + "0" * (len(str(count)) - 1))


def month_start_ms(ms: int) -> int:
    """The beginning of the month of a time, in UTC."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1000


def _month(text: str, later: bool) -> str | None:
    """The beginning of the month, or, if `later`, of the next one unless it is one already."""
    try:
        ms = parse_time(text)
    except ItemRefused:
        return None
    start = format_time(month_start_ms(ms))
    if not later or exact(start) == exact(text):
        return start
    return format_time(month_start_ms(month_start_ms(ms) + 32 * 86_400_000))


def _without(name: str, value: Any, repeats: Callable[[str], bool]) -> Any:
    """A property without the texts that repeat what its object's pattern has lost."""
    if not any(map(repeats, leaves(value))):
        return value
    if isinstance(value, dict):
        kept = {key: after for key, part in value.items() if (after := _without("", part, repeats)) is not _GONE}
        return kept or _GONE
    if isinstance(value, list):
        elements = [_without("", part, repeats) for part in value]
        return [element for element in elements if _stays(name, element)] or _GONE
    return _GONE


def _repeats_of(value: str) -> Callable[[str], bool]:
    """Whether a text holds a URL, or all that followed its host, in the spellings that are usual."""
    authority, _, tail = value.partition("://")[2].partition("/")
    user, _, host = authority.rpartition("@")
    needles = {hosts.plain(f"{host}/{tail}")} if tail else set()
    needles |= {plain for part in (user, tail.strip("/")) if len(plain := hosts.plain(part)) >= _MIN_REPEATED_CHARS}

    def repeats(text: str) -> bool:
        plain = hosts.plain(text)
        return any(needle in plain for needle in needles)

    return repeats


# --- carrying it out on a contribution --------------------------------------------------------------------------


def carry_out(contribution: Contribution, subject: Subject, obligations: Mapping[str, str]) -> Redacted:
    """The contribution without what was to go; `ioc` is the host that a URL pattern was reduced to.

    All that is to be done to a copy is to be given at once, as `named` names it: selectors count elements as they
    are in `subject`, the contribution as its source gave it. To carry out the same again changes nothing.
    `affected`, markings and handling are left to the caller.

    Raises `Unselectable`, and `NotRedacted` where something is `impossible` or the subject is another's.
    """
    reduced = _reduced(subject, obligations, epoch_of(contribution.modified_ms), obligations)
    if not reduced.touched:
        return Redacted(contribution)
    if _is_unfit(subject, reduced.body):
        raise NotRedacted("the type requires what is to be dropped")
    if _bare(whole(contribution, ())) not in (_bare(subject.body), _bare(reduced.body)):
        raise NotRedacted("this is not the contribution that the obligations are for")
    body = reduced.body
    before = subject.body
    kept = {name: body[name] for name in contribution.object if name in body and name != AFFECTED}
    lost = _lost_labels(before, body)
    first_ms, last_ms = _seen(contribution, before, reduced)

    def stays(word: str) -> bool:
        return word.strip().casefold() not in lost and not (reduced.repeats and reduced.repeats(word))

    stands = all(before.get(name) == body.get(name) for name in ("name", "description"))
    context = contribution.context if stands and ("labels" in body or "labels" not in before) else ()
    update = {
        "object": kept,
        "created_ms": _version_ms(contribution.created_ms, reduced),
        "modified_ms": _version_ms(contribution.modified_ms, reduced),
        "first_seen_ms": first_ms,
        "last_seen_ms": last_ms,
        "labels": tuple(filter(stays, contribution.labels)),
        "references": _references(contribution, body),
        "context": tuple(filter(stays, context)),
        "joins": (),
    }
    ioc = hosts.of_url(subject.value) if "pattern" in reduced.touched else None
    return Redacted(contribution.model_copy(update=update), ioc)


def epoch_of(ms: int) -> str:
    """The quarter in which a pseudonym holds: `2026Q4`."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment.year}Q{(moment.month + 2) // 3}"


def _bare(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != AFFECTED}


def _lost_labels(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """The labels and words of its type that an object had, without case."""

    def words(body: Mapping[str, Any]) -> set[str]:
        lists = (value for name, value in body.items() if name == "labels" or name.endswith("_types"))
        return {text.strip().casefold() for value in lists for text in leaves(value)}

    return words(before) - words(after)


def _references(contribution: Contribution, body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    names = dict.fromkeys(name for name, _ in contribution.references)
    kept = ((name, body.get(name, ())) for name in names)
    return tuple((name, end) for name, ends in kept for end in ([ends] if isinstance(ends, str) else ends))


def _version_ms(ms: int, reduced: _Body) -> int:
    return month_start_ms(ms) if {"created", "modified"} & reduced.touched.keys() else ms


def _seen(contribution: Contribution, before: Mapping[str, Any], reduced: _Body) -> tuple[int, int]:
    """First and last seen (ms), where times are not as they were: of what is left, to the month."""
    touched = _DATING & reduced.touched.keys()
    first_ms, last_ms = contribution.first_seen_ms, contribution.last_seen_ms
    if not touched:
        return first_ms, last_ms
    if any(name in before and name not in reduced.body for name in touched):
        first_ms = _first_time(reduced.body, _FIRST_SEEN, contribution.created_ms)
        last_ms = max(first_ms, _first_time(reduced.body, _LAST_SEEN, contribution.modified_ms))
    return month_start_ms(first_ms), month_start_ms(last_ms)


def _first_time(body: Mapping[str, Any], names: Iterable[str], otherwise_ms: int) -> int:
    found = (body[name] for name in names if name in body)
    return next((parse_time(text) for text in found if isinstance(text, str) and _is_time(text)), otherwise_ms)


# --- what is gone -----------------------------------------------------------------------------------------------


def _singles(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend(reversed(part.values()))
        elif isinstance(part, list | tuple):
            waiting.extend(reversed(part))
        else:
            yield part


def leaves(value: Any) -> Iterator[str]:
    """All texts in a JSON value, in their order; names of properties are none."""
    return (part for part in _singles(value) if isinstance(part, str))


def withheld(before: Contribution, after: Contribution) -> set[str]:
    """The texts that are in the one and nowhere in the other, not even as part of a text: no copy may hold them.

    Of a pattern, the values that it names are among them. Short ones may be in a copy by chance. Where comparing
    would take long (`_MOST_SEARCHED_CHARS`), a part of a text does not count as left.
    """
    left = set(_said(after))
    gone = set(_said(before)) - left - {""}
    all_left = "\n".join(sorted(left))
    if len(gone) * len(all_left) > _MOST_SEARCHED_CHARS:
        return gone
    return {text for text in gone if text not in all_left}


def _said(contribution: Contribution) -> Iterator[str]:
    yield from leaves([contribution.object, contribution.labels, contribution.context, contribution.joins])
    yield from leaves([contribution.references, contribution.value])
    pattern = contribution.object.get("pattern")
    if isinstance(pattern, str) and contribution.object.get("pattern_type", "stix") == "stix":
        try:
            yield from (ioc.value for ioc in parse_pattern(pattern).iocs)
        except ItemRefused:
            return
