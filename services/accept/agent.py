"""The relay: moves stored submissions from the outbox on to the broker, in order, and loses none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from sqlalchemy import Connection

from schemas.reference import is_letter
from schemas.report import with_seq
from schemas.topics import REJECTED, REPORTS, Topic
from services.accept import contributions
from services.accept.framing import Parcel
from services.accept.inbox import Positions, Waiting, mark_relayed, next_waiting
from services.hub import Hub
from services.only_one import OnlyOne
from services.stream.types import Message, Streams
from services.tables import RELAY_LOCK

log = logging.getLogger(__name__)

ROUND_BYTES = 8 * 1024 * 1024
APPEND_MESSAGES = 5_000  # an append holds the log's only writer: others get their turn in between
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
DAY_MS = 86_400_000
FORGET_EVERY_MS = 3_600_000
FORGOTTEN_AT_ONCE = 1_000  # a writer that takes longer keeps others waiting
LOOK_SECONDS = {True: 5.0, False: 0.25}  # on PostgreSQL other processes fill the outbox too, and can't wake us


class Relay:
    """Set `wake` after each stored submission.

    A broker that does not answer is asked again, with longer and longer pauses; what is stored stays stored.
    A crash between the broker's acknowledgement and ours sends the same again, under the same `seq`, which
    dedupe takes for a replay. An error of the database ends the relay: see `failed`.
    """

    def __init__(self, hub: Hub, streams: Streams) -> None:
        self._hub = hub
        self._streams = streams
        self._task: asyncio.Task[None] | None = None
        self._forgotten_ms = 0
        self.wake = asyncio.Event()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="accept-relay")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task

    async def failed(self) -> BaseException:
        """Waits until the relay dies by itself, and says of what."""
        if self._task is None:
            raise RuntimeError("the relay was not started")
        await asyncio.wait([self._task])
        if self._task.cancelled():
            await asyncio.Event().wait()
        return self._task.exception() or RuntimeError("the relay ended")

    async def _run(self) -> None:
        look_seconds = LOOK_SECONDS[self._hub.store.is_sqlite]
        with OnlyOne(self._hub.store, RELAY_LOCK) as only:
            while True:
                self.wake.clear()
                while await asyncio.to_thread(only.held) and await self._round():
                    pass
                await self._forget()
                with suppress(TimeoutError):
                    # `wait_for` of Python 3.11 may lose a cancellation, and `stop` would wait for ever
                    async with asyncio.timeout(look_seconds):
                        await self.wake.wait()

    async def _round(self) -> bool:
        """Relays what is at the head of the outbox; false where there is nothing."""
        waiting = await next_waiting(self._hub, ROUND_BYTES)
        if not waiting:
            return False
        positions = await self._send(waiting)
        await mark_relayed(self._hub, positions)
        return True

    async def _forget(self) -> None:
        """Takes out now and then what sources can read back and is older than anything is kept."""
        now_ms = self._hub.clock()
        if now_ms < self._forgotten_ms + FORGET_EVERY_MS:
            return
        self._forgotten_ms = now_ms
        before_us = (now_ms - self._hub.directory.policy.retention_days * DAY_MS) * 1_000
        for source in self._hub.directory.bit_of:
            while await self._hub.store.write(partial(_forget_some, source, before_us)):
                pass

    async def _send(self, waiting: Sequence[Waiting]) -> Positions:
        positions: Positions = {submission.seq: {} for submission in waiting}
        for topic in (REPORTS, REJECTED):
            numbered = [(s.seq, parcel) for s in waiting for parcel in s.parcels if parcel.topic is topic]
            for start in range(0, len(numbered), APPEND_MESSAGES):
                part = numbered[start : start + APPEND_MESSAGES]
                places = await self._append(topic, [_message(seq, parcel) for seq, parcel in part])
                if topic is REPORTS:
                    _keep_last(positions, [seq for seq, _ in part], places)
        return positions

    async def _append(self, topic: Topic, messages: Sequence[Message]) -> list[tuple[int, int]]:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._streams.append(topic, messages)
            except Exception as error:  # a driver's errors are its library's: whichever it is, try again
                log.warning("broker: %s; next try in %.1f s", type(error).__name__, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _forget_some(source: str, before_us: int, connection: Connection) -> bool:
    return contributions.forget(connection, source, before_us, FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE


def _message(seq: int, parcel: Parcel) -> Message:
    numbered = parcel.topic is REPORTS and not is_letter(parcel.value)
    value = with_seq(parcel.value, seq) if numbered else parcel.value
    return Message(parcel.key, value)


def _keep_last(positions: Positions, seqs: Sequence[int], places: Sequence[tuple[int, int]]) -> None:
    for seq, (partition, offset) in zip(seqs, places, strict=True):
        of_submission = positions[seq]
        of_submission[partition] = max(offset, of_submission.get(partition, -1))
