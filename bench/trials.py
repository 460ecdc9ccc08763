"""The trial table: one row an utterance to decide on.

Columns, all strings:

    trial     unique id without audio suffix, e.g. `LA_E_1000147`
    path      audio file where it is, or where it is expected; '' where that is not known
    label     `bonafide` or `spoof`
    speaker   who speaks (or is imitated), '' where unknown
    attack    the system that made a spoof, '' for bona fide and where unknown
    start     where trials are pieces of files: the second at which one begins, '' = the beginning of the file
    stop      the second before which it ends, '' = the end of the file
    ...       attributes of the corpus: codec, phase, vocoder, source, language, ...

Readers build the table and hand it to `validate`; everything behind them may rely on what `validate` promises.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.errors import DataError

BONAFIDE = "bonafide"
SPOOF = "spoof"
COLUMNS = ("trial", "path", "label", "speaker", "attack")
PIECE = ("start", "stop")  # columns that only lists of pieces have

# Attributes that only a spoof has: a breakdown by them sets all bona fide trials against each value. Any other
# attribute (codec, language, ...) selects trials of both classes. Source: the organisers' 2021 evaluation package.
SPOOF_ATTRIBUTES = frozenset({"attack", "vocoder", "task", "team", "gender_pair", "model_name", "architecture"})

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".mp4", ".ogg", ".opus", ".aac", ".wma", ".aiff", ".aif")
# Either case by hand: `(?i)` would also take letters that fold into these, as the long s into s.
_SUFFIX = "|".join("".join(f"[{letter}{letter.upper()}]" for letter in suffix[1:]) for suffix in AUDIO_SUFFIXES)

PIECE_ROWS = 16_384  # texts of a column that are Python strings at a time: 600,000 would take 40 MB

# Every spelling met in published corpora. Closed on purpose: a filter on one spelling would silently drop a class, and
# a bare 0 or 1 means opposite things in different corpora.
LABELS: Mapping[str, str] = {
    "bonafide": BONAFIDE,
    "bona-fide": BONAFIDE,
    "real": BONAFIDE,
    "genuine": BONAFIDE,
    "spoof": SPOOF,
    "fake": SPOOF,
}


class Span(NamedTuple):
    """A piece of a file, in seconds: from `start` to before `stop`, None = to the end."""

    start: float
    stop: float | None


def trial_id(name: str) -> str:
    """The id of a trial: the name without an audio suffix. `12.wav`, `12.WAV` and `12` are one trial."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and f".{suffix.lower()}" in AUDIO_SUFFIXES else name


def trial_ids(names: pd.Series) -> pd.Series:
    """`trial_id` for a whole column."""
    return names.astype("str").str.replace(rf"(?s)(.)\.(?:{_SUFFIX})\z", r"\1", regex=True)


def pieces(rows: int) -> Iterator[slice]:
    """Slices of `PIECE_ROWS` rows, at least one, for what needs Python strings or many copies."""
    return (slice(start, start + PIECE_ROWS) for start in range(0, max(rows, 1), PIECE_ROWS))


def in_one_chunk(table: pd.DataFrame | pa.Table) -> pd.DataFrame:
    """A table of texts with each column in one chunk, rows numbered anew.

    What is read or joined in several chunks takes thirty times as long to find rows in.
    """
    pa.default_memory_pool().release_unused()  # it keeps what it has freed, and is now asked for as much again
    table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    whole: pd.DataFrame = table.combine_chunks().to_pandas()
    return whole.astype("str")


def hashes(texts: pd.Series) -> np.ndarray:
    """A hash of each text, uint64 (rows,), everywhere the same. Equal hashes do not prove equal texts."""
    found = np.empty(len(texts), dtype=np.uint64)
    for piece in pieces(len(texts)):
        found[piece] = pd.util.hash_array(texts.iloc[piece].to_numpy(dtype=object), categorize=False)
    return found


class RowFinder:
    """Finds trials in a list, from 16 bytes a trial: a hash table of Python strings takes a hundred.

    trials: ids, each once.
    """

    def __init__(self, trials: pd.Series) -> None:
        self._trials = trials.array
        hashed = hashes(trials)
        self._order = hashed.argsort()
        self._hashes = hashed[self._order]

    def rows(self, trials: pd.Series) -> np.ndarray:
        """The row of each in the list, -1 where it is not there, int64 (n,)."""
        hashed = hashes(trials)
        found = np.full(len(trials), -1)
        at, waiting = np.searchsorted(self._hashes, hashed), np.arange(len(trials))
        while True:  # once: listed ids of one hash lie side by side, but there is hardly ever more than one
            waiting = waiting[at[waiting] < len(self._hashes)]
            waiting = waiting[self._hashes[at[waiting]] == hashed[waiting]]
            if not len(waiting):
                return found
            rows = self._order[at[waiting]]
            same = np.asarray(self._trials.take(rows) == trials.array.take(waiting))
            found[waiting[same]] = rows[same]
            waiting = waiting[~same]
            at[waiting] += 1


def parse_labels(raw: pd.Series, where: str | Path, lines: Sequence[int] | np.ndarray | None = None) -> pd.Series:
    """Labels of a protocol in the two spellings of the trial table.

    Args:
        raw: labels as the file spells them.
        where: the file, for the error.
        lines: 1-based line of each row; rows are lines 1, 2, ... where it is not given.

    Raises:
        DataError: a spelling that is not in `LABELS`, with its line.
    """
    codes, spellings = pd.factorize(raw, use_na_sentinel=False)
    labels = [LABELS.get(str(spelling).strip().lower()) for spelling in spellings]
    for code, (spelling, label) in enumerate(zip(spellings, labels, strict=True)):
        if label is None:
            row = int(np.argmax(codes == code))
            digit = str(spelling).strip() in {"0", "1"}
            raise DataError(
                f"unknown label {spelling!r}",
                where=where,
                line=int(lines[row]) if lines is not None else row + 1,
                remedy="write `bonafide` or `spoof`: corpora disagree on what 0 and 1 mean"
                if digit
                else f"labels are {', '.join(LABELS)} (any case); correct the file or its reader",
            )
    return pd.Series(pd.array(labels, dtype="str").take(codes), index=raw.index, name=raw.name)


def validate(table: pd.DataFrame, where: str | Path, lines: Sequence[int] | np.ndarray | None = None) -> pd.DataFrame:
    """A table that keeps the promises of this module, columns in order and rows in the order of the file.

    Raises:
        DataError: no trial at all, an empty id, an id with a tab or a line break, a duplicate id, a label out of place,
            a `start` or `stop` that is no piece of a file.
    """

    def line(row: int) -> int:
        return int(lines[row]) if lines is not None else row + 1

    missing = [column for column in ("trial", "label") if column not in table]
    if missing:
        raise DataError(f"no column {' and no column '.join(missing)}", where=where)
    if table.empty:
        raise DataError("no trial in this list", where=where, remedy="check that the download is complete")
    defaults = {column: "" for column in COLUMNS if column not in table}
    table = table.assign(**defaults).reset_index(drop=True)
    table = table[[*COLUMNS, *(column for column in table if column not in COLUMNS)]]
    table = in_one_chunk(table.fillna("").astype("str"))

    ids = table["trial"]
    blank = (ids.str.strip() == "").to_numpy()
    if blank.any():
        raise DataError("empty trial id", where=where, line=line(int(blank.argmax())))
    unsafe = ids.str.contains(r"[\t\r\n\x00]", regex=True).to_numpy()
    if unsafe.any():
        row = int(unsafe.argmax())
        raise DataError(f"trial id {ids.iloc[row]!r} holds a tab, line break or NUL", where=where, line=line(row))
    hashed = hashes(ids)
    hashed.sort()
    if (hashed[1:] == hashed[:-1]).any() and (repeated := ids.duplicated().to_numpy()).any():
        row = int(repeated.argmax())
        first = int((ids == ids.iloc[row]).to_numpy().argmax())
        raise DataError(
            f"trial {ids.iloc[row]!r} is listed twice, first in line {line(first)}",
            where=where,
            line=line(row),
            remedy="remove one of the two rows; if they are different files or pieces, give them different ids",
        )
    wrong = ~table["label"].isin([BONAFIDE, SPOOF]).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"label {table['label'].iloc[row]!r} was not parsed", where=where, line=line(row))
    for row, (start, stop) in enumerate(_pieces(table)):
        try:
            span(start, stop)
        except ValueError as error:
            remedy = "give seconds from the beginning of the file, `start` before `stop`, or leave them empty"
            raise DataError(str(error), where=where, line=line(row), remedy=remedy) from None
    return table


def span(start: str, stop: str) -> Span | None:
    """The piece that the columns `start` and `stop` of a row name, None = the whole file.

    Raises:
        ValueError: they name none.
    """
    begin, end = (_seconds(text) if text.strip() else None for text in (start, stop))
    if end is not None and end <= (begin or 0.0):
        raise ValueError(f"a piece that stops at {stop} s begins at {start or 0} s")
    return None if begin is None and end is None else Span(begin or 0.0, end)


def spans(table: pd.DataFrame) -> list[Span | None]:
    """The piece of its file that each trial of a valid table is, None = the whole file."""
    pieces = _pieces(table)
    return [span(*piece) for piece in pieces] if pieces else [None] * len(table)


def _pieces(table: pd.DataFrame) -> list[tuple[str, str]]:
    """`start` and `stop` of each row; nothing where the table has neither column."""
    if not any(column in table for column in PIECE):
        return []
    start, stop = (table[column].tolist() if column in table else [""] * len(table) for column in PIECE)
    return list(zip(start, stop, strict=True))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{text!r} is no second of a file")
    return seconds


def digest(table: pd.DataFrame) -> str:
    """Sha256 (hex) over the sorted lines `trial<TAB>label<LF>`: the identity of a trial list.

    Results of different digests are never compared; equal counts prove nothing.
    """
    lines = (table["trial"] + "\t" + table["label"] + "\n").sort_values()
    hashed = hashlib.sha256()
    for piece in pieces(len(lines)):
        hashed.update("".join(lines.iloc[piece].tolist()).encode())
    return hashed.hexdigest()


def difference_between(first: pd.DataFrame, second: pd.DataFrame, gone: str, new: str) -> str:
    """How two trial lists differ, in words.

    Args:
        gone, new: what to call the trials that only the first, and only the second has.

    Returns:
        `77 trials are in both, 3 gone (the first 'b37'), 1 in both with another label (the first 'b0')`
    """
    before, after = (table.set_index("trial")["label"] for table in (first, second))
    both = before.index.intersection(after.index)
    relabelled = both[(before.loc[both] != after.loc[both]).to_numpy()]
    parts = (
        (before.index.difference(after.index), gone),
        (after.index.difference(before.index), new),
        (relabelled, "in both with another label"),
    )
    told = [f"{len(names):,} {what} (the first {names[0]!r})" for names, what in parts if len(names)]
    return ", ".join([f"{len(both):,} trials are in both", *told])


def is_bonafide(table: pd.DataFrame) -> np.ndarray:
    """Labels as int8, 1 = bona fide, 0 = spoof, shape (rows,)."""
    return (table["label"] == BONAFIDE).to_numpy().astype(np.int8)


def first_trials(table: pd.DataFrame, limit: int) -> pd.DataFrame:
    """A reproducible sample of about `limit` trials that keeps the share of the classes and at least one of each.

    The sample depends on the ids alone (those with the smallest sha256), not on the order of the file: the head of most
    protocols holds one class only.
    """
    if limit >= len(table):
        return table
    order = table["trial"].map(lambda trial: hashlib.sha256(trial.encode()).hexdigest())
    kept: list[int] = []
    for label in (BONAFIDE, SPOOF):
        rows = table.index[table["label"] == label]
        if len(rows):
            count = max(1, round(limit * len(rows) / len(table)))
            kept.extend(order.loc[rows].sort_values().index[:count])
    return table.loc[sorted(kept)].reset_index(drop=True)
