"""A pack that is here or at an address: its manifest, and its trials as a table with paths.

Both files are untrusted: a shard is a plain name inside the pack, a member lies inside its shard, and the manifest and
the table must be of each other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bench.errors import Blocked, DataError
from bench.shards import Member, is_address, shard_of
from bench.shards.storage import read
from bench.trials import digest, validate

MANIFEST = "pack.json"
TRIALS = "trials.parquet"
AGAIN = "copy the pack again, or make it again with `bench pack`"

# Columns of trials.parquet beside those of the trial table. `stamp` is of a user's own files only.
SHARD, OFFSET, SIZE, CRC, NAME, STAMP = (
    f"audio:{fact}" for fact in ("shard", "offset", "size", "crc", "name", "stamp")
)
PLACE = (SHARD, OFFSET, SIZE, CRC, NAME)
NUMBERS = (SHARD, OFFSET, SIZE, CRC)

_stamps: dict[str, dict[str, str]] = {}  # of the packs that were opened, as they were the last time


def _plain(name: str) -> str:
    # `::` is a chain of file systems to fsspec.
    if not re.fullmatch(r"[^/\\\x00-\x1f#]+", name) or name in (".", "..") or "::" in name:
        raise ValueError("no plain file name")
    return name


class _Record(BaseModel):
    # Later versions may say more.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Shard(_Record):
    """A file of the pack, bytes and sha256 (hex) of all of it."""

    name: Annotated[str, AfterValidator(_plain)]
    bytes: int = Field(ge=0, lt=1 << 63)
    sha256: str


class Manifest(_Record):
    """What pack.json says.

    dataset, digest, trials: name, digest and number of trials of the packed dataset.
    files: the fingerprint of a user's own files when they were packed (`bench.corpora.fingerprint`), None of others.
    made_of: sha256 (hex) over all that the bytes of the pack follow from. table: that of trials.parquet.
    bench: the version that wrote it.
    """

    format: Literal[1]
    dataset: str
    digest: str
    trials: int
    files: str | None
    made_of: str
    table: str
    shards: list[Shard]
    bench: str


@dataclass(frozen=True, eq=False)
class Pack:
    """A pack that was read. trials: the table of `bench.trials`."""

    place: str
    manifest: Manifest
    trials: pd.DataFrame


def is_pack(place: str | Path) -> bool:
    """Whether a place is a pack: a folder with pack.json in it, or any address."""
    return is_address(place) or (Path(place) / MANIFEST).is_file()


def open_pack(place: str | Path) -> Pack:
    """Read what a pack says of itself; its shards are not looked at.

    Raises:
        Blocked: there is none. DataError: it cannot be read, is damaged, or contradicts itself.
    """
    address = str(place).rstrip("/") if is_address(place) else str(Path(place).absolute())
    manifest = read_manifest(address)
    where = f"{address}/{TRIALS}"
    content = _present(where)
    if hashlib.sha256(content).hexdigest() != manifest.table:
        raise DataError(f"not the trial list that {MANIFEST} is of", where=where, remedy=AGAIN)
    table = _table(content, where)
    if len(table) != manifest.trials:
        what = f"{len(table):,} trials instead of the {manifest.trials:,} that {MANIFEST} tells"
        raise DataError(what, where=where, remedy=AGAIN)
    paths = _paths(table, address, manifest, where)
    _stamps[address] = dict(zip(paths, table[STAMP].tolist(), strict=True)) if STAMP in table else {}
    told = table.drop(columns=[*PLACE, STAMP], errors="ignore")
    trials = validate(told.assign(path=paths), where)
    if digest(trials) != manifest.digest:
        what = f"its trials are not those of the digest that {MANIFEST} tells ({manifest.digest[:12]})"
        raise DataError(what, where=where, remedy=AGAIN)
    return Pack(address, manifest, trials)


def read_manifest(address: str) -> Manifest:
    """Raises Blocked where there is no pack.json, DataError where it does not hold what it should."""
    where = f"{address}/{MANIFEST}"
    try:
        return Manifest.model_validate(json.loads(_present(where)))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "all of it"
        what = f"not the manifest of a pack: {field}: {first['msg']}"
        raise DataError(what, where=where, remedy=AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"not readable: {error}", where=where, remedy=AGAIN) from None


def _present(where: str) -> bytes:
    try:
        return read(where)
    except FileNotFoundError:
        what = "there is no pack here" if where.endswith(MANIFEST) else "the trial list of the pack is missing"
        raise Blocked(what, where=where, remedy="make one with `bench pack`, or correct the place") from None


def _table(content: bytes, where: str) -> pd.DataFrame:
    try:
        found = pq.read_table(BytesIO(content))
        found.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not readable: {error}", where=where, remedy=AGAIN) from None
    names = found.column_names
    if wrong := [name for name in ("trial", "label", *PLACE) if name not in names]:
        raise DataError(f"no column {wrong[0]!r}", where=where, remedy=AGAIN)
    for number, field in enumerate(found.schema):
        texts = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        right = pa.types.is_integer(field.type) if field.name in NUMBERS else texts
        if not right or found.column(number).null_count:
            kind = "whole numbers" if field.name in NUMBERS else "texts"
            raise DataError(f"column {field.name!r} is not one column of {kind}", where=where, remedy=AGAIN)
    table: pd.DataFrame = found.to_pandas()
    return table


def _paths(table: pd.DataFrame, address: str, manifest: Manifest, where: str) -> list[str]:
    """The path of each trial, all of whose members lie inside their shards."""
    shard, offset, size, crc = (table[column].to_numpy().astype(np.int64) for column in NUMBERS)
    known = (shard >= 0) & (shard < len(manifest.shards))
    room = np.array([0, *(one.bytes for one in manifest.shards)])[np.where(known, shard + 1, 0)]
    inside = known & (offset >= 0) & (size >= 0) & (size <= room) & (offset <= room - size)
    sound = inside & (crc >= 0) & (crc < 1 << 32) & ~table[NAME].str.contains(r"[\x00-\x1f]", regex=True).to_numpy()
    if not sound.all():
        row = int(np.argmin(sound))
        what = f"the audio of trial {table['trial'].iloc[row]!r} is at no place inside a shard of the pack"
        raise DataError(what, where=where, remedy=AGAIN)
    shards = [f"{address}/{one.name}" for one in manifest.shards]
    rows = zip(shard.tolist(), offset.tolist(), size.tolist(), crc.tolist(), table[NAME].tolist(), strict=True)
    return [Member(shards[number], *rest).path for number, *rest in rows]


def stamps(paths: Iterable[str]) -> dict[str, str]:
    """What `bench.corpora.fingerprint` knew of a user's own files when they were packed, by path of the packed trial.

    Raises:
        Blocked, DataError: as `open_pack`.
    """
    found: dict[str, str] = {}
    for place in {shard.rpartition("/")[0] for path in paths if (shard := shard_of(path)) is not None}:
        if place not in _stamps:
            open_pack(place)
        found |= _stamps[place]
    return found
