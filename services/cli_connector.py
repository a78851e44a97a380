"""`tocsin connector` and `tocsin pull`: how the connectors are doing, and what they can have done."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from connectors.registry import CONNECTORS
from schemas.errors import Misconfigured, TocsinError
from services import telling
from services.cli_hub import ask, settings
from services.hubclient import HubClient
from services.instances import read_instances

PATH = "/api/v1/connectors"
WATCH_SECONDS = 1.0
PULL_SECONDS = 3_600.0
SAMPLE = Path("connectors/sample")


@click.group("connector")
def connector() -> None:
    """The connectors that bring indicators in and take them to partners' own systems.

    They are set up in the file that TOCSIN_CONNECTORS names (deploy/connectors.toml).

    Example: tocsin connector list
    """


@connector.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_all(as_json: bool) -> None:
    """How each is doing, and what to do about those that fail.

    Example: tocsin connector list
    """
    answer = ask(lambda hub: hub.get(PATH))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo("\n".join(telling.connectors(answer)) or "no connector is set up: see deploy/connectors.toml")


@connector.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(name: str, as_json: bool) -> None:
    """One of them, and the items that are not through.

    Example: tocsin connector show horizon-hook
    """
    answer = ask(lambda hub: hub.get(f"{PATH}/{name}"))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo("\n".join(telling.connectors({"problem": None, "connectors": [answer]})))
    for one in answer["deliveries"]:
        what = "withdrawal of " if one["withdrawal"] else ""
        when = f", next try {telling.moment(one['next_ms'])}" if one["state"] == "pending" else ""
        click.echo(f"  {one['state']:<8} {what}{one['id']}: {one['code']}, {one['tries']} tries{when}")


@connector.command("accept")
@click.argument("names", nargs=-1, required=True)
def accept(names: tuple[str, ...]) -> None:
    """Let connectors send to where their settings say. A changed destination has to be accepted anew.

    Example: tocsin connector accept horizon-hook
    """

    async def work(hub: HubClient) -> None:
        for name in names:
            destination = (await hub.get(f"{PATH}/{name}"))["destination"]
            await hub.post(f"{PATH}/{name}/acceptance", params={"destination": destination})
            click.echo(f"{name} may send now")

    ask(work)


@connector.command("retry")
@click.argument("name")
def retry(name: str) -> None:
    """Try again what was given up.

    Example: tocsin connector retry horizon-hook
    """
    answer = ask(lambda hub: hub.post(f"{PATH}/{name}/retry"))
    click.echo(f"{answer['again']:,} items are tried again")


@connector.command("run")
@click.argument("name")
def run(name: str) -> None:
    """Have one run now, and wait until it has.

    Example: tocsin connector run horizon-hook
    """
    ask(lambda hub: _run_once(hub, name))


@connector.command("check")
def check() -> None:
    """Check the connectors' file without a hub: file, line, key and what to mend.

    Example: tocsin connector check
    """
    file = settings().connectors
    found = read_instances(file, CONNECTORS)
    for one in found.values():
        click.echo(f"{one.name}: {one.manifest.name} does {one.does} for {one.partner}")
    click.echo(
        f"{file}: {len(found)} connectors, all in order" if file.exists() else f"{file}: there is no such file"
    )


@connector.command("kinds")
def kinds() -> None:
    """What there are to set up.

    Example: tocsin connector kinds
    """
    for manifest in CONNECTORS.values():
        able = [each for each in ("push", "publish", "pull") if getattr(manifest, each) is not None]
        click.echo(f"{manifest.name:<16} {', '.join(able) or 'formats':<14} {manifest.summary}")


@connector.command("new")
@click.argument("name")
def new(name: str) -> None:
    """Write the skeleton of a new connector into connectors/NAME; run it where the source code is.

    Example: tocsin connector new paperboat
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", name):
        raise click.BadParameter("use small letters, digits and _, beginning with a letter", param_hint="NAME")
    folder, registry = Path("connectors") / name, Path("connectors/registry.py")
    if not SAMPLE.is_dir():
        raise Misconfigured(
            "no-source", "there is no connectors/sample here", hint="run it in the folder of the source code"
        )
    if folder.exists():
        raise Misconfigured("connector-exists", f"{folder} is there already", hint="choose another name")
    folder.mkdir()
    for file in sorted(SAMPLE.glob("*.*")):
        (folder / file.name).write_text(_renamed(file.read_text("utf-8"), name), "utf-8")
        click.echo(f"wrote {folder / file.name}")
    text = registry.read_text("utf-8")
    entered = _into(
        _into(text, "from connectors import (", name), "MANIFESTS: tuple[Manifest, ...] = (", f"{name}.MANIFEST"
    )
    if entered.count(name) < text.count(name) + 2:
        click.echo(f"add {name}.MANIFEST to the list in {registry} yourself")
    else:
        registry.write_text(entered, "utf-8")
        click.echo(f"entered it in {registry}")
    click.echo("next: mapping.py and client.py; `make test ARGS=tests/contract` holds it to the contract")


def _into(text: str, opening: str, entry: str) -> str:
    """With one more entry in a list that stands over several lines, in its order; as it was where there is none."""
    before, found, after = text.partition(f"{opening}\n")
    inside, end, rest = after.partition("\n)")
    if not (found and end):
        return text
    lines = sorted([*inside.splitlines(), f"    {entry},"])
    return "".join([before, found, "\n".join(lines), end, rest])


def _renamed(text: str, name: str) -> str:
    """The sample's text under another name."""
    title = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("Sample", title).replace("sample", name)


# --- pull ---------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("name")
@click.option("--once", is_flag=True, help="Fetch once and end; else go on and tell of each time.")
def pull(name: str, once: bool) -> None:
    """Have a connector fetch now, whatever its schedule says.

    Example: tocsin pull ooni --once
    """

    async def work(hub: HubClient) -> None:
        one = await hub.get(f"{PATH}/{name}")
        if one["does"] != "pull":
            raise TocsinError("not-a-puller", f"{name} does {one['does']}", hint=f"`tocsin connector run {name}`")
        await _run_once(hub, name)
        while not once:
            one = await hub.get(f"{PATH}/{name}")
            await asyncio.sleep(max(WATCH_SECONDS, (one["next_ms"] / 1_000) - time.time()))
            await _run_once(hub, name, ask_for_it=False, seen=one)

    ask(work)


async def _run_once(
    hub: HubClient, name: str, *, ask_for_it: bool = True, seen: Mapping[str, Any] | None = None
) -> None:
    """Until it has run, and says what that brought; raises what it failed of."""
    before = seen or await hub.get(f"{PATH}/{name}")
    asked_ms = (await hub.post(f"{PATH}/{name}/run"))["asked_ms"] if ask_for_it else before["tried_ms"] + 1
    deadline = time.monotonic() + PULL_SECONDS
    while True:
        one = await hub.get(f"{PATH}/{name}")
        ended = one["health"] in ("idle", "failing") and max(one["done_ms"], one["since_ms"]) >= asked_ms
        failed_again = one["failures"] > before["failures"] and one["tried_ms"] >= asked_ms
        if one["tried_ms"] >= asked_ms and (ended or failed_again):
            break
        if time.monotonic() > deadline:
            raise TocsinError(
                "slow", f"{name} is still at it", hint="`tocsin connector list` shows how it is doing"
            )
        await asyncio.sleep(WATCH_SECONDS / 4)
    if one["health"] == "failing":
        problem = one["problem"]
        raise TocsinError(problem["code"], problem["what"], where=problem["where"], hint=problem["hint"])
    went, refused = one["went"] - before["went"], one["refused"] - before["refused"]
    verb = {"push": "delivered", "publish": "written", "pull": "taken"}[one["does"]]
    more = f", {refused:,} refused" if refused else ""
    click.echo(f"{name}: {went:,} {verb}{more}" if one["does"] != "publish" else f"{name}: up to date")
