"""Holds the documents to what is there: every command, option, setting, address and file that they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from schemas.agreement import Policy
from services.cli import cli
from services.directory import read_agreements
from services.hub import Directory, Hub
from services.settings import Settings
from services.store import Store
from services.web import application

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "deploy/policy.md", "deploy/agreements/README.md")
SHELL = ("sh", "bash", "console")
ADDRESS = "http://127.0.0.1:8080"


class Mention(NamedTuple):
    """Something that a document names, and where."""

    document: str
    text: str


def _text(document: str) -> str:
    return (ROOT / document).read_text("utf-8")


def _blocks(document: str) -> Iterator[tuple[str, str]]:
    """(language, content) of the fenced blocks."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", _text(document), re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def _inline(document: str) -> list[str]:
    outside = re.sub(r"^```.*?^```$", "", _text(document), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", outside)


def _lines(document: str) -> Iterator[str]:
    """Every command line of the shell blocks, continued lines joined."""
    for language, content in _blocks(document):
        if language in SHELL:
            yield from (line for line in content.replace("\\\n", " ").splitlines() if line.strip())


def _commands(program: str) -> list[Mention]:
    """The calls of a program in shell blocks, and those that stand in a sentence."""
    found = []
    for document in DOCUMENTS:
        for line in _lines(document):
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words and words[0].rpartition("/")[2] == program:
                found.append(Mention(document, shlex.join(words[1:])))
        for code in _inline(document):
            if code.startswith(f"{program} "):
                found.append(Mention(document, code.removeprefix(f"{program} ")))
    return found


def _find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the arguments after its name."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        assert words, f"`tocsin {command.name}` needs a command"
        assert words[0] in command.commands, f"there is no command {words[0]!r} in `tocsin {command.name}`"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def _check_command(text: str) -> None:
    """Raises where `tocsin TEXT` names a command, an option or a choice that is not there."""
    words = shlex.split(text)
    if words[0].startswith("-"):
        assert set(words) <= {*(option for p in cli.params for option in p.opts), "--help"}
        return
    if len(words) == 1 and isinstance(cli.commands.get(words[0]), click.Group):
        return  # named as a whole, in a sentence
    command, arguments = _find(words)
    values, rest, _ = command.make_parser(click.Context(command)).parse_args(list(arguments))
    assert not rest, f"too much: {rest}"
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and value:
            assert set(value if isinstance(value, tuple) else (value,)) <= set(parameter.type.choices)


@pytest.mark.parametrize("mention", _commands("tocsin"), ids=str)
def test_every_command_is_there_with_its_options(mention: Mention) -> None:
    _check_command(mention.text)


@pytest.mark.parametrize(
    "text",
    [
        "pussh a.json",
        "push a.json --sourze x",
        "feed horizon --format exe",
        "partner lst",
        "status now",
        "--nonsuch",
    ],
)
def test_a_command_that_is_not_there_is_found(text: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        _check_command(text)


@pytest.mark.parametrize("line", [line for line in _lines("README.md") if "tocsin " in line], ids=str)
def test_a_command_line_of_the_readme_is_complete(line: str) -> None:
    """What one would type has all the arguments that it needs."""
    words = shlex.split(line, comments=True)
    if words[0].rpartition("/")[2] != "tocsin":
        return
    command, arguments = _find(words[1:])
    values, _, _ = command.make_parser(click.Context(command)).parse_args(list(arguments))
    missing = [p.name for p in command.params if p.required and not values.get(p.name or "")]
    assert not missing


@pytest.mark.parametrize("mention", _commands("make"), ids=str)
def test_every_make_target_is_there(mention: Mention) -> None:
    phony = re.search(r"^\.PHONY: (.+)$", _text("Makefile"), re.MULTILINE)
    assert phony
    words = [word for word in shlex.split(mention.text) if "=" not in word]
    assert words
    assert set(words) <= set(phony[1].split())
    for target in words:
        assert re.search(rf"^{target}:", _text("Makefile"), re.MULTILINE), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_setting_is_one(document: str) -> None:
    for name in set(re.findall(r"TOCSIN_[A-Z_]*[A-Z]", _text(document))):
        if name.startswith(("TOCSIN_TEST_", "TOCSIN_CI_")):
            assert any(name in f.read_text("utf-8") for f in (ROOT / "tests").rglob("*.py")), name
        else:
            assert name.removeprefix("TOCSIN_").lower() in Settings.model_fields, name


def test_the_readme_names_every_setting_and_its_default() -> None:
    rows = re.findall(r"^\| `(TOCSIN_\w+)` \| (.+?) \|", _text("README.md"), re.MULTILINE)
    assert {name.removeprefix("TOCSIN_").lower() for name, _ in rows} == set(Settings.model_fields)
    for name, default in rows:
        if default.startswith("`") and default.endswith("`"):
            assert str(Settings.model_fields[name.removeprefix("TOCSIN_").lower()].default) == default.strip("`"), (
                name
            )


def _addresses() -> list[tuple[str, str]]:
    """(method, path) of every request to the hub that the README shows."""
    found = set()
    for _, content in _blocks("README.md"):
        for line in content.splitlines():
            for path in re.findall(rf"{ADDRESS}([^\s\"'?]*)", line):
                found.add(("POST" if re.search(r"--data|-d |POST", line) else "GET", path))
    return sorted(found)


@pytest.fixture
def hub_routes(tmp_path: Path) -> Iterator[web.UrlDispatcher]:
    store = Store(f"sqlite:///{tmp_path / 'tocsin.db'}")
    agreements = read_agreements(ROOT / "deploy" / "agreements")
    settings = Settings(data=tmp_path)
    directory = Directory(agreements, Policy(), "00" * 32, "test", dict.fromkeys(agreements, 0))
    yield application(Hub(settings, store, b"s" * 32, directory), lambda: None).router
    store.close()


@pytest.mark.parametrize(("method", "path"), _addresses())
async def test_every_address_is_served(hub_routes: web.UrlDispatcher, method: str, path: str) -> None:
    found = await hub_routes.resolve(make_mocked_request(method, path))
    assert found.http_exception is None, f"{method} {path}: {found.http_exception}"
    assert found.route.resource is not None
    assert "{rest" not in found.route.resource.canonical, f"{path} falls to the catch-all"


def _files() -> list[Mention]:
    """The files and folders of ours that the documents name: links, and paths in the text."""
    found = set()
    for document in DOCUMENTS:
        folder = Path(document).parent
        for link in re.findall(r"\]\(([^)#\s]+)\)", _text(document)):
            if "://" not in link:
                found.add(Mention(document, str(folder / link)))
        for code in _inline(document):
            if re.fullmatch(r"\.?(services|schemas|connectors|deploy|tests|ci)(/[\w.*-]+)+/?", code):
                found.add(Mention(document, code))
    return sorted(found)


@pytest.mark.parametrize("mention", _files(), ids=str)
def test_every_file_is_there(mention: Mention) -> None:
    assert list(ROOT.glob(mention.text.strip("/"))), f"{mention.document} names {mention.text}"


@pytest.mark.parametrize(
    "partner",
    re.findall(
        r"(?:--source|--partner|tocsin feed|partner token|partner suspend) ([a-z]+)\b",
        "\n".join(_lines("README.md")),
    ),
)
def test_the_partners_of_the_examples_are_shipped(partner: str) -> None:
    assert partner in read_agreements(ROOT / "deploy" / "agreements")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_is_there_and_says_something(document: str) -> None:
    assert _text(document).startswith("# ")
    assert any(_inline(document))


def test_the_first_screen_says_how_to_start() -> None:
    first_screen = "\n".join(_text("README.md").splitlines()[:40])
    assert "make up" in first_screen
    assert "make test" in first_screen
    assert "accept" in first_screen
