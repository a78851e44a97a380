"""Tables: CSV by its header or by the mapping that the source's agreement names, and lists of hosts.

Source: RFC 4180; a comma, semicolon, tab or bar may separate the cells, the header says which. What a row says
of TLP and PAP counts in whatever column it stands: see `csv_markings`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from schemas import fingerprint
from schemas.agreement import Agreement, CsvMapping
from schemas.errors import BodyRefused, ItemRefused, clip
from schemas.fingerprint import clean_text
from schemas.handling import CATEGORIES
from schemas.markings import names_level
from schemas.patterns import Parsed
from schemas.safejson import control_character
from services.accept import csv_markings
from services.accept.csv_markings import Role
from services.accept.indicators import Word, by_misp_type, by_type, drafts
from services.accept.reading import Aside, Gathering, Reading
from services.accept.times import read_time

FORMAT, LIST_FORMAT = "csv", "hosts"
DELIMITERS = ",;\t|"
MAX_COLUMNS = 200
MAX_HEADER_CHARS = 8_192
HEADERS_TAKEN = (
    "`kind` or `type` and `value`, with `tlp`, `pap`, `first_seen`, `last_seen`, `confidence`, `category`, "
    "`description`, `tags` if wanted; `indicator_type` and `indicator_value`; `domain_name` and `ip_address`; "
    "`Indicator`; or a mapping in the source's agreement"
)

_TYPE_COLUMNS = ("kind", "indicator_type", "entity_type", "type")
_VALUE_COLUMNS = ("value", "indicator_value")
_PAIR = ("domain_name", "ip_address")
_CELL = "indicator"
_MISP_EXPORT = {"uuid", "event_id"}
_BY_NAME = ("first_seen", "last_seen", "confidence")
_COMMENTS = ("description", "comment", "comments", "notes")
_DATES = ("date", "ds")


Parse = Callable[[str], Parsed]


class Shape(NamedTuple):
    """What the columns of a table mean: `iocs` reads a row's IoCs out of the columns `values`; `columns` names the
    one for each other use, but for markings.
    """

    iocs: Callable[[Mapping[str, str], Parse], Parsed]
    values: frozenset[str]
    columns: Mapping[str, str]


class Table(NamedTuple):
    """A CSV body whose header is understood. `roles` are what each column has to say about markings."""

    text: str
    header: tuple[str, ...]
    delimiter: str
    shape: Shape
    roles: tuple[Role, ...]


def find_table(text: str, mapping: CsvMapping | None) -> Table | None:
    """The table that a text is, by its first line; None where that is no header that means anything.

    A mapping, where there is one, comes first; a body that it does not fit is looked at by its header.
    Raises `BodyRefused` where two columns have one name, or one has a marking for its name.
    """
    first_line = text.lstrip("\r\n").partition("\n")[0]
    if not first_line.strip() or len(first_line) > MAX_HEADER_CHARS:
        return None
    for delimiter in DELIMITERS:
        header = _header(first_line, delimiter)
        shape = header and (_mapped(header, mapping) or _by_header(header))
        if shape:
            _refuse_twins(header)
            _refuse_marked(header)
            roles = csv_markings.roles(header, shape.values, mapping)
            return Table(text, header, delimiter, shape, roles)
    return None


def _refuse_twins(header: Sequence[str]) -> None:
    twin = next((name for place, name in enumerate(header) if name and name in header[:place]), None)
    if twin is not None:
        raise BodyRefused(
            "csv-header-duplicate",
            f"two columns are called {clip(twin)!r}",
            where="line 1",
            hint="give every column a name of its own",
        )


def _refuse_marked(header: Sequence[str]) -> None:
    marked = next((name for name in header if names_level(name)), None)
    if marked is not None:
        raise BodyRefused(
            "csv-header-marking",
            f"the header {clip(marked)!r} names a marking, and does not say what it is on",
            where="line 1",
            hint="give the marking a column of its own, called tlp or pap, and write it in every row",
        )


def _header(line: str, delimiter: str) -> tuple[str, ...]:
    try:
        cells = next(csv.reader([line.rstrip("\r")], delimiter=delimiter), [])
        names = tuple(clean_text(cell).lower() for cell in cells)
    except (csv.Error, ItemRefused):
        return ()
    return names if len(names) <= MAX_COLUMNS else ()


def _mapped(header: Sequence[str], mapping: CsvMapping | None) -> Shape | None:
    if mapping is None:
        return None
    named = {use: column.lower() for use, column in mapping.model_dump(exclude={"kind"}).items() if column}
    if not set(named.values()) <= set(header):
        return None
    value, kind = named.pop("value"), mapping.kind
    of_type = named.pop("type", None)
    values = frozenset((value,))
    if of_type:
        return Shape(lambda cells, parse: by_type(cells[of_type], cells[value], parse), values, named)
    if kind:
        return Shape(lambda cells, parse: by_type(kind, cells[value], parse), values, named)
    return Shape(lambda cells, _: _from_cell(cells[value]), values, named)


def _by_header(header: Sequence[str]) -> Shape | None:
    meaning = _meaning(header)
    if meaning is None:
        return None
    columns = {name: name for name in _BY_NAME if name in header}
    if "category" in header and not set(header) >= _MISP_EXPORT:  # MISP's categories are other ones
        columns["category"] = "category"
    for use, names in (("description", _COMMENTS), ("date", _DATES)):
        if name := next((name for name in names if name in header), None):
            columns[use] = name
    return Shape(*meaning, columns)


def _meaning(header: Sequence[str]) -> tuple[Callable[[Mapping[str, str], Parse], Parsed], frozenset[str]] | None:
    of_type = next((name for name in _TYPE_COLUMNS if name in header), None)
    value = next((name for name in _VALUE_COLUMNS if name in header), None)
    if of_type and value:
        values = frozenset((value,))
        if set(header) >= _MISP_EXPORT:
            return lambda cells, _: by_misp_type(cells[of_type], cells[value]), values
        return lambda cells, parse: by_type(cells[of_type], cells[value], parse), values
    if pair := [name for name in _PAIR if name in header]:
        return lambda cells, _: _from_hosts(cells[name] for name in pair), frozenset(pair)
    if _CELL in header:
        return lambda cells, _: _from_cell(cells[_CELL]), frozenset((_CELL,))
    return None


def _from_hosts(cells: Iterable[str]) -> Parsed:
    return Parsed(tuple(ioc for cell in cells if (ioc := fingerprint.host(cell))))


def _from_cell(cell: str) -> Parsed:
    ioc = fingerprint.from_cell(cell)
    return Parsed((ioc,) if ioc else ())


def header_unknown(text: str) -> BodyRefused:
    """The refusal of a table whose header nobody understands."""
    first_line = text.lstrip("\r\n").partition("\n")[0]
    return BodyRefused(
        "csv-header-unknown",
        f"the header {clip(first_line.strip(), 120)!r} does not say which column is what",
        where="line 1",
        hint=f"name the columns: {HEADERS_TAKEN}",
    )


def read(table: Table, agreement: Agreement, now_ms: int) -> Reading:
    """Never raises for what is in a row: a fault refuses that row."""
    strict = agreement.contributes is not None and agreement.contributes.strict
    gathering = Gathering()
    for line, cells, fault in _rows(table):
        where = f"line {line}"
        with gathering.refusing(where, partial(_alone, table, cells)):
            if fault:
                raise fault
            _read_row(where, table, cells, strict, now_ms, gathering)
    return Reading(FORMAT, tuple(gathering.items))


def _rows(table: Table) -> Iterator[tuple[int, list[str], ItemRefused | None]]:
    """The rows below the header with the line on which each begins; empty ones are left out."""
    reader = csv.reader(io.StringIO(table.text, newline=""), delimiter=table.delimiter, strict=True)
    header_seen = False
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, [], _not_csv(str(error))
            continue
        if header_seen and any(cell and not cell.isspace() for cell in cells):
            yield line, cells, None
        header_seen = header_seen or bool(cells)


def _not_csv(complaint: str) -> ItemRefused:
    return ItemRefused(
        "csv-invalid",
        f"this row is not CSV: {clip(complaint)}",
        hint="close every quote; write a quote inside quotes twice",
    )


def _by_name(table: Table, cells: Sequence[str]) -> Mapping[str, str]:
    """Raises `ItemRefused` where the cells can't be told apart: a shifted column may be the one with the TLP."""
    if len(cells) > len(table.header) and any(cell.strip() for cell in cells[len(table.header) :]):
        raise ItemRefused(
            "csv-row-length",
            f"this row has {len(cells)} cells, the header {len(table.header)}",
            hint="put quotes around cells that hold the separator",
        )
    missing = table.header[len(cells) :]
    if any(role not in ("", "value") for role in table.roles[len(cells) :]):
        raise ItemRefused(
            "csv-row-length",
            "this row ends before the column with its markings",
            hint="write every column, empty ones too",
        )
    if control_character(list(cells)):
        raise ItemRefused("control-character", "there is a control character in this row", hint="remove it")
    return dict(zip(table.header, cells, strict=False)) | dict.fromkeys(missing, "")


def _alone(table: Table, cells: Sequence[str]) -> bytes:
    """A body with the header and only this row."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=table.delimiter, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerow(cells)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _read_row(
    where: str, table: Table, row: Sequence[str], strict: bool, now_ms: int, gathering: Gathering
) -> None:
    cells = _by_name(table, row)
    parsed = table.shape.iocs(cells, gathering.parse)
    if not parsed.iocs:
        gathering.add(Aside(where, "skipped", "this row names no indicator"))
        return
    marked = csv_markings.read(table.header, table.roles, row)
    for draft in drafts(where, parsed, _word(cells, table.shape.columns, marked, strict), now_ms):
        gathering.add(draft)


def _word(cells: Mapping[str, str], columns: Mapping[str, str], marked: csv_markings.Marked, strict: bool) -> Word:
    def cell(use: str) -> str:
        return clean_text(cells[columns[use]]) if use in columns else ""

    notes = list(marked.notes)

    def lenient(use: str, read_cell: Callable[[str], int | None]) -> int | None:
        try:
            return read_cell(cell(use))
        except ItemRefused as error:
            if strict or error.code.endswith("out-of-range"):
                error.field = columns[use]
                raise
            notes.append(f"{columns[use]}: {error.what}; left out")
            return None

    dated_ms = lenient("date", read_time)
    confidence = lenient("confidence", _confidence)
    first_seen_ms, last_seen_ms = lenient("first_seen", read_time), lenient("last_seen", read_time)
    return Word(
        created_ms=dated_ms,
        modified_ms=dated_ms,
        first_seen_ms=first_seen_ms,
        last_seen_ms=last_seen_ms,
        confidence=confidence,
        description=cell("description"),
        markings=marked.markings,
        handling=_handling(cell("category"), notes),
        labels=marked.labels,
        notes=tuple(notes),
    )


def _confidence(cell: str) -> int | None:
    if not cell:
        return None
    if not (cell.isascii() and cell.isdigit() and len(cell) <= 3 and int(cell) <= 100):
        raise ItemRefused(
            "confidence-invalid", f"{clip(cell)!r} is no confidence", hint="write a whole number from 0 to 100"
        )
    return int(cell)


def _handling(category: str, notes: list[str]) -> Mapping[str, Any]:
    if not category:
        return {}
    name = category.lower().replace(" ", "-").replace("_", "-")
    if name in CATEGORIES:
        return {"category": name}
    notes.append(f"category: {clip(category)!r} is not one that the hub knows; left out")
    return {}


def read_list(text: str, now_ms: int) -> Reading:
    """One host a line. A line that begins with `#` says nothing but what marking the list is under."""
    gathering = Gathering()
    marked = csv_markings.of_comments(io.StringIO(text))
    word = Word(markings=marked.markings, notes=marked.notes)
    heading = "".join(f"# {csv_markings.spelt(marking)}\n" for marking in marked.markings)
    for number, raw in enumerate(io.StringIO(text), 1):
        where = f"line {number}"
        with gathering.refusing(where, (heading + raw).encode):
            _read_line(where, raw, word, now_ms, gathering)
    return Reading(LIST_FORMAT, tuple(gathering.items))


def _read_line(where: str, raw: str, word: Word, now_ms: int, gathering: Gathering) -> None:
    if control_character(raw) is not None:
        raise ItemRefused("control-character", "there is a control character in this line", hint="remove it")
    line = clean_text(raw)
    if not line or line.startswith("#"):
        return
    ioc = None if any(character.isspace() for character in line) else fingerprint.host(line)
    if ioc is None:
        gathering.add(Aside(where, "skipped", "this line is not one host"))
        return
    for draft in drafts(where, Parsed((ioc,)), word, now_ms):
        gathering.add(draft)
