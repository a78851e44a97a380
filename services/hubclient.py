"""What the commands ask of a running hub, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from schemas.errors import TocsinError, Unavailable


class HubClient:
    """A hub at `url`, as whoever `token` belongs to. Use it as an async context manager."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=300))

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
        except aiohttp.ClientConnectionError:
            raise Unavailable(
                "hub-unreachable",
                f"no hub answers at {self._url}",
                hint="start one with `make up`, or set TOCSIN_URL",
            ) from None
        except TimeoutError:
            raise Unavailable(
                "hub-slow", f"the hub at {self._url} did not answer in time", hint="try again"
            ) from None


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
