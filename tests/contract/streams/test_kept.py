"""What holds for a state wherever it is kept, and what RocksDB needs besides."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import Misconfigured, Unavailable
from services.stream import state as states
from services.stream.state import State, open_state


def test_a_setting_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="memory or rocksdb"):
        open_state("redis", tmp_path)


def test_a_package_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "services.stream.rocks", raising=False)
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    with pytest.raises(Misconfigured, match="rocksdict"):
        open_state("rocksdb", tmp_path)
    assert open_state("memory", tmp_path) is states.in_memory


@pytest.fixture(params=["memory", "rocksdb"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    if request.param == "rocksdb":
        pytest.importorskip("rocksdict", reason="the package rocksdict is not installed (extra rocksdb)")
    kept = open_state(request.param, tmp_path)("core", 3)
    yield kept
    kept.close()


def test_a_state_is_a_mapping_of_what_was_set_last(kept: State) -> None:
    assert dict(kept.view) == {}
    kept.change({})
    kept.change({b"a": b"1", b"": b"nothing", b"\x00" * 20: b"2", b"a" * 70_000: b"3", b"gone": None})
    kept.change({b"a": b"4", b"\x00" * 20: None, b"b": b"5", b"": b""})
    assert dict(kept.view) == {b"a": b"4", b"a" * 70_000: b"3", b"b": b"5"}
    assert len(kept.view) == 3
    assert kept.view[b"a"] == b"4" and b"b" in kept.view
    assert b"" not in kept.view and kept.view.get(b"") is None and kept.view.get(b"", b"x") == b"x"
    with pytest.raises(KeyError):
        kept.view[b"\x00" * 20]
    with pytest.raises(TypeError):
        kept.view[b"a"] = b"5"  # type: ignore[index]


def test_all_keys_are_passed_though_the_state_changes(kept: State) -> None:
    keys = {i.to_bytes(16, "big") for i in range(5_000)}
    kept.change(dict.fromkeys(keys, b"x"))
    passed = kept.keys()
    some = [next(passed) for _ in range(10)]
    gone = sorted(keys - set(some))[2_000:3_000]
    kept.change({key: None if key in gone else b"y" for key in keys} | {b"\xff" * 16: b"new"})
    rest = list(passed)
    assert len(rest) == len(set(rest))
    assert set(some + rest) | set(gone) | {b"\xff" * 16} == keys | {b"\xff" * 16}


def test_rocksdb_begins_anew_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("rocksdict", reason="the package rocksdict is not installed (extra rocksdb)")
    opened = open_state("rocksdb", tmp_path)
    first, other = opened("core", 3), opened("core", 4)
    first.change({b"a": b"1"})
    assert dict(other.view) == {}
    with pytest.raises(Unavailable, match="another process"):
        open_state("rocksdb", tmp_path)("core", 3)
    assert dict(first.view) == {b"a": b"1"}
    first.close()
    (tmp_path / "state" / "core-3").mkdir()
    (tmp_path / "state" / "core-3" / "CURRENT").write_text("nonsense")
    again = opened("core", 3)
    assert dict(again.view) == {}
    again.close()
    other.close()
    assert not [folder for folder in (tmp_path / "state").iterdir() if folder.is_dir()]
