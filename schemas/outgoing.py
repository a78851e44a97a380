"""The ids of what goes out: made from the item's fingerprint, so that every replay makes the same id."""

from __future__ import annotations

from uuid import UUID, uuid5

_NAMESPACE = UUID("3f1f3d0c-6b0e-5d0b-9c53-2f6f0f7f5a10")


def outgoing_id(stix_type: str, fingerprint: bytes, generation: int = 0) -> str:
    """The STIX id under which an item leaves the hub, the same for everybody who gets an unredacted copy.

    A UUID of version 5 (RFC 9562, section 5.5). The fingerprint is keyed (16 bytes), so nobody can compute
    the id from a guessed value. `generation` rises when an item is shared again after a withdrawal, because
    a revocation in STIX is for ever (STIX 2.1, section 3.6).
    """
    return f"{stix_type}--{uuid5(_NAMESPACE, f'{fingerprint.hex()}/{generation}')}"
