"""One detector on its device: decoded batches -> scores. Out of memory halves what a forward pass takes.

Nothing here waits for a GPU before a batch's scores are asked for: they come back in bulk, while the next batch is
computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from bench.batches import Portion, rows_of
from bench.decoding import Batch
from bench.embeddings import table
from bench.errors import ScoringError
from bench.models import Output
from bench.precision import arithmetic
from bench.scorer import Scorer


class Scored(NamedTuple):
    """A scored batch: columns trial, score, extras..., seconds, note; a file that failed has a note and no score.

    embedded: `bench.embeddings.table` of its trials that are sampled; None where there are none.
    """

    detector: str
    block: pd.DataFrame
    forward_seconds: float
    embedded: pd.DataFrame | None = None


class _Found(NamedTuple):
    """What a detector gives of readable rows: score and extras (n,) each, embeddings of the sampled (m, D); tensors on
    their way to the CPU."""

    columns: dict[str, torch.Tensor]
    embeddings: torch.Tensor | None


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch has no type for it


class Clock:
    """When work on a device began and ended: on a CPU by the host, on a GPU by events of its stream."""

    def __init__(self, device: torch.device) -> None:
        self._events = [_event() for _ in range(2)] if device.type == "cuda" else []
        self._times = [0.0, 0.0]
        self._mark(0)

    def _mark(self, end: int) -> None:
        self._times[end] = time.perf_counter()
        if self._events:
            self._events[end].record()

    def stop(self) -> None:
        self._mark(1)

    def seconds(self) -> float:
        """How long the work took; of a GPU, waits for its end."""
        if not self._events:
            return self._times[1] - self._times[0]
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1])) / 1000

    def gap_before(self, following: Clock) -> float:
        """Seconds between the end of this work and the beginning of a following one; both have ended."""
        if not self._events:
            return following._times[0] - self._times[1]
        following._events[0].synchronize()
        return float(self._events[1].elapsed_time(following._events[0])) / 1000


class Runner:
    """A detector on its device, with the batch size that fits there."""

    def __init__(self, scorer: Scorer, device: torch.device) -> None:
        self.name = scorer.name
        self._model = scorer.build(device)
        self._device = device
        self._precision = scorer.precision
        self._compiled = scorer.compiled
        self._recipe, self._batch_size = scorer.recipe, scorer.batch_size
        self._limit: int | None = None  # rows a forward pass, once memory has run out

    def start(self, portion: Portion, batch: Batch, wave: torch.Tensor | None, clock: Clock) -> Callable[[], Scored]:
        """Begin to score a batch.

        Args:
            wave: that of the batch, on the device. clock: of this work; it is stopped behind it.

        Returns:
            What waits for the scores, and for the embeddings of those of its trials that are sampled. It raises
            ScoringError for a score that is not finite.

        Raises:
            ScoringError: outputs of another shape, one trial that needs too much memory.
        """
        try:
            found = self._found(portion, batch, wave) if batch.readable.any() else None
        finally:
            clock.stop()
        return lambda: self._scored(portion, batch, found, clock.seconds())

    def _scored(self, portion: Portion, batch: Batch, found: _Found | None, elapsed: float) -> Scored:
        columns = {name: values.numpy() for name, values in found.columns.items()} if found else {"score": np.zeros(0)}
        ids = portion.trials[batch.readable]
        for column, values in columns.items():
            if not np.isfinite(values).all():
                raise ScoringError(
                    f"the {column} of trial {ids[np.flatnonzero(~np.isfinite(values))[0]]!r} is not finite",
                    where=f"detector {self.name}",
                    remedy="check its weights and audio recipe; no EER is computed from such scores",
                )
        block: dict[str, Any] = {"trial": portion.trials}
        for column, values in columns.items():
            block[column] = np.full(len(portion.trials), np.nan)
            block[column][batch.readable] = values
        block |= {"seconds": batch.seconds, "note": batch.notes}
        embedded = None
        if found is not None and found.embeddings is not None:
            of = ids[portion.sampled[batch.readable]]
            embedded = table(of, found.embeddings.numpy())
        return Scored(self.name, pd.DataFrame(block), elapsed, embedded)

    def _found(self, portion: Portion, batch: Batch, wave: torch.Tensor | None) -> _Found:
        rows = int(batch.readable.sum())
        size = min(self._limit or rows, self._share(wave, rows))
        while True:
            try:
                pieces = [self._forward(portion, batch, wave, start, start + size) for start in range(0, rows, size)]
                return _to_host(_joined(pieces))
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if size == 1:
                    raise ScoringError(
                        "one trial alone does not fit into memory",
                        where=f"detector {self.name} on {self._device}",
                        remedy="use another --device, or a machine with more memory",
                    ) from error
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            size = self._limit = size // 2

    def _share(self, wave: torch.Tensor | None, rows: int) -> int:
        """Rows of a batch in a forward pass: all of them, or what the detector's own batch size allows."""
        if self._batch_size is None or wave is None:
            return rows
        return min(rows, rows_of(self._batch_size, self._recipe, wave.shape[1]))

    @torch.inference_mode()
    def _forward(self, portion: Portion, batch: Batch, wave: torch.Tensor | None, start: int, stop: int) -> _Found:
        with arithmetic(self._precision):
            if wave is None or batch.lengths is None:
                result = self._model((batch.facts or [])[start:stop])
            else:
                result = self._model(*self._filled(wave[start:stop], batch.lengths[start:stop]))
        output = result if isinstance(result, Output) else Output(result)
        sampled = portion.sampled[batch.readable][start:stop]
        if self._compiled:
            output = _first(output, len(sampled))
        if reserved := output.extras.keys() & {"trial", "score", "seconds", "note"}:
            raise ScoringError(f"no extra may be called {min(reserved)!r}", where=self.name)
        columns = {"score": output.scores, **output.extras}
        for column, values in columns.items():
            if values.shape != (len(sampled),):
                shape = tuple(values.shape)
                raise ScoringError(f"{column} has shape {shape} for {len(sampled)} trials", where=self.name)
        found = {column: values.double() for column, values in columns.items()}
        return _Found(found, self._embeddings(output.embedding, sampled))

    def _filled(self, wave: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Silence fills up a batch that is not full, for a detector that would be compiled anew for another shape."""
        full = self._batch_size or len(wave)
        lacking = (full if self._limit is None else min(full, self._limit)) - len(wave) if self._compiled else 0
        if not lacking:
            return wave, lengths
        silence = wave.new_zeros(lacking, wave.shape[1])
        return torch.cat([wave, silence]), torch.cat([lengths, lengths.new_full((lacking,), wave.shape[1])])

    def _embeddings(self, embedding: torch.Tensor | None, sampled: np.ndarray) -> torch.Tensor | None:
        """Those of the sampled rows (m, D) alone leave the device; None where there is nothing to leave it."""
        chosen = np.flatnonzero(sampled)
        if embedding is None or not len(chosen):
            return None
        if embedding.ndim != 2 or len(embedding) != len(sampled):
            shape = tuple(embedding.shape)
            raise ScoringError(f"the embedding has shape {shape} for {len(sampled)} trials", where=self.name)
        return embedding[torch.from_numpy(chosen).to(embedding.device, non_blocking=True)].float()


def _first(output: Output, rows: int) -> Output:
    """What a detector gave of the first rows."""
    extras = {name: values[:rows] for name, values in output.extras.items()}
    return Output(output.scores[:rows], extras, None if output.embedding is None else output.embedding[:rows])


def _joined(pieces: Sequence[_Found]) -> _Found:
    columns = {column: torch.cat([piece.columns[column] for piece in pieces]) for column in pieces[0].columns}
    embeddings = [piece.embeddings for piece in pieces if piece.embeddings is not None]
    return _Found(columns, torch.cat(embeddings) if embeddings else None)


def _to_host(found: _Found) -> _Found:
    """Values whose copy to the CPU is under way: complete behind the clock that is stopped next."""
    columns = {column: _copied(values) for column, values in found.columns.items()}
    return _Found(columns, None if found.embeddings is None else _copied(found.embeddings))


@torch.inference_mode()
def _copied(values: torch.Tensor) -> torch.Tensor:
    if values.device.type == "cpu":
        return values
    # Only a copy into pinned memory does not wait.
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of a forward pass says that memory ran out."""
    # The CPU allocator, the CUDA driver and cuBLAS raise a plain RuntimeError.
    told = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in told)
