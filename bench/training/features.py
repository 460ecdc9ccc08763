"""What frozen encoders give for a list of clips: computed once, kept on disk, shared by all detectors that read it.

    features/<key12>/about.json     what determines the values, and what they were computed with
                     features.f32   the values, float32 (rows, frames, width)
                     rows.u64       of each row 0, or 2^32 + the crc32 of its bytes once these are on the disk
                     lock           locked by who fills it, alone, or by those who read it; its time is the last use

Rows are computed in fixed batches; of a batch that lacks a row all are computed again. So the bytes do not depend on
who filled the file and how often that was interrupted. Files are read and written by calls and not mapped into memory,
where a full disk, or a file that somebody cut, ends the process without a word.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.filesize import decimal
from torch import Tensor

from bench import environment
from bench.cards import AudioRecipe
from bench.errors import StoreError
from bench.models.wav2vec2 import HOP, RECEPTIVE_FIELD, SIZES, Reading
from bench.progress import Display
from bench.recipes import Stage
from bench.store import KEY_CHARACTERS, explained, write_json
from bench.training.loading import Clips, batches, in_order
from bench.trials import PIECE

VERSION = 1  # goes up whenever the code changes a value: decoding, resampling, the window, the backbone
SPARE = 1 << 30  # bytes of the disk that stay free: checkpoints need room, too
FLUSH_SECONDS = 5.0  # of work that a kill may cost
ABOUT, DATA, ROWS, LOCK = "about.json", "features.f32", "rows.u64", "lock"
_WRITTEN = 1 << 32


def constant(stage: Stage, recipe: AudioRecipe) -> bool:
    """Whether the training clips of a stage are the same in every epoch, and all of one length."""
    changed = stage.crop != "first" or stage.pieces is not None or stage.augmentation is not None
    return recipe.samples is not None and not changed


class Features:
    """The inputs of a stage on one list, of all its readings. Nobody removes them until they are closed or gone."""

    def __init__(self, tables: Sequence[_Table]) -> None:
        self._tables = tables

    def read(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Of each reading the values of these rows of the list (n,), in their order: float32 (n, T, D).

        Raises:
            StoreError: a row is not what was written. It is marked, so that the next `kept` computes it again.
        """
        try:
            return tuple(table.read(rows) for table in self._tables)
        except StoreError:
            self.close()  # the error may keep this object alive, and who computes the rows again needs the lock
            raise

    def close(self) -> None:
        """Let others remove them. Nothing can be read behind it."""
        for table in self._tables:
            table.close()


def kept(
    folder: Path,
    readings: Sequence[Reading],
    clips: Clips,
    dataset_digest: str,
    files: str | None,
    *,
    limit: int,
    batch_size: int,
    device: torch.device,
    workers: int,
    display: Display,
    name: str = "",
) -> Features | None:
    """The values of readings on a list, computed as far as they are not in `folder` yet.

    Where another process is computing the same, it is waited for.

    Args:
        clips: unchanged ones of a fixed window, see `constant`.
        dataset_digest, files: identity of the list, see `bench.corpora.Dataset`.
        limit: bytes that all kept features may take. What was not used for longest makes room, never what is in use.
        batch_size: rows a forward pass. It is part of the key: only what was computed with the same one is shared.
        device: where the backbones are.
        name: of the list, for the display.
    Returns:
        None where they do not fit, which a note tells: the encoders have to be run in each epoch.
    Raises:
        StoreError: the folder cannot be written, or the disk became full. What is computed so far is gone on with.
        DataError: as `batches`.
    """
    assert clips.augment is None and clips.pieces is None and clips.crop == "first" and not clips.double, "fixed clips"
    assert clips.recipe.samples is not None and clips.recipe.samples >= RECEPTIVE_FIELD, "a fixed window"
    title = f"features of {' and '.join(dict.fromkeys(map(_called, readings)))}{name and f': {name}'}"
    frames = (clips.recipe.samples - RECEPTIVE_FIELD) // HOP + 1
    facts = [_facts(reading, clips, dataset_digest, files, batch_size) for reading in readings]
    keys = [hashlib.sha256(json.dumps(fact, sort_keys=True).encode()).hexdigest() for fact in facts]
    found = {key: (reading, fact) for key, reading, fact in zip(keys, readings, facts, strict=True)}
    made_with = {"versions": environment.versions(), "hardware": environment.hardware(str(device))}
    with ExitStack() as opened:
        tables: dict[str, _Table] = {}
        for key in sorted(found):  # in one order everywhere, or two processes might wait for each other
            reading, fact = found[key]
            shape = (len(clips.trials), frames, reading.backbone.architecture.width)
            wait = partial(display.note, f"{title}: another process is computing them, waiting for it")
            tables[key] = _opened(folder, {"key": key, **fact, **made_with}, shape, wait)
            opened.callback(tables[key].close)
        lacking = [(found[key][0], table) for key, table in tables.items() if not table.complete]
        if lacking:
            if reason := _make_room(folder, list(tables.values()), limit):
                display.note(f"{title}: not kept but computed in each epoch; {reason}")
                return None
            _fill(lacking, clips, batch_size, device, workers, display, title)
        opened.pop_all()
    return Features([tables[key] for key in keys])


# --- what determines the values ---------------------------------------------------------------------------------------


def _facts(reading: Reading, clips: Clips, digest: str, files: str | None, batch_size: int) -> dict[str, Any]:
    """Everything that determines the values of a reading on a list, beside the hardware and the libraries."""
    blocks = _blocks(reading)
    return {
        "version": VERSION,
        "layers": reading.layers,
        "architecture": asdict(replace(reading.backbone.architecture, layers=blocks)),
        "weights": _weights(reading, blocks),
        "audio": clips.recipe.model_dump(),
        "list": digest,
        "trials": _trials(clips),
        "files": files,
        "batch_size": batch_size,
    }


def _blocks(reading: Reading) -> int:
    """How many blocks of its backbone a reading runs."""
    return reading.backbone.architecture.layers if reading.layers is None else reading.layers[1] + 1


def _weights(reading: Reading, blocks: int) -> str:
    """Sha256 over the tensors that a reading uses: name, type, shape and bytes of each."""
    final_norm = reading.layers is None or reading.backbone.architecture.group_norm
    hashed = hashlib.sha256()
    for name, tensor in reading.backbone.state_dict().items():
        block = re.match(r"encoder\.layers\.(\d+)\.", name)
        unused = name == "masked_spec_embed" or (name.startswith("encoder.layer_norm.") and not final_norm)
        if unused or (block is not None and int(block[1]) >= blocks):
            continue
        hashed.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()


def _trials(clips: Clips) -> str:
    """Sha256 over the rows of the list in their order, and where their audio is: a list's digest knows neither.

    Two versions of a corpus, e.g. before and after a codec, may have the same trials.
    """
    table = clips.trials
    places = [str(Path(path).absolute()) for path in table["path"]]
    piece = [table[column].tolist() for column in PIECE if column in table]
    rows = zip(table["trial"].tolist(), places, *piece, strict=True)
    return hashlib.sha256("".join("\t".join(row) + "\n" for row in rows).encode(errors="surrogateescape")).hexdigest()


def _called(reading: Reading) -> str:
    """A reading in words."""
    backbone = reading.backbone
    full = replace(backbone.architecture, layers=backbone.architecture.layers + len(backbone.cut))
    size = next((name for name, size in SIZES.items() if size == full), f"a backbone of width {full.width}")
    if reading.layers is None:
        return f"{size} (last hidden state)"
    first, last = reading.layers
    return f"{size} (block {first})" if first == last else f"{size} (blocks {first} to {last})"


# --- computing them ---------------------------------------------------------------------------------------------------


def _fill(
    lacking: Sequence[tuple[Reading, _Table]],
    clips: Clips,
    batch_size: int,
    device: torch.device,
    workers: int,
    display: Display,
    title: str,
) -> None:
    """Compute what is lacking, each file decoded once for all readings, and from then on share the tables."""
    # fp32 is the reference: no TF32 in convolutions or products.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    plan = in_order(len(clips.trials), batch_size)
    todo = [rows for rows in plan if not all(table.has(rows) for _, table in lacking)]
    display.begin(title, sum(map(len, todo)))
    with ExitStack() as last:
        last.callback(display.end)
        for _, table in lacking:
            last.callback(table.flush)  # also what a failure or Ctrl-C would lose
        flushed = time.monotonic()
        for batch in batches(clips, todo, workers=workers, pin=device.type == "cuda"):
            wave = batch.wave.to(device, non_blocking=True)
            for reading, table in lacking:
                if not table.has(batch.rows):
                    with torch.inference_mode():
                        table.write(batch.rows, reading(wave))
            display.advance(len(batch.rows))
            if time.monotonic() - flushed > FLUSH_SECONDS:
                for _, table in lacking:
                    table.flush()
                flushed = time.monotonic()
    for _, table in lacking:
        table.share()


class _Table:
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
                write_json(self.place / ABOUT, self._about)

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


def _opened(folder: Path, about: Mapping[str, Any], shape: tuple[int, int, int], wait: Callable[[], None]) -> _Table:
    """The table of a key: locked together with other readers where it is complete, else for this process alone."""
    place = folder / about["key"][:KEY_CHARACTERS]
    with explained(place):
        while True:
            place.mkdir(parents=True, exist_ok=True)
            try:
                table = _Table(place, about, shape)
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


def _make_room(folder: Path, tables: Sequence[_Table], limit: int) -> str:
    """Begin the tables that are not complete, where need be after the removal of others: all that is needed, or none.

    Returns:
        Why they do not fit, '' where they do.
    """
    with explained(folder), ExitStack() as locks:
        locks.enter_context(_alone(folder))
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
        for place in removed if not reason else [table.place for table in tables if table.empty]:
            _remove(place)
        for table in tables if not reason else ():
            if not table.complete:
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


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time counts what is there and adds to it."""
    with (folder / LOCK).open("ab") as file:
        _flock(file.fileno(), fcntl.LOCK_EX)
        yield


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
