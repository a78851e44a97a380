"""The data of enrichment as files: loading, checking all before anything changes, installing, going back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from schemas.errors import Misconfigured
from schemas.fingerprint import Ioc, fingerprint
from services.cli import cli
from services.data import Unfit, install, load
from services.enrich.context import EnrichmentData, look, named

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
]


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
    for name, content, _, _ in FAULTS:
        (folder / name).write_bytes(content)
    with pytest.raises(Unfit) as caught:
        install(folder, target)
    assert len(caught.value.problems) == len({name for name, *_ in FAULTS})
    assert load(target).version == before


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


def test_protect_quotes_nothing_of_what_it_cannot_read(home: Path) -> None:
    result = run("protect", "-", given="press.example\nwho is this\n")
    assert isinstance(result.exception, Misconfigured)
    assert result.exception.where == "line 2" and "who" not in str(result.exception)
