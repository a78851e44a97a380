"""From outage events of IODA to incidents in STIX. Pure.

IODA (Internet Outage Detection and Analysis, Georgia Tech) says for each signal (BGP, active probing, a telescope
and others) when the connectivity of a country or region fell and by how much. Source: the specification of its API,
https://api.ioda.inetintel.cc.gatech.edu/v2/ (`outages/events`, format `codf`).

An incident is what overlaps in time in one place by several signals. It keeps its id while it goes on: `Checkpoint`
remembers it, since a later answer may let it begin or end elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.incidents import Version, about, malformed
from schemas.errors import PartnerFailed, clip
from schemas.handling import COUNTRIES
from schemas.timestamps import format_time

DAY_S = 86_400
LAG_S = 3_600
"""IODA's signals come late: what ended within this time before the answer may still go on."""
MAX_LOOKBACK_S = 30 * DAY_S
MAX_DURATION_S = 3_660 * DAY_S
MAX_INCIDENTS = 2_000
MAX_EVENTS = 50_000
"""Of one pull."""
MAX_OF_A_PLACE = 500
"""Incidents in one pull."""
LIMIT = 1_000
"""Events of one answer."""


_signal = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}").fullmatch


class Outage(NamedTuple):
    """One event of one signal. Times are s since 1970; `region` is its name, or empty for a whole country."""

    entity: str
    region: str
    country: str
    signal: str
    start_s: int
    end_s: int
    score: float
    open: bool


class Bounds(NamedTuple):
    """When outages are an incident: by how many signals, from which score on, across what gap (s)."""

    min_signals: int
    min_score: float
    gap_s: int


class Incident(BaseModel):
    """What was said of an incident last. Times are s since 1970, but for `modified_ms`; scores are rounded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entity: str
    region: str
    country: str
    first_start_s: int
    """Of its first version: what its id is made of."""
    start_s: int
    end_s: int
    ongoing: bool
    scores: dict[str, int]
    modified_ms: int = 0
    revoked: bool = False


class Checkpoint(BaseModel):
    """Until when all is known, and the incidents that may still change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    until_s: int = 0
    incidents: tuple[Incident, ...] = Field(default=(), max_length=MAX_INCIDENTS)


def resume(checkpoint: Mapping[str, Any]) -> Checkpoint:
    """One that can't be read is as none: ids and dates are made from the events, and come out the same."""
    try:
        return Checkpoint.model_validate(checkpoint)
    except ValidationError:
        return Checkpoint()


def since(known: Checkpoint, now_s: int, lookback_s: int) -> int:
    """From when on to ask: an event is whole only in an answer that holds its beginning."""
    begun = [incident.start_s - LAG_S for incident in known.incidents if incident.ongoing]
    wanted = min([now_s - lookback_s, *begun, *([known.until_s] if known.until_s else [])])
    return max(wanted, now_s - MAX_LOOKBACK_S)


def queries(countries: Sequence[str], regions: bool) -> Iterator[tuple[dict[str, str], str]]:
    """(parameters, the country that all of the answer lies in, or "" where each event names its own)."""
    if not countries:
        yield {"entityType": "country"}, ""
    for country in countries:
        yield {"entityType": "country", "entityCode": country}, country
        if regions:
            yield {"entityType": "region", "relatedTo": f"country/{country}"}, country


def rows(answer: Any, where: str) -> list[Any]:
    """The events in an answer. Raises `PartnerFailed`."""
    if not isinstance(answer, dict) or answer.get("error") or not isinstance(answer.get("data"), list):
        raise malformed("its answer holds no events", where)
    events: list[Any] = answer["data"]
    return events


def outages(events: Iterable[Any], country: str, until_s: int, where: str) -> Iterator[Outage]:
    """The events of countries and regions. Raises `PartnerFailed` where one is not of the documented form, or is
    of the future; what is of another kind of place is left out."""
    for event in events:
        try:
            kind, _, code = event["location"].partition("/")
            start_s, duration_s = event["start"], event["duration"]
            signal, score = event.get("datasource", "all"), event["score"]
            name = event.get("location_name") or ""
        except (KeyError, TypeError, AttributeError):
            raise malformed("one of its events has not the form that is documented", where) from None
        whole = type(start_s) is int and type(duration_s) is int and type(score) in (int, float)
        if not whole or not isinstance(signal, str) or not _signal(signal) or not isinstance(name, str):
            raise malformed("one of its events has not the form that is documented", where)
        if start_s < 0 or not 0 <= duration_s <= MAX_DURATION_S or not 0 <= score < math.inf:
            raise malformed("the numbers of one of its events make no sense", where)
        if start_s > until_s + DAY_S:
            raise PartnerFailed("clock-ahead", "one of its events lies in the future", where=where, hint=_CLOCK)
        place = country or code
        if (kind == "region" and not country) or kind not in ("country", "region") or place not in COUNTRIES:
            continue
        if kind == "country" and code != place:
            raise malformed("it answers for another country than was asked", where)
        end_s = min(start_s + duration_s, until_s)
        region = clip(name, 100) if kind == "region" else ""
        still = event.get("overlaps_window") is True or end_s >= until_s - LAG_S
        yield Outage(f"{kind}/{code[:40]}", region, place, signal, start_s, max(end_s, start_s), score, still)


_CLOCK = "compare its clock with that of this machine"


def follow(
    known: Checkpoint, found: Iterable[Outage], until_s: int, asked_from_s: int, bounds: Bounds
) -> tuple[list[Incident], Checkpoint]:
    """The incidents of which there is something new to say, each as its next version, and what to remember.

    Two that turn out to be one go on as the older; the other is revoked. Raises `OverflowError` where there are too
    many to be told apart.
    """
    changed: list[Incident] = []
    left: dict[str, list[Incident]] = {}
    for one in sorted(known.incidents, key=lambda one: one.first_start_s):
        left.setdefault(one.entity, []).append(one)
    kept: list[Incident] = []
    for incident in _incidents(found, bounds):
        of_place = left.get(incident.entity, [])
        same = [one for one in of_place if _touch(one, incident, bounds.gap_s)]
        if same:
            left[incident.entity] = [one for one in of_place if one not in same]
        if not same and not _counts(incident, bounds):
            continue
        now = _next(same[0] if same else None, incident)
        kept.append(now)
        if not same or now != same[0]:
            changed.append(now)
        changed += [one.model_copy(update=_later(one, now.end_s) | {"revoked": True}) for one in same[1:]]
    # an answer that leaves out what it had before takes nothing back: it is kept until it is out of the question
    unsaid = (one for of_place in left.values() for one in of_place)
    kept += [one for one in unsaid if one.end_s >= asked_from_s - bounds.gap_s]
    if len(kept) > MAX_INCIDENTS:
        raise OverflowError
    return changed, Checkpoint(until_s=until_s, incidents=tuple(sorted(kept, key=lambda one: one.end_s)))


def _incidents(found: Iterable[Outage], bounds: Bounds) -> Iterator[Incident]:
    by_entity: dict[str, list[Outage]] = {}
    for outage in found:
        by_entity.setdefault(outage.entity, []).append(outage)
    for _, of_one in sorted(by_entity.items()):
        lot: list[Outage] = []
        end_s = lots = 0
        for outage in sorted(of_one, key=lambda one: one.start_s):
            if lot and outage.start_s > end_s + bounds.gap_s:
                lots += 1
                if lots >= MAX_OF_A_PLACE:
                    raise OverflowError
                yield _incident(lot)
                lot = []
            lot.append(outage)
            end_s = max(end_s, outage.end_s)
        yield _incident(lot)


def _incident(lot: Sequence[Outage]) -> Incident:
    scores: dict[str, int] = {}
    for one in lot:
        scores[one.signal] = max(scores.get(one.signal, 0), _rounded(one.score))
    start_s = min(one.start_s for one in lot)
    return Incident(
        entity=lot[0].entity,
        region=lot[0].region,
        country=lot[0].country,
        first_start_s=start_s,
        start_s=start_s,
        end_s=max(one.end_s for one in lot),
        ongoing=any(one.open for one in lot),
        scores=dict(sorted(scores.items())),
    )


def _rounded(score: float) -> int:
    """To one significant digit: what goes on grows in score all the time, and is no other for that."""
    whole = min(int(score), 10**15)
    step: int = 10 ** (len(str(whole)) - 1)
    return whole // step * step


def _touch(one: Incident, other: Incident, gap_s: int) -> bool:
    return max(one.start_s, other.start_s) - min(one.end_s, other.end_s) <= gap_s


def _counts(incident: Incident, bounds: Bounds) -> bool:
    """Signals of one origin (`gtr` and `gtr-norm`, `ping-slash24` and `ping-slash24-loss`) count as one."""
    origins = {name.partition("-")[0] for name in incident.scores}
    strong = any(score >= bounds.min_score for score in incident.scores.values())
    return strong and len(origins) >= bounds.min_signals


def _next(before: Incident | None, now: Incident) -> Incident:
    """The next version; `before` itself where there is nothing new to say."""
    if before is None:
        return now.model_copy(update={"modified_ms": now.end_s * 1000})
    scores = {
        name: max(before.scores.get(name, 0), now.scores.get(name, 0))
        for name in sorted({*before.scores, *now.scores})
    }
    merged = now.model_copy(
        update={
            "first_start_s": before.first_start_s,
            "start_s": min(before.start_s, now.start_s),
            "end_s": max(before.end_s, now.end_s),
            "scores": scores,
            "modified_ms": before.modified_ms,
        }
    )
    if description(merged) == description(before):
        return before
    return merged.model_copy(update=_later(before, merged.end_s))


def _later(before: Incident, end_s: int) -> dict[str, int]:
    return {"modified_ms": max(before.modified_ms + 1, end_s * 1000)}


def description(incident: Incident) -> str:
    """In words, without its country. Of what goes on it says the day, so that there is a version a day."""
    begun = format_time(incident.start_s * 1000)[:16]
    seen = format_time(incident.end_s * 1000)
    end = f"had not recovered on {seen[:10]}" if incident.ongoing else f"recovered at {seen[:16]}Z"
    where = f" in the region {incident.region}" if incident.region else ""
    scores = ", ".join(f"{name} {score}" for name, score in incident.scores.items())
    return (
        f"Connectivity{where} fell at {begun}Z and {end}. Signals of IODA, with the order of their scores: "
        f"{scores}. Whether somebody meant it is not measured."
    )


def objects(incident: Incident) -> list[dict[str, Any]]:
    """The STIX objects of one version of an incident."""
    version = Version(
        key=("ioda", incident.entity, str(incident.first_start_s)),
        category="shutdown",
        country=incident.country,
        created_ms=incident.first_start_s * 1000,
        modified_ms=max(incident.modified_ms, incident.first_start_s * 1000),
        revoked=incident.revoked,
    )
    name = "Internet outage in a region" if incident.region else "Internet outage"
    return [about(version, "incident", name=name, description=description(incident))]
