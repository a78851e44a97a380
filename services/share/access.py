"""Whether an agreement lets a partner receive today. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from schemas.agreement import Agreement


def may_receive(agreements: Mapping[str, Agreement], partner: str, now_ms: int) -> bool:
    """False without an agreement, without `[receives]` in it, and outside its term: then a feed holds
    withdrawals only (deploy/policy.md, "Sent before, now forbidden")."""
    agreement = agreements.get(partner)
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    return agreement is not None and agreement.receives is not None and agreement.in_force(today)
