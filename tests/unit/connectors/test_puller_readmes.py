"""What the READMEs of pullers show can be set up as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectors.registry import CONNECTORS
from services.instances import read_instances

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["csv_feed", "misp", "stalkerware", "stix_files", "taxii"])
def test_the_readme_shows_settings_that_are_right(name: str, tmp_path: Path) -> None:
    text = (ROOT / "connectors" / name / "README.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert blocks
    shown = 0
    for block in blocks:
        file = tmp_path / "connectors.toml"
        file.write_text(block, "utf-8")
        found = read_instances(file, CONNECTORS)
        shown += sum(instance.manifest.name == name for instance in found.values())
    assert shown
