"""Reads the partners' agreements and keeps the numbering of recipients (see `schemas.bits`)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.agreement import POLICY, Agreement, Policy, Rulebook, line_of, read_agreement, read_policy
from schemas.errors import Misconfigured
from services.hub import Directory
from services.published import canonical
from services.tables import facts, partners

MAX_FILE_BYTES = 1024 * 1024


def read_agreements(folder: Path, files: Iterable[Path] | None = None) -> dict[str, Agreement]:
    """All agreements of a folder, or those in some of its files, by partner id; raises `Misconfigured` naming the
    file and what to mend."""
    if not folder.is_dir():
        raise Misconfigured(
            "no-agreements",
            "there is no folder of agreements here",
            where=str(folder),
            hint="set TOCSIN_AGREEMENTS, or copy deploy/agreements and edit it",
        )
    agreements: dict[str, Agreement] = {}
    for file in agreement_files(folder) if files is None else files:
        agreement = read_agreement(text_of(file), str(file))
        if agreement.id != file.stem:
            raise Misconfigured(
                "agreement-name",
                f"its partner is called {agreement.id!r}",
                where=str(file),
                hint="name the file like the id",
            )
        agreements[agreement.id] = agreement
    return agreements


def agreement_files(folder: Path) -> list[Path]:
    """In order; a policy.toml that lies beside them is none of them."""
    return sorted(file for file in folder.glob("*.toml") if file.stem != POLICY)


def read_policy_file(file: Path) -> Policy:
    """The policy file, or the shipped defaults where it does not exist."""
    return read_policy(text_of(file), str(file)) if file.exists() else Policy()


def text_of(file: Path) -> str:
    """A file that an operator writes; raises `Misconfigured` where it can't be read, or is far too long."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) <= MAX_FILE_BYTES:
            return raw.decode("utf-8")
        what = f"it has more than {MAX_FILE_BYTES:,} bytes"
    except OSError as error:
        what = f"it can't be read: {error.strerror}"
    except UnicodeDecodeError:
        what = "it is not text in UTF-8"
    raise Misconfigured("file-unreadable", what, where=str(file), hint="put a readable TOML file there")


def place(folder: Path, policy_file: Path, name: str, path: Sequence[str]) -> str:
    """File and line of a key: of a partner's agreement, or of the policy (`name` is POLICY)."""
    file = policy_file if name == POLICY else folder / f"{name}.toml"
    try:
        return f"{file}:{line_of(path, file.read_text('utf-8'))}"
    except OSError:
        return str(file)


def document_of(rules: Rulebook) -> bytes:
    """Policy and agreements as canonical JSON."""
    agreements = {name: agreement.model_dump(mode="json") for name, agreement in rules.agreements.items()}
    return canonical({"policy": rules.policy.model_dump(mode="json"), "agreements": agreements})


def hash_of(agreements: Mapping[str, Agreement], policy: Policy) -> str:
    """SHA-256 (hex) of policy and agreements: what a decision cites as the rules that it was made under."""
    return hashlib.sha256(document_of(Rulebook(agreements, policy))).hexdigest()


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


def numbered(connection: Connection, rules: Rulebook, *, hash_: str = "", version: int = 0) -> Directory:
    """Everything about the partners, in one value; numbers partners that are new."""
    numbering, bit_of = number(connection, rules.agreements)
    return Directory(
        agreements=MappingProxyType(dict(rules.agreements)),
        policy=rules.policy,
        policy_hash=hash_ or hash_of(*rules),
        numbering=numbering,
        bit_of=MappingProxyType(bit_of),
        version=version,
    )
