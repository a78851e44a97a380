"""Whether the host of a URL can stand for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.fingerprint import Ioc
from schemas.fingerprint import url as read_any_url
from schemas.patterns import generate, parse
from services.enrich.context import Context, look
from services.enrich.warninglists import Warning, index, read_list
from services.govern.hosts import Said, holds_personal, is_shared, of_url, plain, said, shown
from tests.unit.enrich.made_up import data


def _holds(url: str, *others: str) -> bool:
    canonical = read_any_url(url)
    assert canonical
    host = of_url(canonical.value)
    assert host
    return holds_personal(host, canonical.value, [said(text) for text in others])


@pytest.mark.parametrize(
    ("url", "others"),
    [
        ("https://amina.lure.example/u/amina", ()),
        ("https://login-amina.lure.example/u/AMINA-K", ()),
        ("https://lure.example.amina-login.example/?u=Amina", ()),
        ("https://aminakhalil.example/u/amina.khalil", ()),
        ("https://amina-khalil.example/u/aminakhalil", ()),
        ("https://amina.example/u/xxaminaxx", ()),
        ("https://a-m-i-n-a.example/u/amina", ()),
        ("https://amina.example/u/a.m.i.n.a", ()),
        ("https://amina.example/u/%41mina", ()),
        ("https://amina.example/u/%2541mi%256Ea", ()),
        ("https://amina.example/go?next=%2Fu%2Famina%3Fx", ()),
        ("https://amina.example/go?mail=amina%40ngo.example", ()),
        ("https://amina@amina.example/", ()),
        ("https://user:amina@amina.example/", ()),
        ("https://amina.example/", ("Amina",)),
        ("https://amina.example/", ("mail to Amina K.", "other")),
        ("https://jose.example/u/Jos%C3%A9", ()),
        ("https://josé.example/u/jose", ()),
        ("https://josé.example/u/JOSE\u0301", ()),
        ("https://xn--jos-dma.example/u/josé", ()),
        ("https://josé.example/u/xn--jos-dma.example", ()),
        ("https://straße.example/u/STRASSE", ()),
        ("https://аминат.example/u/%D0%90%D0%BC%D0%B8%D0%BD%D0%B0%D1%82", ()),
        ("https://王伟.example/u/王伟", ()),
        ("https://bo-li.example/u/bo.li", ()),
        ("https://boli.example/u/BoLi", ()),
        ("https://boli.example/u/li-bo", ()),
        ("https://boli.example/", ("Bo Li",)),
        ("https://bo.li.example/?first=bo&last=li", ()),
        ("https://abc.example/?a-b-c", ()),
        ("https://lure4915.example/?t=4915", ()),
        ("https://fullwidth.example/u/ｆｕｌｌｗｉｄｔｈ", ()),
        ("https://amina-news.example/", ("https://amina.other.example/",)),
        ("https://203.0.113.7/x", ("203.0.113.7",)),
        ("https://[2001:db8::1]/x", ("seen at 2001:db8::1",)),
    ],
)
def test_hosts_that_say_whom_it_is_about(url: str, others: tuple[str, ...]) -> None:
    assert _holds(url, *others)


@pytest.mark.parametrize(
    ("url", "others"),
    [
        ("https://login.lure.example/u/amina-k", ()),
        ("https://login.lure.example/login/secure.php?account=7", ()),
        ("https://secure-mail.lure.example/www/mail/index.html", ()),
        ("https://lure.example/u/jo", ()),
        ("https://engine.example/l%C3%B3gin", ()),
        ("https://jo.lure.example/u/jo", ()),
        ("https://lure.example/u/example", ()),
        ("https://lure.example/u/amina", ("Found on the phone of a lawyer.",)),
        ("https://lure.example/u/amina", ("https://lure.example/u/amina",)),
        ("https://lure.example/u/amina", ("hxxps://lure[.]example/u/khalil",)),
        ("https://203.0.113.7/203/113", ()),
        ("https://203.0.113.7/u/amina", ("Amina",)),
    ],
)
def test_hosts_that_say_nothing_of_it(url: str, others: tuple[str, ...]) -> None:
    assert not _holds(url, *others)


@given(st.text(max_size=80), st.text(max_size=40))
def test_no_text_makes_it_fail_and_a_url_repeats_no_host_word(tail: str, other: str) -> None:
    canonical = read_any_url(f"https://lure.example/{tail}")
    assert canonical
    host = of_url(canonical.value)
    assert host
    assert holds_personal(host, canonical.value, [said(other), said("lure")])
    holds_personal(host, canonical.value, [said(other)])


def test_a_hostile_address_takes_bounded_time() -> None:
    value = "https://" + ".".join(["a1"] * 80) + "/" + "a1-%25" * 10_000
    host = of_url(value)
    assert host
    holds_personal(host, value, [said(value[-60:])] * 300)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://a.example/x", Ioc("domain", "a.example")),
        ("https://user:pass@a.example:8443/x", Ioc("domain", "a.example")),
        ("https://203.0.113.7:8080/x", Ioc("ipv4", "203.0.113.7")),
        ("https://[2001:db8::1]:443/x", Ioc("ipv6", "2001:db8::1")),
        ("file:///etc/passwd", None),
        (f"https://{'a.' * 130}example/", None),
        ("https://it's.example/x", None),
        ("https://jos%C3%A9.example/x", None),
        ("https://\U0001f600.example/x", None),
        ("https://a..example/x", None),
        ("https://[x/y", None),
    ],
)
def test_the_host_of_a_url(value: str, expected: Ioc | None) -> None:
    assert of_url(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://lure.example/u/amina", "https://lure.example/"),
        (" HXXPS://User@Lure[.]Example:8443/u?x#y ", "https://lure.example/"),
        ("http://[2001:db8::1]/x", "http://[2001:db8::1]/"),
        ("ftp://lure.example", "ftp://lure.example/"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/"),
        ("https://lure.example/a b", None),
        ("see https://lure.example/x", None),
        ("lure.example/x", None),
        ("javascript:alert(1)", None),
        ("mailto:someone@a.example", None),
        ("", None),
        ("https:///x", None),
        ("https://amina.example/u/amina", None),
        ("https://" + "a" * 70_000, None),
    ],
)
def test_a_text_that_is_a_url_shows_its_host(text: str, expected: str | None) -> None:
    assert shown(text, ()) == expected
    if expected:
        assert shown(expected, ()) == expected
        assert shown(text, [Said("", ("xyz",))]) == expected
        assert shown(text, [said(expected)]) == expected


@given(st.text("aé.:/@[]%0x1?#-_\\'~", max_size=40))
def test_what_is_shown_is_shown_again_and_is_the_pattern_of_its_host(rest: str) -> None:
    found = shown(f"https://{rest}", ())
    if found is not None:
        assert shown(found, ()) == found
        assert found.startswith("https://")
        host = of_url(found)
        assert host
        assert parse(generate(host)).iocs == (host,)


def _context(*kinds: str, **fields: Any) -> Context:
    return Context(warnings=tuple(Warning(f"list of {kind}", kind) for kind in kinds), **fields)


KNOWN = {
    "hosting.example": _context("shared-hosting"),
    "cdn.example": _context("cdn"),
    "popular.example": _context("popular"),
    "bio.example": _context("link-in-bio"),
    "short.example": _context("url-shortener"),
    "scanned.example": _context("scanner"),
    "dyn.example": _context("dynamic-dns"),
    "www.dyn.example": _context("dynamic-dns"),
    "lure.dyn.example": _context("dynamic-dns"),
    "more.lure.dyn.example": _context("dynamic-dns"),
    "both.example": _context("dynamic-dns", "shared-hosting"),
    "lure.both.example": _context("dynamic-dns", "shared-hosting"),
    "popular.dyn.example": _context("dynamic-dns", "popular"),
    "defenders.example": _context(protected=True),
    "held.example": _context(do_not_block=True),
    "203.0.113.7": _context("cloud"),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lure.example", False),
        ("scanned.example", False),
        *((name, True) for name in ("hosting.example", "cdn.example", "popular.example", "bio.example")),
        *((name, True) for name in ("short.example", "www.short.example", "defenders.example", "held.example")),
        ("dyn.example", True),
        ("www.dyn.example", True),
        ("lure.dyn.example", False),
        ("more.lure.dyn.example", False),
        ("both.example", True),
        ("lure.both.example", False),
        ("popular.dyn.example", True),
    ],
)
def test_hosts_that_others_use_too(name: str, expected: bool) -> None:
    assert is_shared(Ioc("domain", name), lambda ioc: KNOWN.get(ioc.value, Context())) is expected


def test_hosts_that_others_use_too_by_real_lists() -> None:
    lists = (
        {"name": "made-up dynamic DNS", "type": "hostname", "list": ["dyn.example", "ddns.example"]},
        {"name": "made-up IPFS gateways", "type": "hostname", "list": ["gateway.example", "dyn.example"]},
        {"name": "made-up GCP networks", "type": "cidr", "list": ["198.51.100.0/24"]},
    )
    warnings = index(read_list(each, "here") for each in lists)[0]
    known = data(warnings=warnings)
    names = ("dyn.example", "ddns.example", "www.ddns.example", "gateway.example", "a.gateway.example")
    hosts = [*(Ioc("domain", name) for name in names), Ioc("ipv4", "198.51.100.7")]
    assert all(is_shared(host, lambda ioc: look(known, *ioc)) for host in hosts)
    names = ("lure.dyn.example", "a.lure.ddns.example", "www.lure.ddns.example", "notdyn.example")
    hosts = [*(Ioc("domain", name) for name in names), Ioc("ipv4", "203.0.113.7")]
    assert not any(is_shared(host, lambda ioc: look(known, *ioc)) for host in hosts)


def test_addresses_of_a_cloud_are_shared() -> None:
    assert is_shared(Ioc("ipv4", "203.0.113.7"), lambda ioc: KNOWN.get(ioc.value, Context()))
    assert not is_shared(Ioc("ipv4", "203.0.113.8"), lambda ioc: KNOWN.get(ioc.value, Context()))


def test_texts_are_looked_for_without_their_disguise() -> None:
    assert plain("hxxps://Lure[.]example/%75/Amina") == "https://lure.example/u/amina"
