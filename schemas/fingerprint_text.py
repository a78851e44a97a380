"""The pair that an indicator's identity is, and what is done to every text before it becomes one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.errors import ItemRefused

MAX_BYTES: Final = 65_536

_MAX_MARKS = 64
_MAX_NESTED_BRACKETS = 8


class Ioc(NamedTuple):
    """An indicator's identity; `value` is canonical for its `kind`."""

    kind: str
    value: str


_INVISIBLE = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))


def clean_text(raw: str) -> str:
    """`raw` in Unicode NFC, without soft hyphens and zero-width characters, without white space at its ends."""
    if len(raw) > MAX_BYTES // 4:
        _check_length(raw)
    if raw.isascii():
        return raw.strip()
    _check_marks(raw)
    # again after the deletion, which may have joined a letter and its mark
    return nfc(nfc(raw).translate(_INVISIBLE)).strip()


def nfc(text: str) -> str:
    """`text` in Unicode normal form C."""
    return unicodedata.normalize("NFC", text)


def lower(text: str) -> str:
    """`text` in lower case, and in normal form C after it."""
    return text.lower() if text.isascii() else nfc(text.lower())


def _check_length(raw: str) -> None:
    size = len(raw.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ItemRefused(
            "value-too-long",
            f"the value has {size} bytes, more than the {MAX_BYTES} that one may have",
            hint="send one indicator per value",
        )


def _check_marks(raw: str) -> None:
    """Normalisation takes time quadratic in the longest run of combining marks; no language needs a long one."""
    if len(raw) <= 1024:
        return
    run = 0
    for character in raw:
        run = run + 1 if character > "\u02ff" and unicodedata.category(character)[0] == "M" else 0
        if run > _MAX_MARKS:
            raise ItemRefused(
                "value-malformed",
                f"the value has more than {_MAX_MARKS} combining marks in a row",
                hint="remove the marks; no script needs so many on one letter",
            )


_FANG = re.compile(
    r"\[(?::(?://)?|/)\]"
    r"|\[(?:\.|@|dot|at)\]|\((?:\.|dot|at)\)|\{\.\}",
    re.IGNORECASE,
)
_FANG_TEXT: Mapping[str, str] = {"dot": ".", "at": "@"}
_HXXP = re.compile(r"hxxp(?=s?(?::|//))", re.IGNORECASE)


def refang(text: str) -> str:
    """`text` with the usual ways of making an address harmless undone: `hxxp`, `[.]`, `(dot)`, `[at]`, `[://]` …

    Nested ones (`[[.]]`) are undone a few levels deep. `hxxp` counts at the beginning, before `:` or `//`.
    """
    for _ in range(_MAX_NESTED_BRACKETS):
        if not any(bracket in text for bracket in "[({"):
            break
        text, replaced = _FANG.subn(_unfanged, text)
        if not replaced:
            break
    return "http" + text[4:] if _HXXP.match(text) else text


def _unfanged(match: re.Match[str]) -> str:
    inner = match[0][1:-1].lower()
    return _FANG_TEXT.get(inner, inner)


def named(kind: str, value: str) -> Ioc | None:
    """An indicator, or None where nothing is left of its value."""
    return Ioc(kind, value) if value else None
