"""Loads, checks and installs the data of enrichment: files of a folder, and packages. Nothing is fetched.

The folder is `enrichment` in the hub's data directory, where it is there; what it lacks comes from what is shipped:

    protected-names.txt      domains whose look-alikes count
    vendors.toml             makers of spyware and their products
    protected-hashes.txt     fingerprints of what must never be shared (`tocsin data protect`)
    warninglists/*.json      MISP warning lists; one of the same name as one of the package stands in its place
    galaxy/*.json            clusters of misp-galaxy: families, vendors, stalkerware
    attack/*.json            STIX bundles of ATT&CK
    country.mmdb asn.mmdb    databases of addresses in MaxMind's format
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import maxminddb
import orjson
from publicsuffixlist import PSLFILE

from schemas.errors import Misconfigured, TocsinError, clip
from schemas.fingerprint import Ioc
from services.enrich.assets import HEX_CHARS, nothing_protected, protection
from services.enrich.context import DataSet, EnrichmentData
from services.enrich.domain import suffix_list
from services.enrich.families import Names, read_attack, read_galaxy, read_vendors, vocabulary
from services.enrich.lookalikes import MAX_PROTECTED, Name, protect
from services.enrich.places import locator, read_database
from services.enrich.warninglists import LeftOut, WarningList, index, read_list

T = TypeVar("T")
SHIPPED = (Path(__file__).parent.parent / "deploy" / "data", Path(sys.prefix) / "share" / "tocsin" / "data")
"""Where the shipped files are: in the project's folder, or where the installed package put them."""

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_DATABASE_BYTES = 128 * 1024 * 1024
"""They are kept in memory; GeoLite2's have 10 MB each, that of its cities 60."""
MAX_PACKAGED_BYTES = 2 * 1024 * 1024
MAX_FILES = 500
NAMES, VENDORS, HASHES = "protected-names.txt", "vendors.toml", "protected-hashes.txt"
FOLDERS = ("warninglists", "galaxy", "attack")
DATABASES = ("country.mmdb", "asn.mmdb")
PACKAGES = ("publicsuffixlist", "confusable-homoglyphs", "pymispwarninglists", "rapidfuzz")


class Installed(NamedTuple):
    """What `install` put in place; `kept` is where the data from before are, if there were any."""

    data: EnrichmentData
    folder: Path
    kept: Path | None


class Unfit(Misconfigured):
    """Several files are wrong; `problems` says each."""

    def __init__(self, problems: list[TocsinError], folder: Path) -> None:
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("data-unfit", f"{count} in it; nothing was changed", where=str(folder))
        self.problems = tuple(problems)
        for problem in problems:
            self.add_note(str(problem))


def shipped() -> Path:
    """The folder of the data that come with the hub."""
    return next((folder for folder in SHIPPED if folder.is_dir()), SHIPPED[0])


def in_use(folder: Path) -> Path | None:
    """The operator's folder of data, or None where the shipped ones are in use."""
    return folder if folder.is_dir() else None


def mark(folder: Path) -> str:
    """By what one sees, without reading the files, that others were put into the operator's folder."""
    try:
        if not folder.is_dir():
            return ""
        files = [(str(file.relative_to(folder)), file.stat()) for file in _files(folder)]
        return f"{folder.resolve()} {[(name, stat.st_mtime_ns, stat.st_size) for name, stat in files]}"
    except OSError as error:  # files come and go while one looks; loading says what is wrong
        return str(error)


def load(folder: Path | None, *, secret: bytes | None = None) -> EnrichmentData:
    """All data, indexed. `secret` is the hub's: without it, a list of protected assets can't be asked.

    Raises `Misconfigured` with file, line or key, and remedy.
    """
    problems: list[TocsinError] = []
    data = _load(folder, secret, problems)
    if problems:
        raise problems[0]
    return data


def check(folder: Path, *, secret: bytes | None = None, progress: Progress | None = None) -> EnrichmentData:
    """Like `load`, but raises `Unfit` with all that is wrong."""
    problems: list[TocsinError] = []
    if not folder.is_dir():
        problems.append(
            Misconfigured(
                "no-data", "there is no such folder", where=str(folder), hint="name the folder of new data"
            )
        )
    else:
        with _Reading(problems).trying(folder):
            problems += _strangers(folder)
    data = _load(folder if folder.is_dir() else None, secret, problems, progress)
    if problems:
        raise Unfit(problems, folder)
    return data


Progress = Callable[[list[Path]], Iterable[Path]]


def install(
    source: Path, target: Path, *, secret: bytes | None = None, progress: Progress | None = None
) -> Installed:
    """Checks everything in `source`, then puts a copy of it in the place of `target` at once.

    `target` becomes a link to a folder of that version beside it; the link `target`.old leads to the one before,
    and renaming it to `target` goes back. Whatever reads the old files meanwhile goes on reading those.
    """
    data = check(source, secret=secret, progress=progress)
    versions = target.with_name(f"{target.name}.versions")
    versions.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = versions / data.version
    if not home.exists():
        draft = versions / f".{data.version}.{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        for file in _files(source):
            copy = draft / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            with copy.open("rb") as stream:
                os.fsync(stream.fileno())
        draft.mkdir(exist_ok=True)
        draft.rename(home)
    kept = _step_aside(target, versions, home)
    _link(target, home)
    _prune(versions, {home.resolve(), target.with_name(f"{target.name}.old").resolve()})
    return Installed(data, home, kept)


def _step_aside(target: Path, versions: Path, home: Path) -> Path | None:
    """Makes `target`.old lead to what `target` was; a folder made by hand is moved among the versions."""
    if target.is_symlink():
        old = target.resolve()
    elif target.exists():
        old = versions / f"by-hand-{target.stat().st_mtime_ns}"
        target.rename(old)
    else:
        return None
    if old == home.resolve():
        return None
    _link(target.with_name(f"{target.name}.old"), old)
    return old


def _prune(versions: Path, needed: set[Path]) -> None:
    """Removes versions that no link leads to; what somebody made by hand stays."""
    for folder in versions.iterdir():
        if folder.resolve() not in needed and not folder.name.startswith("by-hand-"):
            shutil.rmtree(folder)


def _link(link: Path, home: Path) -> None:
    """Makes `link` lead to `home`, in one step."""
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(os.path.relpath(home.resolve(), link.parent.resolve()), target_is_directory=True)
    draft.replace(link)


# -- files ------------------------------------------------------------------------------------------------


def _named(folder: Path) -> list[Path]:
    """What has the name of data in a folder, in a fixed order."""
    single = [folder / name for name in (NAMES, VENDORS, HASHES, *DATABASES)]
    return single + [file for name in FOLDERS for file in sorted((folder / name).glob("*.json"))]


def _files(folder: Path) -> list[Path]:
    """What of a folder is data: files, or links to some."""
    return [file for file in _named(folder) if file.is_file()]


def _label(file: Path) -> str:
    """The file's name, with that of its folder where there may be several."""
    return f"{file.parent.name}/{file.name}" if file.parent.name in FOLDERS else file.name


def _irregular(folder: Path) -> Iterator[TocsinError]:
    """What has the name of data and can't be read as such: a link to nothing, a device; it is never opened."""
    for file in _named(folder):
        if os.path.lexists(file) and not file.is_file():
            yield Misconfigured("data-irregular", "this is no file", where=str(file), hint="put a file there")
    for name in FOLDERS:
        if os.path.lexists(folder / name) and not (folder / name).is_dir():
            yield Misconfigured(
                "data-irregular", "this is no folder", where=str(folder / name), hint="make it a folder of *.json"
            )


def _strangers(folder: Path) -> Iterator[TocsinError]:
    """Files that nothing would read: a name with a typo must not leave old data in force unseen."""
    if len(_files(folder)) > MAX_FILES:
        yield Misconfigured("too-many-files", f"it has more than {MAX_FILES} files of data", where=str(folder))
    known = {NAMES, VENDORS, HASHES, *DATABASES, *FOLDERS}
    for entry in _visible(folder):
        if entry.name not in known:
            yield _stranger(entry, f"known are {', '.join(sorted(known))}")
    for name in FOLDERS:
        for entry in _visible(folder / name) if (folder / name).is_dir() else ():
            if not entry.match("*.json"):
                yield _stranger(entry, f"only *.json is read of {name}")


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, but for hidden files and a README.md."""
    return [e for e in sorted(folder.iterdir()) if not e.name.startswith(".") and e.name.lower() != "readme.md"]


def _stranger(entry: Path, hint: str) -> Misconfigured:
    return Misconfigured("data-unknown", "nothing reads this", where=str(entry), hint=hint)


def _bytes(file: Path, most: int = MAX_FILE_BYTES) -> bytes:
    with file.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise Misconfigured(
            "data-too-large",
            f"it has more than {most:,} bytes",
            where=str(file),
            hint="split it, or leave it out",
        )
    return data


def _json(file: Path) -> Any:
    try:
        return orjson.loads(_bytes(file))
    except orjson.JSONDecodeError as error:
        raise Misconfigured(
            "data-invalid",
            f"line {error.lineno}: this is no JSON: {error.msg}",
            where=str(file),
            hint="fetch the file again, or leave it out",
        ) from None


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_bytes(file).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured("data-invalid", clip(error, 160), where=str(file), hint="mend the line") from None


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without comments and empty ones."""
    try:
        text = _bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Misconfigured("data-invalid", clip(error, 160), where=str(file), hint="save it as UTF-8") from None
    for number, line in enumerate(text.splitlines(), 1):
        if bare := line.partition("#")[0].strip():
            yield number, bare


# -- loading ----------------------------------------------------------------------------------------------


class _Reading:
    """Gathers what is read: sets, what is wrong, and the hash over it all."""

    def __init__(self, problems: list[TocsinError]) -> None:
        self.problems = problems
        self.sets: list[DataSet] = []
        self.hash = hashlib.sha256()

    def of(self, file: Path, read: Callable[[Path], T], count: Callable[[T], int]) -> T | None:
        """What `read` makes of a file; None where it is wrong."""
        with self.trying(file):
            found = read(file)
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
            entries = DataSet(_label(file), count(found), str(file), int(file.stat().st_mtime * 1000))
            self.hash.update(f"{_label(file)}\0".encode() + digest)
            self.sets.append(entries)
            return found
        return None

    @contextmanager
    def trying(self, file: Path) -> Iterator[None]:
        """Keeps whatever goes wrong with a file among the problems: no file of data may end what reads it."""
        try:
            yield
        except TocsinError as problem:
            self.problems.append(problem)
        except OSError as error:
            self.problems.append(Misconfigured("data-unreadable", str(error.strerror), where=str(file)))
        except Exception as error:  # such as nesting too deep, or a number of too many digits
            what = f"it can't be understood: {type(error).__name__}: {clip(error, 120)}"
            hint = "fetch the file again, or leave it out"
            self.problems.append(Misconfigured("data-invalid", what, where=str(file), hint=hint))


def _load(
    folder: Path | None, secret: bytes | None, problems: list[TocsinError], progress: Progress | None = None
) -> EnrichmentData:
    reading = _Reading(problems)
    own: list[Path] = []
    if folder:
        with reading.trying(folder):
            own = _files(folder)
            problems += _irregular(folder)
    names = {_label(file) for file in own}
    files = own + [file for file in _files(shipped()) if _label(file) not in names]
    protected: tuple[Name, ...] | None = None
    words: list[Names] = []
    lists, too_large = _packaged_lists(reading)
    packaged = sum(each.size for each in lists)
    confusables = _confusables()
    hashes: frozenset[bytes] = frozenset()
    readers: dict[str, maxminddb.Reader] = {}
    suffixes = suffix_list()
    for file in progress(files) if progress else files:
        if file.name == NAMES:
            protected = reading.of(file, lambda f: _protected_names(f, suffixes.privatesuffix), len)
        elif file.name == HASHES:
            hashes = reading.of(file, _hashes, len) or hashes
        elif file.name == VENDORS:
            words += _some(reading.of(file, lambda f: read_vendors(_toml(f), str(f)), _count))
        elif file.name in DATABASES:
            readers.update((file.name, each) for each in _some(reading.of(file, _database, _nodes)))
        elif file.parent.name == "warninglists":
            lists += _some(reading.of(file, lambda f: read_list(_json(f), str(f)), lambda each: each.size))
        elif file.parent.name == "galaxy":
            words += _some(reading.of(file, lambda f: read_galaxy(_json(f), str(f)), _count))
        else:
            words += _some(reading.of(file, lambda f: read_attack(_json(f), str(f)), _count))
    warnings, left_out = index(lists)
    for package in PACKAGES:
        reading.hash.update(f"{package} {importlib.metadata.version(package)}\0".encode())
    return EnrichmentData(
        version=reading.hash.hexdigest()[:16],
        suffixes=suffixes,
        protected=protect(protected or (), confusables),
        warnings=warnings,
        vocabulary=vocabulary(words),
        locate=locator(list(readers.values())) if readers else None,
        protects=protection(secret, hashes) if secret else _unasked if hashes else nothing_protected,
        sets=(
            _packaged("publicsuffixlist", _suffixes()),
            _packaged("confusable-homoglyphs", len(confusables)),
            _packaged("pymispwarninglists", packaged),
            *reading.sets,
        ),
        left_out=(*left_out, *too_large),
    )


def _some(found: T | None) -> list[T]:
    return [] if found is None else [found]


def _count(names: Names) -> int:
    return len(names.terms)


def _unasked(ioc: Ioc) -> bool:
    raise Misconfigured(
        "secret-missing",
        "there are protected assets, and without the hub's secret they can't be told",
        where=HASHES,
    )


def _protected_names(file: Path, registrable: Callable[[str], str | None]) -> tuple[Name, ...]:
    names = []
    for number, line in _lines(file):
        domain, _, flag = line.lower().partition(" ")
        if registrable(domain) != domain or flag.strip() not in ("", "word"):
            raise Misconfigured(
                "name-invalid",
                f"line {number}: {clip(line)} is no registrable domain, alone or followed by `word`",
                where=str(file),
                hint="write one domain a line as one registers it, such as lantern.example",
            )
        names.append(Name(domain.partition(".")[0], domain, flag.strip() == "word"))
    if len(names) > MAX_PROTECTED:
        raise Misconfigured(
            "too-many-names",
            f"it has more than {MAX_PROTECTED:,} names",
            where=str(file),
            hint="keep the most important",
        )
    return tuple(names)


def _hashes(file: Path) -> frozenset[bytes]:
    found = set()
    for number, line in _lines(file):
        try:
            found.add(bytes.fromhex(line))
        except ValueError:
            line = ""
        if len(line) != HEX_CHARS:  # nothing of the line is quoted: it may be somebody's address
            raise Misconfigured(
                "hash-invalid",
                f"line {number}: is not {HEX_CHARS} hexadecimal digits",
                where=str(file),
                hint="write only what `tocsin data protect` prints, never the values themselves",
            )
    return frozenset(found)


# -- packages ---------------------------------------------------------------------------------------------


def _package(name: str) -> Path | None:
    """The folder of an installed package, without running any of it."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else None


def _packaged_lists(reading: _Reading) -> tuple[list[WarningList], list[LeftOut]]:
    """The lists that the package pymispwarninglists brings, and those of them that are too large to keep."""
    folder = _package("pymispwarninglists")
    lists, too_large = [], []
    for file in sorted((folder / "data" / "misp-warninglists" / "lists").glob("*/list.json")) if folder else ():
        if file.stat().st_size > MAX_PACKAGED_BYTES:  # rankings and hashes of up to a million: 58 of 67 MB
            too_large.append(LeftOut(file.parent.name, f"has more than {MAX_PACKAGED_BYTES // 1024**2} MB"))
            continue
        with reading.trying(file):
            lists.append(read_list(_json(file), str(file)))
    return lists, too_large


def _suffixes() -> int:
    """How many rules the package's list has; its comments begin with `//`."""
    return sum(not line.startswith("//") for _, line in _lines(Path(PSLFILE)))


def _packaged(name: str, entries: int) -> DataSet:
    return DataSet(name, entries, f"package {importlib.metadata.version(name)}", 0)


def _confusables() -> dict[int, str]:
    """Each character that looks like a Latin letter or digit, and which: Unicode's confusables.txt (UTS 39)."""
    folder = _package("confusable_homoglyphs")
    if folder is None:
        return {}
    letters = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
    found: dict[int, str] = {}
    for character, alike in _json(folder / "confusables.json").items():
        if len(character) == 1 and not character.isascii():
            latin = sorted(each["c"].lower() for each in alike if each["c"].lower() in letters)
            if latin:
                found[ord(character)] = next((letter for letter in latin if letter.isalpha()), latin[0])
    return found


# -- addresses --------------------------------------------------------------------------------------------


def _database(file: Path) -> maxminddb.Reader:
    return read_database(_bytes(file, MAX_DATABASE_BYTES), str(file))


def _nodes(reader: maxminddb.Reader) -> int:
    return reader.metadata().node_count
