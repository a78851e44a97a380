"""Which steps share an agent: the only place where the stages meet.

    accept ─▶ tocsin.reports ─▶ [ dedupe · enrich · govern ] ─▶ tocsin.cleared ─▶ share
                                        │ tocsin.known       └▶ tocsin.decisions ─▶ witness

dedupe, enrich and govern are one agent because all three are keyed by fingerprint and share one state; a hop
between them would cost more than they do. share and witness are each one more, ending in the database.
"""

from __future__ import annotations

from collections.abc import Mapping

from publicsuffixlist import PublicSuffixList

from schemas.known import NEVER_MS, Known, due_of, policy_of
from schemas.report import Report
from schemas.topics import CLEARED, DECISIONS, KNOWN, REPORTS
from services.dedupe.merge import merge, says_more
from services.enrich.domain import registrable_domain
from services.govern.compile import Compiled
from services.govern.settle import settle
from services.stream.types import Chunk, Effects, Output, Stage

STAGES = ("accept", "dedupe", "enrich", "govern", "share", "witness")
"""In the order of the flow. (Their folders sort in it.)"""

CORE = "core"


def core(compiled: Compiled, suffixes: PublicSuffixList) -> Stage:
    """dedupe · enrich · govern as one stage."""

    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        touched: dict[bytes, Known] = {}
        undecided: set[bytes] = set()
        for record in chunk.records:
            report = Report.from_bytes(record.value)
            known = touched.get(record.key) or _known(state, record.key)
            merged = merge(known, report, compiled.numbering)
            if merged is not known:
                touched[record.key] = merged
                if says_more(known, merged, report.source):
                    undecided.add(record.key)
        for key in chunk.due:
            known = touched.get(key) or _known(state, key)
            if known is not None:
                touched[key] = known
                undecided.add(key)
        outputs: list[Output] = []
        changes: dict[bytes, bytes | None] = {}
        for key, known in touched.items():
            if key not in undecided:
                changes[key] = known.to_bytes(policy_of(state[key]), due_of(state[key]))
                continue
            domain = registrable_domain(suffixes, known.kind, known.value)
            settled = settle(known, key, compiled, domain, chunk.now_ms, chunk.epoch)
            if settled.cleared:
                outputs.append(Output(CLEARED.name, key, settled.cleared.to_bytes()))
            if settled.decision:
                outputs.append(Output(DECISIONS.name, key, settled.decision.to_bytes()))
            changes[key] = settled.known.to_bytes(compiled.stamp, settled.due_ms)
        return Effects(outputs, changes)

    def due_ms(value: bytes) -> int | None:
        if policy_of(value) != compiled.stamp:
            return 0  # decided under other rules: decide again at once
        due = due_of(value)
        return None if due == NEVER_MS else due

    return Stage(
        name=CORE,
        source=REPORTS,
        state=KNOWN,
        outputs=(CLEARED, DECISIONS),
        step=step,
        due_ms=due_ms,
        watermark=CLEARED,
    )


def _known(state: Mapping[bytes, bytes], key: bytes) -> Known | None:
    raw = state.get(key)
    return Known.from_bytes(raw) if raw else None
