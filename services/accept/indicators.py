"""Indicators from formats that are not STIX: the STIX 2.1 object and the draft around one IoC."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas import fingerprint, patterns
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.fingerprint_people import CURRENCIES, PLATFORMS, account, address_of
from schemas.markings import from_tag
from schemas.patterns import Parsed
from schemas.timestamps import format_time
from services.accept.reading import Draft

MAX_TAGS = 100
MAX_TAG_CHARS = 1_000


class Word(NamedTuple):
    """What a source says about an indicator beside its value; times in ms since 1970, None where not said."""

    id: str = ""
    created_ms: int | None = None
    modified_ms: int | None = None
    first_seen_ms: int | None = None
    last_seen_ms: int | None = None
    confidence: int | None = None
    description: str = ""
    markings: tuple[str, ...] = ()
    handling: Mapping[str, Any] = {}
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    event: str = ""
    joins: tuple[tuple[str, str], ...] = ()


def drafts(pointer: str, parsed: Parsed, word: Word, now_ms: int) -> list[Draft]:
    """One draft for each IoC. Where the source gave no time, it is the time of receipt."""
    pairs = dict(zip(parsed.iocs, parsed.identities, strict=True))
    return [_draft(pointer, ioc, identity, word, now_ms) for ioc, identity in pairs.items()]


def _draft(pointer: str, ioc: Ioc, identity: Ioc, word: Word, now_ms: int) -> Draft:
    created_ms = _first(word.created_ms, word.modified_ms, now_ms)
    modified_ms = max(created_ms, _first(word.modified_ms, created_ms))
    first_seen_ms = _first(word.first_seen_ms, created_ms)
    # a list of what was seen may be older than its last sighting, and newer than its first
    last_seen_ms = max(first_seen_ms, _first(word.last_seen_ms, modified_ms))
    return Draft(
        pointer=pointer,
        kind=ioc.kind,
        value=ioc.value,
        identity=identity,
        type="indicator",
        object=_object(ioc, word, created_ms, modified_ms, first_seen_ms),
        created_ms=created_ms,
        modified_ms=modified_ms,
        first_seen_ms=first_seen_ms,
        last_seen_ms=last_seen_ms,
        markings=word.markings,
        handling=word.handling,
        labels=word.labels,
        notes=word.notes,
        event=word.event,
        joins=word.joins,
    )


def _first(*times: int | None) -> int:
    return next(time for time in times if time is not None)


def _object(ioc: Ioc, word: Word, created_ms: int, modified_ms: int, first_seen_ms: int) -> dict[str, Any]:
    stix: dict[str, Any] = {
        "type": "indicator",
        "spec_version": "2.1",
        "created": format_time(created_ms),
        "modified": format_time(modified_ms),
        "pattern": patterns.generate(ioc),
        "pattern_type": "stix",
        "valid_from": format_time(first_seen_ms),
    }
    if word.id:
        stix["id"] = word.id
    if word.confidence is not None:
        stix["confidence"] = word.confidence
    if word.description:
        stix["description"] = word.description
    return stix


def split_tags(tags: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(markings, labels): those tags that are TLP or PAP, as marking ids, and the others as they are.

    Raises `ItemRefused` where they are too many or too long: none may be passed over, it could be a marking.
    """
    if len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG_CHARS for tag in tags):
        raise ItemRefused(
            "too-many-tags",
            f"{MAX_TAGS} tags of {MAX_TAG_CHARS:,} characters are the most that one item may have",
            hint="leave some out",
        )
    markings: dict[str, None] = {}
    labels: dict[str, None] = {}
    for tag in dict.fromkeys(tags):
        if marking := from_tag(tag):
            markings[marking] = None
        elif tag.strip():
            labels[tag.strip()] = None
    return tuple(markings), tuple(labels)


_certificate_hash = partial(fingerprint.file_hash, certificate=True)
_KINDS: Mapping[str, Callable[[str], Ioc | None]] = MappingProxyType(
    {
        **dict.fromkeys(("ipv4", "ipv6", "ip", "cidr", "ip-address", "ipv4-addr", "ipv6-addr"), fingerprint.host),
        **dict.fromkeys(("domain-name", "host", "fqdn"), fingerprint.host),
        "uri": fingerprint.url,
        "email-addr": fingerprint.email,
        **dict.fromkeys(("hash", "sha-1", "sha-256", "sha-512", "badhash"), fingerprint.file_hash),
        **dict.fromkeys(("cert-md5", "cert-sha1", "cert-sha256", "cert-sha512"), _certificate_hash),
        "file-name": fingerprint.file_name,
        "registry-key": fingerprint.registry_key,
        "ios-profile-id": fingerprint.ios_profile_id,
        "asn": fingerprint.asn,
        "phone": fingerprint.phone_number,
        "social-account": fingerprint.social_account,
        **dict.fromkeys(("crypto-address", "cryptocurrency-wallet"), fingerprint.crypto_address),
        **{name: partial(address_of, name) for name in CURRENCIES},
        **{f"{name}-{word}": partial(account, name) for name in PLATFORMS for word in ("account", "username")},
        **dict.fromkeys(("mac", "mac-addr"), fingerprint.mac_address),
        "ja3": fingerprint.ja3,
        "ja3s": fingerprint.ja3s,
        "ja4": fingerprint.ja4,
        **{kind: partial(fingerprint.verbatim, kind) for kind in fingerprint.VERBATIM_KINDS},
    }
)


def by_type(name: str, raw: str, parse: Callable[[str], Parsed]) -> Parsed:
    """The IoCs in a value whose type a source names, in MISP's words, in a feed's, or in the hub's own kinds.

    `parse` reads a value that is a STIX pattern. Raises `ItemRefused` where that does, and where a value is too
    long.
    """
    key = name.strip().lower()
    if rule := _KINDS.get(key):
        ioc = rule(raw)
        return Parsed((ioc,) if ioc else ())
    if key == "complex":
        return parse(raw)
    if key.startswith("other:"):
        # the parser says whether the name really is a path
        return parse(patterns.generate(Ioc(name.strip(), fingerprint.clean_text(raw))))
    return by_misp_type(name, raw)


def by_misp_type(name: str, raw: str) -> Parsed:
    """The IoCs in a MISP attribute: those of the types that identity is defined for, and no others."""
    return Parsed(tuple(fingerprint.from_type(name, raw)))
