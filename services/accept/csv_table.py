"""Tables: CSV by its header or by the mapping that the source's agreement names, and lists of hosts.

Source: RFC 4180; a comma, semicolon, tab or bar may separate the cells, the header says which.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from schemas import fingerprint
from schemas.agreement import Agreement, CsvMapping
from schemas.errors import BodyRefused, ItemRefused, clip
from schemas.fingerprint import clean_text
from schemas.handling import CATEGORIES
from schemas.markings import from_cell as marking_from_cell
from schemas.patterns import Parsed
from schemas.safejson import control_character
from services.accept.indicators import Word, by_misp_type, by_type, drafts, split_tags
from services.accept.reading import Aside, Gathering, Reading, Refusal
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
_BY_NAME = ("tlp", "pap", "first_seen", "last_seen", "confidence", "tags")
_COMMENTS = ("description", "comment", "comments", "notes")
_DATES = ("date", "ds")


Parse = Callable[[str], Parsed]


class Shape(NamedTuple):
    """What the columns of a table mean: `iocs` reads a row's IoCs, `columns` names the one for each other use."""

    iocs: Callable[[Mapping[str, str], Parse], Parsed]
    columns: Mapping[str, str]


class Table(NamedTuple):
    """A CSV body whose header is understood."""

    text: str
    header: tuple[str, ...]
    delimiter: str
    shape: Shape


def find_table(text: str, mapping: CsvMapping | None) -> Table | None:
    """The table that a text is, by its first line; None where that is no header that means anything.

    A mapping, where there is one, comes first; a body that it does not fit is looked at by its header.
    Raises `BodyRefused` where two columns have one name.
    """
    first_line = text.lstrip("\r\n").partition("\n")[0]
    if not first_line.strip() or len(first_line) > MAX_HEADER_CHARS:
        return None
    for delimiter in DELIMITERS:
        header = _header(first_line, delimiter)
        shape = header and (_mapped(header, mapping) or _by_header(header))
        if shape:
            _refuse_twins(header)
            return Table(text, header, delimiter, shape)
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


def _header(line: str, delimiter: str) -> tuple[str, ...]:
    try:
        cells = next(csv.reader([line.rstrip("\r")], delimiter=delimiter), [])
    except csv.Error:
        return ()
    names = tuple(clean_text(cell).lower() for cell in cells)
    return names if len(names) <= MAX_COLUMNS else ()


def _mapped(header: Sequence[str], mapping: CsvMapping | None) -> Shape | None:
    if mapping is None:
        return None
    named = {use: column.lower() for use, column in mapping.model_dump(exclude={"kind"}).items() if column}
    if not set(named.values()) <= set(header):
        return None
    value, kind = named.pop("value"), mapping.kind
    of_type = named.pop("type", None)
    if of_type:
        return Shape(lambda cells, parse: by_type(cells[of_type], cells[value], parse), named)
    if kind:
        return Shape(lambda cells, parse: by_type(kind, cells[value], parse), named)
    return Shape(lambda cells, _: _from_cell(cells[value]), named)


def _by_header(header: Sequence[str]) -> Shape | None:
    iocs = _meaning(header)
    if iocs is None:
        return None
    columns = {name: name for name in _BY_NAME if name in header}
    if "category" in header and not set(header) >= _MISP_EXPORT:  # MISP's categories are other ones
        columns["category"] = "category"
    for use, names in (("description", _COMMENTS), ("date", _DATES)):
        if name := next((name for name in names if name in header), None):
            columns[use] = name
    return Shape(iocs, columns)


def _meaning(header: Sequence[str]) -> Callable[[Mapping[str, str], Parse], Parsed] | None:
    of_type = next((name for name in _TYPE_COLUMNS if name in header), None)
    value = next((name for name in _VALUE_COLUMNS if name in header), None)
    if of_type and value:
        if set(header) >= _MISP_EXPORT:
            return lambda cells, _: by_misp_type(cells[of_type], cells[value])
        return lambda cells, parse: by_type(cells[of_type], cells[value], parse)
    if any(name in header for name in _PAIR):
        pair = [name for name in _PAIR if name in header]
        return lambda cells, _: Parsed(tuple(ioc for name in pair if (ioc := fingerprint.host(cells[name]))))
    if _CELL in header:
        return lambda cells, _: _from_cell(cells[_CELL])
    return None


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
        try:
            if fault:
                raise fault
            _read_row(where, _by_name(table, cells), table.shape, strict, now_ms, gathering)
        except ItemRefused as error:
            gathering.add(Refusal(where, error, partial(_alone, table, cells)))
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
    if any(table.shape.columns.get(name) in missing for name in ("tlp", "pap")):
        raise ItemRefused(
            "csv-row-length",
            "this row ends before the column with its marking",
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
    where: str, cells: Mapping[str, str], shape: Shape, strict: bool, now_ms: int, gathering: Gathering
) -> None:
    parsed = shape.iocs(cells, gathering.parse)
    if not parsed.iocs:
        gathering.add(Aside(where, "skipped", "this row names no indicator"))
        return
    for draft in drafts(where, parsed, _word(cells, shape.columns, strict), now_ms):
        gathering.add(draft)


def _word(cells: Mapping[str, str], columns: Mapping[str, str], strict: bool) -> Word:
    def cell(use: str) -> str:
        return clean_text(cells[columns[use]]) if use in columns else ""

    notes: list[str] = []

    def lenient(use: str, read_cell: Callable[[str], int | None]) -> int | None:
        try:
            return read_cell(cell(use))
        except ItemRefused as error:
            if strict or error.code.endswith("out-of-range"):
                error.field = columns[use]
                raise
            notes.append(f"{columns[use]}: {error.what}; left out")
            return None

    markings, labels = split_tags([tag for tag in cell("tags").replace(";", ",").split(",") if tag.strip()])
    by_column = (marking_from_cell(scheme, cell(scheme)) for scheme in ("tlp", "pap"))
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
        markings=(*(marking for marking in by_column if marking), *markings),
        handling=_handling(cell("category"), notes),
        labels=labels,
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
    """One host a line; empty lines and lines that begin with `#` say nothing."""
    gathering = Gathering()
    for number, raw in enumerate(io.StringIO(text), 1):
        where = f"line {number}"
        line = _clean_line(raw, where, gathering)
        if not line or line.startswith("#"):
            continue
        ioc = None if any(character.isspace() for character in line) else fingerprint.host(line)
        if ioc is None:
            gathering.add(Aside(where, "skipped", "this line is not one host"))
            continue
        for draft in drafts(where, Parsed((ioc,)), Word(), now_ms):
            gathering.add(draft)
    return Reading(LIST_FORMAT, tuple(gathering.items))


def _clean_line(raw: str, where: str, gathering: Gathering) -> str:
    try:
        if control_character(raw):
            raise ItemRefused("control-character", "there is a control character in this line", hint="remove it")
        return clean_text(raw)
    except ItemRefused as error:
        gathering.add(Refusal(where, error, raw.encode))
        return ""
