"""Migrations make exactly the tables that the code uses, forward and back, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from services import migrate
from services.store import Store
from services.tables import metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tocsin.db'}"
    return str(request.getfixturevalue("postgres_url"))


def current(store: Store) -> bool:
    with store.engine.connect() as connection:
        return migrate.is_current(connection)


def test_forward_back_and_forward(url: str) -> None:
    store = Store(url)
    assert not current(store)
    migrate.upgrade(store.engine)
    assert current(store)
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    with store.engine.begin() as connection:
        command.downgrade(migrate._config(connection), "base")
    assert set(sa.inspect(store.engine).get_table_names()) <= {"alembic_version"}
    migrate.upgrade(store.engine)
    migrate.upgrade(store.engine)
    assert current(store)
    store.close()
