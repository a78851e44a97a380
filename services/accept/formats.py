"""Which format a body is in. The content decides; what the sender calls it breaks ties only."""

from __future__ import annotations

import re
from typing import Any

from schemas import fingerprint
from schemas.agreement import Agreement
from schemas.errors import BodyRefused, ItemRefused
from schemas.safejson import loads
from services.accept import csv_table, misp, stix_door
from services.accept.reading import Reading
from services.accept.unzip import MAGIC, unzip

TAKEN = (
    "the hub takes STIX 2.1 and 2.0 (a bundle or one object), MISP event JSON, CSV with a header that it knows, "
    "and text with one host a line; each also as gzip"
)
_BOM = b"\xef\xbb\xbf"
_LOOKED_AT_BYTES = 65_536
_stix_1 = re.compile(rb"http://stix\.mitre\.org/|<(?:[A-Za-z0-9_]{1,32}:)?STIX_Package\b").search
_stix_1_version = re.compile(rb"STIX_Package\b[^<>]*?\bversion\s*+=\s*+[\"'](1(?:\.\d){0,3})[\"']").match
_html = re.compile(rb"<(?:!doctype\s+html|html)\b", re.IGNORECASE).match


def read(
    body: bytes, content_type: str, filename: str, agreement: Agreement, now_ms: int, max_bytes: int
) -> Reading:
    """What a body of a source says, by its content.

    `content_type` is the media type without parameters, `filename` may be empty. Faults inside are refusals
    of items. Raises `BodyRefused` where the body as a whole can't be taken: see the tests for every code.
    """
    if body.startswith(MAGIC):
        body = unzip(body, max_bytes)
        filename = filename.removesuffix(".gz")
    start = body[:_LOOKED_AT_BYTES].removeprefix(_BOM).lstrip()
    if not start and not body.strip():
        raise BodyRefused("empty", "there is nothing in the body", hint=TAKEN)
    if start.startswith((b"{", b"[")) or "json" in content_type:
        try:
            return _read_json(loads(body), agreement, now_ms)
        except BodyRefused as refusal:
            if refusal.code != "not-json" or not _is_list(start, content_type, filename):
                raise
    if start.startswith(b"<"):
        raise _markup(start)
    return _read_text(_text(body), content_type, filename, agreement, now_ms)


def _is_list(start: bytes, content_type: str, filename: str) -> bool:
    """Whether a body that begins like JSON is called a text, and begins with an address: `[2001:db8::1]:80`."""
    if not _is_text(content_type, filename):
        return False
    try:
        first = fingerprint.host(start.partition(b"\n")[0].decode())
    except (UnicodeDecodeError, ItemRefused):
        return False
    return first is not None and first.kind in ("ipv6", "cidr")


def _is_text(content_type: str, filename: str) -> bool:
    return content_type == "text/plain" or filename.lower().endswith(".txt")


def _read_json(document: Any, agreement: Agreement, now_ms: int) -> Reading:
    events = misp.events_in(document)
    if events is not None:
        return misp.read(events, agreement, now_ms)
    return stix_door.read(document, agreement, now_ms)


def _markup(start: bytes) -> BodyRefused:
    if _html(start):
        return BodyRefused("unknown-format", "this is an HTML page", hint=TAKEN, status=415)
    version = _stix_1_version(start, max(0, start.find(b"STIX_Package")))
    name = f"STIX {version[1].decode()} XML" if version else "STIX 1 XML"
    what = f"this is {name}" if _stix_1(start) else f"this is XML; the only such format of this field is {name}"
    return BodyRefused(
        "stix-1",
        f"{what}, which the hub does not take",
        hint="convert it to STIX 2.1 with the OASIS stix2-elevator, or send MISP event JSON or CSV",
        status=415,
    )


def _text(body: bytes) -> str:
    try:
        return body.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BodyRefused(
            "not-utf8",
            "this is neither UTF-8 text nor a format that the hub knows",
            where=f"byte {error.start}",
            hint=f"save it as UTF-8; {TAKEN}",
            status=415,
        ) from None


def _read_text(text: str, content_type: str, filename: str, agreement: Agreement, now_ms: int) -> Reading:
    mapping = agreement.contributes.csv if agreement.contributes else None
    name = filename.lower()
    if table := csv_table.find_table(text, mapping):
        return csv_table.read(table, agreement, now_ms)
    if content_type in ("text/csv", "text/tab-separated-values") or name.endswith((".csv", ".tsv")):
        raise csv_table.header_unknown(text)
    if _is_text(content_type, filename):
        return csv_table.read_list(text, now_ms)
    raise BodyRefused("unknown-format", "the hub does not know this format", hint=TAKEN, status=415)
