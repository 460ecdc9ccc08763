"""The recordings of a family of datasets (a list and its siblings), each decoded and measured once.

Of a recording a fixed number of bytes is kept (`bench.doctor.facts.FACTS`), and the reason where it fails. Files are
handed out a few at a time, so that neither audio nor queued work grows with the list.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import audio, corpora, environment
from bench.doctor.facts import FACTS, Status, measure, status_of
from bench.errors import AudioError
from bench.progress import Display
from bench.shards.reading import fetch
from bench.trials import PIECE, Span, spans

CHUNK = 16  # files a task: what a task costs is spread over so many; an interrupt waits for one of them
AHEAD = 4  # tasks waiting for each thread


class _Measured(NamedTuple):
    """Recordings, int (k,), their `FACTS` (k,), and recording -> why it failed."""

    rows: NDArray[Any]
    facts: NDArray[np.void]
    reasons: dict[int, str]


class Recordings:
    """Files, or pieces of them, that trials of the given tables name.

    rows: for each table the recording of each trial, int32 (trials,).
    table: path, and start and stop where there are pieces, of each recording (n,).
    files: the file of each recording, int32 (n,).
    facts: `FACTS` (n,), filled by `decode`. reasons: recording -> why it failed.
    """

    def __init__(self, tables: Sequence[pd.DataFrame]) -> None:
        columns = ["path", *(column for column in PIECE if any(column in table for table in tables))]
        joined = pd.concat([table.reindex(columns=columns, fill_value="") for table in tables], ignore_index=True)
        numbers = joined.groupby(columns, sort=False, dropna=False).ngroup().to_numpy().astype(np.int32)
        ends = np.cumsum([len(table) for table in tables])[:-1]
        self.rows: list[NDArray[np.int32]] = np.split(numbers, ends)
        self.table = joined.drop_duplicates(ignore_index=True)
        self.facts = np.zeros(len(self.table), dtype=FACTS)
        self.reasons: dict[int, str] = {}
        self.files: NDArray[np.int32] = pd.factorize(self.table["path"])[0].astype(np.int32)

    def decode(self, what: str, display: Display) -> None:
        """Measure every recording whose file is there. `what` is for the progress bar."""
        missing = corpora.missing_audio(self.table)
        self.facts["status"][missing] = Status.MISSING
        present = np.flatnonzero(self.facts["status"] == Status.OK)
        present = present[np.argsort(self.files[present], kind="stable")]  # the pieces of a file, one after the other
        display.begin(what, len(present))
        for rows, facts, reasons in self._measured(present):
            self.facts[rows] = facts
            self.reasons |= reasons
            display.advance(len(rows))
        display.end()

    def _measured(self, present: NDArray[Any]) -> Iterator[_Measured]:
        threads = int(environment.hardware("cpu")["cores"])
        waiting: deque[Future[_Measured]] = deque()
        stop = Event()
        pool = ThreadPoolExecutor(threads)
        try:
            edges = np.flatnonzero(np.diff(self.files[present], prepend=-1))[::CHUNK]
            for start, end in itertools.pairwise([*edges, len(present)]):
                waiting.append(pool.submit(self._measure, present[start:end], stop))
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also on Ctrl-C: what is running ends with the file it is at
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _measure(self, rows: NDArray[Any], stop: Event) -> _Measured:
        with fetch(self.table["path"].iloc[rows].tolist()):
            return self._measure_fetched(rows, stop)

    def _measure_fetched(self, rows: NDArray[Any], stop: Event) -> _Measured:
        table = self.table.iloc[rows]
        facts, reasons = np.zeros(len(rows), dtype=FACTS), {}
        pieces = zip(range(len(rows)), table["path"].tolist(), spans(table), strict=True)
        for path, group in itertools.groupby(pieces, key=lambda piece: piece[1]):
            if stop.is_set():
                break
            for position, found in _facts(path, [(position, span) for position, _, span in group]):
                if isinstance(found, AudioError):
                    facts["status"][position] = status_of(found)
                    reasons[int(rows[position])] = found.what
                else:
                    facts[position] = found
        return _Measured(rows, facts, reasons)


def _facts(path: str, pieces: Sequence[tuple[int, Span | None]]) -> Iterator[tuple[int, tuple[Any, ...] | AudioError]]:
    """A record of `FACTS`, or why there is none, for each piece of a file, which is decoded once."""
    try:
        whole, channels = audio.decode_whole(path), audio.header(path).channels
    except AudioError as error:
        yield from ((position, error) for position, _ in pieces)
        return
    except Exception as error:  # a decoder's own defect is that of the file, not the end of the audit
        defect = AudioError(f"{type(error).__name__}: {error}", where=path)
        yield from ((position, defect) for position, _ in pieces)
        return
    for position, span in pieces:
        try:
            sound = measure(audio.cut(whole, span, path), whole.rate)
            yield position, (Status.OK, whole.decoder == "PyAV", channels, whole.rate, *sound)
        except AudioError as error:
            yield position, error
