"""State in RocksDB, a database for each partition, for more keys than memory holds.

Nothing in it has to outlive the process, so it has no write-ahead log, and what a former one left is deleted. A
lock beside each folder keeps a process from deleting what another one, which has not yet noticed that it lost the
partition, still writes.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch, WriteOptions

from schemas.errors import Unavailable
from services.stream.state import State

CACHE_BYTES = 64 * 1024 * 1024  # of all partitions together
BUFFER_BYTES = 4 * 1024 * 1024  # of each partition, twice
BLOOM_BITS = 10  # a new item is looked up too: 1 in 100 of them reads the disk for nothing
KEYS_AT_ONCE = 1_000


class RocksStates:
    """The states of this process, in folders `<stage>-<partition>` of one folder, with one cache."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache = Cache(CACHE_BYTES)

    def open(self, stage: str, partition: int) -> State:
        """An empty state. Raises `Unavailable` while another process has this one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = self._folder / f"{stage}-{partition}"
        lock = (self._folder / f"{stage}-{partition}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise Unavailable(
                "state-in-use",
                "another process has the state of this partition open",
                where=str(folder),
                hint="it will let go of it, or set another TOCSIN_DATA for each process",
            ) from None
        if folder.exists():
            shutil.rmtree(folder)
        return RocksState(folder, lock, _options(self._cache))


class RocksState:
    """See `State`. Closing it deletes its files."""

    def __init__(self, folder: Path, lock: IO[str], options: Options) -> None:
        self._folder = folder
        self._lock = lock
        self._database = Rdict(str(folder), options)
        self._writing = WriteOptions()
        self._writing.disable_wal = True
        self.view: Mapping[bytes, bytes] = View(self._database)

    def change(self, changes: Mapping[bytes, bytes | None]) -> None:
        if not changes:
            return
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value:
                batch.put(key, value)
            else:
                batch.delete(key)
        self._database.write(batch, self._writing)

    def keys(self) -> Iterator[bytes]:
        return iter(self.view)

    def close(self) -> None:
        self._database.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


class View(Mapping[bytes, bytes]):
    """What a step sees. Iterating goes on, a page of keys at a time, while the state changes."""

    def __init__(self, database: Any) -> None:
        self._get = database.get
        self._database = database

    def __getitem__(self, key: bytes) -> bytes:
        value: bytes | None = self._get(key)
        if value is None:
            raise KeyError(key)
        return value

    def get(self, key: bytes, default: Any = None) -> Any:
        return self._get(key, default)

    def __contains__(self, key: object) -> bool:
        return self._get(key) is not None

    def __iter__(self) -> Iterator[bytes]:
        start: bytes | None = None
        while page := list(islice(self._database.keys(from_key=start), KEYS_AT_ONCE)):
            yield from page
            start = page[-1] + b"\x00"  # the next key that there can be

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _options(cache: Cache) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_bloom_filter(BLOOM_BITS, False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_error_if_exists(True)
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.none())  # values are squeezed already
    options.set_write_buffer_size(BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    options.set_max_open_files(64)
    options.set_keep_log_file_num(1)
    return options
