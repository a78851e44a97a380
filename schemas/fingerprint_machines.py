"""Canonical forms of what machines and contents are known by: MAC addresses, TLS fingerprints, media hashes.

Each function is idempotent, gives None for what is no such thing, and refuses what is longer than `MAX_BYTES`.
"""

from __future__ import annotations

import re

from schemas.fingerprint_text import Ioc, clean_text, named

_MAX_MAC_CHARS = 64
_HEX_DIGITS = re.compile(r"[0-9a-f]+").fullmatch
_GROUPED = re.compile(r"[0-9a-f]{1,4}(?:([:. -])[0-9a-f]{1,4})(?:\1[0-9a-f]{1,4}){1,6}").fullmatch


def mac_address(raw: str) -> Ioc | None:
    """An EUI-48 or EUI-64 (IEEE 802) in lower case, its bytes joined by colons.

    Taken are bytes joined by `:`, `-`, `.` or blanks, where a byte's leading zero may be missing; words of two
    bytes (`0000.5e00.5301`); and no separators at all.
    """
    text = clean_text(raw).lower()
    if len(text) > _MAX_MAC_CHARS:
        return None
    digits = ""
    if _HEX_DIGITS(text):
        digits = text
    elif grouped := _GROUPED(text):
        groups = text.split(grouped[1])
        lengths = {len(group) for group in groups}
        if lengths <= {1, 2} or lengths == {4}:
            digits = "".join(group.zfill(2) for group in groups)
    if len(digits) not in (12, 16):
        return None
    return Ioc("mac", ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)))


_MD5 = re.compile(r"[0-9a-f]{32}").fullmatch
_JA4 = re.compile(r"[tqd](?:1[0-3]|s[23]|d[1-3]|00)[di][0-9]{4}[0-9a-z]{2}_[0-9a-f]{12}_[0-9a-f]{12}").fullmatch


def ja3(raw: str) -> Ioc | None:
    """The JA3 of a TLS client (Salesforce, 2017): an MD5, and never equal to a file's."""
    return _fingerprint("ja3", raw)


def ja3s(raw: str) -> Ioc | None:
    """The JA3S of a TLS server."""
    return _fingerprint("ja3s", raw)


def _fingerprint(kind: str, raw: str) -> Ioc | None:
    digest = clean_text(raw).lower()
    return Ioc(kind, digest) if _MD5(digest) else None


def ja4(raw: str) -> Ioc | None:
    """The JA4 of a TLS client (FoxIO, 2023): `t13d1516h2_8daaf6152771_e5627efa2ab1`, in lower case."""
    text = clean_text(raw).lower()
    return Ioc("ja4", text) if _JA4(text) else None


_PDQ = re.compile(r"[0-9a-f]{64}").fullmatch
_BLANKS = re.compile(r"\s+")


def pdq(raw: str) -> Ioc | None:
    """The PDQ hash of a picture (Meta, 2019): 256 bits in hexadecimal. Only who says so tells it from a SHA-256.

    Two pictures that look alike have hashes some bits apart: equal hashes are the same item, near ones are not.
    """
    digest = _BLANKS.sub("", clean_text(raw)).lower()
    return Ioc("pdq", digest) if _PDQ(digest) else None


def tmk(raw: str) -> Ioc | None:
    """The TMK+PDQF hash of a film (Meta, 2019), or a name of it: opaque, without blanks, case kept.

    A whole signature has some 256 kB, more than an indicator may have.
    """
    # again after the deletion, which may have joined a letter and its mark
    return named("tmk", clean_text(_BLANKS.sub("", clean_text(raw))))
