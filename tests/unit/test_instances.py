"""The connectors' file: what it may say, and what an operator is told where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connectors.base import Manifest, Settings
from connectors.registry import CONNECTORS
from schemas.errors import Misconfigured
from services.instances import Instance, read_instances
from tests.conftest import ROOT

GOOD = """
[out]
connector = "sample"
partner = "meadow"
does = "push"
folder = "/srv/tocsin"
"""


def read(folder: Path, text: str) -> dict[str, Instance]:
    file = folder / "connectors.toml"
    file.write_text(text)
    return dict(read_instances(file, CONNECTORS))


def test_a_connector_as_it_is_set_up(tmp_path: Path) -> None:
    [one] = read(tmp_path, GOOD).values()
    assert (one.name, one.manifest.name, one.partner, one.does) == ("out", "sample", "meadow", "push")
    assert one.settings.model_dump() == {"folder": Path("/srv/tocsin")}
    assert (one.every_seconds, one.private, one.language) == (60, False, "en")


def test_none_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_instances(tmp_path / "none.toml", CONNECTORS) == {}


def test_the_file_that_is_delivered_sets_up_nothing() -> None:
    assert read_instances(ROOT / "deploy/connectors.toml", CONNECTORS) == {}


def test_what_is_off_is_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD + "off = true") == {}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("x = ", "not-toml", "mend"),
        ("x = " + "[" * 20_000, "not-toml", "nested"),
        ("out = 3", "connector-invalid", "no table"),
        ("['o ut']\nconnector = 'sample'", "connector-invalid", "can't be a connector's name"),
        (GOOD.replace('connector = "sample"', 'connector = "samples"'), "connector-unknown", "sample"),
        (GOOD.replace('connector = "sample"', ""), "connector-invalid", "out.connector: Field required"),
        (GOOD.replace('does = "push"', ""), "connector-invalid", "push, pull"),
        (GOOD.replace('"push"', '"publish"'), "connector-invalid", "push, pull"),
        (GOOD.replace("folder", "folders"), "connector-invalid", "remove the key"),
        (GOOD + "every_seconds = 0", "connector-invalid", "every_seconds"),
        (GOOD + 'language = "../en"', "connector-invalid", "language"),
        ("x" * 1_100_000, "file-unreadable", "more than"),
        ("\udcff", "file-unreadable", "UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, code: str, said: str) -> None:
    file = tmp_path / "connectors.toml"
    file.write_text(text, "utf-8", errors="surrogateescape")
    with pytest.raises(Misconfigured) as raised:
        read_instances(file, CONNECTORS)
    assert raised.value.code == code
    assert said in str(raised.value)
    assert raised.value.where.startswith(str(file))


def test_the_line_is_that_of_the_key(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as raised:
        read(tmp_path, GOOD + "every_seconds = 0")
    assert raised.value.where.endswith("connectors.toml:7")


@pytest.mark.parametrize(
    ("change", "is_other"),
    [
        (("/srv/tocsin", "/srv/elsewhere"), True),
        (('"meadow"', '"ridge"'), True),
        (("folder", "private = true\nfolder"), True),
        (("folder", "every_seconds = 5\nfolder"), False),
        (("folder", 'language = "fr"\nfolder'), False),
    ],
)
def test_another_place_is_another_destination(tmp_path: Path, change: tuple[str, str], is_other: bool) -> None:
    before, after = read(tmp_path, GOOD)["out"], read(tmp_path, GOOD.replace(*change))["out"]
    assert (before.destination != after.destination) is is_other
    assert before.text != after.text


def test_nothing_that_comes_in_has_a_destination(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD.replace('"push"', '"pull"'))["out"].destination == ""


def made_up(**options: Any) -> Manifest:
    return Manifest("sample", "", Elsewhere, hosts=lambda settings: (settings.url,), push=_open, **options)


class Elsewhere(Settings):
    url: str = "https://hook.example/a"
    table: str = "first"
    rows: int = 1


async def _open(_settings: Any, _tools: Any) -> None: ...


PLACE = """
[out]
connector = "sample"
partner = "meadow"
"""


@pytest.mark.parametrize(
    ("manifest", "line", "is_other"),
    [
        (made_up(destination=("table",)), "rows = 2", False),
        (made_up(destination=("table",)), 'table = "second"', True),
        (made_up(destination=("table",)), 'url = "https://hook.example/b"', False),
        (made_up(destination=("table",)), 'url = "https://hock.example/a"', True),
        (made_up(destination=("table",)), 'ca_file = "/etc/theirs.pem"', True),
        (made_up(destination=("table",)), "private = true", True),
        (made_up(), "rows = 2", True),  # it names nothing that decides
    ],
)
def test_where_it_sends_is_told_from_all_that_decides_it(
    tmp_path: Path, manifest: Manifest, line: str, is_other: bool
) -> None:
    file = tmp_path / "connectors.toml"

    def destination(text: str) -> str:
        file.write_text(text)
        return read_instances(file, {"sample": manifest})["out"].destination

    assert (destination(PLACE) != destination(PLACE + line)) == is_other


@pytest.mark.parametrize("manifest", CONNECTORS.values(), ids=lambda manifest: str(manifest.name))
def test_what_sends_says_where_to(manifest: Manifest) -> None:
    """A name that is none of its settings would be no word on where things go."""
    assert set(manifest.destination) <= set(manifest.settings.model_fields)
    if manifest.push or manifest.publish:
        assert manifest.destination
