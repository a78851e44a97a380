"""JSON from strangers: refused with a code and a place, whatever it is, and quickly."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BodyRefused
from schemas.safejson import control_character, loads


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b'\xef\xbb\xbf{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        ('"\u202eabc"'.encode(), "\u202eabc"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"[" * 64 + b"]" * 64, None),
        (b'[{"a":1},{"a":1}]', [{"a": 1}, {"a": 1}]),
    ],
)
def test_taken(raw: bytes, value: Any) -> None:
    decoded = loads(raw)
    assert value is None or decoded == value


@pytest.mark.parametrize(
    ("raw", "code", "where"),
    [
        (b"", "not-json", "line 1 column 1"),
        (b'{"a": 1,\n "b": 2,}', "not-json", "line 2 column 8"),
        (b"<stix/>", "not-json", "line 1 column 1"),
        (b'{"a": NaN}', "not-json", "line 1 column 7"),
        (b"[Infinity]", "not-json", "line 1 column 2"),
        (b'"\xff"', "not-json", "line 1 column 1"),
        (b'["\\ud800"]', "not-json", "line 1 column 3"),
        (b'["\n"]', "not-json", "line 1 column 3"),
        (b"{} {}", "not-json", "line 1 column 4"),
        ('{"a":1}'.encode("utf-16"), "not-json", "line 1 column 1"),
        (b"[" * 65 + b"]" * 65, "too-deep", ""),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "too-deep", ""),
        (b"[" * 5_000_000, "too-complex", ""),
        (b"[" * 1_000_000, "too-deep", "line 1 column 1026"),
        (b'{"a":1,"a":1}', "duplicate-key", "/a"),
        (b'{"a":1,"\\u0061":2}', "duplicate-key", "/a"),
        (b'{"o":[{"x":1},{"b/c~d":[{"y":1,"z":2,"y":3}]}]}', "duplicate-key", "/o/1/b~1c~0d/0/y"),
        (b'{"x":{"k":1,"k":2},"x":1}', "duplicate-key", "/x"),
        (b"[1e999]", "number-out-of-range", "line 1 column 2"),
        (b"[1, false, 18446744073709551616]", "number-out-of-range", "/2"),
        (b'{"a":-9223372036854775809}', "number-out-of-range", "/a"),
        (b"[" + b"9" * 100_000 + b"]", "number-out-of-range", "line 1 column 2"),
    ],
)
def test_refused(raw: bytes, code: str, where: str) -> None:
    with pytest.raises(BodyRefused) as refused:
        loads(raw)
    assert refused.value.code == code
    assert refused.value.where == where
    assert refused.value.hint
    assert len(str(refused.value)) < 400


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(json_values)
def test_all_json_comes_back_as_it_was(value: Any) -> None:
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    try:
        loads(raw)
    except BodyRefused as refused:
        assert refused.code


MEBI = 1 << 20
HOSTILE = {
    "objects": b"[" + b",".join([b"{}"] * (MEBI // 3)) + b"]",
    "integers": b"[" + b"1," * (MEBI // 2) + b"1]",
    "backslashes": b'["' + b"\\\\" * MEBI + b'"]',
    "quotes": b'["' + b'\\"' * MEBI + b'"]',
    "digits": b"9" * MEBI,
    "fractions": b"0." + b"9" * MEBI,
    "late duplicate": b"[" + b"1," * (MEBI // 2) + b'{"a":1,"a":1}]',
    "long keys": b'{"' + b"k" * (MEBI // 2) + b'":[' + b"1," * (MEBI // 4) + b'{"a":1,"a":1}]}',
    "keys": b"{" + b",".join(b'"%d":0' % n for n in range(MEBI // 10)) + b"}",
    "nested keys": b'{"%s":' % (b"k" * 4000) * 63 + b"[" + b"1," * (MEBI // 4) + b'{"a":1,"a":1}]' + b"}" * 63,
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_time_grows_with_size_alone(shape: str) -> None:
    began = time.process_time()
    try:
        loads(HOSTILE[shape])
    except BodyRefused as refused:
        assert refused.code in ("number-out-of-range", "not-json", "duplicate-key", "too-deep")
        assert len(refused.where) < 64 * 100
    assert time.process_time() - began < 3


def test_a_fault_far_down_is_refused_without_its_place() -> None:
    with pytest.raises(BodyRefused) as refused:
        loads(b"[" + b"1," * 1_000_001 + b'{"a":1,"a":1}]')
    assert (refused.value.code, refused.value.where) == ("duplicate-key", "")


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": "plain", "b": ["line\nfeed\ttab\r"]}, None),
        ("caf\u00e9\u00a0\u202e\u2067", None),
        ("\x00", ""),
        ({"a": {"b": ["x", "bell\x07"]}}, "/a/b/1"),
        ({"a": "\x85"}, "/a"),
        ({"a": "\x7f"}, "/a"),
        ({"a/\x1b": 1}, "/a~1\\x1b"),
        ({"a": "\ud800"}, "/a"),
        ({"a": [1, 2.5, None, True]}, None),
    ],
)
def test_control_characters(value: Any, pointer: str | None) -> None:
    assert control_character(value) == pointer
