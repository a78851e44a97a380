"""Values and patterns made to hurt: each is canonical or refused with a reason, in bounded time and memory."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable

import pytest

from schemas import fingerprint as fp
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc
from schemas.patterns import generate, parse
from services.witness.lookup import READINGS, fingerprints

MAX_SECONDS = 2.0  # the slowest took 0.3 on a busy machine
MAX_BYTES = 32 << 20

FULL = 65_536
BIDI = "\u202e\u202d\u2066\u2069"
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"

VALUES = {
    "a domain of one label": "a" * FULL,
    "a domain of many labels": "a." * (FULL // 2),
    "a domain of dots": "." * FULL,
    "a domain of ideographic dots": "\u3002" * (FULL // 3),
    "a domain of wildcards": "*." * (FULL // 2),
    "a domain of A-labels that decode to nothing": "xn--a-" * 40 + ".example",
    "a domain of A-labels": ".".join(["xn--bcher-kva"] * 4_000),
    "labels of several scripts": "раураl.exаmple." * 3_000,
    "several scripts": "аpple-ѕecure.exаmplе",
    "letters that grow in lower case": "İ" * (FULL // 2),
    "letters that decompose": "\ufdfa" * (FULL // 3),
    "zero-width characters": ZERO_WIDTH * (FULL // 18),
    "a domain between zero-width characters": f"evil{ZERO_WIDTH * 1_000}.example",
    "directions": f"evil{BIDI * 1_000}.example",
    "combining marks": "a" + "\u0315\u0316" * 16_000,
    "combining marks that are allowed": ("a" + "\u0315\u0316" * 32) * 300,
    "surrogates": "\ud800" * (FULL // 3),
    "brackets": "[" * FULL,
    "nested defanging": "[" * 8_000 + "." + "]" * 8_000,
    "defanged dots": "[.]" * (FULL // 3),
    "defanging that undoes itself": "[[dot]dot]" * 6_000,
    "hxxp upon hxxp": "hxxp://" * 9_000,
    "escapes": "http://evil.example/" + "%61" * 21_000,
    "escapes of escapes": "http://evil.example/" + "%25" * 21_000,
    "ports": "a" + ":80" * 21_000,
    "colons": ":" * FULL,
    "slashes": "/" * FULL,
    "at signs": "@" * FULL,
    "an address with a zone": "fe80::1%" + "a" * 60_000,
    "digits": "9" * FULL,
    "a network of digits": "192.0.2.0/" + "9" * 60_000,
    "an address of digits": "1" * 4_300 + ".1.1.1",
    "hexadecimal": "a" * FULL,
    "a hash in pieces": "a:" * (FULL // 2),
    "backslashes": "\\" * FULL,
    "a telephone number": "+" + "4" * 60_000,
    "a telephone number of brackets": "+" + "(" * 60_000,
    "a telephone number in pieces": "+44 " * 16_000,
    "a telephone number of other digits": "+" + "٤" * 30_000,
    "an account": "twitter/" + "@" * 60_000,
    "an account of hosts": "x.com/" * 10_000,
    "an account on a platform of dots": "m." * 30_000 + "/x",
    "a facebook number": "facebook/profile.php?" + "id=&" * 15_000,
    "a payment address": "1" * FULL,
    "a Bech32 address": "bc1" + "q" * 65_000,
    "a MAC address": "0:" * (FULL // 2),
    "white space": "\u3000 \t" * 10_000,
    "blanks between": "a" + " " * 60_000 + "b",
    "quotes": "'" * FULL,
    "NUL": "\0" * FULL,
}

FUNCTIONS: list[Callable[[str], object]] = [
    *READINGS,
    fp.from_cell,
    lambda raw: fp.from_type("filename|sha256", raw),
    lambda raw: fp.from_type("domain|ip", raw),
    lambda raw: fp.from_type("file", raw),
    lambda raw: fp.from_path("file:hashes.PDQ", raw),
    lambda raw: fp.from_path("x:y.z", raw),
    lambda raw: fingerprints(b"secret", raw),
]


class Bounded:
    """Fails if what is done within it takes too long."""

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        assert time.perf_counter() - self.began < MAX_SECONDS


@pytest.mark.parametrize("raw", VALUES.values(), ids=VALUES.keys())
def test_values(raw: str) -> None:
    for function in FUNCTIONS:
        with Bounded():
            try:
                found = function(raw)
            except ItemRefused as refusal:
                assert refusal.code in ("value-too-long", "value-malformed")
                assert refusal.hint
                continue
        for ioc in found if isinstance(found, list) else [found]:
            if isinstance(ioc, Ioc):
                assert ioc.value == ioc.value.strip() != ""


def test_memory() -> None:
    """Every reading of the beginning of every value, and every pattern, one after another."""
    tracemalloc.start()
    try:
        for raw in VALUES.values():
            fingerprints(b"secret", raw[:2_000])
        for pattern in PATTERNS.values():
            with contextlib.suppress(ItemRefused):
                parse(pattern)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_BYTES


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        (VALUES["several scripts"], "domain", "xn--pple-ecure-yqi36b.xn--exmpl-5ve2b"),
        (VALUES["a domain between zero-width characters"], "domain", "evil.example"),
        (VALUES["a telephone number"], "domain", VALUES["a telephone number"]),
        ("a" * 64 + "." + "b" * 300, "domain", "a" * 64 + "." + "b" * 300),
    ],
)
def test_what_hostile_hosts_become(raw: str, kind: str, value: str) -> None:
    found = fp.host(raw)
    assert found == Ioc(kind, value)
    assert fp.host(found.value) == found


EQUALITY = "a:b = 'x'"
PATTERNS = {
    "brackets": "[" * FULL,
    "parentheses": "(" * FULL,
    "nested comparisons": "[" + "(" * 20_000 + EQUALITY + ")" * 20_000 + "]",
    "nested observations": "(" * 20_000 + f"[{EQUALITY}]" + ")" * 20_000,
    "a path of many steps": "[a:b" + ".c" * 30_000 + " LIKE 'x']",
    "a path of many indices": "[a:b" + "[0]" * 20_000 + " LIKE 'x']",
    "a long path": "[a:" + "b" * 65_000 + " LIKE 'x']",
    "many ANDs": "[" + " AND ".join([EQUALITY] * 4_500) + "]",
    "many different ANDs": "[" + " AND ".join(f"a:b = '{n}'" for n in range(3_500)) + "]",
    "many FOLLOWEDBYs": " FOLLOWEDBY ".join([f"[{EQUALITY}]"] * 2_700),
    "many qualifiers": f"[{EQUALITY}]" + " WITHIN 5 SECONDS" * 3_500,
    "a long list": "[a:b IN (" + ",".join("'x'" for _ in range(16_000)) + ")]",
    "a list of long numbers": "[a:b IN (" + ",".join(["9" * 4_400] * 14) + ")]",
    "a long number": "[a:b = " + "9" * 65_000 + "]",
    "a long fraction": "[a:b = 0." + "0" * 65_000 + "]",
    "a string of quotes": "[a:b = '" + "\\'" * 32_000 + "']",
    "a string that does not end": "[a:b = '" + "\\'" * 32_000,
    "a string of backslashes": "[a:b LIKE '" + "\\" * 65_000 + "']",
    "comments": "/**/" * 16_000 + f"[{EQUALITY} AND {EQUALITY}]",
    "a comment that does not end": "/*" * 32_000,
    "line comments": "//\n" * 20_000 + f"[{EQUALITY} AND {EQUALITY}]",
    "blanks": "[" + " " * 60_000 + EQUALITY + " LIKE",
    "blanks between alternatives": "[" + (EQUALITY + " " * 600 + "OR ") * 100,
    "two halves of an account": "[user-account:account_type = '" + "'" * 60_000,
    "keywords": "AND OR NOT " * 5_900,
    "NUL": "\0" * FULL,
    "surrogates": f"[a:b = '{chr(0xD800) * 20_000}']",
    "a timestamp": "[a:b = t'2020-01-01T00:00:00." + "0" * 65_000 + "Z']",
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_patterns(pattern: str, version: str) -> None:
    with Bounded():
        try:
            parsed = parse(pattern, version)  # type: ignore[arg-type]
        except ItemRefused as refusal:
            assert refusal.code in ("pattern-invalid", "pattern-too-complex", "value-too-long")
            assert refusal.hint
            assert len(str(refusal)) < 600
            return
    assert parsed.iocs


REGEXES = [
    "(a+)+$",
    "(a|aa)*b",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    r"(.*)*\\1",
    "(?:x{1,1000}){1,1000}",
    "[" * 20_000,
    "(" * 20_000,
    "(?P<n>" * 5_000,
]


@pytest.mark.parametrize("regex", REGEXES, ids=range(len(REGEXES)))
def test_a_regular_expression_is_a_text_and_never_run(regex: str) -> None:
    pattern = f"[url:value MATCHES '{regex}' AND url:value = '{'a' * 30_000}!']"
    with Bounded():
        parsed = parse(pattern)
    assert [ioc.kind for ioc in parsed.iocs] == ["complex"]
    assert parse(generate(parsed.iocs[0])) == parsed


def test_alternatives_are_as_many_as_fit() -> None:
    """Ten thousand are more than a pattern has room for; as many as fit are one indicator each."""
    with Bounded(), pytest.raises(ItemRefused) as refused:
        parse("[" + " OR ".join(["file:name = 'x'"] * 10_000) + "]")
    assert refused.value.code == "value-too-long"
    most = "[" + " OR ".join(f"a:b='{n:x}'" for n in range(4_000)) + "]"
    with Bounded():
        assert len(parse(most).iocs) == 4_000


def test_ten_thousand_short_operands_are_too_many_for_the_grammar() -> None:
    with Bounded(), pytest.raises(ItemRefused) as refused:
        parse("[" + "OR".join(["a:b>1"] * 9_000) + "]")
    assert refused.value.code == "pattern-too-complex"


@pytest.mark.parametrize("digits", [33, 1_000, 65_000])
def test_a_huge_hash_is_a_bad_hash(digits: int) -> None:
    assert parse(f"[file:hashes.MD5 = '{'a' * digits}']").iocs == (Ioc("badhash", "a" * digits),)
    assert fp.pdq("a" * digits) is None


def test_what_does_not_fit_is_refused_with_its_size() -> None:
    for function in FUNCTIONS[:-1]:
        with Bounded(), pytest.raises(ItemRefused) as refused:
            function("ü" * FULL)
        assert refused.value.code == "value-too-long"
        assert "131072" in refused.value.what
