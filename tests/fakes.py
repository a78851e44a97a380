"""Stand-ins for what a part under test works with: a hub on a database of its own, a broker in memory."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from schemas.agreement import Agreement, Policy
from schemas.topics import Topic
from services.accept import http as accept_http
from services.accept.door import Door
from services.hub import Directory, Hub
from services.problems import problem_documents
from services.settings import Settings
from services.store import Store
from services.stream.types import Lag, Message, Service, Sink, Stage
from services.tables import metadata
from services.tokens import Authenticator, Scope, issue

NOW_MS = 1_795_000_000_000  # 2026-11-18T11:06:40Z
SECRET = bytes(range(32))


@dataclass
class FakeStreams:
    """A broker in memory. While `down` is set every append fails, before anything is written."""

    partitions: int = 8
    down: BaseException | None = None
    written: dict[str, dict[int, list[Message]]] = field(default_factory=dict)
    appends: list[tuple[str, int]] = field(default_factory=list)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def create_topics(self, topics: Sequence[Topic]) -> None: ...

    async def append(self, topic: Topic, messages: Sequence[Message]) -> list[tuple[int, int]]:
        await asyncio.sleep(0)
        if self.down is not None:
            raise self.down
        self.appends.append((topic.name, len(messages)))
        places = []
        for message in messages:
            number = zlib.crc32(message.key) % self.partitions
            partition = self.written.setdefault(topic.name, {}).setdefault(number, [])
            partition.append(message)
            places.append((number, len(partition) - 1))
        return places

    def run(self, worker: Stage | Sink) -> Service:
        raise NotImplementedError("this broker runs no workers")

    async def lag(self) -> list[Lag]:
        return []

    def messages(self, topic: Topic) -> list[Message]:
        """All of a topic, partition by partition."""
        return [message for _, part in sorted(self.written.get(topic.name, {}).items()) for message in part]


def source_agreement(name: str = "alpha", **contributes: Any) -> Agreement:
    """A made-up contributor that receives nothing."""
    return agreement(name, contributes={"reliability": "B", **contributes})


def agreement(name: str, **sections: Any) -> Agreement:
    partner = {
        "id": name,
        "name": name.title(),
        "kind": "ngo",
        "jurisdiction": "XN",
        "controlled_by": [],
        "starts": "2026-01-01",
        "ends": "2028-01-01",
    }
    return Agreement.model_validate({"partner": partner, **sections})


def make_hub(
    folder: Path,
    agreements: Iterable[Agreement],
    clock: Callable[[], int] = lambda: NOW_MS,
    **settings: Any,
) -> Hub:
    """A hub on a fresh SQLite database in `folder`."""
    given = Settings(data=folder, **settings)
    store = Store(given.database_url)
    metadata.create_all(store.engine)
    by_id: Mapping[str, Agreement] = {one.id: one for one in agreements}
    directory = Directory(by_id, Policy(), "0" * 64, "n0", {name: bit for bit, name in enumerate(by_id)})
    return Hub(settings=given, store=store, secret=SECRET, directory=directory, clock=clock)


async def token_for(hub: Hub, name: str, scope: Scope = "partner", expires_ms: int | None = None) -> str:
    return await hub.store.write(lambda connection: issue(connection, name, scope, hub.clock(), expires_ms))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def rows(hub: Hub, table: sa.Table) -> list[sa.Row[Any]]:
    return await hub.store.read(lambda connection: list(connection.execute(sa.select(table))))


@asynccontextmanager
async def accept_client(hub: Hub) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """A client of a server that has the door, and nothing else."""
    app = web.Application(middlewares=[problem_documents])
    accept_http.attach(app, hub, Authenticator(hub.store, hub.clock), Door(hub, lambda: None))
    async with TestClient(TestServer(app)) as client:
        yield client
