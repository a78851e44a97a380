"""`tocsin policy`, `tocsin staff` and `tocsin partner add`: what is in force, and what is to be."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from schemas.agreement import POLICY, Agreement, Policy, Rulebook, read_agreement
from schemas.errors import Misconfigured, TocsinError, clip
from services.cli_hub import ask, settings
from services.directory import agreement_files, hash_of, place, read_agreements, read_policy_file
from services.hubclient import HubClient
from services.inforce import read_rulebook
from services.policy_changes import changes
from services.policy_check import findings
from services.private import write_private
from services.published import is_signed

FOLDER = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("policy")
def policy() -> None:
    """The sharing policy and the agreements.

    Example: tocsin policy check
    """


# -- the files --------------------------------------------------------------------------------------------


@policy.command("check")
@click.option(
    "--agreements", type=click.Path(path_type=Path), help="Folder of agreements (default: TOCSIN_AGREEMENTS)."
)
@click.option(
    "--policy", "policy_file", type=click.Path(path_type=Path), help="Policy file (default: TOCSIN_POLICY)."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def check(agreements: Path | None, policy_file: Path | None, as_json: bool) -> None:
    """Read all agreements and the policy file, and say what is wrong or risky in them; exit 1 if anything is wrong.

    Example: tocsin policy check --agreements deploy/agreements
    """
    given = settings(agreements=agreements, policy=policy_file)
    rules, told = _read_all(given.agreements, given.policy)
    for found in findings(rules, datetime.now(UTC).date()):
        where = place(given.agreements, given.policy, found.name, found.path)
        told.append({"level": found.level, "where": where, "what": found.what, "hint": found.hint})
    wrong = [one for one in told if one["level"] == "error"]
    if as_json:
        hash_ = None if wrong else hash_of(*rules)
        click.echo(json.dumps({"agreements": len(rules.agreements), "hash": hash_, "findings": told}, indent=2))
    else:
        for one in told:
            click.echo(f"{one['where']}: {one['level']}: {one['what']} ({one['hint']})", err=True)
        if not wrong:
            click.echo(f"{len(rules.agreements)} agreements in order; policy {hash_of(*rules)[:16]}")
    if wrong:
        sys.exit(1)


def _read_all(folder: Path, policy_file: Path) -> tuple[Rulebook, list[dict[str, str]]]:
    """All that can be read, and the faults of what can't."""
    told: list[dict[str, str]] = []
    rules = Rulebook({}, Policy())
    try:
        rules = Rulebook({}, read_policy_file(policy_file))
        rules = Rulebook(read_agreements(folder), rules.policy)
    except TocsinError:
        agreements: dict[str, Agreement] = {}
        for file in agreement_files(folder) if folder.is_dir() else ():
            try:
                agreements |= read_agreements(folder, (file,))
            except TocsinError as error:
                told.append(_fault(error))
        for reading in (lambda: read_policy_file(policy_file), lambda: read_agreements(folder, ())):
            try:
                reading()
            except TocsinError as error:
                told.append(_fault(error))
        rules = Rulebook(agreements, rules.policy)
    return rules, told


def _fault(error: TocsinError) -> dict[str, str]:
    return {"level": "error", "where": error.where, "what": error.what, "hint": error.hint}


@policy.command("diff")
@click.argument("old", type=FOLDER)
@click.argument("new", type=FOLDER)
@click.option("--policy-a", type=FILE, help="Policy file of the first (default: a policy.toml in its folder).")
@click.option("--policy-b", type=FILE, help="Policy file of the second (default: a policy.toml in its folder).")
@click.option("--accept", "accepted", multiple=True, metavar="NAME", help="A name whose widening is agreed to.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def diff(
    old: Path, new: Path, policy_a: Path | None, policy_b: Path | None, accepted: tuple[str, ...], as_json: bool
) -> None:
    """Say in words what changes between two folders of agreements, or two files, and mark what widens.

    Exit 1 as long as something that widens is not named with --accept.

    Example: tocsin policy diff deploy/agreements new-agreements --accept meadow
    """
    before, after = _rulebook(old, policy_a), _rulebook(new, policy_b)
    names = sorted({*before.agreements, *after.agreements, POLICY})
    if strange := sorted(set(accepted) - set(names)):
        what = f"--accept {clip(strange[0])}: there is no such name; there are {', '.join(names)}"
        raise click.UsageError(what)
    found = changes(before, after)
    open_ = sorted({change.name for change in found if change.widens} - set(accepted))
    if as_json:
        click.echo(json.dumps({"changes": [c._asdict() for c in found], "not_accepted": open_}, indent=2))
    else:
        for change in found:
            click.echo(f"{'WIDENS' if change.widens else '      '}  {change.name}: {change.what}")
        if not found:
            click.echo("nothing changes")
        for name in open_:
            click.echo(f"{name} widens and is not accepted: --accept {name}", err=True)
    if open_:
        sys.exit(1)


def _rulebook(path: Path, policy_file: Path | None) -> Rulebook:
    """Of a folder, or of the file of one agreement or of the policy."""
    if path.is_dir():
        return Rulebook(read_agreements(path), read_policy_file(policy_file or path / f"{POLICY}.toml"))
    if path.stem == POLICY and policy_file is None:
        return Rulebook({}, read_policy_file(path))
    agreement = read_agreement(path.read_text("utf-8"), str(path))
    return Rulebook({agreement.id: agreement}, read_policy_file(policy_file) if policy_file else Policy())


# -- a running hub ----------------------------------------------------------------------------------------


@policy.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(as_json: bool) -> None:
    """What is in force, and what waits for a confirmation.

    Example: tocsin policy show
    """
    answer = ask(lambda hub: hub.get("/api/v1/policy"))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"version {answer['version']} since {answer['since']}: {answer['hash']}")
    if problem := answer["problem"]:
        click.echo(f"files NOT TAKEN: {problem['where']}: {problem['what']} ({problem['hint']})")
    if pending := answer["pending"]:
        click.echo(f"waits for {pending['needed']} confirmation{'' if pending['needed'] == 1 else 's'}:")
        for one in pending["names"]:
            _tell(one)


def _tell(waiting: dict[str, Any]) -> None:
    for change in waiting["changes"]:
        click.echo(f"  {'WIDENS' if change['widens'] else '      '}  {waiting['name']}: {change['what']}")
    if waiting["confirmed_by"]:
        click.echo(f"          confirmed by {', '.join(waiting['confirmed_by'])}")


@policy.command("accept")
@click.argument("names", nargs=-1, required=True)
def accept(names: tuple[str, ...]) -> None:
    """Confirm what widens, by the names of the partners whose agreements changed; `policy` names the policy file.

    Example: tocsin policy accept meadow policy
    """
    ask(lambda hub: _accept(hub, names))


async def _accept(hub: HubClient, names: tuple[str, ...]) -> None:
    """Shows what is confirmed and confirms it, bound to the files as they were shown."""
    before = await hub.get("/api/v1/policy")
    if problem := before["problem"]:
        raise Misconfigured("files-wrong", problem["what"], where=problem["where"], hint=problem["hint"])
    pending = before["pending"] or {"hash": "", "names": []}
    waiting = {one["name"]: one for one in pending["names"]}
    for name in names:
        if name not in waiting:
            what = f"nothing of {name!r} waits for a confirmation"
            raise TocsinError("nothing-waits", what, hint="`tocsin policy show` says what waits")
        _tell(waiting[name])
    body = {"hash": pending["hash"], "names": list(names)}
    after = await hub.post("/api/v1/policy/confirmations", orjson.dumps(body))
    left = {one["name"]: one for one in (after["pending"] or {"names": []})["names"]}
    for one in pending["names"]:
        now = left[one["name"]]["confirmed_by"] if one["name"] in left else one["confirmed_by"]
        if lapsed := sorted(set(one["confirmed_by"]) - set(now)):
            what = "what it was for, or how many must confirm, has changed"
            click.echo(f"{one['name']}: the confirmation by {', '.join(lapsed)} has lapsed: {what}", err=True)
    for name in names:
        if name in left:
            count = f"{len(left[name]['confirmed_by'])} of {after['pending']['needed']} confirmations"
            click.echo(f"{name}: {count}; another member of staff must confirm it too")
        else:
            click.echo(f"{name}: in force, with version {after['version']}")


@policy.command("verify")
@click.argument("file", required=False, type=FILE)
@click.option("--key", help="The hub's key in hex, as you noted it; without it the key that the hub names now.")
@click.option("--signature", help="Of FILE, in hex; without it the hub is asked.")
def verify(file: Path | None, key: str | None, signature: str | None) -> None:
    """Check the signatures of all published versions, or of one that was saved to FILE; exit 1 if one is wrong.

    Example: tocsin policy verify --key 8f0c
    """
    if file is not None and key and signature:
        results = [(str(file), is_signed(file.read_bytes(), signature, key))]
    else:
        results = ask(lambda hub: _verify(hub, file, key))
    for name, good in results:
        click.echo(f"{name}: {'signed' if good else 'NOT SIGNED by this key, or altered'}")
    if not results or not all(good for _, good in results):
        sys.exit(1)


async def _verify(hub: HubClient, file: Path | None, key: str | None) -> list[tuple[str, bool]]:
    saved = file.read_bytes() if file else None  # noqa: ASYNC240 - nothing else runs
    results = []
    for row in await hub.get("/transparency/policy"):
        if saved is not None and not _is_of(saved, row):
            continue
        document = saved or await hub.download(f"/transparency/policy/{row['version']}")
        good = _is_of(document, row) and is_signed(document, row["signature"], key or row["key"])
        results.append((str(file or f"version {row['version']}"), good))
    return results or [(str(file or "no version"), False)]


def _is_of(document: bytes, row: dict[str, Any]) -> bool:
    try:
        said = orjson.loads(document)
        return all(said[name] == row[name] for name in ("version", "hash", "since"))
    except (ValueError, KeyError, TypeError):
        return False


# -- partners and staff -----------------------------------------------------------------------------------


@click.command("add")
@click.argument("file", type=FILE)
def partner_add(file: Path) -> None:
    """Take in a new partner: check its agreement, put it among the others, and confirm it at the running hub.

    Example: tocsin partner add harbour.toml
    """
    given = settings()
    agreement = read_agreement(file.read_text("utf-8"), str(file))
    target = given.agreements / f"{agreement.id}.toml"
    if target.exists():
        raise Misconfigured(
            "partner-exists",
            f"there is an agreement with {agreement.id!r} already",
            where=str(target),
            hint="change that file, then `tocsin policy accept` its id",
        )
    rules = Rulebook({agreement.id: agreement}, Policy())
    for found in findings(rules, datetime.now(UTC).date()):
        where = place(file.parent, file, POLICY, found.path)  # wherever the file lies, and whatever its name
        if found.level == "error":
            raise Misconfigured("contradiction", found.what, where=where, hint=found.hint)
        click.echo(f"{where}: warning: {found.what} ({found.hint})", err=True)
    read_rulebook(given)  # what is wrong in other files would keep this one out too
    write_private(target, file.read_text("utf-8"))
    target.chmod(0o644)
    try:
        ask(lambda hub: _accept(hub, (agreement.id,)))
    except TocsinError as error:
        error.add_note(f"its agreement is at {target} and waits: `tocsin policy accept {agreement.id}`")
        raise


@click.group("staff")
def staff() -> None:
    """The people who look after the hub.

    Example: tocsin staff token amina
    """


@staff.command("token")
@click.argument("name")
def staff_token(name: str) -> None:
    """Print a token for a member of staff, alone on the last line; it is shown this once, and earlier ones end.

    Example: tocsin staff token amina
    """
    answer = ask(lambda hub: hub.post("/api/v1/staff/tokens", orjson.dumps({"name": name})))
    click.echo(f"a staff token for {answer['name']}, good for a year; send it by a safe way", err=True)
    click.echo(answer["token"])
