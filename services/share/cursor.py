"""Places in a feed as texts that only this hub can read and only their own partner can use. Pure.

A cursor holds all that is needed to go on, so the hub keeps nothing about who reads what.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

_TAG_BYTES = 16
_PLACE_BYTES = 8
_CHARS = 32  # base64 of 24 bytes, without padding


def seal(secret: bytes, partner: str, place: int) -> str:
    """The place `place` (µs since 1970) in this partner's feed; equal places give equal texts."""
    plain = place.to_bytes(_PLACE_BYTES, "big")
    tag = _tag(secret, partner, plain)
    return urlsafe_b64encode(tag + _masked(secret, tag, plain)).decode("ascii")


def unseal(secret: bytes, partner: str, text: str) -> int | None:
    """None for anything that `seal` did not make for this partner."""
    if len(text) != _CHARS or not text.isascii():
        return None
    try:
        raw = urlsafe_b64decode(text)
    except Base64Error:
        return None
    if len(raw) != _TAG_BYTES + _PLACE_BYTES:
        return None
    tag, masked = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
    plain = _masked(secret, tag, masked)
    if not hmac.compare_digest(tag, _tag(secret, partner, plain)):
        return None
    return int.from_bytes(plain, "big")


def _tag(secret: bytes, partner: str, plain: bytes) -> bytes:
    return hmac.digest(secret, b"cursor\0" + plain + partner.encode(), "sha256")[:_TAG_BYTES]


def _masked(secret: bytes, tag: bytes, text: bytes) -> bytes:
    """The tag serves as the nonce (as in SIV modes, RFC 5297): it differs wherever the place differs."""
    mask = hmac.digest(secret, b"cursor-mask\0" + tag, "sha256")
    return bytes(a ^ b for a, b in zip(text, mask, strict=False))
