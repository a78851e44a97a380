"""What all commands share: the settings of this process, and a hub to ask."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from schemas.errors import Misconfigured, Unavailable
from services.hubclient import HubClient
from services.settings import Settings

T = TypeVar("T")
WAIT_SECONDS = 600


def settings(**overrides: object) -> Settings:
    """What the environment says; raises `Misconfigured` naming the variable."""
    return Settings.from_environment(os.environ, **overrides)


def ask(work: Callable[[HubClient], Awaitable[T]], *, as_partner: bool = False) -> T:
    """Runs `work` against the hub that the settings name; `as_partner` only with a token that was given."""
    given = settings()
    token = given.token
    if not token and as_partner:
        raise Misconfigured(
            "no-token",
            "this is a partner's word, and TOCSIN_TOKEN is not set",
            hint="set it to the partner's token, which the hub's operator gives out",
        )
    if not token:
        try:
            token = given.staff_token_path.read_text().strip()
        except OSError:
            raise Misconfigured(
                "no-token",
                f"there is no token in {given.staff_token_path}",
                hint="start a hub with `make up`, set TOCSIN_DATA to its data directory, or set TOCSIN_TOKEN",
            ) from None

    async def asking() -> T:
        async with HubClient(given.url, token) as hub:
            return await work(hub)

    return asyncio.run(asking())


async def wait_for(hub: HubClient, submissions: Sequence[str]) -> None:
    """Until all are `done`; raises `Unavailable` after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    with progress(submissions, "reaching the feeds") as bar:
        for submission in bar:
            pause = 0.02
            while (await hub.get(f"/api/v1/submissions/{submission}", {"limit": "1"}))["state"] != "done":
                if time.monotonic() > deadline:
                    raise Unavailable(
                        "not-done",
                        f"submission {submission} is not through",
                        hint="`tocsin status` says what waits",
                    )
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 1.0)


def progress(items: Sequence[T], label: str) -> Any:
    """A progress bar on the terminal's error stream; nothing where no person watches."""
    return click.progressbar(items, label=label.ljust(18), file=sys.stderr, hidden=not sys.stderr.isatty())
