"""`tocsin release`: what sources on probation say, released item by item."""

from __future__ import annotations

import json
import sys

import click

from services.cli_hub import ask


@click.command("release")
@click.argument("items", nargs=-1)
@click.option("--source", help="Only what this source says of them.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def release(items: tuple[str, ...], source: str | None, as_json: bool) -> None:
    """List what waits to be released, or release the items with these ids.

    Nothing of a source on probation (`probation = true` in its agreement) goes anywhere before that.

    Example: tocsin release indicator--2b1f0c1e-6a55-5d0b-9c53-2f6f0f7f5a10 --source newcomer
    """
    if not items:
        answer = ask(lambda hub: hub.get("/api/v1/releases"))
    else:
        body = json.dumps({"items": items, **({"source": source} if source else {})}).encode()
        answer = ask(lambda hub: hub.post("/api/v1/releases", body))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif items:
        click.echo(f"{answer['released']} released; they are decided anew")
        for unknown in answer["unknown"]:
            click.echo(f"{unknown}: nothing under this id waits to be released", err=True)
    else:
        for row in answer["waiting"]:
            click.echo(f"{row['id']}  {', '.join(row['sources']):<16} {row['kind']} {row['value']}")
        click.echo(f"{len(answer['waiting'])}{' and more' if answer['more'] else ''} wait to be released", err=True)
    if items and answer["unknown"]:
        sys.exit(1)
