"""What the parts of one process share: a value made once at start and handed to each part's `attach`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from schemas.agreement import Agreement, Policy
from services.settings import Settings
from services.store import Store


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Directory:
    """The partners: their agreements, and the numbering of recipients (see `schemas.bits`)."""

    agreements: Mapping[str, Agreement]
    policy: Policy
    policy_hash: str
    numbering: str
    bit_of: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def partner_of(self, bit: int) -> str | None:
        return next((partner for partner, b in self.bit_of.items() if b == bit), None)


@dataclass(frozen=True)
class Hub:
    """Settings, database, secret and partners of this process. `clock` gives ms since 1970."""

    settings: Settings
    store: Store
    secret: bytes
    directory: Directory
    clock: Callable[[], int] = now_ms
