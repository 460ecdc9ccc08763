"""One detector on its device: decoded batches -> scores. Out of memory halves what a forward pass takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from bench.embeddings import table
from bench.errors import ScoringError
from bench.models import Facts, Output


class Batch(NamedTuple):
    """Decoded rows of the trial list. Only readable files are in `wave` (b, T) or `facts`, in the order of `rows`."""

    rows: np.ndarray
    readable: np.ndarray
    seconds: np.ndarray
    notes: list[str]
    wave: torch.Tensor | None
    lengths: torch.Tensor | None
    facts: list[Facts] | None


class Scored(NamedTuple):
    """A scored batch: columns trial, score, extras..., seconds, note; a file that failed has a note and no score.

    embedded: `bench.embeddings.table` of its trials that are sampled; None where there are none.
    """

    detector: str
    block: pd.DataFrame
    forward_seconds: float
    embedded: pd.DataFrame | None = None


class _Found(NamedTuple):
    """What a detector gives of readable rows: score and extras float64 (b,) each, embeddings of the sampled (n, D)."""

    columns: dict[str, np.ndarray]
    embeddings: np.ndarray | None


class Runner:
    """A detector on its device, with the batch size that fits there.

    model: in evaluation mode, on `device`. ids: of all trials, (rows,). sampled: which of them to give embeddings of.
    """

    def __init__(
        self, name: str, model: torch.nn.Module, device: torch.device, ids: np.ndarray, sampled: np.ndarray | None
    ) -> None:
        self.name = name
        self._model = model
        self._device = device
        self._ids = ids
        self._sampled = np.zeros(len(ids), dtype=bool) if sampled is None else sampled
        self._limit: int | None = None  # rows a forward pass, once memory has run out

    def score(self, batch: Batch) -> Scored:
        """Scores of a batch, and embeddings of those of its trials that are sampled.

        Raises:
            ScoringError: a score that is not finite, outputs of another shape, one trial that needs too much memory.
        """
        started = time.perf_counter()
        columns, embeddings = self._found(batch) if batch.readable.any() else _Found({"score": np.zeros(0)}, None)
        elapsed = time.perf_counter() - started
        rows = batch.rows[batch.readable]
        for column, values in columns.items():
            if not np.isfinite(values).all():
                row = rows[np.flatnonzero(~np.isfinite(values))[0]]
                raise ScoringError(
                    f"the {column} of trial {self._ids[row]!r} is not finite",
                    where=f"detector {self.name}",
                    remedy="check its weights and audio recipe; no EER is computed from such scores",
                )
        block: dict[str, Any] = {"trial": self._ids[batch.rows]}
        for column, values in columns.items():
            block[column] = np.full(len(batch.rows), np.nan)
            block[column][batch.readable] = values
        block |= {"seconds": batch.seconds, "note": batch.notes}
        of = self._ids[rows[self._sampled[rows]]]
        return Scored(self.name, pd.DataFrame(block), elapsed, None if embeddings is None else table(of, embeddings))

    def _found(self, batch: Batch) -> _Found:
        rows = int(batch.readable.sum())
        size = min(self._limit or rows, rows)
        while True:
            try:
                return _joined([self._forward(batch, start, start + size) for start in range(0, rows, size)])
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
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

    @torch.inference_mode()
    def _forward(self, batch: Batch, start: int, stop: int) -> _Found:
        if batch.wave is None or batch.lengths is None:
            result = self._model((batch.facts or [])[start:stop])
        else:
            wave = batch.wave[start:stop].to(self._device, non_blocking=True)
            result = self._model(wave, batch.lengths[start:stop].to(self._device, non_blocking=True))
        output = result if isinstance(result, Output) else Output(result)
        rows = batch.rows[batch.readable][start:stop]
        if reserved := output.extras.keys() & {"trial", "score", "seconds", "note"}:
            raise ScoringError(f"no extra may be called {min(reserved)!r}", where=self.name)
        columns = {"score": output.scores, **output.extras}
        for column, values in columns.items():
            if values.shape != (len(rows),):
                raise ScoringError(f"{column} has shape {tuple(values.shape)} for {len(rows)} trials", where=self.name)
        found = {column: values.double().cpu().numpy() for column, values in columns.items()}
        return _Found(found, self._embeddings(output.embedding, rows))

    def _embeddings(self, embedding: torch.Tensor | None, rows: np.ndarray) -> np.ndarray | None:
        """Those of the sampled rows (n, D) alone leave the device; None where there is nothing to leave it."""
        chosen = np.flatnonzero(self._sampled[rows])
        if embedding is None or not len(chosen):
            return None
        if embedding.ndim != 2 or len(embedding) != len(rows):
            shape = tuple(embedding.shape)
            raise ScoringError(f"the embedding has shape {shape} for {len(rows)} trials", where=self.name)
        values: np.ndarray = embedding[torch.from_numpy(chosen).to(embedding.device)].float().cpu().numpy()
        return values


def _joined(pieces: Sequence[_Found]) -> _Found:
    columns = {column: np.concatenate([piece.columns[column] for piece in pieces]) for column in pieces[0].columns}
    embeddings = [piece.embeddings for piece in pieces if piece.embeddings is not None]
    return _Found(columns, np.concatenate(embeddings) if embeddings else None)


def _out_of_memory(error: BaseException) -> bool:
    # The CPU allocator, the CUDA driver and cuBLAS raise a plain RuntimeError.
    told = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in told)
