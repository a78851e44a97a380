"""The door: what comes in is read, decided upon and stored durably, whichever way it came."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from schemas.agreement import Agreement
from schemas.errors import BodyRefused, ItemRefused
from schemas.safejson import loads
from schemas.withdrawal import Withdrawal
from services.accept import formats, stix_door
from services.accept.aliases import look_up
from services.accept.contributed import Asker
from services.accept.contributed import look_up as contributed
from services.accept.inbox import is_suspended, store_submission
from services.accept.intake import Intake, busy
from services.accept.names import NOTHING, Asking, Origin, Overtaken
from services.accept.packing import Packed, prepare
from services.accept.reading import Reading, Refusal
from services.accept.unzip import MAGIC, unzip
from services.accept.withdrawing import Found
from services.accept.withdrawing import prepare as prepare_withdrawal
from services.hub import Hub
from services.problems import RequestRefused

PARSERS = 2  # they share one interpreter: more would only take turns
MAX_OVERTAKEN = 20
EASED_COLLECTION = (50_000, 20, 100)


@dataclass
class Collector:
    """Makes the garbage collector look less often while bodies are read.

    All that is read lives until it is stored; to look through it time and again takes a third of the work. What
    really is garbage, the trees of complex patterns, is young when it is found.
    """

    at_work: int = 0
    usual: tuple[int, int, int] = (0, 0, 0)

    @contextmanager
    def eased(self) -> Iterator[None]:
        if not self.at_work:
            self.usual = gc.get_threshold()
            gc.set_threshold(*EASED_COLLECTION)
        self.at_work += 1
        try:
            yield
        finally:
            self.at_work -= 1
            if not self.at_work:
                gc.set_threshold(*self.usual)


class Given(NamedTuple):
    """A body and what its sender says of it. `feed` names what a snapshot is of, and that snapshot `may_be_empty`.

    `media_type` is without parameters, `filename` may be empty. `consent` is the keyed hash of a reference. A TAXII
    `envelope` is never a whole snapshot.
    """

    body: bytes
    media_type: str = ""
    filename: str = ""
    feed: str = ""
    may_be_empty: bool = False
    consent: bytes | None = None
    envelope: bool = False


@dataclass
class Door:
    """`wake_relay` is called after each stored submission."""

    hub: Hub
    wake_relay: Callable[[], None]
    parsers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARSERS))
    collector: Collector = field(default_factory=Collector)
    intake: Intake = field(default_factory=Intake)

    async def take(self, agreement: Agreement, given: Given) -> tuple[Origin, Packed]:
        """Takes a body under an agreement. Raises `BodyRefused` where it can't be taken as a whole; it is kept."""
        origin = Origin(str(uuid.uuid4()), agreement.id, self.hub.clock(), consent=given.consent)
        asking = Asking(
            agreement,
            self.hub.directory.bit_of.get(agreement.id),
            self.hub.secret,
            given.feed,
            may_be_empty=given.may_be_empty,
            whole=not given.envelope,
        )
        try:
            async with self.parsers:
                with self.collector.eased():
                    reading = await asyncio.to_thread(self._read, given, agreement, origin)
            packed = await self._store(reading, asking, origin)
        except BodyRefused as refusal:
            await self._keep_refused(given.body, refusal, origin._replace(feed=asking.feed))
            raise
        self.wake_relay()
        return origin, packed

    def _read(self, given: Given, agreement: Agreement, origin: Origin) -> Reading:
        max_bytes = self.hub.settings.max_body_bytes
        if given.envelope:
            body = unzip(given.body, max_bytes) if given.body.startswith(MAGIC) else given.body
            return stix_door.read_envelope(loads(body), agreement, origin.received_ms)
        return formats.read(given.body, given.media_type, given.filename, agreement, origin.received_ms, max_bytes)

    async def _store(self, reading: Reading, asking: Asking, origin: Origin) -> Packed:
        """Stores what is made of a reading; made again as long as other submissions of its source come before."""
        for _ in range(MAX_OVERTAKEN):
            async with self.parsers:
                with self.collector.eased():
                    known = await self.hub.store.read(lambda connection: look_up(connection, asking, reading))
                    packed = await asyncio.to_thread(prepare, reading, origin, self.hub.secret, known)
            with suppress(Overtaken):
                await store_submission(self.hub, origin, packed)
                return packed
        raise busy("too many submissions of this source come at once")

    async def _keep_refused(self, body: bytes, refusal: BodyRefused, origin: Origin) -> None:
        """What can't be taken as a whole is kept with its reason too."""
        whole = ItemRefused(refusal.code, refusal.what, where=refusal.where, hint=refusal.hint)
        reading = Reading("unknown", (Refusal("", whole, lambda: body),))
        packed = prepare(reading, origin, self.hub.secret, NOTHING._replace(feed_name=origin.feed))
        await store_submission(self.hub, origin, packed)
        self.wake_relay()

    async def take_back(
        self, asked: Withdrawal, source: str, rows: Callable[[Connection], Sequence[int]] | None = None
    ) -> tuple[Origin, Found]:
        """Takes back what a source said, whether or not it has an agreement still.

        It can't read any of that back then; or, where `rows` is given, only what is not in these.
        """
        origin = Origin(str(uuid.uuid4()), source, self.hub.clock())
        found = await self._store_withdrawal(asked, origin, rows)
        self.wake_relay()
        return origin, found

    async def _store_withdrawal(
        self, asked: Withdrawal, origin: Origin, rows: Callable[[Connection], Sequence[int]] | None
    ) -> Found:
        asker = Asker(origin.source, self.hub.directory.bit_of.get(origin.source), self.hub.secret)

        def look(connection: Connection) -> Found:
            found = contributed(connection, asker, asked)
            found.rows = None if rows is None else rows(connection)
            return found

        for _ in range(MAX_OVERTAKEN):
            async with self.parsers:
                with self.collector.eased():
                    found = await self.hub.store.read(look)
                    packed = await asyncio.to_thread(prepare_withdrawal, found, asked.why, origin)
            with suppress(Overtaken):
                await store_submission(self.hub, origin, packed)
                return found
        raise busy("too many submissions of this source come at once")

    async def check_contributes(self, agreement: Agreement) -> None:
        today = datetime.fromtimestamp(self.hub.clock() / 1000, UTC).date()
        if agreement.contributes is None:
            code, what = "not-a-contributor", "the agreement is one for receiving only"
            hint = "the operator adds [contributes] to the agreement"
        elif not agreement.in_force(today) or await is_suspended(self.hub, agreement.id):
            code, what = "agreement-not-in-force", "the agreement is not in force today"
            hint = "the operator renews the agreement"
        else:
            return
        raise RequestRefused(403, code, what, where="source", hint=hint)
