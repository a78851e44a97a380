"""What the bench sends: bundles of indicators in the shape of public feeds, every value made up. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from schemas import patterns
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.markings import Tlp, from_tag, marking_id
from schemas.timestamps import format_time
from tests.bench.partners import SOURCES, Source, Word

MAX_BUNDLE = 1_000
DUPLICATES = 0.25
DAY_MS = 86_400_000
YOUNG_DAYS, OLD_DAYS = 30, 400

_KEPT = ("name", "description", "indicator_types", "labels", "kill_chain_phases")


class Shape(NamedTuple):
    """An indicator as feeds have it: the properties that stay, and the value that is replaced."""

    properties: Mapping[str, Any]
    ioc: Ioc


class Item(NamedTuple):
    """One distinct value. `pattern` is what a partner's copy of it must say."""

    number: int
    pattern: str
    own_tlp: Tlp | None
    age_days: int
    properties: Mapping[str, Any]


class Bundle(NamedTuple):
    """One submission of one source: `size` indicators."""

    source: Source
    body: bytes
    size: int


@dataclass
class Sent:
    """What was sent, by the sources that sent it."""

    items: dict[int, Item] = field(default_factory=dict)
    sources: dict[int, set[Source]] = field(default_factory=dict)
    indicators: int = 0

    def words(self, number: int) -> list[Word]:
        item = self.items[number]
        return [Word(source, item.own_tlp, item.age_days) for source in self.sources[number]]


MADE_UP = tuple(
    Shape({"indicator_types": ["malicious-activity"], **more}, Ioc(kind, value))
    for kind, value, more in (
        ("domain", "login.mail-check.example", {}),
        ("domain", "cdn.update-service.example", {"name": "command and control"}),
        ("domain", "account-verification.example", {"labels": ["phishing"]}),
        ("domain", "xn--mnchen-3ya.example", {}),
        ("url", "https://portal.example/session/start?next=inbox", {}),
        ("ipv4", "192.0.2.10", {"description": "seen in redirections of messages to journalists"}),
        ("sha256", "0" * 64, {"name": "dropper"}),
        ("md5", "0" * 32, {}),
        ("email", "support@helpdesk.example", {}),
        ("file-name", "com.example.updater.plist", {}),
    )
)


def shapes_of(objects: Sequence[Mapping[str, Any]]) -> list[Shape]:
    """The shapes of those indicators that are one comparison whose value can be replaced by one of its kind."""
    found: list[Shape] = []
    for thing in objects:
        if thing.get("type") != "indicator" or not patterns.is_simple(str(thing.get("pattern", ""))):
            continue
        try:
            iocs = patterns.parse(thing["pattern"], "2.0").iocs
        except ItemRefused:
            continue
        if len(iocs) == 1 and _can_change(iocs[0]):
            kept = {name: thing[name] for name in _KEPT if name in thing}
            if "labels" in kept:
                kept["labels"] = [label for label in kept["labels"] if from_tag(label) is None] or ["unknown"]
            found.append(Shape(kept, iocs[0]))
    return found


def _can_change(ioc: Ioc) -> bool:
    changed = _changed(ioc, 123_456)
    return len(changed.value) < 250 and patterns.parse(patterns.generate(changed)).iocs == (changed,)


def _changed(ioc: Ioc, number: int) -> Ioc:
    """Another value of the same kind and about the same length, for each number another."""
    kind, value = ioc
    match kind:
        case "ipv4":
            changed = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        case "ipv6":
            changed = f"2001:db8::{1 + (number >> 16):x}:{1 + (number & 0xFFFF):x}"
        case "md5" | "sha1" | "sha256" | "sha512":
            changed = hashlib.sha512(b"%d" % number).hexdigest()[: len(value)]
        case "domain":
            changed = f"h{number}.{value}"
        case "url":
            changed = f"{value}{'&' if '?' in value else '?'}n={number}"
        case "email":
            changed = f"n{number}.{value}"
        case _:
            changed = f"{value}.{number}"
    return Ioc(kind, changed)


class Feeds:
    """An endless supply of bundles: the same seed and clock give the same ones. What was taken is in `sent`."""

    def __init__(self, shapes: Sequence[Shape], now_ms: int, seed: int = 1) -> None:
        self._shapes = shapes
        self._now_ms = now_ms
        self._random = Random(seed)
        self._next = 0
        self.sent = Sent()

    def bundles(self, total: int) -> Iterator[Bundle]:
        """Bundles of 1 to 1,000 indicators (even on a scale of logarithms), in all `total`, of all sources."""
        while total > 0:
            count = min(total, round(math.exp(self._random.uniform(0, math.log(MAX_BUNDLE)))))
            total -= count
            yield self.bundle(self._random.choice(SOURCES), count)

    def bundle(self, source: Source, count: int) -> Bundle:
        objects = [self._indicator(source) for _ in range(count)]
        body = {"type": "bundle", "id": self._id("bundle"), "objects": objects}
        return Bundle(source, orjson.dumps(body), count)

    def _indicator(self, source: Source) -> dict[str, Any]:
        item = self._again() if self._next and self._random.random() < DUPLICATES else self._new()
        self.sent.indicators += 1
        self.sent.sources.setdefault(item.number, set()).add(source)
        at = format_time(self._now_ms - item.age_days * DAY_MS)
        stix: dict[str, Any] = {
            "type": "indicator",
            "spec_version": "2.1",
            "id": self._id("indicator"),
            "created": at,
            "modified": at,
            **item.properties,
            "pattern": item.pattern,
            "pattern_type": "stix",
            "pattern_version": "2.1",
            "valid_from": at,
        }
        if item.own_tlp is not None:
            stix["object_marking_refs"] = [marking_id(item.own_tlp)]
        return stix

    def _again(self) -> Item:
        return self.sent.items[self._random.randrange(self._next)]

    def _new(self) -> Item:
        number = self._next
        self._next += 1
        shape = self._shapes[(number * 7919) % len(self._shapes)]
        item = Item(
            number=number,
            pattern=patterns.generate(_changed(shape.ioc, number)),
            own_tlp=Tlp.AMBER if number % 10 == 7 else None,
            age_days=OLD_DAYS if number % 4 == 3 else YOUNG_DAYS,
            properties=shape.properties,
        )
        self.sent.items[number] = item
        return item

    def _id(self, kind: str) -> str:
        return f"{kind}--{UUID(int=self._random.getrandbits(128), version=4)}"
