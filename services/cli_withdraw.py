"""`tocsin withdraw`: a source takes back what it said."""

from __future__ import annotations

import json
from typing import Any

import click
import orjson

from services.cli_hub import ask, wait_for
from services.hubclient import HubClient

LISTS = {"id": "ids", "item": "items", "submission": "submissions", "consent": "consents"}
MAX_SHOWN = 10


@click.command("withdraw")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--source", required=True, help="The partner whose word it was.")
@click.option("--item", "named", flag_value="item", help="They are ids that the hub gave.")
@click.option("--submission", "named", flag_value="submission", help="They are submissions: withdraw all of each.")
@click.option("--consent", "named", flag_value="consent", help="They are the references given with push --consent.")
@click.option(
    "--why",
    type=click.Choice(["revoked", "consent"]),
    help="The source takes its word back (the default), or the people concerned their consent.",
)
@click.option("--wait", is_flag=True, help="Wait until it is through to the feeds.")
@click.option("--json", "as_json", is_flag=True, help="Print what the hub answers as JSON.")
def withdraw(
    ids: tuple[str, ...], source: str, named: str | None, why: str | None, wait: bool, as_json: bool
) -> None:
    """Withdraw what a source sent, named by the source's own ids, or as the options say.

    What the source said is erased at once, and everybody who was sent it gets a withdrawal, unless others say the
    same. With --consent, what comes under that reference later is refused, too.

    Example: tocsin withdraw case-2026-17 --consent --source kestrel --wait
    """
    named = named or "id"
    if named == "consent" and why == "revoked":
        raise click.UsageError("a consent that is named is withdrawn: leave --why out")
    why = why or ("consent" if named == "consent" else "revoked")
    body = orjson.dumps({LISTS[named]: list(ids), "why": why})

    async def work(hub: HubClient) -> dict[str, Any]:
        answer: dict[str, Any] = await hub.post("/api/v1/withdrawals", body, {"source": source})
        if wait:
            await wait_for(hub, [answer["id"]])
        return answer

    answer = ask(work)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        _say(answer, named, wait)
    if answer["unknown"] and named != "consent":
        raise SystemExit(1)


def _say(answer: dict[str, Any], named: str, wait: bool) -> None:
    items = f"{answer['named']:,} item{'' if answer['named'] == 1 else 's'}"
    if answer["named"]:
        state = "withdrawn; the feeds show it" if wait else "named; the withdrawal is on its way"
    else:
        state = "withdrawn: nothing that was shared has such a name"
    click.echo(f"{items} {state} (submission {answer['id']})")
    if named == "consent":
        click.echo("what comes under this consent from now on is refused")
    for name in answer["unknown"][:MAX_SHOWN]:
        click.echo(f"  the source sent nothing under this name: {name}", err=True)
    if len(answer["unknown"]) > MAX_SHOWN:
        click.echo(f"  and {len(answer['unknown']) - MAX_SHOWN} more", err=True)
