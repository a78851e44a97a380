"""MAC addresses, TLS fingerprints and media hashes: tables of (raw, expected)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas import fingerprint as fp
from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc

MAC = "00:00:5e:00:53:01"  # RFC 7042 section 2.1.2
EUI64 = "02:00:5e:10:00:00:00:01"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"
JA4 = "t13d1516h2_8daaf6152771_e5627efa2ab1"  # the example of its definition
PDQ = "0f1e2d3c" * 8
TLS = "network-traffic:extensions.'tls-ext'"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (MAC, MAC),
        ("00-00-5E-00-53-01", MAC),
        ("00 00 5E 00 53 01", MAC),
        ("00.00.5e.00.53.01", MAC),
        ("0000.5e00.5301", MAC),
        ("0000-5e00-5301", MAC),
        ("00005E005301", MAC),
        ("0:0:5e:0:53:1", MAC),
        (" \u200b00:00:5e:00:53:01", MAC),
        (EUI64, EUI64),
        ("0200.5e10.0000.0001", EUI64),
        ("02005E1000000001", EUI64),
        ("00:00:5e:00:53", None),
        ("00:00:5e:00:53:01:02", None),
        ("00:00-5e:00:53:01", None),
        ("00:00:5e:00:53:0g", None),
        ("000:00:5e:00:53:01", None),
        ("2001:db8:1:2:3:4", None),
        ("00005e00530", None),
        ("", None),
        ("0" * 60_000, None),
        ("0:" * 30_000, None),
    ],
)
def test_mac_address(raw: str, expected: str | None) -> None:
    assert fp.mac_address(raw) == (Ioc("mac", expected) if expected else None)


@pytest.mark.parametrize(
    ("function", "raw", "expected"),
    [
        (fp.ja3, MD5.upper(), Ioc("ja3", MD5)),
        (fp.ja3s, f" {MD5}\n", Ioc("ja3s", MD5)),
        (fp.ja3, "771,4865-4866,0-23,29,0", None),
        (fp.ja3, MD5[1:], None),
        (fp.ja4, JA4, Ioc("ja4", JA4)),
        (fp.ja4, JA4.upper(), Ioc("ja4", JA4)),
        (fp.ja4, "q13i0310h3_55b375c5d22e_cd85d2d88918", Ioc("ja4", "q13i0310h3_55b375c5d22e_cd85d2d88918")),
        (fp.ja4, "x" + JA4[1:], None),
        (fp.ja4, JA4[:-1], None),
        (fp.pdq, PDQ.upper(), Ioc("pdq", PDQ)),
        (fp.pdq, f"{PDQ[:32]} {PDQ[32:]}", Ioc("pdq", PDQ)),
        (fp.pdq, PDQ[:-1], None),
        (fp.tmk, "VE1L RgEA\nQUI=", Ioc("tmk", "VE1LRgEAQUI=")),
        (fp.tmk, "e \u0301", Ioc("tmk", "é")),
        (fp.tmk, "  ", None),
    ],
)
def test_fingerprints_and_hashes(function: Callable[[str], Ioc | None], raw: str, expected: Ioc | None) -> None:
    assert function(raw) == expected


@pytest.mark.parametrize(
    ("path", "literal", "kind", "value"),
    [
        ("mac-addr:value", "00-00-5E-00-53-01", "mac", MAC),
        ("mac-addr:value", "nonsense", "other:mac-addr:value", "nonsense"),
        (f"{TLS}.ja3", MD5, "ja3", MD5),
        (f"{TLS}.ja3", "nonsense", f"other:{TLS}.ja3", "nonsense"),
        (f"{TLS}.ja3s", MD5, "ja3s", MD5),
        (f"{TLS}.'ja4'", JA4, "ja4", JA4),
        ("file:hashes.PDQ", PDQ, "pdq", PDQ),
        ("file:hashes.'pdq'", PDQ, "pdq", PDQ),
        ("file:hashes.PDQ", MD5, "other:file:hashes.PDQ", MD5),
        ("file:hashes.'Pdq'", MD5, "other:file:hashes.PDQ", MD5),
        ("file:hashes.'SHA-256'", PDQ, "sha256", PDQ),
        ("file:hashes.TMK", "QUI=", "tmk", "QUI="),
        ("file:hashes.'PDQ-x'", PDQ, "sha256", PDQ),
    ],
)
def test_path(path: str, literal: str, kind: str, value: str) -> None:
    assert fp.from_path(path, literal) == Ioc(kind, value)


@pytest.mark.parametrize(
    ("type_name", "raw", "expected"),
    [
        ("mac-address", "00-00-5E-00-53-01", [("mac", MAC)]),
        ("mac-eui-64", EUI64, [("mac", EUI64)]),
        ("mac-address", "nonsense", []),
        ("ja3-fingerprint-md5", MD5, [("ja3", MD5)]),
        ("jarm-fingerprint", MD5, []),
        ("PDQ", PDQ, [("pdq", PDQ)]),
        ("HASH_PDQ", PDQ, [("pdq", PDQ)]),
        ("sha256", PDQ, [("sha256", PDQ)]),
        ("HASH_TMK", "QUI=", [("tmk", "QUI=")]),
        ("HASH_VIDEO_MD5", MD5, [("md5", MD5)]),
        ("HASH_MD5", MD5, [("md5", MD5)]),
    ],
)
def test_type(type_name: str, raw: str, expected: list[tuple[str, str]]) -> None:
    assert fp.from_type(type_name, raw) == expected


def test_a_tls_fingerprint_is_never_a_file() -> None:
    iocs = {fp.ja3(MD5), fp.ja3s(MD5), fp.file_hash(MD5), fp.file_hash(MD5, certificate=True)}
    assert len({fp.fingerprint(b"secret", ioc) for ioc in iocs if ioc}) == 4


@pytest.mark.parametrize("function", [fp.mac_address, fp.ja3, fp.ja3s, fp.ja4, fp.pdq, fp.tmk])
def test_too_long(function: Callable[[str], Ioc | None]) -> None:
    with pytest.raises(ItemRefused) as refused:
        function("a" * 65_537)
    assert refused.value.code == "value-too-long"
