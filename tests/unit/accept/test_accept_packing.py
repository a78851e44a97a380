"""What a reading becomes for the inbox: reports, rejections and fates."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.errors import BodyRefused, ItemRefused
from schemas.fingerprint import Ioc, fingerprint, named_fingerprint
from schemas.rejected import Rejected
from schemas.report import Report, with_seq
from schemas.topics import REJECTED, REPORTS
from services.accept import packing
from services.accept.framing import Parcel, pack, unpack
from services.accept.names import Origin
from services.accept.packing import decompress_fates, prepare, report_bytes
from services.accept.reading import Aside, Draft, Item, Reading, Refusal
from services.accept.resolving import Settled
from tests.fakes import NOW_MS, SECRET

GRANULAR = (("marking-definition--1", ("name", "labels.[0]")),)
ORIGIN = Origin("11111111-2222-4333-8444-555555555555", "alpha", NOW_MS)


def draft(value: str = "a.example", **fields: Any) -> Draft:
    given: dict[str, Any] = {
        "pointer": "/objects/0",
        "kind": "domain",
        "value": value,
        "type": "indicator",
        "object": {"type": "indicator", "name": "näme"},
        "created_ms": 1,
        "modified_ms": 2,
        "first_seen_ms": 3,
        "last_seen_ms": 4,
        "identity": Ioc("domain", value),
        "markings": ("m",),
        "handling": {"affected": ["XA"]},
        "labels": ("l",),
    }
    return Draft(**given | fields)


def refusal(pointer: str = "/objects/1", raw: bytes = b"{}", where: str = "") -> Refusal:
    return Refusal(pointer, ItemRefused("made-up", "it is made up", where=where, hint="make it real"), lambda: raw)


def prepared(*items: Item) -> tuple[packing.Packed, list[Parcel], list[packing.Fate]]:
    packed = prepare(Reading("stix", items, ("a note",)), ORIGIN, SECRET)
    return packed, list(unpack(packed.messages)), decompress_fates(packed.fates)[0]


def test_framing_gives_back_what_it_was_given() -> None:
    parcels = [Parcel(REPORTS, b"k" * 16, b"v" * 70_000), Parcel(REJECTED, b"", b""), Parcel(REPORTS, b"k", b"{}")]
    assert list(unpack(pack(parcels))) == parcels
    assert list(unpack(pack([]))) == []


@pytest.mark.parametrize(
    "given",
    [
        Settled(draft(), b"k" * 16),
        Settled(draft(markings=(), handling={}, labels=(), granular=GRANULAR, revoked=True), b"k" * 16 + b"i" * 16),
        Settled(draft(), b"k" * 16, (("source_ref", "00"), ("target_ref", "01")), (("report", "02"),)),
    ],
)
@pytest.mark.parametrize("end", [{}, {"gone": True}, {"withdrawn": "revoked"}, {"withdrawn": "consent"}])
def test_the_bytes_of_a_report_are_those_of_its_model(given: Settled, end: dict[str, Any]) -> None:
    raw = report_bytes(given._replace(**end), 7, ORIGIN)
    report = Report.from_bytes(with_seq(raw, 42))
    assert (report.seq, report.index, report.source, report.received_ms) == (42, 7, "alpha", NOW_MS)
    assert report.to_bytes() == raw


def test_keys_are_fingerprints() -> None:
    other = draft("alpha/malware--1", kind="stix:malware", type="malware", identity=None)
    complicated = draft("[shown]", kind="complex", identity=Ioc("complex", "[normal]"))
    _, parcels, _ = prepared(draft(), other, complicated)
    assert [parcel.key for parcel in parcels] == [
        fingerprint(SECRET, Ioc("domain", "a.example")),
        named_fingerprint(SECRET, "stix:malware", "alpha/malware--1"),
        fingerprint(SECRET, Ioc("complex", "[normal]")),
    ]


def test_counts_and_fates() -> None:
    packed, _, fates = prepared(
        draft(notes=("n",)), refusal(), Aside("/objects/2", "noted", "by id"), draft("b.example")
    )
    assert (packed.taken, packed.refused, packed.skipped) == (2, 1, 1)
    assert [fate["fate"] for fate in fates] == ["taken", "refused", "noted", "taken"]
    assert fates[0] == {
        "pointer": "/objects/0",
        "kind": "domain",
        "value": "a.example",
        "type": "indicator",
        "key": fingerprint(SECRET, Ioc("domain", "a.example")).hex(),
        "fate": "taken",
        "notes": ["n"],
    }
    assert packed.refusals == [fates[1]]
    assert (fates[1]["code"], fates[1]["where"], fates[1]["hint"]) == ("made-up", "/objects/1", "make it real")


@pytest.mark.parametrize(
    ("pointer", "within", "where"),
    [
        ("/objects/1", "", "/objects/1"),
        ("/objects/1", "/objects/1/pattern", "/objects/1/pattern"),
        ("/objects/1", "/pattern", "/objects/1/pattern"),
        ("/objects/1", "/objects/1", "/objects/1"),
        ("", "/pattern", "/pattern"),
        ("line 3", "line 1 column 5", "line 3"),
    ],
)
def test_where(pointer: str, within: str, where: str) -> None:
    assert prepared(refusal(pointer, where=within))[2][0]["where"] == where


def test_a_refused_item_is_kept_whole_for_a_replay() -> None:
    _, [parcel, second], _ = prepared(refusal(raw=b'{"bad": 1}'), refusal("/objects/2"))
    record = Rejected.from_bytes(parcel.value)
    assert parcel.topic is REJECTED
    assert parcel.key == ORIGIN.submission.encode() == record.key_bytes
    assert record.value_bytes == b'{"bad": 1}'
    assert (record.stage, record.code, record.source, record.submission) == (
        "accept",
        "made-up",
        "alpha",
        ORIGIN.submission,
    )
    assert record.origin == f"submission {ORIGIN.submission} /objects/1"
    assert record.at == "2026-11-18T11:06:40.000Z"
    assert Rejected.from_bytes(second.value).id != record.id


def test_an_object_that_no_broker_would_take_is_refused() -> None:
    assert prepared(draft(object={"description": "x" * 120_000}))[0].taken == 1
    packed, [parcel], [fate] = prepared(draft(object={"description": "x" * 128 * 1024}))
    assert (packed.taken, packed.refused, fate["code"]) == (0, 1, "object-too-large")
    assert len(parcel.value) < 1000


DAY_MS = 86_400_000
PAST: dict[str, Any] = {"created_ms": 1, "modified_ms": 2, "first_seen_ms": 3, "last_seen_ms": 4}


@pytest.mark.parametrize("name", PAST)
def test_what_lies_ahead_counts_as_received(name: str) -> None:
    """A date far ahead would keep an indicator for ever within the age that a recipient asks for."""
    _, [parcel], [fate] = prepared(draft(**PAST | {name: NOW_MS + DAY_MS + 1}))
    report = Report.from_bytes(with_seq(parcel.value, 1))
    assert {field: getattr(report, field) for field in PAST} == PAST | {name: NOW_MS}
    assert fate["notes"] == [f"time-in-future: {name.removesuffix('_ms')}; the time of receipt counts"]


def test_a_day_ahead_is_a_clock_that_differs() -> None:
    _, [parcel], [fate] = prepared(draft(**PAST | {"modified_ms": NOW_MS + DAY_MS}))
    assert Report.from_bytes(with_seq(parcel.value, 1)).modified_ms == NOW_MS + DAY_MS
    assert "notes" not in fate


def test_times_stay_in_their_order_where_some_lie_ahead() -> None:
    times = {"created_ms": NOW_MS + 5, "modified_ms": NOW_MS + 2 * DAY_MS}
    report = Report.from_bytes(with_seq(prepared(draft(**PAST | times))[1][0].value, 1))
    assert report.created_ms == report.modified_ms == NOW_MS


def test_what_refusals_keep_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_RAW_BYTES", 1000)
    asked: list[int] = []

    def raw() -> bytes:
        asked.append(1)
        return b"x" * 400

    items = [Refusal(f"line {n}", ItemRefused("made-up", "x"), raw) for n in range(50)]
    packed, parcels, _ = prepared(*items)
    kept = [len(Rejected.from_bytes(parcel.value).value_bytes) for parcel in parcels]
    assert packed.refused == 50
    assert kept == [400] * 3 + [0] * 47
    assert len(asked) == 3


def test_what_a_body_unfolds_to_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_TOTAL_BYTES", 10_000)
    with pytest.raises(BodyRefused) as caught:
        prepared(*(draft(object={"description": "x" * 500}) for _ in range(50)))
    assert (caught.value.status, caught.value.code) == (413, "too-large-unfolded")


def test_fates_hold_nothing_but_json() -> None:
    packed, _, fates = prepared(draft(), refusal())
    assert orjson.loads(orjson.dumps(fates)) == fates
    assert decompress_fates(packed.fates)[1] == ["a note"]
