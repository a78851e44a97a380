"""What `tocsin receipt` asks of the hub, and what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from services import cli, cli_receipts

ID, OTHER = "indicator--1", "indicator--2"


class FakeHub:
    def __init__(self, pages: Mapping[str, list[dict[str, Any]]] | None = None) -> None:
        self.posted: list[list[dict[str, str]]] = []
        self.asked: list[dict[str, str]] = []
        self.pages = {what: list(pages) for what, pages in (pages or {}).items()}
        self.results = {ID: ("taken", False), OTHER: ("taken", True)}

    async def post(self, path: str, body: bytes) -> Any:
        self.posted.append(json.loads(body))
        found = [self.results.get(entry["item"], ("unknown", False)) for entry in self.posted[-1]]
        return {"results": [{"item": None, "result": r, "note": "", "withdrawn": w} for r, w in found]}

    async def get(self, path: str, params: Mapping[str, str]) -> Any:
        self.asked.append(dict(params))
        if "item" in params:
            said = {"status": "declined", "time": "T", "reason": "ours\n", "withdrawal_acknowledged": "T"}
            return {"receipts": [{"partner": "alpha", **said}]}
        pages = self.pages.get(params["what"])
        return pages.pop(0) if pages else {"expected": []}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    made = FakeHub()
    monkeypatch.setattr(cli_receipts, "ask", lambda work, as_partner=False: asyncio.run(work(made)))
    return made


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(cli.cli, ["receipt", *arguments], input=text)


@pytest.mark.parametrize("status", ["received", "acting", "acted", "declined", "false-positive"])
def test_every_status_is_a_command_with_an_example(status: str, hub: FakeHub) -> None:
    assert f"tocsin receipt {status}" in run(status, "--help").output
    found = run(status, ID, OTHER, "--reason", "because")
    assert found.exit_code == 0
    assert hub.posted == [[{"item": id_, "status": status, "reason": "because"} for id_ in (ID, OTHER)]]
    assert found.output.splitlines() == [f"{ID}  taken", f"{OTHER}  taken: the item is withdrawn, and you know it"]


def test_ids_from_the_standard_input_go_in_parts(hub: FakeHub) -> None:
    found = run("received", "-", "--json", text="".join(f"{ID}\n\n" for _ in range(2_500)))
    assert [len(part) for part in hub.posted] == [1_000, 1_000, 500]
    assert found.exit_code == 0 and len(json.loads(found.output)["results"]) == 2_500


def test_an_id_that_is_not_known_fails(hub: FakeHub) -> None:
    found = run("acted", ID, "indicator--3")
    assert found.exit_code == 1 and "indicator--3  unknown: your feed has no such item" in found.output


def test_what_is_waited_for(hub: FakeHub) -> None:
    row = {"id": ID, "type": "indicator", "since": "T", "reminded": 2}
    hub.pages = {
        "withdrawal": [{"expected": [row], "next": "n"}, {"expected": []}],
        "act": [{"expected": [{"id": OTHER, "type": "indicator", "since": "T"}]}],
    }
    assert run("list").output.splitlines() == [
        f"{ID}  withdrawn, since T, reminded 2 times",
        f"{OTHER}  to act on, since T",
    ]
    assert [(asked["what"], asked.get("next")) for asked in hub.asked] == [
        ("withdrawal", None),
        ("withdrawal", "n"),
        ("acknowledge", None),
        ("act", None),
    ]
    assert json.loads(run("list", "--what", "act", "--json").stdout) == {"act": []}
    assert run("list", "--what", "all").exit_code == 2


def test_a_list_ends_at_its_limit(hub: FakeHub) -> None:
    row = {"id": ID, "type": "indicator", "since": "T"}
    hub.pages = {"act": [{"expected": [row] * 3, "next": "n"}] * 9}
    assert len(run("list", "--what", "act", "--limit", "5").output.splitlines()) == 5
    assert len(hub.asked) == 2


def test_staff_see_what_was_said(hub: FakeHub) -> None:
    lines = run("show", ID).output.splitlines()
    assert lines == ["alpha                declined at T, knows that it is withdrawn: ours\\n"]
    assert json.loads(run("show", ID, "--json").output)[0]["partner"] == "alpha"


def test_without_the_partners_token_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_DATA", str(tmp_path))
    monkeypatch.delenv("TOCSIN_TOKEN", raising=False)
    for arguments in (["acted", ID], ["list"], ["show", ID]):
        error = run(*arguments).exception
        assert getattr(error, "code", "") == "no-token"
