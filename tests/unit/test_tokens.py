"""Tokens: who gets in, who does not, and for how long a revoked one still does."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from services.hub import Hub
from services.problems import RequestRefused
from services.tables import tokens
from services.tokens import CACHE_MS, PREFIX, Authenticator, Principal, revoke
from tests.fakes import NOW_MS, make_hub, rows, token_for


class Clock:
    def __init__(self) -> None:
        self.ms = NOW_MS

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(tmp_path: Path, clock: Clock) -> Iterator[Hub]:
    made = make_hub(tmp_path, [], clock)
    yield made
    made.store.close()


async def ask(authenticator: Authenticator, header: str | None, path: str = "/api/v1/x") -> Principal:
    headers = {} if header is None else {"Authorization": header}
    return await authenticator.authenticate(make_mocked_request("GET", path, headers=headers))


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


async def test_only_the_hash_is_stored(hub: Hub) -> None:
    token = await token_for(hub, "alpha")
    [row] = await rows(hub, tokens)
    assert token.startswith(PREFIX)
    assert len(token) == len(PREFIX) + 43
    assert len(row.hash) == 32
    assert token.encode() not in row.hash
    assert (row.name, row.scope, row.created_ms, row.expires_ms) == ("alpha", "partner", NOW_MS, None)


async def test_bearer_and_basic(hub: Hub, clock: Clock) -> None:
    authenticator = Authenticator(hub.store, clock)
    partner, staff = await token_for(hub, "alpha"), await token_for(hub, "staff", "staff")
    assert await ask(authenticator, f"Bearer {partner}") == Principal("alpha", "partner")
    assert await ask(authenticator, f"bearer  {partner}") == Principal("alpha", "partner")
    assert await ask(authenticator, basic("whoever", partner)) == Principal("alpha", "partner")
    assert await ask(authenticator, f"Bearer {staff}") == Principal("staff", "staff")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "token-missing"),
        ("", "token-missing"),
        ("Bearer", "token-missing"),
        ("Bearer ", "token-missing"),
        ("Digest abc", "token-missing"),
        ("Basic ***", "token-missing"),
        (basic("alpha", ""), "token-missing"),
        ("Basic " + b64encode(b"\xff\xfe:\xff").decode(), "token-missing"),
        ("Bearer " + "x" * 2000, "token-missing"),
        ("Bearer tocsin_not-one-of-ours", "token-invalid"),
        (basic("alpha", "tocsin_not-one-of-ours"), "token-invalid"),
        ("Bearer \xff\xfe", "token-invalid"),
    ],
)
async def test_refused(hub: Hub, clock: Clock, header: str | None, code: str) -> None:
    await token_for(hub, "alpha")
    with pytest.raises(RequestRefused) as caught:
        await ask(Authenticator(hub.store, clock), header)
    assert (caught.value.status, caught.value.code) == (401, code)
    assert caught.value.headers == {"WWW-Authenticate": 'Bearer realm="tocsin"'}
    assert caught.value.hint


async def test_taxii_is_offered_basic_too(hub: Hub, clock: Clock) -> None:
    with pytest.raises(RequestRefused) as caught:
        await ask(Authenticator(hub.store, clock), None, "/taxii2/")
    assert "Bearer" in caught.value.headers["WWW-Authenticate"]
    assert "Basic" in caught.value.headers["WWW-Authenticate"]


async def test_expiry_holds_to_the_millisecond_in_spite_of_the_cache(hub: Hub, clock: Clock) -> None:
    authenticator = Authenticator(hub.store, clock)
    token = await token_for(hub, "alpha", expires_ms=NOW_MS + 1000)
    clock.ms = NOW_MS + 999
    assert (await ask(authenticator, f"Bearer {token}")).name == "alpha"
    clock.ms = NOW_MS + 1000
    with pytest.raises(RequestRefused):
        await ask(authenticator, f"Bearer {token}")


async def test_a_revoked_token_ends_within_the_cache_time(hub: Hub, clock: Clock) -> None:
    authenticator = Authenticator(hub.store, clock)
    token = await token_for(hub, "alpha")
    await ask(authenticator, f"Bearer {token}")
    assert await hub.store.write(lambda connection: revoke(connection, "alpha", clock.ms)) == 1
    clock.ms += CACHE_MS - 1
    assert (await ask(authenticator, f"Bearer {token}")).name == "alpha"
    clock.ms += 1
    with pytest.raises(RequestRefused):
        await ask(authenticator, f"Bearer {token}")
    with pytest.raises(RequestRefused):
        await ask(Authenticator(hub.store, clock), f"Bearer {token}")


async def test_the_cache_is_bounded(hub: Hub, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.tokens.CACHE_ENTRIES", 3)
    authenticator = Authenticator(hub.store, clock)
    for number in range(8):
        await ask(authenticator, f"Bearer {await token_for(hub, f'p{number}')}")
        assert len(authenticator._verified) <= 3
