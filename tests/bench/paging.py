"""What a page of a TAXII collection costs at its start and at its end, over a million objects."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import click
import orjson
from aiohttp.test_utils import TestClient, TestServer

from schemas.bits import of, to_hex
from schemas.timestamps import format_time
from services.accept.aliases import write_all
from services.hub import Hub
from services.migrate import upgrade
from services.share import cursor, taxii
from services.tables import audience_members, audiences, contributions, feed, metadata, partners
from services.web import application
from tests.bench.servers import database_settings
from tests.fakes import NOW_MS, agreement, bearer, make_hub, token_for
from tests.unit.share.world import RECEIVES

AUDIENCES = 8
ROWS_AT_ONCE = 20_000
FIRST_US = NOW_MS * 1_000 - 10**12


class Cost(NamedTuple):
    """Milliseconds of a page, the median."""

    what: str
    start_ms: float
    end_ms: float


@click.command()
@click.option("--items", default=1_000_000, show_default=True, type=click.IntRange(10_000), help="Objects.")
@click.option("--pages", default=30, show_default=True, type=click.IntRange(3), help="Pages at each end.")
@click.option("--size", default=100, show_default=True, type=click.IntRange(1, 5_000), help="Objects a page.")
@click.option("--database", default="sqlite", show_default=True, type=click.Choice(["sqlite", "postgres"]))
def paging(items: int, pages: int, size: int, database: str) -> None:
    """Measure pages at the start and at the end of collections.

    Example: make bench ARGS="paging --database postgres"
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name, ExitStack() as stack:
        settings = stack.enter_context(database_settings(database))
        hub = _hub(Path(name), settings.get("TOCSIN_DATABASE", ""))
        stack.callback(hub.store.close)
        _fill(hub, items)
        costs = asyncio.run(_measure(hub, items, pages, size))
    click.echo(f"{items:,} objects in {database}, {size} a page")
    for cost in costs:
        ratio = cost.end_ms / cost.start_ms
        click.echo(f"{cost.what:28} {cost.start_ms:8.2f} ms  {cost.end_ms:8.2f} ms  end/start {ratio:5.2f}")


def _hub(folder: Path, database: str) -> Hub:
    terms = {"receives": {**RECEIVES, "collections": ["spyware"]}, "contributes": {"reliability": "B"}}
    hub = make_hub(folder, [agreement("alpha", **terms)], **({"database": database} if database else {}))
    # which of two indexes SQLite takes may hang on their order: it has to be that of a real hub
    metadata.drop_all(hub.store.engine)
    upgrade(hub.store.engine)
    return hub


def _fill(hub: Hub, items: int) -> None:
    """Every audience holds a part of the feed; every fourth object of what was posted is of a newer version."""
    with hub.store.engine.begin() as connection:
        connection.execute(partners.insert(), [{"bit": 0, "id": "alpha"}])
        numbers = range(1, AUDIENCES + 1)
        names = [{"id": n, "recipients": to_hex(of([0, *range(1, n)]))} for n in numbers]
        connection.execute(audiences.insert(), names)
        connection.execute(audience_members.insert(), [{"bit": 0, "audience": n} for n in numbers])
    starts = range(0, items, ROWS_AT_ONCE)
    with click.progressbar(starts, label="filling", file=click.get_text_stream("stderr")) as bar:
        for start in bar:
            some = range(start, min(items, start + ROWS_AT_ONCE))
            with hub.store.engine.begin() as connection:
                for table, rows in ((feed, _fed(some)), (contributions, _posted(some))):
                    listed = list(rows)
                    columns = [column.name for column in table.columns]
                    write_all(
                        connection, table.insert(), columns, [tuple(row[c] for c in columns) for row in listed]
                    )
    if not hub.store.is_sqlite:
        with hub.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")


def _fed(numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        id_, body = _object(number)
        yield {
            "added": FIRST_US + number * 7,
            "audience": 1 + number * 7_919 % AUDIENCES,
            "fingerprint": number.to_bytes(16),
            "live": True,
            "stix_id": id_,
            "type": "indicator",
            "modified": _time(number),
            "category": "spyware" if number % 2 else "ddos",
            "body": body,
            "urgent": False,
            "reminded": 0,
            **dict.fromkeys(("confidence", "score", "since")),
            **dict.fromkeys(("digest", "kind", "value", "first_seen", "last_seen", "tlp"), ""),
            **dict.fromkeys(("active_until", "registrable_domain"), ""),
        }


def _posted(numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        id_, body = _object(number - number % 4 // 3)
        at = _time(number)
        yield {
            "source": "alpha",
            "added": FIRST_US + number * 7,
            "stix_id": id_,
            "type": "indicator",
            "version": at,
            "version_us": number * 1_000_000,
            "seq": 1,
            "names": b"",
            "body": body,
        }


def _time(number: int) -> str:
    return format_time(number * 1_000)


def _object(number: int) -> tuple[str, bytes]:
    id_ = f"indicator--{UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4)}"
    body = {
        "type": "indicator", "spec_version": "2.1", "id": id_, "created": _time(0), "modified": _time(number),
        "pattern": f"[domain-name:value = 'h{number}.example']", "pattern_type": "stix", "valid_from": _time(0),
    }  # fmt: skip
    return id_, orjson.dumps(body)


async def _measure(hub: Hub, items: int, pages: int, size: int) -> list[Cost]:
    token = bearer(await token_for(hub, "alpha"))
    found = []
    async with TestClient(TestServer(application(hub, lambda: None))) as client:

        async def walk(path: str, which: str, after: int) -> float:
            id_ = taxii.collection_id(hub.secret, "alpha", which)
            params = {"limit": str(size), "next": cursor.seal(hub.secret, id_, after)}
            times = []
            for _ in range(pages):
                began = time.perf_counter()
                url = f"/taxii2/api/collections/{id_}/{path}"
                async with client.get(url, params=params, headers=token) as response:
                    page = orjson.loads(await response.read())
                times.append((time.perf_counter() - began) * 1_000)
                if "next" not in page:
                    raise click.ClickException(f"{path} of {which or 'the feed'} ended too early")
                params["next"] = page["next"]
            return statistics.median(times)

        end = FIRST_US + (items - size * (pages + 2) * 3) * 7
        for which in ("", "category spyware", "contributions"):
            for path in ("objects/", "manifest/"):
                await walk(path, which, FIRST_US - 1)  # connections, compiled SQL
                start_ms = await walk(path, which, FIRST_US - 1)
                found.append(Cost(f"{which or 'feed'}: {path}", start_ms, await walk(path, which, end)))
    return found
