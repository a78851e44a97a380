"""Which policy and agreements are in force: from the files to the database, and from there to every process.

Files that changed become a new version. What widens waits until enough staff confirmed it by name; what narrows is
in force at once. Files that are wrong change nothing, and are said to be wrong in the log and by `tocsin status`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from schemas.agreement import Rulebook
from schemas.errors import Misconfigured, TocsinError, clip
from services import policies
from services.directory import agreement_files, hash_of, place, read_agreements, read_policy_file
from services.hub import Directory, Hub
from services.policy_changes import Change, changes, in_force, widening
from services.policy_check import findings
from services.private import policy_key
from services.problems import RequestRefused
from services.settings import Settings

LOOK_SECONDS = 2.0
FIRST = "the files that were there at the first start"
log = logging.getLogger("tocsin")


class Waiting(NamedTuple):
    """What of the files (`hash`) is not in force. `transitions` are by name, `confirmed_by` the staff by name."""

    hash: str
    changes: tuple[Change, ...]
    transitions: Mapping[str, str]
    confirmed_by: Mapping[str, tuple[str, ...]]
    needed: int


def read_rulebook(settings: Settings) -> Rulebook:
    """The files; raises `Misconfigured` with file, line and remedy where they do not parse or contradict."""
    agreements = read_agreements(settings.agreements)
    if not agreements:
        # a folder that was not mounted looks so, and would cut everybody off
        raise Misconfigured(
            "no-agreements",
            "there is no agreement in this folder",
            where=str(settings.agreements),
            hint="set TOCSIN_AGREEMENTS, or copy deploy/agreements and edit it",
        )
    rules = Rulebook(agreements, read_policy_file(settings.policy))
    for finding in findings(rules):
        if finding.level == "error":
            where = place(settings.agreements, settings.policy, finding.name, finding.path)
            raise Misconfigured("contradiction", finding.what, where=where, hint=finding.hint)
    return rules


def opened(connection: Connection, settings: Settings, sentences: Mapping[str, str], now_ms: int) -> Directory:
    """The partners under the version in force. In a database without one the files become the first; raises
    `Misconfigured` where they can't."""
    policies.lock(connection)
    if not policies.newest(connection):
        rules = read_rulebook(settings)
        seed = policy_key(settings.policy_key_path, new=True)
        policies.put(connection, rules, now_ms, sentences, seed, confirmed={}, note=[FIRST])
    return policies.in_force(connection)


def waiting(connection: Connection, files: Rulebook) -> Waiting:
    """What would have to be confirmed, were the files taken now; changes nothing."""
    return _waiting(connection, policies.in_force(connection).rules, files, ())


def _waiting(connection: Connection, old: Rulebook, files: Rulebook, confirmed: Collection[str]) -> Waiting:
    held = in_force(old, files, confirmed)
    transitions = widening(held, files)
    by = policies.confirmed_by(connection, transitions.values())
    return Waiting(
        hash=hash_of(*files),
        changes=changes(held, files),
        transitions=transitions,
        confirmed_by={name: by.get(transition, ()) for name, transition in transitions.items()},
        needed=max(old.policy.confirmations, files.policy.confirmations),
    )


def take(
    connection: Connection, files: Rulebook, sentences: Mapping[str, str], seed: bytes, now_ms: int
) -> Waiting:
    """Puts in force what of the files may be, as the next version if anything changes by that, and says what waits.

    What narrows is never held back; what widens is in force with enough confirmations."""
    policies.lock(connection)
    old = policies.in_force(connection).rules
    waits = _waiting(connection, old, files, ())
    policies.forget_others(connection, waits.transitions.values())
    confirmed = {name: staff for name, staff in waits.confirmed_by.items() if len(staff) >= waits.needed}
    new = in_force(old, files, confirmed)
    if new != old:
        told = changes(old, new)
        version = policies.put(
            connection,
            new,
            now_ms,
            sentences,
            seed,
            confirmed=confirmed,
            note=[f"{change.name}: {change.what}" for change in told],
        )
        log.warning("version %d of the policy is in force: %s", version.version, version.hash)
        for name in dict.fromkeys(change.name for change in told):
            widens = any(change.widens for change in told if change.name == name)
            log.warning("policy: %s changes%s", name, " and widens" if widens else "")
        if confirmed and not waits.needed:
            log.warning("policy: what widens was confirmed by nobody, since `confirmations` is 0")
        # what was confirmed while more had to confirm it must not come in force because fewer have to now
        fewer = new.policy.confirmations < old.policy.confirmations
        policies.forget_others(connection, () if fewer else widening(new, files).values())
    return _waiting(connection, new, files, ())


class Confirmation(NamedTuple):
    """Who confirms which names of the files with this hash."""

    staff: str
    names: tuple[str, ...]
    hash: str


def confirm(
    connection: Connection,
    files: Rulebook,
    given: Confirmation,
    sentences: Mapping[str, str],
    seed: bytes,
    now_ms: int,
) -> Waiting:
    """Notes a confirmation and puts in force what is confirmed enough. Raises `RequestRefused` (409) where the
    files have another hash by now, or a name waits for nothing."""
    if hash_of(*files) != given.hash:
        raise _refused("files-changed", "the files are not those that you confirm any more", "hash")
    waits = take(connection, files, sentences, seed, now_ms)
    for name in given.names:
        if name not in waits.transitions:
            raise _refused("nothing-waits", f"nothing of {clip(name)!r} waits for a confirmation", "names")
        policies.confirm(connection, name, waits.transitions[name], given.staff, now_ms)
    return take(connection, files, sentences, seed, now_ms)


def _refused(code: str, what: str, where: str) -> RequestRefused:
    return RequestRefused(409, code, what, where=where, hint="look at what waits: GET /api/v1/policy")


def as_problem(error: Exception) -> dict[str, str]:
    """What an operator is told of files that are not taken."""
    if isinstance(error, TocsinError):
        return {"what": error.what, "where": error.where, "hint": error.hint}
    what = f"{type(error).__name__}: {error.strerror}" if isinstance(error, OSError) else type(error).__name__
    where = str(error.filename or "") if isinstance(error, OSError) else ""
    return {
        "what": f"the files can't be read: {what}",
        "where": where,
        "hint": "see that this process can read them",
    }


class PolicyWatch:
    """See `stream.types.Service`: keeps `hub.directory` at the version in force, and with `takes_files` turns files
    that changed into versions. Files or a key that can't be read change nothing, are said to be wrong by
    `tocsin status`, and are looked at again and again. Ends with the reason where the version in force can't be
    read: an old one may give what the new one denies."""

    def __init__(self, hub: Hub, sentences: Mapping[str, str], *, takes_files: bool) -> None:
        self._hub = hub
        self._sentences = sentences
        self._takes_files = takes_files
        self._seen = self._taken = ""
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._takes_files:
            policy_key(self._hub.settings.policy_key_path)  # not to be missed only when it is needed
            self._seen = self._taken = await asyncio.to_thread(self._mark)
            await self._take()
        await follow(self._hub)
        self._watching = asyncio.create_task(self._watch(), name="policy-watch")

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._watching

    async def failed(self) -> BaseException:
        if self._watching is None:
            raise RuntimeError("the watch was not started")
        await asyncio.wait([self._watching])
        if self._watching.cancelled():
            await asyncio.Event().wait()
        return self._watching.exception() or RuntimeError("nobody looks for new rules any more")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if self._takes_files:
                    await self._look()
                await follow(self._hub)
            except SQLAlchemyError as error:  # without the database nothing is served or decided either
                log.error("the policy in force can't be looked up: %s", type(error).__name__)

    async def _look(self) -> None:
        """Takes files that have changed and have been at rest for one look: a half-written one narrows."""
        now = await asyncio.to_thread(self._mark)
        at_rest, self._seen = now == self._seen, now
        if at_rest and (now != self._taken or self._hub.policy_problem):
            await self._take()
            self._taken = now

    async def _take(self) -> None:
        hub = self._hub
        try:
            files = await asyncio.to_thread(read_rulebook, hub.settings)
            seed = policy_key(hub.settings.policy_key_path)
        except Exception as error:  # whatever it is, the version in force is better than no hub
            problem, before = as_problem(error), hub.policy_problem
            hub.policy_problem, hub.policy_waits = problem, ()
            if problem != before:  # it is looked at again every few seconds
                log.error(
                    "agreements and policy are not taken, the old ones stay in force: %s: %s",
                    problem["where"],
                    problem["what"],
                )
            return
        await take_files(hub, files, self._sentences, seed)

    def _mark(self) -> str:
        """By what one sees that files are others: names, times, sizes, and what is in them."""
        settings = self._hub.settings
        try:
            files = [*agreement_files(settings.agreements), settings.policy]
            return repr([(str(f), f.stat().st_mtime_ns, f.read_bytes()) for f in files if f.exists()])
        except OSError as error:  # files come and go while one looks; reading says what is wrong
            return str(error)


async def take_files(hub: Hub, files: Rulebook, sentences: Mapping[str, str], seed: bytes) -> Waiting:
    """`take` in a transaction of its own, and says in the log and by `tocsin status` what waits."""
    waits = await hub.store.write(lambda connection: take(connection, files, sentences, seed, hub.clock()))
    note(hub, waits)
    return waits


def note(hub: Hub, waits: Waiting) -> None:
    """What `tocsin status` shows, and the log where it is new."""
    hub.policy_problem = None
    names = tuple(sorted(waits.transitions))
    if names and names != hub.policy_waits:
        log.warning("policy: %s must be confirmed: `tocsin policy accept %s`", ", ".join(names), " ".join(names))
    hub.policy_waits = names


async def follow(hub: Hub) -> None:
    """Brings `hub.directory` to the version in force."""
    found = await hub.store.read(lambda connection: _newer(connection, hub.directory.version))
    if found is not None:
        hub.directory = found
        log.info("under version %d of the policy from now on", found.version)


def _newer(connection: Connection, than: int) -> Directory | None:
    return policies.in_force(connection) if policies.newest(connection) > than else None
