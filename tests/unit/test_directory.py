"""The directory: agreements from their folder, and numbers that recipients keep for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.agreement import Policy, Rulebook
from schemas.errors import Misconfigured
from services.directory import hash_of, number, numbered, read_agreements, read_policy_file
from services.tables import facts, metadata, partners

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine, [facts, partners])
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def write(folder: Path, name: str, *, file: str = "", ends: str = "2027-01-01") -> None:
    folder.mkdir(exist_ok=True)
    (folder / (file or f"{name}.toml")).write_text(
        f'[partner]\nid = "{name}"\nname = "{name}"\nkind = "ngo"\njurisdiction = "XN"\n'
        f"controlled_by = []\nstarts = 2026-01-01\nends = {ends}\n"
    )


def test_the_agreements_that_are_shipped_are_in_order() -> None:
    agreements = read_agreements(ROOT / "deploy" / "agreements")
    policy = read_policy_file(ROOT / "deploy" / "policy.toml")
    assert {"amnesty", "horizon", "meadow"} <= agreements.keys()
    assert policy == Policy(), "the shipped file says what the defaults say"
    states = [a for a in agreements.values() if a.partner.kind == "government" or a.partner.controlled_by]
    assert states, "one example is of a partner that a state controls"


def test_agreements_are_by_id(tmp_path: Path) -> None:
    write(tmp_path, "b")
    write(tmp_path, "a")
    (tmp_path / "README.md").write_text("not an agreement")
    assert list(read_agreements(tmp_path)) == ["a", "b"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        read_agreements(tmp_path / "none")
    assert caught.value.where == str(tmp_path / "none")


def test_a_file_is_named_like_its_partner(tmp_path: Path) -> None:
    write(tmp_path, "a", file="b.toml")
    with pytest.raises(Misconfigured) as caught:
        read_agreements(tmp_path)
    assert caught.value.where.endswith("b.toml")
    assert "'a'" in caught.value.what


def test_an_absent_policy_file_is_the_shipped_policy(tmp_path: Path) -> None:
    assert read_policy_file(tmp_path / "none.toml") == Policy()


def test_the_hash_is_of_what_is_said_and_not_of_how(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b")
    agreements = read_agreements(tmp_path)
    before = hash_of(agreements, Policy())
    assert len(before) == 64
    assert hash_of(dict(reversed(agreements.items())), Policy()) == before
    assert hash_of(agreements, Policy(statistics_k=6)) != before
    write(tmp_path, "a", ends="2027-01-02")
    assert hash_of(read_agreements(tmp_path), Policy()) != before


def test_numbers_are_given_once(connection: Connection) -> None:
    numbering, first = number(connection, ["b", "a"])
    assert first == {"a": 0, "b": 1}
    again, second = number(connection, ["c", "b"])
    assert again == numbering, "the numbering's id belongs to the database"
    assert second == {"a": 0, "b": 1, "c": 2}, "the number of a partner that left stays taken"
    assert number(connection, ["a", "b", "c"])[1] == second


def test_a_new_database_has_another_numbering(connection: Connection) -> None:
    other = sa.create_engine("sqlite://")
    metadata.create_all(other, [facts, partners])
    with other.begin() as elsewhere:
        assert number(connection, ["a"])[0] != number(elsewhere, ["a"])[0]
    other.dispose()


def test_a_policy_beside_the_agreements_is_no_agreement(tmp_path: Path) -> None:
    write(tmp_path, "a")
    (tmp_path / "policy.toml").write_text("statistics_k = 7\n")
    assert list(read_agreements(tmp_path)) == ["a"]


def test_a_directory_brings_it_together(connection: Connection, tmp_path: Path) -> None:
    write(tmp_path, "a")
    directory = numbered(connection, Rulebook(read_agreements(tmp_path), Policy()))
    assert list(directory.agreements) == ["a"]
    assert directory.bit_of == {"a": 0}
    assert (directory.partner_of(0), directory.partner_of(1)) == ("a", None)
    assert directory.policy_hash == hash_of(directory.agreements, Policy())
