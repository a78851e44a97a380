"""Through a whole hub: what connectors bring in and take out, with kills in between."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.e2e.running_hub import RunningHub, running_hub
from tests.e2e.test_taking_back import indicator

WAIT_SECONDS = 60


def bundle(*objects: dict[str, Any]) -> str:
    document = {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "objects": list(objects)}
    return json.dumps(document)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def sent(folder: Path) -> list[dict[str, Any]]:
    file = folder / "outbox.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def domains(folder: Path) -> list[str]:
    return [line["object"]["pattern"].split("'")[1] for line in sent(folder) if line["event"] == "shared"]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    file = tmp_path / "connectors.toml"
    file.write_text(
        f"""
        [in]
        connector = "sample"
        partner = "kestrel"
        does = "pull"
        every_seconds = 1
        folder = "{tmp_path}/in"

        [out]
        connector = "sample"
        partner = "horizon"
        does = "push"
        every_seconds = 1
        folder = "{tmp_path}/out"

        [broken]
        connector = "sample"
        partner = "horizon"
        does = "push"
        folder = "{tmp_path}/nowhere"
        """
    )
    return {"TOCSIN_CONNECTORS": str(file)}


def test_in_by_one_connector_and_out_by_another_while_a_third_fails(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    (tmp_path / "in/1.json").write_text(bundle(indicator(1, "one.lure.example")))
    with running_hub(tmp_path / "data", **settings) as hub:
        assert "waits" in hub.tocsin("connector", "list").stdout
        assert hub.tocsin("connector", "accept", "out", "broken").returncode == 0
        until(lambda: domains(tmp_path / "out") == ["one.lure.example"])
        status = hub.tocsin("status").stdout
        assert "broken               failing" in status
        assert "it can't be used: No such file or directory (mend the folder)" in status
        shown = json.loads(hub.tocsin("connector", "list", "--json").stdout)
        assert {one["name"]: one["health"] for one in shown["connectors"]}["in"] == "idle"
        hub.process.kill()
        hub.process.wait()
    (tmp_path / "in/2.json").write_text(bundle(indicator(2, "two.lure.example")))
    with running_hub(tmp_path / "data", **settings) as hub:
        until(lambda: len(sent(tmp_path / "out")) == 2)
        assert domains(tmp_path / "out") == ["one.lure.example", "two.lure.example"]
        hub.tocsin("withdraw", indicator(1, "")["id"], "--source", "kestrel", "--wait")
        until(lambda: [line["event"] for line in sent(tmp_path / "out")][2:] == ["withdrawn"])
        until(lambda: "withdrawals not acknowledged" not in horizon(hub))


def horizon(hub: RunningHub) -> str:
    return next(line for line in hub.tocsin("status").stdout.splitlines() if line.strip().startswith("horizon "))


def test_pull_once_says_what_it_brought_and_what_failed(tmp_path: Path, settings: dict[str, str]) -> None:
    (tmp_path / "in/1.json").write_text(bundle(indicator(1, "one.lure.example"), {"type": "indicator"}))
    file = Path(settings["TOCSIN_CONNECTORS"])
    file.write_text(file.read_text().replace("every_seconds = 1", "every_seconds = 3600"))
    with running_hub(tmp_path / "data", **settings) as hub:
        until(lambda: "last" in hub.tocsin("connector", "list").stdout)
        (tmp_path / "in/2.json").write_text(bundle(indicator(2, "two.lure.example")))
        assert hub.tocsin("pull", "in", "--once").stdout == "in: 1 taken\n"
        assert hub.tocsin("pull", "in", "--once").stdout == "in: 0 taken\n"
        assert hub.tocsin("pull", "out", "--once", check=False).returncode == 1
        unknown = hub.tocsin("pull", "nobody", "--once", check=False)
        assert (unknown.returncode, "there is no connector 'nobody'" in unknown.stderr) == (1, True)
        (tmp_path / "in/3.json").mkdir()
        failed = hub.tocsin("pull", "in", "--once", check=False)
        assert failed.returncode == 1
        assert "it can't be used: Is a directory" in failed.stderr


def test_a_new_connector_is_a_copy_of_the_sample_that_works(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "connectors", tmp_path / "connectors", ignore=shutil.ignore_patterns("__pycache__"))
    new = [sys.executable, "-m", "services.cli", "connector", "new", "paper_boat"]
    said = subprocess.run(
        new, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    ).stdout
    assert "entered it in connectors/registry.py" in said
    program = (
        "from connectors.registry import CONNECTORS as c; m = c['paper_boat']; print(m.settings.__name__, len(c))"
    )
    listed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert listed.split()[0] == "PaperBoatSettings"
    again = subprocess.run(new, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert again.returncode == 1
    assert "is there already" in again.stderr
