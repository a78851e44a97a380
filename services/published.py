"""What everybody may know of the policy, and its signature. Pure.

A version is published as one JSON document: its number and hash, since when, the hash of the version before, how
many agreements there are, the whole policy file, and what each rule forbids. It names no partner. What is signed is
the document as it is served, byte for byte: canonical JSON, with sorted keys and no spaces. Whoever has the
document, and signature and key in hex from the list of versions, checks it by

    from nacl.signing import VerifyKey
    VerifyKey(bytes.fromhex(key)).verify(document, bytes.fromhex(signature))

which raises where it is not signed so (Ed25519, RFC 8032). The key is worth what one knows of where it came from:
note it once, and hold later versions against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import orjson
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from schemas.agreement import Rulebook
from schemas.timestamps import format_time


class Version(NamedTuple):
    """One version as it is published. `document` is what is signed; `signature` and `key` are hex."""

    version: int
    hash: str
    since_ms: int
    document: bytes
    signature: str
    key: str


def canonical(document: object) -> bytes:
    """JSON as it is hashed and signed: UTF-8, keys sorted, no spaces."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def publish(
    version: int,
    hash_: str,
    since_ms: int,
    previous: str,
    rules: Rulebook,
    sentences: Mapping[str, str],
    seed: bytes,
) -> Version:
    """Signs a version with the key of this seed. `sentences` say by rule what it forbids; `previous` is the hash of
    the version before, or empty."""
    document = canonical(
        {
            "version": version,
            "hash": hash_,
            "since": format_time(since_ms),
            "previous": previous,
            "agreements": len(rules.agreements),
            "policy": rules.policy.model_dump(mode="json"),
            "rules": dict(sentences),
        }
    )
    key = SigningKey(seed)
    return Version(
        version, hash_, since_ms, document, key.sign(document).signature.hex(), bytes(key.verify_key).hex()
    )


def is_signed(document: bytes, signature: str, key: str) -> bool:
    """Whether this key (hex) made this signature (hex) on exactly these bytes."""
    try:
        VerifyKey(bytes.fromhex(key)).verify(document, bytes.fromhex(signature))
    except (CryptoError, ValueError, TypeError):
        return False
    return True
