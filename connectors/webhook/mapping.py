"""Between rows of a feed and signed requests. Pure.

The signature is that of Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks,
spec/standard-webhooks.md, "Signature scheme" and "Webhook headers"). The request is a CloudEvent (1.0.2) in the
binary mode of its HTTP binding (section 3.1): the body is the bundle itself, as any reader of STIX takes it, while
a structured event would be one more wrapping. The signature does not cover the headers of CloudEvents, so they say
nothing but constants and the id, which is signed as `webhook-id`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from uuid import UUID

from schemas.errors import Misconfigured
from schemas.feed import FeedRow

PREFIX = "whsec_"
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
MAX_SECRETS = 4
EVENT_TYPE = "tocsin.feed.changed"
MEDIA_TYPE = "application/stix+json;version=2.1"


def secrets_of(text: bytes, where: str = "") -> tuple[bytes, ...]:
    """The secrets of a file, one on each line, in its order. Raises `Misconfigured`, without quoting any."""
    lines = text.split()
    try:
        found = tuple(_secret(line.decode("ascii")) for line in lines)
    except (UnicodeDecodeError, binascii.Error, ValueError):
        found = ()
    if not found or len(found) > MAX_SECRETS:
        raise Misconfigured(
            "webhook-secret",
            f"this is no list of 1 to {MAX_SECRETS} webhook secrets",
            where=where,
            hint=f"write one on each line: {PREFIX} and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in base64",
        )
    return found


def _secret(line: str) -> bytes:
    secret = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError
    return secret


def message_id(rows: Sequence[FeedRow], partner: str) -> str:
    """The same for the same objects in the same versions, at every try."""
    return f"msg_{_digest(rows, partner).hex()[:32]}"


def bundle(rows: Sequence[FeedRow], partner: str) -> bytes:
    """A STIX 2.1 bundle (section 8) of the rows' bodies as they are: a withdrawal is a revoked object. The same
    rows give the same bytes."""
    id_ = UUID(bytes=_digest(rows, partner)[16:], version=5)
    return b'{"type":"bundle","id":"bundle--%b","objects":[\n%b\n]}' % (
        str(id_).encode(),
        b",\n".join(row.body for row in rows),
    )


def _digest(rows: Sequence[FeedRow], partner: str) -> bytes:
    versions = "\n".join(f"{row.stix_id} {row.modified} {int(row.live)}" for row in rows)
    return hashlib.sha256(f"{partner}\n{versions}".encode()).digest()


def headers(
    secrets: Sequence[bytes], id_: str, now_ms: int, body: bytes, source: str = "urn:tocsin:hub"
) -> Mapping[str, str]:
    """Those of a request made now, signed with every secret."""
    seconds = str(now_ms // 1000)
    signed = b".".join((id_.encode(), seconds.encode(), body))
    return {
        "Content-Type": MEDIA_TYPE,
        "webhook-id": id_,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{_mac(secret, signed)}" for secret in secrets),
        "ce-specversion": "1.0",
        "ce-type": EVENT_TYPE,
        "ce-source": source,
        "ce-id": id_,
    }


def _mac(secret: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
