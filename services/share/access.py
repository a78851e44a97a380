"""Whether an agreement lets a partner receive, or contribute, today. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from schemas.agreement import Agreement


def may_receive(agreements: Mapping[str, Agreement], partner: str, now_ms: int) -> bool:
    """False without an agreement, without `[receives]` in it, and outside its term: then a feed holds
    withdrawals only (deploy/policy.md, "Sent before, now forbidden")."""
    agreement = _in_force(agreements, partner, now_ms)
    return agreement is not None and agreement.receives is not None


def may_contribute(agreements: Mapping[str, Agreement], partner: str, now_ms: int) -> bool:
    """False without an agreement, without `[contributes]` in it, and outside its term."""
    agreement = _in_force(agreements, partner, now_ms)
    return agreement is not None and agreement.contributes is not None


def _in_force(agreements: Mapping[str, Agreement], partner: str, now_ms: int) -> Agreement | None:
    agreement = agreements.get(partner)
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    return agreement if agreement is not None and agreement.in_force(today) else None
