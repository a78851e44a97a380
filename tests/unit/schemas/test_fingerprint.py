"""Each rule of canonicalisation as a table of (raw, expected)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import fingerprint as fp
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
SHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SHA512 = SHA256 * 2


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("plain", "plain"),
        ("  both ends \t\n", "both ends"),
        ("in  side", "in  side"),
        ("e\u0301", "é"),
        ("soft\u00adhyphen", "softhyphen"),
        ("zero\u200bwidth\u200c\u200d\u2060\ufeff", "zerowidth"),
        ("\ufeff leading mark", "leading mark"),
        ("\u00a0no-break\u3000", "no-break"),
        ("e\u200d\u0301", "é"),
        ("Case Stays", "Case Stays"),
        ("", ""),
    ],
)
def test_text(raw: str, expected: str) -> None:
    assert fp.clean_text(raw) == expected


@pytest.mark.parametrize(
    ("fanged", "expected"),
    [
        ("hxxp://a.example", "http://a.example"),
        ("hXXps://a.example", "https://a.example"),
        ("HXXP://a.example", "http://a.example"),
        ("hxxp[:]//a.example", "http://a.example"),
        ("hxxp[://]a[.]example", "http://a.example"),
        ("hxxps[:][/][/]a(.)example[/]b", "https://a.example/b"),
        ("a[.]b(.)c{.}d[dot]e(dot)example", "a.b.c.d.e.example"),
        ("a[DOT]example", "a.example"),
        ("who[@]a.example", "who@a.example"),
        ("who[at]a.example", "who@a.example"),
        ("who(at)a.example", "who@a.example"),
        ("a[[.]]example", "a.example"),
        ("hxxp-news.example", "hxxp-news.example"),
        ("see hxxp://a.example", "see hxxp://a.example"),
        ("http://[2001:db8::1]/", "http://[2001:db8::1]/"),
        ("a[b]c", "a[b]c"),
    ],
)
def test_refang(fanged: str, expected: str) -> None:
    assert fp.refang(fanged) == expected


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        ("evil.example", "domain", "evil.example"),
        ("EVIL.Example", "domain", "evil.example"),
        ("evil.example.", "domain", "evil.example"),
        ("evil.example...", "domain", "evil.example"),
        ("*.evil.example", "domain", "evil.example"),
        ("*.*.evil.example", "domain", "evil.example"),
        ("www.evil.example", "domain", "www.evil.example"),
        ("evil.example:8080", "domain", "evil.example"),
        ("evil[.]example", "domain", "evil.example"),
        ("ev\u00adil.example", "domain", "evil.example"),
        ("nodots", "domain", "nodots"),
        ("_dmarc.Evil.example", "domain", "_dmarc.evil.example"),
        ("bücher.example", "domain", "xn--bcher-kva.example"),
        ("BÜCHER.example", "domain", "xn--bcher-kva.example"),
        ("straße.example", "domain", "xn--strae-oqa.example"),
        ("xn--bcher-kva.example", "domain", "xn--bcher-kva.example"),
        ("evil\u3002example", "domain", "evil.example"),
        ("ｅｖｉｌ.example", "domain", "evil.example"),
        ("☃️.Ab-.example", "domain", "☃️.ab-.example"),  # refused by IDNA 2008, the others not touched
        ("-bücher.example", "domain", "-bücher.example"),
        ("a..example", "domain", "a..example"),
        ("evil(\u3002)example", "domain", "evil.example"),
        ("1234", "domain", "1234"),
        ("192.0.2.1", "ipv4", "192.0.2.1"),
        ("192.0.2.1.", "ipv4", "192.0.2.1"),
        ("192[.]0[.]2[.]1", "ipv4", "192.0.2.1"),
        ("192.0.2.1:443", "ipv4", "192.0.2.1"),
        ("192.0.2.1/32", "ipv4", "192.0.2.1"),
        ("192.0.2.0/24", "cidr", "192.0.2.0/24"),
        ("192.0.2.77/24", "cidr", "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "cidr", "192.0.2.0/24"),
        ("192.000.002.001", "domain", "192.000.002.001"),
        ("192.0.2.256", "domain", "192.0.2.256"),
        ("１９２.0.2.1", "ipv4", "192.0.2.1"),
        ("2001:DB8:0:0:0:0:0:1", "ipv6", "2001:db8::1"),
        ("2001:db8::1/128", "ipv6", "2001:db8::1"),
        ("2001:db8::/32", "cidr", "2001:db8::/32"),
        ("[2001:db8::1]", "ipv6", "2001:db8::1"),
        ("[2001:db8::1]:443", "ipv6", "2001:db8::1"),
        ("::ffff:192.0.2.1", "ipv6", "::ffff:c000:201"),
        ("::ffff:192.0.2.0/120", "cidr", "::ffff:c000:200/120"),
        ("evil.example/path", "url", "http://evil.example/path"),
        ("https://evil.example", "url", "https://evil.example/"),
        ("192.0.2.1/login", "url", "http://192.0.2.1/login"),
    ],
)
def test_host(raw: str, kind: str, value: str) -> None:
    assert fp.host(raw) == Ioc(kind, value)


@pytest.mark.parametrize("raw", ["", "  ", "...", "\u00ad"])
def test_no_host(raw: str) -> None:
    assert fp.host(raw) is None


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("http://evil.example", "http://evil.example/"),
        ("evil.example/a", "http://evil.example/a"),
        ("//evil.example/a", "http://evil.example/a"),
        ("HTTP://EVIL.example/Path?Query=X", "http://evil.example/Path?Query=X"),
        ("https://evil.example/", "https://evil.example/"),
        ("http://evil.example:80/", "http://evil.example/"),
        ("https://evil.example:443/", "https://evil.example/"),
        ("https://evil.example:80/", "https://evil.example:80/"),
        ("http://evil.example:08080/", "http://evil.example:8080/"),
        ("http://evil.example:/", "http://evil.example/"),
        ("http://evil.example?q=1", "http://evil.example/?q=1"),
        ("http://evil.example/?", "http://evil.example/?"),
        ("http://evil.example#top", "http://evil.example/"),
        ("http://evil.example/a#b?c", "http://evil.example/a"),
        ("http://evil.example/a/../b", "http://evil.example/a/../b"),
        ("http://evil.example/%7euser/%2f%3a", "http://evil.example/~user/%2F%3A"),
        ("http://evil.example/%41%zz%4", "http://evil.example/A%zz%4"),
        ("http://ev%69l.example/", "http://evil.example/"),
        ("http://User:Pass@EVIL.example/", "http://User:Pass@evil.example/"),
        ("http://a@b@evil.example/", "http://a@b@evil.example/"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/ü"),
        ("http://evil.example./", "http://evil.example/"),
        ("http://192.0.2.1:8080/x", "http://192.0.2.1:8080/x"),
        ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]/"),
        ("http://2001:db8::1/", "http://[2001:db8::1]/"),
        ("hxxps://evil[.]example[/]a", "https://evil.example/a"),
        ("http//evil.example/x", "http://http//evil.example/x"),
        ("ftp://evil.example:21/", "ftp://evil.example:21/"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("evil.example/?u=http://other.example", "http://evil.example/?u=http://other.example"),
        ("http://evil.example/a b", "http://evil.example/a b"),
        ("http://evil.example/a[d%6ft]b", "http://evil.example/a.b"),
        ("http://evil.example:80\u3002/", "http://evil.example/"),
    ],
)
def test_url(raw: str, value: str) -> None:
    assert fp.url(raw) == Ioc("url", value)


@pytest.mark.parametrize(
    "raw", ["", "http://", "https://:443/", "http:///path", "http://user@/", ":\u3002", "[:/]"]
)
def test_no_url(raw: str) -> None:
    assert fp.url(raw) is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Who@Evil.Example", "who@evil.example"),
        ("who[at]evil[.]example", "who@evil.example"),
        ("who@bücher.example.", "who@xn--bcher-kva.example"),
        ("a@b@evil.example", "a@b@evil.example"),
        ("who@192.0.2.1", "who@192.0.2.1"),
        ("evil.example", None),
        ("who@", None),
        ("", None),
    ],
)
def test_email(raw: str, expected: str | None) -> None:
    assert fp.email(raw) == (expected and Ioc("email", expected))


@pytest.mark.parametrize(
    ("raw", "certificate", "kind", "value"),
    [
        (MD5, False, "md5", MD5),
        (SHA1.upper(), False, "sha1", SHA1),
        (SHA256, False, "sha256", SHA256),
        (SHA512, False, "sha512", SHA512),
        (":".join(re.findall("..", SHA1.upper())), True, "cert-sha1", SHA1),
        (f" {SHA256[:32]} {SHA256[32:]}\n", False, "sha256", SHA256),
        (SHA256, True, "cert-sha256", SHA256),
        (MD5, True, "cert-md5", MD5),
        ("F00", False, "badhash", "f00"),
        ("F00", True, "badhash", "f00"),
        ("z" * 32, False, "badhash", "z" * 32),
    ],
)
def test_hash(raw: str, certificate: bool, kind: str, value: str) -> None:
    assert fp.file_hash(raw, certificate) == Ioc(kind, value)


def test_no_hash() -> None:
    assert fp.file_hash(" : ") is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (r"HKLM\Software\Evil", r"hkey_local_machine\software\evil"),
        (r"HKEY_LOCAL_MACHINE\\Software\\Evil", r"hkey_local_machine\software\evil"),
        (r"hkcu\A", r"hkey_current_user\a"),
        (r"HKCR\A", r"hkey_classes_root\a"),
        (r"HKU\A", r"hkey_users\a"),
        (r"HKCC\A", r"hkey_current_config\a"),
        ("HKLM", "hkey_local_machine"),
        (r"Software\HKLM\Evil", r"software\hklm\evil"),
        (r"HKLMX\Evil", r"hklmx\evil"),
    ],
)
def test_registry_key(raw: str, expected: str) -> None:
    assert fp.registry_key(raw) == Ioc("registry-key", expected)


@pytest.mark.parametrize(
    ("path", "literal", "kind", "value"),
    [
        ("domain-name:value", "Evil.example", "domain", "evil.example"),
        ("domain-name:value", "192.0.2.1", "ipv4", "192.0.2.1"),
        ("domain-name:'value'", "Evil.example", "domain", "evil.example"),
        ("ipv4-addr:value", "192.0.2.0/24", "cidr", "192.0.2.0/24"),
        ("ipv6-addr:value", "2001:DB8::1", "ipv6", "2001:db8::1"),
        ("network-traffic:dst_ref.value", "evil.example", "domain", "evil.example"),
        ("network-traffic:src_ref.value", "192.0.2.1/32", "ipv4", "192.0.2.1"),
        ("url:value", "evil.example", "url", "http://evil.example/"),
        ("email-addr:value", "A@evil.example", "email", "a@evil.example"),
        ("email-message:from_ref.value", "A@evil.example", "email", "a@evil.example"),
        ("email-message:sender_ref.value", "A@evil.example", "email", "a@evil.example"),
        ("file:hashes.MD5", MD5.upper(), "md5", MD5),
        ("file:hashes.'SHA-256'", SHA256, "sha256", SHA256),
        ("file:hashes.sha256", SHA256, "sha256", SHA256),
        ("file:hashes.MD5", SHA256, "sha256", SHA256),
        ("app:cert.sha256", SHA256, "cert-sha256", SHA256),
        ("app:cert.md5", MD5, "cert-md5", MD5),
        ("x509-certificate:hashes.'SHA-1'", SHA1, "cert-sha1", SHA1),
        ("file:name", "Evil.EXE", "file-name", "Evil.EXE"),
        ("file:name", "/tmp/Evil", "file-path", "/tmp/Evil"),
        ("file:name", r"C:\Evil", "file-path", r"C:\Evil"),
        ("file:path", "Evil", "file-path", "Evil"),
        ("directory:path", "/Private/x", "dir-path", "/Private/x"),
        ("process:name", "Roleaccountd", "process-name", "Roleaccountd"),
        ("process:command_line", "x -Y", "process-cmd", "x -Y"),
        ("app:id", "Com.Evil", "app-id", "Com.Evil"),
        ("configuration-profile:id", "Com.Evil", "ios-profile-id", "com.evil"),
        ("android-property:name", "Sys.Evil", "android-property", "Sys.Evil"),
        ("windows-registry-key:key", r"HKLM\Evil", "registry-key", r"hkey_local_machine\evil"),
        ("user-account:user_id", "Evil", "user-account", "Evil"),
        ("email:subject", "Urgent", "email-subject", "Urgent"),
        ("email-message:subject", " Urgent ", "email-subject", "Urgent"),
        ("autonomous-system:number", "064500", "asn", "64500"),
        ("autonomous-system:number", "AS64500", "other:autonomous-system:number", "AS64500"),
        ("mutex:name", "Evil", "other:mutex:name", "Evil"),
        ("file:extensions.'ntfs-ext'.sid", "S", "other:file:extensions.'ntfs-ext'.sid", "S"),
        ("file:x.'y'.'true'", "S", "other:file:x.y.'true'", "S"),
        ("file:parent_directory_ref.path", "/x", "other:file:parent_directory_ref.path", "/x"),
    ],
)
def test_path(path: str, literal: str, kind: str, value: str) -> None:
    assert fp.from_path(path, literal) == Ioc(kind, value)


@pytest.mark.parametrize("path", ["domain-name:value", "file:name", "file:hashes.MD5", "mutex:name", "app:id"])
def test_empty_literal_names_nothing(path: str) -> None:
    assert fp.from_path(path, "  ") is None


@pytest.mark.parametrize(
    ("type_name", "raw", "expected"),
    [
        ("domain", "Evil.example", [("domain", "evil.example")]),
        ("hostname", "192.0.2.1", [("ipv4", "192.0.2.1")]),
        ("ip-src", "192.0.2.1", [("ipv4", "192.0.2.1")]),
        ("ip-dst", "2001:DB8::1", [("ipv6", "2001:db8::1")]),
        ("url", "hxxp://evil.example", [("url", "http://evil.example/")]),
        ("email-src", "A@evil.example", [("email", "a@evil.example")]),
        ("email-dst", "A@evil.example", [("email", "a@evil.example")]),
        ("email", "nobody", []),
        ("md5", MD5, [("md5", MD5)]),
        ("sha1", SHA1, [("sha1", SHA1)]),
        ("sha256", SHA256, [("sha256", SHA256)]),
        ("sha512", SHA512, [("sha512", SHA512)]),
        ("filename", "a.exe", [("file-name", "a.exe")]),
        ("filename", "/a/b", [("file-path", "/a/b")]),
        ("regkey", r"HKCU\A", [("registry-key", r"hkey_current_user\a")]),
        ("mobile-application-id", "com.Evil", [("app-id", "com.Evil")]),
        ("x509-fingerprint-sha1", SHA1, [("cert-sha1", SHA1)]),
        ("ip-dst|port", "192.0.2.1|443", [("ipv4", "192.0.2.1")]),
        ("ip-src|port", "2001:db8::1|443", [("ipv6", "2001:db8::1")]),
        ("hostname|port", "evil.example|443", [("domain", "evil.example")]),
        ("domain|ip", "evil.example|192.0.2.1", [("domain", "evil.example"), ("ipv4", "192.0.2.1")]),
        ("domain|ip", "evil.example", [("domain", "evil.example")]),
        ("filename|md5", f"a|b.exe|{MD5}", [("file-name", "a|b.exe"), ("md5", MD5)]),
        ("filename|sha256", "a.exe", [("file-name", "a.exe")]),
        ("filename|imphash", f"a.exe|{MD5}", [("file-name", "a.exe")]),
        ("regkey|value", r"HKLM\A|x|y", [("registry-key", r"hkey_local_machine\a")]),
        ("domain_name", "evil.example", [("domain", "evil.example")]),
        ("ip_address", "192.0.2.1", [("ipv4", "192.0.2.1")]),
        ("ipaddress", "192.0.2.1", [("ipv4", "192.0.2.1")]),
        ("file", f"{MD5}, {SHA1},", [("md5", MD5), ("sha1", SHA1)]),
        ("Domain ", "evil.example", [("domain", "evil.example")]),
        ("link", "https://report.example/", []),
        ("text", "evil.example", []),
        ("comment", "evil.example", []),
        ("mutex", "evil", []),
        ("port", "443", []),
        ("user-agent", "evil", []),
        ("whois-registrant-email", "a@evil.example", []),
        ("vulnerability", "CVE-2023-1", []),
        ("malware-sample", f"a.exe|{MD5}", []),
        ("AS", "64500", []),
        ("", "evil.example", []),
    ],
)
def test_type(type_name: str, raw: str, expected: list[tuple[str, str]]) -> None:
    assert fp.from_type(type_name, raw) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("evil[.]example", ("domain", "evil.example")),
        ("5iw68rug[.]de", ("domain", "5iw68rug.de")),
        ("*.evil[.]example", ("domain", "evil.example")),
        ("bücher[.]example", ("domain", "xn--bcher-kva.example")),
        ("evil.example\nseen in May", ("domain", "evil.example")),
        ("hxxps://evil[.]example/A?id=com.x", ("url", "https://evil.example/A?id=com.x")),
        ("192[.]0[.]2[.]1", ("ipv4", "192.0.2.1")),
        ("192.0.2.0/24", ("cidr", "192.0.2.0/24")),
        ("2001:DB8::1", ("ipv6", "2001:db8::1")),
        ("who[at]evil[.]example", ("email", "who@evil.example")),
        (SHA256.upper(), ("sha256", SHA256)),
        (":".join(re.findall("..", MD5)), ("md5", MD5)),
        ("Using bit[.]example to hide the destination", None),
        ("About 110 accounts", None),
        ("evil[.]example and other[.]example", None),
        ("evil[.]example,", None),
        ("evil.example/path", None),
        ("ftp://evil.example/", None),
        ("http://", None),
        ("who@nowhere", None),
        ("@evil.example", None),
        ("nodots", None),
        ("1.2.3", None),
        ("abcdef", None),
        ("", None),
        ("\nevil.example", None),
    ],
)
def test_cell(cell: str, expected: tuple[str, str] | None) -> None:
    assert fp.from_cell(cell) == expected


FUNCTIONS: list[Callable[[str], object]] = [
    fp.clean_text,
    fp.host,
    fp.url,
    fp.email,
    fp.file_hash,
    fp.registry_key,
    fp.file_name,
    fp.ios_profile_id,
    fp.asn,
    fp.from_cell,
    lambda raw: fp.verbatim("app-id", raw),
    lambda raw: fp.from_path("mutex:name", raw),
    lambda raw: fp.from_type("filename|md5", raw),
    lambda raw: fp.from_type("file", raw),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("raw", ["a" * 65_537, "ü" * 32_769], ids=["ascii", "two bytes each"])
def test_too_long(function: Callable[[str], object], raw: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        function(raw)
    assert refused.value.code == "value-too-long"
    assert refused.value.hint


def test_as_long_as_allowed() -> None:
    assert fp.host("a" * 65_536) == Ioc("domain", "a" * 65_536)
    assert fp.file_name("ü" * 32_768) == Ioc("file-name", "ü" * 32_768)


def test_long_runs_of_marks_are_refused_and_long_texts_are_not() -> None:
    with pytest.raises(ItemRefused) as refused:
        fp.clean_text("a" + "\u0315\u0316" * 10_000)
    assert refused.value.code == "value-malformed"
    thai = "ที่" * 5_000
    assert fp.clean_text(thai) == thai


# --- properties ---

HOSTS = st.text("abz019-.", max_size=20)
NASTY = st.text(
    st.one_of(st.sampled_from(list("aAzé19.:/@*[]()%-_ #?'\\\u3002\uff0e\u00ad\u200d\u0301İΣẞ")), st.characters()),
    max_size=24,
) | st.lists(
    st.sampled_from(["http://", "hxxp", "//", "*.", ".", ":80", "/24", "/", "@", "%", "%2e", "%2F", "#", "?", " "])
    | st.sampled_from(
        ["a", "B.example", "xn--", "ü", "\u2488", "\u00a0", "192.0.2.1", "::1", "[", "]", "[.]", "(dot)"]
    ),
    max_size=8,
).map("".join)


@given(HOSTS)
@example("a.b.")
@example("xn--a")
@example("1.2.3.4")
@example("ab--cd.example")
def test_plain_hosts_need_no_rule(raw: str) -> None:
    quick = fp.host(raw)
    assert quick == fp._host(fp.refang(fp.clean_text(raw)))


@given(NASTY)
@pytest.mark.parametrize("function", [fp.host, fp.url, fp.email, fp.file_hash, fp.registry_key, fp.ios_profile_id])
def test_canonical_values_stay(function: Callable[[str], Ioc | None], raw: str) -> None:
    first = function(raw)
    if first is not None:
        assert function(first.value) == first


@given(NASTY)
def test_clean_text_stays(raw: str) -> None:
    assert fp.clean_text(fp.clean_text(raw)) == fp.clean_text(raw)


# --- fingerprints ---


def test_fingerprint_is_a_truncated_hmac() -> None:
    expected = hmac.new(b"secret", b"domain\0evil.example", hashlib.sha256).digest()[:16]
    assert fp.fingerprint(b"secret", Ioc("domain", "evil.example")) == expected
    assert fp.fingerprint(b"other", Ioc("domain", "evil.example")) != expected
    assert fp.fingerprint(b"secret", Ioc("url", "evil.example")) != expected


def test_fingerprint_of_any_text() -> None:
    assert len(fp.fingerprint(b"secret", Ioc("file-name", "\ud800"))) == fp.FINGERPRINT_BYTES
    assert len(fp.named_fingerprint(b"secret", "\ud800")) == fp.FINGERPRINT_BYTES


def test_named_fingerprints_keep_their_parts_apart() -> None:
    parts = [(), ("",), ("", ""), ("ab",), ("a", "b"), ("ab", ""), ("", "ab"), ("domain", "evil.example")]
    keys = {fp.named_fingerprint(b"secret", *each) for each in parts}
    assert len(keys) == len(parts)
    assert fp.fingerprint(b"secret", Ioc("domain", "evil.example")) not in keys
