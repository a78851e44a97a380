"""Sends bundles to a running hub over HTTP and watches until the feeds show them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import click
import orjson

from tests.bench.incoming import Bundle, Feeds
from tests.bench.partners import SOURCES

PATIENCE_SECONDS = 300
SINGLE_PACE_SECONDS = 0.002
PACE_SECONDS = 0.01
FOLLOW_SECONDS = 0.1
SINGLE_SECONDS = 30
GAP_SECONDS = 0.02

Advance = Callable[[int], object]


class Submitted(NamedTuple):
    """One submission: when its sending began, and when it was answered and shown (seconds of `perf_counter`)."""

    began: float
    accepted: float
    visible: float
    size: int


class Rate(NamedTuple):
    """A run at full load. Seconds from the first byte sent until all was answered, and until all was visible."""

    indicators: int
    bundles: int
    accepted_seconds: float
    visible_seconds: float


class Client:
    """Speaks to the hub with the tokens of all partners. Use it as an async context manager."""

    def __init__(self, url: str, staff_token: str) -> None:
        self._url = url
        self._staff = _bearer(staff_token)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS))
        self._tokens: dict[str, dict[str, str]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def introduce(self, partners: Sequence[str]) -> None:
        """Gets a token for each."""
        for partner in partners:
            answer = await self._json("POST", f"/api/v1/partners/{partner}/tokens", self._staff)
            self._tokens[partner] = _bearer(answer["token"])

    async def get(self, partner: str, path: str, **params: str) -> Any:
        return await self._json("GET", path, self._tokens[partner], params=params)

    async def submit(self, bundle: Bundle) -> str:
        """The id of the submission; raises `click.ClickException` where not all of it was taken."""
        headers = self._tokens[bundle.source.id] | {"Content-Type": "application/json"}
        answer = await self._json("POST", "/api/v1/submissions", headers, data=bundle.body)
        if answer["taken"] != bundle.size:
            raise click.ClickException(
                f"of {bundle.size} indicators {answer['taken']} were taken: {answer['items'][:1]}"
            )
        return str(answer["id"])

    async def wait(self, source: str, submission: str, pause: Callable[[float], float]) -> float:
        """When the submission was first seen to be `done`. `pause` says how long to wait after how many seconds."""
        began = time.perf_counter()
        while True:
            answer = await self.get(source, f"/api/v1/submissions/{submission}", limit="1")
            now = time.perf_counter()
            if answer["state"] == "done":
                if answer["refused"]:
                    raise click.ClickException(
                        f"submission {submission}: {answer['refused']} were refused on the way"
                    )
                return now
            if now - began > PATIENCE_SECONDS:
                raise click.ClickException(f"submission {submission} is still {answer['state']}")
            await asyncio.sleep(pause(now - began))

    async def _json(self, method: str, path: str, headers: dict[str, str], **more: Any) -> Any:
        async with self._session.request(method, self._url + path, headers=headers, **more) as response:
            content = await response.read()
            if response.status >= 400:
                raise click.ClickException(f"{method} {path}: {response.status} {content[:300].decode()}")
            return orjson.loads(content)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def full_load(client: Client, bundles: Sequence[Bundle], advance: Advance) -> Rate:
    """Each source sends its bundles one after the other, all sources at the same time."""
    of_source: dict[str, list[Bundle]] = defaultdict(list)
    for bundle in bundles:
        of_source[bundle.source.id].append(bundle)
    submitted: asyncio.Queue[tuple[Bundle, str]] = asyncio.Queue()
    answered = began = time.perf_counter()

    async def send(source: str) -> None:
        nonlocal answered
        for bundle in of_source[source]:
            submitted.put_nowait((bundle, await client.submit(bundle)))
            answered = time.perf_counter()

    async def follow() -> float:
        # one at a time, in the order of the answers: asking for all of them would be a load of its own
        shown = began
        for _ in bundles:
            bundle, submission = await submitted.get()
            shown = max(shown, await client.wait(bundle.source.id, submission, lambda _: FOLLOW_SECONDS))
            advance(bundle.size)
        return shown

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(follow())
        for source in of_source:
            group.create_task(send(source))
    indicators = sum(bundle.size for bundle in bundles)
    return Rate(indicators, len(bundles), answered - began, watching.result() - began)


async def open_load(
    client: Client, bundles: Sequence[Bundle], per_second: float, random: Random, advance: Advance
) -> list[Submitted]:
    """Bundles arrive by the clock (a Poisson process with `per_second` indicators), whoever is still waiting.

    Latency counts from when a bundle was due, so that a slow answer can't hide the wait of those behind it.
    """
    mean_seconds = sum(bundle.size for bundle in bundles) / len(bundles) / per_second
    start = time.perf_counter()

    waiting = 0

    def pause(waited_seconds: float) -> float:
        # together at most one question in PACE_SECONDS: more would measure the questions
        return max(PACE_SECONDS * waiting, waited_seconds / 20)

    async def one(bundle: Bundle, due: float) -> Submitted:
        nonlocal waiting
        submission = await client.submit(bundle)
        accepted = time.perf_counter()
        waiting += 1
        visible = await client.wait(bundle.source.id, submission, pause)
        waiting -= 1
        advance(bundle.size)
        return Submitted(due, accepted, visible, bundle.size)

    tasks: list[asyncio.Task[Submitted]] = []
    due = start
    async with asyncio.TaskGroup() as group:
        for bundle in bundles:
            due += random.expovariate(1 / mean_seconds)
            await asyncio.sleep(max(0, due - time.perf_counter()))
            tasks.append(group.create_task(one(bundle, due)))
    return [task.result() for task in tasks]


async def singles(client: Client, feeds: Feeds, count: int, advance: Advance) -> list[Submitted]:
    """One indicator at a time through a hub that does nothing else; at most for SINGLE_SECONDS."""
    results: list[Submitted] = []
    deadline = time.perf_counter() + SINGLE_SECONDS
    for number in range(count):
        bundle = feeds.bundle(SOURCES[number % len(SOURCES)], 1)
        began = time.perf_counter()
        submission = await client.submit(bundle)
        accepted = time.perf_counter()
        visible = await client.wait(bundle.source.id, submission, lambda _: SINGLE_PACE_SECONDS)
        results.append(Submitted(began, accepted, visible, 1))
        advance(1)
        if visible > deadline:
            break
        await asyncio.sleep(GAP_SECONDS)
    return results
