"""From measurements of OONI to incidents in STIX. Pure.

OONI (Open Observatory of Network Interference) has volunteers measure which sites and services can be reached from
where they are. Sources: its data formats (https://github.com/ooni/spec, `data-formats/df-000-base.md` and
`nettests/ts-017-web-connectivity.md`, `ts-018-whatsapp.md`, `ts-019-facebook-messenger.md`, `ts-020-telegram.md`,
`ts-029-signal.md`) and its API (https://api.ooni.io/apidocs/, `GET /api/v1/measurements`).

Whoever measures may be in danger for it. So a measurement is reduced at once to what `Measured` holds, and of that
only the site or service, the country, days and bands of counts ever go on. Network and report serve to count:
OONI knows no probes, by intention, so that reports (one run of one probe) stand for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from connectors.incidents import Version, about, malformed
from schemas.errors import ItemRefused
from schemas.fingerprint import host
from schemas.handling import COUNTRIES
from schemas.timestamps import format_time, parse_time

DAY_MS = 86_400_000
MAX_TARGETS = 20_000
MAX_MEASUREMENTS = 2_000_000
"""Counted in one pull."""
MAX_REPORTS = 100
"""Of one target: what is beyond is not needed to know that they are several."""
LIMIT = 1_000
"""Measurements of one answer."""

SITE = "web_connectivity"
SERVICES: Mapping[str, str] = {
    "telegram": "Telegram",
    "whatsapp": "WhatsApp",
    "facebook_messenger": "Facebook Messenger",
    "signal": "Signal",
}
"""Tests of services of communication, and what is blocked where they find something."""
TESTS = (SITE, *SERVICES)
METHODS: Mapping[str, str] = {
    "dns": "DNS",
    "tcp_ip": "TCP",
    "http-failure": "HTTP or TLS",
    "http-diff": "another page",
}
"""How web_connectivity says that a site is blocked, and how we do."""

Finding = Literal["reached", "anomaly", "confirmed"]


class Measured(NamedTuple):
    """What is taken from one measurement. `day_ms` is the beginning of its day in UTC, ms since 1970.

    `network` and `report` are there to be counted and to be forgotten.
    """

    country: str
    test: str
    target: str
    day_ms: int
    finding: Finding
    method: str
    network: str
    report: str


class Bounds(NamedTuple):
    """What is not confirmed counts where it is found by so many probes, in so many networks, and by this share of
    the measurements as a whole and in each of these networks."""

    min_probes: int
    min_networks: int
    min_share: float


# --- one measurement ----------------------------------------------------------------------------------------------


def listed(row: Any, where: str) -> Measured | None:
    """An entry of the API's list, which says what OONI itself makes of the measurement; None for what says nothing.

    Raises `PartnerFailed` where it has not the form that is documented.
    """
    try:
        test, flags = row["test_name"], [row[name] for name in ("failure", "confirmed", "anomaly")]
        if any(type(flag) is not bool for flag in flags):
            raise TypeError
        scores = row.get("scores")
    except (KeyError, TypeError, AttributeError):
        raise malformed("one of its measurements has not the form that is documented", where) from None
    failure, confirmed, anomaly = flags
    analysis = scores.get("analysis") if isinstance(scores, dict) else None
    method = analysis.get("blocking_type") if isinstance(analysis, dict) else None
    finding: Finding = "confirmed" if confirmed else "anomaly" if anomaly else "reached"
    return _measured(row, test, finding, method) if confirmed or not failure else None


def raw(document: Any) -> Measured | None:
    """A measurement as a probe wrote it; None for what is none, failed, or is of another test."""
    if not isinstance(document, dict):
        return None
    test, keys = document.get("test_name"), document.get("test_keys")
    if not isinstance(test, str) or test not in TESTS or not isinstance(keys, dict):
        return None
    blocked, method = _blocked(test, keys)
    return None if blocked is None else _measured(document, test, "anomaly" if blocked else "reached", method)


def _blocked(test: str, keys: Mapping[str, Any]) -> tuple[bool | None, Any]:
    """Whether a probe found it blocked, None where it could not tell; and how."""
    if test == SITE:
        blocking = keys.get("blocking")
        if blocking is False:
            return False, None
        return (True, blocking) if isinstance(blocking, str) and blocking in METHODS else (None, None)
    said = [keys.get(name) for name in _SAYS_BLOCKED[test]]
    if any(one is True or one == "blocked" for one in said):
        return True, None
    return (False if any(one is False or one == "ok" for one in said) else None), None


_SAYS_BLOCKED: Mapping[str, tuple[str, ...]] = {
    "telegram": ("telegram_tcp_blocking", "telegram_http_blocking", "telegram_web_status"),
    "whatsapp": ("whatsapp_endpoints_status", "whatsapp_web_status", "registration_server_status"),
    "facebook_messenger": ("facebook_dns_blocking", "facebook_tcp_blocking"),
    "signal": ("signal_backend_status",),
}


def _measured(body: Mapping[str, Any], test: Any, finding: Finding, method: Any) -> Measured | None:
    country, network, report = (body.get(name) for name in ("probe_cc", "probe_asn", "report_id"))
    day_ms = _day(body.get("measurement_start_time"))
    target = _target(test, body.get("input"))
    if not isinstance(country, str) or country not in COUNTRIES or not target or day_ms is None:
        return None
    if network in (None, "", "AS0"):  # a network that is not known can't be told from another
        return None
    how = METHODS.get(method, "") if isinstance(method, str) else ""
    return Measured(country, str(test), target, day_ms, finding, how, str(network)[:40], str(report)[:200])


def _target(test: Any, address: Any) -> str:
    """What was measured: of a site its host alone, for a whole address can be one that a single person knows."""
    if not isinstance(test, str) or test != SITE:
        return SERVICES.get(test, "") if isinstance(test, str) else ""
    try:
        name = URL(address).host if isinstance(address, str) and len(address) < 4_000 else None
        ioc = host(name) if name else None
    except (ValueError, ItemRefused):
        return ""
    return ioc.value if ioc and ioc.kind == "domain" and "." in ioc.value else ""


def _day(text: Any) -> int | None:
    """Of `2026-11-01 10:11:12` (raw) or `2026-11-01T10:11:12Z` (listed)."""
    try:
        return parse_time(f"{text[:10]}T00:00:00Z")
    except (TypeError, ItemRefused):
        return None


# --- many of them -------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """Of the measurements of one target: [all, found to be blocked] by network, and what else decides."""

    networks: dict[str, list[int]] = field(default_factory=dict)
    reports: set[int] = field(default_factory=set)
    confirmed: bool = False
    days: set[int] = field(default_factory=set)
    methods: set[str] = field(default_factory=set)

    def add(self, one: Measured) -> None:
        of_network = self.networks.setdefault(one.network, [0, 0])
        of_network[0] += 1
        if one.finding == "reached":
            return
        of_network[1] += 1
        if len(self.reports) < MAX_REPORTS:
            self.reports.add(hash(one.report))  # to be told apart, and by nothing else
        self.confirmed |= one.finding == "confirmed"
        self.days.add(one.day_ms)
        if one.method:
            self.methods.add(one.method)

    @property
    def blocked(self) -> int:
        return sum(blocked for _, blocked in self.networks.values())

    def networks_of(self, share: float) -> int:
        """In how many networks at least this share of the measurements found it blocked."""
        return sum(blocked > 0 and blocked >= share * all_ for all_, blocked in self.networks.values())

    def counts(self, bounds: Bounds) -> bool:
        if self.confirmed:
            return True
        several = (
            len(self.reports) >= bounds.min_probes and self.networks_of(bounds.min_share) >= bounds.min_networks
        )
        return several and self.blocked >= bounds.min_share * sum(all_ for all_, _ in self.networks.values())


Key = tuple[str, str, str]
"""(country, test, target)."""


class Tally:
    """Counts the measurements of a window (ms since 1970) and holds none of them."""

    def __init__(self, since_ms: int, until_ms: int) -> None:
        self._since_ms = since_ms
        self._until_ms = until_ms
        self._size = 0
        self.counts: dict[Key, Count] = {}

    def add(self, one: Measured | None) -> None:
        """What lies outside the window does not count. Raises `OverflowError` where it becomes too much."""
        if one is None or not self._since_ms <= one.day_ms <= self._until_ms:
            return
        key = (one.country, one.test, one.target)
        self._size += 1
        if self._size > MAX_MEASUREMENTS or (key not in self.counts and len(self.counts) >= MAX_TARGETS):
            raise OverflowError
        self.counts.setdefault(key, Count()).add(one)


# --- what is said of it -------------------------------------------------------------------------------------------


class Event(BaseModel):
    """What was said last. Times are ms since 1970, of days; counts are lower bounds of their bands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    country: str
    test: str
    target: str
    first_day_ms: int
    last_day_ms: int
    measurements: int
    networks: int
    confirmed: bool
    methods: tuple[str, ...]
    id_day_ms: int
    """The first day of its first version: what its ids are made of."""
    modified_ms: int


class Checkpoint(BaseModel):
    """The events that may still change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: tuple[Event, ...] = Field(default=(), max_length=MAX_TARGETS)


def resume(checkpoint: Mapping[str, Any]) -> Checkpoint:
    """One that can't be read is as none: ids and dates are made from the measurements."""
    try:
        return Checkpoint.model_validate(checkpoint)
    except ValidationError:
        return Checkpoint()


def follow(
    known: Checkpoint, tally: Mapping[Key, Count], since_ms: int, bounds: Bounds
) -> tuple[list[Event], Checkpoint]:
    """The events of which there is something new to say, each as its next version, and what to remember.

    One goes on, under the same ids, as long as no more than a window lies between two days on which it was found.
    """
    before = {(one.country, one.test, one.target): one for one in known.events if one.last_day_ms >= since_ms}
    changed: list[Event] = []
    for key, count in sorted(tally.items()):
        if count.blocked and (key in before or count.counts(bounds)):
            event = _next(before.get(key), _event(key, count, bounds))
            if event != before.get(key):
                changed.append(event)
                before[key] = event
    return changed, Checkpoint(
        events=tuple(sorted(before.values(), key=lambda one: one.last_day_ms)[-MAX_TARGETS:])
    )


def _event(key: Key, count: Count, bounds: Bounds) -> Event:
    country, test, target = key
    first, last = min(count.days), max(count.days)
    return Event(
        country=country,
        test=test,
        target=target,
        first_day_ms=first,
        last_day_ms=last,
        measurements=band(count.blocked),
        networks=band(count.networks_of(bounds.min_share)),
        confirmed=count.confirmed,
        methods=tuple(sorted(count.methods)),
        id_day_ms=first,
        modified_ms=last,
    )


def band(count: int) -> int:
    """The lower bound of the band that a count is in: 1, 2, 10, 100 … (deploy/policy.md, "The rules")."""
    return count if count < 2 else max(2, 10 ** (len(str(count)) - 1))


def _next(before: Event | None, now: Event) -> Event:
    """What is known grows: counts of a window that moves on are no smaller event."""
    if before is None:
        return now
    merged = now.model_copy(
        update={
            "first_day_ms": min(before.first_day_ms, now.first_day_ms),
            "last_day_ms": max(before.last_day_ms, now.last_day_ms),
            "measurements": max(before.measurements, now.measurements),
            "networks": max(before.networks, now.networks),
            "confirmed": before.confirmed or now.confirmed,
            "methods": tuple(sorted({*before.methods, *now.methods})),
            "id_day_ms": before.id_day_ms,
            "modified_ms": before.modified_ms,
        }
    )
    if merged == before:
        return before
    return merged.model_copy(update={"modified_ms": max(before.modified_ms + 1, merged.last_day_ms)})


def objects(event: Event) -> Iterator[dict[str, Any]]:
    """The STIX objects of one version: an incident, what was observed, and that the two belong together.

    The block of a service of communication is a shutdown (of that service), that of a site is censorship.
    """
    version = Version(
        key=("ooni", event.country, event.test, event.target, str(event.id_day_ms)),
        category="censorship" if event.test == SITE else "shutdown",
        country=event.country,
        created_ms=event.id_day_ms,
        modified_ms=event.modified_ms,
    )
    incident = about(version, "incident", name=f"Blocking of {event.target}", description=description(event))
    part = {"type": "domain-name", "value": event.target} if event.test == SITE else None
    observed = about(
        version,
        "observed-data",
        first_observed=format_time(event.first_day_ms),
        last_observed=format_time(event.last_day_ms),
        number_observed=event.measurements,
        objects={"0": part or {"type": "software", "name": event.target}},
    )
    ends = {"source_ref": incident["id"], "target_ref": observed["id"]}
    yield incident
    yield observed
    yield about(version, "relationship", relationship_type="related-to", **ends)


def description(event: Event) -> str:
    """In words, without its country."""
    days = " to ".join(dict.fromkeys(format_time(day)[:10] for day in (event.first_day_ms, event.last_day_ms)))
    how = f" ({', '.join(event.methods)})" if event.methods else ""
    sure = "confirmed by OONI" if event.confirmed else "not confirmed"
    return (
        f"Measured by OONI on {days}{how}; {sure}. At least {_plural(event.measurements, 'measurement')} "
        f"in at least {_plural(max(event.networks, 1), 'network')} found it blocked."
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
