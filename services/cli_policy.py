"""`tocsin policy`: the sharing policy and the agreements."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli_hub import settings
from services.directory import hash_of, read_agreements, read_policy_file


@click.group("policy")
def policy() -> None:
    """The sharing policy and the agreements.

    Example: tocsin policy check
    """


@policy.command("check")
@click.option(
    "--agreements", type=click.Path(path_type=Path), help="Folder of agreements (default: TOCSIN_AGREEMENTS)."
)
def check(agreements: Path | None) -> None:
    """Read all agreements and the policy file, and say what is wrong or risky in them.

    Example: tocsin policy check --agreements deploy/agreements
    """
    given = settings(agreements=agreements)
    found, rules = read_agreements(given.agreements), read_policy_file(given.policy)
    for agreement in found.values():
        if agreement.contributes and agreement.contributes.defaults.published:
            click.echo(f"{agreement.id}: `published = true` is only for feeds that anyone can download", err=True)
    click.echo(f"{len(found)} agreements in order; policy {hash_of(found, rules)[:16]}")
