"""What is in force changes while the hub runs: what narrows at once, what widens when it is confirmed by name."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from services.published import is_signed
from tests.e2e.running_hub import ROOT, RunningHub, environment, running_hub

SECONDS = 40


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of agreements of one's own, and a policy."""
    shutil.copytree(ROOT / "deploy" / "agreements", tmp_path / "agreements")
    shutil.copy(ROOT / "deploy" / "policy.toml", tmp_path / "policy.toml")
    return tmp_path / "agreements"


@pytest.fixture
def started(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Iterator[RunningHub]]:
    given = {"TOCSIN_AGREEMENTS": str(files), "TOCSIN_POLICY": str(tmp_path / "policy.toml")}
    monkeypatch.setattr(
        "tests.e2e.running_hub.environment", lambda data, url="", **more: environment(data, url, **given, **more)
    )
    return lambda: running_hub(tmp_path / "data")  # type: ignore[return-value]


def values(hub: RunningHub, partner: str) -> set[str]:
    said = hub.tocsin("feed", partner, "--format", "csv").stdout
    return {row["value"] for row in csv.DictReader(io.StringIO(said))}


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.5)


def policy(hub: RunningHub) -> dict[str, object]:
    answer: dict[str, object] = json.loads(hub.tocsin("policy", "show", "--json").stdout)
    return answer


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def test_while_it_runs(started: Callable[[], object], files: Path, tmp_path: Path) -> None:
    with started() as hub:  # type: ignore[attr-defined]
        hub.tocsin("demo")
        theirs = values(hub, "meadow")
        assert theirs
        first = policy(hub)
        assert (first["version"], first["pending"]) == (1, None)

        # a new partner gets a number and a full feed after it was accepted
        draft = tmp_path / "harbour.toml"
        text = (files / "meadow.toml").read_text()
        draft.write_text(text.replace('"meadow"', '"harbour"').replace("Meadow Social", "Harbour Mail"))
        assert "in force, with version 2" in hub.tocsin("partner", "add", draft).stdout
        assert hub.token("harbour")
        until(lambda: values(hub, "harbour") == theirs)

        # what narrows is in force without anybody's word
        edit(files / "meadow.toml", ('purposes = ["detect", "protect"]', "purposes = []"))
        until(lambda: not values(hub, "meadow"))
        assert values(hub, "harbour") == theirs

        # and back again only with it
        edit(files / "meadow.toml", ("purposes = []", 'purposes = ["detect", "protect"]'))
        until(lambda: policy(hub)["pending"] is not None)
        assert "meadow" in hub.tocsin("status").stdout
        time.sleep(5)
        assert not values(hub, "meadow")
        assert "nothing of 'harbour'" in hub.tocsin("policy", "accept", "harbour", check=False).stderr
        said = hub.tocsin("policy", "accept", "meadow").stdout
        assert "WIDENS  meadow: uses it to" in said
        until(lambda: values(hub, "meadow") == theirs)

        # a broken file changes nothing and is said to be broken
        before = policy(hub)
        edit(files / "meadow.toml", ('tlp = "green"', 'tlp = "mauve"'))
        until(lambda: "NOT TAKEN" in hub.tocsin("status").stdout)
        told = hub.tocsin("status").stdout
        assert "meadow.toml:12: receives.tlp" in told
        assert policy(hub)["version"] == before["version"]
        assert values(hub, "meadow") == theirs
        assert hub.tocsin("policy", "check", check=False).returncode == 1
        hub.stop()

    # and a start with it goes on under the version in force
    with started() as hub:  # type: ignore[attr-defined]
        assert policy(hub)["version"] == before["version"]
        assert "NOT TAKEN" in hub.tocsin("status").stdout
        edit(files / "meadow.toml", ('tlp = "mauve"', 'tlp = "green"'))
        until(lambda: "NOT TAKEN" not in hub.tocsin("status").stdout)
        assert policy(hub)["version"] == before["version"]

        # who has no agreement any more is nobody's recipient, and reads that there is nothing
        token = hub.token("harbour")
        (files / "harbour.toml").unlink()
        until(lambda: policy(hub)["version"] != before["version"])
        until(lambda: not values(hub, "harbour"))
        ask = {"Authorization": f"Bearer {token}"}
        assert requests.get(f"{hub.url}/api/v1/feed?format=csv", headers=ask, timeout=5).status_code == 200

        versions = requests.get(f"{hub.url}/transparency/policy", timeout=5).json()
        assert [row["version"] for row in versions] == list(range(len(versions), 0, -1))
        for row in versions:
            address = f"{hub.url}/transparency/policy/{row['version']}"
            document = requests.get(address, timeout=5).content
            assert is_signed(document, row["signature"], row["key"])
            assert not any(name in document.decode().lower() for name in ("meadow", "harbour", "kestrel"))
        assert hub.tocsin("policy", "verify").stdout.count(": signed") == len(versions)


def test_two_confirm_and_a_restart_is_no_way_round(
    started: Callable[[], object], files: Path, tmp_path: Path
) -> None:
    (tmp_path / "policy.toml").write_text("confirmations = 2\n")
    with started() as hub:  # type: ignore[attr-defined]
        hub.tocsin("demo")
        tokens = {name: hub.tocsin("staff", "token", name).stdout.splitlines()[-1] for name in ("amina", "bo")}
        theirs = values(hub, "meadow")
        edit(files / "meadow.toml", ('tlp = "green"', 'tlp = "amber"'))
        edit(tmp_path / "policy.toml", ("2", "0"))
        hub.stop()
    with started() as hub:  # type: ignore[attr-defined]
        assert policy(hub)["version"] == 1
        pending = policy(hub)["pending"]
        assert isinstance(pending, dict)
        assert ([one["name"] for one in pending["names"]], pending["needed"]) == (["meadow", "policy"], 2)

        def confirm(who: str, *names: str, hash_: str = pending["hash"]) -> requests.Response:
            return requests.post(
                f"{hub.url}/api/v1/policy/confirmations",
                json={"hash": hash_, "names": names},
                headers={"Authorization": f"Bearer {tokens[who]}"},
                timeout=10,
            )

        assert confirm("amina", "meadow", hash_="0" * 64).status_code == 409
        assert confirm("amina", "meadow").json()["version"] == 1
        again = confirm("amina", "meadow").json()
        assert (again["version"], again["pending"]["names"][0]["confirmed_by"]) == (1, ["staff:amina"])
        own = {"Authorization": f"Bearer {tokens['amina']}"}
        minted = requests.post(f"{hub.url}/api/v1/staff/tokens", json={"name": "x"}, headers=own, timeout=5)
        assert minted.status_code == 403, "nobody makes a second person of herself"
        assert values(hub, "meadow") == theirs
        done = confirm("bo", "meadow").json()
        assert (done["version"], [one["name"] for one in done["pending"]["names"]]) == (2, ["policy"])
        until(lambda: values(hub, "meadow") >= theirs)
