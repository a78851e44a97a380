"""The ids of what goes out: made from the item's fingerprint, so that every replay makes the same id."""

from __future__ import annotations

import hashlib

_NAMESPACE = bytes.fromhex("3f1f3d0c6b0e5d0b9c532f6f0f7f5a10")


def outgoing_id(stix_type: str, fingerprint: bytes, generation: int = 0) -> str:
    """The STIX id under which an item leaves the hub, the same for everybody who gets an unredacted copy.

    A UUID of version 5 (RFC 9562, section 5.5). The fingerprint is keyed (16 bytes), so nobody can compute
    the id from a guessed value. `generation` rises when an item is shared again after a withdrawal, because
    a revocation in STIX is for ever (STIX 2.1, section 3.6).
    """
    name = f"{fingerprint.hex()}/{generation}".encode()
    digest = bytearray(hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # version 5
    digest[8] = digest[8] & 0x3F | 0x80  # of RFC 9562
    text = digest.hex()
    return f"{stix_type}--{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
