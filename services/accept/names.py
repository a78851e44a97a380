"""What items are called inside the hub, and what it knows of a source's ids. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from schemas.agreement import Agreement
from schemas.fingerprint import FINGERPRINT_BYTES, fingerprint, named_fingerprint
from services.accept.reading import Draft, Refusal

TRAVELLERS = ("sighting", "opinion", "note")
"""Types whose reports travel under the key of another item."""
LINKS = ("relationship", "sighting")
"""Types that are known by what they refer to."""

LIVE, REVOKED, DROPPED = range(3)
"""What became of an id: it names its items; it was revoked; the snapshots of its source hold its items no more."""


class Origin(NamedTuple):
    """What all items of a submission have in common; `feed` is the name of what was sent.

    `consent` stands for the consent under which it was sent, see `withdrawing.consent_of`.
    """

    submission: str
    source: str
    received_ms: int
    feed: str = ""
    consent: bytes | None = None


Name = bytes
"""An item by its fingerprint (16 bytes); before it, where it is another one, the key under which it travels.

Bytes, because there is one for each item of a submission, and what is no container costs the collector nothing.
"""


class Alias(NamedTuple):
    """What an id of a source names, as of the version of `modified_ms`; nothing where only its end is known."""

    names: tuple[Name, ...]
    type: str
    modified_ms: int
    state: int = LIVE


class Woken(NamedTuple):
    """An object that waited (the drafts of it, or why it can't be read any more), and where it came in.

    `by` is what stands for the ids for which it waited and that woke it.
    """

    place: tuple[int, int]
    origin: Origin
    pointer: str
    items: Sequence[Draft | Refusal]
    by: tuple[bytes, ...] = ()


class Known(NamedTuple):
    """What the hub knew of a source when it last looked.

    `seq` is the place of the source's last submission, None where nobody looked. `aliases` are by the source's
    ids, and only for those that were asked for; `alias_of` is what stands for an id, where it was made already.
    `others` are, by the items that may be withdrawn, what stands for the live ids that name them; `elsewhere`
    are those among them that other feeds of the source hold. `fed` are fingerprints by ids that the hub itself
    gave to this partner. `held` is what the last snapshot of this feed held, and whether another feed of the
    source holds it too, None where a submission is no snapshot; `feed` is the key of the feed then. It is `whole`
    unless it is only a part of one; `may_be_empty` where its source says that it means it.
    """

    seq: int | None = None
    aliases: Mapping[str, Alias] = MappingProxyType({})
    alias_of: Mapping[str, bytes] = MappingProxyType({})
    others: Mapping[Name, Sequence[bytes]] = MappingProxyType({})
    elsewhere: Collection[Name] = frozenset()
    fed: Mapping[str, bytes] = MappingProxyType({})
    woken: tuple[Woken, ...] = ()
    unwoken: Sequence[tuple[int, int]] = ()
    """Where objects wait of which this snapshot of their feed says nothing any more."""
    ripe: Sequence[tuple[int, int]] = ()
    """Where objects wait that would wake, if not so many did."""
    rested: Sequence[tuple[int, int]] = ()
    """Where those waited that were so before, and woke."""
    held: Mapping[Name, bool] | None = None
    feed: bytes = b""
    feed_name: str = ""
    whole: bool = True
    may_be_empty: bool = False


NOTHING = Known()


class Asking(NamedTuple):
    """Whose submission it is: `bit` is its number as a recipient, `feed` the name of what it sends.

    It is not `whole` where it is only a part of what its source sent; it `may_be_empty` where its source says so.
    """

    agreement: Agreement
    bit: int | None
    secret: bytes
    feed: str
    may_be_empty: bool = False
    whole: bool = True

    @property
    def snapshot(self) -> bool:
        return self.agreement.contributes is not None and self.agreement.contributes.snapshot


class Overtaken(Exception):
    """Another submission of the same source was stored since its ids were looked up: look again."""


class Gone(NamedTuple):
    """An item that the source holds no more; `type` is empty where nobody knows it."""

    name: Name
    type: str = ""


def name_of(key: bytes, identity: bytes) -> Name:
    return key if key == identity else key + identity


def key_of(name: Name) -> bytes:
    return name[:FINGERPRINT_BYTES]


def identity_of(name: Name) -> bytes:
    return name[-FINGERPRINT_BYTES:]


def own_name(secret: bytes, draft: Draft) -> Name:
    """The name of an item that is known by itself, and by nothing that it refers to."""
    if draft.identity:
        return fingerprint(secret, draft.identity)
    return named_fingerprint(secret, *(draft.parts or (draft.kind, draft.value)))


def as_bytes(names: Iterable[Name], type_: str) -> bytes:
    """Names of one object of a type as the table of aliases holds them."""
    if type_ in TRAVELLERS:
        return b"".join(key_of(name) + identity_of(name) for name in names)
    return b"".join(names)


def names_in(keys: bytes, type_: str) -> tuple[Name, ...]:
    """The names that `as_bytes` wrote."""
    parts = [keys[at : at + FINGERPRINT_BYTES] for at in range(0, len(keys), FINGERPRINT_BYTES)]
    return tuple(map(name_of, parts[::2], parts[1::2])) if type_ in TRAVELLERS else tuple(parts)


def alias_of(secret: bytes, source: str, id_: str) -> bytes:
    """What the hub keeps in place of an id of a source: 16 bytes."""
    return named_fingerprint(secret, "alias", source, id_)


def feed_of(secret: bytes, source: str, name: str) -> bytes:
    """What the hub keeps in place of the name of a source's feed: 16 bytes."""
    return named_fingerprint(secret, "feed", source, name)
