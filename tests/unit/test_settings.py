"""Settings: what the environment can say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from services.settings import Settings


def settings(**environment: str) -> Settings:
    return Settings.from_environment(environment)


def test_defaults_are_a_hub_on_loopback_with_everything_embedded() -> None:
    read = settings()
    assert read.broker == "sqlite:"
    assert read.database_url == f"sqlite:///{Path('data/tocsin.db').absolute()}"
    assert read.host_and_port == ("127.0.0.1", 8080)
    assert read.max_body_bytes == 16 * 1024 * 1024
    assert read.secret_path == Path("data/secret")
    assert read.policy_key_path == Path("data/policy.key")
    assert read.staff_token_path == Path("data/staff.token")


def test_every_field_is_read_from_its_variable() -> None:
    read = settings(
        TOCSIN_DATA="/srv/tocsin",
        TOCSIN_BROKER="kafka://a:9092,b:9092",
        TOCSIN_KAFKA_SECURITY="plaintext",
        TOCSIN_STATE="rocksdb",
        TOCSIN_DATABASE="postgresql://db/tocsin",
        TOCSIN_AGREEMENTS="/etc/tocsin/agreements",
        TOCSIN_POLICY="/etc/tocsin/policy.toml",
        TOCSIN_POLICY_KEY_FILE="/run/secrets/policy",
        TOCSIN_SECRET_FILE="/run/secrets/tocsin",
        TOCSIN_LISTEN="0.0.0.0:80",
        TOCSIN_LOG="debug",
        TOCSIN_MAX_BODY_BYTES="2048",
        TOCSIN_WINDOW_SECONDS="5",
        TOCSIN_URL="https://hub.example",
        TOCSIN_TOKEN="t",
        TOCSIN_CONNECTORS="c.toml",
        HOME="/root",
        PATH="",
    )
    assert set(Settings.model_fields) == {
        "data",
        "broker",
        "kafka_security",
        "state",
        "database",
        "agreements",
        "policy",
        "policy_key_file",
        "connectors",
        "secret_file",
        "listen",
        "log",
        "window_seconds",
        "max_body_bytes",
        "url",
        "token",
    }
    assert all(
        getattr(read, name) != field.default
        for name, field in Settings.model_fields.items()
        if name != "kafka_security"
    )
    assert read.database_url == "postgresql://db/tocsin"
    assert read.secret_path == Path("/run/secrets/tocsin")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOCSIN_BROKER", "rabbit://x"),
        ("TOCSIN_BROKER", "kafka://"),
        ("TOCSIN_LISTEN", "8080"),
        ("TOCSIN_LISTEN", "localhost:"),
        ("TOCSIN_LISTEN", "::1:8080"),
        ("TOCSIN_LOG", "loud"),
        ("TOCSIN_STATE", "redis"),
        ("TOCSIN_MAX_BODY_BYTES", "16 MB"),
        ("TOCSIN_MAX_BODY_BYTES", "0"),
        ("TOCSIN_DATABSE", "sqlite:///typo.db"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        settings(**{name: value})
    assert caught.value.what.startswith(f"{name}: ")
    assert caught.value.hint


def test_variables_of_the_tests_are_not_the_hubs() -> None:
    assert settings(TOCSIN_TEST_KAFKA="x:1", TOCSIN_CI_NO_SKIP="1") == settings()


def test_an_option_comes_before_its_variable_and_none_is_no_option() -> None:
    environment = {"TOCSIN_DATA": "a", "TOCSIN_LISTEN": "127.0.0.1:1"}
    read = Settings.from_environment(environment, data=Path("b"), listen=None)
    assert (read.data, read.host_and_port) == (Path("b"), ("127.0.0.1", 1))


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:443", ("::1", 443)), ("hub.example:80", ("hub.example", 80))],
)
def test_an_address_has_a_host_and_a_port(listen: str, expected: tuple[str, int]) -> None:
    assert settings(TOCSIN_LISTEN=listen).host_and_port == expected


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings().token = "x"  # type: ignore[misc]
