"""Holds what the layout promises: who may import whom, and that whatever is not a shell is pure.

A *shell* does I/O: it talks to a network, a disk, a clock or a source of randomness. The lists at the top are
the only places where one is allowed; everything else must be pure, so that the same input always gives the
same output. The checks read the source; they import none of it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("schemas", "services", "connectors")
MAX_LINES = 600

SHELLS = (
    # by role, in a stage or a connector
    "services/*/agent.py",  # moves chunks between the stage and its surroundings
    "services/*/http.py",  # the stage's part of the HTTP interface
    "connectors/*/client.py",
    "connectors/misp/pull_client.py",  # the other direction of the same connector
    "connectors/misp/static.py",  # writes a feed's folder; the client speaks with a MISP
    # of one stage
    "services/accept/inbox.py",  # the inbox's tables
    "services/accept/aliases.py",  # what is kept of a source: its ids, what waits, its snapshots
    "services/accept/consents.py",  # which consents were withdrawn, and what is erased with them
    "services/accept/contributed.py",  # what a source contributed, in all tables that say so
    "services/accept/collection.py",  # TAXII's way to it
    "services/accept/contributions.py",  # what sources can read back
    "services/accept/intake.py",  # reads bodies that come in
    "services/accept/door.py",  # the way in, whoever brings something
    "services/accept/pull.py",  # takes in what connectors fetch
    "services/share/deliver.py",  # hands feeds to connectors
    "services/share/contributions.py",  # the table of what sources can read back, read
    "services/share/feeds.py",  # the feeds' tables
    "services/share/receipts.py",  # the table of what recipients say and owe
    "services/share/receipts_http.py",  # their part of the HTTP interface
    "services/witness/releases.py",  # what staff release of sources on probation
    "services/share/stream_sse.py",  # the feed as a stream over HTTP
    "services/share/threatexchange_http.py",  # and for readers of ThreatExchange
    "services/share/taxii*.py",  # the TAXII part of the HTTP interface
    # of the whole hub
    "connectors/files.py",  # writes a partner's files, whole
    "connectors/http.py",  # the one outgoing HTTP client
    "connectors/fetch.py",  # reads files, at an address or in a folder
    "services/cli.py",
    "services/cli_connector.py",
    "services/cli_data.py",
    "services/cli_policy.py",
    "services/cli_receipts.py",
    "services/cli_release.py",
    "services/cli_rehearse.py",
    "services/cli_hub.py",
    "services/cli_withdraw.py",
    "services/bodies.py",  # reads small bodies of requests
    "services/connect.py",  # runs the connectors
    "services/connect_http.py",
    "services/connector_states.py",  # their tables
    "services/core.py",  # watches for new data
    "services/data.py",  # reads and installs the data of enrichment
    "services/directory.py",  # reads the agreements' files and numbers partners in the database
    "services/hub.py",  # holds the clock that is handed on
    "services/hubclient.py",
    "services/instances.py",  # reads which connectors are set up
    "services/inforce.py",  # watches the policy's files and its table
    "services/migrate.py",
    "services/migrations/*",
    "services/owed.py",  # counts what recipients owe, for share and for witness
    "services/only_one.py",  # locks between processes
    "services/openapi.py",  # describes the routes of the application
    "services/partners.py",
    "services/policies.py",  # the tables of the policy
    "services/policy_http.py",
    "services/private.py",  # files that are for nobody else
    "services/positions.py",
    "services/problems.py",
    "services/run.py",
    "services/staff.py",
    "services/stamps.py",  # the clock of what is read page by page
    "services/store.py",
    "services/stream/*",
    "services/tables.py",
    "services/tokens.py",
    "services/transparency.py",  # what everybody may know, over HTTP
    "services/web.py",
)
PURE_ALL_THE_SAME = ("services/stream/types.py",)
WIRING = (
    "connectors/*/__init__.py",  # says which of its functions open it
    "connectors/registry.py",
    "connectors/base.py",  # names what it lends to connectors
    "services/cli.py",
    "services/cli_data.py",
    "services/cli_rehearse.py",
    "services/connect.py",
    "services/core.py",
    "services/data.py",
    "services/pipeline.py",
    "services/policy_cases.py",  # takes a case by the door, and puts the core together
    "services/run.py",
    "services/simulation.py",  # reads what the core remembers, and what it decided
    "services/web.py",
)
"""Where stages meet: these may import any of them."""
ENVIRONMENT = ("services/cli_data.py", "services/cli_hub.py")
"""Where the environment is read, and handed to Settings."""
CLEARED_MAKERS = ("services/govern/*",)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IO_MODULES = _words("""
    _thread aiohttp aiokafka alembic asyncio click concurrent ctypes dbm faust fcntl fileinput ftplib getpass glob
    http importlib locale logging mmap mode multiprocessing os platform psycopg random requests resource rocksdict
    secrets select selectors shelve shutil signal smtplib socket socketserver sqlalchemy sqlite3 ssl subprocess sys
    tempfile threading time urllib.request urllib3 uvloop
""")
IO_CALLS = _words("open input print exec eval compile __import__ breakpoint globals")
IO_METHODS = _words("""
    absolute chmod exists expanduser glob is_dir is_file iterdir mkdir read_bytes read_text resolve rglob rmdir
    stat touch unlink write_bytes write_text
""")
IO_ATTRIBUTES = _words("""
    datetime.now datetime.utcnow datetime.today date.today uuid.uuid1 uuid.uuid4 io.open gzip.open bz2.open
    lzma.open Path.cwd Path.home time.time
""")
MUTABLE_CALLS = _words("list dict set bytearray defaultdict deque Counter OrderedDict ChainMap array")
MUTATORS = _words("""
    add append appendleft clear discard extend insert pop popitem popleft remove setdefault sort update
""")
LOWER_CASE_BY_CUSTOM = _words("MetaData Table TypeVar NewType")
"""Classes whose module-level instances are declarations, and by custom have lower-case names."""


class File(NamedTuple):
    """One of our files; `path` as from the project's folder."""

    path: str
    tree: ast.Module

    @property
    def parts(self) -> list[str]:
        return self.path.split("/")

    @property
    def stage(self) -> str | None:
        return self.parts[1] if self.parts[0] == "services" and self.parts[1] in stages() else None

    @property
    def is_shell(self) -> bool:
        return is_shell(self.path)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def is_shell(path: str) -> bool:
    return _matches(path, SHELLS) and not _matches(path, PURE_ALL_THE_SAME)


def stages() -> tuple[str, ...]:
    """The value of STAGES in services/pipeline.py."""
    tree = ast.parse((ROOT / "services/pipeline.py").read_text("utf-8"))
    values = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "STAGES"]
    return tuple(ast.literal_eval(values[0]))


def our_files() -> list[str]:
    return sorted(str(f.relative_to(ROOT)) for top in OURS for f in (ROOT / top).rglob("*.py"))


# -- imports ----------------------------------------------------------------------------------------------


class Import(NamedTuple):
    line: int
    module: str
    """Dotted; with `from a import b`, `a.b` where that is a module of ours, else `a`."""


def imports(file: File) -> Iterator[Import]:
    """Everything that is imported at run time, wherever it stands."""
    typing_only = {
        id(node)
        for branch in ast.walk(file.tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test).endswith("TYPE_CHECKING")
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(file.tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = file.parts[: -node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield Import(node.lineno, inner if _path_of(inner) or inner in IO_MODULES else module)


def _path_of(module: str) -> str | None:
    """The file of a module of ours."""
    base = module.replace(".", "/")
    if module.split(".")[0] not in OURS:
        return None
    return next((p for p in (f"{base}.py", f"{base}/__init__.py") if (ROOT / p).exists()), None)


def import_direction(file: File) -> Iterator[str]:
    """schemas imports nothing else of ours, connectors only schemas, services no connector but through wiring."""
    allowed = {"schemas": ("schemas",), "connectors": ("schemas", "connectors")}.get(file.parts[0], OURS)
    for line, module in imports(file):
        top = module.split(".")[0]
        if top in OURS and top not in allowed:
            yield f"{file.path}:{line}: {file.parts[0]} may not import {module}"
        if top == "tests":
            yield f"{file.path}:{line}: no test code in what is delivered: {module}"


def stage_borders(file: File) -> Iterator[str]:
    """A stage imports pure files of earlier stages; what belongs to no stage imports none, but for the wiring."""
    if _matches(file.path, WIRING):
        return
    for line, module in imports(file):
        other = module.split(".")[1] if module.startswith("services.") else ""
        if other not in stages() or other == file.stage:
            continue
        if file.stage is None:
            yield f"{file.path}:{line}: only {', '.join(WIRING)} bring stages together: {module}"
        elif stages().index(other) > stages().index(file.stage):
            yield f"{file.path}:{line}: {file.stage} comes before {other}: {module}"
        elif is_shell(_path_of(module) or ""):
            yield f"{file.path}:{line}: another stage's shell: {module}"


# -- purity -----------------------------------------------------------------------------------------------


def purity(file: File) -> Iterator[str]:
    """No I/O, clock, environment, network or randomness, and no import of what has them."""
    if file.is_shell:
        return
    for line, module in imports(file):
        top = module.split(".")[0]
        if (module in IO_MODULES or top in IO_MODULES) and top not in OURS:
            yield f"{file.path}:{line}: pure code imports {module}; is it a shell?"
        elif is_shell(_path_of(module) or "") and not _matches(file.path, WIRING):
            yield f"{file.path}:{line}: pure code imports the shell {module}"
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if f"{node.module}.{alias.name}" in IO_ATTRIBUTES:
                    yield f"{file.path}:{node.lineno}: {node.module}.{alias.name} in pure code"
        elif isinstance(node, ast.Attribute):
            dotted = ".".join(ast.unparse(node).split(".")[-2:])
            if dotted in IO_ATTRIBUTES:
                yield f"{file.path}:{node.lineno}: {dotted} in pure code: take it as an argument"
        elif isinstance(node, ast.Call):
            yield from _io_call(file, node)


def _io_call(file: File, call: ast.Call) -> Iterator[str]:
    name = call.func
    if isinstance(name, ast.Name) and name.id in IO_CALLS:
        yield f"{file.path}:{call.lineno}: {name.id}() in pure code"
    # settings describes where files are, and reads none of them
    elif isinstance(name, ast.Attribute) and name.attr in IO_METHODS and file.path != "services/settings.py":
        yield f"{file.path}:{call.lineno}: .{name.attr}() in pure code"


def environment(file: File) -> Iterator[str]:
    """The environment is read in one place, shells included."""
    if _matches(file.path, ENVIRONMENT):
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.environb", "os.getenv"):
            yield f"{file.path}:{node.lineno}: {ast.unparse(node)}: only {', '.join(ENVIRONMENT)} reads it"
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            for alias in node.names:
                if alias.name in ("environ", "environb", "getenv"):
                    yield f"{file.path}:{node.lineno}: os.{alias.name}: only {', '.join(ENVIRONMENT)} reads it"


# -- who makes what may leave -----------------------------------------------------------------------------


def cleared_makers(file: File) -> Iterator[str]:
    """Only govern makes `Cleared` and `Copy`; everyone else gets them from bytes that it wrote."""
    if _matches(file.path, CLEARED_MAKERS) or file.path == "schemas/cleared.py":
        return
    names = {
        alias.asname or alias.name
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ImportFrom) and node.module == "schemas.cleared"
        for alias in node.names
    }
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, method = called.rpartition(".")
        made = called in names or (owner in names and method != "from_bytes")
        if made or (called.startswith(("cleared.C", "schemas.cleared.C")) and method != "from_bytes"):
            yield f"{file.path}:{node.lineno}: {called}(): only govern makes what may leave"


# -- state ------------------------------------------------------------------------------------------------


def module_state(file: File) -> Iterator[str]:
    """Nothing at module level changes: no `global`, no variable or object, no collection that something writes
    to, no cache without bound. Functions may be bound to lower-case names (`matches = PATTERN.fullmatch`)."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Global):
            yield f"{file.path}:{node.lineno}: global {', '.join(node.names)}"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
            _is_unbounded_cache(decorator) for decorator in node.decorator_list
        ):
            yield f"{file.path}:{node.lineno}: a cache without bound on {node.name}"
    if fnmatch(file.path, "services/migrations/*"):
        return  # its module-level names are the migration tool's interface
    collections = {name for name, value, _ in _module_values(file.tree) if _is_mutable(value)}
    for name, value, line in _module_values(file.tree):
        if name.lower() == name and name.strip("_") and not name.startswith("__") and _is_variable(value):
            yield f"{file.path}:{line}: {name}: a module-level variable (constants have capitals)"
    for line, name in _written(file.tree):
        if name in collections:
            yield f"{file.path}:{line}: {name} is module-level state that is written to"


def _module_values(tree: ast.Module) -> Iterator[tuple[str, ast.expr, int]]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        yield name.id, node.value, node.lineno


def _callee(value: ast.expr) -> str:
    return ast.unparse(value.func).rpartition(".")[2] if isinstance(value, ast.Call) else ""


def _is_variable(value: ast.expr) -> bool:
    """A plain value, a collection or an instance of a class, where a function would be in order."""
    made = _callee(value)
    is_instance = made.strip("_")[:1].isupper() and made not in LOWER_CASE_BY_CUSTOM
    return is_instance or _is_mutable(value) or isinstance(value, ast.Constant | ast.JoinedStr | ast.Tuple)


def _is_mutable(value: ast.expr) -> bool:
    displays = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    return isinstance(value, displays) or _callee(value) in MUTABLE_CALLS


def _written(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What is changed in place, by name, and on which line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.lineno, ast.unparse(node.value)
        elif isinstance(node, ast.AugAssign):
            yield node.lineno, ast.unparse(node.target)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            yield node.lineno, ast.unparse(node.func.value)


def _is_unbounded_cache(decorator: ast.expr) -> bool:
    text = ast.unparse(decorator).removeprefix("functools.")
    return text == "cache" or (text.startswith("lru_cache(") and "None" in text)


# -- the checks on what is there --------------------------------------------------------------------------

CHECKS: tuple[Callable[[File], Iterator[str]], ...] = (
    import_direction,
    stage_borders,
    purity,
    environment,
    cleared_makers,
    module_state,
)


@pytest.mark.parametrize("path", our_files())
def test_file_keeps_the_rules(path: str) -> None:
    file = File(path, ast.parse((ROOT / path).read_text("utf-8"), path))
    found = [violation for check in CHECKS for violation in check(file)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("top", [*OURS, "tests"])
def test_no_file_is_longer_than_can_be_read(top: str) -> None:
    lengths = {str(f.relative_to(ROOT)): len(f.read_text("utf-8").splitlines()) for f in (ROOT / top).rglob("*.py")}
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_stage_folders_sort_in_the_order_of_the_flow() -> None:
    folders = {f.name for f in (ROOT / "services").iterdir() if f.is_dir() and not f.name.startswith("_")}
    assert folders - {"stream", "migrations"} == set(stages())
    assert list(stages()) == sorted(stages())


@pytest.mark.parametrize("stage", stages())
def test_every_stage_is_a_package(stage: str) -> None:
    assert (ROOT / "services" / stage / "__init__.py").exists()


@pytest.mark.parametrize("pattern", [p for p in (*SHELLS, *PURE_ALL_THE_SAME, *WIRING) if "connectors" not in p])
def test_no_list_names_what_is_not_there(pattern: str) -> None:
    assert any(fnmatch(path, pattern) for path in our_files()), f"{pattern}: there is none"


# -- the checks themselves --------------------------------------------------------------------------------

PLANTED = [
    ("schemas/x.py", "from services.hub import Hub", "schemas may not import services.hub"),
    ("schemas/x.py", "def f():\n    import connectors", "schemas may not import connectors"),
    ("connectors/x/client.py", "from services import tables", "connectors may not import services.tables"),
    ("services/web.py", "from tests.fakes import Fake", "no test code"),
    ("services/dedupe/x.py", "from services.govern.compile import Compiled", "dedupe comes before govern"),
    ("services/dedupe/x.py", "from services.govern import compile", "dedupe comes before govern"),
    ("services/dedupe/agent.py", "from ..share import plan", "dedupe comes before share"),
    ("services/share/agent.py", "from services.accept.agent import Relay", "another stage's shell"),
    ("services/share/agent.py", "from services.accept import inbox", "another stage's shell"),
    ("services/store.py", "from services.dedupe.merge import merge", "bring stages together"),
    ("schemas/x.py", "import socket", "pure code imports socket"),
    ("schemas/x.py", "import urllib.request", "pure code imports urllib.request"),
    ("schemas/x.py", "from urllib import request", "pure code imports urllib.request"),
    ("services/accept/csv_table.py", "import sqlalchemy as sa", "pure code imports sqlalchemy"),
    ("services/dedupe/merge.py", "import time", "pure code imports time"),
    ("services/dedupe/merge.py", "def f():\n    from secrets import token_hex", "pure code imports secrets"),
    ("services/govern/policy.py", "from services import store", "pure code imports the shell services.store"),
    (
        "services/govern/policy.py",
        "from services.stream import open_streams",
        "pure code imports the shell services.stream",
    ),
    ("services/stream/types.py", "import asyncio", "pure code imports asyncio"),
    ("connectors/x/mapping.py", "import aiohttp", "pure code imports aiohttp"),
    ("schemas/x.py", "import datetime\nt = datetime.datetime.now(None)", "datetime.now in pure code"),
    ("schemas/x.py", "from datetime import date\ndef f():\n    return date.today()", "date.today in pure code"),
    ("schemas/x.py", "f = datetime.utcnow", "datetime.utcnow in pure code"),
    ("schemas/x.py", "from uuid import uuid4", "uuid.uuid4 in pure code"),
    ("schemas/x.py", "def f(p):\n    return open(p)", "open() in pure code"),
    ("schemas/x.py", "def f(p):\n    return p.read_text()", ".read_text() in pure code"),
    ("services/store.py", "import os\nX = os.environ['TOCSIN_DATA']", "os.environ: only services/cli_data.py"),
    ("services/share/agent.py", "from os import getenv", "os.getenv: only services/cli_data.py"),
    ("services/share/agent.py", "from schemas.cleared import Cleared\nx = Cleared(a=1)", "only govern makes"),
    ("services/share/x.py", "from schemas.cleared import Copy as C\ndef f():\n    C(to='')", "only govern makes"),
    ("services/share/x.py", "from schemas.cleared import Copy\nX = Copy.model_construct()", "only govern makes"),
    ("services/share/x.py", "from schemas import cleared\nX = cleared.Copy()", "only govern makes"),
    ("schemas/x.py", "def f():\n    global x\n    x = 1", "global x"),
    ("schemas/x.py", "cache = {}", "cache: a module-level variable"),
    ("schemas/x.py", "current: str | None = None", "current: a module-level variable"),
    ("services/store.py", "store = Store('')", "store: a module-level variable"),
    ("schemas/x.py", "SEEN = set()\ndef f(x):\n    SEEN.add(x)", "SEEN is module-level state"),
    ("schemas/x.py", "SEEN: dict[str, int] = {}\ndef f(x):\n    SEEN[x] = 1", "SEEN is module-level state"),
    ("schemas/x.py", "SEEN = []\ndef f(x):\n    global_ = 1\n    del SEEN[0]", "SEEN is module-level state"),
    ("schemas/x.py", "from functools import cache\n@cache\ndef f(x):\n    return x", "a cache without bound on f"),
    ("schemas/x.py", "@functools.lru_cache(maxsize=None)\ndef f(x):\n    return x", "a cache without bound on f"),
]


@pytest.mark.parametrize(("path", "source", "expected"), PLANTED)
def test_a_planted_violation_is_found(path: str, source: str, expected: str) -> None:
    found = [violation for check in CHECKS for violation in check(File(path, ast.parse(source)))]
    assert any(expected in violation for violation in found), found


IN_ORDER = [
    ("services/govern/x.py", "from services.dedupe.merge import merge\nfrom schemas.known import Known"),
    ("services/pipeline.py", "from services.dedupe.merge import merge\nfrom services.govern.policy import decide"),
    ("services/share/agent.py", "import asyncio\nimport time\nfrom services.store import Store"),
    ("services/share/agent.py", "from schemas.cleared import Cleared\ndef f(b):\n    return Cleared.from_bytes(b)"),
    ("services/govern/settle.py", "from schemas.cleared import Cleared\ndef f():\n    return Cleared(a=1)"),
    ("services/cli_hub.py", "import os\nX = os.environ"),
    ("schemas/x.py", "from datetime import datetime\ndef f(s):\n    return datetime.fromisoformat(s)"),
    (
        "schemas/x.py",
        "from urllib.parse import urlsplit\nfrom uuid import UUID, uuid5\nimport re\nX = re.compile('a')",
    ),
    ("schemas/x.py", "NAMES = {'a': 1}\ndef f(x):\n    seen = {}\n    seen[x] = NAMES[x]\n    return seen"),
    ("schemas/x.py", "@lru_cache(maxsize=4096)\ndef f(x):\n    return x"),
    ("services/store.py", "import logging\nlog = logging.getLogger(__name__)\n__all__ = ('log',)"),
    (
        "services/govern/x.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from services.hub import Directory",
    ),
]


@pytest.mark.parametrize(("path", "source"), IN_ORDER)
def test_what_is_in_order_is_let_be(path: str, source: str) -> None:
    assert [violation for check in CHECKS for violation in check(File(path, ast.parse(source)))] == []
