"""Takes in what a connector fetches, piece by piece, each by the door like any submission of its partner.

From where to go on is written after a piece is stored. A crash in between fetches and stores it again, which
changes nothing: what a source says twice is one word.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import aclosing

from sqlalchemy import Connection

from connectors.base import MAX_BODY_BYTES, Pulled, Puller
from schemas.agreement import Agreement
from schemas.errors import BodyRefused, Misconfigured, PartnerFailed
from services import connector_states as states
from services.accept.door import Door, Given
from services.connector_states import State
from services.hub import Hub
from services.instances import Instance

PIECE_SECONDS = 900
MAX_FEED_CHARS = 100
NOTHING = b'{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000000","objects":[]}'
MAX_CHECKPOINT_BYTES = 4 * 1024 * 1024


class Pulling:
    """One connector that fetches."""

    def __init__(self, hub: Hub, instance: Instance, puller: Puller, state: State, door: Door) -> None:
        self._hub = hub
        self._instance = instance
        self._puller = puller
        self._checkpoint = state.checkpoint
        self._door = door

    async def round(self) -> bool:
        """Fetches all that is new; false, since then there is no more. Raises `PartnerFailed`, and `RequestRefused`
        where the partner's agreement lets it contribute nothing now."""
        await self._agreement()
        async with aclosing(self._puller.pull(json.loads(self._checkpoint or "{}"))) as pieces:
            while True:
                try:
                    async with asyncio.timeout(PIECE_SECONDS):
                        piece = await anext(pieces, None)
                except TimeoutError:
                    raise PartnerFailed("slow", f"nothing came for {PIECE_SECONDS} seconds") from None
                if piece is None:
                    return False
                await self._take(piece)

    async def _agreement(self) -> Agreement:
        """Looked at for each piece: a fetch may take hours, and its partner be suspended meanwhile."""
        agreement = self._hub.directory.agreements.get(self._instance.partner)
        if agreement is None:
            raise Misconfigured(
                "partner-unknown",
                f"there is no partner {self._instance.partner!r}",
                where=self._instance.name,
                hint="`tocsin partner list` shows the ids",
            )
        await self._door.check_contributes(agreement)
        return agreement

    async def _take(self, piece: Pulled) -> None:
        taken = refused = 0
        if len(piece.body) > MAX_BODY_BYTES:
            raise PartnerFailed("piece-too-large", "the connector gave more at once than a submission may be")
        if piece.withdrawal is not None:
            _, found = await self._door.take_back(piece.withdrawal, self._instance.partner)
            taken += len(found.items)
        if piece.body or piece.snapshot:
            counted = await self._submit(piece)
            taken, refused = taken + counted[0], refused + counted[1]
        if piece.checkpoint is not None:
            self._checkpoint = json.dumps(piece.checkpoint)
            if len(self._checkpoint) > MAX_CHECKPOINT_BYTES:
                raise PartnerFailed("checkpoint-too-large", "the connector wants too much kept")
        checkpoint = self._checkpoint

        def work(connection: Connection) -> None:
            if (state := states.held(connection, self._instance)) is not None:
                states.change(connection, state.name, checkpoint=checkpoint)
                states.add_to(connection, state.name, went=taken, refused=refused)

        await self._hub.store.write(work)

    async def _submit(self, piece: Pulled) -> tuple[int, int]:
        """How many items were taken and refused. What can't be taken as a whole is kept among the rejected, and
        what comes after it is fetched all the same."""
        agreement = await self._agreement()
        if agreement.contributes is not None:  # whether it is a snapshot is said by what fetched it
            contributes = agreement.contributes.model_copy(update={"snapshot": piece.snapshot})
            agreement = agreement.model_copy(update={"contributes": contributes})
        # a snapshot without a body says that the feed is over; one in which nothing is found says nothing
        body, feed = piece.body or NOTHING, feed_name(self._instance.name, piece)
        given = Given(body, piece.media_type, piece.filename, feed, may_be_empty=not piece.body)
        try:
            _, packed = await self._door.take(agreement, given)
        except BodyRefused:
            return 0, 1
        return packed.taken, packed.refused

    async def give_up(self) -> None:
        """There is nothing to give up: what was not fetched is still there."""


def feed_name(connector: str, piece: Pulled) -> str:
    """The connector's own: feeds that have the same name at two of them must not withdraw each other's items, nor
    those whose long names only begin alike."""
    name = f"{connector}/{piece.feed or piece.filename}".rstrip("/")
    if len(name) <= MAX_FEED_CHARS:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[: MAX_FEED_CHARS - 17]}#{digest}"
