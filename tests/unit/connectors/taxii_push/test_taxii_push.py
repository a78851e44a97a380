"""Adding to a TAXII collection: what the status says of each object, and servers that do not do as they should."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from pydantic import ValidationError

from connectors.base import DELIVERED, Outcome
from connectors.taxii_push import TaxiiPushSettings, mapping
from schemas.errors import PartnerFailed
from tests.partners.rows import row, stix_id, withdrawn
from tests.partners.taxii import COLLECTION, Collection, taxii_world
from tests.partners.world import World

ROWS = [row(f"{letter}.example") for letter in "abcd"]
REFUSED = Outcome("refused", "refused-by-server")


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with taxii_world(tmp_path) as made:
        yield made


def server(world: World, **changes: Any) -> Collection:
    for name, value in changes.items():
        setattr(world.partner, name, value)
    return cast(Collection, world.partner)


async def test_what_is_taken_is_delivered(world: World) -> None:
    collection = server(world)
    assert await (await world.pusher()).push([*ROWS, withdrawn("e.example")]) == [DELIVERED] * 5
    assert collection.objects[stix_id("e.example"), "2026-11-02T00:00:00.000Z"]["revoked"] is True
    assert len(collection.held()) == 5


async def test_the_server_is_asked_what_it_takes_only_once(world: World) -> None:
    pusher = await world.pusher()
    for _ in range(3):
        await pusher.push(ROWS)
    assert len([asked for asked in server(world).asked if asked == "GET /api1/"]) == 1


async def test_a_status_is_waited_for(world: World) -> None:
    server(world, pending_looks=2)
    assert await (await world.pusher()).push(ROWS) == [DELIVERED] * 4


async def test_patience_ends(tmp_path: Path) -> None:
    async with taxii_world(tmp_path, wait_seconds=0.3) as world:
        server(world, pending_looks=1000)
        assert await (await world.pusher()).push(ROWS) == [Outcome("retry", "pending", 60)] * 4


async def test_a_status_that_is_forgotten_is_asked_no_more(world: World) -> None:
    server(world, pending_looks=1000, forgets=True)
    assert await (await world.pusher()).push(ROWS) == [Outcome("retry", "pending", 60)] * 4


async def test_each_failure_is_of_its_object(world: World) -> None:
    server(world, poison=frozenset({stix_id("b.example"), stix_id("d.example")}))
    assert await (await world.pusher()).push(ROWS) == [DELIVERED, REFUSED, DELIVERED, REFUSED]


async def test_failures_without_names_are_found(world: World) -> None:
    server(world, poison=frozenset({stix_id("b.example")}), names=False)
    assert await (await world.pusher()).push(ROWS) == [DELIVERED, REFUSED, DELIVERED, DELIVERED]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_of_a_refused_envelope_the_one_object_is_found(world: World, status: int) -> None:
    server(world, poison=frozenset({stix_id("b.example")}), poison_status=status)
    refused = Outcome("refused", f"status-{status}")
    assert await (await world.pusher()).push(ROWS) == [DELIVERED, refused, DELIVERED, DELIVERED]


async def test_what_fails_because_it_is_there_already_is_delivered(world: World) -> None:
    server(world, repeats_fail=True)
    pusher = await world.pusher()
    for _ in range(2):
        assert await pusher.push(ROWS) == [DELIVERED] * 4
    # another version of the same is not there yet, and fails for a reason of its own
    server(world, poison=frozenset({stix_id("a.example")}))
    assert await pusher.push([row("a.example", 3), ROWS[1]]) == [REFUSED, DELIVERED]


async def test_where_the_collection_can_not_be_read_a_failure_is_a_failure(world: World) -> None:
    server(world, repeats_fail=True, reads=False)
    pusher = await world.pusher()
    assert await pusher.push(ROWS) == [DELIVERED] * 4
    assert await pusher.push(ROWS) == [REFUSED] * 4


async def test_envelopes_keep_to_what_the_server_takes(world: World) -> None:
    most = 2 * len(ROWS[0].body) + 100
    collection = server(world, max_content_length=most)
    large = row("large.example", body=ROWS[0].body[:-1] + b',"x_note":"' + b"x" * most + b'"}')
    assert await (await world.pusher()).push([*ROWS, large]) == [DELIVERED] * 4 + [Outcome("refused", "too-large")]
    assert len(collection.sizes) == 2 and max(collection.sizes) <= most


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"total_count": 3}, "status-contradicts"),
        ({"success_count": 9}, "status-contradicts"),
        ({"pending_count": 1, "total_count": 5}, "status-contradicts"),
        ({"success_count": -4}, "not-taxii"),
        ({"success_count": 2**63 - 1}, "status-contradicts"),
        ({"id": "../../../secret"}, "not-taxii"),
        ({"id": "x" * 1_000_000}, "not-taxii"),
        ({"status": "maybe"}, "not-taxii"),
        ({"successes": "all"}, "not-taxii"),
        ({"failures": [{"id": 7}] * 20}, "not-taxii"),
    ],
)
async def test_a_status_that_makes_no_sense_is_a_failure(world: World, changes: dict[str, Any], code: str) -> None:
    server(world, status=changes)
    with pytest.raises(PartnerFailed) as failed:
        await (await world.pusher()).push(ROWS)
    assert failed.value.code == code
    assert "secret" not in str(failed.value) and "example'" not in str(failed.value)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"writes": False}, "not-writable"),
        ({"max_content_length": 0}, "not-taxii"),
        ({"max_content_length": "plenty"}, "not-taxii"),
        ({"mode": "talks-nonsense"}, "not-taxii"),
        ({"mode": "lets-nobody-in"}, "not-let-in"),
        ({"mode": "later"}, "not-now"),
    ],
)
async def test_a_server_that_can_not_be_used_is_a_failure(world: World, changes: dict[str, Any], code: str) -> None:
    server(world, **changes)
    with pytest.raises(PartnerFailed) as failed:
        await (await world.pusher()).push(ROWS)
    assert failed.value.code == code
    assert failed.value.after_seconds == (7 if code == "not-now" else 0)


async def test_an_immense_length_is_not_believed(world: World) -> None:
    server(world, max_content_length=10**12)
    pusher = await world.pusher()
    assert await pusher.push(ROWS) == [DELIVERED] * 4
    assert pusher._max_bytes == mapping.MAX_CONTENT_BYTES  # type: ignore[attr-defined]


async def test_a_collection_that_nobody_knows(tmp_path: Path) -> None:
    async with taxii_world(tmp_path, collection="another") as world:
        with pytest.raises(PartnerFailed) as failed:
            await (await world.pusher()).push(ROWS)
    assert failed.value.code == "no-collection"


async def test_two_versions_of_one_object_have_their_own_outcomes() -> None:
    rows = [row("a.example", 1), row("a.example", 2)]
    status = mapping.Status(
        id="6f0c2e0a-5f0f-5b7e-9a55-3f1c0d2b7a90",
        status="complete",
        total_count=2,
        success_count=1,
        failure_count=1,
        pending_count=0,
        failures=[{"id": stix_id("a.example"), "version": "2026-11-02T00:00:00Z"}],
    )
    assert mapping.answered(status, rows).outcomes == [DELIVERED, REFUSED]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"token_file": "t", "user": "u", "password_file": "p"},
        {"user": "u"},
        {"password_file": "p"},
        {"token_file": "t", "user": "u"},
        {"token_file": "t", "collection": "../objects"},
        {"token_file": "t", "rows": 0},
    ],
)
def test_settings_that_can_not_be_meant_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TaxiiPushSettings(**({"api_root": "https://horizon.example/api1/", "collection": COLLECTION} | settings))


@pytest.mark.parametrize(("seconds", "looks"), [(0, 0), (0.1, 1), (1, 3), (60, 10)])
def test_between_looks_the_pauses_grow_and_end(seconds: float, looks: int) -> None:
    pauses = list(mapping.pauses(seconds))
    assert sum(pauses) == pytest.approx(seconds)
    assert abs(len(pauses) - looks) <= 1
