"""The trials that a detector is most wrong about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.det import Counts
from bench.scored import Scored
from bench.trials import COLUMNS

COUNT = 10  # of each kind


@dataclass(frozen=True)
class Mistake:
    """distance: of the score to the threshold, 0 or more. seconds: of the audio, None where it is not known.

    attributes: columns of the trial list that say something of this trial, speaker and attack first.
    """

    trial: str
    score: float
    distance: float
    seconds: float | None
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Worst:
    """The most wrong first, ties by trial id. n_false_accepts, n_false_rejects: how many there are in all."""

    false_accepts: tuple[Mistake, ...]
    false_rejects: tuple[Mistake, ...]
    n_false_accepts: int
    n_false_rejects: int


def worst(trials: Scored, threshold: float, count: int = COUNT) -> Worst:
    """The spoofs with the highest scores above a threshold, and the bona fide trials with the lowest not above it.

    Args:
        threshold: of the score; a trial is accepted when its score exceeds it. count: of each kind, at most.
    """
    accepted, bonafide = trials.values > threshold, trials.labels == 1
    fooled, missed = np.flatnonzero(accepted & ~bonafide), np.flatnonzero(~accepted & bonafide)
    return Worst(
        tuple(_mistake(trials, row, threshold) for row in _lowest(trials, fooled, -trials.values[fooled], count)),
        tuple(_mistake(trials, row, threshold) for row in _lowest(trials, missed, trials.values[missed], count)),
        len(fooled),
        len(missed),
    )


def _lowest(trials: Scored, rows: Counts, keys: np.ndarray, count: int) -> list[int]:
    """The rows with the lowest keys. Only those that tie with the last of them are told apart by their ids."""
    if len(rows) > count:
        near = keys <= np.partition(keys, count - 1)[count - 1]
        rows, keys = rows[near], keys[near]
    ids = trials.trials["trial"].iloc[rows]
    return [row for _, _, row in sorted(zip(keys.tolist(), ids, rows.tolist(), strict=True))[:count]]


def _mistake(trials: Scored, row: int, threshold: float) -> Mistake:
    told = {str(name): str(value) for name, value in trials.trials.iloc[row].items()}
    score, seconds = float(trials.values[row]), float(trials.seconds[row])
    names = ("attack", "speaker", *(name for name in told if name not in COLUMNS))
    attributes = {name: told[name] for name in names if told[name]}
    return Mistake(told["trial"], score, abs(score - threshold), seconds if np.isfinite(seconds) else None, attributes)
