"""What the witness keeps, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from schemas.decision import Decision
from schemas.errors import Misconfigured
from schemas.fingerprint import Ioc, fingerprint
from schemas.patterns import Parsed
from schemas.rejected import Rejected, encode
from schemas.topics import DECISIONS, REJECTED, REPORTS
from services.accept.framing import unpack
from services.accept.inbox import find_submission, store_submission
from services.accept.indicators import Word, drafts
from services.accept.names import Origin
from services.accept.packing import prepare
from services.accept.reading import Reading
from services.hub import Hub
from services.stream.types import Position, Record
from services.tables import counts, decisions, rejected, withdrawn_consents
from services.witness.agent import WitnessSink
from tests.fakes import NOW_MS, rows
from tests.unit.share.world import feeds_hub, recipient
from tests.unit.witness.world import batch, decision, group, of_source, refusal


@pytest.fixture(params=["sqlite", "postgres"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    made = feeds_hub(tmp_path, map(recipient, ("alpha", "beta")), url)
    yield made
    made.store.close()


def judged(counter: int, *outcome: str, fingerprint: str = "00" * 16, epoch: int = 1) -> Decision:
    groups = [group(name, bit, rules=("F02",)) for bit, name in enumerate(outcome)]  # type: ignore[arg-type]
    return decision(of_source("feed", *groups), counter=counter, epoch=epoch, fingerprint=fingerprint)


async def counted(hub: Hub) -> dict[str, int]:
    return {row.name: row.value for row in await rows(hub, counts)}


async def test_the_last_decision_is_kept_and_each_is_counted_once(hub: Hub) -> None:
    sink = WitnessSink(hub)
    first, second, third = judged(1, "permit", "deny"), judged(2, "permit", "permit"), judged(1, "deny", epoch=2)
    await sink.apply(batch(sink, 1, first, second, second, first))
    await sink.apply(batch(sink, 1, third))
    expected = {"items": 1, "versions": 2, "outcome.permit": 3, "outcome.deny": 1, "denied.F02": 1}
    assert await counted(hub) == expected
    [row] = await rows(hub, decisions)
    assert Decision.from_bytes(row.record) == second
    await sink.apply(batch(sink, 2, second))
    assert await counted(hub) == expected
    await sink.apply(batch(sink, 3, third, judged(1, "deny", fingerprint="11" * 16)))
    assert (await counted(hub))["versions"] == 4 and (await counted(hub))["items"] == 2
    assert {(r.epoch, r.counter) for r in await rows(hub, decisions)} == {(2, 1), (1, 1)}


async def test_rejections_are_kept_once(hub: Hub) -> None:
    sink = WitnessSink(hub)
    await sink.apply(batch(sink, 1, refusal("a"), refusal("b")))
    await sink.apply(batch(sink, 2, refusal("b", reason="changed"), refusal("c")))
    assert {r.id: Rejected.from_bytes(r.record).reason for r in await rows(hub, rejected)} == {
        "a": "no",
        "b": "no",
        "c": "no",
    }
    assert await sink.positions(REJECTED.name) == {0: Position(1, 2)}
    assert await sink.positions(DECISIONS.name) == {}


async def test_what_came_under_a_withdrawn_consent_is_not_kept(hub: Hub) -> None:
    for name, consent in (("s1", b"withdrawn"), ("s2", b"given"), ("s3", None)):
        origin = Origin(name, "giver", NOW_MS, consent=consent)
        await store_submission(hub, origin, prepare(Reading("csv", ()), origin, hub.secret))
    over = withdrawn_consents.insert().values(consent=b"withdrawn", withdrawn_ms=NOW_MS)
    await hub.store.write(lambda connection: connection.execute(over))
    sink = WitnessSink(hub)
    await sink.apply(batch(sink, 1, *(refusal(f"of-{name}", submission=name) for name in ("s1", "s2", "s3", ""))))
    assert {row.id for row in await rows(hub, rejected)} == {"of-s2", "of-s3", "of-"}


REPORT = {"index": 0, "source": "giver", "submission": "s1", "kind": 5}


def of_report(id_: str, value: bytes, **fields: str) -> Rejected:
    return refusal(id_, origin_topic=REPORTS.name, key=encode(bytes(16)), value=encode(value), **fields)


async def test_a_rejected_report_is_kept_as_one_of_its_submission(hub: Hub) -> None:
    sink = WitnessSink(hub)
    poison = [b"", b"{", b"[]", b"5", b'{"source": 7, "submission": ["s"]}', b'{"source": "%s"}' % (b"x" * 101)]
    records = [of_report(f"p{n}", raw) for n, raw in enumerate(poison)]
    known = of_report("k", orjson.dumps(REPORT), source="alpha", submission="s9")
    await sink.apply(batch(sink, 1, of_report("r", orjson.dumps(REPORT)), known, *records))
    kept = {row.id: row for row in await rows(hub, rejected)}
    assert (kept["r"].source, kept["r"].submission) == ("giver", "s1")
    record = Rejected.from_bytes(kept["r"].record)
    assert (record.source, record.submission, orjson.loads(record.value_bytes)) == ("giver", "s1", REPORT)
    assert (kept["k"].source, kept["k"].submission) == ("alpha", "s9")
    assert {(kept[f"p{n}"].source, kept[f"p{n}"].submission) for n in range(len(poison))} == {("", "")}


async def test_its_source_is_told_that_the_item_is_refused(hub: Hub) -> None:
    origin, ioc = Origin("s1", "giver", NOW_MS), Ioc("domain", "a.example")
    items = drafts("line 2", Parsed((ioc,)), Word(), NOW_MS)
    packed = prepare(Reading("csv", tuple(items)), origin, hub.secret)
    await store_submission(hub, origin, packed)
    [parcel] = unpack(packed.messages)
    sink = WitnessSink(hub)
    record = of_report("r", parcel.value).model_copy(update={"key": encode(fingerprint(hub.secret, ioc))})
    await sink.apply(batch(sink, 1, record))
    stored = await find_submission(hub, "s1")
    assert stored
    assert [Rejected.from_bytes(raw).id for raw in stored.rejected_behind] == ["r"]


async def test_another_numbering_stops_the_process(hub: Hub) -> None:
    sink = WitnessSink(hub)
    with pytest.raises(Misconfigured, match="numbered under 'n9'"):
        await sink.apply(batch(sink, 1, decision(numbering="n9")))
    assert await sink.positions(DECISIONS.name) == {}


@pytest.mark.parametrize("topic", [DECISIONS.name, REJECTED.name])
@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff"])
def test_what_does_not_parse_is_rejected(tmp_path: Path, topic: str, value: bytes) -> None:
    made = feeds_hub(tmp_path, [recipient("alpha")])
    with pytest.raises(ValueError):
        WitnessSink(made).decode(topic, Record(b"", value, 0, 0))
    made.store.close()


async def test_a_rule_that_failed_is_an_alarm(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    sink = WitnessSink(hub)
    await sink.apply(batch(sink, 1, decision(errors=("F05: ZeroDivisionError", "F05: ZeroDivisionError"))))
    [record] = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.getMessage().endswith("F05: ZeroDivisionError") and "indicator--1" in record.getMessage()
