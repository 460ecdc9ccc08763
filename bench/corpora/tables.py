"""Lists of trials as text: protocols without a header, tables with one, read quickly and, where something is unusual,
line by line, so that every error tells its line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from functools import reduce
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
from pyarrow import compute

from bench.errors import DataError
from bench.trials import (
    BONAFIDE,
    SPOOF_ATTRIBUTES,
    in_one_chunk,
    parse_labels,
    validate,
)

Lines: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
MOST_BYTES = 2**30  # of a block that arrow reads
UNUSED = "unused"  # the columns of a protocol that say nothing; `finish` drops them
DELIMITERS = ",\t;|"
BOM = b"\xef\xbb\xbf"


class Rows(NamedTuple):
    """The rows of a text file as strings, and the 1-based line in which each begins, shape (rows,)."""

    table: pd.DataFrame
    lines: Lines


def read_protocol(file: Path, *layouts: Sequence[str]) -> Rows:
    """A protocol without header whose columns are separated by spaces.

    Args:
        file: UTF-8, with or without byte order mark, any line ends; empty lines are passed over.
        layouts: the column names of each accepted form; the first line decides which it is.

    Raises:
        DataError: no line at all, a line with another number of columns, bytes that are not UTF-8.
    """
    raw = _bytes(file)
    by_width = {len(layout): layout for layout in layouts}
    columns = by_width.get(len(BytesIO(raw).readline().split()))
    if columns is not None and (quick := _quick_protocol(raw, columns)) is not None:
        return Rows(in_one_chunk(quick), np.arange(1, len(quick) + 1))

    rows, numbers = [], []
    for number, line in enumerate(raw.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in by_width:
            raise DataError(
                f"{len(fields)} columns instead of {' or '.join(map(str, by_width))}",
                where=file,
                line=number,
                remedy="spaces separate columns, so no field may hold one; a line cut short is a broken download",
            )
        by_width = {len(fields): by_width[len(fields)]}
        rows.append([_decoded(field, file, number) for field in fields])
        numbers.append(number)
    if not rows:
        raise _empty(file)
    (columns,) = by_width.values()
    return Rows(pd.DataFrame(rows, columns=list(columns), dtype="str"), np.array(numbers))


def _quick_protocol(raw: bytes, columns: Sequence[str]) -> pa.Table | None:
    """The rows of a protocol without anything unusual; None where the line by line way must tell."""
    if any(space in raw for space in (b"\t", b"\v", b"\f")):
        return None
    table = _parsed(raw, columns, " ")
    return None if table is None or any(compute.any(empty).as_py() for empty in _empty_fields(table)) else table


def _quick_table(raw: bytes, columns: Sequence[str], delimiter: str) -> pa.Table | None:
    """The rows of a table without quotes, fields stripped; None where the line by line way must tell."""
    table = _parsed(raw, columns, delimiter)
    if table is None:
        return None
    table = pa.table([compute.utf8_trim_whitespace(column) for column in table.columns], list(columns))
    if compute.any(reduce(compute.and_, _empty_fields(table))).as_py():
        return None  # a blank row, which counts as a line only
    return table.slice(1)


def _parsed(raw: bytes, columns: Sequence[str], delimiter: str) -> pa.Table | None:
    """The lines of a text in which a quote is a character like any other; None where one has other columns."""
    try:
        return arrow_csv.read_csv(
            pa.BufferReader(raw),
            # In one block: the columns of several would have to be copied into one.
            read_options=arrow_csv.ReadOptions(column_names=list(columns), block_size=min(len(raw) + 1, MOST_BYTES)),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, quote_char=False, double_quote=False, ignore_empty_lines=False
            ),
            convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.large_string())),
        )
    except pa.ArrowInvalid:
        return None


def _empty_fields(table: pa.Table) -> list[pa.ChunkedArray]:
    return [compute.equal(column, "") for column in table.columns]


def read_table(file: Path, needed: Sequence[str], *, delimiters: str = DELIMITERS, quotes: bool = True) -> Rows:
    """A table with a header. Columns are found by name, in any letter case and any order; all of them are returned.

    Args:
        file: UTF-8, with or without byte order mark, any line ends; empty lines are passed over.
        needed: columns that must be there. `path|file` means that `file` may stand for `path`, and is then called so.
        delimiters: what may separate columns: the first one that gives a header with every needed column.
        quotes: whether `"` encloses a field. In a list with bare quote characters rows would vanish: False there.

    Raises:
        DataError: an empty file, a needed column missing, a column twice, a row with more or fewer fields than the
            header, an unclosed quote, bytes that are not UTF-8.
    """
    raw = _bytes(file)
    delimiter, named = _columns(_decoded(raw, file), needed, delimiters, file)
    if not (quotes and b'"' in raw) and (quick := _quick_table(raw, named, delimiter)) is not None:
        return Rows(in_one_chunk(quick), np.arange(2, len(quick) + 2))

    rows, numbers = [], []
    for fields, number in _records(_decoded(raw, file), delimiter, quotes, file):
        if len(fields) != len(named):
            raise DataError(
                f"{len(fields)} columns instead of the {len(named)} of the header",
                where=file,
                line=number,
                remedy=f"{delimiter!r} separates columns; a line cut short is a broken download",
            )
        rows.append(fields)
        numbers.append(number)
    return Rows(pd.DataFrame(rows[1:], columns=named, dtype="str"), np.array(numbers[1:], dtype=np.int64))


def _columns(text: str, needed: Sequence[str], delimiters: str, file: Path) -> tuple[str, list[str]]:
    """What separates the columns of a table, and what its header calls them."""
    header = next((line[0] for line in re.finditer(r"[^\r\n]+", text) if line[0].strip()), "")
    if not header:
        raise _empty(file)
    splits = {
        delimiter: [name.strip('" \r\n\t').lower() for name in header.split(delimiter)] for delimiter in delimiters
    }
    fitting = {delimiter: named for delimiter, names in splits.items() if (named := _named(names, needed))}
    if not fitting:
        wanted = " and ".join(f"`{column.replace('|', '` or `')}`" for column in needed)
        raise DataError(
            f"the header has no column {wanted}: {header.strip()[:200]!r}",
            where=file,
            line=1,
            remedy=f"the first line names the columns, e.g. {','.join(column.split('|')[0] for column in needed)}",
        )
    delimiter, named = next(iter(fitting.items()))
    repeated = [name for name in named if named.count(name) > 1]
    if repeated:
        raise DataError(f"the header has `{repeated[0]}` twice", where=file, line=1, remedy="rename one of the columns")
    return delimiter, named


def _named(header: Sequence[str], needed: Sequence[str]) -> list[str] | None:
    """The header with the needed columns under their first name; None where one is missing."""
    names = list(header)
    for column in needed:
        spelling = next((name for name in column.split("|") if name in names), None)
        if spelling is None:
            return None
        names[names.index(spelling)] = column.split("|")[0]
    return names


def _records(text: str, delimiter: str, quotes: bool, file: Path) -> Iterator[tuple[list[str], int]]:
    """Records that are not empty, fields stripped, with the line in which each begins."""
    reader = csv.reader(
        StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    line = 1
    try:
        for fields in reader:
            if any(map(str.strip, fields)):
                yield [field.strip() for field in fields], line
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"not readable as a table: {error}", where=file, line=line, remedy='close the quote, or write `"` as `""`'
        ) from error


def finish(rows: Rows, file: Path) -> pd.DataFrame:
    """The trial table of a protocol's rows: labels parsed, `-` emptied, spoof attributes of bona fide trials emptied.

    Raises:
        DataError: what `parse_labels` and `validate` of `bench.trials` refuse, with file and line.
    """
    pa.default_memory_pool().release_unused()  # it keeps what reading took and has freed
    table = rows.table.drop(columns=UNUSED, errors="ignore")
    table["label"] = parse_labels(table["label"], file, rows.lines)
    bonafide = table["label"] == BONAFIDE
    for column in table.columns.difference(["trial", "path", "label"]):
        nothing = table[column] == "-"
        table[column] = table[column].mask(nothing | bonafide if column in SPOOF_ATTRIBUTES else nothing, "")
    return validate(table, file, rows.lines)


def head(file: Path) -> bytes:
    """The first 10,000 bytes of a file, enough to tell what it is; without byte order mark and leading blanks."""
    try:
        with file.open("rb") as stream:
            return stream.read(10_000).removeprefix(BOM).lstrip()
    except OSError as error:
        raise _unreadable(file, error) from error


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes().removeprefix(BOM)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> DataError:
    return DataError(
        f"the file cannot be read: {error.strerror}", where=file, remedy="check that it is a file of yours"
    )


def _decoded(raw: bytes, file: Path, line: int = 1) -> str:
    """`raw`, which begins in `line` of the file, as text."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line += raw.count(b"\n", 0, error.start)
        raise DataError("not UTF-8 text", where=file, line=line, remedy="save the list as UTF-8") from error


def _empty(file: Path) -> DataError:
    return DataError("the file is empty", where=file, line=1, remedy="check that the download is complete")
