"""Opening a hub: its secret is made once, kept private, and never silently replaced."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from services.migrate import upgrade
from services.private import write_private
from services.run import open_hub
from services.settings import Settings
from services.store import Store
from services.tables import facts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, agreements=ROOT / "deploy/agreements", policy=ROOT / "deploy/policy.toml")


def test_the_secret_is_made_once_and_is_for_nobody_else(settings: Settings) -> None:
    store = Store(settings.database_url)
    upgrade(store.engine)
    first = open_hub(settings, store)
    assert len(first.secret) == 32
    assert stat.S_IMODE(settings.secret_path.stat().st_mode) == 0o600
    again = open_hub(settings, store)
    assert (again.secret, again.directory) == (first.secret, first.directory)
    store.close()


@pytest.mark.parametrize("damage", ["lost", "other", "cut", "no hex"])
def test_another_secret_is_another_hub(settings: Settings, damage: str) -> None:
    store = Store(settings.database_url)
    upgrade(store.engine)
    open_hub(settings, store)
    if damage == "lost":
        settings.secret_path.unlink()
    else:
        settings.secret_path.write_text({"other": "ab" * 32, "cut": "ab" * 8, "no hex": "zz" * 32}[damage])
    with pytest.raises(Misconfigured, match="secret"):
        open_hub(settings, store)
    store.close()


def test_what_is_private_becomes_so_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o600)
    assert [f.name for f in tmp_path.iterdir()] == ["token"]


def test_errors_of_the_database_quote_nothing_that_was_stored(settings: Settings) -> None:
    store = Store(settings.database_url)
    upgrade(store.engine)
    with pytest.raises(Exception, match="UNIQUE") as raised, store.engine.begin() as connection:
        for _ in range(2):
            connection.execute(facts.insert().values(name="n", value="whispered"))
    assert "whispered" not in str(raised.value)
    store.close()
