"""The files of kept features: a table of one reading on one list, and the room that all of them may take.

    features/<key12>/about.json     what determines the values, and what they were computed with
                     features.f32   the values, float32 (rows, frames, width)
                     rows.u64       of each row 0, or 2^32 + the crc32 of its bytes once these are on the disk
                     lock           locked by who fills it, alone, or by those who read it; its time is the last use

Files are read and written by calls and not mapped into memory, where a full disk, or a file that somebody cut, ends the
process without a word.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.filesize import decimal
from torch import Tensor

from bench import environment
from bench.errors import StoreError
from bench.files import explained, write_json
from bench.store import KEY_CHARACTERS

SPARE = 1 << 30  # bytes of the disk that stay free: checkpoints need room, too
ABOUT, DATA, ROWS, LOCK = "about.json", "features.f32", "rows.u64", "lock"
_WRITTEN = 1 << 32


class Table:
    """The values of one reading on one list, in a folder that this process has locked.

    Args:
        about: for about.json; its `key` is the sha256 of what determines the values.
        shape: rows, frames, width.
    """

    def __init__(self, place: Path, about: Mapping[str, Any], shape: tuple[int, int, int]) -> None:
        self.place, self._about, self._shape = place, about, shape
        self._row_bytes = 4 * shape[1] * shape[2]
        self.bytes = shape[0] * self._row_bytes
        self._records = np.zeros(shape[0], dtype=np.uint64)  # of rows.u64
        self._checked = np.zeros(shape[0], dtype=bool)  # rows that this process has found to be what was written
        self._unsaved: list[np.ndarray] = []
        files: list[int] = []
        self._finalizer = weakref.finalize(self, _release, files)
        files.extend(os.open(place / name, os.O_RDWR | os.O_CREAT, 0o666) for name in (LOCK, DATA, ROWS))
        self._lock, self._data, self._rows = files

    def close(self) -> None:
        """Unlock it. May be called again."""
        self._finalizer()

    def claim(self, how: int, wait: Callable[[], None]) -> bool:
        """Lock it and read how far it is; False where it was removed while it was waited for."""
        _flock(self._lock, how, wait)
        try:
            if not os.path.samestat((self.place / LOCK).stat(), os.fstat(self._lock)):
                return False
        except FileNotFoundError:
            return False
        os.utime(self._lock)
        content = os.pread(self._rows, self._records.nbytes + 1, 0)  # a byte more tells a longer file
        if self._known and len(content) == self._records.nbytes:
            self._records[:] = np.frombuffer(content, dtype=np.uint64)
            self._records[os.fstat(self._data).st_size // self._row_bytes :] = 0
        return True

    @property
    def _known(self) -> bool:
        """Whether the files are of this key, and not of another one that begins alike, or of anything else."""
        try:
            told = json.loads((self.place / ABOUT).read_bytes())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(told, dict) and told.get("key") == self._about["key"]

    def share(self) -> None:
        """Let others read it. Between the two locks it may be removed; its open files stay what they are."""
        _flock(self._lock, fcntl.LOCK_SH)

    def has(self, rows: np.ndarray) -> bool:
        return bool(self._records[rows].all())

    @property
    def complete(self) -> bool:
        return bool(self._records.all())

    @property
    def empty(self) -> bool:
        return not self._records.any()

    @property
    def allocated(self) -> int:
        """Bytes that it takes on the disk, where rows that were never written take none."""
        return 512 * os.fstat(self._data).st_blocks

    def begin(self) -> None:
        """Give the files their sizes, so that it counts as what it is going to be, and forget what does not fit."""
        with explained(self.place):
            _write(self._rows, self._records, 0)
            os.ftruncate(self._rows, self._records.nbytes)
            os.ftruncate(self._data, self.bytes)
            if not self._known:
                write_json(self.place / ABOUT, {**self._about, "versions": environment.versions()})

    def write(self, rows: np.ndarray, values: Tensor) -> None:
        """Values (n, frames, width) of consecutive rows; they count from the next `flush` on."""
        array = values.float().cpu().contiguous().numpy()
        assert array.shape == (len(rows), *self._shape[1:]), f"{array.shape} in a table of {self._shape}"
        with explained(self.place):
            _write(self._data, array, int(rows[0]) * self._row_bytes)
        self._records[rows] = [_WRITTEN + zlib.crc32(row.data) for row in array]
        self._unsaved.append(rows)

    def flush(self) -> None:
        """Bring what was written to the disk, and only then say that it is there."""
        with explained(self.place):
            os.fsync(self._data)
            for rows in self._unsaved:
                _write(self._rows, self._records[rows], 8 * int(rows[0]))
        self._unsaved = []

    def read(self, rows: np.ndarray) -> Tensor:
        """See `Features.read`."""
        values = torch.empty((len(rows), *self._shape[1:]), dtype=torch.float32)
        for row, place in zip(rows.tolist(), values.numpy(), strict=True):
            if not self._sound(row, place):
                raise self._damaged(row)
        return values

    def _sound(self, row: int, place: np.ndarray) -> bool:
        """Read a row; whether it is what was written, of which a process makes sure once."""
        try:
            found = os.preadv(self._data, [place.data], row * self._row_bytes)
        except OSError:
            return False
        if found == self._row_bytes and not self._checked[row]:
            self._checked[row] = int(self._records[row]) == _WRITTEN + zlib.crc32(place.data)
        return found == self._row_bytes and bool(self._checked[row])

    def _damaged(self, first: int) -> StoreError:
        """The error of a row, after all other rows that are like it have been found and marked with it."""
        place = np.empty(self._shape[1:], dtype=np.float32)
        self._checked[:] = False
        damaged = [row for row in range(self._shape[0]) if row == first or not self._sound(row, place)]
        self._records[damaged] = 0
        with explained(self.place):
            _write(self._rows, self._records, 0)
        return StoreError(
            f"{len(damaged):,} of {self._shape[0]:,} rows of kept features are not what was written",
            where=self.place / DATA,
            remedy="run the same command again: they are computed anew; if they are damaged again, doubt the disk",
        )


def _write(file: int, values: np.ndarray, offset: int) -> None:
    left = values.data.cast("B")
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


# --- room and locks ---------------------------------------------------------------------------------------------------


def open_table(folder: Path, about: Mapping[str, Any], shape: tuple[int, int, int], wait: Callable[[], None]) -> Table:
    """The table of a key: locked together with other readers where it is complete, else for this process alone."""
    place = folder / about["key"][:KEY_CHARACTERS]
    with explained(place):
        while True:
            place.mkdir(parents=True, exist_ok=True)
            try:
                table = Table(place, about, shape)
            except FileNotFoundError:  # just removed
                continue
            if table.claim(fcntl.LOCK_SH, wait) and table.complete:
                return table
            if table.claim(fcntl.LOCK_EX, wait):
                if table.complete:  # by another process, meanwhile
                    table.share()
                return table
            table.close()


class _Other(NamedTuple):
    """A folder of other features: when it was last used, its size in the end, and what it takes on the disk now."""

    used: int
    place: Path
    bytes: int
    allocated: int


def make_room(folder: Path, tables: Sequence[Table], limit: int) -> str:
    """Begin the tables that are not complete; where need be others are removed before: as many as it takes, or none.

    Returns:
        Why they do not fit, '' where they do.
    """
    with explained(folder), ExitStack() as locks:
        counting = locks.enter_context((folder / LOCK).open("ab"))
        _flock(counting.fileno(), fcntl.LOCK_EX)  # one process at a time counts what is there and adds to it
        others = sorted(_others(folder, {table.place for table in tables}))
        removed: list[Path] = []
        size, used = sum(table.bytes for table in tables), sum(other.bytes for other in others)
        lacking = sum(table.bytes - table.allocated for table in tables if not table.complete)
        free = shutil.disk_usage(folder).free - SPARE
        for other in others:
            if used + size <= limit and lacking <= free:
                break
            if _unused(other.place, locks):
                removed.append(other.place)
                used, free = used - other.bytes, free + other.allocated
        reason = ""
        if used + size > limit:
            held = f", of which {decimal(used)} are in use" if used else ""
            reason = f"{decimal(size)} do not fit into the limit of {decimal(limit)}{held}"
        elif lacking > free:
            reason = f"{decimal(lacking)} do not fit on the disk beside the {decimal(SPARE)} that stay free"
            reason += f": {decimal(max(free, 0))} are left"
        for place in [table.place for table in tables if table.empty] if reason else removed:
            _remove(place)
        for table in tables:
            if not reason and not table.complete:
                table.begin()
    return reason


def _others(folder: Path, own: set[Path]) -> Iterator[_Other]:
    for place in folder.iterdir():
        if place in own or not re.fullmatch(rf"[0-9a-f]{{{KEY_CHARACTERS}}}", place.name):
            continue
        with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile, or nothing of ours
            data = (place / DATA).stat()
            yield _Other((place / LOCK).stat().st_mtime_ns, place, data.st_size, 512 * data.st_blocks)


def _unused(place: Path, locks: ExitStack) -> bool:
    """Lock a folder, until `locks` end, where nobody uses it; False where somebody does or that cannot be told."""
    try:
        file = os.open(place / LOCK, os.O_RDWR)
        locks.callback(os.close, file)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(place: Path) -> None:
    """The lock last: who finds another one there, or none, knows that the rest is gone, too."""
    for file in sorted(place.iterdir(), key=lambda file: file.name == LOCK):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # another process may just be beginning there
        place.rmdir()


def _flock(file: int, how: int, wait: Callable[[], None] = lambda: None) -> None:
    """Lock an open file; `wait` is called before the wait for another process."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        wait()
        fcntl.flock(file, how)
    except OSError:
        pass  # a file system without locks: two processes at once do the same work twice there


def _release(files: Sequence[int]) -> None:
    """Unlock the first of the files, also where a decode process that was forked meanwhile has it open; close all."""
    if files:
        with suppress(OSError):
            fcntl.flock(files[0], fcntl.LOCK_UN)
    for file in files:
        os.close(file)
