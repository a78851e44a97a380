"""Versions of the policy in a database: made from files, confirmed, signed, followed."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from schemas.agreement import Agreement, Policy, Rulebook
from schemas.errors import Misconfigured
from services import inforce, policies
from services.directory import hash_of
from services.govern.policy import describe
from services.hub import Hub
from services.inforce import Confirmation, PolicyWatch, Waiting
from services.migrate import upgrade
from services.problems import RequestRefused
from services.published import is_signed
from services.run import open_hub
from services.settings import Settings
from services.store import Store
from services.tables import confirmations, partners
from services.tables import policies as versions
from tests.unit.govern.world import NOW_MS, agreement

SEED = bytes(range(32))
RULES = describe()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    made = Store(Settings(data=tmp_path, database=url).database_url)
    upgrade(made.engine)
    yield made
    made.close()


def book(*agreements: Agreement, **policy: Any) -> Rulebook:
    return Rulebook({a.id: a for a in agreements}, Policy.model_validate(policy))


def begin(store: Store, rules: Rulebook) -> None:
    with store.engine.begin() as connection:
        policies.put(connection, rules, NOW_MS, RULES, SEED, confirmed={}, note=["first"])


def take(store: Store, files: Rulebook) -> Waiting:
    with store.engine.begin() as connection:
        return inforce.take(connection, files, RULES, SEED, NOW_MS)


def confirm(store: Store, files: Rulebook, staff: str, *names: str, hash_: str = "") -> Waiting:
    given = Confirmation(staff, names, hash_ or hash_of(*files))
    with store.engine.begin() as connection:
        return inforce.confirm(connection, files, given, RULES, SEED, NOW_MS)


def now(store: Store) -> tuple[int, Rulebook]:
    with store.engine.connect() as connection:
        directory = policies.in_force(connection)
        return directory.version, directory.rules


GREEN, AMBER, RED = (agreement("alpha", tlp=tlp) for tlp in ("green", "amber", "red"))


def test_what_was_put_in_force_is_read_again_and_is_numbered(store: Store) -> None:
    rules = book(GREEN, agreement("beta"), pacts=[["XA", "XB"]], markings={"a" * 36: "red"})
    begin(store, rules)
    with store.engine.connect() as connection:
        directory = policies.in_force(connection)
    assert directory.rules == rules
    assert (directory.policy_hash, directory.bit_of) == (hash_of(*rules), {"alpha": 0, "beta": 1})
    assert take(store, rules).transitions == {}
    assert now(store)[0] == 1, "the same files are no new version"


def test_what_widens_waits_and_what_narrows_does_not(store: Store) -> None:
    begin(store, book(AMBER, agreement("beta", tlp="red")))
    files = book(RED, agreement("beta", tlp="green"), agreement("gamma"))
    assert sorted(take(store, files).transitions) == ["alpha", "gamma"]
    assert now(store) == (2, book(AMBER, agreement("beta", tlp="green")))
    take(store, files)
    assert now(store)[0] == 2
    assert sorted(confirm(store, files, "staff", "gamma").transitions) == ["alpha"]
    version, rules = now(store)
    assert (version, rules.agreements["alpha"], "gamma" in rules.agreements) == (3, AMBER, True)
    with store.engine.connect() as connection:
        numbers = {row.id: row.bit for row in connection.execute(sa.select(partners.c.id, partners.c.bit))}
        assert numbers == {"alpha": 0, "beta": 1, "gamma": 2}
        row = connection.execute(sa.select(versions).where(versions.c.version == 3)).one()
    assert json.loads(row.confirmed) == {"gamma": ["staff"]}
    assert "gamma: is a new partner" in json.loads(row.note)[0]


def test_two_confirm_and_the_same_counts_once(store: Store) -> None:
    begin(store, book(GREEN, confirmations=2))
    files = book(AMBER, confirmations=2)
    for _ in range(2):
        assert confirm(store, files, "staff:amina", "alpha").confirmed_by == {"alpha": ("staff:amina",)}
    assert now(store) == (1, book(GREEN, confirmations=2))
    assert confirm(store, files, "staff:bo", "alpha").transitions == {}
    assert now(store) == (2, files)


@pytest.mark.parametrize(
    ("before", "after", "needed"),
    [(2, 0, 2), (0, 2, 2), (1, 1, 1), (0, 0, 0)],
    ids=["fewer", "more", "one", "none"],
)
def test_how_many_is_the_greater_of_both_numbers(store: Store, before: int, after: int, needed: int) -> None:
    begin(store, book(GREEN, confirmations=before))
    files = book(AMBER, confirmations=after)
    waits = take(store, files)
    assert ("alpha" in waits.transitions) == (needed > 0)
    for number in range(needed):
        assert now(store)[1].agreements["alpha"] == GREEN
        confirm(store, files, f"staff:{number}", "alpha")
    assert now(store)[1].agreements["alpha"] == AMBER


def test_what_was_confirmed_while_more_had_to_is_confirmed_anew_where_fewer_have_to(
    store: Store,
) -> None:
    begin(store, book(GREEN, confirmations=2))
    files = book(AMBER, confirmations=2)
    confirm(store, files, "staff:a", "alpha")
    fewer = book(AMBER, confirmations=1)
    for staff in ("staff:a", "staff:b"):
        waits = confirm(store, fewer, staff, "policy")
    assert now(store) == (2, book(GREEN, confirmations=1))
    assert waits.confirmed_by == {"alpha": ()}, "what one of two confirmed is not confirmed by one of one"
    with store.engine.connect() as connection:
        assert connection.execute(sa.select(confirmations)).all() == []
    assert take(store, fewer).confirmed_by == {"alpha": ()}
    confirm(store, fewer, "staff:a", "alpha")
    assert now(store) == (3, fewer)


def test_a_confirmation_is_for_what_was_shown(store: Store) -> None:
    begin(store, book(GREEN, confirmations=2))
    with pytest.raises(RequestRefused) as caught:
        confirm(store, book(RED, confirmations=2), "staff:a", "alpha", hash_=hash_of(*book(AMBER, confirmations=2)))
    assert (caught.value.status, caught.value.code) == (409, "files-changed")
    confirm(store, book(AMBER, confirmations=2), "staff:a", "alpha")
    confirm(store, book(RED, confirmations=2), "staff:b", "alpha")
    assert now(store)[1].agreements["alpha"] == GREEN, "each confirmed something else"
    with pytest.raises(RequestRefused, match="nothing of 'nobody' waits"):
        confirm(store, book(RED, confirmations=2), "staff:b", "nobody")


def test_a_confirmation_is_used_up(store: Store) -> None:
    begin(store, book(GREEN))
    confirm(store, book(AMBER), "staff", "alpha")
    take(store, book(GREEN))
    assert now(store)[1] == book(GREEN)
    assert list(take(store, book(AMBER)).transitions) == ["alpha"], "the same once more is confirmed once more"
    with store.engine.connect() as connection:
        assert connection.execute(sa.select(confirmations)).all() == []


def test_what_was_withdrawn_loses_its_confirmations(store: Store) -> None:
    begin(store, book(GREEN, confirmations=2))
    files = book(AMBER, confirmations=2)
    confirm(store, files, "staff:a", "alpha")
    take(store, book(GREEN, confirmations=2))
    assert confirm(store, files, "staff:b", "alpha").confirmed_by == {"alpha": ("staff:b",)}


def test_who_is_gone_keeps_the_number(store: Store) -> None:
    begin(store, book(GREEN, agreement("beta")))
    take(store, book(GREEN))
    with store.engine.connect() as connection:
        directory = policies.in_force(connection)
    assert (list(directory.agreements), directory.bit_of) == (["alpha"], {"alpha": 0, "beta": 1})


def test_many_at_once_make_one_version(store: Store) -> None:
    begin(store, book(AMBER))
    faults: list[Exception] = []

    def narrow() -> None:
        try:
            take(store, book(GREEN))
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=narrow) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert now(store) == (2, book(GREEN))


def test_each_version_is_signed_and_names_the_one_before(store: Store) -> None:
    begin(store, book(AMBER, agreement("beta")))
    take(store, book(GREEN))
    with store.engine.connect() as connection:
        second, first = policies.published(connection, 10)
        assert policies.find(connection, "2") == policies.find(connection, second.hash) == second
        assert policies.find(connection, "3") is policies.find(connection, "x") is None
    for version in (first, second):
        assert is_signed(version.document, version.signature, version.key)
        assert not is_signed(
            version.document.replace(b'"agreements":', b'"agreements": '), version.signature, version.key
        )
        assert not is_signed(version.document, version.signature, "00" * 32)
        assert b"beta" not in version.document and b"Alpha" not in version.document
    said = json.loads(second.document)
    assert (said["previous"], said["version"], said["hash"]) == (first.hash, 2, hash_of(*book(GREEN)))
    assert (said["agreements"], said["rules"]["F02"]) == (1, RULES["F02"])


@pytest.mark.parametrize("damage", ["document", "hash"])
def test_a_version_that_was_altered_is_not_used(store: Store, damage: str) -> None:
    begin(store, book(GREEN))
    with store.engine.begin() as connection:
        text: str = connection.scalar(sa.select(versions.c[damage])) or ""
        changed = text.replace('"green"', '"red"') if damage == "document" else "0" * 64
        connection.execute(versions.update().values({damage: changed}))
    with pytest.raises(Misconfigured, match="its hash is another"):
        now(store)


def test_a_version_of_newer_software_stops_older_processes(store: Store) -> None:
    begin(store, book(GREEN))
    with store.engine.begin() as connection:
        connection.execute(versions.update().values(document='{"policy": {"later": 1}, "agreements": {}}'))
    with pytest.raises(Misconfigured, match="can't read the policy"):
        now(store)


# -- a hub and its files ----------------------------------------------------------------------------------

TOML = """[partner]
id = "alpha"
name = "Alpha"
kind = "ngo"
jurisdiction = "XN"
controlled_by = []
starts = 2026-01-01
ends = 2036-01-01
[receives]
tlp = "{tlp}"
pap = "red"
onward = "none"
purposes = ["detect"]
categories = ["*"]
max_age_days = 10
"""


@pytest.fixture
def settings(tmp_path: Path, store: Store) -> Settings:
    (tmp_path / "agreements").mkdir()
    write(tmp_path, "green")
    return Settings(
        data=tmp_path / "data",
        database=store.url,
        agreements=tmp_path / "agreements",
        policy=tmp_path / "policy.toml",
    )


def write(folder: Path, tlp: str) -> None:
    (folder / "agreements" / "alpha.toml").write_text(TOML.format(tlp=tlp))


def tlp(hub: Hub) -> str:
    receives = hub.directory.agreements["alpha"].receives
    assert receives
    return receives.tlp


def test_the_first_start_puts_the_files_in_force_and_later_ones_need_none(settings: Settings, store: Store) -> None:
    hub = open_hub(settings, store)
    assert (hub.directory.version, tlp(hub)) == (1, "green")
    assert stat.S_IMODE(settings.policy_key_path.stat().st_mode) == 0o600
    (settings.agreements / "alpha.toml").unlink()
    assert open_hub(settings, store).directory == hub.directory


@pytest.mark.parametrize("without", ["folder", "files"])
def test_without_files_there_is_no_first_version(settings: Settings, store: Store, without: str) -> None:
    (settings.agreements / "alpha.toml").unlink()
    if without == "folder":
        settings.agreements.rmdir()
    with pytest.raises(Misconfigured, match="TOCSIN_AGREEMENTS"):
        open_hub(settings, store)


async def watched(hub: Hub) -> PolicyWatch:
    watch = PolicyWatch(hub, RULES, takes_files=True)
    await watch.start()
    return watch


async def until(holds: Any) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_every_process_follows(
    settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inforce, "LOOK_SECONDS", 0.02)
    serve, worker = open_hub(settings, store), open_hub(settings, store)
    services = [await watched(serve), PolicyWatch(worker, RULES, takes_files=False)]
    await services[1].start()
    write(tmp_path, "clear")
    await until(lambda: tlp(serve) == tlp(worker) == "clear")
    write(tmp_path, "mauve")
    await until(lambda: serve.policy_problem is not None)
    assert serve.policy_problem is not None
    assert serve.policy_problem["where"].endswith("alpha.toml:10")
    assert (tlp(serve), worker.policy_problem) == ("clear", None)
    write(tmp_path, "red")
    await until(lambda: serve.policy_waits == ("alpha",))
    assert serve.policy_problem is None
    assert (tlp(serve), tlp(worker)) == ("clear", "clear")
    for service in services:
        await service.stop()


@pytest.mark.parametrize("fault", ["not toml", "contradicts", "not text", "large", "gone", "policy"])
async def test_a_start_with_files_that_are_wrong_goes_on_loudly(
    settings: Settings, store: Store, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    open_hub(settings, store)
    file = settings.agreements / "alpha.toml"
    wrong: dict[str, bytes] = {
        "not toml": b"[partner",
        "contradicts": TOML.format(tlp="red").replace('"none"', '"clients"').encode(),
        "not text": b"\xff\xfe",
        "large": b"#" * 2_000_000,
        "policy": TOML.format(tlp="green").encode(),
    }
    if fault == "gone":
        file.unlink()
    elif fault == "policy":
        file.write_bytes(wrong[fault])
        settings.policy.mkdir()
    else:
        file.write_bytes(wrong[fault])
    hub = open_hub(settings, store)
    watch = await watched(hub)
    assert (hub.directory.version, tlp(hub)) == (1, "green")
    assert hub.policy_problem and all(hub.policy_problem.values())
    assert str(settings.agreements) in hub.policy_problem["where"] or fault == "policy"
    assert "the old ones stay in force" in caplog.text
    await watch.stop()


async def test_without_its_key_a_hub_does_not_serve(settings: Settings, store: Store) -> None:
    open_hub(settings, store)
    settings.policy_key_path.unlink()
    with pytest.raises(Misconfigured, match="key that signs"):
        await watched(open_hub(settings, store))


@pytest.mark.parametrize("fault", ["key gone", "momentary"])
async def test_what_could_not_be_taken_is_taken_when_it_can(
    settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(inforce, "LOOK_SECONDS", 0.02)
    hub = open_hub(settings, store)
    watch = await watched(hub)
    key = settings.policy_key_path.read_text()
    read, faults = inforce.read_rulebook, [0]

    def fails(_: Settings) -> Rulebook:
        faults[0] += 1
        raise OSError(5, "Input/output error")

    if fault == "key gone":
        settings.policy_key_path.unlink()
    else:
        monkeypatch.setattr(inforce, "read_rulebook", fails)
    write(tmp_path, "clear")
    await until(lambda: hub.policy_problem is not None)
    assert hub.policy_problem and all(hub.policy_problem[name] for name in ("what", "hint"))
    await until(lambda: fault == "key gone" or faults[0] > 2)
    assert (hub.directory.version, tlp(hub)) == (1, "green")
    # the files stay as they are: only what kept them from being taken goes
    settings.policy_key_path.write_text(key)
    monkeypatch.setattr(inforce, "read_rulebook", read)
    await until(lambda: tlp(hub) == "clear")
    assert hub.policy_problem is None
    await watch.stop()


async def test_what_cannot_be_read_ends_the_process(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inforce, "LOOK_SECONDS", 0.02)
    hub = open_hub(settings, store)
    watch = PolicyWatch(hub, RULES, takes_files=False)
    await watch.start()
    with store.engine.begin() as connection:
        _altered(connection)
    async with asyncio.timeout(20):
        reason = await watch.failed()
    assert isinstance(reason, Misconfigured)
    with suppress(Misconfigured):
        await watch.stop()


def _altered(connection: Connection) -> None:
    row = connection.execute(sa.select(versions)).one()
    connection.execute(versions.insert().values({**row._asdict(), "version": 2, "hash": os.urandom(32).hex()}))
