"""`tocsin policy check` and `diff`: every contradiction and trap is told with file, line and remedy."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from schemas.agreement import Agreement, Policy, Rulebook
from schemas.markings import PREFIX, Tlp, marking_id
from services.cli import cli
from services.policy_check import findings
from tests.unit.govern.world import agreement

ROOT = Path(__file__).resolve().parents[2]
DAY = date(2026, 11, 18)
RED = marking_id(Tlp.RED)


def of(name: str = "alpha", respond: dict[str, int] | None = None, **terms: Any) -> Agreement:
    made = agreement(name, **terms)
    return Agreement.model_validate({**made.model_dump(), "respond": respond})


CASES: list[tuple[Agreement, str, tuple[str, ...]]] = [
    (of(receives=False), "error", ("partner",)),
    (of(tlp="red", onward="clients"), "error", ("receives", "onward")),
    (of(tlp="amber+strict", onward="community"), "warning", ("receives", "onward")),
    (of(ends="2026-11-18"), "warning", ("partner", "ends")),
    (of(kind="cert"), "warning", ("partner", "controlled_by")),
    (of(kind="government", controlled_by=["XA"]), "warning", ("partner", "controlled_by")),
    (of(purposes=[]), "warning", ("receives", "purposes")),
    (of(categories=[]), "warning", ("receives", "categories")),
    (of(types=[]), "warning", ("receives", "types")),
    (of(types=["indicators"]), "error", ("receives", "types")),
    (of(respond={"ack_hours": 24, "act_hours": 12}), "error", ("respond", "act_hours")),
    (
        of(contributes={"defaults": {"tlp": "clear", "published": True}}),
        "warning",
        ("contributes", "defaults"),
    ),
]
FINE = [
    of(),
    of(tlp="amber", onward="clients"),
    of(ends="2026-11-19"),
    of(kind="cert", controlled_by=["XN"]),
    of(kind="government", controlled_by=["XN"]),
    of(types=["*", "indicator", "ipv4-addr"]),
    of(respond={"ack_hours": 12, "act_hours": 12}),
    of(receives=False, contributes={}),
]


def book(*agreements: Agreement, **policy: Any) -> Rulebook:
    return Rulebook({a.id: a for a in agreements}, Policy.model_validate(policy))


@pytest.mark.parametrize(("one", "level", "path"), CASES)
def test_what_is_wrong_with_an_agreement(one: Agreement, level: str, path: tuple[str, ...]) -> None:
    (found,) = findings(book(one), DAY)
    assert (found.level, found.name, found.path) == (level, "alpha", path)
    assert found.what and found.hint


@pytest.mark.parametrize("one", FINE)
def test_what_is_in_order(one: Agreement) -> None:
    assert findings(book(one), DAY) == ()


POLICIES: list[tuple[dict[str, Any], str, tuple[str, ...]]] = [
    ({"pacts": [["XA", "XA"]]}, "error", ("pacts",)),
    ({"markings": {RED: "clear"}}, "error", ("markings", RED)),
    ({"markings": {RED.removeprefix(PREFIX).upper(): "red"}}, "error", ("markings", RED[20:].upper())),
    ({"confirmations": 0}, "warning", ("confirmations",)),
]


@pytest.mark.parametrize(("policy", "level", "path"), POLICIES)
def test_what_is_wrong_with_the_policy(policy: dict[str, Any], level: str, path: tuple[str, ...]) -> None:
    (found,) = findings(book(**policy), DAY)
    assert (found.level, found.name, found.path) == (level, "policy", path)


def test_two_partners_of_one_name_are_told() -> None:
    one, other = of("alpha"), of("beta")
    twin = other.model_copy(update={"partner": other.partner.model_copy(update={"name": " ALPHA"})})
    (found,) = findings(book(one, twin), DAY)
    assert (found.level, found.name, found.path) == ("warning", "beta", ("partner", "name"))


def test_the_time_is_only_looked_at_where_it_is_given() -> None:
    assert findings(book(of(ends="2026-06-01"))) == ()


# -- the commands -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "deploy" / "agreements", tmp_path / "agreements")
    return tmp_path / "agreements"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


def edit(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_what_is_shipped_is_in_order() -> None:
    result = run(
        "policy", "check", "--agreements", ROOT / "deploy/agreements", "--policy", ROOT / "deploy/policy.toml"
    )
    assert (result.exit_code, "6 agreements in order" in result.stdout) == (0, True)
    assert "amnesty.toml:13: warning: `published = true`" in result.stderr


def test_all_faults_are_told_at_once_each_with_its_place(folder: Path) -> None:
    edit(folder / "meadow.toml", 'tlp = "green"', 'tlp = "mauve"')
    edit(folder / "horizon.toml", 'onward = "none"', 'onward = "clients"')
    edit(folder / "kestrel.toml", 'jurisdiction = "XN"', 'jurisdiction = "UK"')
    edit(folder / "lantern.toml", 'id = "lantern"', 'id = "policy"')
    policy = folder.parent / "policy.toml"
    policy.write_text('statistics_k = 5\npacts = [["XA", "XA"]]\n')
    result = run("policy", "check", "--agreements", folder, "--policy", policy)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    for place in (
        "meadow.toml:12: error",
        "horizon.toml:14: error",
        "kestrel.toml:6: error",
        "policy.toml:2: error",
    ):
        assert sum(place in line and line.endswith(")") for line in lines) == 1, result.stderr
    assert any("lantern.toml" in line and "policy" in line for line in lines)
    told = json.loads(run("policy", "check", "--agreements", folder, "--policy", policy, "--json").stdout)
    assert (told["hash"], len(told["findings"])) == (None, len(lines))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = run("policy", "check", "--agreements", tmp_path / "none")
    assert (result.exit_code, "there is no folder of agreements here" in result.stderr) == (1, True)


def test_a_difference_is_told_in_words(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    shutil.copytree(folder, new)
    assert run("policy", "diff", folder, new).stdout == "nothing changes\n"
    edit(new / "meadow.toml", 'tlp = "green"', 'tlp = "clear"')
    narrower = run("policy", "diff", folder, new)
    assert (narrower.exit_code, "meadow: is cleared up to TLP:CLEAR" in narrower.stdout) == (0, True)
    assert "WIDENS" not in narrower.stdout
    back = run("policy", "diff", new, folder)
    assert (back.exit_code, back.stdout.startswith("WIDENS  meadow: is cleared up to TLP:GREEN")) == (1, True)
    assert run("policy", "diff", new, folder, "--accept", "horizon").exit_code == 1
    assert run("policy", "diff", new, folder, "--accept", "meadow").exit_code == 0
    strange = run("policy", "diff", new, folder, "--accept", "medow")
    assert strange.exit_code == 2
    assert all(name in strange.output for name in ("medow", "horizon", "meadow", "policy"))
    told = json.loads(run("policy", "diff", new, folder, "--json").stdout)
    assert told["not_accepted"] == ["meadow"]
    assert told["changes"][0]["widens"] is True
    files = run("policy", "diff", new / "meadow.toml", folder / "meadow.toml")
    assert files.stdout == back.stdout


def test_the_policy_lies_in_the_folder_or_is_named(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    shutil.copytree(folder, new)
    (new / "policy.toml").write_text("statistics_k = 4\n")
    inside = run("policy", "diff", folder, new)
    assert (inside.exit_code, "WIDENS  policy: public statistics" in inside.stdout) == (1, True)
    named = run("policy", "diff", folder, folder, "--policy-b", new / "policy.toml")
    assert named.stdout == inside.stdout
