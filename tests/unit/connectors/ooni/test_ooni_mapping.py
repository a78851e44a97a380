"""Measurements of OONI and the incidents that they are: (raw, expected), what counts, and what goes nowhere."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import stix2

from connectors.ooni import mapping
from connectors.ooni.mapping import DAY_MS, Bounds, Checkpoint, Measured, Tally
from schemas.errors import PartnerFailed
from schemas.handling import HANDLING_ID
from schemas.stix import read_object

FIXTURES = Path(__file__).parents[3] / "fixtures" / "connectors" / "ooni"
RAW: dict[str, Any] = orjson.loads((FIXTURES / "raw.json").read_bytes())
LISTED: dict[str, Any] = orjson.loads((FIXTURES / "listed.json").read_bytes())
NOW_MS = 1_795_000_000_000  # 2026-11-18
WINDOW_MS = 3 * DAY_MS
BOUNDS = Bounds(min_probes=3, min_networks=2, min_share=0.5)


def many(
    probes: int, networks: int, finding: str = "anomaly", *, day: str = "2026-11-17", **more: Any
) -> Iterator[Any]:
    """Listed measurements of so many reports, spread over so many networks."""
    flags = {"anomaly": finding != "reached", "confirmed": finding == "confirmed"}
    for number in range(probes):
        who = {"report_id": f"canary-{finding}-{number}", "probe_asn": f"AS{64900 + number % networks}"}
        yield {**LISTED, **flags, **who, "measurement_start_time": f"{day}T13:37:42Z", **more}


def follow(
    known: Checkpoint, rows: list[Any], now_ms: int = NOW_MS, read: Any = lambda row: mapping.listed(row, "ooni")
) -> tuple[list[dict[str, Any]], Checkpoint]:
    since_ms = now_ms - now_ms % DAY_MS - WINDOW_MS
    tally = Tally(since_ms, now_ms)
    for row in rows:
        tally.add(read(row))
    changed, after = mapping.follow(known, tally.counts, since_ms, BOUNDS)
    assert mapping.resume(orjson.loads(orjson.dumps(after.model_dump()))) == after, "a checkpoint goes through JSON"
    return [one for event in changed for one in mapping.objects(event)], after


def test_a_fixture_gives_what_is_expected() -> None:
    said, _ = follow(Checkpoint(), list(many(12, 3)))
    assert said == orjson.loads((FIXTURES / "expected.json").read_bytes())


@pytest.mark.filterwarnings("ignore::stix2.exceptions.STIXDeprecationWarning")
def test_what_is_said_is_valid() -> None:
    said, _ = follow(Checkpoint(), [*many(12, 3), *many(5, 2, test_name="telegram", input=None)])
    assert [one["type"] for one in said] == ["incident", "observed-data", "relationship"] * 2
    for one in said:
        read_object(dict(one), strict=True)
        stix2.parse(one, version="2.1", allow_custom=True)


# --- who measures -------------------------------------------------------------------------------------------------

CANARY = re.compile(rb"canary|203\.0\.113|6499[89]|AS64|13:37|1337|8443|XA")


def _canaries(document: dict[str, Any], read: Any) -> None:
    rows = [
        copy.deepcopy(document) | {"report_id": f"canary-report-{n}", "probe_asn": f"AS6499{n}"} for n in (8, 9, 7)
    ]
    said, known = follow(Checkpoint(), rows, read=read)
    assert said
    for one in said:
        assert one["extensions"][HANDLING_ID].pop("affected") == ["XA"], "the country, there and nowhere else"
    assert CANARY.search(orjson.dumps(rows)), "the pattern finds what is there"
    assert not CANARY.search(orjson.dumps(said))
    kept = orjson.dumps(known.model_dump()).replace(b'"country":"XA"', b"")
    assert not CANARY.search(kept), "nor is it in the checkpoint"
    assert [event.target for event in known.events] == ["news.example"]


def test_nothing_of_who_measured_is_in_what_a_raw_measurement_becomes() -> None:
    _canaries(RAW, mapping.raw)


def test_nothing_of_who_measured_is_in_what_a_listed_one_becomes() -> None:
    _canaries(LISTED, lambda row: mapping.listed(row, "ooni"))


def test_the_fixture_has_a_canary_in_every_field() -> None:
    plain = {
        "input",
        "probe_cc",
        "test_name",
        "test_keys",
        "test_runtime",
        "measurement_start_time",
        "test_start_time",
    }
    for name, value in RAW.items():
        assert name in plain or CANARY.search(orjson.dumps(value)), name
    documented = "annotations backend_version bucket_date data_format_version extensions id input input_hashes"
    documented += " measurement_start_time options probe_asn probe_cc probe_city probe_ip probe_network_name"
    documented += " report_filename report_id resolver_asn resolver_ip resolver_network_name software_name"
    documented += " software_version test_helpers test_keys test_name test_runtime test_start_time test_version"
    assert RAW.keys() == set(documented.split()), "the top level of df-000-base"


def test_counts_leave_as_bands_and_times_as_days() -> None:
    said, _ = follow(Checkpoint(), list(many(37, 5)))
    [incident, observed, _] = said
    assert observed["number_observed"] == 10
    assert (observed["first_observed"], observed["last_observed"]) == ("2026-11-17T00:00:00.000Z",) * 2
    assert "At least 10 measurements in at least 2 networks" in incident["description"]
    assert [mapping.band(n) for n in (0, 1, 2, 9, 10, 99, 100, 1234)] == [0, 1, 2, 2, 10, 10, 100, 1000]


# --- what counts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "incidents"),
    [
        ([*many(3, 2)], 1),
        ([*many(2, 2)], 0),  # too few probes
        ([*many(9, 1)], 0),  # all in one network
        ([*many(3, 2)] * 3, 1),
        ([*many(2, 2)] * 5, 0),  # the same two, again and again
        ([*many(4, 2), *many(4, 2, "reached")], 1),  # half of them
        ([*many(4, 2), *many(6, 2, "reached")], 0),  # less than half
        ([*many(1, 1, "confirmed")], 1),  # OONI knows the page that blocks it
        ([*many(1, 1, "confirmed", failure=True)], 1),
        ([*many(9, 3, failure=True)], 0),  # a failed measurement says nothing
        ([*many(9, 3, "reached")], 0),
        ([*many(9, 3, day="2026-11-14")], 0),  # before the window
        ([*many(9, 3, day="2026-11-15")], 1),
        ([*many(9, 3, day="2026-11-19")], 0),  # a probe whose clock is ahead
        ([*many(9, 3, probe_cc="ZZ")], 0),  # nobody knows where
        ([*many(9, 3, test_name="ndt")], 0),
        ([*many(9, 3, input="http://198.51.100.7/")], 0),  # an address is no site
        ([*many(9, 3, input=None)], 0),
        ([*many(9, 3, input="http://[::broken/")], 0),
        ([*many(9, 3, input="http://router/")], 0),  # nor is what is in somebody's own network
        ([*many(9, 3, test_name="signal", input=None)], 1),
    ],
)
def test_when_measurements_are_an_incident(rows: list[Any], incidents: int) -> None:
    said, _ = follow(Checkpoint(), rows)
    assert sum(one["type"] == "incident" for one in said) == incidents


def test_networks_where_it_is_reached_are_not_counted_as_blocking() -> None:
    blocked = [{**row, "probe_asn": "AS64900"} for row in many(8, 1)]
    mixed = [{**row, "probe_asn": "AS64901"} for row in [*many(1, 1, day="2026-11-16"), *many(3, 1, "reached")]]
    assert follow(Checkpoint(), [*blocked, *mixed])[0] == []


@pytest.mark.parametrize(
    ("test", "keys", "finding"),
    [
        ("web_connectivity", {"blocking": "dns"}, "anomaly"),
        ("web_connectivity", {"blocking": "http-failure"}, "anomaly"),
        ("web_connectivity", {"blocking": False, "accessible": True}, "reached"),
        ("web_connectivity", {"blocking": False, "accessible": False}, "reached"),  # it is down everywhere
        ("web_connectivity", {"blocking": None}, None),
        ("web_connectivity", {"blocking": "canary"}, None),
        ("web_connectivity", {"blocking": ["dns"]}, None),
        ("telegram", {"telegram_tcp_blocking": True, "telegram_web_status": "ok"}, "anomaly"),
        ("telegram", {"telegram_tcp_blocking": False, "telegram_web_status": "ok"}, "reached"),
        ("telegram", {"telegram_web_status": "blocked"}, "anomaly"),
        ("telegram", {}, None),
        ("whatsapp", {"registration_server_status": "blocked"}, "anomaly"),
        ("whatsapp", {"whatsapp_web_status": "ok"}, "reached"),
        ("facebook_messenger", {"facebook_dns_blocking": True}, "anomaly"),
        ("facebook_messenger", {"facebook_dns_blocking": None}, None),
        ("signal", {"signal_backend_status": "blocked"}, "anomaly"),
        ("dash", {"blocking": "dns"}, None),
    ],
)
def test_what_a_probe_found(test: str, keys: dict[str, Any], finding: str | None) -> None:
    found = mapping.raw({**RAW, "test_name": test, "test_keys": keys})
    assert (found.finding if found else None) == finding


@pytest.mark.parametrize("document", [None, [], {}, {"test_name": ["x"]}, {**RAW, "test_keys": []}])
def test_what_is_no_measurement_says_nothing(document: Any) -> None:
    assert mapping.raw(document) is None


@pytest.mark.parametrize(
    "name", ["input", "measurement_start_time", "probe_asn", "probe_cc", "report_id", "test_name", "scores"]
)
@pytest.mark.parametrize("value", [None, 7, "", [], {}, "\0", "x" * 5000])
def test_a_field_of_any_kind_is_no_reason_to_stumble(name: str, value: Any) -> None:
    for read, document in ((mapping.raw, RAW), (lambda row: mapping.listed(row, "ooni"), LISTED)):
        found = read({**document, name: value})
        assert found is None or isinstance(found, Measured)


@pytest.mark.parametrize("row", [None, [], {}, {**LISTED, "anomaly": "t"}, {**LISTED, "failure": None}])
def test_a_list_that_is_not_as_documented_fails(row: Any) -> None:
    with pytest.raises(PartnerFailed) as failed:
        mapping.listed(row, "ooni")
    assert failed.value.code == "answer-unexpected"


# --- over time ----------------------------------------------------------------------------------------------------


def test_the_next_day_is_a_new_version_of_the_same() -> None:
    first, known = follow(Checkpoint(), list(many(3, 2)))
    assert follow(known, list(many(4, 2)))[0] == [], "the same day and the same bands"

    tomorrow = [*many(3, 2), *many(3, 2, day="2026-11-18")]
    second, known = follow(known, tomorrow, NOW_MS + DAY_MS)
    assert [one["id"] for one in second] == [one["id"] for one in first]
    assert all(new["modified"] > old["modified"] for new, old in zip(second, first, strict=True))
    assert all(new["created"] == old["created"] for new, old in zip(second, first, strict=True))
    assert second[1]["last_observed"][:10] == "2026-11-18"

    fewer, known = follow(known, list(many(1, 1, day="2026-11-19")), NOW_MS + 2 * DAY_MS)
    assert fewer[1]["number_observed"] == second[1]["number_observed"], "what is known does not shrink"

    later = NOW_MS + 20 * DAY_MS
    anew, _ = follow(known, list(many(3, 2, day="2026-12-07")), later)
    assert not {one["id"] for one in anew} & {one["id"] for one in first}, "after a window without, it is another"


def test_that_it_is_confirmed_later_is_said_on_the_same_day() -> None:
    first, known = follow(Checkpoint(), list(many(3, 2)))
    second, _ = follow(known, list(many(3, 2, "confirmed")))
    assert second[0]["id"] == first[0]["id"]
    assert second[0]["modified"] > first[0]["modified"]
    assert ("not confirmed" in first[0]["description"], "confirmed by" in second[0]["description"]) == (True, True)


def test_without_a_checkpoint_the_same_comes_out_again() -> None:
    rows = list(many(3, 2))
    assert follow(Checkpoint(), rows)[0] == follow(mapping.resume({"events": "of another version"}), rows)[0] != []


def test_too_many_targets_are_an_error_and_not_a_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "MAX_TARGETS", 3)
    with pytest.raises(OverflowError):
        follow(Checkpoint(), [row for n in range(4) for row in many(1, 1, input=f"https://{n}.example/")])
