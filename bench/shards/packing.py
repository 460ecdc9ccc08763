"""`bench pack`: the loose files of a dataset into shards.

What goes into which shard follows from the list and the sizes of the files alone. A shard is written beside its place
and renamed, and what is known of it is kept in `.packing/`, so a killed packing goes on with the first shard that is
not finished. `pack.json` comes last: a folder without it is taken for no pack. The same files give the same shards,
byte for byte, with the same versions.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from bench import environment
from bench.corpora import Dataset, missing_audio, stamp
from bench.errors import DataError, UsageError
from bench.files import atomically, explained
from bench.locks import claim
from bench.progress import Display
from bench.shards.pack import CRC, MANIFEST, NAME, OFFSET, PLACE, SHARD, SIZE, STAMP, TRIALS, Manifest, Shard
from bench.store import folder_name

Form: TypeAlias = Literal["tar", "parquet"]

UNFINISHED = ".packing"  # the folder of what a packing that has not ended knows
READERS = 8  # the wait for a small file is for the disk, not for a core
AHEAD = 32  # files that are read together
ROW_GROUP = 1 << 20  # bytes of audio: a reader of parquet gets one trial without a shard

# What the model hub must know to show the column as audio.
FEATURES = {"trial": {"dtype": "string", "_type": "Value"}, "label": {"dtype": "string", "_type": "Value"}}
HUB = {"huggingface": json.dumps({"info": {"features": {**FEATURES, "audio": {"_type": "Audio"}}}})}
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema([("trial", pa.string()), ("label", pa.string()), ("audio", AUDIO)], metadata=HUB)


class Packed(NamedTuple):
    """A pack that was made, or was there before."""

    folder: Path
    manifest: Manifest
    files: int
    new: bool


class _File(NamedTuple):
    """A loose file, and the first of its trials, which gives it its name."""

    path: str
    size: int
    changed: int
    trial: str
    label: str

    @property
    def name(self) -> str:
        """Its name in a shard: the trial id and the suffix. No id leads a `tar x` out of its folder."""
        trial = self.trial
        if any(part in ("", ".", "..") for part in trial.split("/")) or "\\" in trial:
            trial = quote(trial, safe="").replace(".", "%2E")
        return trial + Path(self.path).suffix


class _Written(BaseModel):
    """What is known of a finished shard; `offsets` and `crcs` of its files in order."""

    model_config = ConfigDict(strict=True, extra="forbid")

    made_of: str
    bytes: int
    sha256: str
    offsets: list[int]
    crcs: list[int]


@dataclass(frozen=True)
class _Plan:
    """The files of each shard, and of each trial (rows,) its file, counted over all shards. made_of: see `Manifest`."""

    shards: list[list[_File]]
    rows: np.ndarray
    made_of: str


def pack(dataset: Dataset, folder: Path, display: Display, *, form: Form = "tar", shard_bytes: int = 10**9) -> Packed:
    """Write the pack of a dataset whose loose files are here.

    Args:
        shard_bytes: of audio in a shard at most; a longer file is a shard of its own.

    Raises:
        UsageError: no loose dataset, or a folder with something else in it.
        DataError: audio that is missing, cannot be read, or changed meanwhile; another process packs here.
        StoreError: the folder cannot be written.
    """
    _check(dataset)
    plan = _planned(dataset, form, shard_bytes)
    if (manifest := _finished(folder, plan)) is not None:
        return Packed(folder, manifest, sum(map(len, plan.shards)), new=False)
    with _claimed(folder):
        names = [f"{folder_name(dataset.name)}-{number:05}.{form}" for number in range(len(plan.shards))]
        _tidy(folder, names, plan.made_of)
        display.begin_bytes(f"packing {dataset.name}", sum(one.size for files in plan.shards for one in files))
        try:
            pairs = zip(names, plan.shards, strict=True)
            written = [_shard(folder / name, files, form, plan.made_of, display) for name, files in pairs]
        finally:
            display.end()
        table = _table(dataset, plan, written)
        manifest = Manifest(
            format=1,
            dataset=dataset.name,
            digest=dataset.digest,
            trials=len(dataset.trials),
            files=dataset.files,
            made_of=plan.made_of,
            table=hashlib.sha256(table).hexdigest(),
            shards=[Shard(name=n, bytes=one.bytes, sha256=one.sha256) for n, one in zip(names, written, strict=True)],
            bench=environment.versions()["bench"],
        )
        _write(folder / TRIALS, table)
        _write(folder / MANIFEST, f"{manifest.model_dump_json(indent=1)}\n".encode())
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return Packed(folder, manifest, sum(map(len, plan.shards)), new=True)


def _check(dataset: Dataset) -> None:
    name = dataset.name
    if dataset.perturbation is not None:
        what = f"the files of {name} are those of {dataset.clean}"
        raise UsageError(what, remedy=f"pack {dataset.clean}: a perturbation is made while scoring")
    if dataset.pack is not None:
        remedy = "copy that folder, or name the place of the loose files with --data or --data-root"
        raise UsageError(f"{name} is read from a pack already", where=dataset.pack, remedy=remedy)
    if lost := missing_audio(dataset.trials):
        what = f"{len(lost):,} of {len(dataset.trials):,} trials of {name} have no audio file here"
        where = dataset.trials["path"].iloc[lost[0]] or "no audio folder"
        raise DataError(what, where=where, remedy=dataset.card.obtain or "fetch the corpus again")
    if taken := [column for column in dataset.trials if str(column) in (*PLACE, STAMP)]:
        raise DataError(f"column {taken[0]!r} of {name} is one that packs use", remedy="rename it in the list")


def _planned(dataset: Dataset, form: Form, shard_bytes: int) -> _Plan:
    trials = dataset.trials
    rows, paths = pd.factorize(trials["path"])
    first = np.unique(rows, return_index=True)[1]
    labelled = zip(trials["trial"].iloc[first].tolist(), trials["label"].iloc[first].tolist(), strict=True)
    with ThreadPoolExecutor(READERS) as pool:
        stats = list(pool.map(_size, paths.tolist(), chunksize=256))
    files = [_File(p, *s, *names) for p, s, names in zip(paths.tolist(), stats, labelled, strict=True)]
    shards: list[list[_File]] = []
    room = -1
    for file in files:
        if file.size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(file)
        room -= file.size
    hashed = hashlib.sha256(json.dumps([1, form, shard_bytes, dataset.name, dataset.digest, dataset.files]).encode())
    hashed.update(trials.drop(columns="path").to_csv().encode(errors="surrogateescape"))
    for file in files:
        hashed.update(f"{file.name}\t{file.size}\t{file.changed}\n".encode(errors="surrogateescape"))
    return _Plan(shards, rows, hashed.hexdigest())


def _size(path: str) -> tuple[int, int]:
    try:
        found = Path(path).stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return found.st_size, found.st_mtime_ns


def _unreadable(path: str, error: OSError) -> DataError:
    what = f"the file cannot be read: {error.strerror}"
    return DataError(what, where=path, remedy="check its name and permissions, then run the same command again")


# --- the folder -------------------------------------------------------------------------------------------------------


def _finished(folder: Path, plan: _Plan) -> Manifest | None:
    """The manifest of a folder that is this pack already.

    Raises:
        UsageError: there is something else in it.
    """
    with explained(folder, "--out"):
        if not folder.exists() or not any(folder.iterdir()) or (folder / UNFINISHED).is_dir():
            return None
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        what = "this folder holds other files than a pack"
        raise UsageError(what, where=folder, remedy="name a new or empty folder with --out") from None
    sizes = {one.name: one.bytes for one in manifest.shards}
    there = {one.name: one.stat().st_size for one in folder.iterdir() if one.name in sizes}
    if manifest.made_of != plan.made_of or there != sizes:
        what = f"this folder holds another pack, or a damaged one, of {manifest.dataset}"
        raise UsageError(what, where=folder, remedy="delete it, or name another folder with --out")
    return manifest


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """The folder, for this process alone."""
    place = folder / UNFINISHED / "lock"
    with explained(folder, "--out"):
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("ab")
    with file:
        claim(file, folder, DataError, "another process is packing here")
        yield


def _tidy(folder: Path, names: Sequence[str], made_of: str) -> None:
    """Take away what a killed packing left half-written, and the shards of one of other files or another size."""
    with explained(folder, "--out"):
        for part in folder.glob(".*.part"):
            part.unlink()
        for note in (folder / UNFINISHED).glob("*.json"):
            known = _known(note)
            if note.stem not in names or known is None or known.made_of != made_of:
                (folder / note.stem).unlink(missing_ok=True)
                note.unlink()


def _known(note: Path) -> _Written | None:
    try:
        return _Written.model_validate_json(note.read_bytes())
    except (OSError, ValidationError):
        return None


def _write(place: Path, content: bytes) -> None:
    atomically(place, lambda part: part.write_bytes(content), "--out")


# --- shards -----------------------------------------------------------------------------------------------------------


def _shard(place: Path, files: Sequence[_File], form: Form, made_of: str, display: Display) -> _Written:
    """A finished shard: the one that is there, or a new one."""
    note = place.parent / UNFINISHED / f"{place.name}.json"
    known = _known(note)
    if known is not None and place.is_file() and place.stat().st_size == known.bytes:
        display.advance(sum(one.size for one in files))
        return known
    written: list[_Written] = []

    def write(part: Path) -> None:
        crcs: list[int] = []
        offsets = WRITERS[form](part, _contents(files, crcs, display))
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        one = _Written(made_of=made_of, bytes=part.stat().st_size, sha256=sha256, offsets=offsets, crcs=crcs)
        _write(note, one.model_dump_json().encode())  # before the rename: a shard without a note would be an orphan
        written.append(one)

    atomically(place, write, "--out")
    return written[-1]


def _contents(files: Sequence[_File], crcs: list[int], display: Display) -> Iterator[tuple[_File, bytes]]:
    """The files with their bytes, some read ahead; their checksums are added to `crcs`."""
    with ThreadPoolExecutor(READERS) as pool:
        for first in range(0, len(files), AHEAD):
            some = files[first : first + AHEAD]
            for file, content in zip(some, pool.map(_content, some), strict=True):
                crcs.append(zlib.crc32(content))
                yield file, content
                display.advance(len(content))


def _content(file: _File) -> bytes:
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise _unreadable(file.path, error) from None
    if len(content) != file.size:
        what = f"the file changed while it was packed: {len(content):,} bytes instead of {file.size:,}"
        raise DataError(what, where=file.path, remedy="run the same command again")
    return content


def _write_tar(place: Path, contents: Iterator[tuple[_File, bytes]]) -> list[int]:
    """A plain tar (USTAR, PAX where a name needs it), and where in it each file begins."""
    offsets = []
    with place.open("wb") as tar:
        for file, content in contents:
            info = tarfile.TarInfo(file.name)
            info.size = len(content)
            tar.write(info.tobuf(tarfile.PAX_FORMAT))
            offsets.append(tar.tell())
            tar.write(content)
            tar.write(bytes(-len(content) % tarfile.BLOCKSIZE))
        tar.write(bytes(2 * tarfile.BLOCKSIZE))
        tar.write(bytes(-tar.tell() % tarfile.RECORDSIZE))
    return offsets


def _write_parquet(place: Path, contents: Iterator[tuple[_File, bytes]]) -> list[int]:
    """Parquet as the model hub's audio datasets are, and where in it the bytes of each file begin.

    Without compression and dictionary the values of a column chunk lie there as they are, one after the other.
    """
    offsets: list[int] = []
    with (
        place.open("w+b") as sink,
        pq.ParquetWriter(sink, SCHEMA, compression="none", use_dictionary=False) as writer,
    ):
        for rows in _row_groups(contents):
            audio = [{"bytes": content, "path": file.name} for file, content in rows]
            texts = [file.trial for file, _ in rows], [file.label for file, _ in rows]
            begin = sink.tell()
            writer.write_table(pa.table([*texts, audio], schema=SCHEMA), row_group_size=len(rows))
            size = sink.tell() - begin
            sink.seek(begin)
            offsets += [begin + at for at in _found(sink.read(size), [content for _, content in rows])]
    return offsets


def _row_groups(contents: Iterator[tuple[_File, bytes]]) -> Iterator[list[tuple[_File, bytes]]]:
    rows: list[tuple[_File, bytes]] = []
    size = 0
    for file, content in contents:
        rows.append((file, content))
        size += len(content)
        if size >= ROW_GROUP:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _found(group: bytes, contents: Sequence[bytes]) -> list[int]:
    """Where each of these begins in a row group, in order, behind its length in 4 bytes."""
    at, found = 0, []
    for content in contents:
        at = group.index(len(content).to_bytes(4, "little") + content, at) + 4
        found.append(at)
        at += len(content)
    return found


WRITERS: dict[Form, Callable[[Path, Iterator[tuple[_File, bytes]]], list[int]]] = {
    "tar": _write_tar,
    "parquet": _write_parquet,
}


def _table(dataset: Dataset, plan: _Plan, written: Sequence[_Written]) -> bytes:
    """trials.parquet: the trial table without paths, and where the audio of each trial is."""
    files = list(itertools.chain.from_iterable(plan.shards))
    places = pd.DataFrame(
        {
            SHARD: np.repeat(np.arange(len(written)), [len(one.offsets) for one in written]),
            OFFSET: np.concatenate([one.offsets for one in written]),
            SIZE: [file.size for file in files],
            CRC: np.concatenate([one.crcs for one in written]),
            NAME: pd.Series([file.name for file in files], dtype="str"),
        }
    ).iloc[plan.rows]
    table = pd.concat([dataset.trials.drop(columns="path"), places.reset_index(drop=True)], axis=1)
    if dataset.own_files:
        table[STAMP] = [stamp(path) for path in dataset.trials["path"]]
    content = io.BytesIO()
    columns = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(columns, content, compression="zstd")
    return content.getvalue()
