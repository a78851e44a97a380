"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.postgres import find_server, fresh_database, running_server

ROOT = Path(__file__).resolve().parent.parent
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real public feeds and corpora beside the project; CI fails where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data" / "truth.json").exists():
        pytest.skip("needs the real public feeds in ../shared/data, which are not part of the project")
    return folder


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server whose user may create databases: the one that TOCSIN_TEST_POSTGRES names,
    else one started here from an installed PostgreSQL."""
    if given := os.environ.get("TOCSIN_TEST_POSTGRES"):
        yield given
    elif binaries := find_server():
        with running_server(binaries) as url:
            yield url
    else:
        pytest.skip("needs PostgreSQL: install it (Debian: postgresql), or name one in TOCSIN_TEST_POSTGRES")


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database of its own for each test."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _no_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _no_skip((yield))


def _no_skip(report: Report) -> Report:
    """Where TOCSIN_CI_NO_SKIP is set, a skip is a failure with its reason: CI has all that tests need."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("TOCSIN_CI_NO_SKIP"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {reason.removeprefix('Skipped: ')}"
    return report
