"""Updates as ThreatExchange writes them, and as Meta's own package reads them."""

from __future__ import annotations

import orjson
import pytest
from threatexchange.exchanges.clients.fb_threatexchange.descriptor import ThreatDescriptor
from threatexchange.exchanges.clients.fb_threatexchange.threat_updates import ThreatUpdateJSON

from connectors.threatexchange.mapping import FORMATS, TYPES, fields_of, page, update
from schemas.feed import FeedRow
from schemas.markings import Tlp
from tests.unit.connectors.rows import indicator, other, tombstone, written

WHOLE = FORMATS["threatexchange"]


def test_to_the_last_byte() -> None:
    row = indicator("evil.example", tlp=Tlp.AMBER, body={"name": "Fake login"}, enrichment={"families": ["Lynx"]})
    live = update(row, 1_793_577_600) or {}
    gone = tombstone("gone.example")
    number = (update(gone, 0) or {})["id"]
    tags = '{"data":[' + ",".join(
        f'{{"id":"{n}","text":"{text}"}}'
        for n, text in enumerate(["tlp:amber", "pap:green", "phishing", "Lynx"], 1)
    )
    expected = (
        '{"data":[\n{"id":"ID","indicator":"evil.example","type":"DOMAIN","creation_time":1793491200,'
        '"last_updated":1793577600,"should_delete":false,"status":"MALICIOUS","tags":TAGS]},'
        '"applications_with_opinions":["7023616"],"descriptors":{"data":[{"id":"ID",'
        '"owner":{"id":"7023616","name":"Tocsin"},"raw_indicator":"evil.example","type":"DOMAIN",'
        '"status":"MALICIOUS","share_level":"AMBER","privacy_type":"HAS_PRIVACY_GROUP",'
        '"review_status":"UNREVIEWED","confidence":80,"description":"Fake login","tags":TAGS]},'
        '"added_on":"2026-11-01T00:00:00+0000","last_updated":"2026-11-02T00:00:00+0000",'
        '"first_active":"2026-10-01T00:00:00.000Z","last_active":"2026-11-01T00:00:00.000Z",'
        '"expired_on":null,"reactions":[]}]}},\n'
        f'{{"id":"{number}","indicator":"","type":"","creation_time":1793491200,"last_updated":1793577600,'
        '"should_delete":true}\n],"paging":{}}\n'
    )
    expected = expected.replace("ID", live["id"]).replace("TAGS", tags)
    rows = [row, other("malware", "m", name="m"), gone]
    assert written(WHOLE, rows).decode() == expected
    assert written(WHOLE, rows[1:2], rows[:1], [], rows[2:]) == written(WHOLE, rows)
    assert written(WHOLE, []) == b'{"data":[\n\n],"paging":{}}\n'


def test_ids_are_those_that_readers_have_already() -> None:
    first, again = update(indicator("evil.example"), 1) or {}, update(tombstone("evil.example"), 2) or {}
    assert first["id"] == again["id"] == "4305502536628801970"
    assert 0 < int(first["id"]) < 1 << 63


@pytest.mark.parametrize("kind", TYPES)
def test_metas_package_reads_every_kind(kind: str) -> None:
    value = {"asn": "64500"}.get(kind, "x.example")
    found = ThreatUpdateJSON(orjson.loads(orjson.dumps(update(indicator(value, kind), 7))))
    assert (found.indicator, found.threat_type, found.time, found.should_delete) == (value, TYPES[kind], 7, False)
    [descriptor] = found.raw_json["descriptors"]["data"]
    read = ThreatDescriptor.from_te_json(1, descriptor)
    assert (read.raw_indicator, read.status, "phishing" in read.tags) == (value, "MALICIOUS", True)


def test_a_deletion_says_nothing_but_its_id() -> None:
    found = ThreatUpdateJSON(update(tombstone("x.example", kind="domain"), 7))
    assert found.should_delete and found.indicator == ""


@pytest.mark.parametrize(
    "row",
    [
        indicator("x.example")._replace(kind="complex"),
        indicator("rule x {}", "pattern:yara"),
        other("malware", "m", name="m"),
        tombstone("m", "malware"),
    ],
)
def test_what_it_has_no_type_for_is_left_out(row: FeedRow) -> None:
    assert update(row, 1) is None


@pytest.mark.parametrize(
    ("tlp", "level"),
    [
        ("clear", "WHITE"),
        ("green", "GREEN"),
        ("amber", "AMBER"),
        ("amber+strict", "RED"),
        ("red", "RED"),
        ("", "RED"),
    ],
)
def test_a_share_level_is_never_wider(tlp: str, level: str) -> None:
    made = update(indicator("x.example")._replace(tlp=tlp), 1) or {}
    assert made["descriptors"]["data"][0]["share_level"] == level


@pytest.mark.parametrize(("confidence", "status"), [(70, "MALICIOUS"), (69, "SUSPICIOUS"), (None, "SUSPICIOUS")])
def test_how_sure_it_is(confidence: int | None, status: str) -> None:
    assert (update(indicator("x.example", confidence=confidence), 1) or {})["status"] == status


FIELDS = [
    ("", ()),
    ("id,type", ("id", "type")),
    ("id,descriptors{id,owner{id},tags},status", ("id", "descriptors", "status")),
    ("a{b", ("a",)),
    ("}}a,b", ("",)[:0]),
    (" id , type ", ("id", "type")),
]


@pytest.mark.parametrize(("text", "names"), FIELDS)
def test_fields(text: str, names: tuple[str, ...]) -> None:
    assert fields_of(text) == names


def test_pages() -> None:
    updates = [{"id": "1", "type": "DOMAIN", "status": "MALICIOUS"}]
    assert page(updates, ("type",), "") == b'{"data":[{"id":"1","type":"DOMAIN"}],"paging":{}}'
    assert page(updates, (), "https://hub.example/x") == (
        b'{"data":[{"id":"1","type":"DOMAIN","status":"MALICIOUS"}],"paging":{"next":"https://hub.example/x"}}'
    )


def test_what_it_may_be_used_for_is_said_where_that_is_limited() -> None:
    def tags(row: FeedRow) -> list[str]:
        return [tag["text"] for tag in (update(row, 0) or {})["tags"]["data"] if "purpose" in tag["text"]]

    assert tags(indicator("a.example")) == []
    assert tags(indicator("a.example", purposes=["detect", "assist"])) == ["purpose:assist", "purpose:detect"]
