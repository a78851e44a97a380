"""What a person may mean who types an item's value."""

from __future__ import annotations

import pytest

from schemas.fingerprint import Ioc, fingerprint
from schemas.patterns import parse
from services.witness.lookup import fingerprints

SECRET = bytes(range(32))

MEANT = [
    ("evil.example", Ioc("domain", "evil.example")),
    ("EVIL[.]example", Ioc("domain", "evil.example")),
    ("hxxps://evil.example/x", Ioc("url", "https://evil.example/x")),
    ("192.0.2.1", Ioc("ipv4", "192.0.2.1")),
    ("a@evil.example", Ioc("email", "a@evil.example")),
    ("A" * 64, Ioc("sha256", "a" * 64)),
    ("a" * 40, Ioc("cert-sha1", "a" * 40)),
    ("com.example.app", Ioc("app-id", "com.example.app")),
    ("@someone", Ioc("user-account", "@someone")),
    ("/tmp/x", Ioc("file-path", "/tmp/x")),
    ("AS64496".removeprefix("AS"), Ioc("asn", "64496")),
    ("+44 20 7946 0958", Ioc("phone-number", "+442079460958")),
    ("https://x.com/Someone", Ioc("social-account", "twitter/someone")),
    ("0x" + "AB" * 20, Ioc("crypto-address", "eth/0x" + "ab" * 20)),
    ("00-00-5E-00-53-01", Ioc("mac", "00:00:5e:00:53:01")),
    ("a" * 32, Ioc("ja3", "a" * 32)),
    ("a" * 32, Ioc("ja3s", "a" * 32)),
    ("t13d1516h2_8daaf6152771_e5627efa2ab1", Ioc("ja4", "t13d1516h2_8daaf6152771_e5627efa2ab1")),
    ("a" * 64, Ioc("pdq", "a" * 64)),
    ("QUI=", Ioc("tmk", "QUI=")),
    ("[domain-name:value = 'evil.example']", Ioc("domain", "evil.example")),
    ("[url:value = 'http://b.example/'] OR [domain-name:value = 'c.example']", Ioc("domain", "c.example")),
]


@pytest.mark.parametrize(("text", "ioc"), MEANT)
def test_a_value(text: str, ioc: Ioc) -> None:
    assert fingerprint(SECRET, ioc) in fingerprints(SECRET, text)


def test_a_complex_pattern_by_its_normal_form() -> None:
    one = "[domain-name:value = 'a.example' AND url:value = 'http://a.example/']"
    other = "[url:value='http://a.example/'   AND domain-name:value='a.example']"
    [identity] = parse(one).identities
    assert fingerprint(SECRET, identity) in fingerprints(SECRET, other)


def test_a_fingerprint() -> None:
    assert bytes(16) in fingerprints(SECRET, "00" * 16)


@pytest.mark.parametrize("text", ["", "[", "[" * 8_000, "\x00", "\ud800", "a" * 70_000, "(" * 100, "[a:b = 'c'"])
def test_nothing_that_anybody_types_breaks_it(text: str) -> None:
    assert len(fingerprints(SECRET, text)) <= 40
