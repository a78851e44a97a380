"""`tocsin receipt`: what a partner tells the hub of its items, and what it is waited for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

import click

from schemas.errors import TocsinError, clip
from schemas.receipt import MAX_REASON_CHARS, ReceiptStatus
from services.cli_hub import ask
from services.hubclient import HubClient

T = TypeVar("T")
PATH = "/api/v1/receipts"
AT_ONCE = 1_000
WHAT = {"withdrawal": "withdrawn", "acknowledge": "to acknowledge", "act": "to act on"}
MEANS: Mapping[ReceiptStatus, str] = {
    "received": "You have them, or know that they are withdrawn",
    "acting": "You are at work on them",
    "acted": "You are done with them",
    "declined": "You will not act on them",
    "false-positive": "They name something harmless",
}


@click.group("receipt")
def receipt() -> None:
    """For partners: say what you did with items from your feed. Set TOCSIN_TOKEN to your own token.

    A receipt for a withdrawn item acknowledges the withdrawal.

    Example: tocsin receipt acted indicator--6f1c2f0a-5d0e-5b7c-9a51-0c8f6f0d2a11
    """


def _say(status: ReceiptStatus, means: str) -> click.Command:
    @click.argument("ids", nargs=-1, required=True)
    @click.option(
        "--reason", default="", help=f"For the hub's staff only; at most {MAX_REASON_CHARS:,} characters."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
    def say(ids: tuple[str, ...], reason: str, as_json: bool) -> None:
        answers = ask(lambda hub: _send(hub, status, list(_ids(ids)), reason), as_partner=True)
        if as_json:
            click.echo(json.dumps({"results": answers}, indent=2))
        else:
            for answer in answers:
                click.echo(_line(answer))
        if any(answer["result"] not in ("taken", "kept") for answer in answers):
            sys.exit(1)

    text = f"""{means}. IDs are STIX ids from your feed; - reads them from the standard input, one a line.

    Example: tocsin receipt {status} indicator--6f1c2f0a-5d0e-5b7c-9a51-0c8f6f0d2a11
    """
    return click.command(status, help=text)(say)


for _status in get_args(ReceiptStatus):
    receipt.add_command(_say(_status, MEANS[_status]))


@receipt.command("list")
@click.option("--what", type=click.Choice(tuple(WHAT)), help="Only this.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True, help="Of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def expected(what: str | None, limit: int, as_json: bool) -> None:
    """What you are waited for: withdrawals that you have not acknowledged, and what is overdue.

    Example: tocsin receipt list --what withdrawal
    """

    async def work(hub: HubClient) -> dict[str, list[dict[str, Any]]]:
        return {each: await _pages(hub, each, limit) for each in ([what] if what else WHAT)}

    found = ask(work, as_partner=True)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for kind, rows in found.items():
        for row in rows:
            again = f", reminded {_times(row['reminded'])}" if row.get("reminded") else ""
            click.echo(f"{row['id']}  {WHAT[kind]}, since {row['since']}{again}")
    if not any(found.values()):
        click.echo("nothing is waited for", err=True)


@receipt.command("show")
@click.argument("item")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(item: str, as_json: bool) -> None:
    """For staff: what every partner said of an item, by the id that it has in their feeds.

    Example: tocsin receipt show indicator--6f1c2f0a-5d0e-5b7c-9a51-0c8f6f0d2a11
    """
    rows = ask(lambda hub: hub.get(PATH, {"item": item})).get("receipts")
    if rows is None:
        raise TocsinError(
            "staff-only", "this is for staff: TOCSIN_TOKEN is a partner's", hint="tocsin receipt list"
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        knows = ", knows that it is withdrawn" if row["withdrawal_acknowledged"] else ""
        reason = f": {clip(row['reason'], MAX_REASON_CHARS)}" if row["reason"] else ""
        click.echo(f"{row['partner']:<20} {row['status']} at {row['time']}{knows}{reason}")
    if not rows:
        click.echo("nobody said anything of it", err=True)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


async def _pages(hub: HubClient, what: str, limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    params = {"what": what, "limit": str(AT_ONCE)}
    while True:
        page = await hub.get(PATH, params)
        rows += page["expected"]
        if "next" not in page or len(rows) >= limit:
            return rows[:limit]
        params["next"] = page["next"]


async def _send(hub: HubClient, status: str, ids: list[str], reason: str) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        body = [{"item": id_, "status": status, **({"reason": reason} if reason else {})} for id_ in part]
        results = (await hub.post(PATH, json.dumps(body).encode()))["results"]
        answers += [{**result, "item": id_} for id_, result in zip(part, results, strict=True)]
    return answers


def _ids(given: Iterable[str]) -> Iterable[str]:
    for each in given:
        if each == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield each


def _line(answer: Mapping[str, Any]) -> str:
    said = answer["result"]
    if said == "taken" and answer["withdrawn"]:
        said = "taken: the item is withdrawn, and you know it"
    elif said == "unknown":
        said = "unknown: your feed has no such item"
    return f"{clip(answer['item'])}  {said}" + (f" ({answer['note']})" if answer["note"] else "")
