"""What the parts of one process share: a value made once at start and handed to each part's `attach`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from schemas.agreement import Agreement, Policy, Rulebook
from services.settings import Settings
from services.store import Store


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Directory:
    """The partners: their agreements, and the numbering of recipients (see `schemas.bits`).

    `version` is the version of the policy whose hash this is. `bit_of` also numbers partners that left.
    """

    agreements: Mapping[str, Agreement]
    policy: Policy
    policy_hash: str
    numbering: str
    bit_of: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    version: int = 0

    @property
    def rules(self) -> Rulebook:
        return Rulebook(self.agreements, self.policy)

    def partner_of(self, bit: int) -> str | None:
        return next((partner for partner, b in self.bit_of.items() if b == bit), None)


@dataclass(eq=False)
class Hub:
    """Settings, database, secret and partners of this process. `clock` gives ms since 1970.

    `directory` is replaced as a whole when another version of the policy comes in force (services/inforce.py), so
    read it at each use and keep no part of it. `policy_problem` says why files are not taken (what, where, hint),
    `policy_waits` which names wait for their confirmation; both in the process that serves.
    """

    settings: Settings
    store: Store
    secret: bytes
    directory: Directory
    clock: Callable[[], int] = now_ms
    policy_problem: Mapping[str, str] | None = None
    policy_waits: tuple[str, ...] = ()
