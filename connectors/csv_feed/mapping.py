"""CSV in pieces, with its header on each. Pure.

Source: RFC 4180, read as accept reads it (`csv`, strict): a quote opens a cell only where the cell begins, a cell
in quotes may hold line ends, and what is broken is broken to the end of its line.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from connectors.base import MAX_BODY_BYTES
from connectors.slices import Element, Part, cut
from schemas.errors import PartnerFailed

DELIMITERS = (b",", b";", b"\t", b"|")
PIECE_BYTES = 8 * 1024 * 1024
PIECE_ROWS = 20_000
MAX_ROW_BYTES = 1024 * 1024
BOM = b"\xef\xbb\xbf"
ABOUT = ("value", "indicator_value", "indicator", "domain_name", "ip_address")
"""Columns by which accept knows what a row is about, where nothing else was agreed."""


@dataclass
class Rows:
    """Finds the rows in what comes piece by piece; memory is bounded by the longest row."""

    delimiter: bytes = b""
    _line: bytearray = field(default_factory=bytearray)
    _row: list[bytes] = field(default_factory=list)
    _row_bytes: int = 0
    _open: bool = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The rows that end in it, as they are written. Raises `PartnerFailed` where a line never ends."""
        self._line += chunk
        end = max(self._line.rfind(b"\n"), self._line.rfind(b"\r", 0, -1)) + 1  # a last \r may be half of \r\n
        if end:
            lines, self._line = bytes(self._line[:end]), self._line[end:]
            for line in lines.splitlines(keepends=True):
                yield from self._take(line)
        if len(self._line) > MAX_ROW_BYTES:
            raise PartnerFailed("line-too-long", f"a line of it has more than {MAX_ROW_BYTES:,} bytes")

    def end(self) -> Iterator[bytes]:
        """The last row, where no line end comes after it."""
        for line in bytes(self._line).splitlines(keepends=True):
            yield from self._take(line)
        self._line.clear()
        if self._row:
            yield self._whole()

    def _take(self, line: bytes) -> Iterator[bytes]:
        if not self.delimiter and line.strip():
            self.delimiter = delimiter_of(line)
        self._row.append(line)
        self._row_bytes += len(line)
        if self._open or b'"' in line:
            self._open = stays_open(line, self._open, self.delimiter)
        if not self._open or self._row_bytes > MAX_ROW_BYTES:
            yield self._whole()

    def _whole(self) -> bytes:
        row = self._row[0] if len(self._row) == 1 else b"".join(self._row)
        self._row, self._row_bytes, self._open = [], 0, False
        return row


def delimiter_of(header: bytes) -> bytes:
    """What parts the header into most cells."""
    return max(DELIMITERS, key=header.count)


def stays_open(line: bytes, is_open: bool, delimiter: bytes) -> bool:
    """Whether a cell in quotes goes on after this line. Linear."""
    at, end = 0, len(line)
    while at < end:
        if is_open:
            at = line.find(b'"', at)
            if at < 0:
                return True
            if line[at + 1 : at + 2] == b'"':
                at += 2
                continue
            is_open, at = False, at + 1
            if line[at : at + 1] != delimiter:
                return False  # the row ends here, or is broken
            at += 1
        elif line[at : at + 1] == b'"':
            is_open, at = True, at + 1
        else:
            at = line.find(delimiter, at)
            if at < 0:
                return False
            at += 1
    return is_open


@dataclass
class Pieces:
    """Puts rows into bodies of at most `PIECE_BYTES`, each with the header; the same file gives the same bodies."""

    header: bytes = b""
    _rows: list[bytes] = field(default_factory=list)
    _bytes: int = 0

    def add(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        for row in rows:
            if not row.strip():
                continue
            if not self.header:
                self.header = _ended(row)
                continue
            if self._rows and (self._bytes + len(row) > PIECE_BYTES or len(self._rows) == PIECE_ROWS):
                yield from self.end()
            self._rows.append(row)
            self._bytes += len(row)

    def end(self) -> Iterator[bytes]:
        if self._rows:
            yield self.header + b"".join(self._rows)
        self._rows, self._bytes = [], 0


def parts(body: bytes, about: str, delimiter: bytes) -> list[Part]:
    """A whole file in bodies of which each row has its own, by the column that says what it is about; none where
    there is no row below its header."""
    found = Rows(delimiter)
    rows = [row for row in (*found.feed(body), *found.end()) if row.strip()]
    if len(rows) < 2:
        return []
    header = _ended(rows[0])
    column = _column(header, about, found.delimiter)
    slices = cut([Element(_cell(row, column, found.delimiter), _ended(row)) for row in rows[1:]])
    if len(slices) == 1 and len(body) <= MAX_BODY_BYTES:
        return [Part("", body)]
    return [Part(name, header + b"".join(slice_) if slice_ else b"") for name, slice_ in slices]


def unknown_header(body: bytes, about: str, delimiter: bytes) -> str:
    """A digest of a header in which no column says what a row is about, so that only it can tell whether this is
    the table that it was; "" where one does."""
    found = Rows(delimiter)
    header = next((row for row in chain(found.feed(body), found.end()) if row.strip()), b"")
    known = _column(header, about, found.delimiter) is not None
    return "" if known else hashlib.sha256(header.strip()).hexdigest()[:16]


def _column(header: bytes, about: str, delimiter: bytes) -> int | None:
    """Raises `PartnerFailed` where the column that was named is not there."""
    names = [name.strip().lower() for name in _cells(header.removeprefix(BOM), delimiter)]
    if about:
        if about.strip().lower() not in names:
            hint = "set `about` to the column that says what a row is about"
            raise PartnerFailed("column-missing", "the file has no such column", where="about", hint=hint)
        return names.index(about.strip().lower())
    return next((names.index(name) for name in ABOUT if name in names), None)


def _cell(row: bytes, column: int | None, delimiter: bytes) -> bytes:
    cells = [] if column is None else _cells(row, delimiter)
    return cells[column].strip().lower().encode() if column is not None and column < len(cells) else row


def _cells(row: bytes, delimiter: bytes) -> list[str]:
    try:
        lines = row.decode("utf-8", "replace").splitlines(keepends=True)
        return next(csv.reader(lines, delimiter=delimiter.decode()), [])
    except csv.Error:
        return []


def _ended(row: bytes) -> bytes:
    return row if row.endswith((b"\n", b"\r")) else row + b"\n"
