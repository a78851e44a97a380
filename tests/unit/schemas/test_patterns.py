"""What a pattern names, what is refused, and that what is sent out reads back as the same indicator."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stix2patterns.validator import run_validator

from schemas import patterns
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.patterns import generate, parse

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SEGWIT = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"  # the example of BIP 173
JA4 = "t13d1516h2_8daaf6152771_e5627efa2ab1"
EVIL = Ioc("domain", "evil.example")
OTHER = Ioc("domain", "other.example")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[domain-name:value = 'evil.example']", EVIL),
        ("[domain-name:value='evil.example']", EVIL),
        ("[domain-name:value == 'evil.example']", EVIL),
        (" [ domain-name:value\t=\r\n'evil.example' ] ", EVIL),
        ("[domain-name : value = 'evil.example']", EVIL),
        ("[domain-name:'value' = 'evil.example']", EVIL),
        ("[domain-name:value = /* why */ 'evil.example'] // where", EVIL),
        ("([domain-name:value = 'evil.example'])", EVIL),
        ("[(domain-name:value = 'evil.example')]", EVIL),
        ("[domain-name:value\u00a0= 'evil.example']", EVIL),
        ("[domain-name:value = '192.0.2.1']", Ioc("ipv4", "192.0.2.1")),
        (f"[file:hashes.'SHA-256' = '{SHA256}']", Ioc("sha256", SHA256)),
        (f"[file:hashes.SHA256 = '{SHA256}']", Ioc("sha256", SHA256)),
        (f"[file:hashes.'sha-256' = '{SHA256.upper()}']", Ioc("sha256", SHA256)),
        (f"[file:hashes.md5='{MD5}']", Ioc("md5", MD5)),
        ("[file:hashes.MD5 = 'f00']", Ioc("badhash", "f00")),
        (f"[app:cert.sha256 = '{SHA256}']", Ioc("cert-sha256", SHA256)),
        ("[app:id = 'com.evil']", Ioc("app-id", "com.evil")),
        ("[configuration-profile:id = 'com.Evil']", Ioc("ios-profile-id", "com.evil")),
        (r"[file:name = 'it\'s.exe']", Ioc("file-name", "it's.exe")),
        (r"[file:path = 'C:\\a\\\'b']", Ioc("file-path", r"C:\a\'b")),
        (r"[directory:path = '\\\\host\\']", Ioc("dir-path", "\\\\host\\")),
        (r"[windows-registry-key:key = 'HKLM\\A\\\\B']", Ioc("registry-key", r"hkey_local_machine\a\b")),
        ("[file:name = '] OR [']", Ioc("file-name", "] OR [")),
        ("[autonomous-system:number = 64500]", Ioc("asn", "64500")),
        ("[x:y[0].z = 'v']", Ioc("other:x:y[0].z", "v")),
        ("[x:y[*] = 'v']", Ioc("other:x:y[*]", "v")),
        ("[x:y . 'a-b' = 'v']", Ioc("other:x:y.'a-b'", "v")),
        (r"[x:'a\'b' = 'v']", Ioc(r"other:x:'a\'b'", "v")),
        ("[ORx:ANDy = 'v']", Ioc("other:ORx:ANDy", "v")),
        ("[OR-x:y = 'v']", Ioc("other:OR-x:y", "v")),
    ],
)
def test_one_comparison(pattern: str, expected: Ioc) -> None:
    assert parse(pattern) == ((expected,), "")
    assert parse(pattern).identities == (expected,)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[domain-name:value = 'evil.example' OR domain-name:value = 'other.example']", (EVIL, OTHER)),
        ("[domain-name:value='other.example'OR domain-name:value='evil.example']", (OTHER, EVIL)),
        ("[domain-name:value = 'evil.example'] OR [domain-name:value = 'other.example']", (EVIL, OTHER)),
        ("[domain-name:value = 'evil.example']OR[domain-name:value = 'other.example']", (EVIL, OTHER)),
        ("([domain-name:value = 'evil.example']) OR [domain-name:value = 'other.example']", (EVIL, OTHER)),
        ("[(domain-name:value = 'evil.example' OR (domain-name:value = 'other.example'))]", (EVIL, OTHER)),
        (
            "[domain-name:value = 'evil.example' OR ipv4-addr:value = '192.0.2.1'] OR [email-addr:value = 'a@b.c']",
            (EVIL, Ioc("ipv4", "192.0.2.1"), Ioc("email", "a@b.c")),
        ),
        ("[domain-name:value = 'evil.example' OR domain-name:value = 'EVIL.example.']", (EVIL,)),
        ("[domain-name:value = 'evil.example' OR email-addr:value = 'nobody']", (EVIL,)),
        ("[domain-name:value = 'evil.example' OR autonomous-system:number = 64500]", (EVIL, Ioc("asn", "64500"))),
        ("[email-addr:value = 'nobody']", ()),
        ("[file:name = '']", ()),
    ],
)
def test_alternatives(pattern: str, expected: tuple[Ioc, ...]) -> None:
    assert parse(pattern) == (expected, "")


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("[a:b = 'x' AND c:d = 'y']", "[a:b='x' AND c:d='y']"),
        ("[ a:b  =  'x  y'\n AND   c:d='z' ]", "[a:b='x  y' AND c:d='z']"),
        ("[a:b = 'x'] AND [c:d = 'y']", "[a:b='x']AND[c:d='y']"),
        ("[a:b = 'x' AND ( c:d = 'y' OR e:f = 'z' )]", "[a:b='x' AND(c:d='y' OR e:f='z')]"),
        ("[a:b = 'x'] FOLLOWEDBY [c:d = 'y']", "[a:b='x']FOLLOWEDBY[c:d='y']"),
        ("[a:b = 'x']  WITHIN  5  SECONDS", "[a:b='x']WITHIN 5 SECONDS"),
        ("[a:b LIKE 'x%']", "[a:b LIKE 'x%']"),
        ("[a:b MATCHES '[ = ]']", "[a:b MATCHES '[ = ]']"),
        (r"[a:b MATCHES '\\d  \' = (']", r"[a:b MATCHES '\\d  \' = (']"),
        ("[a:b != 'x']", "[a:b !='x']"),
        ("[a:b NOT = 'x']", "[a:b NOT='x']"),
        ("[a:b >= 5]", "[a:b >=5]"),
        ("[a:b = 5]", "[a:b=5]"),
        ("[a:b = true]", "[a:b=true]"),
        ("[a:b IN ( 'x' , 'y' )]", "[a:b IN('x' , 'y')]"),
        ("[a:b = h'ff']", "[a:b=h'ff']"),
        ("[a:b = t'2020-01-01T00:00:00Z']", "[a:b=t'2020-01-01T00:00:00Z']"),
        ("[EXISTS a:b]", "[EXISTS a:b]"),
        ("[a:b LIKE 'x'] // it's a comment\n", "[a:b LIKE 'x']"),
        ("[a:b LIKE /* = */ 'x\u00ady']", "[a:b LIKE 'xy']"),
        ("[autonomous-system:number = -1]", "[autonomous-system:number=-1]"),
        ("[a:b = 'x' OR c:d = 5]", "[a:b='x' OR c:d=5]"),
    ],
)
def test_complex(pattern: str, value: str) -> None:
    parsed = parse(pattern)
    assert parsed.iocs == (Ioc("complex", value),)
    assert parse(value) == parsed
    assert parsed.identities == (Ioc("complex", parsed.canonical),)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[a:b = 'x' AND c:d = 'y']", "[c:d='y'   AND a:b == 'x']"),
        ("[a:b = 'x' AND (c:d = 'y' AND e:f = 'z')]", "[(e:f = 'z' AND a:b = 'x') AND c:d = 'y']"),
        ("[a:b = 'x' AND (c:d = 'y' OR e:f = 'z')]", "[(e:f = 'z' OR c:d = 'y') AND a:b = 'x']"),
        ("[a:b = 'x' OR c:d = 'y' AND e:f = 'z']", "[(e:f = 'z' AND c:d = 'y') OR a:b = 'x']"),
        ("[a:b = 'x'] AND [c:d = 'y']", "([c:d = 'y']) AND [a:b = 'x']"),
        ("[a:b LIKE 'x'] OR [c:d = 'y']", "[c:d = 'y'] OR [a:b LIKE 'x']"),
        ("[a:b LIKE 'x']", "([a:b LIKE 'x']) OR [a:b LIKE 'x']"),
        ("[a:b LIKE 'x' AND a:b LIKE 'x']", "[a:b LIKE 'x']"),
        ("[a:b LIKE 'y' AND c:d = 'x']", "[c:'d' = 'x' AND a:'b' LIKE 'y']"),
        ("[a:b <> 'x']", "[a:b != 'x']"),
        ("[a:b IN ('x', 'y')]", "[a:b IN ('y','x','y')]"),
        ("[file:hashes.'SHA-256' LIKE 'x']", "[file:hashes.sha256 LIKE 'x']"),
        ("[a:b = 'x'] WITHIN 5 SECONDS", "([a:b = 'x']) WITHIN 5 SECONDS"),
        ("[a:b LIKE 'x'] /* why */", "[a:b LIKE 'x']"),
        ("[a:b NOT = 'x']", "[a:b != 'x']"),
        ("[a:'\ufeffb' LIKE 'x']", "[a:b LIKE 'x']"),
        ("[a:b = 5]", "[a:b = +5.00]"),
        ("[a:b > -0.0]", "[a:b > 0]"),
        ("[a:b IN (1, 2)]", "[a:b IN (2.0, +1, 1)]"),
        ("[a:b = h'0A']", "[a:b = h'0a']"),
        ("[a:b = t'2020-01-01T00:00:00Z']", "[a:b = t'2020-01-01T00:00:00.000Z']"),
        (
            "[a:b = 'x'] START t'2020-01-01T00:00:00.10Z' STOP t'2021-01-01T00:00:00.0Z'",
            "[a:b = 'x'] START t'2020-01-01T00:00:00.1Z' STOP t'2021-01-01T00:00:00Z'",
        ),
    ],
)
def test_same_normal_form(one: str, other: str) -> None:
    assert parse(one).canonical == parse(other).canonical != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[a:b = 'x' AND c:d = 'y']", "[a:b = 'x'] AND [c:d = 'y']"),
        ("[a:b = 'x' AND c:d = 'y']", "[a:b = 'X' AND c:d = 'y']"),
        ("[a:b = 'x' AND c:d = 'y']", "[a:b = 'x ' AND c:d = 'y']"),
        ("[a:b = 'x' AND (c:d = 'y' OR e:f = 'z')]", "[a:b = 'x' AND c:d = 'y' OR e:f = 'z']"),
        ("[a:b = 'x'] FOLLOWEDBY [c:d = 'y']", "[c:d = 'y'] FOLLOWEDBY [a:b = 'x']"),
        ("[a:b = 'x'] AND [a:b = 'x']", "[a:b = 'x'] AND [a:b = 'x'] AND [a:b = 'x']"),
        ("[a:b = 'x'] FOLLOWEDBY [a:b = 'x']", "[a:b = 'x'] AND [a:b = 'x']"),
        ("[a:b LIKE 'x']", "[a:b NOT LIKE 'x']"),
        ("[a:b LIKE 'x']", "[a:b MATCHES 'x']"),
        ("[a:b = 5]", "[a:b >= 5]"),
        ("[a:b = 'x'] REPEATS 2 TIMES WITHIN 5 SECONDS", "[a:b = 'x'] WITHIN 5 SECONDS REPEATS 2 TIMES"),
        ("([a:b = 'x'] OR [c:d = 'y']) WITHIN 5 SECONDS", "[a:b = 'x'] OR [c:d = 'y'] WITHIN 5 SECONDS"),
        ("([a:b = 'x'] WITHIN 5 SECONDS) WITHIN 6 SECONDS", "[a:b = 'x'] WITHIN 5 SECONDS"),
        ("[a:b[0] LIKE 'x']", "[a:b[*] LIKE 'x']"),
        ("[a:b > 5]", "[a:b > '5']"),
        ("[a:b = 5]", "[a:b = -5]"),
        ("[a:b = 0.5]", "[a:b = 5]"),
        ("[a:b != 'h']", "[a:b != h'']"),
        ("[a:b = b'AA==']", "[a:b = b'aa==']"),
    ],
)
def test_different_normal_form(one: str, other: str) -> None:
    forms = [parse(one).canonical, parse(other).canonical]
    assert forms[0] != forms[1]
    assert [parse(form).canonical for form in forms] == forms


@pytest.mark.parametrize(
    ("pattern", "simple"),
    [
        ("[domain-name:value = 'evil.example']", True),
        ("[a:b = 'x' OR a:b = 'y'] OR [c:d = 'z']", True),
        ("[user-account:account_type = 'x' AND user-account:account_login = 'y']", True),
        ("[user-account:account_type = 'unix' AND user-account:account_login = 'y']", False),
        ("[a:b = 'x' AND c:d = 'y']", False),
        ("[a:b = 5]", False),
        ("no pattern", False),
    ],
)
def test_is_simple(pattern: str, simple: bool) -> None:
    assert patterns.is_simple(pattern) is simple


@pytest.mark.parametrize(
    ("pattern", "where"),
    [
        ("", "line 1 column 1"),
        ("domain-name:value = 'evil.example'", "line 1 column 1"),
        ("[domain-name:value = 'evil.example'", "line 1 column 36"),
        ("[domain-name:value = 'evil.example']]", "line 1 column 37"),
        ("[domain-name:value = evil.example]", "line 1 column 22"),
        ('[domain-name:value = "evil.example"]', "line 1 column 22"),
        ("[domain-name.value = 'evil.example']", "line 1 column 13"),
        ("[domain-name:\nvalue LIKE ]", "line 2 column 12"),
        ("[file:name = 'open]", "column 14"),
        (r"[file:name = 'C:\dir']", "column 14"),
        ("[file:name = 'x'] /* open", "column 19"),
        ("[file:name = 'x' OR]", "line 1 column 20"),
        ("[file:name = 'x'] OR", "line 1 column 21"),
        ("[file:name = 'x' OR [file:name = 'y']]", "line 1 column 21"),
        ("[file:name = 'x'] OR file:name = 'y'", "line 1 column 22"),
        ("[OR:name = 'x']", "line 1 column 2"),
        ("[file:LIKE = 'x']", "line 1 column 7"),
        ("[file:a.IN = 'x']", "line 1 column 9"),
        ("[file:a-b = 'x']", "line 1 column 7"),
        ("[file:a[01] = 'x']", "line 1 column 10"),
        ("[file:name = 'x'] WITHIN 5 SECONDS WITHIN 6 SECONDS", ""),
        ("[file:na\u00adme = 'x']", "line 1 column 9"),
    ],
)
def test_refused(pattern: str, where: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        parse(pattern)
    assert (refused.value.code, refused.value.field, refused.value.where) == ("pattern-invalid", "pattern", where)
    assert refused.value.hint
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("pattern", "kind", "value"),
    [
        ("[x:EXISTS = 'y.EXISTS']", "other:x:'EXISTS'", "y.EXISTS"),
        ("[x:y.EXISTS LIKE 'y']", "complex", "[x:y.'EXISTS' LIKE 'y']"),
    ],
)
def test_patterns_of_stix_20(pattern: str, kind: str, value: str) -> None:
    assert run_validator(pattern, "2.0") == []
    (ioc,) = parse(pattern, "2.0").iocs
    assert ioc == (kind, value)
    assert run_validator(generate(ioc), "2.1") == []
    with pytest.raises(ItemRefused):
        parse(pattern, "2.1")


@pytest.mark.timeout(5)
def test_open_strings_of_stix_20_take_no_longer() -> None:
    with pytest.raises(ItemRefused):
        parse("[EXISTS x:y = '" + r"\'" * 25_000, "2.0")


def test_stix_20_is_still_a_grammar() -> None:
    assert parse("[domain-name:value = 'evil.example']", "2.0").iocs == (EVIL,)
    with pytest.raises(ItemRefused):
        parse("[a:b = ]", "2.0")


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("[file:name = '" + "x" * 65_536 + "']", "value-too-long"),
        ("[file:name = '" + "ü" * 32_768 + "']", "value-too-long"),
        ("[" + "(" * 33 + "a:b = 'x'", "pattern-too-complex"),
        ("(" * 60_000, "pattern-too-complex"),
        ("[a:b" + ".c" * 33 + " LIKE 'x']", "pattern-too-complex"),
        ("[" + " AND ".join(["a:b = 'x'"] * 1000) + "]", "pattern-too-complex"),
        ("[a:b IN (" + ", ".join(["'x'"] * 5000) + ")]", "pattern-too-complex"),
        ("/*" * 30_000, "pattern-too-complex"),
        ("[a:b = '" + r"\'" * 30_000, "pattern-invalid"),
        ("/*" + "*" * 60_000, "pattern-invalid"),
    ],
    ids=range(10),
)
@pytest.mark.timeout(5)
def test_bounds(pattern: str, code: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        parse(pattern)
    assert refused.value.code == code
    assert refused.value.hint


@pytest.mark.parametrize(
    "pattern",
    [
        "[" + "(" * 31 + "a:b LIKE 'x'" + ")" * 31 + "]",
        "(" * 31 + "[a:b LIKE 'x']" + ")" * 31,
        "[a:b" + ".c" * 32 + " LIKE 'x']",
        "[a:b IN (" + ", ".join(f"{n}.5" for n in range(500)) + ")]",
        "[" + " AND ".join(["a:b = 'x'"] * 500) + "]",
        "[a:b LIKE 'x']" + " OR [a:b LIKE 'y']" * 400,
    ],
    ids=range(6),
)
@pytest.mark.timeout(5)
def test_within_bounds(pattern: str) -> None:
    def deep_in_the_stack(frames: int) -> patterns.Parsed:
        return deep_in_the_stack(frames - 1) if frames else parse(pattern)

    assert deep_in_the_stack(sys.getrecursionlimit() // 4).canonical


def test_many_alternatives() -> None:
    pattern = "[" + " OR ".join(f"file:name = '{n}'" for n in range(2000)) + "]"
    assert parse(pattern).iocs == tuple(Ioc("file-name", str(n)) for n in range(2000))


@pytest.mark.parametrize(
    ("ioc", "pattern"),
    [
        (EVIL, "[domain-name:value = 'evil.example']"),
        (Ioc("ipv4", "192.0.2.1"), "[ipv4-addr:value = '192.0.2.1']"),
        (Ioc("ipv6", "2001:db8::1"), "[ipv6-addr:value = '2001:db8::1']"),
        (Ioc("cidr", "192.0.2.0/24"), "[ipv4-addr:value = '192.0.2.0/24']"),
        (Ioc("cidr", "2001:db8::/32"), "[ipv6-addr:value = '2001:db8::/32']"),
        (Ioc("url", "http://evil.example/"), "[url:value = 'http://evil.example/']"),
        (Ioc("email", "a@evil.example"), "[email-addr:value = 'a@evil.example']"),
        (Ioc("asn", "64500"), "[autonomous-system:number = 64500]"),
        (Ioc("md5", MD5), f"[file:hashes.MD5 = '{MD5}']"),
        (Ioc("sha1", "a" * 40), f"[file:hashes.'SHA-1' = '{'a' * 40}']"),
        (Ioc("sha256", SHA256), f"[file:hashes.'SHA-256' = '{SHA256}']"),
        (Ioc("sha512", "a" * 128), f"[file:hashes.'SHA-512' = '{'a' * 128}']"),
        (Ioc("badhash", "f00"), "[file:hashes.UNKNOWN = 'f00']"),
        (Ioc("cert-md5", MD5), f"[x509-certificate:hashes.MD5 = '{MD5}']"),
        (Ioc("cert-sha1", "a" * 40), f"[x509-certificate:hashes.'SHA-1' = '{'a' * 40}']"),
        (Ioc("cert-sha256", SHA256), f"[x509-certificate:hashes.'SHA-256' = '{SHA256}']"),
        (Ioc("cert-sha512", "a" * 128), f"[x509-certificate:hashes.'SHA-512' = '{'a' * 128}']"),
        (Ioc("file-name", "it's.exe"), r"[file:name = 'it\'s.exe']"),
        (Ioc("file-path", r"C:\it's"), r"[file:path = 'C:\\it\'s']"),
        (Ioc("file-path", "no separator"), "[file:path = 'no separator']"),
        (Ioc("dir-path", "/x"), "[directory:path = '/x']"),
        (Ioc("process-name", "x"), "[process:name = 'x']"),
        (Ioc("process-cmd", "x -y"), "[process:command_line = 'x -y']"),
        (Ioc("app-id", "com.Evil"), "[app:id = 'com.Evil']"),
        (Ioc("ios-profile-id", "com.evil"), "[configuration-profile:id = 'com.evil']"),
        (Ioc("android-property", "x"), "[android-property:name = 'x']"),
        (Ioc("registry-key", r"hkey_users\a"), r"[windows-registry-key:key = 'hkey_users\\a']"),
        (Ioc("user-account", "x"), "[user-account:user_id = 'x']"),
        (Ioc("email-subject", "Urgent: [a]"), "[email-message:subject = 'Urgent: [a]']"),
        (Ioc("phone-number", "+442079460958"), "[phone-number:value = '+442079460958']"),
        (
            Ioc("social-account", "github/someone"),
            "[user-account:account_type = 'github' AND user-account:account_login = 'someone']",
        ),
        (
            Ioc("social-account", "made-up/it's/a\\b"),
            r"[user-account:account_type = 'made-up' AND user-account:account_login = 'it\'s/a\\b']",
        ),
        (Ioc("crypto-address", f"btc/{SEGWIT}"), f"[cryptocurrency-wallet:value = '{SEGWIT}']"),
        (Ioc("mac", "00:00:5e:00:53:01"), "[mac-addr:value = '00:00:5e:00:53:01']"),
        (Ioc("ja3", MD5), f"[network-traffic:extensions.'tls-ext'.ja3 = '{MD5}']"),
        (Ioc("ja3s", MD5), f"[network-traffic:extensions.'tls-ext'.ja3s = '{MD5}']"),
        (Ioc("ja4", JA4), f"[network-traffic:extensions.'tls-ext'.ja4 = '{JA4}']"),
        (Ioc("pdq", SHA256), f"[file:hashes.PDQ = '{SHA256}']"),
        (Ioc("tmk", "QUI="), "[file:hashes.TMK = 'QUI=']"),
        (Ioc("other:file:hashes.PDQ", MD5), f"[file:hashes.PDQ = '{MD5}']"),
        (Ioc("other:mutex:name", "x"), "[mutex:name = 'x']"),
        (Ioc("other:x:y.'a-b'[*]", "x"), "[x:y.'a-b'[*] = 'x']"),
        (Ioc("complex", "[a:b LIKE 'x']"), "[a:b LIKE 'x']"),
    ],
)
def test_generate(ioc: Ioc, pattern: str) -> None:
    assert generate(ioc) == pattern
    assert parse(pattern).iocs == (ioc,)
    assert run_validator(pattern) == []


ACCOUNT_TYPE = "user-account:account_type = 'GitHub'"
LOGIN = "user-account:account_login = '@Someone'"
SOMEONE = Ioc("social-account", "github/someone")


@pytest.mark.parametrize(
    ("pattern", "iocs"),
    [
        (f"[{ACCOUNT_TYPE} AND {LOGIN}]", [SOMEONE]),
        (f"[{LOGIN} AND {ACCOUNT_TYPE}]", [SOMEONE]),
        (f"([({LOGIN}) AND (({ACCOUNT_TYPE}))])", [SOMEONE]),
        (f"[({ACCOUNT_TYPE} AND {LOGIN}) OR domain-name:value = 'evil.example']", [SOMEONE, EVIL]),
        (f"[{ACCOUNT_TYPE} AND {LOGIN}] OR [domain-name:value = 'evil.example']", [SOMEONE, EVIL]),
        (f"[{ACCOUNT_TYPE} AND {LOGIN}] OR [{LOGIN} AND {ACCOUNT_TYPE}]", [SOMEONE]),
        (f"[{ACCOUNT_TYPE} AND {LOGIN} AND user-account:display_name = 'x']", None),
        (f"[({ACCOUNT_TYPE} AND {LOGIN}) AND user-account:display_name = 'x']", None),
        (f"[({ACCOUNT_TYPE} AND {LOGIN}) AND {LOGIN}]", None),
        (f"[{ACCOUNT_TYPE}] AND [{LOGIN}]", None),
        (f"[{ACCOUNT_TYPE} AND {LOGIN}] WITHIN 5 SECONDS", None),
        (f"[{ACCOUNT_TYPE} AND user-account:account_login NOT = 'x']", None),
        (f"[{ACCOUNT_TYPE} AND user-account:account_login LIKE 'Some%']", None),
        (f"[{ACCOUNT_TYPE} AND user-account:user_id = '1']", None),
        (f"[{ACCOUNT_TYPE} AND ({LOGIN} OR user-account:account_login = 'x')]", None),
        ("[user-account:account_type = 'unix' AND user-account:account_login = 'root']", None),
        ("[user-account:account_type = 'github' AND user-account:account_login = 'a b']", None),
        *(
            (f"[user-account:account_type = '{platform}' AND user-account:account_login = '{login}']", None)
            for platform, login in (
                ("mastodon", "https://social.example/@bar"),
                ("twitter", "https://facebook.com/bar"),
                ("facebook", "https://facebook.com/groups/bar"),
                ("telegram", "https://t.me/+AbC"),
                ("whatsapp", "+1"),
                ("made-up", "@@"),
                ("made-up", ""),
            )
        ),
    ],
)
def test_the_two_halves_of_an_account(pattern: str, iocs: list[Ioc] | None) -> None:
    parsed = parse(pattern)
    if iocs is None:
        assert [ioc.kind for ioc in parsed.iocs] == ["complex"]
    else:
        assert list(parsed.iocs) == iocs
        assert not parsed.canonical


@given(
    st.sampled_from(("twitter", "x.com", "telegram", "whatsapp", "facebook", "mastodon", "unix", "", "a b")),
    st.lists(
        st.sampled_from(("https://", "t.me/", "x.com/", "+", "1", "@", "bar", "/", "?", " ", "s/")), max_size=5
    ),
)
def test_no_pattern_of_an_account_is_dropped(platform: str, login: list[str]) -> None:
    pattern = f"[user-account:account_type = '{platform}' AND user-account:account_login = '{''.join(login)}']"
    parsed = parse(pattern)
    assert len(parsed.iocs) == 1
    assert parse(generate(parsed.iocs[0])).identities == parsed.identities


@pytest.mark.parametrize(
    "pattern",
    [
        "[user-account:account_type = 'GitHub' AND user-account:account_login = '@Someone']",
        " [user-account:account_type='it\\'s'\tAND\nuser-account:account_login='a\\\\b'] ",
        "[user-account:account_type = 'x' AND user-account:account_login = '']",
        "[user-account:account_type = 'unix' AND user-account:account_login = 'root']",
        "[user-account:account_type = 'x'AND user-account:account_login = 'y']",
        "[user-account:account_type = 'x' ANDuser-account:account_login = 'y']",
        "[user-account:account_type = 'x' AND user-account:account_login = 'y']]",
    ],
)
def test_the_quick_reading_of_an_account_agrees_with_the_grammar(pattern: str) -> None:
    quick = patterns._quick_equalities(pattern)
    if quick is not None:
        assert patterns._part(patterns._tree(pattern)).equalities == quick


def test_every_kind_of_the_table_is_tried_above() -> None:
    tried = {ioc.kind for mark in test_generate.pytestmark for ioc, _ in mark.args[1]}  # type: ignore[attr-defined]
    assert {*patterns._PATH_BY_KIND, *patterns._WHOLE, "cidr"} <= tried


def test_generate_refuses_unknown_kinds() -> None:
    with pytest.raises(KeyError):
        generate(Ioc("no-such-kind", "x"))


# --- properties ---

TEXT = st.text(st.sampled_from(list("aZ9'\\ /:.[]()=\n\u00ad%é")) | st.characters(), max_size=12)
PATHS = (
    st.sampled_from(
        ["domain-name:value", "url:value", "email-addr:value", "file:name", "file:hashes.MD5", "mutex:name"]
    )
    | st.sampled_from(
        ["app:cert.sha1", "windows-registry-key:key", "configuration-profile:id", "AND-x:y", "x:y.'IN'"]
    )
    | st.sampled_from(["x:y.'a-b'[0]", "x:'a\\'b'", "OR:x", "x:OR", "x:y.IN", "x:a-b", "x:y[01]"])
)
LITERALS = TEXT.map(lambda text: text.replace("\\", "\\\\").replace("'", "\\'")) | TEXT
BLANK = st.sampled_from(["", " ", "\n\t"])
EQUALITIES = st.builds(lambda path, a, b, literal: f"{path}{a}={b}'{literal}'", PATHS, BLANK, BLANK, LITERALS)
PATTERNS = st.builds(
    lambda start, parts, joint, end: start + joint.join(parts) + end,
    st.sampled_from(["[", "[ ", "", "[["]),
    st.lists(EQUALITIES, min_size=1, max_size=3),
    st.sampled_from([" OR ", "] OR [", "]OR[", " OR", "OR ", " OR [", "] OR "]),
    st.sampled_from(["]", " ]\n", "", "]]", "] OR"]),
)


@given(PATTERNS)
def test_quick_reading_agrees_with_the_grammar(pattern: str) -> None:
    quick = patterns._quick_equalities(pattern)
    if quick is not None:
        assert patterns._part(patterns._tree(pattern)).equalities == quick


@given(PATTERNS)
def test_what_is_sent_out_reads_back_the_same(pattern: str) -> None:
    try:
        parsed = parse(pattern)
    except ItemRefused:
        return
    for ioc in parsed.iocs:
        sent = generate(ioc)
        assert parse(sent).identities == (parsed.identities if ioc.kind == "complex" else (ioc,))
        assert run_validator(sent) == []


COMPARISONS = st.builds(
    " ".join,
    st.tuples(
        PATHS.filter(lambda path: "hashes" not in path),
        st.sampled_from(["LIKE", "!=", "NOT =", "=="]),
        TEXT.map(lambda t: f"'{t}'"),
    ),
)
EXPRESSIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.builds(
        lambda parts, word: "(" + f" {word} ".join(parts) + ")",
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from(["AND", "OR"]),
    ),
    max_leaves=5,
)
OBSERVATIONS = st.recursive(
    EXPRESSIONS.map(lambda text: f"[{text}]"),
    lambda inner: st.builds(
        lambda parts, word, qualifier: "(" + f" {word} ".join(parts) + ")" + qualifier,
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from(["AND", "OR", "FOLLOWEDBY"]),
        st.sampled_from(["", " WITHIN 5 SECONDS", " REPEATS 2 TIMES"]),
    ),
    max_leaves=4,
)


@given(OBSERVATIONS)
def test_normal_forms_are_patterns_with_the_same_normal_form(pattern: str) -> None:
    try:
        parsed = parse(pattern)
    except ItemRefused:
        return
    if parsed.canonical:
        again = parse(parsed.canonical)  # `x AND x` is complex, its normal form `x` need not be
        assert not again.canonical or again.canonical == parsed.canonical
        assert parse(parsed.iocs[0].value) == parsed
