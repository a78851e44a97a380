"""Made-up decisions and rejections, and the batches in which they reach the witness."""

from __future__ import annotations

from schemas.bits import of, to_hex
from schemas.decision import Decision, Group, Judgement, Outcome
from schemas.rejected import Rejected
from schemas.topics import DECISIONS, REJECTED
from services.sealing import seal
from services.stream.types import Batch, Position, Record
from services.witness.agent import WitnessSink
from tests.fakes import SECRET


def group(outcome: Outcome, *to: int, rules: tuple[str, ...] = (), **obligations: str) -> Group:
    return Group(outcome=outcome, rules=rules, obligations=obligations, recipients=to_hex(of(to)))


def decision(*judgements: Judgement, **fields: object) -> Decision:
    given = {
        "fingerprint": "00" * 16,
        "id": "indicator--1",
        "type": "indicator",
        "kind": "domain",
        "epoch": 1,
        "counter": 1,
        "at_ms": 0,
        "policy": "0" * 64,
        "numbering": "n0",
        "judgements": judgements,
        "sealed": seal(SECRET, {"value": fields.pop("value", "a.example"), "route": ""}),
    }
    return Decision.model_validate({**given, **fields})


def of_source(source: str, *groups: Group) -> Judgement:
    return Judgement(source=source, groups=groups)


def refusal(id_: str, **fields: str) -> Rejected:
    given = {
        "stage": "govern",
        "code": "poison",
        "reason": "no",
        "origin": "t/0/1",
        "at": "2026-11-01T00:00:00.000Z",
    }
    return Rejected(id=id_, **{**given, **fields})


def batch(sink: WitnessSink, offset: int, *values: Decision | Rejected, epoch: int = 1) -> Batch:
    topic = DECISIONS if isinstance(values[0], Decision) else REJECTED
    items = [(b"", sink.decode(topic.name, Record(b"", value.to_bytes(), offset, 0))) for value in values]
    return Batch(topic.name, 0, items, Position(epoch, offset), None)
