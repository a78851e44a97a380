"""Reads the partners' agreements and keeps the numbering of recipients (see `schemas.bits`)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.agreement import Agreement, Policy, read_agreement, read_policy
from schemas.errors import Misconfigured
from services.hub import Directory
from services.tables import facts, partners


def read_agreements(folder: Path) -> dict[str, Agreement]:
    """All agreements of a folder by partner id; raises `Misconfigured` naming the file and what to mend."""
    if not folder.is_dir():
        raise Misconfigured(
            "no-agreements",
            "there is no folder of agreements here",
            where=str(folder),
            hint="set TOCSIN_AGREEMENTS, or copy deploy/agreements and edit it",
        )
    agreements: dict[str, Agreement] = {}
    for file in sorted(folder.glob("*.toml")):
        agreement = read_agreement(file.read_text("utf-8"), str(file))
        if agreement.id != file.stem:
            raise Misconfigured(
                "agreement-name",
                f"its partner is called {agreement.id!r}",
                where=str(file),
                hint="name the file like the id",
            )
        agreements[agreement.id] = agreement
    return agreements


def read_policy_file(file: Path) -> Policy:
    """The policy file, or the shipped defaults where it does not exist."""
    return read_policy(file.read_text("utf-8"), str(file)) if file.exists() else Policy()


def hash_of(agreements: Mapping[str, Agreement], policy: Policy) -> str:
    """SHA-256 (hex) of policy and agreements: what a decision cites as the rules that it was made under."""
    document = {
        "policy": policy.model_dump(mode="json"),
        "agreements": {name: agreements[name].model_dump(mode="json") for name in sorted(agreements)},
    }
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def number(connection: Connection, recipients: Iterable[str]) -> tuple[str, dict[str, int]]:
    """The numbering's id and every partner's number, giving new partners the next numbers.

    Numbers of partners that left stay taken: bit sets already stored speak of them.
    """
    numbering = connection.scalar(sa.select(facts.c.value).where(facts.c.name == "numbering"))
    if numbering is None:
        numbering = secrets.token_hex(8)
        connection.execute(facts.insert().values(name="numbering", value=numbering))
    bit_of = {row.id: row.bit for row in connection.execute(sa.select(partners.c.id, partners.c.bit))}
    for partner in sorted(set(recipients) - bit_of.keys()):
        bit_of[partner] = max(bit_of.values(), default=-1) + 1
        connection.execute(partners.insert().values(id=partner, bit=bit_of[partner]))
    return numbering, bit_of


def secret_mark(connection: Connection) -> str | None:
    """By what the database knows the hub's secret; None in a new one."""
    return connection.scalar(sa.select(facts.c.value).where(facts.c.name == "secret"))


def keep_secret_mark(connection: Connection, secret: bytes, file: Path) -> None:
    """Notes a mark of the secret in a new database; raises `Misconfigured` where it is not the database's."""
    mark = hashlib.blake2b(b"tocsin secret mark", key=secret[:64], digest_size=16).hexdigest()
    known = secret_mark(connection)
    if known is None:
        connection.execute(facts.insert().values(name="secret", value=mark))
    elif known != mark:
        raise Misconfigured(
            "secret-changed",
            "this is not the secret that the database was made with",
            where=str(file),
            hint="restore the old one: with another all ids and fingerprints would change",
        )


def load(connection: Connection, agreements_folder: Path, policy_file: Path) -> Directory:
    """Everything about the partners, in one value; numbers partners that are new."""
    agreements = read_agreements(agreements_folder)
    policy = read_policy_file(policy_file)
    numbering, bit_of = number(connection, agreements)
    return Directory(
        agreements=MappingProxyType(agreements),
        policy=policy,
        policy_hash=hash_of(agreements, policy),
        numbering=numbering,
        bit_of=MappingProxyType(bit_of),
    )
