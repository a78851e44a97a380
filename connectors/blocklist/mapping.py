"""Rows of a feed as blocklists: DNS response policy zones, hosts files, dnsmasq, plain lists. Pure.

In a list is an indicator of a domain, an address, a network or a URL that is shared, active and may be blocked
(see `schemas.acting`); a withdrawn or expired one is gone from the next file. A URL is blocked as a URL or not at
all: its host may be somebody else's. Whatever a line could not hold as it is, or what would take half the net with
it, is left out: a value never becomes anything but one entry.

Sources: draft-vixie-dnsop-dns-rpz-00 (response policy zones), RFC 1035 section 5 (the file they are in), hosts(5),
dnsmasq(8). Lists are in the order of the feed; what two rows of one page say is said once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import orjson

from schemas.acting import may_be_blocked
from schemas.feed import FeedRow, Format, Head
from schemas.timestamps import format_time

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_NAME_CHARS = 253
MAX_ZONE_CHARS = 63
"""Of the name of a response policy zone. All names in it have to leave as much room (RFC 1035 section 2.3.4)."""
TTL_SECONDS = 300
WIDEST = MappingProxyType({4: 16, 6: 32})
"""The shortest prefix that is blocked, by version: whoever means more than that is mistaken, or an attacker."""

_is_name = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?:[a-z]{2,63}|xn--[a-z0-9-]{0,58}[a-z0-9])"
).fullmatch
_is_zone = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*").fullmatch
_is_url = re.compile(r"https?://[!-~\u00a1-\U0010ffff]+").fullmatch
_OF_THE_NET = frozenset({"arpa", "internal", "invalid", "local", "localdomain", "localhost"})
"""Top-level domains that machines use among themselves (RFC 6761, RFC 6762, RFC 9476 and custom)."""
_OWN = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.168.0.0/16", "224.0.0.0/3"),
            *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "fc00::/7", "fe80::/10", "ff00::/8"),
        ),
    )
)
"""Networks that are everybody's own, or stand for others (RFC 6890, RFC 6052): to block them cuts people off."""


# --- what of a row can be blocked -------------------------------------------------------------------------------


def domain(row: FeedRow) -> str | None:
    """The name (A-labels) that a row lets one block together with all below it; None where it does not.

    Not a public suffix, since all that people registered below would go with it; and no name that response policy
    zones or resolvers take for something else.
    """
    name = row.value
    if row.kind != "domain" or len(name) > MAX_NAME_CHARS or not _is_name(name):
        return None
    registrable = row.registrable_domain
    if not registrable or (name != registrable and not name.endswith(f".{registrable}")):
        return None
    labels = name.split(".")
    if labels[-1] in _OF_THE_NET or any(label.startswith("rpz-") for label in labels):
        return None
    return name if _may(row) else None


def network(row: FeedRow) -> Network | None:
    """The address (as a network of one) or network that a row lets one block; None where it does not."""
    if row.kind not in ("ipv4", "ipv6", "cidr"):
        return None
    try:
        found = ipaddress.ip_network(row.value)
    except ValueError:
        return None
    if found.prefixlen < WIDEST[found.version]:
        return None
    if any(own.version == found.version and own.overlaps(found) for own in _OWN):
        return None
    return found if _may(row) else None


def url(row: FeedRow) -> str | None:
    """The URL that a row lets one block; None where it does not, or where a line could not hold it."""
    if row.kind != "url" or not _is_url(row.value) or not row.value.isprintable():
        return None
    return row.value if _may(row) else None


def _may(row: FeedRow) -> bool:
    return row.live and row.type == "indicator" and may_be_blocked(orjson.loads(row.body))


# --- lines ------------------------------------------------------------------------------------------------------


def trigger(found: Network) -> str:
    """The name under which a response policy zone has an address or network: its prefix, and its words backwards.

    Source: draft-vixie-dnsop-dns-rpz-00 section 4.3. The longest run of zeros in an IPv6 address is `zz`.
    """
    text = str(found.network_address)
    if found.version == 4:
        words = text.split(".")
    else:
        left, gap, right = text.partition("::")
        words = [*_words(left), *(["zz"] if gap else []), *_words(right)]
    return ".".join([str(found.prefixlen), *reversed(words), "rpz-ip"])


def _words(text: str) -> list[str]:
    return text.split(":") if text else []


def _rpz_lines(row: FeedRow, *, most_chars: int) -> Iterator[str]:
    name = domain(row)
    if name is not None and len(name) <= most_chars:
        yield f"{name} CNAME ."
        yield f"*.{name} CNAME ."
    elif (found := network(row)) is not None:
        yield f"{trigger(found)} CNAME ."


def _hosts_lines(row: FeedRow) -> Iterator[str]:
    if name := domain(row):
        yield f"0.0.0.0 {name}"


def _dnsmasq_lines(row: FeedRow) -> Iterator[str]:
    if name := domain(row):
        yield f"address=/{name}/"


def _domain_lines(row: FeedRow) -> Iterator[str]:
    if name := domain(row):
        yield name


def _ip_lines(row: FeedRow) -> Iterator[str]:
    found = network(row)
    if found is not None:
        yield str(found.network_address if found.prefixlen == found.max_prefixlen else found)


def _url_lines(row: FeedRow) -> Iterator[str]:
    if found := url(row):
        yield found


# --- files ------------------------------------------------------------------------------------------------------


def _rpz_begin(head: Head, *, zone: str) -> bytes:
    """An SOA and an NS record, as every zone must have; nobody asks for either. Without a `zone`, names are
    relative to that which the server is told."""
    serial = head.at_ms // 1_000 % 2**32
    lines = [
        f"; DNS response policy zone, made {format_time(head.at_ms)}",
        f"$TTL {TTL_SECONDS}",
        *([f"$ORIGIN {zone}."] if zone else []),
        f"@ SOA localhost. hostmaster.localhost. ( {serial} 3600 600 86400 {TTL_SECONDS} )",
        "@ NS localhost.",
    ]
    return _joined(lines)


def _commented(head: Head, *, what: str) -> bytes:
    return _joined([f"# {what}, made {format_time(head.at_ms)}"])


def _no_begin(_head: Head) -> bytes:
    return b""


def _no_end(_any_rows: bool) -> bytes:
    return b""


def _rows(rows: Sequence[FeedRow], _more: bool, *, lines: Callable[[FeedRow], Iterator[str]]) -> bytes:
    return _joined(dict.fromkeys(line for row in rows for line in lines(row)))


def _joined(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _format(
    media_type: str, suffix: str, begin: Callable[[Head], bytes], lines: Callable[[FeedRow], Iterator[str]]
) -> Format:
    return Format(media_type, suffix, False, begin, partial(_rows, lines=lines), _no_end, active=True)


def rpz(zone: str = "") -> Format:
    """A response policy zone of this name, or of the one that the server is told."""
    most = MAX_NAME_CHARS - len("*.") - len(".") - (len(zone) or MAX_ZONE_CHARS)
    return _format("text/dns", "zone", partial(_rpz_begin, zone=zone), partial(_rpz_lines, most_chars=most))


def is_zone(name: str) -> bool:
    """Whether a response policy zone can be called so."""
    return len(name) <= MAX_ZONE_CHARS and _is_zone(name) is not None


_TEXT = "text/plain; charset=utf-8"

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "rpz": rpz(),
        "hosts": _format(_TEXT, "hosts", partial(_commented, what="hosts(5)"), _hosts_lines),
        "dnsmasq": _format(_TEXT, "conf", partial(_commented, what="dnsmasq(8)"), _dnsmasq_lines),
        "domains": _format(_TEXT, "txt", _no_begin, _domain_lines),
        "ips": _format(_TEXT, "txt", _no_begin, _ip_lines),
        "urls": _format(_TEXT, "txt", _no_begin, _url_lines),
    }
)

FILES: Mapping[str, str] = MappingProxyType(
    {
        "rpz": "rpz.zone",
        "hosts": "hosts",
        "dnsmasq": "dnsmasq.conf",
        "domains": "domains.txt",
        "ips": "ips.txt",
        "urls": "urls.txt",
    }
)
"""What each is called in a folder."""
