"""The registrable domain of an IoC: what one registers, and so what one can have taken down.

By the Public Suffix List that the package `publicsuffixlist` ships; nothing is looked up outside.
"""

from __future__ import annotations

from publicsuffixlist import PublicSuffixList

HOSTED_KINDS = frozenset({"domain", "url", "email"})


def suffix_list() -> PublicSuffixList:
    """The list, read once at start (about 0.1 s)."""
    return PublicSuffixList(accept_unknown=True)


def registrable_domain(suffixes: PublicSuffixList, kind: str, value: str) -> str:
    """The registrable domain of a canonical value, or "" where it has none (an IP address, a bare suffix)."""
    if kind not in HOSTED_KINDS:
        return ""
    host = host_of(kind, value)
    if not host or host.startswith("[") or host.replace(".", "").isdigit():
        return ""
    return suffixes.privatesuffix(host) or ""


def host_of(kind: str, value: str) -> str:
    """The host of a canonical value of one of HOSTED_KINDS, without port and user; IPv6 addresses in brackets."""
    if kind == "domain":
        return value
    if kind == "email":
        return value.rpartition("@")[2]
    authority = value.partition("://")[2].partition("/")[0].partition("?")[0]
    host = authority.rpartition("@")[2]
    return f"{host.partition(']')[0]}]" if host.startswith("[") else host.partition(":")[0]
