"""What the commands ask of a running hub, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from schemas.errors import TocsinError, Unavailable

SECONDS = 300
"""For a whole answer; for each part of one that is written as it comes."""


class HubClient:
    """A hub at `url`, as whoever `token` belongs to. Use it as an async context manager."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=SECONDS))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        return orjson.loads(await self.download(path, params))

    async def download(self, path: str, params: Mapping[str, str] | None = None) -> bytes:
        return await self._send("GET", path, params)

    async def stream(self, path: str, params: Mapping[str, str], write: Callable[[bytes], object]) -> int:
        """An answer of any size, written as it comes; how many bytes it has. Raises as the others do, and
        also where it ends before it is whole."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SECONDS, sock_read=SECONDS)
        size = 0
        try:
            async with self._session.get(self._url + path, params=params, timeout=timeout) as response:
                if response.status >= 400:
                    raise _refusal(response.status, await response.read())
                async for chunk in response.content.iter_any():
                    write(chunk)
                    size += len(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failed(error) from None
        return size

    async def post(
        self,
        path: str,
        body: bytes = b"",
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        return orjson.loads(await self._send("POST", path, params, body, headers) or b"null")

    async def delete(self, path: str) -> Any:
        return orjson.loads(await self._send("DELETE", path) or b"null")

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Raises `Unavailable` where nobody answers, and a `TocsinError` in the hub's words where it refuses."""
        try:
            async with self._session.request(
                method, self._url + path, params=params, data=body or None, headers=headers
            ) as response:
                content = await response.read()
                if response.status < 400:
                    return content
                raise _refusal(response.status, content)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failed(error) from None

    def _failed(self, error: aiohttp.ClientError | TimeoutError) -> Unavailable:
        match error:
            case TimeoutError():
                return Unavailable("hub-slow", f"the hub at {self._url} did not answer in time", hint="try again")
            case aiohttp.ClientConnectionError():
                return Unavailable(
                    "hub-unreachable",
                    f"no hub answers at {self._url}",
                    hint="start one with `make up`, or set TOCSIN_URL",
                )
            case aiohttp.InvalidURL():
                return Unavailable("hub-unreachable", f"{self._url} is no address", hint="set TOCSIN_URL")
            case _:
                return Unavailable("hub-cut-off", f"the answer of {self._url} is not whole", hint="try again")


def _refusal(status: int, content: bytes) -> TocsinError:
    """The problem document (RFC 9457) of an answer as an error."""
    try:
        problem = orjson.loads(content)
        error = TocsinError(
            str(problem["code"]),
            str(problem.get("detail") or problem["title"]),
            where=str(problem.get("where", "")),
            hint=str(problem.get("hint", "")),
        )
        for item in problem.get("errors", [])[:20]:
            error.add_note(
                f"{item.get('where') or item.get('pointer', '')}: {item.get('detail') or item.get('reason')}"
            )
        return error
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return TocsinError("refused", f"the hub answered {status}")
