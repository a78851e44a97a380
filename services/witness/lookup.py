"""Which fingerprints a person may mean who types an item's id, fingerprint, pattern or value. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from schemas import fingerprint as fp
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.patterns import parse

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


def fingerprints(secret: bytes, text: str) -> set[bytes]:
    """Bounded by the number of readings, and of alternatives in a pattern. Never raises."""
    found = {fp.fingerprint(secret, ioc) for ioc in _iocs(text)}
    return found | {bytes.fromhex(text)} if _hex_fingerprint(text) else found


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
