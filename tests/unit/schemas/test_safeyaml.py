"""YAML from strangers: what is read, and what is refused before it is built."""

from __future__ import annotations

import time
from typing import Any

import pytest

from schemas import safeyaml
from schemas.errors import BodyRefused

LAUGHS = b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"- name: a\n  n: [1, no, 2026-11-01, ~]\n", [{"name": "a", "n": ["1", "no", "2026-11-01", "~"]}]),
        (b"\xef\xbb\xbfa: b\n", {"a": "b"}),
        (b'a: "x\\ty"\nb: |\n  c\n', {"a": "x\ty", "b": "c\n"}),
        (b"a: !!str 1\n", {"a": "1"}),
        (b"<<: {a: b}\nc: d\n", {"<<": {"a": "b"}, "c": "d"}),
        (b"", None),
        (b"# nothing\n", None),
    ],
)
def test_texts_lists_and_maps(raw: bytes, value: Any) -> None:
    assert safeyaml.loads(raw) == value


@pytest.mark.parametrize(
    ("raw", "code", "where"),
    [
        (LAUGHS, "yaml-alias", "line 1"),
        (b"a: *b\n", "yaml-alias", "line 1"),
        (b"a: 1\nb: !!python/object/apply:os.system [x]\n", "yaml-tag", "line 2"),
        (b"- !x y\n", "yaml-tag", "line 1"),
        (b"[" * 17, "too-deep", "line 1"),
        (b"[" * 1_000_000, "not-yaml", "line 1"),
        (b"- a\n" * 500_001, "too-complex", "line 500000"),
        (b"a: 1\nb: 2\na: 3\n", "duplicate-key", "line 1"),
        (b"--- a\n--- b\n", "not-yaml", "line 2"),
        (b"{a: b", "not-yaml", "line 2"),
        (b"? [a]\n: b\n", "not-yaml", ""),
        (b"a: \x00\n", "not-yaml", ""),
        (b"\xff\xfe\xfd", "not-yaml", ""),
        (b"x" * (8 * 1024 * 1024 + 1), "too-large", ""),
    ],
)
def test_what_is_refused(raw: bytes, code: str, where: str) -> None:
    started = time.monotonic()
    with pytest.raises(BodyRefused) as refused:
        safeyaml.loads(raw)
    assert refused.value.code == code
    if where:
        assert refused.value.where == where
    assert time.monotonic() - started < 10
