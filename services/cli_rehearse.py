"""`tocsin policy test` and `tocsin policy simulate`: what rules would do, with nothing written."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from schemas.agreement import Agreement, Policy
from schemas.errors import Misconfigured, TocsinError, clip
from services.cli_hub import settings as given_settings
from services.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from services.hub import Directory
    from services.policy_cases import Expectation, Row
    from services.simulation import Change, Impact, Simulation
    from services.stream.replay import Remembered

T = TypeVar("T")
UNREADABLE = 2
KEYS_PER_QUERY = 500
POLICY = "policy"
"""Among the names of agreements that wait in a hub, the policy file's."""


def add_to(group: click.Group) -> None:
    """Adds the commands to `tocsin policy`."""
    group.add_command(test)
    group.add_command(simulate)


# -- test -------------------------------------------------------------------------------------------------


@click.command("test")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def test(file: Path, as_json: bool) -> None:
    """Hold the rules against a table of cases: items, and what each partner must get of them.

    Everything runs in memory, through the same code as in a hub. Exit 1 if a case fails, 2 if the file is wrong.

    Example: tocsin policy test cases.json
    """
    from services.data import load
    from services.policy_cases import MAX_FILE_BYTES, read_table, run

    try:
        with file.open("rb") as stream:
            table = read_table(stream.read(MAX_FILE_BYTES + 1), str(file))
        rows = list(run(table, load(None)))
    except Misconfigured as error:
        click.echo(f"tocsin: {error}", err=True)
        sys.exit(UNREADABLE)
    failed = sum(not row.passed for row in rows)
    passed = sum(row.passed and row.expected is not None for row in rows)
    if as_json:
        shown = [_row_document(row) for row in rows]
        click.echo(json.dumps({"rows": shown, "passed": passed, "failed": failed}, indent=2))
    else:
        _show_rows(rows)
        click.echo(f"{passed} passed, {failed} failed")
    if failed:
        sys.exit(1)


def _row_document(row: Row) -> dict[str, Any]:
    return {
        "case": row.case,
        "why": row.why,
        "partner": row.partner,
        "passed": row.passed if row.expected else None,
        "outcome": row.outcome,
        "rules": list(row.rules),
        "obligations": dict(row.obligations),
        "expected": row.expected.model_dump(exclude_none=True) if row.expected else None,
        "notes": list(row.said),
    }


def _show_rows(rows: Sequence[Row]) -> None:
    lines = [("", "case", "partner", "outcome", "rules", "obligations", "")]
    for row in rows:
        state = "-" if row.expected is None else "PASS" if row.passed else "FAIL"
        wanted = "" if row.passed or row.expected is None else f"expected: {_expected(row.expected)}"
        lines.append((state, clip(row.case), row.partner, row.outcome, *_told(row.rules, row.obligations), wanted))
    shown = _aligned(lines)
    click.echo(shown[0])
    last = ""
    for row, line in zip(rows, shown[1:], strict=True):
        click.echo(line)
        for said in row.said if row.case != last else ():
            click.echo(f"      {clip(said, 240)}")
        last = row.case


def _expected(wanted: Expectation) -> str:
    parts: list[str] = [wanted.outcome]
    if wanted.rules is not None:
        parts.append(f"rules {' '.join(wanted.rules) or '-'}")
    if wanted.obligations is not None:
        parts.append(f"obligations {_told((), wanted.obligations)[1]}")
    return ", ".join(parts)


def _told(rules: Iterable[str], obligations: Mapping[str, str]) -> tuple[str, str]:
    done = ", ".join(f"{clip(selector)}: {technique}" for selector, technique in sorted(obligations.items()))
    return " ".join(rules) or "-", done or "-"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


# -- simulate ---------------------------------------------------------------------------------------------


class _Others(NamedTuple):
    """The rules to be tried: agreements and policy, and their hash."""

    agreements: Mapping[str, Agreement]
    policy: Policy
    hash: str


@click.command("simulate")
@click.option(
    "--agreements",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="New agreements.",
)
@click.option(
    "--policy", "policy_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="New policy file."
)
@click.option(
    "--accept", multiple=True, metavar="NAME", help="A partner that may get more than before; repeatable."
)
@click.option("--items", type=click.IntRange(0, 10_000), default=0, help="Show so many items of each sort.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def simulate(
    agreements: Path, policy_file: Path | None, accept: tuple[str, ...], items: int, as_json: bool
) -> None:
    """Say what other rules would change for each partner, from what the hub holds now.

    The hub may run meanwhile; nothing is written. Exit 1 if a partner would get more than before that is not named
    with --accept. With all of them named, what waits of these rules in a running hub under one of the names is
    confirmed; `policy` names the policy file there.

    Example: tocsin policy simulate --agreements new-agreements --accept meadow
    """
    from services.directory import hash_of, read_agreements, read_policy_file
    from services.simulation import Impact

    settings = given_settings()
    _check_database(settings)
    found, policy = read_agreements(agreements), read_policy_file(policy_file or settings.policy)
    others = _Others(found, policy, hash_of(found, policy))
    impact = Impact(items)
    held, name_of, errors = asyncio.run(_simulate(settings, others, accept, impact))
    widened = sorted(name_of.get(bit, f"#{bit}") for bit in impact.widened)
    missing = [name for name in widened if name not in accept]
    document = {
        "policy": others.hash,
        "items": held,
        "errors": errors,
        "partners": _impact_document(impact, name_of),
        "widened": widened,
        "not_accepted": missing,
        "confirmed": bool(accept) and not missing and asyncio.run(confirm(settings, others.hash, accept)),
    }
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        _show_impact(document)
    if missing:
        named = " ".join(f"--accept {name}" for name in missing)
        click.echo(f"somebody gets more than before: confirm it with {named}", err=True)
        sys.exit(1)


def _check_database(settings: Settings) -> None:
    """Raises `Misconfigured` where there is none: to open an SQLite database that is not there makes it."""
    from sqlalchemy import make_url

    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not (url.database and Path(url.database).exists()):
        raise Misconfigured(
            "no-hub-here",
            "there is no hub's database here",
            where=str(url.database),
            hint="set TOCSIN_DATA or TOCSIN_DATABASE to those of the hub",
        )


async def _simulate(
    settings: Settings, others: _Others, accept: Iterable[str], impact: Impact
) -> tuple[int, dict[int, str], int]:
    """How many items are held, partners by their numbers, and in how many items a rule failed."""
    from services.data import in_use, load
    from services.govern.compile import compile_policy
    from services.govern.settle import Rules
    from services.pipeline import core
    from services.run import secret
    from services.simulation import Simulation
    from services.store import Store

    with closing(Store(settings.database_url)) as store:
        key = secret(settings.secret_path, new=False)
        directory = await store.read(lambda connection: _directory(connection, others, key, settings))
        if unknown := sorted(set(accept) - directory.bit_of.keys() - {POLICY}):
            raise click.BadParameter(f"there is no partner {clip(unknown[0])!r}", param_hint="--accept")
        remembered = await _remembered(settings, store)
        data = await asyncio.to_thread(load, in_use(settings.enrichment_path), secret=key)
        simulation = Simulation(
            core(Rules(compile_policy(directory), data, key), window_ms=0),
            remembered.state,
            remembered.partition_of,
            now_ms=time.time_ns() // 1_000_000,
            epoch=remembered.epoch + 1,
        )
        with _bar(simulation.slices(), "deciding") as bar:
            for keys in bar:
                simulation.decide(keys)
        if sys.stderr.isatty():
            click.echo("letters between items", err=True)
        simulation.settle()
        errors = await _compare(store, simulation, impact)
    return len(simulation.items), {bit: name for name, bit in directory.bit_of.items()}, errors


def _directory(connection: Connection, others: _Others, secret: bytes, settings: Settings) -> Directory:
    """The new rules over the numbers of the database; who is new there gets numbers that are kept nowhere."""
    import sqlalchemy as sa

    from services.directory import keep_secret_mark
    from services.hub import Directory
    from services.migrate import is_current
    from services.tables import facts, partners

    if not is_current(connection):
        raise Misconfigured("not-migrated", "the database is not of this version", hint="run `tocsin migrate`")
    numbering = connection.scalar(sa.select(facts.c.value).where(facts.c.name == "numbering"))
    if numbering is None:
        raise Misconfigured("no-hub-here", "no hub ever ran on this database", hint="start it once: `tocsin up`")
    keep_secret_mark(connection, secret, settings.secret_path)  # which it only compares: the mark is there
    bit_of = {row.id: row.bit for row in connection.execute(sa.select(partners.c.id, partners.c.bit))}
    for name in sorted(set(others.agreements) - bit_of.keys()):
        bit_of[name] = max(bit_of.values(), default=-1) + 1
    return Directory(
        agreements=others.agreements,
        policy=others.policy,
        policy_hash=others.hash,
        numbering=numbering,
        bit_of=bit_of,
    )


async def _remembered(settings: Settings, store: Any) -> Remembered:
    from schemas.topics import KNOWN
    from services.stream.replay import replay

    with click.progressbar(
        length=1_000, label="reading".ljust(18), file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        def progress(read: int, total: int) -> None:
            bar.update(read * 1_000 // max(total, 1) - bar.pos)

        return await replay(settings.broker, store, settings.kafka_security, KNOWN, progress)


async def _compare(store: Any, simulation: Simulation, impact: Impact) -> int:
    """Adds what changes to `impact`; of how many items the new decision names errors."""
    import sqlalchemy as sa

    from services.tables import decisions

    keys = simulation.decided_otherwise
    errors = 0
    with _bar(range(0, len(keys), KEYS_PER_QUERY), "comparing") as bar:
        for start in bar:
            some = keys[start : start + KEYS_PER_QUERY]
            query = sa.select(decisions.c.fingerprint, decisions.c.record).where(decisions.c.fingerprint.in_(some))
            rows = await store.read(lambda connection, query=query: connection.execute(query).all())
            known = {bytes(row.fingerprint): bytes(row.record) for row in rows}
            for key in some:
                errors += simulation.has_errors(key)
                for change in simulation.changes(key, known.get(key)):
                    impact.add(change)
    return errors


async def confirm(settings: Settings, hash_: str, names: Sequence[str]) -> bool:
    """Confirms in a running hub what waits of these rules under an accepted name; says on stderr what it leaves."""
    from services.hubclient import HubClient

    try:
        token = settings.token or settings.staff_token_path.read_text().strip()
    except OSError:
        click.echo(f"no hub is told: there is no token in {settings.staff_token_path}", err=True)
        return False
    try:
        async with HubClient(settings.url, token) as hub:
            pending = (await hub.get("/api/v1/policy"))["pending"] or {"hash": "", "names": []}
            waiting = [one["name"] for one in pending["names"]] if pending["hash"] == hash_ else []
            accepted = [name for name in waiting if name in names]
            if accepted:
                body = json.dumps({"hash": hash_, "names": accepted}).encode()
                await hub.post("/api/v1/policy/confirmations", body)
    except TocsinError as error:
        click.echo(f"no hub is told: {error}", err=True)
        return False
    if not waiting:
        click.echo("no hub is told: nothing of these rules waits for a confirmation", err=True)
    elif left := " ".join(f"--accept {name}" for name in waiting if name not in names):
        click.echo(f"the hub waits for more, which can be confirmed with {left}", err=True)
    return bool(accepted)


def _impact_document(impact: Impact, name_of: Mapping[int, str]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for bit, counts in impact.counts.items():
        listed = {
            sort: [_change_document(change) for change in changes]
            for sort, changes in impact.first[bit].items()
            if changes
        }
        shown: dict[str, Any] = {**counts, "more": impact.widened.get(bit, 0)}
        document[name_of.get(bit, f"#{bit}")] = {**shown, "items": listed} if listed else shown
    return dict(sorted(document.items()))


def _change_document(change: Change) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": change.id, "kind": change.kind, "value": change.value, "more": change.more}
    if change.sort != "changed":
        return shown
    return {**shown, "before": dict(change.before), "after": dict(change.after)}


def _show_impact(document: Mapping[str, Any]) -> None:
    from services.simulation import SORTS

    click.echo(f"policy {document['policy'][:16]}: {document['items']:,} items held")
    if document["errors"]:
        click.echo(f"in {document['errors']:,} items a rule fails, which denies")
    if not document["partners"]:
        click.echo("nothing changes for anybody")
        return
    rows = [("partner", *SORTS.values(), "gets more")]
    for name, partner in document["partners"].items():
        rows.append((name, *(f"{partner[sort]:,}" for sort in SORTS), f"{partner['more']:,}"))
    shown = _aligned(rows)
    click.echo(shown[0])
    for line, partner in zip(shown[1:], document["partners"].values(), strict=True):
        click.echo(line)
        for sort, listed in partner.get("items", {}).items():
            for item in listed:
                click.echo(
                    f"    {SORTS[sort]}: {item['id']}  {item['kind']} {clip(item['value'], 120)}{_how(item)}"
                )
    if document["confirmed"]:
        click.echo("the hub is told that this is accepted")


def _how(item: Mapping[str, Any]) -> str:
    if "before" not in item:
        return ""
    before, after = (_told((), item[name])[1] for name in ("before", "after"))
    return f"  ({before} -> {after}{'; more' if item['more'] else ''})"


def _bar(items: Sequence[T], label: str) -> Any:
    """A progress bar on the terminal's error stream; nothing where no person watches."""
    return click.progressbar(items, label=label.ljust(18), file=sys.stderr, hidden=not sys.stderr.isatty())
