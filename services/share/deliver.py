"""Brings a partner's feed to its own systems: row by row through a pusher, or as a whole through a publisher.

What a row comes to is written after it was pushed. A crash in between pushes it again, under the same identity (id
and version), which does no harm. A partner that is cut off gets withdrawals only, as in its feed; the mark waits at
what is live, which comes when the partner is let in again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from connectors.base import Outcome, Publisher, Pusher
from schemas.errors import Misconfigured, PartnerFailed, TocsinError
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
LOOK_SECONDS = 1.0
"""So often is a partner looked at while something goes out to it: it may be cut off meanwhile."""
END_SECONDS = 5.0
STUMBLED = "connector-error"
log = logging.getLogger("tocsin")
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
    """One connector that pushes. `random` spreads what is tried again; `memory` is what the pusher keeps."""

    def __init__(
        self, hub: Hub, instance: Instance, pusher: Pusher, random: Random, memory: Mapping[str, Any] | None = None
    ) -> None:
        self._hub = hub
        self._instance = instance
        self._pusher = pusher
        self._random = random
        self._memory = {} if memory is None else memory
        self._bit = _bit_of(hub, instance)
        self._most = instance.manifest.push_rows
        self._urgent_after = self._withdrawn_after = -1
        """Up to where (`added`, µs) what goes out of turn was looked for: once is enough for as long as we work."""

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
        newest = feeds.newest(connection)  # before the page: what comes in between is beyond it
        ahead = feeds.page(connection, view, Match(after=mark), self._most, bodies=False)
        if not view.live or not ahead.more:
            return None
        self._urgent_after = max(self._urgent_after, ahead.rows[-1].added)
        while True:
            page = feeds.page(connection, view, Match(after=self._urgent_after, urgent=True), self._most)
            self._urgent_after = page.rows[-1].added if page.more else max(self._urgent_after, newest)
            batch = self._out_of_turn(connection, page.rows)
            if batch is not None or not page.more:
                return batch

    def _fresh(self, connection: Connection) -> _Batch | None:
        view, mark = self._view(connection), self._mark(connection)
        if not view.live:
            return self._withdrawn(connection, view, mark)
        page = feeds.page(connection, view, Match(after=mark), self._most)
        if not page.rows:
            return None
        before = self._before(connection, page.rows)
        rows = [row for row in page.rows if not _is_kept(row, before)]
        return _Batch(rows, page.rows[-1].added, before, [])

    def _withdrawn(self, connection: Connection, view: View, mark: int) -> _Batch | None:
        """For a partner that is cut off."""
        while True:
            page = feeds.page(connection, view, Match(after=max(mark, self._withdrawn_after)), self._most)
            if not page.rows:
                return None
            self._withdrawn_after = page.rows[-1].added
            batch = self._out_of_turn(connection, page.rows)
            if batch is not None:
                return batch

    def _out_of_turn(self, connection: Connection, found: Sequence[FeedRow]) -> _Batch | None:
        before = self._before(connection, found)
        rows = [row for row in found if not _is_kept(row, before)]
        return _Batch(rows, None, before, []) if rows else None

    def _ripe(self, connection: Connection) -> _Batch | None:
        view = self._view(connection)
        due = states.ripe(connection, self._instance.name, self._hub.clock(), self._most, live=view.live)
        if not due:
            return None
        ids = tuple(one.stix_id for one in due)
        added = {one.stix_id: one.added for one in due}
        page = feeds.page(connection, view, Match(ids=ids), len(ids) * 2)
        rows = [row for row in page.rows if row.added == added[row.stix_id]]
        found = {row.stix_id for row in rows}
        return _Batch(rows, None, {one.stix_id: one for one in due}, [id_ for id_ in ids if id_ not in found])

    def _before(self, connection: Connection, rows: Sequence[FeedRow]) -> dict[str, Delivery]:
        return states.of_rows(connection, self._instance.name, [row.stix_id for row in rows])

    # -- what they come to -----------------------------------------------------------------------------------------

    async def _push(self, batch: _Batch) -> None:
        outcomes = await self._tried(batch.rows) if batch.rows else ()
        if outcomes is None:
            return
        if len(outcomes) != len(batch.rows):
            raise PartnerFailed("outcomes", "the connector said not of every row what became of it")
        await self._hub.store.write(lambda connection: self._settle(connection, batch, outcomes))

    async def _tried(self, rows: Sequence[FeedRow]) -> Sequence[Outcome] | None:
        """A row that the connector stumbles over waits by itself, and none of the others for it."""
        try:
            return await self._outcomes(rows)
        except TocsinError:
            raise
        except Exception as error:
            if len(rows) == 1:
                return [self._stumbled(rows[0], error)]
            outcomes: list[Outcome] = []
            for row in rows:
                one = await self._tried([row])
                if one is None:
                    return None
                outcomes += one
            if all(outcome.reason == STUMBLED for outcome in outcomes):
                raise  # it is not the rows
            return outcomes

    def _stumbled(self, row: FeedRow, error: Exception) -> Outcome:
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("connector %s, %s: %s\n%s", self._instance.name, row.stix_id, type(error).__name__, frames)
        return Outcome("retry", STUMBLED)

    async def _outcomes(self, rows: Sequence[FeedRow]) -> Sequence[Outcome] | None:
        """None where the partner was cut off while they were on their way: then the rest of them stays here, and
        those that it may still get come again."""
        pushing = asyncio.ensure_future(self._pusher.push(rows))
        pushing.add_done_callback(looked_at)
        until = asyncio.get_running_loop().time() + PUSH_SECONDS
        try:
            while not (await asyncio.wait({pushing}, timeout=LOOK_SECONDS))[0]:
                if any(row.live for row in rows) and not (await self._hub.store.read(self._view)).live:
                    return None
                if asyncio.get_running_loop().time() >= until:
                    raise PartnerFailed("slow", f"it took more than {PUSH_SECONDS} seconds")
            return pushing.result()
        finally:
            if not pushing.done():
                pushing.cancel()
                await asyncio.wait({pushing}, timeout=END_SECONDS)  # longer waits nobody for it

    def _settle(self, connection: Connection, batch: _Batch, outcomes: Sequence[Outcome]) -> None:
        name, now_ms = self._instance.name, self._hub.clock()
        state = states.held(connection, self._instance)
        if state is None:
            return
        if self._memory:
            states.change(connection, name, checkpoint=json.dumps(self._memory))
        pairs = list(zip(batch.rows, outcomes, strict=True))
        through = [row for row, outcome in pairs if outcome.state in ("delivered", "nothing")]
        kept = [
            self._left(row, outcome, batch.before.get(row.stix_id), now_ms)
            for row, outcome in pairs
            if outcome.state in ("retry", "refused", "wait")
        ]
        # what went out of turn must be known until the mark has passed it
        mark = state.mark if batch.mark is None else batch.mark
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
            # of what was withdrawn while it was on its way, the partner knows nothing yet
            there = feeds.hold(connection, [row.added for row in delivered])
            taken = [_receipt(row) for row in delivered if row.added in there]
            receipts.take(connection, self._view(connection), taken, now_ms)

    def _left(self, row: FeedRow, outcome: Outcome, before: Delivery | None, now_ms: int) -> Delivery:
        """What is kept of a row that did not go through."""
        if outcome.state == "wait":
            turn_ms = now_ms + states.wished_ms(outcome.after_seconds)
            return Delivery(row.stix_id, row.added, row.live, "pending", 0, turn_ms, turn_ms, outcome.reason[:100])
        again = before is not None and before.added == row.added and before.standing == "pending"
        first_ms = before.first_ms if before is not None and again else now_ms
        tries = (before.tries if before is not None and again else 0) + 1
        pause = max(states.pause_ms(tries), states.wished_ms(outcome.after_seconds))
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
        state, view = states.held(connection, self._instance), self._view(connection)
        if state is None or not view.live:
            return
        page = feeds.page(connection, view, Match(after=state.mark), GIVEN_UP_AT_ONCE, bodies=False)
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


def looked_at(task: asyncio.Future[Any]) -> None:
    """What a task failed of that nobody waits for any more would be logged as it is, contents and all."""
    if not task.cancelled():
        task.exception()


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


def news(connection: Connection, hub: Hub, instances: Sequence[Instance], after: int) -> tuple[int, list[str]]:
    """Up to where (µs) all feeds were looked through now, and the names of those whose partner's feed has something
    beyond `after`. Where nothing came at all, that is one look-up."""
    newest = feeds.newest(connection)
    if newest <= after:
        return newest, []
    found = []
    for one in instances:
        bit = hub.directory.bit_of.get(one.partner)
        if bit is not None:
            allowed = may_receive(hub.directory.agreements, one.partner, hub.clock())
            view = feeds.view(connection, bit, allowed)
            if feeds.page(connection, view, Match(after=after), 1, bodies=False).rows:
                found.append(one.name)
    return newest, found


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
        # what changed while it was written may be in it by half
        after = await self._hub.store.read(lambda connection: self._digest(connection, now_ms))
        self._written = digest.hex() if after == digest else ""
        checkpoint = json.dumps({"written": self._written})
        await self._hub.store.write(lambda connection: self._note(connection, checkpoint))
        return False

    def _note(self, connection: Connection, checkpoint: str) -> None:
        if states.held(connection, self._instance) is not None:
            states.change(connection, self._instance.name, checkpoint=checkpoint)

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
