"""Brings the database to the form that this version of the code needs (alembic; see services/migrations)."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory


def upgrade(engine: sa.Engine) -> None:
    """Runs what is missing, in one transaction where the database can."""
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")


def is_current(connection: sa.Connection) -> bool:
    """Whether the database has the form that this code needs; changes nothing."""
    at = MigrationContext.configure(connection).get_current_revision()
    return at == ScriptDirectory.from_config(_config()).get_current_head()


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
