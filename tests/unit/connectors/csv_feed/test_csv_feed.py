"""CSV in pieces: the rows that accept would see in the whole, each once, and what is withdrawn of a snapshot."""

from __future__ import annotations

import csv
import io
import random
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st

from connectors import slices
from connectors.csv_feed import mapping
from schemas.errors import PartnerFailed
from services.accept import formats
from tests.fakes import NOW_MS, source_agreement
from tests.pulled import bodies, door, last_checkpoint, pull, serving

HEADER = b"type,value,description\n"


def as_accept_reads(body: bytes) -> list[list[str] | None]:
    """The rows below the header, None for a broken one: see `services.accept.csv_table`."""
    text = body.decode("latin-1")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=",", strict=True)
    rows: list[list[str] | None] = []
    while True:
        try:
            rows.append(next(reader))
        except StopIteration:
            return [row for row in rows[1:] if row is None or any(cell.strip() for cell in row)]
        except csv.Error:
            rows.append(None)


def in_pieces(body: bytes, chunk: int) -> list[bytes]:
    rows, pieces = mapping.Rows(b","), mapping.Pieces()
    found: list[bytes] = []
    for at in range(0, len(body), chunk):
        found += pieces.add(rows.feed(body[at : at + chunk]))
    return [*found, *pieces.add(rows.end()), *pieces.end()]


@given(st.text(alphabet='ab,"\n\r x', max_size=120), st.integers(1, 9))
@example('a,"b\nc",d\n"x""y\n",1\n', 1)
@example('a,5" pipe,c\nb\n', 3)
@example('a,"b"c\nd\n', 2)
@example('a\r\nb\r\r\n"\r\n"\r', 1)
@example('"a', 1)
def test_pieces_hold_the_rows_of_the_whole(text: str, chunk: int) -> None:
    body = HEADER + text.encode()
    kept = mapping.PIECE_ROWS
    try:
        mapping.PIECE_ROWS = 2
        pieces = in_pieces(body, chunk)
    finally:
        mapping.PIECE_ROWS = kept
    assert all(piece.startswith(HEADER) for piece in pieces)
    assert b"".join(piece.removeprefix(HEADER) for piece in pieces) == b"".join(
        row for row in mapping_rows(body)[1:] if row.strip()
    )
    assert [row for piece in pieces for row in as_accept_reads(piece)] == as_accept_reads(body)


def mapping_rows(body: bytes) -> list[bytes]:
    rows = mapping.Rows(b",")
    return [*rows.feed(body), *rows.end()]


def test_pieces_are_the_same_whatever_comes_at_once() -> None:
    body = HEADER + b"".join(b'domain,h%d.example,"a ""b""\r\nc"\r\n' % number for number in range(50_000))
    whole = in_pieces(body, len(body))
    assert len(whole) == 3 and all(len(piece) <= mapping.PIECE_BYTES + 100 for piece in whole)
    assert in_pieces(body, 65_536) == whole and in_pieces(body, 997) == whole


def test_a_line_that_never_ends() -> None:
    rows = mapping.Rows(b",")
    with pytest.raises(PartnerFailed) as failed:
        for _ in range(100):
            list(rows.feed(b"x" * 65_536))
    assert failed.value.code == "line-too-long"


def test_a_quote_that_is_never_closed_costs_no_more_than_its_rows() -> None:
    started = time.monotonic()
    body = HEADER + b'domain,"a\n' + b"b\n" * 2_000_000
    assert b"".join(piece.removeprefix(HEADER) for piece in in_pieces(body, 65_536)) == body.removeprefix(HEADER)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("header", "delimiter"), [(b"a,b;c,d", b","), (b"a;b", b";"), (b"a\tb", b"\t"), (b"a|b", b"|"), (b"a", b",")]
)
def test_what_parts_the_cells(header: bytes, delimiter: bytes) -> None:
    assert mapping.delimiter_of(header) == delimiter


def test_a_small_file_goes_as_it_is() -> None:
    body = b"\xef\xbb\xbf" + HEADER + b'domain,a.example,"x"'
    [part] = mapping.parts(body, "", b"")
    assert part == ("", body)


def test_a_row_is_about_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", 5)
    rows = [b"domain,h%d.example,old\n" % number for number in range(20)]
    before = mapping.parts(HEADER + b"".join(rows), "", b"")
    after = mapping.parts(HEADER + b"".join(rows[1:]) + b"domain,h0.example,new", "value", b",")
    assert [part.name for part in before] == [part.name for part in after] and len(before) > 2
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
    assert all(part.body.startswith(HEADER) for part in after if part.body)
    with pytest.raises(PartnerFailed, match="no such column"):
        mapping.parts(HEADER + b"".join(rows), "nothing", b"")


def rows_of(*numbers: int, note: str = "") -> bytes:
    return HEADER + b"".join(b"domain,h%d.example,%s\n" % (number, note.encode()) for number in numbers)


@pytest.mark.parametrize("cut_at", [10_000, 7])
async def test_a_snapshot_withdraws_what_it_lacks_and_nothing_else(
    tmp_path: Path, cut_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", cut_at)
    file = tmp_path / "feed.csv"
    settings = {"file": str(file), "snapshot": True}
    checkpoint: Any = {}
    numbers = list(range(40))
    async with door(tmp_path, snapshot=True) as at_the_door:
        for held, note, withdrawn in [
            (numbers[:20], "", 0),
            (numbers[:20][::-1], "another note", 0),
            (numbers, "", 0),
            (numbers[10:], "", 10),
            (numbers[10:12], "", 38),
            (numbers[:12], "", 38),
        ]:
            random.Random(len(held)).shuffle(held)
            file.write_bytes(rows_of(*held, note=note))
            pieces = await pull("csv_feed", settings, checkpoint)
            await at_the_door.take(pieces)
            checkpoint = last_checkpoint(pieces, checkpoint)
            assert len(await at_the_door.live()) == len(held)
            assert await at_the_door.withdrawn() == withdrawn
    for nothing in (b"\n", HEADER, HEADER + b"\n\n"):
        file.write_bytes(nothing)
        with pytest.raises(PartnerFailed) as failed:
            await pull("csv_feed", settings, checkpoint)
        assert failed.value.code == "empty"


@pytest.mark.parametrize("cut_at", [10_000, 7])
@pytest.mark.parametrize("header", [HEADER, b"sort,host,words\n"])
async def test_a_page_in_place_of_the_table_withdraws_nothing(
    tmp_path: Path, header: bytes, cut_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", cut_at)
    file = tmp_path / "feed.csv"
    settings = {"file": str(file), "snapshot": True}
    file.write_bytes(header + rows_of(*range(40)).removeprefix(HEADER))
    checkpoint = last_checkpoint(await pull("csv_feed", settings))
    assert (len(checkpoint["parts"]) > 1) == (cut_at == 7)
    file.write_bytes(b"<html>\n<p>We are back soon</p>\n</html>\n")
    with pytest.raises(PartnerFailed) as failed:
        await pull("csv_feed", settings, checkpoint)
    assert failed.value.code == "header-unknown"
    file.write_bytes(header + rows_of(*range(39)).removeprefix(HEADER))
    assert bodies(await pull("csv_feed", settings, checkpoint))


async def test_a_file_that_has_no_rows_yet_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_bytes(HEADER)
    assert bodies(await pull("csv_feed", {"file": str(file), "snapshot": True}, {})) == []


async def test_a_snapshot_of_more_than_can_be_held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_bytes(rows_of(*range(100)))
    settings = {"file": str(file), "snapshot": True, "max_bytes": 1024}
    with pytest.raises(PartnerFailed) as failed:
        await pull("csv_feed", settings)
    assert failed.value.code == "answer-too-large" and "snapshot = false" in failed.value.hint
    assert len(bodies(await pull("csv_feed", {"file": str(file)}))) == 1


async def test_what_was_added_at_the_end_is_all_that_goes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a server that gives the file no name."""
    monkeypatch.setattr(mapping, "PIECE_ROWS", 10)
    content = rows_of(*range(25))

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content)

    async with serving(answer) as url:
        first = await pull("csv_feed", {"url": url})
        assert len(bodies(first)) == 3
        content = rows_of(*range(33))
        second = await pull("csv_feed", {"url": url}, last_checkpoint(first))
        assert bodies(second) == [rows_of(*range(20, 30)), rows_of(*range(30, 33))]
        assert bodies(await pull("csv_feed", {"url": url}, last_checkpoint(second))) == []
        content = rows_of(*range(25))
        assert bodies(await pull("csv_feed", {"url": url}, last_checkpoint(second))) == [rows_of(*range(20, 25))]


@pytest.mark.parametrize("name", ["amnesty_2018-08_nso", "citizenlab_DarkBasin", "meta_2023-Q1_Bahamut_APT"])
@pytest.mark.parametrize("snapshot", [False, True])
async def test_real_files_say_the_same_in_pieces(
    name: str, snapshot: bool, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", 10)
    monkeypatch.setattr(mapping, "PIECE_ROWS", 10)
    file = shared / "data" / "csv" / f"{name}.csv"
    pieces = await pull("csv_feed", {"file": str(file), "snapshot": snapshot})
    assert len(bodies(pieces)) > 1

    def said(body: bytes) -> set[tuple[str, str]]:
        reading = formats.read(body, "text/csv", "part.csv", source_agreement(), NOW_MS, 1 << 24)
        assert reading.refusals == []
        return {(draft.kind, draft.value) for draft in reading.drafts}

    assert set().union(*map(said, bodies(pieces))) == said(file.read_bytes())
