"""Rows that were in the feed before it showed scores stay, and say that nothing is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from services import migrate
from services.store import Store
from services.tables import feed


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tocsin.db'}"
    return str(request.getfixturevalue("postgres_url"))


def test_rows_stay(url: str) -> None:
    store = Store(url)
    with store.engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0001")
        old = {c.name: b"x" if isinstance(c.type, sa.LargeBinary) else "x" for c in feed.c}
        old |= {"added": 1, "audience": 1, "live": True, "confidence": None}
        later = ("score", "active_until", "urgent", "since", "reminded")
        names = [name for name in old if name not in later]
        insert = f"INSERT INTO feed ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
        connection.execute(sa.text(insert), {name: old[name] for name in names})
    migrate.upgrade(store.engine)
    with store.engine.connect() as connection:
        [row] = connection.execute(sa.select(feed))
    assert (row.score, row.active_until, row.stix_id) == (None, "", "x")
    assert (row.urgent, row.since, row.reminded) == (False, None, 0)
    store.close()
