"""Outage events of IODA and the incidents that they are: (raw, expected) pairs, and what changes over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import stix2

from connectors.ioda import mapping
from connectors.ioda.mapping import Bounds, Checkpoint
from schemas.errors import PartnerFailed
from schemas.handling import HANDLING_ID
from schemas.stix import read_object

FIXTURES = Path(__file__).parents[3] / "fixtures" / "connectors" / "ioda"
NOW_S = 1_795_000_000
BOUNDS = Bounds(min_signals=2, min_score=1000, gap_s=3600)
HOUR = 3600


def event(start_s: int, duration_s: int, *, place: str = "country/XA", signal: str = "bgp", **more: Any) -> Any:
    said = {"datasource": signal, "score": 5000.0, "location_name": "Ashland", "overlaps_window": False}
    return {"location": place, "start": start_s, "duration": duration_s} | said | more


def both(start_s: int, duration_s: int, **more: Any) -> list[Any]:
    return [event(start_s, duration_s, signal=signal, **more) for signal in ("bgp", "ping-slash24")]


def follow(
    known: Checkpoint, events: list[Any], until_s: int = NOW_S, country: str = ""
) -> tuple[list[dict[str, Any]], Checkpoint]:
    from_s = mapping.since(known, until_s, 48 * HOUR)
    found = mapping.outages(events, country, until_s, "ioda")
    changed, after = mapping.follow(known, found, until_s, from_s, BOUNDS)
    restored = mapping.resume(orjson.loads(orjson.dumps(after.model_dump())))
    assert restored == after, "a checkpoint goes through JSON"
    return [one for incident in changed for one in mapping.objects(incident)], after


def test_a_fixture_gives_what_is_expected() -> None:
    events = mapping.rows(orjson.loads((FIXTURES / "events.json").read_bytes()), "ioda")
    said, _ = follow(Checkpoint(), events)
    assert said == orjson.loads((FIXTURES / "expected.json").read_bytes())
    for one in said:
        assert read_object(dict(one), strict=True).type == "incident"
        stix2.parse(one, version="2.1", allow_custom=True)


def test_no_text_names_the_country() -> None:
    events = mapping.rows(orjson.loads((FIXTURES / "events.json").read_bytes()), "ioda")
    said, _ = follow(Checkpoint(), events)
    for one in said:
        assert one["extensions"][HANDLING_ID]["affected"] in (["XA"], ["XC"])
        text = orjson.dumps({name: value for name, value in one.items() if name != "extensions"}).decode()
        assert not any(name in text for name in ("XA", "XC", "Ashland", "Cedarland"))


def test_what_goes_on_is_a_new_version_of_the_same() -> None:
    start = NOW_S - 5 * HOUR
    [first], known = follow(Checkpoint(), both(start, 5 * HOUR, overlaps_window=True))
    assert "had not recovered" in first["description"]

    nothing, same = follow(known, both(start, 5 * HOUR + 600, overlaps_window=True), NOW_S + 600)
    assert nothing == [], "the same day, the same order of score"

    [second], known = follow(same, both(start, 29 * HOUR, overlaps_window=True), NOW_S + 24 * HOUR)
    assert (second["id"], second["created"]) == (first["id"], first["created"])
    assert second["modified"] > first["modified"]

    assert mapping.since(known, NOW_S + 48 * HOUR, 2 * HOUR) <= start, "asked for from its beginning on"
    ended, known = follow(known, both(start, 30 * HOUR), NOW_S + 48 * HOUR)
    assert ["recovered at" in one["description"] for one in ended] == [True]
    assert ended[0]["id"] == first["id"]
    assert ended[0]["modified"] > second["modified"]
    assert follow(known, both(start, 30 * HOUR), NOW_S + 49 * HOUR)[0] == []


def test_what_begins_later_in_a_later_answer_is_still_the_same() -> None:
    start = NOW_S - 20 * HOUR
    [first], known = follow(Checkpoint(), both(start, 20 * HOUR))
    cut = follow(known, both(start + 4 * HOUR, 40 * HOUR), NOW_S + 24 * HOUR)[0]
    assert [one["id"] for one in cut] == [first["id"]]
    assert first["description"][:40] == cut[0]["description"][:40], "it began when it began"


def test_without_a_checkpoint_the_same_comes_out_again() -> None:
    events = both(NOW_S - 20 * HOUR, 4 * HOUR)
    once, _ = follow(Checkpoint(), events)
    again, _ = follow(mapping.resume({"of": "another version"}), events)
    assert once == again != []


def test_two_that_turn_out_to_be_one_go_on_as_the_older() -> None:
    early, late = NOW_S - 20 * HOUR, NOW_S - 10 * HOUR
    two, known = follow(Checkpoint(), [*both(early, 2 * HOUR), *both(late, 2 * HOUR)])
    assert len({one["id"] for one in two}) == 2
    joined = event(early, 12 * HOUR, signal="merit-nt")
    said, known = follow(known, [*both(early, 2 * HOUR), *both(late, 2 * HOUR), joined], NOW_S + 600)
    older, other = said
    assert older["id"] == two[0]["id"]
    assert (other["id"], other["revoked"]) == (two[1]["id"], True)
    assert other["modified"] > two[1]["modified"]
    assert len(known.incidents) == 1


@pytest.mark.parametrize(
    ("events", "incidents"),
    [
        ([event(NOW_S - 9 * HOUR, HOUR)], 0),  # one signal is not enough
        (both(NOW_S - 9 * HOUR, HOUR), 1),
        ([event(NOW_S - 9 * HOUR, HOUR, signal=name) for name in ("gtr", "gtr-norm")], 0),  # of one origin
        (both(NOW_S - 9 * HOUR, HOUR, score=999.0), 0),  # too weak
        (
            [event(NOW_S - 9 * HOUR, HOUR, score=1.0), event(NOW_S - 9 * HOUR, HOUR, signal="gtr")],
            1,
        ),  # one is strong
        ([event(NOW_S - 9 * HOUR, HOUR), event(NOW_S - 7 * HOUR, HOUR, signal="gtr")], 1),  # an hour apart
        ([event(NOW_S - 9 * HOUR, HOUR), event(NOW_S - 7 * HOUR + 1, HOUR, signal="gtr")], 0),  # and a second more
        (both(NOW_S - 9 * HOUR, HOUR, place="region/4488"), 0),  # nobody knows where that is
        (both(NOW_S - 9 * HOUR, HOUR, place="asn/64500"), 0),
        (both(NOW_S - 9 * HOUR, HOUR, place="country/UK"), 0),  # no country of ISO 3166-1
    ],
)
def test_when_outages_are_an_incident(events: list[Any], incidents: int) -> None:
    assert len(follow(Checkpoint(), events)[0]) == incidents


def test_a_region_lies_in_the_country_that_was_asked_for() -> None:
    [said], _ = follow(Checkpoint(), both(NOW_S - 9 * HOUR, HOUR, place="region/4488"), country="XA")
    assert said["extensions"][HANDLING_ID]["affected"] == ["XA"]
    assert "in the region Ashland" in said["description"]
    [said], _ = follow(
        Checkpoint(), both(NOW_S - 9 * HOUR, HOUR, place="region/1", location_name="\0x" * 999), country="XA"
    )
    assert read_object(said, strict=True)
    assert len(said["description"]) < 400


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ("not an event", "answer-unexpected"),
        ({"location": "country/XA"}, "answer-unexpected"),
        (event("1", 1), "answer-unexpected"),  # type: ignore[arg-type]
        (event(-1, 1), "answer-unexpected"),
        (event(1, 10**12), "answer-unexpected"),
        (event(1, 1, score="high"), "answer-unexpected"),
        (event(1, 1, score=float("inf")), "answer-unexpected"),
        (event(1, 1, location_name=["Ashland"]), "answer-unexpected"),
        (event(1, 1, signal="not a signal\n"), "answer-unexpected"),
        (event(NOW_S + 90_000, 1), "clock-ahead"),
    ],
)
def test_what_is_not_of_the_documented_form_is_no_event(broken: Any, code: str) -> None:
    with pytest.raises(PartnerFailed) as failed:
        follow(Checkpoint(), [broken])
    assert failed.value.code == code


def test_an_answer_for_another_country_is_none() -> None:
    with pytest.raises(PartnerFailed, match="another country"):
        follow(Checkpoint(), both(NOW_S - 9 * HOUR, HOUR, place="country/XB"), country="XA")


@pytest.mark.parametrize("answer", [[], {}, {"data": {}}, {"data": [], "error": "no such entity"}, None])
def test_an_answer_without_events_fails(answer: Any) -> None:
    with pytest.raises(PartnerFailed) as failed:
        mapping.rows(answer, "ioda")
    assert failed.value.code == "answer-unexpected"
    assert "no such entity" not in str(failed.value)


def test_more_than_can_be_told_apart_is_an_error_and_not_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [one for n in range(6) for one in both(NOW_S - n * 5 * HOUR - HOUR, HOUR)]
    monkeypatch.setattr(mapping, "MAX_OF_A_PLACE", 6)
    assert len(follow(Checkpoint(), events)[0]) == 6
    monkeypatch.setattr(mapping, "MAX_OF_A_PLACE", 5)
    with pytest.raises(OverflowError):
        follow(Checkpoint(), events)
    monkeypatch.undo()
    monkeypatch.setattr(mapping, "MAX_INCIDENTS", 5)
    with pytest.raises(OverflowError):
        follow(Checkpoint(), events)
