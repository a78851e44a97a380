"""Reads every partner's feed by TAXII 2.1 and holds it against what was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.incoming import Sent
from tests.bench.load import Client
from tests.bench.partners import Receiver, must_get

PAGE_OBJECTS = 1_000


async def wrong_feeds(
    client: Client, partners: Sequence[Receiver], sent: Sent, advance: Callable[[int], object]
) -> tuple[list[str], int]:
    """What is wrong in which feed, and how many objects were read. Nothing is wrong if all is there once."""
    words = {number: sent.words(number) for number in sent.items}
    problems: list[str] = []
    total = 0
    for partner in partners:
        expected = {item.pattern for number, item in sent.items.items() if must_get(partner, words[number])}
        objects = await read_feed(client, partner.id)
        problems += compare(partner.id, expected, objects)
        total += len(objects)
        advance(1)
    return problems, total


async def read_feed(client: Client, partner: str) -> list[dict[str, Any]]:
    """All objects of the partner's one collection, page by page."""
    collections = await client.get(partner, "/taxii2/api/collections/")
    path = f"/taxii2/api/collections/{collections['collections'][0]['id']}/objects/"
    objects: list[dict[str, Any]] = []
    params = {"limit": str(PAGE_OBJECTS)}
    while True:
        envelope = await client.get(partner, path, **params)
        objects += envelope.get("objects", [])
        if not envelope.get("more"):
            return objects
        params["next"] = envelope["next"]


def compare(partner: str, expected: set[str], objects: Sequence[dict[str, Any]]) -> list[str]:
    """Pure: what is wrong with a feed that should have exactly the patterns `expected`, each under one id.

    What changes while a feed is read comes again, in its new version; campaigns are not among what was sent.
    """
    newest = {str(thing["id"]): thing for thing in objects}
    found = [str(thing["pattern"]) for thing in newest.values() if thing["type"] == "indicator"]
    distinct = set(found)
    problems = []
    if missing := expected - distinct:
        problems.append(f"{partner}: {len(missing)} of {len(expected)} are missing, such as {min(missing)}")
    if extra := distinct - expected:
        problems.append(f"{partner}: {len(extra)} are there that must not be, such as {min(extra)}")
    if len(found) > len(distinct):
        problems.append(f"{partner}: {len(found) - len(distinct)} are there twice")
    if any(thing.get("revoked") for thing in newest.values()):
        problems.append(f"{partner}: some are withdrawn")
    return problems
