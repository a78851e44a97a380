"""Sets of recipients are only read under the numbering that they were written under. Pure."""

from __future__ import annotations

from schemas.errors import Misconfigured


def check_numbering(numbering: str, ours: str, where: str) -> None:
    """Raises `Misconfigured`, which stops the process: under another numbering a set names other partners."""
    if numbering != ours:
        raise Misconfigured(
            "numbering-unknown",
            f"recipients are numbered under {numbering!r} there, and under {ours!r} in this database",
            where=where,
            hint="log and database do not belong together: restore the ones that do",
        )
