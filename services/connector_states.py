"""The tables `connectors` and `deliveries`: how each connector is doing, and which rows are not through.

The functions work on a connection and its transaction; which clock is the caller's. Times are ms since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.errors import TocsinError
from services.instances import Instance
from services.positions import upsert
from services.tables import connectors, deliveries

Health = Literal["new", "waits", "running", "idle", "failing", "off"]
"""`waits`: staff have not let it start. `new`: it has not run yet. `off`: it is not set up any more."""


class State(NamedTuple):
    """A row of `connectors`. `mark` is up to where (`added`, µs) its partner's feed was gone through."""

    name: str
    connector: str
    partner: str
    does: str
    destination: str
    accepted: str
    health: Health
    since_ms: int
    tried_ms: int
    done_ms: int
    next_ms: int
    asked_ms: int
    failures: int
    problem: str
    checkpoint: str
    mark: int
    went: int
    refused: int

    @property
    def may_start(self) -> bool:
        return may_start(self.destination, self.accepted)

    @property
    def asked(self) -> bool:
        return self.asked_ms > self.tried_ms


def may_start(destination: str, accepted: str) -> bool:
    """Whether staff let it send to `destination`; to fetch needs nobody's leave."""
    return not destination or destination == accepted


def enter(connection: Connection, instances: Iterable[Instance], now_ms: int) -> None:
    """Makes the rows fit what is set up: new ones are entered; those of others are `off`, and may come back."""
    instances = list(instances)
    known = {row.name: row for row in connection.execute(sa.select(connectors))}
    for name in known.keys() - {one.name for one in instances}:
        if known[name].health != "off":
            change(connection, name, health="off", since_ms=now_ms, failures=0, problem="")
    for one in instances:
        said: dict[str, Any] = {
            "connector": one.manifest.name,
            "partner": one.partner,
            "does": one.does,
            "destination": one.destination,
        }
        before = known.get(one.name)
        if before is None:
            fresh = dict.fromkeys(
                ("tried_ms", "done_ms", "next_ms", "asked_ms", "failures", "went", "refused"), 0
            ) | {"accepted": "", "health": "new", "since_ms": now_ms, "problem": "", "checkpoint": "", "mark": -1}
            connection.execute(connectors.insert().values(name=one.name, **said, **fresh))
            continue
        another = any(getattr(before, field) != value for field, value in said.items())
        if before.health == "off":
            said |= {"health": "new", "since_ms": now_ms}
        if another:  # its progress is none of this one's: what was brought to one place is not at the other
            said |= {"checkpoint": "", "mark": -1, "failures": 0, "next_ms": 0, "health": "new", "problem": ""}
            said |= {"since_ms": now_ms, "done_ms": 0, "went": 0, "refused": 0}
        connection.execute(connectors.update().where(connectors.c.name == one.name).values(**said))
        if another:
            connection.execute(deliveries.delete().where(deliveries.c.name == one.name))


def states(connection: Connection) -> list[State]:
    return [State(*row) for row in connection.execute(sa.select(*_columns()).order_by(connectors.c.name))]


def called(connection: Connection) -> list[str]:
    """Who is to run now, whatever its schedule says. Without the checkpoints, for it is asked every second."""
    asked = connectors.c.asked_ms > connectors.c.tried_ms
    return list(connection.scalars(sa.select(connectors.c.name).where(asked | (connectors.c.health == "new"))))


def state(connection: Connection, name: str) -> State | None:
    row = connection.execute(sa.select(*_columns()).where(connectors.c.name == name)).one_or_none()
    return None if row is None else State(*row)


def held(connection: Connection, instance: Instance) -> State | None:
    """Its row, which nobody else changes until the commit. None where it is another's by now: the file may change
    while something is under way, and what that comes to is nothing to whoever has the name then."""
    query = sa.select(*_columns()).where(connectors.c.name == instance.name).with_for_update()
    row = connection.execute(query).one_or_none()
    of_this = (instance.manifest.name, instance.partner, instance.does, instance.destination)
    if row is None or (row.connector, row.partner, row.does, row.destination) != of_this:
        return None
    return State(*row)


def _columns() -> list[Any]:
    return [connectors.c[name] for name in State._fields]


def change(connection: Connection, name: str, **values: Any) -> None:
    connection.execute(connectors.update().where(connectors.c.name == name).values(**values))


def add_to(connection: Connection, name: str, *, went: int, refused: int) -> None:
    """To what was counted."""
    more = {"went": connectors.c.went + went, "refused": connectors.c.refused + refused}
    connection.execute(connectors.update().where(connectors.c.name == name).values(**more))


def healthy(connection: Connection, name: str, now_ms: int, next_ms: int, *, was: Health) -> None:
    more = {} if was == "idle" else {"since_ms": now_ms}
    change(connection, name, health="idle", done_ms=now_ms, next_ms=next_ms, failures=0, problem="", **more)


def failing(connection: Connection, before: State, error: TocsinError, now_ms: int, next_ms: int) -> None:
    """`since_ms` is when the first of the failures in a row was."""
    said = {"code": error.code, "what": error.what, "where": error.where, "hint": error.hint}
    since = before.since_ms if before.failures else now_ms
    change(
        connection,
        before.name,
        health="failing",
        since_ms=since,
        failures=before.failures + 1,
        next_ms=next_ms,
        problem=json.dumps(said),
    )


# --- deliveries ---------------------------------------------------------------------------------------------------

DAY_MS = 86_400_000
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 5_000, 3_600_000
Standing = Literal["done", "pending", "dead"]


class Delivery(NamedTuple):
    """One row that is not simply through. `done`: it overtook the mark; `pending`: to be tried at `next_ms`;
    `dead`: given up, until somebody has it tried again."""

    stix_id: str
    added: int
    live: bool
    standing: Standing
    tries: int
    first_ms: int
    next_ms: int
    code: str


def pause_ms(tries: int) -> int:
    """How long to wait after so many tries in a row: from 5 s, doubling, to one hour. Callers add jitter."""
    return min(FIRST_PAUSE_MS << min(max(tries - 1, 0), 20), LONGEST_PAUSE_MS)


def wished_ms(seconds: float) -> int:
    """What the other side asks for, within a day; 0 for what is no time at all."""
    return round(min(max(0.0, seconds), DAY_MS / 1_000) * 1_000)  # in this order, or a NaN would stay


def of_rows(connection: Connection, name: str, ids: Sequence[str]) -> dict[str, Delivery]:
    query = sa.select(*_of_delivery()).where(deliveries.c.name == name, deliveries.c.stix_id.in_(ids))
    return {row.stix_id: Delivery(*row) for row in connection.execute(query)}


def ripe(connection: Connection, name: str, now_ms: int, most: int, *, live: bool = True) -> list[Delivery]:
    """What is to be tried again by now, the first first; without `live`, withdrawals only."""
    time = deliveries.c.next_ms
    query = (
        sa.select(*_of_delivery())
        .where(
            deliveries.c.name == name,
            deliveries.c.standing == "pending",
            (time <= now_ms) | (time > now_ms + 2 * DAY_MS),  # nobody waits that long: the clock was set back
        )
        .order_by(time)
        .limit(most)
    )
    return [
        Delivery(*row)
        for row in connection.execute(query if live else query.where(deliveries.c.live == sa.false()))
    ]


def _of_delivery() -> list[Any]:
    return [deliveries.c[field] for field in Delivery._fields]


def keep(connection: Connection, name: str, kept: Sequence[Delivery]) -> None:
    if not kept:
        return
    statement = upsert(connection)(deliveries)
    statement = statement.on_conflict_do_update(
        index_elements=[deliveries.c.name, deliveries.c.stix_id],
        set_={field: statement.excluded[field] for field in Delivery._fields[1:]},
    )
    connection.execute(statement, [{"name": name, **one._asdict()} for one in kept])


def drop(connection: Connection, name: str, ids: Sequence[str]) -> None:
    if ids:
        of_one = (deliveries.c.name == name) & (deliveries.c.stix_id == sa.bindparam("id"))
        connection.execute(deliveries.delete().where(of_one), [{"id": id_} for id_ in ids])


def passed(connection: Connection, name: str, mark: int) -> None:
    """Forgets what overtook the mark and now lies behind it."""
    connection.execute(
        deliveries.delete().where(
            deliveries.c.name == name, deliveries.c.standing == "done", deliveries.c.added <= mark
        )
    )


def retry(connection: Connection, name: str, now_ms: int) -> int:
    """Gives all that was given up another day; says how many."""
    dead = (deliveries.c.name == name) & (deliveries.c.standing == "dead")
    again = {"standing": "pending", "tries": 0, "first_ms": now_ms, "next_ms": now_ms}
    return connection.execute(deliveries.update().where(dead).values(**again)).rowcount


def waiting(connection: Connection) -> Mapping[str, Mapping[str, int]]:
    """By connector, how many are `pending` and `dead`."""
    query = (
        sa.select(deliveries.c.name, deliveries.c.standing, sa.func.count())
        .where(deliveries.c.standing != "done")
        .group_by(deliveries.c.name, deliveries.c.standing)
    )
    found: dict[str, dict[str, int]] = {}
    for name, standing, number in connection.execute(query):
        found.setdefault(name, {})[standing] = number
    return found


def dead(connection: Connection, name: str, most: int) -> list[Delivery]:
    query = sa.select(*_of_delivery()).where(deliveries.c.name == name, deliveries.c.standing != "done")
    return [Delivery(*row) for row in connection.execute(query.order_by(deliveries.c.stix_id).limit(most))]
