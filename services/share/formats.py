"""The formats in which a feed can be fetched whole. Pure; a new format is one entry in `FORMATS`.

`csv` is true to the last character, since programs read it: RFC 4180 quoting and nothing else, so that a value
such as `@name` or `=x` stands as it is. Spreadsheet programs would take such a cell for a formula; for people who
open the file in one there is `spreadsheet`, the same with an apostrophe before what begins like a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

import orjson

from schemas.feed import FeedRow, Format, Head

CSV_COLUMNS = (
    *("id", "kind", "value", "pattern", "category", "confidence", "first_seen", "last_seen", "tlp"),
    *("registrable_domain", "score", "active_until"),
)
"""New columns come last: programs count them."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # programs take the wide forms for formulas too


# --- STIX 2.1 bundle (section 8); withdrawals are in it as revoked objects --------------------------------------


def _stix_begin(head: Head) -> bytes:
    return b'{"type":"bundle","id":"bundle--%b"' % head.feed_id.encode()


def _stix_rows(rows: Sequence[FeedRow], more: bool) -> bytes:
    before = b",\n" if more else b',"objects":[\n'
    return before + b",\n".join(row.body for row in rows) if rows else b""


def _stix_end(any_rows: bool) -> bytes:
    return b"\n]}\n" if any_rows else b"}\n"  # a list in STIX is never empty (section 2.12)


# --- CSV: indicators that are in force --------------------------------------------------------------------------


def _csv_begin(_head: Head) -> bytes:
    return ",".join(CSV_COLUMNS).encode() + b"\r\n"


def _csv_rows(rows: Sequence[FeedRow], _more: bool, *, guard: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for row in rows:
        if row.live and row.type == "indicator":
            cells = _cells(row)
            writer.writerow([_guarded(cell) for cell in cells] if guard else cells)
    return text.getvalue().encode()


def _cells(row: FeedRow) -> list[str]:
    return [
        row.stix_id,
        row.kind,
        row.value,
        str(orjson.loads(row.body).get("pattern", "")),
        row.category,
        "" if row.confidence is None else str(row.confidence),
        row.first_seen,
        row.last_seen,
        row.tlp,
        row.registrable_domain,
        "" if row.score is None else str(row.score),
        row.active_until,
    ]


def _guarded(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _nothing(_any_rows: bool) -> bytes:
    return b""


_CSV = Format("text/csv; charset=utf-8", "csv", True, _csv_begin, partial(_csv_rows, guard=False), _nothing)

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "stix": Format("application/stix+json;version=2.1", "json", False, _stix_begin, _stix_rows, _stix_end),
        "csv": _CSV,
        "spreadsheet": _CSV._replace(rows=partial(_csv_rows, guard=True)),
    }
)
