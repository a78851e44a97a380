"""gzip (RFC 1952), bounded: a small body may claim to be a very large one."""

from __future__ import annotations

import gzip
import io
import zlib

from schemas.errors import BodyRefused

MAGIC = b"\x1f\x8b"
MAX_RATIO = 250
FREE_BYTES = 1024 * 1024  # below this the ratio does not matter: empty tables compress very well
_STEP_BYTES = 256 * 1024


def unzip(body: bytes, max_bytes: int) -> bytes:
    """The content of a gzip body, which may have several members.

    Raises `BodyRefused`: `too-large` (413) over `max_bytes` or over `MAX_RATIO` times its size, `gzip-invalid`
    where it is cut off or damaged. Stops within a step of the bound; the rest is never unpacked.
    """
    bound = min(max_bytes, max(FREE_BYTES, len(body) * MAX_RATIO))
    out = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
            while chunk := stream.read(_STEP_BYTES):
                out.write(chunk)
                if out.tell() > bound:
                    raise too_large(bound)
    except (OSError, EOFError, zlib.error):
        raise BodyRefused(
            "gzip-invalid",
            "this begins like gzip and can't be unpacked",
            hint="send it uncompressed, or compress it again",
        ) from None
    return out.getvalue()


def too_large(max_bytes: int) -> BodyRefused:
    """The refusal of a body that is larger than the hub takes, as it came or unpacked."""
    size = f"{max_bytes / 2**20:.0f} MiB" if max_bytes >= 2**20 else f"{max_bytes:,} bytes"
    return BodyRefused(
        "too-large",
        f"the body is larger than {size}",
        hint="send it in several smaller submissions",
        status=413,
    )
