"""Protected assets: people's own sites and accounts, which are never shared as indicators.

The list holds fingerprints under the hub's secret, so that the list itself tells nobody whom it protects.
A domain's protection covers all below it: subdomains, URLs, e-mail addresses; a URL's what lies below its path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from schemas.fingerprint import FINGERPRINT_BYTES, Ioc, fingerprint
from services.enrich.domain import HOSTED_KINDS, host_of

HEX_CHARS: Final = FINGERPRINT_BYTES * 2
_MAX_STEPS: Final = 10


def nothing_protected(ioc: Ioc) -> bool:
    """Where there is no list."""
    return False


def protection(secret: bytes, hashes: frozenset[bytes]) -> Callable[[Ioc], bool]:
    """Whether an item is protected, or belongs to what is."""

    def protects(ioc: Ioc) -> bool:
        return any(fingerprint(secret, each) in hashes for each in owners(ioc))

    return protects if hashes else nothing_protected


def owners(ioc: Ioc) -> Iterator[Ioc]:
    """The item itself and all that it belongs to; bounded, the widest first where there are too many."""
    yield ioc
    if ioc.kind not in HOSTED_KINDS:
        return
    host = host_of(ioc.kind, ioc.value)
    if ioc.kind == "url":
        yield from _paths(ioc.value)
        address = host.strip("[]")
        if ":" in address or host.replace(".", "").isdigit():
            yield Ioc("ipv6" if ":" in address else "ipv4", address)
            return
    labels = host.split(".")
    if ioc.kind != "domain":
        yield Ioc("domain", host)
    for count in range(2, min(len(labels), _MAX_STEPS)):
        yield Ioc("domain", ".".join(labels[-count:]))


def _paths(url: str) -> Iterator[Ioc]:
    scheme, _, rest = url.partition("?")[0].partition("://")
    steps = rest.split("/")
    for count in range(1, min(len(steps), _MAX_STEPS) + 1):
        below = f"{scheme}://{'/'.join(steps[:count])}"
        yield Ioc("url", f"{below}/")
        if count > 1:
            yield Ioc("url", below)
