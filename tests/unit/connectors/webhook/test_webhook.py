"""Webhooks: what is signed, what comes again, and what a receiver's answer means."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import orjson
import pytest
import pytest_asyncio
import stix2
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from connectors.base import DELIVERED, Outcome
from connectors.webhook import MANIFEST, mapping
from schemas.errors import Misconfigured, PartnerFailed
from tests.partners.rows import PARTNER, row, stix_id, withdrawn
from tests.partners.webhook import SECRET, Receiver, now_ms, webhook_world
from tests.partners.world import World, secret_file

OLD = "whsec_" + base64.b64encode(bytes(range(40, 80))).decode()
ROWS = [row(f"{letter}.example") for letter in "abcd"]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with webhook_world(tmp_path) as made:
        yield made


def receiver(world: World) -> Receiver:
    return cast(Receiver, world.partner)


async def test_a_bundle_is_what_a_reader_of_stix_and_a_verifier_take(world: World) -> None:
    rows = [row("a.example"), withdrawn("b.example")]
    assert await (await world.pusher()).push(rows) == [DELIVERED] * 2
    headers, body = receiver(world).requests[0]
    assert Webhook(SECRET).verify(body, dict(headers)) == orjson.loads(body)
    parsed = stix2.parse(body)
    assert [(entry["id"], entry["revoked"]) for entry in parsed["objects"]] == [
        (stix_id("a.example"), False),
        (stix_id("b.example"), True),
    ]
    assert b"b.example" not in body
    assert headers["Content-Type"] == "application/stix+json;version=2.1"


async def test_the_headers_are_those_of_a_cloud_event(world: World) -> None:
    await (await world.pusher()).push(ROWS)
    headers, _ = receiver(world).requests[0]
    event = {name.lower(): value for name, value in headers.items() if name.lower().startswith("ce-")}
    assert event == {
        "ce-specversion": "1.0",
        "ce-type": "tocsin.feed.changed",
        "ce-source": "urn:tocsin:hub",
        "ce-id": headers["webhook-id"],
    }


async def test_at_each_try_the_id_is_the_same_and_the_time_is_not(world: World) -> None:
    clock = iter([now_ms() - 60_000, now_ms()])
    world.tools = type(world.tools)(world.tools.http, world.tools.secret, lambda: next(clock), PARTNER)
    pusher = await world.pusher()
    for _ in range(2):
        await pusher.push(ROWS)
    (first, body), (second, again) = receiver(world).requests
    assert body == again
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert first["webhook-signature"] != second["webhook-signature"]


def test_an_id_is_of_recipient_objects_and_versions() -> None:
    ids = {
        mapping.message_id(ROWS, PARTNER),
        mapping.message_id(ROWS, "meridian"),
        mapping.message_id(ROWS[:3], PARTNER),
        mapping.message_id([*ROWS[:3], row("d.example", 2)], PARTNER),
        mapping.message_id([*ROWS[:3], withdrawn("d.example", 1)], PARTNER),
    }
    assert len(ids) == 5
    assert not any("." in id_ for id_ in ids)  # a full stop would let id and time be parted elsewhere


async def test_while_secrets_change_both_verify(world: World, tmp_path: Path) -> None:
    secret_file(tmp_path, "webhook.secret", f"{OLD}\n{SECRET}")
    assert await (await world.pusher()).push(ROWS) == [DELIVERED] * 4
    headers, body = receiver(world).requests[0]
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OLD):
        Webhook(secret).verify(body, dict(headers))
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(bytes(32)).decode()).verify(body, dict(headers))


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp"])
def test_what_is_signed_can_not_be_changed(header: str) -> None:
    body = mapping.bundle(ROWS, PARTNER)
    headers = dict(mapping.headers([bytes(range(32))], "msg_1", now_ms(), body))
    Webhook(SECRET).verify(body, headers)
    headers[header] = "msg_2" if header == "webhook-id" else str(int(headers[header]) + 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, headers)


@pytest.mark.parametrize("refusal", [400, 413, 422])
async def test_of_a_refused_bundle_the_one_object_is_found(world: World, refusal: int) -> None:
    receiver(world).poison, receiver(world).refusal = frozenset({stix_id("c.example")}), refusal
    refused = Outcome("refused", f"status-{refusal}")
    assert await (await world.pusher()).push(ROWS) == [DELIVERED, DELIVERED, refused, DELIVERED]
    assert len(receiver(world).held()) == 3


async def test_gone_is_refused_without_asking_for_each(world: World) -> None:
    receiver(world).mode, receiver(world).refusal = "refuses", 410
    assert await (await world.pusher()).push(ROWS) == [Outcome("refused", "gone")] * 4
    assert len(receiver(world).requests) == 1


async def test_large_feeds_go_in_several_bundles(tmp_path: Path) -> None:
    async with webhook_world(tmp_path, rows=3) as world:
        receiver(world).later_after = 2
        rows = [row(f"{number}.example") for number in range(10)]
        outcomes = await (await world.pusher()).push(rows)
    assert outcomes == [DELIVERED] * 6 + [Outcome("retry", "status-429", 7)] * 4
    assert len(receiver(world).requests) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_dG9vIHNob3J0",
        "not base64!",
        f"{SECRET} oops",
        "whsec_" + "A" * 200,
        "\xff",
        "\n".join([SECRET] * 5),
    ],
)
async def test_a_secret_that_is_none_is_a_misconfiguration(world: World, tmp_path: Path, text: str) -> None:
    secret_file(tmp_path, "webhook.secret", text)
    with pytest.raises(Misconfigured) as wrong:
        await world.pusher()
    assert wrong.value.code == "webhook-secret"
    assert "dG9vIHNob3J0" not in str(wrong.value) and SECRET not in str(wrong.value)


async def test_a_redirect_is_a_failure(world: World) -> None:
    receiver(world).mode, receiver(world).refusal = "refuses", 301
    with pytest.raises(PartnerFailed) as failed:
        await (await world.pusher()).push(ROWS)
    assert failed.value.code == "status-unexpected"
    assert "in-the-path" not in str(failed.value)


def test_it_speaks_with_the_webhook_s_host_only(world: World) -> None:
    assert list(MANIFEST.hosts(world.settings)) == [world.settings.url]  # type: ignore[attr-defined]
