"""Files that are for nobody else on this machine."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from schemas.errors import Misconfigured

SEED_BYTES = 32


def write_private(file: Path, text: str) -> None:
    """Writes a file that only its owner can read, durably and as a whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


def policy_key(file: Path, *, new: bool = False) -> bytes:
    """The seed of the Ed25519 key that signs versions of the policy: 32 bytes, hex in a file of mode 0600.

    Made where there is none and the hub is `new`; raises `Misconfigured` where it should be there and is not.
    """
    if new and not file.exists():
        write_private(file, secrets.token_hex(SEED_BYTES) + "\n")
    try:
        seed = bytes.fromhex(file.read_text("ascii").strip())
    except (OSError, ValueError):
        seed = b""
    if len(seed) != SEED_BYTES:
        raise Misconfigured(
            "policy-key-missing",
            f"the key that signs the policy is not here, or is not {SEED_BYTES} bytes in hex",
            where=str(file),
            hint="restore it; if it is lost, put a new one there and tell everybody who checks signatures",
        )
    return seed
