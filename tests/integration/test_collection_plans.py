"""How the databases read a collection of one category: by an index, never by looking through all else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services import migrate
from services.share import contributions, feeds, taxii
from services.share.rows import Match, View
from services.store import Store
from services.tables import audience_members, feed
from services.tables import contributions as posted


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A real hub's database: which of two indexes SQLite takes hangs on the order in which they were made."""
    url = f"sqlite:///{tmp_path / 'tocsin.db'}"
    made = Store(url if request.param == "sqlite" else str(request.getfixturevalue("postgres_url")))
    migrate.upgrade(made.engine)
    yield made
    made.close()


def plans(store: Store, read: Callable[[sa.Connection], Any]) -> str:
    """What the database says of each statement that `read` executes."""
    found = []
    with store.engine.connect() as connection:

        @sa.event.listens_for(connection, "before_cursor_execute")
        def explain(_c: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.startswith("SELECT") and "LIMIT" in statement:
                cursor.execute(f"EXPLAIN {'QUERY PLAN ' if store.is_sqlite else ''}{statement}", parameters)
                found.extend(str(row) for row in cursor.fetchall())

        read(connection)
    return "\n".join(found)


def test_a_category_is_read_by_its_index_and_withdrawals_by_theirs(store: Store) -> None:
    kinds: dict[type, Any] = {sa.LargeBinary: b"x", sa.Boolean: True, sa.Integer: 0, sa.BigInteger: 0}
    row = {c.name: kinds.get(type(c.type), "x") for c in feed.c}
    with store.engine.begin() as connection:
        connection.execute(audience_members.insert(), [{"bit": 0, "audience": n} for n in (1, 2)])
        rows = [row | {"added": n, "audience": 1 + n % 2, "category": "ddos"} for n in range(3_000)]
        connection.execute(feed.insert(), rows)
    match = Match(category="spyware")
    said = plans(store, lambda connection: feeds.page(connection, View(0, True), match, 10))
    assert "feed_by_category" in said and "feed_withdrawn" in said and "feed_by_audience" not in said
    with store.engine.connect() as connection:
        assert feeds.page(connection, View(0, True), match, 10).rows == []
        assert len(feeds.page(connection, View(0, True), Match(category="ddos"), 10).rows) == 10


def test_contributions_are_read_in_order_by_their_key(store: Store) -> None:
    row = {"source": "alpha", "type": "t", "version": "", "seq": 1, "names": b"", "body": b"x"}
    with store.engine.begin() as connection:
        rows = [row | {"added": n, "stix_id": f"t--{n % 900}", "version_us": n} for n in range(3_000)]
        connection.execute(posted.insert(), rows)
        if not store.is_sqlite:
            connection.exec_driver_sql("ANALYZE contributions")
    match = Match(after=1_000)
    said = plans(store, lambda c: contributions.page(c, "alpha", match, taxii.LAST, 10))
    by_key = "sqlite_autoindex_contributions" if store.is_sqlite else "contributions_pkey"
    assert by_key in said and "contributions_by_version" in said
    assert "TEMP B-TREE" not in said and "Sort" not in said
