"""Batches, planned from the whole trial list before anything runs.

A resumed run computes the same batches, and so does one that is shared out between processes or machines: a trial's
score comes out of the same arithmetic, as in an undisturbed run on one device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, overload

import numpy as np
import pandas as pd

from bench import audio
from bench.cards import AudioRecipe
from bench.errors import AudioError
from bench.trials import Span, spans

CLIP_SAMPLES = 64_600  # about 4 s: what one unit of batch size stands for when files are taken whole
FACT_ROWS = 4_096  # rows a batch where no samples are read


def plan_batches(
    trials: pd.DataFrame, recipe: AudioRecipe, batch_size: int, seconds: np.ndarray | None = None
) -> list[np.ndarray]:
    """All rows of the trial list in batches, a function of the list, the files and the batch size alone.

    Fixed windows batch in the order of the list. Whole files are bucketed by length: batches of like durations whose
    padded size is at most `batch_size` clips of about 4 s; a longer file is a batch of its own. `seconds` are the
    `durations` of whole files, where they are known already.
    """
    rows = np.arange(len(trials))
    if not recipe.decodes:
        return np.split(rows, rows[FACT_ROWS::FACT_ROWS])
    if recipe.window != "whole":
        return np.split(rows, rows[batch_size::batch_size])
    samples = (durations(trials) if seconds is None else seconds) * recipe.rate
    batches: list[list[int]] = []
    for row in np.lexsort((rows, samples)):
        # Sorted, so the new row is the longest and every row of the batch is padded to it.
        if batches and len(batches[-1]) < rows_of(batch_size, recipe, samples[row]):
            batches[-1].append(int(row))
        else:
            batches.append([int(row)])
    return [np.array(batch) for batch in batches]


def rows_of(batch_size: int, recipe: AudioRecipe, samples: float) -> int:
    """How many rows of so many samples a batch may have, 1 at least; of whole files 4 * `batch_size` at most."""
    if recipe.window != "whole":
        return batch_size
    return max(1, int(min(batch_size * CLIP_SAMPLES / max(samples, 1), 4 * batch_size)))


def durations(trials: pd.DataFrame) -> np.ndarray:
    """Seconds of each trial (rows,) by the header of its file, 0 where that does not tell (decoding will say why)."""
    codes, paths = pd.factorize(trials["path"])  # the header of a file is read once, however many pieces it has
    found = list(audio.headers(paths.tolist()))
    return np.array([_seconds(found[code], span) for code, span in zip(codes, spans(trials), strict=True)])


def _seconds(header: audio.Header | AudioError, span: Span | None) -> float:
    try:
        return 0.0 if isinstance(header, AudioError) else header.piece(span, "").seconds
    except AudioError:
        return 0.0


class Portion(NamedTuple):
    """A planned batch with all that scoring it takes, so that it can be sent anywhere.

    number: in the plan. trials, paths: ids and files (b,). spans: of pieces of files (b,). sampled: bool (b,), trials
    to give embeddings of. detectors: those that need it, by name.
    """

    number: int
    trials: np.ndarray
    paths: np.ndarray
    spans: Sequence[Span | None]
    sampled: np.ndarray
    detectors: tuple[str, ...]


class Portions(Sequence[Portion]):
    """The batches that some detector needs, each made when it is asked for.

    Args:
        trials: the trial table (`bench.trials`) with paths.
        batches: row numbers of `trials`, from `plan_batches`.
        detectors: names.
        known: by detector, bool (rows,): trials that need no score. A batch is left out when all of it is known.
        sampled: bool (rows,): trials to give embeddings of, where the detector makes any; None is none.
    """

    def __init__(
        self,
        trials: pd.DataFrame,
        batches: Sequence[np.ndarray],
        detectors: Sequence[str],
        known: Mapping[str, np.ndarray] | None = None,
        sampled: np.ndarray | None = None,
    ) -> None:
        self._trials, self._batches, self._sampled = trials, batches, sampled
        known = known or {}
        self._wanted: list[tuple[int, tuple[str, ...]]] = []
        for number, rows in enumerate(batches):
            lacking = tuple(name for name in detectors if name not in known or not known[name][rows].all())
            if lacking:
                self._wanted.append((number, lacking))

    def __len__(self) -> int:
        return len(self._wanted)

    @overload
    def __getitem__(self, index: int) -> Portion: ...

    @overload
    def __getitem__(self, index: slice) -> list[Portion]: ...

    def __getitem__(self, index: int | slice) -> Portion | list[Portion]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        number, detectors = self._wanted[index]
        rows = self._batches[number]
        chosen = self._trials.iloc[rows]
        sampled = np.zeros(len(rows), dtype=bool) if self._sampled is None else self._sampled[rows]
        paths = chosen["path"].to_numpy(dtype=object)
        return Portion(number, chosen["trial"].to_numpy(dtype=object), paths, spans(chosen), sampled, detectors)
