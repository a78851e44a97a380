"""Brings a partner's feed to its own systems: row by row through a pusher, or as a whole through a publisher.

What a row comes to is written after it was pushed. A crash in between pushes it again, under the same identity (id
and version), which does no harm. A partner that is cut off gets withdrawals only, as in its feed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import blake2b
from random import Random
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from connectors.base import Outcome, Publisher, Pusher
from schemas.errors import Misconfigured, PartnerFailed
from schemas.feed import FeedRow, Head
from schemas.receipt import Receipt
from schemas.timestamps import format_time
from services import connector_states as states
from services.connector_states import DAY_MS, LONGEST_PAUSE_MS, Delivery, State
from services.hub import Hub
from services.instances import Instance
from services.share import feeds, receipts
from services.share.access import may_receive
from services.share.rows import Match, Page, View

PUSH_SECONDS = 300
PUBLISH_SECONDS = 3_600
GIVEN_UP_AT_ONCE = 1_000
ROWS_AT_ONCE = 1_000


class _Batch(NamedTuple):
    """Rows to push. `mark` is up to where the feed is gone through with them, None where they come out of turn;
    `before` is what is kept of them already."""

    rows: list[FeedRow]
    mark: int | None
    before: dict[str, Delivery]
    gone: list[str]
    """What was to be tried again and is in the feed no more."""


class Delivering:
    """One connector that pushes. `random` spreads what is tried again."""

    def __init__(self, hub: Hub, instance: Instance, pusher: Pusher, random: Random) -> None:
        self._hub = hub
        self._instance = instance
        self._pusher = pusher
        self._random = random
        self._bit = _bit_of(hub, instance)
        self._most = instance.manifest.push_rows

    async def round(self) -> bool:
        """Pushes some of what is urgent, of what is new and of what is to be tried again; false where that was
        nothing. Raises `PartnerFailed` where the partner's system fails as a whole; then nothing of it counts."""
        any_rows = False
        for pick in (self._urgent, self._fresh, self._ripe):
            batch = await self._hub.store.read(pick)
            if batch is not None:
                any_rows = True
                await self._push(batch)
        return any_rows

    async def give_up(self) -> None:
        """After a day of failing: sets aside what has waited for a day, so that it shows, and can be tried again.
        Withdrawals are tried on and on."""
        await self._hub.store.write(self._set_aside)

    # -- which rows ------------------------------------------------------------------------------------------------

    def _view(self, connection: Connection) -> View:
        partner = self._instance.partner
        allowed = may_receive(self._hub.directory.agreements, partner, self._hub.clock())
        return feeds.view(connection, self._bit, allowed)

    def _mark(self, connection: Connection) -> int:
        state = states.state(connection, self._instance.name)
        return -1 if state is None else state.mark

    def _urgent(self, connection: Connection) -> _Batch | None:
        """What is urgent and not yet at its turn."""
        view, mark = self._view(connection), self._mark(connection)
        ahead = feeds.page(connection, view, Match(after=mark), self._most, bodies=False)
        if not ahead.more:
            return None
        page = feeds.page(connection, view, Match(after=ahead.rows[-1].added, urgent=True), self._most)
        before = self._before(connection, page.rows)
        rows = [row for row in page.rows if not _is_kept(row, before)]
        return _Batch(rows, None, before, []) if rows else None

    def _fresh(self, connection: Connection) -> _Batch | None:
        page = feeds.page(connection, self._view(connection), Match(after=self._mark(connection)), self._most)
        if not page.rows:
            return None
        before = self._before(connection, page.rows)
        rows = [row for row in page.rows if not _is_kept(row, before)]
        return _Batch(rows, page.rows[-1].added, before, [])

    def _ripe(self, connection: Connection) -> _Batch | None:
        due = states.ripe(connection, self._instance.name, self._hub.clock(), self._most)
        if not due:
            return None
        ids = tuple(one.stix_id for one in due)
        added = {one.stix_id: one.added for one in due}
        page = feeds.page(connection, self._view(connection), Match(ids=ids), len(ids) * 2)
        rows = [row for row in page.rows if row.added == added[row.stix_id]]
        found = {row.stix_id for row in rows}
        return _Batch(rows, None, {one.stix_id: one for one in due}, [id_ for id_ in ids if id_ not in found])

    def _before(self, connection: Connection, rows: Sequence[FeedRow]) -> dict[str, Delivery]:
        return states.of_rows(connection, self._instance.name, [row.stix_id for row in rows])

    # -- what they come to -----------------------------------------------------------------------------------------

    async def _push(self, batch: _Batch) -> None:
        outcomes: Sequence[Outcome] = ()
        if batch.rows:
            try:
                async with asyncio.timeout(PUSH_SECONDS):
                    outcomes = await self._pusher.push(batch.rows)
            except TimeoutError:
                raise PartnerFailed("slow", f"it took more than {PUSH_SECONDS} seconds") from None
            if len(outcomes) != len(batch.rows):
                raise PartnerFailed("outcomes", "the connector said not of every row what became of it")
        await self._hub.store.write(lambda connection: self._settle(connection, batch, outcomes))

    def _settle(self, connection: Connection, batch: _Batch, outcomes: Sequence[Outcome]) -> None:
        name, now_ms = self._instance.name, self._hub.clock()
        pairs = list(zip(batch.rows, outcomes, strict=True))
        through = [row for row, outcome in pairs if outcome.state in ("delivered", "nothing")]
        kept = [
            self._left(row, outcome, batch.before.get(row.stix_id), now_ms)
            for row, outcome in pairs
            if outcome.state in ("retry", "refused")
        ]
        # what went out of turn must be known until the mark has passed it
        mark = self._mark(connection) if batch.mark is None else batch.mark
        kept += [
            Delivery(row.stix_id, row.added, row.live, "done", 1, now_ms, 0, "")
            for row in through
            if row.added > mark
        ]
        states.drop(connection, name, [row.stix_id for row in through if row.added <= mark])
        states.drop(connection, name, batch.gone)
        states.keep(connection, name, kept)
        if batch.mark is not None:
            states.change(connection, name, mark=batch.mark)
            states.passed(connection, name, batch.mark)
        delivered = [row for row, outcome in pairs if outcome.state == "delivered"]
        dead = sum(1 for one in kept if one.standing == "dead")
        states.add_to(connection, name, went=len(delivered), refused=dead)
        if self._instance.manifest.acknowledges and delivered:
            receipts.take(connection, self._view(connection), [_receipt(row) for row in delivered], now_ms)

    def _left(self, row: FeedRow, outcome: Outcome, before: Delivery | None, now_ms: int) -> Delivery:
        """What is kept of a row that did not go through."""
        again = before is not None and before.added == row.added and before.standing == "pending"
        first_ms = before.first_ms if before is not None and again else now_ms
        tries = (before.tries if before is not None and again else 0) + 1
        pause = max(states.pause_ms(tries), min(round(outcome.after_seconds * 1_000), DAY_MS))
        if outcome.state == "refused":
            pause = LONGEST_PAUSE_MS
        given_up = row.live and (outcome.state == "refused" or now_ms - first_ms >= DAY_MS)
        return Delivery(
            stix_id=row.stix_id,
            added=row.added,
            live=row.live,
            standing="dead" if given_up else "pending",
            tries=tries,
            first_ms=first_ms,
            next_ms=now_ms + round(pause * self._random.uniform(0.75, 1.25)),
            code=outcome.reason[:100],
        )

    def _set_aside(self, connection: Connection) -> None:
        name, now_ms = self._instance.name, self._hub.clock()
        mark = self._mark(connection)
        page = feeds.page(connection, self._view(connection), Match(after=mark), GIVEN_UP_AT_ONCE, bodies=False)
        old = [row for row in page.rows if row.added <= (now_ms - DAY_MS) * 1_000]
        before = self._before(connection, old)
        kept = [
            Delivery(
                stix_id=row.stix_id,
                added=row.added,
                live=row.live,
                standing="dead" if row.live else "pending",
                tries=1,
                first_ms=now_ms,
                next_ms=now_ms,
                code="a-day-of-failing",
            )
            for row in old
            if not _is_kept(row, before)
        ]
        states.keep(connection, name, kept)
        states.add_to(connection, name, went=0, refused=sum(1 for one in kept if one.standing == "dead"))
        if old:
            states.change(connection, name, mark=old[-1].added)
            states.passed(connection, name, old[-1].added)

    async def close(self) -> None:
        await self._pusher.close()


def _is_kept(row: FeedRow, before: dict[str, Delivery]) -> bool:
    known = before.get(row.stix_id)
    return known is not None and known.added == row.added


def _receipt(row: FeedRow) -> Receipt:
    return Receipt(item=row.stix_id, status="received")


def _bit_of(hub: Hub, instance: Instance) -> int:
    bit = hub.directory.bit_of.get(instance.partner)
    if bit is None:
        raise Misconfigured(
            "partner-unknown",
            f"there is no partner {instance.partner!r}",
            where=instance.name,
            hint="`tocsin partner list` shows the ids",
        )
    return bit


class Publishing:
    """One connector that writes the whole of a feed, where that has changed, or something of it ran out."""

    def __init__(self, hub: Hub, instance: Instance, publisher: Publisher, state: State) -> None:
        self._hub = hub
        self._instance = instance
        self._publisher = publisher
        self._bit = _bit_of(hub, instance)
        self._written = json.loads(state.checkpoint or "{}").get("written", "")

    async def round(self) -> bool:
        """Raises `PartnerFailed`."""
        now_ms = self._hub.clock()
        digest = await self._hub.store.read(lambda connection: self._digest(connection, now_ms))
        if digest.hex() == self._written:
            return False
        head = Head(str(UUID(bytes=digest[:16], version=4)), now_ms, self._instance.partner)
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._publisher.publish(head, self._pages())
        except TimeoutError:
            raise PartnerFailed("slow", f"it took more than {PUBLISH_SECONDS} seconds") from None
        self._written = digest.hex()
        checkpoint = json.dumps({"written": self._written})
        name = self._instance.name
        await self._hub.store.write(lambda connection: states.change(connection, name, checkpoint=checkpoint))
        return False

    def _view(self, connection: Connection) -> View:
        allowed = may_receive(self._hub.directory.agreements, self._instance.partner, self._hub.clock())
        return feeds.view(connection, self._bit, allowed)

    def _digest(self, connection: Connection, now_ms: int) -> bytes:
        total = blake2b(self._instance.text.encode(), digest_size=16)
        view = self._view(connection)
        for match in (Match(), Match(active_at=format_time(now_ms))):
            feeds.digest(connection, view, match, True, total.update)
        return total.digest()

    async def _pages(self) -> AsyncIterator[Sequence[FeedRow]]:
        after = -1
        while True:
            page = await self._hub.store.read(self._reading(after))
            if page.rows:
                yield page.rows
                after = page.rows[-1].added
            if not page.more:
                return

    def _reading(self, after: int) -> Callable[[Connection], Page]:
        return lambda connection: feeds.page(connection, self._view(connection), Match(after=after), ROWS_AT_ONCE)

    async def give_up(self) -> None:
        """There is nothing to give up: what is written next is the whole again."""

    async def close(self) -> None:
        await self._publisher.close()
