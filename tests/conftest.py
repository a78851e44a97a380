"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real public feeds and corpora beside the project; CI fails where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data" / "truth.json").exists():
        pytest.skip("needs the real public feeds in ../shared/data, which are not part of the project")
    return folder
