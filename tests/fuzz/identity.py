"""What must hold of the identity of indicators, whatever comes in. Each check raises AssertionError."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from schemas import fingerprint as fp
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.patterns import generate, parse
from services.accept.indicators import by_type
from tests.fuzz.mutation import mutated, shortened

MAX_SECONDS_EACH = 2.0
MAX_FINDINGS = 20

Check = Callable[[str], None]


class Target(NamedTuple):
    """What is tried, with what to begin with."""

    name: str
    check: Check
    seeds: tuple[str, ...]


class Finding(NamedTuple):
    """A text for which something does not hold, as short as it could be made."""

    target: str
    text: str
    what: str

    def __str__(self) -> str:
        return f"{self.target}: {self.text!r}: {self.what}"


_CASELESS = frozenset(
    ("domain", "ipv6", "email", "md5", "sha1", "sha256", "sha512", "cert-md5", "cert-sha1", "cert-sha256")
) | {"cert-sha512", "badhash", "registry-key", "ios-profile-id", "mac", "ja3", "ja3s", "ja4", "pdq"}
_DEFANGED = frozenset(("domain", "ipv4", "email"))


def check_value(reading: Callable[[str], Ioc | None], text: str) -> None:
    """Canonical is canonical; what is sent out is read back; case, blanks and defanging do not count."""
    try:
        ioc = reading(text)
    except ItemRefused as refusal:
        assert refusal.hint, "a refusal without a hint"
        return
    if ioc is None:
        return
    assert ioc.value, "an indicator without a value"
    _same(reading(ioc.value), ioc, "the canonical value is not canonical")
    _same(reading(f" \u200b{ioc.value}\u00ad\n"), ioc, "blanks around it count")
    if ioc.kind in _CASELESS and ioc.value.isascii():
        _same(reading(ioc.value.upper()), ioc, "case counts")
    if ioc.kind in _DEFANGED:
        _same(reading(ioc.value.replace(".", "[.]")), ioc, "defanging counts")
    _round_trip(ioc)


def check_pattern(text: str) -> None:
    """A pattern is refused, or stays the same item in its shown, in its normal and in its sent form."""
    try:
        parsed = parse(text)
    except ItemRefused as refusal:
        assert refusal.hint, "a refusal without a hint"
        return
    assert parse(f" {text}\n") == parsed, "blanks around it count"
    for ioc in parsed.iocs:
        _round_trip(ioc)
        if ioc.kind == "complex":
            assert parse(ioc.value) == parsed, "the shown form is another item"
    if parsed.canonical:
        again = parse(parsed.canonical)  # the normal form of `[a AND a]` is `[a]`, which is simple
        assert again.canonical in ("", parsed.canonical), "the normal form has another normal form"


def check_equality(path: str, text: str) -> None:
    """A comparison says in a pattern what its path and its literal say by themselves."""
    try:
        ioc = fp.from_path(path, text)
    except ItemRefused:
        return
    literal = text.replace("\\", "\\\\").replace("'", "\\'")
    assert parse(f"[{path} = '{literal}']").iocs == ((ioc,) if ioc else ()), "a pattern reads it otherwise"


def check_type(name: str, text: str) -> None:
    """What a source's type gives is read again under the hub's own kind."""
    try:
        found = by_type(name, text, parse)
    except ItemRefused:
        return
    for ioc in found.iocs:
        if ioc.kind != "complex":
            _same(next(iter(by_type(ioc.kind, ioc.value, parse).iocs), None), ioc, f"type {name}: read otherwise")
            _round_trip(ioc)


def _same(found: Ioc | None, wanted: Ioc, what: str) -> None:
    assert found == wanted, f"{what}: {found} instead of {wanted}"


def _round_trip(ioc: Ioc) -> None:
    sent = generate(ioc)
    if ioc.kind != "complex":
        assert parse(sent).iocs == (ioc,), f"sent out as {sent!r}, read back as {parse(sent).iocs}"


HOSTS = ("evil.example", "EVIL[.]example", "*.evil.example.", "bücher.example:8080", "192.0.2.1", "192.0.2.0/24")
HOSTS += ("[2001:db8::1]:443", "::ffff:192.0.2.1", "xn--bcher-kva.example", "a_b.example")
URLS = ("hxxps://User@EVIL.example:443/a%7eb?Q=1#f", "http://[2001:db8::1]/", "evil.example/x", "//evil.example")
HASHES = (
    "d41d8cd98f00b204e9800998ecf8427e",
    "DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09",
    "f0" * 32,
)
KEYS = (r"HKLM\Software\Evil", r"hkcu\\A", "HKEY_USERS")
PHONES = (
    "+44 20 7946 0958",
    "+44 (0)20 7946 0958",
    "tel:+1-202-555-0147;ext=5",
    "+39 06 5550 0100",
    "+٤٤٢٠٧٩٤٦٠٩٥٨",
)
ACCOUNTS = ("twitter/@Some_One", "https://www.facebook.com/profile.php?id=1000", "linkedin.com/company/A-B")
ACCOUNTS += ("https://t.me/s/some", "whatsapp/+44 20 7946 0958", "xmpp/a@chat.example/x", "made-up/A/b")
ACCOUNTS += ("youtube.com/channel/UCab", "reddit/u/Some", "bsky.app/profile/a.example")
ADDRESSES = ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "1111111111111111111114oLvT2", "0x" + "aB" * 20)
ADDRESSES += ("4" + "A" * 94, "btc/1111111111111111111114oLvT2")
MACS = ("00:00:5E:00:53:01", "0000.5e00.5301", "00-00-5e-00-53-01", "02005e1000000001", "0:0:5e:0:53:1")
PRINTS = ("t13d1516h2_8daaf6152771_e5627efa2ab1", "d41d8cd98f00b204e9800998ecf8427e")
PATHS = ("/tmp/Evil", r"C:\it's", "evil.exe", "a|b.exe|d41d8cd98f00b204e9800998ecf8427e")
PATTERNS = (
    "[domain-name:value = 'evil.example']",
    "[domain-name:value = 'evil.example' OR ipv4-addr:value = '192.0.2.1'] OR [url:value = 'http://a.example/']",
    "[file:hashes.'SHA-256' = 'f0' AND file:name MATCHES '^a+$']",
    "[a:b = 'x'] FOLLOWEDBY ([c:d IN ('y', 5, true)] AND [e:f[*].g NOT LIKE 'z%']) WITHIN 5 SECONDS",
    "[EXISTS x:y.'a-b'] START t'2020-01-01T00:00:00.10Z' STOP t'2021-01-01T00:00:00Z' REPEATS 2 TIMES",
    "[user-account:account_type = 'github' AND user-account:account_login = '@Someone']",
    "[autonomous-system:number = 64500 OR m:n != -1.50 OR m:n = h'0A' OR m:n ISSUBSET '192.0.2.0/24']",
    "([a:b <> 'it\\'s'] /* why */ OR [c:d == '\\\\'])",
    "[mac-addr:value = '00-00-5E-00-53-01' OR phone-number:value = '+44 20 7946 0958']",
    "[file:hashes.PDQ = '" + "f0" * 32 + "' OR network-traffic:extensions.'tls-ext'.ja3 = '" + "a" * 32 + "']",
)

READINGS: dict[str, tuple[Callable[[str], Ioc | None], tuple[str, ...]]] = {
    "host": (fp.host, HOSTS + URLS),
    "url": (fp.url, URLS + HOSTS),
    "email": (fp.email, ("Who@Evil.example", "who[at]bücher[.]example", "a@b@192.0.2.1")),
    "hash": (fp.file_hash, HASHES),
    "certificate": (partial(fp.file_hash, certificate=True), HASHES),
    "registry-key": (fp.registry_key, KEYS),
    "profile": (fp.ios_profile_id, ("Com.Evil.Profile",)),
    "file-name": (fp.file_name, PATHS),
    "asn": (fp.asn, ("64500", "+064500")),
    "phone-number": (fp.phone_number, PHONES),
    "social-account": (fp.social_account, ACCOUNTS),
    "crypto-address": (fp.crypto_address, ADDRESSES),
    "mac": (fp.mac_address, MACS),
    "ja3": (fp.ja3, PRINTS),
    "ja4": (fp.ja4, PRINTS),
    "pdq": (fp.pdq, HASHES),
    "tmk": (fp.tmk, ("QUI= QUI=",)),
    "app-id": (partial(fp.verbatim, "app-id"), PATHS),
}
EVERYTHING = HOSTS + URLS + HASHES + KEYS + PHONES + ACCOUNTS + ADDRESSES + MACS + PRINTS + PATHS
OBJECT_PATHS = (
    *(
        "domain-name:value",
        "url:value",
        "email-addr:value",
        "file:hashes.MD5",
        "file:hashes.PDQ",
        "file:hashes.TMK",
    ),
    *(
        "app:cert.sha1",
        "file:name",
        "windows-registry-key:key",
        "mutex:name",
        "mac-addr:value",
        "phone-number:value",
    ),
    *("cryptocurrency-wallet:value", "network-traffic:extensions.'tls-ext'.ja4", "user-account:user_id"),
    *("user-account:account_login", "x:'a\\'b'.c[0]", "configuration-profile:id"),
)
TYPES = (
    *(
        "domain",
        "domain|ip",
        "ip-dst|port",
        "filename|sha256",
        "regkey|value",
        "file",
        "url",
        "email",
        "md5",
        "sha256",
    ),
    *("phone-number", "twitter-id", "jabber-id", "github-username", "btc", "xmr", "mac-address", "HASH_PDQ", "tmk"),
    *(
        "ja3-fingerprint-md5",
        "x509-fingerprint-sha1",
        "telegram-username",
        "social-account",
        "complex",
        "other:a:b",
    ),
)

TARGETS: tuple[Target, ...] = (
    Target("pattern", check_pattern, PATTERNS),
    *(Target(name, partial(check_value, reading), seeds) for name, (reading, seeds) in READINGS.items()),
    *(Target(f"path {path}", partial(check_equality, path), EVERYTHING) for path in OBJECT_PATHS),
    *(Target(f"type {name}", partial(check_type, name), EVERYTHING + PATTERNS) for name in TYPES),
)


def fuzz(targets: tuple[Target, ...], seconds: float, seed: int) -> Iterator[Finding | int]:
    """For about `seconds`: every finding (one for each way to fail), and now and then how many texts were tried.

    Ends before its time after `MAX_FINDINGS`. The same seed tries the same texts in the same order.
    """
    dice = random.Random(seed)
    ends = time.monotonic() + seconds
    known: set[tuple[str, str]] = set()
    tried = 0
    while time.monotonic() < ends and len(known) < MAX_FINDINGS:
        for target in targets:
            tried += 1
            text = mutated(target.seeds, dice)
            if (failure := _failure(target, text)) and (target.name, _sort_of(failure)) not in known:
                known.add((target.name, _sort_of(failure)))
                yield _shortest(target, text, _sort_of(failure))
        if tried % 1_000 < len(targets):
            yield tried
    yield tried


def _failure(target: Target, text: str) -> str:
    began = time.monotonic()
    try:
        target.check(text)
    except Exception as error:  # whatever it is, it is what is looked for
        return f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    return f"slow: {seconds:.1f} s" if seconds > MAX_SECONDS_EACH else ""


def _sort_of(failure: str) -> str:
    return ":".join(failure.split(":")[:2])[:60]


def _shortest(target: Target, text: str, sort: str) -> Finding:
    short = (
        text
        if sort.startswith("slow")
        else shortened(text, lambda other: _sort_of(_failure(target, other)) == sort)
    )
    return Finding(target.name, short, _failure(target, short))
