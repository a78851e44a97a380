"""The output to a TAXII 2.1 collection: Add Objects (section 5.5), then its status (section 4.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from connectors.access import token_of
from connectors.base import DELIVERED, Outcome, Tools
from connectors.http import Answer, place
from connectors.pieces import lots, send_all, verdict
from connectors.taxii_push import mapping
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow

MAX_ANSWER_BYTES = 4 * 1024 * 1024


class _Settings(Protocol):
    @property
    def api_root(self) -> str: ...
    @property
    def collection(self) -> str: ...
    @property
    def token_file(self) -> Path | None: ...
    @property
    def user(self) -> str: ...
    @property
    def password_file(self) -> Path | None: ...
    @property
    def rows(self) -> int: ...
    @property
    def wait_seconds(self) -> float: ...


async def open_pusher(settings: _Settings, tools: Tools) -> TaxiiPusher:
    token, password = "", b""
    if settings.token_file is not None:
        token = token_of(await asyncio.to_thread(tools.secret, settings.token_file), str(settings.token_file))
    if settings.password_file is not None:
        password = await asyncio.to_thread(tools.secret, settings.password_file)
    return TaxiiPusher(settings, tools, mapping.authorization(token, settings.user, password))


class TaxiiPusher:
    """Asks once what the server takes, then adds envelopes; what it fails because it has it already is done."""

    def __init__(self, settings: _Settings, tools: Tools, authorization: str) -> None:
        self._settings = settings
        self._http = tools.http
        self._authorization = authorization
        self._root = settings.api_root.rstrip("/") + "/"
        self._collection = f"{self._root}collections/{settings.collection}/"
        self._where = place(settings.api_root)
        self._max_bytes = 0
        self._can_read = False

    async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        if not self._max_bytes:
            await self._look()
        most = self._max_bytes - mapping.ENVELOPE_BYTES
        return await send_all(lots(rows, self._settings.rows, most), self._send)

    async def _look(self) -> None:
        collection = mapping.read(mapping.Collection, await self._get(self._collection), self._where)
        if not collection.can_write:
            raise PartnerFailed(
                "not-writable",
                "the collection can't be written",
                where=self._where,
                hint="ask the partner to let the hub's user write it",
            )
        root = mapping.read(mapping.ApiRoot, await self._get(self._root), self._where)
        self._can_read = collection.can_read
        self._max_bytes = min(root.max_content_length, mapping.MAX_CONTENT_BYTES)

    async def _send(self, rows: Sequence[FeedRow]) -> Sequence[Outcome] | str:
        body = mapping.envelope(rows)
        if len(body) > self._max_bytes:
            return "too-large"
        answer = await self._ask("POST", f"{self._collection}objects/", body)
        if answer.status == 404:
            raise self._missing()
        outcomes = verdict(answer.status, answer.after_seconds, len(rows), self._where)
        if isinstance(outcomes, str) or outcomes[0] != DELIVERED:
            return outcomes
        status = await self._settled(mapping.read(mapping.Status, answer.body, self._where))
        if status is None:
            return [mapping.PENDING] * len(rows)
        answered = mapping.answered(status, rows, self._where)
        if answered.unclear:
            return mapping.REFUSED
        for number in answered.failed:
            if await self._has(rows[number]):
                answered.outcomes[number] = DELIVERED
        return answered.outcomes

    async def _settled(self, status: mapping.Status) -> mapping.Status | None:
        """The status when the server is done, or as it is when the patience ends; None if it forgot it."""
        for pause in mapping.pauses(self._settings.wait_seconds):
            if status.status == "complete":
                return status
            await asyncio.sleep(pause)
            answer = await self._ask("GET", f"{self._root}status/{status.id}/")
            if answer.status == 404:
                return None
            verdict(answer.status, 0, 1, self._where)
            if answer.status == 200:
                status = mapping.read(mapping.Status, answer.body, self._where)
        return status

    async def _has(self, row: FeedRow) -> bool:
        if not self._can_read:
            return False
        answer = await self._ask("GET", f"{self._collection}objects/{row.stix_id}/versions/")
        if answer.status != 200:
            return False
        return mapping.holds(mapping.read(mapping.Versions, answer.body, self._where), row)

    async def _get(self, url: str) -> bytes:
        answer = await self._ask("GET", url)
        if answer.status == 404:
            raise self._missing()
        outcomes = verdict(answer.status, answer.after_seconds, 1, self._where)
        if isinstance(outcomes, str) or outcomes[0] != DELIVERED:
            after = answer.after_seconds
            raise PartnerFailed(
                "not-now", f"it answers with status {answer.status}", where=self._where, after_seconds=after
            )
        return answer.body

    async def _ask(self, method: str, url: str, body: bytes | None = None) -> Answer:
        headers = mapping.headers(self._authorization, content=body is not None)
        return await self._http.request(method, url, headers=headers, body=body, max_bytes=MAX_ANSWER_BYTES)

    def _missing(self) -> PartnerFailed:
        return PartnerFailed(
            "no-collection",
            "it knows no such collection, or does not show it to us",
            where=self._where,
            hint="check `api_root` and `collection`",
        )

    async def close(self) -> None:
        """Nothing is open."""
