"""The made-up partners of the bench, and who of them must get what: reckoned without the hub's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from schemas.markings import Tlp

LEVELS = {
    "clear": Tlp.CLEAR,
    "green": Tlp.GREEN,
    "amber": Tlp.AMBER,
    "amber+strict": Tlp.AMBER_STRICT,
    "red": Tlp.RED,
}


class Source(NamedTuple):
    """Who contributes, and what holds where an item says nothing."""

    id: str
    tlp: str
    published: bool
    confidence: int | None


class Receiver(NamedTuple):
    """Who receives, and up to what."""

    id: str
    kind: str
    controlled_by: tuple[str, ...]
    tlp: str
    onward: str
    max_age_days: int
    min_confidence: int


class Word(NamedTuple):
    """What decides about one source's word on one item. `own_tlp` is the item's own marking, if it has one."""

    source: Source
    own_tlp: Tlp | None
    age_days: float


SOURCES = (
    Source("alder", "clear", True, None),
    Source("birch", "green", False, 80),
    Source("cedar", "amber", False, None),
    Source("dogwood", "amber+strict", False, 60),
)
LONG, SHORT = 36_500, 90
_KINDS = (
    Receiver("everything", "ngo", (), "red", "none", LONG, 0),
    Receiver("amber", "platform", (), "amber", "none", LONG, 0),
    Receiver("green", "platform", (), "green", "clients", LONG, 0),
    Receiver("state-cert", "cert", ("XA",), "amber", "none", LONG, 0),
    Receiver("government", "government", ("XB",), "clear", "none", LONG, 0),
    Receiver("clear", "ngo", (), "clear", "none", LONG, 0),
    Receiver("strict", "ngo", (), "amber+strict", "none", LONG, 0),
    Receiver("community", "platform", (), "amber", "community", LONG, 0),
    Receiver("recent", "ngo", (), "green", "none", SHORT, 0),
    Receiver("confident", "platform", (), "red", "none", LONG, 50),
)


def receivers(count: int) -> list[Receiver]:
    """`count` partners: the ten kinds in turn."""
    return [
        kind._replace(id=f"{kind.id}-{1 + number // len(_KINDS)}")
        for number in range(count)
        for kind in [_KINDS[number % len(_KINDS)]]
    ]


def must_get(receiver: Receiver, words: Sequence[Word]) -> bool:
    """Whether at least one of the words on an item is for this partner, as its agreement says."""
    return any(_is_for(receiver, word) for word in words)


def _is_for(receiver: Receiver, word: Word) -> bool:
    level = LEVELS[word.source.tlp] if word.own_tlp is None else word.own_tlp
    if level > LEVELS[receiver.tlp] or word.age_days > receiver.max_age_days:
        return False
    if level is Tlp.AMBER_STRICT and receiver.onward != "none":
        return False
    if level is Tlp.AMBER and receiver.onward == "community":
        return False
    if receiver.min_confidence and (word.source.confidence or 0) < receiver.min_confidence:
        return False
    is_state = receiver.kind == "government" or bool(receiver.controlled_by)
    return not is_state or (level is Tlp.CLEAR and word.source.published)


def write_agreements(folder: Path, partners: Sequence[Receiver]) -> None:
    """One file for each source and each receiver."""
    folder.mkdir(parents=True)
    for source in SOURCES:
        (folder / f"{source.id}.toml").write_text(_source_text(source))
    for receiver in partners:
        (folder / f"{receiver.id}.toml").write_text(_receiver_text(receiver))


def _source_text(source: Source) -> str:
    defaults = [f'tlp = "{source.tlp}"', 'consent = "not-required"']
    if source.published:
        defaults.append("published = true")
    if source.confidence is not None:
        defaults.append(f"confidence = {source.confidence}")
    return (
        _partner(source.id, "ngo", ())
        + f'[contributes]\nreliability = "B"\ndefaults = {{ {", ".join(defaults)} }}\n'
    )


def _receiver_text(receiver: Receiver) -> str:
    lines = (
        "[receives]",
        f'tlp = "{receiver.tlp}"',
        'pap = "red"',
        f'onward = "{receiver.onward}"',
        'purposes = ["detect", "protect"]',
        'categories = ["*"]',
        f"max_age_days = {receiver.max_age_days}",
        f"min_confidence = {receiver.min_confidence}",
    )
    return _partner(receiver.id, receiver.kind, receiver.controlled_by) + "\n".join(lines) + "\n"


def _partner(id_: str, kind: str, controlled_by: Sequence[str]) -> str:
    lines = (
        "[partner]",
        f'id = "{id_}"',
        f'name = "{id_}"',
        f'kind = "{kind}"',
        'jurisdiction = "XN"',
        f"controlled_by = {orjson.dumps(controlled_by).decode()}",
        "starts = 2020-01-01",
        "ends = 2100-01-01",
    )
    return "\n".join(lines) + "\n\n"
