"""`tocsin release`: what sources on probation say, released item by item."""

from __future__ import annotations

import json
import sys

import click

from schemas.errors import clip
from services.cli_hub import ask


@click.command("release")
@click.argument("items", nargs=-1, metavar="[ID@VERSION]…")
@click.option("--source", help="Only what this source says of them.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def release(items: tuple[str, ...], source: str | None, as_json: bool) -> None:
    """List what waits to be released, or release items, named as the list names them.

    Nothing of a source on probation (`probation = true` in its agreement) goes anywhere before that. The version
    is of what you looked at: what its source has changed since is not released.

    Example: tocsin release indicator--2b1f0c1e-6a55-5d0b-9c53-2f6f0f7f5a10@8f0c11d2a3b4c5d6e7f8091a2b3c4d5e
    """
    if not items:
        answer = ask(lambda hub: hub.get("/api/v1/releases"))
    else:
        asked = {"items": [_named(item) for item in items], **({"source": source} if source else {})}
        answer = ask(lambda hub: hub.post("/api/v1/releases", json.dumps(asked).encode()))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif items:
        click.echo(f"{answer['released']} released; what its source changes from now on waits again")
        for unknown in answer["unknown"]:
            click.echo(f"{unknown}: nothing under this id waits to be released", err=True)
    else:
        for row in answer["waiting"]:
            click.echo(
                f"{row['id']}@{row['version']}  {', '.join(row['sources']):<16} {row['kind']} {row['value']}"
            )
        click.echo(f"{len(answer['waiting'])}{' and more' if answer['more'] else ''} wait to be released", err=True)
    if items and answer["unknown"]:
        sys.exit(1)


def _named(item: str) -> dict[str, str]:
    id_, at, version = item.partition("@")
    if not (id_ and at and version):
        raise click.UsageError(f"{clip(item)}: name it as `tocsin release` lists it, ID@VERSION")
    return {"id": id_, "version": version}
