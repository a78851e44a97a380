"""Which fingerprints a person may mean who types an item's id, fingerprint, pattern, value or name. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from schemas import fingerprint as fp
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.objects import identify, key_of
from schemas.patterns import parse
from services.accept.names import alias_of

_hex_fingerprint = re.compile(r"[0-9a-f]{32}", re.IGNORECASE).fullmatch

READINGS: tuple[Callable[[str], Ioc | None], ...] = (
    fp.host,
    fp.url,
    fp.email,
    fp.file_hash,
    partial(fp.file_hash, certificate=True),
    fp.registry_key,
    fp.file_name,
    fp.ios_profile_id,
    fp.asn,
    fp.phone_number,
    fp.social_account,
    fp.crypto_address,
    fp.mac_address,
    fp.ja3,
    fp.ja3s,
    fp.ja4,
    fp.pdq,
    fp.tmk,
    *(partial(fp.verbatim, kind) for kind in fp.VERBATIM_KINDS),
)
"""All that a value without a kind can be; it costs less to look for each than to ask which was meant."""


_CLASSES = ("individual", "group", "system", "organization", "class", "unknown", "")
NAMED: tuple[Mapping[str, Any], ...] = (
    *({"type": "malware", "is_family": is_family} for is_family in (True, False)),
    *({"type": type_} for type_ in ("tool", "attack-pattern", "vulnerability")),
    *({"type": "identity", "identity_class": class_} for class_ in _CLASSES),
)
"""The objects that are known by a name, but for the name."""


def fingerprints(secret: bytes, text: str) -> set[bytes]:
    """Of what a value or a name can be. Bounded by the number of readings, and of alternatives in a pattern.

    Never raises. What is known by one of its source's ids is found by its alias, see `aliases`.
    """
    found = {fp.fingerprint(secret, ioc) for ioc in _iocs(text)} | set(_of_names(secret, text))
    return found | {bytes.fromhex(text)} if _hex_fingerprint(text) else found


def aliases(secret: bytes, text: str, sources: Iterable[str]) -> list[bytes]:
    """What the hub keeps in place of `text`, if it is an id that one of the sources gave."""
    return [alias_of(secret, source, text) for source in sources] if "--" in text else []


def _of_names(secret: bytes, text: str) -> Iterator[bytes]:
    external = {"source_name": "mitre-attack", "external_id": text}
    for body in NAMED:
        for said in ({"name": text}, {"name": text, "external_references": [external]}):
            with suppress(ItemRefused):
                yield key_of(secret, identify({**body, **said, "id": ""}, ""))


def _iocs(text: str) -> Iterator[Ioc]:
    for reading in READINGS:
        yield from _unless_refused(lambda reading=reading: filter(None, [reading(text)]))  # type: ignore[misc]
    if text.lstrip().startswith(("[", "(")):
        yield from _unless_refused(lambda: parse(text).identities)


def _unless_refused(read: Callable[[], Iterable[Ioc]]) -> Iterable[Ioc]:
    try:
        return list(read())
    except ItemRefused:
        return []
