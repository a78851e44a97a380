"""The command `tocsin`. Exit codes: 0 it worked, 1 it failed, 2 it was called wrongly."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from connectors import registry
from connectors.files import NewFiles
from schemas.errors import Misconfigured, TocsinError, Unavailable
from services import cli_rehearse, telling
from services import demo as demo_feed
from services.cli_connector import connector as connector_commands
from services.cli_connector import pull
from services.cli_data import data as data_commands
from services.cli_hub import ask as _ask
from services.cli_hub import progress as _bar
from services.cli_hub import settings as _settings
from services.cli_hub import wait_for as _wait_for
from services.cli_policy import partner_add
from services.cli_policy import policy as policy_commands
from services.cli_policy import staff as staff_commands
from services.cli_receipts import receipt as receipt_commands
from services.cli_release import release
from services.cli_withdraw import withdraw
from services.govern.policy import describe
from services.hubclient import HubClient
from services.settings import Settings
from services.share.formats import FORMATS

MAX_REFUSALS_SHOWN = 5
SETTINGS_HELP = """Settings come from the environment: TOCSIN_DATA, TOCSIN_BROKER, TOCSIN_KAFKA_SECURITY,
TOCSIN_DATABASE, TOCSIN_AGREEMENTS, TOCSIN_POLICY, TOCSIN_POLICY_KEY_FILE, TOCSIN_CONNECTORS, TOCSIN_SECRET_FILE,
TOCSIN_LISTEN, TOCSIN_LOG, TOCSIN_MAX_BODY_BYTES, TOCSIN_STATE, TOCSIN_WINDOW_SECONDS. Commands that talk to a hub
find it at TOCSIN_URL and use TOCSIN_TOKEN, or the operator's token that `tocsin up` leaves in the data
directory."""


def main() -> None:
    """Runs the command; an error of ours becomes one line for a person and exit code 1."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except TocsinError as error:
        click.echo(f"tocsin: {error}", err=True)
        for note in getattr(error, "__notes__", ()):
            click.echo(f"  {note}", err=True)
        sys.exit(1)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except BrokenPipeError:  # whoever read has enough; what is left must not be written at the end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@click.group(epilog=SETTINGS_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tocsin")
def cli() -> None:
    """Hub for sharing threat information about digital attacks on human rights defenders.

    Example: tocsin up, and in a second terminal: tocsin demo
    """


# -- running a hub ----------------------------------------------------------------------------------------


@cli.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Directory of all that is kept.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port on this machine (default 8080).")
def up(data: Path | None, port: int | None) -> None:
    """Start a whole hub on this machine, with everything embedded.

    Example: tocsin up --data ./data --port 9000
    """
    listen = None if port is None else f"127.0.0.1:{port}"
    _run(_settings(data=data, listen=listen), ("serve", "core", "share", "witness", "connect"), migrate=True)


@cli.command()
def serve() -> None:
    """Serve all HTTP and relay what was accepted (production; one process of several).

    Example: TOCSIN_BROKER=kafka://kafka:9092 tocsin serve
    """
    _run(_settings(), ("serve",), migrate=False)


@cli.command()
@click.argument("stages", nargs=-1, required=True, type=click.Choice(["core", "share", "witness", "connect"]))
def worker(stages: tuple[str, ...]) -> None:
    """Run stages (production): core is dedupe, enrich and govern in one, connect runs the connectors.

    Example: tocsin worker core
    """
    _run(_settings(), stages, migrate=False)


@cli.command()
@click.option("--check", is_flag=True, help="Only say whether anything is to be done; exit 1 if so.")
def migrate(check: bool) -> None:
    """Bring database and topics to what this version needs.

    Example: tocsin migrate --check
    """
    from services.run import migrate as run_migrations

    if not asyncio.run(run_migrations(_settings(), check=check)):
        click.echo("not up to date: run `tocsin migrate`")
        sys.exit(1)
    click.echo("up to date")


def _run(settings: Settings, parts: tuple[str, ...], *, migrate: bool) -> None:
    from services.run import run  # half a second of imports that only a running hub needs

    started = time.monotonic()
    logging.basicConfig(
        level=settings.log.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("faust", "mode", "aiokafka", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    def ready(address: str) -> None:
        where = f" at {address}" if address else f": {', '.join(parts)}"
        click.echo(f"Tocsin is ready{where} ({time.monotonic() - started:.1f} s; Ctrl-C stops it)")

    asyncio.run(run(settings, parts, migrate=migrate, ready=ready))


# -- sources ----------------------------------------------------------------------------------------------


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", required=True, help="The partner whose word this is.")
@click.option("--feed", "feed_name", help="Which feed of the source this is, where snapshots replace each other.")
@click.option("--empty", is_flag=True, help="A snapshot that is empty on purpose: withdraw all of its feed.")
@click.option("--consent", help="Your reference to the consent under which you send it; it is not kept in clear.")
@click.option("--wait", is_flag=True, help="Wait until everything shows in the feeds.")
@click.option("--json", "as_json", is_flag=True, help="Print the submissions as JSON.")
def push(
    files: tuple[Path, ...],
    source: str,
    feed_name: str | None,
    empty: bool,
    consent: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Send files to the hub: STIX 2.1 and 2.0, MISP events, CSV, lists of hosts; gzip is fine.

    Example: tocsin push indicators.stix2 domains.csv --source kestrel --wait
    """

    async def work(hub: HubClient) -> tuple[list[dict[str, Any]], list[str]]:
        taken, refused = [], []
        with _bar(files, "sending") as bar:
            for file in bar:
                try:
                    params = {"source": source, "name": file.name}
                    params |= {"feed": feed_name} if feed_name else {}
                    params |= {"empty": "true"} if empty else {}
                    params |= {"consent": consent} if consent else {}
                    submission = await hub.post("/api/v1/submissions", file.read_bytes(), params)
                    taken.append({"file": str(file), **submission})
                except Unavailable:
                    raise
                except TocsinError as error:
                    refused.append("\n  ".join([f"{file}: {error}", *getattr(error, "__notes__", ())]))
        if wait:
            await _wait_for(hub, [submission["id"] for submission in taken])
        return taken, refused

    taken, refused = _ask(work)
    if as_json:
        click.echo(json.dumps({"submissions": taken, "refused": refused}, indent=2))
    else:
        for s in taken:
            counted = {"taken": "taken", "waiting": "wait for what they refer to"}
            counted |= {"refused": "refused", "skipped": "left out (the submission says why)"}
            said = ", ".join(f"{s[name]} {words}" for name, words in counted.items() if s[name]) or "nothing in it"
            click.echo(f"{Path(s['file']).name}: {said} ({s['format']}; submission {s['id']})")
            for note in s["notes"]:
                click.echo(f"  {note}")
            for item in s["items"][:MAX_REFUSALS_SHOWN]:
                click.echo(f"  refused: {item['where']}: {item['reason']} ({item['hint']})")
            if s["refused"] > MAX_REFUSALS_SHOWN:
                click.echo(f"  and {s['refused'] - MAX_REFUSALS_SHOWN} more: GET {s['status_url']}")
        state = "in the feeds" if wait else "accepted"
        click.echo(f"{len(taken)} of {len(files)} files {state}: {sum(s['taken'] for s in taken):,} reports")
    for line in refused:
        click.echo(line, err=True)
    if refused:
        sys.exit(1)


# -- partners ---------------------------------------------------------------------------------------------


@cli.command()
@click.argument("partner")
@click.option(
    "--format",
    "format_",
    type=click.Choice([*FORMATS, *registry.FORMATS]),
    default="stix",
    show_default=True,
    help="`spreadsheet` is CSV that is safe to open in a spreadsheet program.",
)
@click.option("--active", is_flag=True, help="Leave out what is no longer active.")
@click.option("--min-score", type=click.IntRange(0, 100), help="Leave out indicators with a lower score.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write to.")
def feed(partner: str, format_: str, active: bool, min_score: int | None, output: Path | None) -> None:
    """Download what a partner may see, in one of many formats.

    Example: tocsin feed horizon --format csv -o horizon.csv
    """
    params = {"format": format_, "partner": partner}
    params |= {"active": "true"} if active else {}
    params |= {"min_score": str(min_score)} if min_score else {}
    if output is None:
        _ask(lambda hub: hub.stream("/api/v1/feed", params, sys.stdout.buffer.write))
        return
    try:
        with _written(output) as stream:
            size = _ask(lambda hub: hub.stream("/api/v1/feed", params, stream.write))
    except OSError as error:
        raise Misconfigured(
            "output", f"it can't be written: {error.strerror}", where=str(output), hint="name a file in a folder"
        ) from None
    click.echo(f"{output}: {size:,} bytes", err=True)


@contextmanager
def _written(output: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of an older one when it is whole. What is there and is no file, such as a pipe,
    is written to as it is."""
    if output.exists() and not output.is_file():
        with output.open("wb") as stream:
            yield stream
        return
    place = output.resolve()  # a link stays one
    with NewFiles(place.parent, [place.name]) as files:
        yield files.stream(place.name)
        files.replace()


@cli.group()
def partner() -> None:
    """The partners: list them, suspend them, give them tokens.

    Example: tocsin partner list
    """


@partner.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def partner_list(as_json: bool) -> None:
    """Who they are, and what each may do.

    Example: tocsin partner list
    """
    rows = _ask(lambda hub: hub.get("/api/v1/partners"))["partners"]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        receives = f"receives up to TLP:{row['receives']['tlp'].upper()}" if row["receives"] else "receives nothing"
        gives = "contributes" if row["contributes"] else "does not contribute"
        click.echo(f"{row['id']:<16} {row['kind']:<10} {row['state']:<12} {receives}, {gives} ({row['name']})")


@partner.command("token")
@click.argument("partner_id")
def partner_token(partner_id: str) -> None:
    """Print a new token for a partner, alone on the last line; it is shown this once.

    Example: tocsin partner token horizon
    """
    answer = _ask(lambda hub: hub.post(f"/api/v1/partners/{partner_id}/tokens"))
    click.echo(f"a token for {answer['partner']}, good for a year; send it by a safe way", err=True)
    click.echo(answer["token"])


@partner.command("suspend")
@click.argument("partner_id")
@click.option("--lift", is_flag=True, help="Let the partner in again.")
def partner_suspend(partner_id: str, lift: bool) -> None:
    """Cut a partner off at once: from then on its feed holds withdrawals only.

    Example: tocsin partner suspend meadow
    """
    path = f"/api/v1/partners/{partner_id}/suspension"
    _ask(lambda hub: hub.delete(path) if lift else hub.post(path))
    click.echo(f"{partner_id} is {'no longer suspended' if lift else 'suspended'}")


# -- decisions --------------------------------------------------------------------------------------------


@cli.command()
@click.argument("item_or_value")
@click.option("--partner", "partner_id", help="Only this partner.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def explain(item_or_value: str, partner_id: str | None, as_json: bool) -> None:
    """Who got an item, who did not, and by which rules. For staff.

    Example: tocsin explain login.example --partner meadow
    """
    params = {"item": item_or_value, **({"partner": partner_id} if partner_id else {})}
    answer = _ask(lambda hub: hub.get("/api/v1/explain", params))
    click.echo(json.dumps(answer, indent=2) if as_json else telling.journey(answer, describe()))


@cli.group()
def rejected() -> None:
    """What could not be handled: kept whole, with its reason.

    Example: tocsin rejected list
    """


@rejected.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def rejected_list(as_json: bool) -> None:
    """What was rejected, by which stage and why.

    Example: tocsin rejected list
    """
    rows = _ask(lambda hub: hub.get("/api/v1/rejected"))["rejected"]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        again = " (replayed)" if row.get("replayed_ms") else ""
        click.echo(f"{row['id']}  {row['at']}  {row['stage']:<8} {row['code']}: {row['reason']}{again}")
    if not rows:
        click.echo("nothing was rejected", err=True)


@rejected.command("show")
@click.argument("rejected_id")
def rejected_show(rejected_id: str) -> None:
    """One rejected thing, whole.

    Example: tocsin rejected show 3f2a9c
    """
    click.echo(json.dumps(_ask(lambda hub: hub.get(f"/api/v1/rejected/{rejected_id}")), indent=2))


@rejected.command("replay")
@click.argument("rejected_ids", nargs=-1, required=True)
def rejected_replay(rejected_ids: tuple[str, ...]) -> None:
    """Send rejected things through again, after what was wrong was mended.

    Example: tocsin rejected replay 3f2a9c
    """

    async def work(hub: HubClient) -> None:
        for rejected_id in rejected_ids:
            await hub.post(f"/api/v1/rejected/{rejected_id}/replay")
            click.echo(f"{rejected_id}: on its way again")

    _ask(work)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(as_json: bool) -> None:
    """Whether all is well, in one screen.

    Example: tocsin status
    """
    answer = _ask(lambda hub: hub.get("/api/v1/status"))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(telling.overview(answer))


@cli.command()
def demo() -> None:
    """Send a small made-up feed through a running hub, and print each item's journey.

    The six threats that the hub is for: shutdown, censorship, cyberattack, surveillance, doxxing, defamation; and
    what holds an item back, with the rule that does. It stays in the hub: use one to try things out.

    Example: tocsin demo
    """

    async def work(hub: HubClient) -> list[str]:
        lines: list[str] = []
        submissions: list[str] = []
        for source, bundle in demo_feed.bundles():
            answer = await hub.post("/api/v1/submissions", json.dumps(bundle).encode(), {"source": source})
            submissions.append(answer["id"])
            lines.append(f"{source} sent {len(bundle['objects'])} objects: {answer['taken']} taken.")
            for refusal in answer.get("items", []):
                lines.append(f"  refused at the door: {refusal['pointer']}: {refusal['reason']}")
        await _wait_for(hub, submissions)
        for heading, item in demo_feed.JOURNEYS:
            told = telling.journey(await hub.get("/api/v1/explain", {"item": item}), describe())
            lines += ["", f"== {heading} ==", told]
        return lines

    click.echo("\n".join(_ask(work)))


cli.add_command(connector_commands)
cli.add_command(pull)
cli.add_command(data_commands)
cli.add_command(policy_commands)
cli.add_command(receipt_commands)
cli.add_command(release)
cli.add_command(staff_commands)
cli.add_command(withdraw)
cli_rehearse.add_to(policy_commands)
partner.add_command(partner_add)


if __name__ == "__main__":
    main()
