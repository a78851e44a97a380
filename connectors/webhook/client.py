"""The webhook's output: one POST for each bundle."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from connectors.base import Outcome, Tools
from connectors.http import place
from connectors.pieces import lots, send_all, verdict
from connectors.webhook import mapping
from schemas.feed import FeedRow


class _Settings(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def secret_file(self) -> Path: ...
    @property
    def source(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def bundle_bytes(self) -> int: ...


async def open_pusher(settings: _Settings, tools: Tools) -> WebhookPusher:
    text = await asyncio.to_thread(tools.secret, settings.secret_file)
    return WebhookPusher(settings, tools, mapping.secrets_of(text, str(settings.secret_file)))


class WebhookPusher:
    """Sends what is new; of the answer only the status counts, and its body is not read."""

    def __init__(self, settings: _Settings, tools: Tools, secrets: Sequence[bytes]) -> None:
        self._settings = settings
        self._tools = tools
        self._secrets = secrets

    async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        return await send_all(lots(rows, self._settings.rows, self._settings.bundle_bytes), self._send)

    async def _send(self, rows: Sequence[FeedRow]) -> Sequence[Outcome] | str:
        body = mapping.bundle(rows, self._tools.partner)
        id_ = mapping.message_id(rows, self._tools.partner)
        signed = mapping.headers(self._secrets, id_, self._tools.now_ms(), body, self._settings.source)
        async with self._tools.http.stream("POST", self._settings.url, headers=signed, body=body) as answer:
            return verdict(answer.status, answer.after_seconds, len(rows), place(self._settings.url))

    async def close(self) -> None:
        """Nothing is open."""
