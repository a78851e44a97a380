"""Protected assets: people's own sites, accounts and numbers, which are never shared as indicators.

The list holds fingerprints under the hub's secret, so that the list itself tells nobody whom it protects.

| protected | covers |
|---|---|
| domain | all below it: subdomains, URLs, e-mail addresses |
| IP address | URLs at it |
| URL | what lies below its path |
| account of a platform | itself, and the URLs of its profile and of what lies below that |
| name of an account | the account of that name on every platform, and where a source names no platform |
| telephone number | itself, and the accounts that are known by it |
| e-mail address, payment address, id of an app | itself |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from schemas.errors import ItemRefused
from schemas.fingerprint import FINGERPRINT_BYTES, Ioc, fingerprint, social_account
from schemas.fingerprint_text import lower
from services.enrich.domain import HOSTED_KINDS, host_of

HEX_CHARS: Final = FINGERPRINT_BYTES * 2
NAME_KINDS: Final = frozenset(
    {"user-account", *(f"other:user-account:{name}" for name in ("account_login", "display_name"))}
)
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
    if ioc.kind == "social-account":
        yield from _persons(ioc.value)
    elif ioc.kind in NAME_KINDS:
        yield account_name(ioc.value)
    if ioc.kind not in HOSTED_KINDS:
        return
    host = host_of(ioc.kind, ioc.value)
    if ioc.kind == "url":
        yield from _paths(ioc.value)
        if account := _profile(ioc.value):
            yield account
            yield from _persons(account.value)
        address = host.strip("[]")
        if ":" in address or host.replace(".", "").isdigit():
            yield Ioc("ipv6" if ":" in address else "ipv4", address)
            return
    labels = host.split(".")
    if ioc.kind != "domain":
        yield Ioc("domain", host)
    for count in range(2, min(len(labels), _MAX_STEPS)):
        yield Ioc("domain", ".".join(labels[-count:]))


def account_name(text: str) -> Ioc:
    """The name of an account as it is compared where the platform does not count: without `@`, in lower case."""
    return Ioc("user-account", lower(text).lstrip("@"))


def _persons(account: str) -> Iterator[Ioc]:
    """By what the owner of `platform/handle` may be protected: the name alone, the telephone number."""
    handle = account.partition("/")[2]
    if handle.startswith("+"):
        yield Ioc("phone-number", handle)
    yield account_name(handle)
    if "/" in handle:  # what is before it is the sort of the account, as in `company/name`
        yield account_name(handle.rpartition("/")[2])


def _profile(url: str) -> Ioc | None:
    try:
        return social_account(url)
    except ItemRefused:
        return None


def _paths(url: str) -> Iterator[Ioc]:
    scheme, _, rest = url.partition("?")[0].partition("://")
    steps = rest.split("/")
    for count in range(1, min(len(steps), _MAX_STEPS) + 1):
        below = f"{scheme}://{'/'.join(steps[:count])}"
        yield Ioc("url", f"{below}/")
        if count > 1:
            yield Ioc("url", below)
