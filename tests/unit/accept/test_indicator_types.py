"""What a value is whose type a source names: in MISP's words, in a feed's, or in the hub's own kinds."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from schemas.fingerprint import Ioc
from schemas.patterns import parse
from services.accept import formats
from services.accept.indicators import by_type
from tests.fakes import NOW_MS, source_agreement

SEGWIT = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"  # the example of BIP 173
JA4 = "t13d1516h2_8daaf6152771_e5627efa2ab1"

OWN = [
    Ioc("domain", "evil.example"),
    Ioc("ipv4", "192.0.2.1"),
    Ioc("ipv6", "2001:db8::1"),
    Ioc("cidr", "192.0.2.0/24"),
    Ioc("url", "http://evil.example/"),
    Ioc("email", "a@evil.example"),
    Ioc("asn", "64496"),
    *(Ioc(kind, "a" * digits) for kind, digits in (("md5", 32), ("sha1", 40), ("sha256", 64), ("sha512", 128))),
    *(Ioc(f"cert-{kind}", "a" * digits) for kind, digits in (("md5", 32), ("sha1", 40), ("sha256", 64))),
    Ioc("badhash", "f00"),
    Ioc("file-name", "a.exe"),
    Ioc("file-path", "/a"),
    Ioc("registry-key", r"hkey_users\a"),
    Ioc("ios-profile-id", "com.evil"),
    Ioc("app-id", "com.Evil"),
    Ioc("user-account", "a"),
    Ioc("phone-number", "+442079460958"),
    Ioc("social-account", "github/someone"),
    Ioc("crypto-address", f"btc/{SEGWIT}"),
    Ioc("mac", "00:00:5e:00:53:01"),
    Ioc("ja3", "a" * 32),
    Ioc("ja3s", "a" * 32),
    Ioc("ja4", JA4),
    Ioc("pdq", "a" * 64),
    Ioc("tmk", "QUI="),
    Ioc("complex", "[a:b LIKE 'x']"),
    Ioc("other:mutex:name", "Evil"),
]


@pytest.mark.parametrize("ioc", OWN, ids=lambda ioc: ioc.kind)
def test_a_canonical_value_of_a_kind_of_the_hub_is_itself(ioc: Ioc) -> None:
    assert by_type(ioc.kind, ioc.value, parse).iocs == (ioc,)


@pytest.mark.parametrize(
    ("name", "raw", "ioc"),
    [
        ("Phone", "+44 20 7946 0958", Ioc("phone-number", "+442079460958")),
        ("phone_number", "+44 20 7946 0958", Ioc("phone-number", "+442079460958")),
        ("telegram-username", "@Someone", Ioc("social-account", "telegram/someone")),
        ("facebook-account", "https://www.facebook.com/Someone", Ioc("social-account", "facebook/someone")),
        ("twitter-id", "@Someone", Ioc("social-account", "twitter/someone")),
        ("cryptocurrency-wallet", SEGWIT, Ioc("crypto-address", f"btc/{SEGWIT}")),
        ("eth", "0x" + "AB" * 20, Ioc("crypto-address", "eth/0x" + "ab" * 20)),
        ("mac-addr", "0000.5e00.5301", Ioc("mac", "00:00:5e:00:53:01")),
        ("HASH_PDQ", "A" * 64, Ioc("pdq", "a" * 64)),
        ("HASH_VIDEO_MD5", "A" * 32, Ioc("md5", "a" * 32)),
        ("ja3-fingerprint-md5", "A" * 32, Ioc("ja3", "a" * 32)),
    ],
)
def test_a_type_of_a_source(name: str, raw: str, ioc: Ioc) -> None:
    assert by_type(name, raw, parse).iocs == (ioc,)


@pytest.mark.parametrize("name", ["phone", "phone-number", "eth", "mac", "ja4", "pdq", "crypto-address"])
def test_what_is_no_such_thing_is_nothing(name: str) -> None:
    assert by_type(name, "nonsense", parse).iocs == ()


def taken(body: str, name: str) -> list[Ioc]:
    reading = formats.read(body.encode(), "application/octet-stream", name, source_agreement(), NOW_MS, 1 << 20)
    assert not reading.refusals
    for draft in reading.drafts:
        assert parse(draft.object["pattern"]).iocs == (Ioc(draft.kind, draft.value),)
    return [Ioc(draft.kind, draft.value) for draft in reading.drafts]


EVENT = {
    "phone-number": "+44 20 7946 0958",
    "whois-registrant-phone": "+44 20 7946 0959",
    "github-username": "@SomeOne",
    "twitter-id": "https://x.com/SomeOne",
    "btc": SEGWIT.upper(),
    "mac-address": "00-00-5E-00-53-01",
    "ja3-fingerprint-md5": "A" * 32,
    "text": "+44 20 7946 0960",
}


def test_a_misp_event() -> None:
    attributes = [{"type": name, "value": value} for name, value in EVENT.items()]
    assert taken(json.dumps({"Event": {"info": "made up", "Attribute": attributes}}), "event.json") == [
        Ioc("phone-number", "+442079460958"),
        Ioc("social-account", "github/someone"),
        Ioc("social-account", "twitter/someone"),
        Ioc("crypto-address", f"btc/{SEGWIT}"),
        Ioc("mac", "00:00:5e:00:53:01"),
        Ioc("ja3", "a" * 32),
    ]


def test_a_table() -> None:
    rows = ["indicator_type,indicator_value", "phone_number,+44 20 7946 0958", f"HASH_PDQ,{'A' * 64}", "tmk,QUI="]
    assert taken("\n".join(rows), "made-up.csv") == [
        Ioc("phone-number", "+442079460958"),
        Ioc("pdq", "a" * 64),
        Ioc("tmk", "QUI="),
    ]


def test_stix_of_others() -> None:
    patterns = [
        "[user-account:account_type = 'github' AND user-account:account_login = 'SomeOne']",  # as misp-stix
        "[phone-number:value = '+44 20 7946 0958']",  # as OpenCTI
        f"[cryptocurrency-wallet:value = '{SEGWIT}']",
        "[mac-addr:value = '00-00-5E-00-53-01']",
    ]
    when = "2026-01-02T03:04:05.678Z"
    common = {"type": "indicator", "spec_version": "2.1", "created": when, "modified": when, "valid_from": when}
    objects = [
        {**common, "id": f"indicator--{UUID(int=number, version=4)}", "pattern_type": "stix", "pattern": pattern}
        for number, pattern in enumerate(patterns)
    ]
    bundle = {"type": "bundle", "id": f"bundle--{UUID(int=0, version=4)}", "objects": objects}
    reading = formats.read(json.dumps(bundle).encode(), "", "a.json", source_agreement(), NOW_MS, 1 << 20)
    assert [Ioc(draft.kind, draft.value) for draft in reading.drafts] == [
        Ioc("social-account", "github/someone"),
        Ioc("phone-number", "+442079460958"),
        Ioc("crypto-address", f"btc/{SEGWIT}"),
        Ioc("mac", "00:00:5e:00:53:01"),
    ]
