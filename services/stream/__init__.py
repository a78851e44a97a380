"""The thin layer on Faust: chunks in, batches out. See `types.py` for what it promises."""

from __future__ import annotations

import time
from collections.abc import Callable

from schemas.errors import Misconfigured
from services.store import Store
from services.stream.state import OpenState, in_memory
from services.stream.types import Streams


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def open_streams(
    url: str,
    store: Store | None,
    security: str | None = None,
    clock: Callable[[], int] = now_ms,
    open_state: OpenState = in_memory,
) -> Streams:
    """The broker at `url`: `sqlite:` (the log in `store`'s SQLite file) or `kafka://host:port,host:port`.

    `open_state` keeps what stages remember while they run. Raises `Misconfigured`. Call it in the event loop that
    will use it; nothing connects before `start`.
    """
    if url == "sqlite:":
        if store is None:
            raise Misconfigured("broker-needs-sqlite", "the embedded log needs a database", where="TOCSIN_BROKER")
        from services.stream.sqlite import SqliteStreams

        return SqliteStreams(store, clock, open_state)
    if url.startswith("kafka://"):
        from services.stream.kafka import KafkaStreams

        return KafkaStreams(url.removeprefix("kafka://"), security, clock, open_state)
    raise Misconfigured(
        "broker-unknown",
        f"no driver for the broker {url}",
        where="TOCSIN_BROKER",
        hint="sqlite: or kafka://host:port",
    )
