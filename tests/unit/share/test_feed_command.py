"""What `tocsin feed` asks of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
from click.testing import CliRunner

from services import cli


class FakeHub:
    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def stream(self, path: str, params: Mapping[str, str], write: Callable[[bytes], object]) -> int:
        self.asked.append((path, dict(params)))
        write(b"id,kind\r\n")
        return 9


ALWAYS = {"format": "stix", "partner": "alpha"}
CASES: list[tuple[list[str], dict[str, str] | None]] = [
    ([], ALWAYS),
    (["--active"], {**ALWAYS, "active": "true"}),
    (["--min-score", "60"], {**ALWAYS, "min_score": "60"}),
    (["--min-score", "0"], ALWAYS),
    (
        ["--format", "csv", "--active", "--min-score", "100"],
        {"format": "csv", "partner": "alpha", "active": "true", "min_score": "100"},
    ),
    (["--min-score", "101"], None),
    (["--min-score", "-1"], None),
    (["--min-score", "high"], None),
]


@pytest.mark.parametrize(("options", "params"), CASES)
def test_options(options: list[str], params: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub()
    monkeypatch.setattr(cli, "_ask", lambda work: asyncio.run(work(hub)))
    result = CliRunner().invoke(cli.cli, ["feed", "alpha", *options])
    if params is None:
        assert (result.exit_code, hub.asked) == (2, [])
    else:
        assert (result.exit_code, result.stdout_bytes) == (0, b"id,kind\r\n")
        assert hub.asked == [("/api/v1/feed", params)]
