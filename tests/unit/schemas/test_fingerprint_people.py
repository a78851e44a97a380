"""Telephone numbers, accounts and payment addresses: tables of (raw, expected)."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import fingerprint as fp
from schemas import fingerprint_people as people
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.patterns import generate, parse


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("+44 20 7946 0958", "+442079460958"),
        ("+442079460958", "+442079460958"),
        ("+44 (0)20 7946 0958", "+442079460958"),
        ("(+44) 20-7946.0958", "+442079460958"),
        ("tel:+1-202-555-0147", "+12025550147"),
        ("TEL:+12025550147;ext=5", "+12025550147"),
        ("+1 202 555 0147 ext. 5", "+12025550147"),
        ("+1 202\u2011555\u20110147", "+12025550147"),
        ("\u200b+1 202 555\u00a00147 ", "+12025550147"),
        ("+٤٤ ٢٠ ٧٩٤٦ ٠٩٥٨", "+442079460958"),
        ("\uff0b44 20 7946 0958", None),  # not a plus sign
        ("+39 06 5550 0100", "+390655500100"),  # in Italy the zero is dialled
        ("020 7946 0958", None),
        ("0044 20 7946 0958", None),
        ("202-555-0147", None),
        ("+1 555 0147", None),  # can only be dialled within an area
        ("+999 1234567", None),
        ("+44", None),
        ("+", None),
        ("", None),
        ("call +44 20 7946 0958", None),
        ("+1 800 FLOWERS", None),
        ("+44 20 7946 0958, +44 20 7946 0959", None),
        ("+44 20 7946 0958" + " " * 60 + "1", None),
        ("+" + "4" * 60_000, None),
    ],
)
def test_phone_number(raw: str, expected: str | None) -> None:
    assert fp.phone_number(raw) == (Ioc("phone-number", expected) if expected else None)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("twitter/someone", "twitter/someone"),
        ("Twitter/@Some_One", "twitter/some_one"),
        ("x/Some_One", "twitter/some_one"),
        ("https://x.com/Some_One?lang=xa", "twitter/some_one"),
        ("https://mobile.twitter.com/Some_One/status/1", "twitter/some_one"),
        ("hxxps://twitter[.]com/Some_One/", "twitter/some_one"),
        ("x.com/Some_One#top", "twitter/some_one"),
        ("fb/Some.One", "facebook/some.one"),
        ("https://www.facebook.com/profile.php?ref=a&id=1000123&b", "facebook/1000123"),
        ("https://m.facebook.com/Some.One", "facebook/some.one"),
        ("ig/Some.One", "instagram/some.one"),
        ("tg/@Some_One", "telegram/some_one"),
        ("t.me/s/Some_One", "telegram/some_one"),
        ("https://t.me/+442079460958", "telegram/+442079460958"),
        ("linkedin.com/in/Some-One/", "linkedin/some-one"),
        ("linkedin.com/company/Some-One", "linkedin/company/some-one"),
        ("reddit.com/user/SomeOne", "reddit/someone"),
        ("reddit/u/SomeOne", "reddit/someone"),
        ("youtube.com/@SomeOne", "youtube/someone"),
        ("https://www.youtube.com/channel/UCxAbC", "youtube/channel/UCxAbC"),
        ("tiktok.com/@some.one/video/1", "tiktok/some.one"),
        ("bsky.app/profile/Some.example", "bluesky/some.example"),
        ("whatsapp/+44 20 7946 0958", "whatsapp/+442079460958"),
        ("https://wa.me/442079460958", "whatsapp/+442079460958"),
        ("signal/some.01", "signal/some.01"),
        ("jabber/A@Chat.example/phone", "xmpp/a@chat.example"),
        ("mastodon.example/@Some", "mastodon.example/Some"),
        ("made-up/Some/One", "made-up/Some/One"),
        ("TWITTER/ＡＢ", "twitter/ａｂ"),
        ("m.made-up.example/a", "m.made-up.example/a"),
        ("telegram/@+442079460958", "telegram/+442079460958"),
        ("telegram/@+", None),
        ("https://wa.me/12025550147", "whatsapp/+12025550147"),
        ("https://wa.me/12025550147?text=hi", "whatsapp/+12025550147"),
        ("https://wa.me/+12025550147/#x", "whatsapp/+12025550147"),
        ("whatsapp/+1 202/555-0147", "whatsapp/+12025550147"),
        ("signal/+12025550147?x", "signal/+12025550147"),
        ("signal/Some.01", "signal/some.01"),
        ("whatsapp/+1", None),
        ("https://t.me/+12025550147?text=hi", "telegram/+12025550147"),
        ("https://t.me/s/+12025550147", "telegram/+12025550147"),
        ("https://t.me/s/+AbCdEf", None),
        ("https://t.me/s/Some", "telegram/some"),
        ("made-up/https://made-up.example/Some", None),
        ("unix/root", None),
        ("windows-local/Admin", None),
        ("someone", None),
        ("@someone", None),
        ("twitter/", None),
        ("twitter/@", None),
        ("/someone", None),
        ("a b/someone", None),
        ("github/some one", None),
        ("https://evil.example/someone", None),
        ("ftp://twitter.com/someone", None),
        ("twitter.com", None),
        ("twitter/https://facebook.com/someone", None),
        ("https://t.me/joinchat/AbC", None),
        ("https://t.me/+AbCdEf", None),
        ("https://www.facebook.com/groups/1", None),
        ("https://www.instagram.com/p/AbC/", None),
        ("https://www.youtube.com/watch?v=a", None),
        ("https://reddit.com/r/made_up", None),
        ("https://x.com/i/status/1", None),
        ("twitter/" + "a" * 513, None),
        ("twitter/" + "a" * 60_000, None),
    ],
)
def test_social_account(raw: str, expected: str | None) -> None:
    assert fp.social_account(raw) == (Ioc("social-account", expected) if expected else None)


def test_a_short_handle_is_no_page_of_its_platform() -> None:
    assert people.account("twitter", "i") == Ioc("social-account", "twitter/i")


PLATFORM_NAMES = sorted(
    {*people.PLATFORMS, *(name for names in people.PLATFORMS.values() for name in names), "made-up"}
)
PIECES = st.one_of(
    st.sampled_from(
        ("s/", "in/", "u/", "user/", "channel/", "c/", "company/", "profile/", "x.com/", "t.me/", "https://")
    ),
    st.sampled_from(
        ("@", "/", "?", "#", "+", ".", " ", "12025550147", "+12025550147", "profile.php?id=12", "[.]", "m.")
    ),
    st.sampled_from(("Some", "joinchat", "+AbC", "%20", "a@b.example/r", "\u0130", "\u00df", "\u200b", "e\u0301")),
    st.text(max_size=3),
)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(("", "https://", "http://www.", "https://m.")),
    st.sampled_from(PLATFORM_NAMES),
    st.lists(PIECES, min_size=1, max_size=5).map("".join),
)
def test_an_account_read_again_is_the_same_and_so_is_its_pattern(scheme: str, platform: str, rest: str) -> None:
    for found in (fp.social_account(f"{scheme}{platform}/{rest}"), people.account(platform, rest)):
        if found:
            assert fp.social_account(found.value) == found
            assert parse(generate(found)).iocs == (found,)


def base58check(version: int, body: bytes = bytes(range(20))) -> str:
    """An address whose key nobody has."""
    raw = bytes([version]) + body
    raw += sha256(sha256(raw).digest()).digest()[:4]
    number, text = int.from_bytes(raw), ""
    while number:
        number, digit = divmod(number, 58)
        text = people._BASE58[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


# the examples of BIP 173 and of BIP 350
SEGWIT = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
TAPROOT = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"
BTC = base58check(0)
XMR = "4" + "A" * 94


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (BTC, f"btc/{BTC}"),
        (f"btc/{BTC}", f"btc/{BTC}"),
        (f" BTC/{BTC} ", f"btc/{BTC}"),
        (base58check(0, bytes(20)), "btc/1111111111111111111114oLvT2"),
        (base58check(5), f"btc/{base58check(5)}"),
        (base58check(0x30), f"ltc/{base58check(0x30)}"),
        (base58check(0x4C), f"dash/{base58check(0x4C)}"),
        (base58check(0x1E), f"doge/{base58check(0x1E)}"),
        (base58check(0x41), f"trx/{base58check(0x41)}"),
        (SEGWIT, f"btc/{SEGWIT}"),
        (SEGWIT.upper(), f"btc/{SEGWIT}"),
        (TAPROOT, f"btc/{TAPROOT}"),
        ("0x" + "aB" * 20, "eth/0x" + "ab" * 20),
        ("0X" + "AB" * 20, "eth/0x" + "ab" * 20),
        (XMR, f"xmr/{XMR}"),
        (XMR + "A" * 11, f"xmr/{XMR + 'A' * 11}"),
        (f"dash/{BTC}", None),
        (BTC.swapcase(), None),
        (BTC[:-1] + ("2" if BTC[-1] != "2" else "3"), None),
        (base58check(0x6F), None),  # of a test network
        (SEGWIT[:-1] + "5", None),
        (SEGWIT[:4].upper() + SEGWIT[4:], None),  # BIP 173 forbids both cases in one address
        ("0x" + "ab" * 19, None),
        ("4" + "0" * 94, None),
        ("", None),
        ("btc/", None),
        ("1" * 60_000, None),
    ],
)
def test_crypto_address(raw: str, expected: str | None) -> None:
    assert fp.crypto_address(raw) == (Ioc("crypto-address", expected) if expected else None)


def test_an_address_of_another_currency() -> None:
    assert people.address_of("btc", BTC) == Ioc("crypto-address", f"btc/{BTC}")
    assert people.address_of("dash", BTC) is None


@pytest.mark.parametrize(
    ("path", "literal", "kind", "value"),
    [
        ("phone-number:value", "+44 20 7946 0958", "phone-number", "+442079460958"),
        ("phone-number:'value'", "+44 20 7946 0958", "phone-number", "+442079460958"),
        ("phone-number:value", "020 7946 0958", "other:phone-number:value", "020 7946 0958"),
        ("cryptocurrency-wallet:value", BTC, "crypto-address", f"btc/{BTC}"),
        ("cryptocurrency-wallet:value", "x", "other:cryptocurrency-wallet:value", "x"),
        ("user-account:account_login", "x", "other:user-account:account_login", "x"),
        ("user-account:user_id", "twitter/x", "user-account", "twitter/x"),
        ("url:value", "https://x.com/someone", "url", "https://x.com/someone"),
    ],
)
def test_path(path: str, literal: str, kind: str, value: str) -> None:
    assert fp.from_path(path, literal) == Ioc(kind, value)


@pytest.mark.parametrize(
    ("type_name", "raw", "expected"),
    [
        ("phone-number", "+44 20 7946 0958", [("phone-number", "+442079460958")]),
        ("phone_number", "+442079460958", [("phone-number", "+442079460958")]),
        ("phone-number", "020 7946 0958", []),
        ("whois-registrant-phone", "+442079460958", []),
        ("github-username", "@SomeOne", [("social-account", "github/someone")]),
        ("github-organisation", "SomeOne", [("social-account", "github/someone")]),
        ("github-repository", "someone/something", []),
        ("twitter-id", "https://twitter.com/SomeOne", [("social-account", "twitter/someone")]),
        ("twitter-id", "https://facebook.com/SomeOne", []),
        ("jabber-id", "Some@chat.example/home", [("social-account", "xmpp/some@chat.example")]),
        ("btc", BTC, [("crypto-address", f"btc/{BTC}")]),
        ("btc", base58check(0x4C), []),
        ("dash", base58check(0x4C), [("crypto-address", f"dash/{base58check(0x4C)}")]),
        ("xmr", XMR, [("crypto-address", f"xmr/{XMR}")]),
        ("target-user", "someone", []),
        ("iban", "XA00", []),
    ],
)
def test_type(type_name: str, raw: str, expected: list[tuple[str, str]]) -> None:
    assert fp.from_type(type_name, raw) == expected


@pytest.mark.parametrize("function", [fp.phone_number, fp.social_account, fp.crypto_address])
def test_too_long(function: Callable[[str], Ioc | None]) -> None:
    with pytest.raises(ItemRefused) as refused:
        function("a" * 65_537)
    assert refused.value.code == "value-too-long"
