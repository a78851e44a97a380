"""The broker and the database that a run is to use, started here unless the environment names one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from tests.integration.kafka_broker import running_broker
from tests.postgres import find_server, fresh_database, running_server


@contextmanager
def broker_settings(name: str) -> Iterator[Mapping[str, str]]:
    """Settings for the broker `embedded` or `kafka`."""
    if name == "embedded":
        yield {}
    elif given := os.environ.get("TOCSIN_TEST_KAFKA"):
        yield {"TOCSIN_BROKER": f"kafka://{given.removeprefix('kafka://')}"}
    else:
        with running_broker() as broker:
            yield {"TOCSIN_BROKER": broker.url}


@contextmanager
def database_settings(name: str) -> Iterator[Mapping[str, str]]:
    """Settings for the database `sqlite` or `postgres`. A server started here does not sync to the disk."""
    if name == "sqlite":
        yield {}
        return
    if given := os.environ.get("TOCSIN_TEST_POSTGRES"):
        with fresh_database(given) as url:
            yield {"TOCSIN_DATABASE": url}
        return
    binaries = find_server()
    if binaries is None:
        raise click.ClickException("install PostgreSQL, or name a server in TOCSIN_TEST_POSTGRES")
    with running_server(binaries) as server, fresh_database(server) as url:
        yield {"TOCSIN_DATABASE": url}
