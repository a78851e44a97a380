"""`tocsin data`: the data of enrichment, which an operator installs and looks at."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import ItemRefused, Misconfigured, TocsinError
from schemas.fingerprint import (
    Ioc,
    crypto_address,
    fingerprint,
    from_cell,
    phone_number,
    social_account,
    verbatim,
)
from services.settings import Settings

if TYPE_CHECKING:
    from services.enrich.context import EnrichmentData

ACCOUNT, APP = "account:", "app:"
_CELLS = ("domain", "url", "email", "ipv4", "ipv6")


@click.group("data")
def data() -> None:
    """The data that indicators are held against: warning lists, names, databases of addresses.

    Example: tocsin data show
    """


@data.command("update")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def update(folder: Path, as_json: bool) -> None:
    """Check a folder of data and put it in place of the one in use; with a fault in it, change nothing.

    A running hub takes it within seconds, and decides anew what it holds. What the folder lacks comes from the data
    shipped with the hub.

    Example: tocsin data update ./new-data
    """
    from services.data import install  # what it reads with would slow every other command down

    settings = _settings()
    target = settings.enrichment_path
    done = install(folder, target, secret=_secret_if_any(settings), progress=_bar)
    if as_json:
        click.echo(json.dumps(_document(done.data, done.folder), indent=2))
        return
    _show(done.data, done.folder)
    if done.kept:
        click.echo(f"the data from before are kept: mv -T {target}.old {target} goes back")
    click.echo("installed; a running hub takes it within seconds")


@data.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(as_json: bool) -> None:
    """Which data are in use: version, sets, entries, age; and what of them is not used, and why.

    Example: tocsin data show
    """
    from services.data import in_use, load

    settings = _settings()
    folder = in_use(settings.enrichment_path)
    found = load(folder, secret=_secret_if_any(settings))
    if as_json:
        click.echo(json.dumps(_document(found, folder), indent=2))
        return
    _show(found, folder)
    for what, reason in found.left_out:
        click.echo(f"  not used: {what}: {reason}")


@data.command("protect")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to append to.")
def protect(file: Iterable[str], output: Path | None) -> None:
    """Turn people's own sites and accounts into fingerprints that tell nobody whom they protect; - is stdin.

    One a line: a domain (with all below it), a URL (that of a profile stands for the account too), an e-mail or IP
    address, a telephone number with + and country code, a payment address, `account:telegram/name` on one platform,
    `account:name` on all, `app:` and an app's id. What is protected is never shared. Append the fingerprints to
    protected-hashes.txt and run `tocsin data update`.

    Example: tocsin data protect ours.txt -o new-data/protected-hashes.txt
    """
    settings = _settings()
    key = _secret(settings)
    found: dict[str, None] = {}
    for number, line in enumerate(file, 1):
        if (text := line.partition(" #")[0].strip()) and not text.startswith("#"):
            found.update((fingerprint(key, each).hex(), None) for each in _asset(text, number))
    if output is None:
        click.echo("\n".join(found))
        return
    known = set(output.read_text("utf-8").split()) if output.exists() else set()
    new = [each for each in found if each not in known]
    with output.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{each}\n" for each in new)
    click.echo(f"{output}: {len(new)} added, {len(found) - len(new)} were there", err=True)


def _asset(text: str, number: int) -> list[Ioc]:
    """Raises `Misconfigured` with the line's number, and nothing of what is in it."""
    try:
        found = _account(text.removeprefix(ACCOUNT).strip()) if text.startswith(ACCOUNT) else _thing(text)
    except ItemRefused:
        found = []
    if not found:
        raise Misconfigured(
            "asset-not-understood",
            "this is no domain, URL, e-mail or IP address, telephone number or payment address",
            where=f"line {number}",
            hint=f"write {ACCOUNT}platform/name or {ACCOUNT}name, {APP}id, a telephone number as +44…",
        )
    return found


def _account(text: str) -> list[Ioc]:
    from services.enrich.assets import account_name

    if "://" in text:
        return _thing(text) if social_account(text) else []
    if "/" in text:
        return _those(social_account(text))
    name = _those(verbatim("user-account", text))
    folded = account_name(text)
    return [*name, folded] if folded.value else []


def _thing(text: str) -> list[Ioc]:
    if text.startswith(APP):
        return _those(verbatim("app-id", text.removeprefix(APP)))
    found = from_cell(text)
    if found is None:
        return _those(phone_number(text) or crypto_address(text))
    account = social_account(text) if found.kind == "url" else None
    if account and not _is_profile(found.value, account.value):
        account = None
    return _those(found, account) if found.kind in _CELLS else []


def _is_profile(url: str, account: str) -> bool:
    """Whether the URL is that of the account, rather than of one thing that the account has put there."""
    ends = (re.split("[/@=+]", each.rstrip("/"))[-1] for each in (url, url.partition("?")[0]))
    return account.rpartition("/")[2].lstrip("+").lower() in (end.lower() for end in ends)


def _those(*found: Ioc | None) -> list[Ioc]:
    return [each for each in found if each is not None]


def _settings() -> Settings:
    return Settings.from_environment(os.environ)


def _secret(settings: Settings) -> bytes:
    from services.run import secret

    return secret(settings.secret_path, new=False)


def _secret_if_any(settings: Settings) -> bytes | None:
    try:
        return _secret(settings)
    except TocsinError:
        return None


def _bar(files: list[Path]) -> Any:
    """A progress bar on the terminal's error stream; nothing where no person watches."""
    with click.progressbar(
        files, label="reading".ljust(18), file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        yield from bar


def _document(found: EnrichmentData, folder: Path | None) -> dict[str, Any]:
    from services.data import shipped

    return {
        "version": found.version,
        "folder": str(folder or shipped()),
        "sets": [each._asdict() for each in found.sets],
        "warninglists": [
            {"name": each.name, "kind": each.kind, "type": each.type, "version": each.version}
            for each in found.warnings.lists
        ],
        "not_used": [each._asdict() for each in found.left_out],
    }


def _show(found: EnrichmentData, folder: Path | None) -> None:
    from services.data import shipped

    place = str(folder) if folder else f"{shipped()} (shipped)"
    click.echo(f"version {found.version} in {place}")
    for each in found.sets:
        days = max(0, time.time_ns() // 1_000_000 - each.changed_ms) // 86_400_000
        age = f"{days} day{'' if days == 1 else 's'} old" if each.changed_ms else each.origin
        entries = "entry" if each.entries == 1 else "entries"
        click.echo(f"  {each.name:<44} {each.entries:>9,} {entries:<7}  {age}")
    click.echo(
        f"{len(found.warnings.lists)} warning lists, {len(found.protected.domains)} names whose look-alikes count"
    )
