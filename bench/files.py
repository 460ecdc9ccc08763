"""Files of the results folder: written beside their place and renamed, so a reader never sees half of one."""

from __future__ import annotations

import errno
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import StoreError


def write_json(place: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    atomically(place, lambda part: part.write_text(text, encoding="utf-8"))


def write_parquet(place: Path, table: pd.DataFrame) -> None:
    """Deterministic: the same table gives the same bytes with the same pyarrow, in however many pieces it was made."""
    pa.default_memory_pool().release_unused()
    columns = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None).combine_chunks()
    atomically(place, lambda part: pq.write_table(columns, part, compression="zstd"))


def read_parquet(place: Path, remedy: str | None = None) -> pd.DataFrame:
    try:
        with place.open("rb") as file:
            table = pq.read_table(file)
        frame: pd.DataFrame = table.to_pandas()
    except FileNotFoundError:
        raise StoreError("the file is missing", where=place, remedy=remedy or "run again to write it") from None
    except (pa.ArrowException, OSError) as error:
        remedy = remedy or "delete it and run again"
        raise StoreError(f"not readable: {error}", where=place, remedy=remedy) from None
    texts = [name for name in frame if frame[name].dtype == object and not pa.types.is_list(table.field(name).type)]
    return frame.astype(dict.fromkeys(texts, "str"))


def atomically(place: Path, write: Callable[[Path], object], option: str = "--results") -> None:
    """Make a file by `write(temporary path)` and a rename: it is there whole or not at all.

    Args:
        option: of the command line, that names the folder.
    """
    part = place.with_name(f".{uuid.uuid4().hex}.part")
    with explained(place, option):
        try:
            for attempts_left in reversed(range(10)):
                try:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    write(part)
                    part.replace(place)
                    break
                except (FileNotFoundError, FileExistsError):  # another run is just removing the emptied folder
                    if not attempts_left:
                        raise
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def explained(place: Path, option: str = "--results") -> Iterator[None]:
    """What goes wrong with a file that is written, as a StoreError with the remedy; `option` names its folder."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        code = getattr(error, "errno", None)
        remedy = (
            "free some space and run the same command again: nothing written so far is lost"
            if code == errno.ENOSPC
            else f"choose a folder you may write to with {option}"
        )
        raise StoreError(
            f"cannot be written: {getattr(error, 'strerror', None) or error}", where=place, remedy=remedy
        ) from None


def read_json(place: Path) -> dict[str, Any] | None:
    """A JSON object, None where there is no such file. Raises StoreError for anything else."""
    try:
        value = json.loads(place.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"not readable: {error}", where=place, remedy="delete it and run again") from None
    if not isinstance(value, dict):
        raise StoreError("not a JSON object", where=place, remedy="delete it and run again")
    return value
