"""The ids of what goes out: made from the item's fingerprint, so that every replay makes the same id.

What one recipient alone has is not known before the copy is made out to it: until then *placeholders* stand for it.
A placeholder begins with a zero character, which no text of a source has. `fill` makes them out to a recipient.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32encode
from typing import Any

_NAMESPACE = bytes.fromhex("3f1f3d0c6b0e5d0b9c532f6f0f7f5a10")
_MARK = "\0"
KEY_BYTES = 32


def outgoing_id(stix_type: str, fingerprint: bytes, generation: int = 0) -> str:
    """The STIX id under which an item leaves the hub, the same for everybody who gets an unredacted copy.

    A UUID of version 5 (RFC 9562, section 5.5). The fingerprint is keyed (16 bytes), so nobody can compute
    the id from a guessed value. `generation` rises when an item is shared again after a withdrawal, because
    a revocation in STIX is for ever (STIX 2.1, section 3.6).
    """
    name = f"{fingerprint.hex()}/{generation}".encode()
    return _id(stix_type, hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).digest())


def recipient_key(secret: bytes, numbering: str, bit: int) -> bytes:
    """The key (32 bytes) of the recipient with this number: of its own ids, times and pseudonyms."""
    return hmac.digest(secret, f"recipient/{numbering}/{bit}".encode(), "sha256")


def own_id(stix_type: str, fingerprint: bytes, generation: int, key: bytes) -> str:
    """The STIX id of a redacted copy: each recipient has its own, from which nobody gets to another's.

    In the form of a shared one: that it is its holder's own, and so that something was left out, does not show.
    """
    return _id(stix_type, hmac.digest(key, b"id" + fingerprint + generation.to_bytes(4, "big"), "sha256"))


def own_delay_ms(fingerprint: bytes, key: bytes, most_ms: int) -> int:
    """By how much the times of a redacted copy lie before its release (below `most_ms`), for one recipient: copies
    that are released together are not to be known by that."""
    return int.from_bytes(hmac.digest(key, b"time" + fingerprint, "sha256")[:8], "big") % most_ms


def id_placeholder(stix_type: str, fingerprint: bytes, generation: int) -> str:
    """Stands for the recipient's own id of an item (see `own_id`)."""
    return f"{_MARK}id/{stix_type}/{fingerprint.hex()}/{generation}"


def shown_id(stix_type: str, fingerprint: bytes, generation: int, own: bool) -> str:
    """The id under which recipients hold a copy; where each has its `own`, the placeholder for that."""
    return (id_placeholder if own else outgoing_id)(stix_type, fingerprint, generation)


def pseudonym_placeholder(text: str, epoch: str) -> str:
    """Stands for the recipient's own pseudonym of a text: the same for the same text within one `epoch`."""
    return f"{_MARK}name/{epoch}/{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


def is_placeholder(value: object) -> bool:
    return isinstance(value, str) and value.startswith(_MARK)


def has_placeholders(value: Any) -> bool:
    """Whether one stands anywhere in a JSON value."""
    if isinstance(value, dict):
        return any(map(has_placeholders, value.values()))
    return any(map(has_placeholders, value)) if isinstance(value, list) else is_placeholder(value)


def fill(value: Any, key: bytes) -> Any:
    """A JSON value made out to the recipient of the key."""
    if isinstance(value, dict):
        return {name: fill(part, key) for name, part in value.items()}
    if isinstance(value, list):
        return [fill(part, key) for part in value]
    return _filled(value, key) if is_placeholder(value) else value


def _filled(placeholder: str, key: bytes) -> str:
    what, *parts = placeholder.removeprefix(_MARK).split("/")
    if what == "id":
        stix_type, fingerprint, generation = parts
        return own_id(stix_type, bytes.fromhex(fingerprint), int(generation), key)
    digest = hmac.digest(key, placeholder.encode(), "sha256")
    return "pseudonym-" + b32encode(digest[:10]).decode().lower()


def _id(stix_type: str, digest: bytes) -> str:
    raw = bytearray(digest[:16])
    raw[6] = raw[6] & 0x0F | 0x50  # version 5
    raw[8] = raw[8] & 0x3F | 0x80  # the variant of RFC 9562
    text = raw.hex()
    return f"{stix_type}--{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
