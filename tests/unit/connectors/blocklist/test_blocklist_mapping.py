"""Blocklists: what is in them, what is not, and that no value becomes anything but one entry."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.blocklist.mapping import FILES, FORMATS, MAX_ZONE_CHARS, is_zone, network, rpz, trigger
from schemas.feed import FeedRow
from schemas.markings import Pap
from tests.unit.connectors.rows import HEAD, indicator, other, tombstone, written

ROWS = [
    indicator("evil.example"),
    indicator("xn--e1afmkfd.example"),
    indicator("203.0.113.7", "ipv4"),
    indicator("2001:db8::1", "ipv6"),
    indicator("198.51.100.0/24", "cidr"),
    indicator("https://shared.example/lure?a=1", "url", registrable_domain="shared.example"),
    indicator("evil.example"),
    tombstone("gone.example"),
    indicator("d41d8cd98f00b204e9800998ecf8427e", "md5"),
]
SOA = b"@ SOA localhost. hostmaster.localhost. ( 1795000000 3600 600 86400 300 )\n@ NS localhost.\n"
EXPECTED = {
    "rpz": b"; DNS response policy zone, made 2026-11-18T11:06:40.000Z\n$TTL 300\n"
    + SOA
    + b"evil.example CNAME .\n"
    b"*.evil.example CNAME .\nxn--e1afmkfd.example CNAME .\n*.xn--e1afmkfd.example CNAME .\n"
    b"32.7.113.0.203.rpz-ip CNAME .\n128.1.zz.db8.2001.rpz-ip CNAME .\n24.0.100.51.198.rpz-ip CNAME .\n",
    "hosts": b"# hosts(5), made 2026-11-18T11:06:40.000Z\n0.0.0.0 evil.example\n0.0.0.0 xn--e1afmkfd.example\n",
    "dnsmasq": b"# dnsmasq(8), made 2026-11-18T11:06:40.000Z\naddress=/evil.example/\n"
    b"address=/xn--e1afmkfd.example/\n",
    "domains": b"evil.example\nxn--e1afmkfd.example\n",
    "ips": b"203.0.113.7\n2001:db8::1\n198.51.100.0/24\n",
    "urls": b"https://shared.example/lure?a=1\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_to_the_last_byte(name: str) -> None:
    assert written(FORMATS[name], ROWS) == EXPECTED[name]
    assert written(FORMATS[name], ROWS[:1], ROWS[1:6], []) == EXPECTED[name]


def test_every_format_has_a_file_of_its_own() -> None:
    assert FILES.keys() == FORMATS.keys() and len(set(FILES.values())) == len(FILES)


def test_a_zone_with_a_name() -> None:
    assert b"$TTL 300\n$ORIGIN rpz.example.\n@ SOA" in written(rpz("rpz.example"), ROWS)


def everywhere(*rows: FeedRow) -> bytes:
    """All that all lists say of some rows."""
    empty = {name: written(format_, []) for name, format_ in FORMATS.items()}
    return b"".join(written(format_, list(rows)).removeprefix(empty[name]) for name, format_ in FORMATS.items())


LEFT_OUT: dict[str, FeedRow] = {
    "says nothing of PAP": indicator("evil.example", pap=None),
    "PAP:AMBER": indicator("evil.example", pap=Pap.AMBER),
    "PAP:RED": indicator("evil.example", pap=Pap.RED),
    "on a warning list that protects it": indicator("evil.example", enrichment={"do_not_block": True}),
    "not for protection": indicator("evil.example", purposes=["detect"]),
    "withdrawn": tombstone("evil.example", kind="domain", value="evil.example"),
    "expired": indicator("evil.example", active_until="2026-11-18T11:06:40.000Z"),
    "no indicator": other("malware", "evil.example", name="evil.example"),
    "a public suffix": indicator("co.example", registrable_domain=""),
    "of somebody else": indicator("evil.example", registrable_domain="other.example"),
    "a top-level domain": indicator("example", registrable_domain="example"),
    "an address as a domain": indicator("203.0.113.7", registrable_domain="113.7"),
    "private": indicator("192.168.1.1", "ipv4"),
    "this machine": indicator("::1", "ipv6"),
    "half the net": indicator("203.0.0.0/8", "cidr"),
    "all of the net": indicator("0.0.0.0/0", "cidr"),
    "what holds a private network": indicator("172.16.0.0/11", "cidr"),
    "mapped": indicator("::ffff:c0a8:101", "ipv6"),
    "too wide": indicator("2001:db8::/31", "cidr"),
    "local": indicator("printer.local"),
    "reverse": indicator("113.0.203.in-addr.arpa"),
    "no address": indicator("203.0.113.999", "ipv4"),
    "a URL of another kind": indicator("ftp://files.example/x", "url"),
}


@pytest.mark.parametrize("row", LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_what_is_left_out_of_every_list(row: FeedRow) -> None:
    assert everywhere(row) == b""


def test_what_may_be_blocked() -> None:
    for row in (
        indicator("evil.example", pap=Pap.CLEAR),
        indicator("evil.example", purposes=["detect", "protect"]),
        indicator("evil.example", enrichment={"warning_lists": ["dynamic DNS"]}),
        indicator("evil.example", active_until="2026-11-18T11:06:40.001Z"),
    ):
        assert b"0.0.0.0 evil.example\n" in everywhere(row)


def test_a_url_never_blocks_its_host() -> None:
    said = everywhere(indicator("https://evil.example/", "url", registrable_domain="evil.example"))
    assert said == b"https://evil.example/\n"


HOSTILE = [
    "evil.example\n0.0.0.0 good.example",
    "evil.example\r$INCLUDE /etc/passwd",
    "$INCLUDE /etc/passwd",
    "evil.example; comment",
    "evil.example CNAME good.example.",
    "evil.example/192.0.2.1",
    "good.example/#",
    "*.example",
    "evil..example",
    ".evil.example",
    "evil.example.",
    "-evil.example",
    "@.example",
    "evil\\032.example",
    "32.2.0.0.10.rpz-ip",
    "0.0.0.0.0.rpz-ip",
    "a.rpz-passthru",
    "rpz-drop.example",
    "good.example#",
    "a" * 64 + ".example",
    "a." * 150 + "example",
    "ex\u0430mple.example",
    "evil.example\u2028good.example",
    "evil.example\0",
    "",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_breaks_out_of_its_line(value: str) -> None:
    registrable = ".".join(value.split(".")[-2:])
    for kind in ("domain", "ipv4", "ipv6", "cidr", "url"):
        row = indicator("x.example")._replace(kind=kind, value=value, registrable_domain=registrable)
        assert everywhere(row) == b"", kind
    row = indicator("x.example")._replace(kind="url", value=f"https://evil.example/{value}")
    lines = everywhere(row).decode().split("\n")[:-1]
    assert lines in ([], [row.value]) and not any(
        c.isspace() or not c.isprintable() for line in lines for c in line
    )


@given(st.text(max_size=80), st.sampled_from(["domain", "ipv4", "ipv6", "cidr", "url"]))
def test_a_row_is_one_entry_or_none(value: str, kind: str) -> None:
    row = indicator("x.example")._replace(
        kind=kind, value=value, registrable_domain=".".join(value.split(".")[-2:])
    )
    for name, format_ in FORMATS.items():
        said = format_.rows([row], False).decode()
        assert said.count("\n") <= (2 if name == "rpz" else 1)
        assert said == "" or value in said or "rpz-ip" in said or "/" in value or kind in ("ipv4", "ipv6")


def test_a_name_has_to_fit_below_the_zone() -> None:
    long = "a" * 60 + "." + "b" * 60 + "." + "c" * 60 + ".example"
    assert len(long) == 190
    row = indicator(long)
    assert long.encode() in written(rpz("rpz.tocsin"), [row])
    assert long.encode() not in written(rpz(), [row])
    longest = "z" * MAX_ZONE_CHARS
    assert is_zone(longest) and not is_zone(longest + "z")
    assert not is_zone("rpz tocsin") and not is_zone("rpz\n.") and not is_zone("-a.example") and not is_zone("")


@given(st.ip_addresses(v=6), st.integers(32, 128))
def test_triggers_give_back_their_network(address: ipaddress.IPv6Address, prefix: int) -> None:
    found = ipaddress.ip_network((address, prefix), strict=False)
    length, *words, last = trigger(found).split(".")
    text = ":".join(reversed(words)).replace("zz", "")
    text = ":" + text if text.startswith(":") else text
    text = text + ":" if text.endswith(":") else text
    assert last == "rpz-ip" and ipaddress.ip_network(f"{text or '::'}/{length}") == found


def test_widest_networks() -> None:
    assert network(indicator("203.0.0.0/16", "cidr")) and not network(indicator("203.0.0.0/15", "cidr"))
    assert network(indicator("2001:db8::/32", "cidr")) and HEAD.partner
