"""Other rules tried on a whole hub that runs meanwhile."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.simulation import SORTS
from tests.e2e.running_hub import ROOT, RunningHub, running_hub

AGREEMENTS = ROOT / "deploy" / "agreements"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub") / "data") as running:
        running.tocsin("demo")
        yield running


def changed(folder: Path, **tlp_of: str) -> Path:
    """The agreements with other ceilings; a partner that is not there gets the agreement of `horizon`."""
    shutil.copytree(AGREEMENTS, folder)
    for name, tlp in tlp_of.items():
        file = folder / f"{name}.toml"
        text = (
            (file if file.exists() else folder / "horizon.toml")
            .read_text()
            .replace('id = "horizon"', f'id = "{name}"')
        )
        lines = [f'tlp = "{tlp}"' if line.startswith("tlp = ") else line for line in text.splitlines()]
        file.write_text("\n".join(lines) + "\n")
    return folder


def simulate(hub: RunningHub, agreements: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    done = hub.tocsin("policy", "simulate", "--agreements", agreements, "--json", *options, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


def held(hub: RunningHub) -> bytes:
    """All that is kept of who got what, as its users see it."""
    return hub.tocsin("feed", "meadow").stdout.encode() + hub.tocsin("partner", "list", "--json").stdout.encode()


def test_the_rules_in_force_change_nothing(hub: RunningHub) -> None:
    code, found, _ = simulate(hub, AGREEMENTS)
    assert (code, found["partners"], found["widened"]) == (0, {}, [])
    assert found["items"] >= 5
    status = json.loads(hub.tocsin("status", "--json").stdout)
    assert found["policy"] == status["policy"]


def test_who_would_get_more_must_be_named(hub: RunningHub, tmp_path: Path) -> None:
    before = held(hub)
    wider = changed(tmp_path / "wider", meadow="amber", newcomer="amber")
    code, found, said = simulate(hub, wider, "--items", "5")
    assert (code, found["widened"]) == (1, ["meadow", "newcomer"])
    assert "--accept meadow --accept newcomer" in said
    shared = found["partners"]["meadow"]
    assert (shared["shared"], shared["withdrawn"], shared["gone"]) == (1, 0, 0)
    assert [item["value"] for item in shared["items"]["shared"]] == ["https://forms.relief-fund.example/login"]
    code, found, said = simulate(hub, wider, "--accept", "meadow")
    assert (code, found["not_accepted"], "--accept newcomer" in said) == (1, ["newcomer"], True)
    code, found, said = simulate(hub, wider, "--accept", "meadow", "--accept", "newcomer")
    assert (code, found["not_accepted"]) == (0, [])
    assert not found["confirmed"], "these rules do not wait in the hub"
    assert "no hub is told" in said
    assert held(hub) == before, "nothing is written"


def test_what_would_be_taken_is_told_from_what_would_just_be_gone(hub: RunningHub, tmp_path: Path) -> None:
    narrower = changed(tmp_path / "narrower", horizon="clear")
    (narrower / "meadow.toml").write_text((narrower / "meadow.toml").read_text().replace('"indicator", ', ""))
    code, found, _ = simulate(hub, narrower)
    assert (code, found["widened"]) == (0, [])
    assert found["partners"]["horizon"]["withdrawn"] > 0
    assert found["partners"]["meadow"]["gone"] > 0
    assert found["partners"]["meadow"]["withdrawn"] == 0


def test_a_person_gets_a_table(hub: RunningHub, tmp_path: Path) -> None:
    wider = changed(tmp_path / "wider", meadow="amber")
    done = hub.tocsin("policy", "simulate", "--agreements", wider, "--items", "3", check=False)
    lines = done.stdout.splitlines()
    assert re.split(r"\s{2,}", lines[1]) == ["partner", *SORTS.values(), "gets more"]
    assert lines[2].split()[:2] == ["meadow", "1"]
    assert "url https://forms.relief-fund.example/login" in lines[3]
    same = hub.tocsin("policy", "simulate", "--agreements", AGREEMENTS)
    assert same.stdout.splitlines()[-1] == "nothing changes for anybody"


def test_what_is_asked_wrongly_is_said(hub: RunningHub, tmp_path: Path) -> None:
    done = hub.tocsin("policy", "simulate", "--agreements", AGREEMENTS, "--accept", "nobody", check=False)
    assert (done.returncode, "'nobody'" in done.stderr) == (2, True)
    nowhere = RunningHub(hub.url, tmp_path / "nowhere", hub.process, 0)
    done = nowhere.tocsin("policy", "simulate", "--agreements", AGREEMENTS, check=False)
    assert (done.returncode, "TOCSIN_DATA" in done.stderr) == (1, True)
    assert not (tmp_path / "nowhere").exists()


def test_it_works_without_a_hub_too(hub: RunningHub, tmp_path: Path) -> None:
    hub.stop()
    code, found, _ = simulate(hub, changed(tmp_path / "wider", meadow="amber"))
    assert (code, found["widened"]) == (1, ["meadow"])
