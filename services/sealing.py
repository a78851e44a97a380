"""What travels through the broker for the hub's own eyes: sealed with its secret.

XSalsa20-Poly1305 by libsodium. The nonce is a keyed hash of the text, so that the same text gives the same bytes
and every replay is harmless (as in SIV modes, RFC 5297).
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from functools import lru_cache
from typing import Any

import orjson
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox


def seal(secret: bytes, document: dict[str, Any]) -> str:
    """Base64 of the sealed JSON."""
    plain = orjson.dumps(document)
    nonce = hashlib.blake2b(plain, key=_key(secret, b"nonce"), digest_size=SecretBox.NONCE_SIZE).digest()
    return b64encode(_box(secret).encrypt(plain, nonce)).decode("ascii")


def unseal(secret: bytes, sealed: str) -> dict[str, Any]:
    """What was sealed. Raises `ValueError` where it was not sealed with this secret."""
    try:
        document: dict[str, Any] = orjson.loads(_box(secret).decrypt(b64decode(sealed)))
    except CryptoError as error:
        raise ValueError(f"not sealed with this secret: {error}") from None
    return document


@lru_cache(maxsize=4)
def _box(secret: bytes) -> SecretBox:
    return SecretBox(_key(secret, b"seal"))


@lru_cache(maxsize=8)
def _key(secret: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2b(b"tocsin " + purpose, key=secret[:64], digest_size=32).digest()
