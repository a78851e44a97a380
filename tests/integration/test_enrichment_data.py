"""The data of enrichment as files: loading, checking all before anything changes, installing, going back."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from schemas.errors import Misconfigured
from schemas.fingerprint import Ioc, fingerprint
from services import data
from services.cli import cli
from services.core import CoreService
from services.data import Unfit, check, install, load
from services.enrich.context import EnrichmentData, look, named
from services.enrich.domain import suffix_list

SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def shipped() -> EnrichmentData:
    return load(None)


@pytest.fixture
def _few_packaged_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all of them takes seconds, and most tests are of something else."""
    monkeypatch.setattr("services.data.MAX_PACKAGED_BYTES", 2_000)


@pytest.fixture
def folder(tmp_path: Path, _few_packaged_lists: None) -> Path:
    """A folder with one of everything."""
    folder = tmp_path / "new"
    for name in ("warninglists", "galaxy", "attack"):
        (folder / name).mkdir(parents=True)
    (folder / "protected-names.txt").write_text("# ours\nlanternpost.example\nmeadow.example word  # a word\n")
    (folder / "vendors.toml").write_text('[[vendor]]\nname = "Grey Heron"\nsource = "https://reports.example"\n')
    (folder / "protected-hashes.txt").write_text(fingerprint(SECRET, Ioc("domain", "press.example")).hex() + "\n")
    good = {"name": "known good", "type": "hostname", "list": ["good.example"]}
    (folder / "warninglists" / "good.json").write_text(json.dumps(good))
    (folder / "galaxy" / "tool.json").write_text(json.dumps({"type": "tool", "values": [{"value": "NightJar2"}]}))
    (folder / "attack" / "mobile.json").write_text(json.dumps({"objects": []}))
    write_database(folder / "country.mmdb", {"country": {"iso_code": "XA"}})
    write_database(
        folder / "asn.mmdb", {"autonomous_system_number": 64496, "autonomous_system_organization": "Made-up Net"}
    )
    return folder


def write_database(file: Path, value: dict[str, object]) -> None:
    writer = MMDBWriter(6, "Made-up", ipv4_compatible=True)
    writer.insert_network(IPSet(["203.0.113.0/24", "2001:db8::/32"]), value)
    writer.to_db_file(str(file))


def test_what_is_shipped_loads_and_is_in_order(shipped: EnrichmentData) -> None:
    assert look(shipped, "domain", "amnesty-login.example").lookalikes[0].of == "amnesty.org"
    assert look(shipped, "ipv4", "8.8.8.8").do_not_block
    assert look(shipped, "domain", "bit.ly").do_not_block
    assert not look(shipped, "domain", "lure.example").do_not_block
    cyrillic = "xn--" + "аmnesty".encode("punycode").decode()
    assert look(shipped, "domain", f"{cyrillic}.example").lookalikes[0].how == "homoglyph"
    found = named(shipped, ["IOCs for Cytrox Predator"])
    assert (found.families, found.vendors, found.categories) == (("Predator",), ("Cytrox",), ("spyware",))
    assert {each.name for each in shipped.sets} >= {"protected-names.txt", "vendors.toml", "pymispwarninglists"}
    assert shipped.left_out and all(each.reason for each in shipped.left_out)


def test_a_whole_folder(folder: Path, shipped: EnrichmentData) -> None:
    data = load(folder, secret=SECRET)
    found = look(data, "ipv4", "203.0.113.7")
    assert (found.country, found.asn, found.as_name) == ("XA", 64496, "Made-up Net")
    assert look(data, "ipv6", "2001:db8::7").country == "XA"
    assert look(data, "ipv4", "198.51.100.7").country == ""
    assert look(data, "url", "https://www.press.example/a").protected
    assert look(data, "domain", "www.good.example").do_not_block
    assert look(data, "domain", "lanternpots.example").lookalikes[0].how == "edit"
    assert look(data, "domain", "amnesty-login.example").lookalikes == ()  # its own list replaces the shipped one
    assert named(data, ["NightJar2 by Grey Heron"])[:2] == (("NightJar2",), ("Grey Heron",))
    assert data.version != shipped.version
    assert data.version == load(folder).version


def test_a_changed_byte_is_another_version(folder: Path) -> None:
    before = load(folder).version
    (folder / "protected-names.txt").write_text("other.example\n")
    assert load(folder).version != before


def test_protected_assets_without_the_secret_are_an_error_and_not_a_leak(folder: Path) -> None:
    with pytest.raises(Misconfigured):
        look(load(folder), "domain", "press.example")


FAULTS = [
    ("protected-names.txt", b"ok.example\nwww.not.registrable.example\n", "line 2", "registrable"),
    ("protected-names.txt", b"ok.example maybe\n", "line 1", "word"),
    ("protected-names.txt", b"\xff\xfe", "", "UTF-8"),
    ("vendors.toml", b"[[vendor]\n", "", "line 1"),
    ("protected-hashes.txt", b"secret-name.example\n", "line 1", "tocsin data protect"),
    ("warninglists/good.json", b'{\n"name": \n', "line", "JSON"),
    ("warninglists/good.json", b'{"name": "x", "type": "bloom", "list": []}', "type", "bloom"),
    ("galaxy/tool.json", b"[]", "values", "misp-galaxy"),
    ("attack/mobile.json", b"{}", "objects", "attack-stix-data"),
    ("asn.mmdb", b"no database", "", "MMDB"),
    ("protected-name.txt", b"", "", "nothing reads this"),
    ("warninglists/ours.jsn", b"{}", "", "nothing reads this"),
    ("galaxy/tool2.JSON", b"{}", "", "*.json"),
    ("attack/mobile2.json", json.dumps({"objects": [{"type": "attack-pattern", "name": "x",
        "external_references": None}]}).encode(), "external_references", "array"),
    ("warninglists/odd.json", b'{"name": "x", "type": ["a"], "list": []}', "type", "not one of"),
    ("vendors.toml", b"a = " + b"[" * 5_000, "understood", "RecursionError"),
    ("vendors.toml", b"a = " + b"1" * 10_000, "understood", "ValueError"),
    ("galaxy/deep.json", b"[" * 5_000, "", "JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "place", "said"), FAULTS)
def test_every_fault_says_file_place_and_remedy(
    folder: Path, tmp_path: Path, name: str, content: bytes, place: str, said: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(Unfit) as caught:
        install(folder, tmp_path / "in-use")
    (problem,) = caught.value.problems
    assert problem.where == str(folder / name)
    assert place in problem.what and said in str(problem) and problem.hint
    assert "secret-name" not in str(problem)
    assert not (tmp_path / "in-use").exists()


def test_all_faults_are_named_and_nothing_changes(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "in-use"
    before = install(folder, target).data.version
    for name, content, *_ in FAULTS:
        (folder / name).write_bytes(content)
    with pytest.raises(Unfit) as caught:
        install(folder, target)
    assert len(caught.value.problems) == len({name for name, *_ in FAULTS})
    assert load(target).version == before


IRREGULAR = ("asn.mmdb", "warninglists/good.json", "vendors.toml", "galaxy")


@pytest.mark.parametrize("name", IRREGULAR)
@pytest.mark.parametrize("kind", ["dangling", "loop", "device", "fifo", "other"])
def test_what_has_the_name_of_data_and_is_no_file_is_a_problem_and_never_opened(
    folder: Path, name: str, kind: str
) -> None:
    place = folder / name
    if is_folder := place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    if kind == "fifo":
        os.mkfifo(place)  # opening it would wait for ever
    elif kind == "other" and is_folder:
        place.write_text("")
    elif kind == "other":
        place.mkdir()
    else:
        place.symlink_to({"dangling": "nowhere", "loop": place.name, "device": "/dev/zero"}[kind])
    with pytest.raises(Unfit) as caught:
        check(folder)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("data-irregular", str(place)) and problem.hint
    with pytest.raises(Misconfigured):
        load(folder)


@pytest.mark.parametrize("method", ["is_file", "iterdir", "glob"])
def test_a_folder_that_may_not_be_looked_into_is_a_problem(
    folder: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    seen, allowed = data.mark(folder), getattr(Path, method)

    def forbidden(self: Path, *arguments: str) -> Any:
        if self.is_relative_to(folder):
            raise PermissionError(13, "Permission denied")
        return allowed(self, *arguments)

    monkeypatch.setattr(Path, method, forbidden)
    with pytest.raises(Unfit) as caught:
        check(folder)
    assert {(each.code, each.where) for each in caught.value.problems} == {("data-unreadable", str(folder))}
    assert method == "iterdir" or data.mark(folder) != seen


def test_a_link_to_a_file_is_a_file(folder: Path, tmp_path: Path) -> None:
    (folder / "vendors.toml").replace(tmp_path / "vendors.toml")
    (folder / "vendors.toml").symlink_to(tmp_path / "vendors.toml")
    assert {each.name for each in check(folder).sets} >= {"vendors.toml"}


def test_a_file_that_is_too_large_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.data.MAX_DATABASE_BYTES", (folder / "asn.mmdb").stat().st_size)
    with (folder / "asn.mmdb").open("ab") as stream:
        stream.write(b"x")
    os.truncate(folder / "vendors.toml", data.MAX_FILE_BYTES + 1)
    with pytest.raises(Unfit) as caught:
        check(folder)
    assert [(each.code, Path(each.where).name) for each in caught.value.problems] == [
        ("data-too-large", "vendors.toml"),
        ("data-too-large", "asn.mmdb"),
    ]


def test_whatever_is_in_a_file_it_is_taken_or_is_a_problem_of_that_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is shipped and what is made up here, changed at random, and keys with values of other types."""
    monkeypatch.setattr("services.data._packaged_lists", lambda reading: ([], []))
    monkeypatch.setattr("services.data._confusables", dict)
    suffixes = suffix_list()
    monkeypatch.setattr("services.data.suffix_list", lambda: suffixes)
    for name in ("protected-names.txt", "vendors.toml", "warninglists/well-known-resolvers.json"):
        shutil.copyfile(data.shipped() / name, folder / name)
    pattern = {"type": "attack-pattern", "name": "a b", "external_references": [{"source_name": "mitre-attack"}]}
    (folder / "attack" / "mobile.json").write_text(
        json.dumps({"objects": [pattern, {"type": "malware", "name": "c"}]})
    )
    files = [file for file in folder.rglob("*") if file.is_file()]
    dice = random.Random(7)
    refused = 0
    for _ in range(250):
        file = dice.choice(files)
        whole = file.read_bytes()
        file.write_bytes(changed(whole, dice))
        try:
            load(folder, secret=SECRET)
        except Misconfigured as problem:
            refused += 1
            assert (problem.where, bool(problem.hint)) == (str(file), True), problem
        file.write_bytes(whole)
    assert 50 < refused < 250
    load(folder, secret=SECRET)


ODD = (b"null", b"[]", b"{}", b"-1e999", b"true", b'["a"]', b'{"a":{}}', b"1" * 9_000, b"[" * 3_000, b'"\\ud800"')


def changed(whole: bytes, dice: random.Random) -> bytes:
    at, to = sorted((dice.randint(0, len(whole)), dice.randint(0, len(whole))))
    values = list(re.finditer(rb'(?<=[:=])\s*(?:"[^"]*"|\[[^\]]*\])', whole))
    if values and dice.random() < 0.6:
        value = dice.choice(values)
        return whole[: value.start()] + dice.choice(ODD) + whole[value.end() :]
    return dice.choice(
        (whole[:at], whole[at:], whole[:at] + dice.randbytes(3) + whole[at:], whole[:at] + whole[to:])
    )


async def test_a_running_hub_outlives_data_that_are_wrong_and_data_that_raise(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renewed: list[str] = []
    outcomes: list[Exception] = []

    def stage(self: CoreService) -> str:
        if outcomes:
            raise outcomes.pop()
        return "new"

    monkeypatch.setattr("services.core.compile_policy", lambda directory: None)
    monkeypatch.setattr("services.core.LOOK_SECONDS", 0.005)
    monkeypatch.setattr(CoreService, "_stage", stage)
    hub = SimpleNamespace(settings=SimpleNamespace(enrichment_path=folder), directory=None)
    core = CoreService(cast(Any, hub), cast(Any, None))
    watching = asyncio.create_task(core._watch(data.mark(folder), cast(Any, SimpleNamespace(renew=renewed.append))))

    async def until(done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    errors: list[Exception] = [RecursionError("deep"), ValueError("digits"), Misconfigured("x", "y", where="file")]
    for number, error in enumerate(errors, 1):
        outcomes.append(error)
        (folder / "protected-names.txt").write_text("x.example\n" * number)
        await until(lambda number=number: len(caplog.records) == number)  # type: ignore[misc]
    assert "RecursionError" in caplog.text and not watching.done() and not renewed
    (folder / "protected-names.txt").write_text("another.example\n")
    await until(lambda: renewed == ["new"])
    watching.cancel()


def test_installing_keeps_the_old_one_and_can_go_back(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "in-use"
    first = install(folder, target)
    assert first.kept is None and load(target).version == first.data.version
    (folder / "protected-names.txt").write_text("other.example\n")
    second = install(folder, target)
    assert load(target).version == second.data.version != first.data.version
    assert install(folder, target).kept is None  # the same again changes nothing
    (tmp_path / "in-use.old").replace(target)
    assert load(target).version == first.data.version


def test_only_the_version_in_use_and_the_one_before_are_kept(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "in-use"
    versions = []
    for name in ("a", "b", "c"):
        (folder / "protected-names.txt").write_text(f"{name}.example\n")
        versions.append(install(folder, target).data.version)
    assert {each.name for each in (tmp_path / "in-use.versions").iterdir()} == set(versions[1:])


def test_a_folder_made_by_hand_is_kept_too(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "in-use"
    target.mkdir()
    (target / "protected-names.txt").write_text("by-hand.example\n")
    install(folder, target)
    assert (tmp_path / "in-use.old" / "protected-names.txt").read_text() == "by-hand.example\n"


# -- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _few_packaged_lists: None) -> Path:
    home = tmp_path / "hub"
    home.mkdir()
    (home / "secret").write_text(SECRET.hex())
    monkeypatch.setenv("TOCSIN_DATA", str(home))
    return home


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["data", *arguments], input=given)


def test_update_and_show(home: Path, folder: Path) -> None:
    assert "(shipped)" in run("show").output
    updated = run("update", str(folder))
    assert updated.exit_code == 0 and "installed; a running hub takes it within seconds" in updated.output
    assert "protected-names.txt" in updated.output and "2 entries" in updated.output
    shown = json.loads(run("show", "--json").output)
    assert shown["version"] in updated.output
    assert {each["name"]: each["entries"] for each in shown["sets"]}["warninglists/good.json"] == 1
    assert "0 days old" in run("show").output


def test_update_with_faults(home: Path, folder: Path) -> None:
    (folder / "vendors.toml").write_text("[[vendor]]\n")
    (folder / "asn.mmdb").write_text("")
    result = run("update", str(folder))
    assert isinstance(result.exception, Unfit)
    assert len(result.exception.__notes__) == 2
    assert not (home / "enrichment").exists()


def test_protect(home: Path, folder: Path) -> None:
    assets = "# ours\npress.example\nhttps://social.example/@writer # me\naccount: writer\nwriter@mail.example\n"
    printed = run("protect", "-", given=assets)
    assert printed.output.split()[0] == fingerprint(SECRET, Ioc("domain", "press.example")).hex()
    assert len(printed.output.split()) == 4
    file = folder / "protected-hashes.txt"
    assert "3 added, 1 were there" in run("protect", "-", "-o", str(file), given=assets).output
    assert run("update", str(folder)).exit_code == 0
    data = load(home / "enrichment", secret=SECRET)
    assert look(data, "url", "https://social.example/@writer/1").protected
    assert look(data, "user-account", "writer").protected
    assert not look(data, "domain", "social.example").protected


def test_protect_a_profile_and_its_account(home: Path, folder: Path) -> None:
    file = folder / "protected-hashes.txt"
    assets = "https://t.me/writer\naccount:telegram/writer\n+1 202 555 0147\n"
    assert "3 added" in run("protect", "-", "-o", str(file), given=assets).output
    data = load(folder, secret=SECRET)
    for kind, value in (("social-account", "telegram/writer"), ("social-account", "signal/+12025550147")):
        assert look(data, kind, value).protected
    assert not look(data, "social-account", "twitter/writer").protected


def test_protect_quotes_nothing_of_what_it_cannot_read(home: Path) -> None:
    result = run("protect", "-", given="press.example\nwho is this\n")
    assert isinstance(result.exception, Misconfigured)
    assert result.exception.where == "line 2" and "who" not in str(result.exception)
