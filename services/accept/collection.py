"""A source's own TAXII collection: what comes into it goes through the door, and what is deleted is taken back.

What is in it is kept by `contributions`, and read by share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

import sqlalchemy as sa
from aiohttp import web
from sqlalchemy import Connection

from schemas.withdrawal import Withdrawal
from services.accept import contributions
from services.accept.contributing import Told
from services.accept.door import MAX_OVERTAKEN, Door, Given
from services.accept.intake import busy, read_body
from services.accept.packing import told_of
from services.problems import RequestRefused
from services.tables import submissions

FEED = "TAXII"
"""The name of what comes this way. Only a source that sends whole feeds under this name would withdraw it."""

Choose = Callable[[Collection[int]], Collection[int]]
"""Of the versions (µs) of an object those that are meant."""


class Answer(NamedTuple):
    """What its source is told of a submission, now and later."""

    id: str
    received_ms: int
    told: Sequence[Told]


class _NotTheNewest(Exception):
    """A newer version came since it was looked at."""


class OwnCollection:
    """Whose collection it is, and that it may be written to, is looked at anew by each call."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._store = door.hub.store

    async def add(self, request: web.Request, source: str) -> Answer:
        """Takes the envelope in the body of a request. Raises `BodyRefused` and `RequestRefused`, as the door."""
        agreement = self._door.hub.directory.agreements.get(source)
        if agreement is None:
            raise RequestRefused(403, "no-agreement", "there is no agreement with you", where="source")
        await self._door.check_contributes(agreement)
        with self._door.intake.admitted(source) as received:
            body = await read_body(request, self._door.hub.settings.max_body_bytes, received)
            origin, packed = await self._door.take(agreement, Given(body, feed=FEED, envelope=True))
        return Answer(origin.submission, origin.received_ms, packed.told)

    async def delete(self, source: str, stix_id: str, choose: Choose) -> bool:
        """Takes versions of an object out; where the newest is among them, the hub forgets what the source said of
        it. False where there are none such."""

        def chosen(connection: Connection) -> tuple[list[int], bool]:
            there = contributions.versions(connection, source, stix_id)
            meant = choose(there)
            return [there[version] for version in meant], bool(meant) and max(there) in meant

        def remove(connection: Connection) -> tuple[bool, bool]:
            rows, has_newest = chosen(connection)
            if not has_newest:
                contributions.remove(connection, source, rows)
            return bool(rows), has_newest

        def with_newest(connection: Connection) -> Sequence[int]:
            rows, has_newest = chosen(connection)
            if not has_newest:
                raise _NotTheNewest
            return rows

        for _ in range(MAX_OVERTAKEN):
            any_there, has_newest = await self._store.write(remove)
            if not has_newest:
                return any_there
            with suppress(_NotTheNewest):
                await self._door.take_back(Withdrawal(ids=(stix_id,), why="revoked"), source, with_newest)
                return True
        raise busy("too many submissions of this source come at once")

    async def status(self, source: str, submission: str) -> Answer | None:
        """None for what the source did not send, or not this way."""
        query = sa.select(submissions.c.received_ms, submissions.c.fates)
        query = query.where(submissions.c.id == submission, submissions.c.source == source)
        row = await self._store.read(lambda connection: connection.execute(query).one_or_none())
        told = told_of(row.fates) if row is not None else []
        return Answer(submission, row.received_ms, told) if row is not None and told else None
