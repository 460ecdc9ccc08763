"""Detectors of one trial list two by two: which trials each decides rightly, and where they disagree most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.det import Counts, Floats
from bench.trials import is_bonafide

SHOWN = 10  # trials that are told of each side of a disagreement
SAMPLED = 600  # trials that are drawn, at most: a page holds their scores for every detector

Flags = NDArray[np.bool_]


class Decisions(NamedTuple):
    """Trials of one class: decided rightly by both, by the first alone, by the second alone, by neither."""

    both: int
    first: int
    second: int
    neither: int


@dataclass(frozen=True, eq=False)
class Scores:
    """What one detector gave the trials of a list, all in its order.

    values: float64 (N,), higher = more bona fide. labels: (N,), 1 = bona fide. threshold: of its EER; a trial is
    accepted iff its score is above.
    """

    values: Floats
    labels: NDArray[np.int8]
    threshold: float

    @cached_property
    def right(self) -> Flags:
        """Whether each trial is decided rightly, (N,)."""
        right: Flags = (self.values > self.threshold) == (self.labels == 1)
        return right

    @cached_property
    def places(self) -> Counts:
        """Trials that score lower, and as many again that score lower or the same, (N,): whole numbers, so that equal
        differences of them are equal."""
        ordered = np.sort(self.values)
        return np.searchsorted(ordered, self.values, "left") + np.searchsorted(ordered, self.values, "right")

    @property
    def percentiles(self) -> Floats:
        """The share of all trials that score lower, and half of those that score the same, in percent, (N,)."""
        shares: Floats = 50.0 * self.places / len(self.values)
        return shares


def decisions(scores: Sequence[Scores], label: int) -> list[list[Decisions]]:
    """Of each detector (first) and each (second), over the trials of one class."""
    labels = scores[0].labels
    right = np.stack([one.right[labels == label] for one in scores]).astype(np.float32)
    # Whole numbers below 2^24 are exact in float32.
    both = np.rint(right @ right.T).astype(np.int64)
    alone = np.diagonal(both)[:, None] - both
    neither = right.shape[1] - both - alone - alone.T
    return [
        [Decisions(*map(int, four)) for four in zip(both[row], alone[row], alone[:, row], neither[row], strict=True)]
        for row in range(len(scores))
    ]


def disagreements(first: Scores, second: Scores) -> Counts:
    """Rows of the trials that the first decides rightly and the second wrongly, up to `SHOWN`.

    Those whose percentiles differ most come first, of equal ones the earlier in the list.
    """
    rows = np.flatnonzero(first.right & ~second.right)
    margins = first.places[rows] - second.places[rows]
    margins[first.labels[rows] == 0] *= -1  # a spoofed one stands well where it stands low
    return rows[np.argsort(-margins, kind="stable")[:SHOWN]]


def sample(trials: pd.DataFrame) -> Counts:
    """Rows of at most `SAMPLED` trials, as many of each class as can be, in the order of the list.

    Chosen by a hash of the trial id: the same for all detectors, whatever the order of the list.
    """
    labels, order = is_bonafide(trials), _hashes(trials)
    members = [np.flatnonzero(labels == label) for label in (1, 0)]
    half = SAMPLED // 2
    quotas = [
        min(len(rows), max(half, SAMPLED - len(other))) for rows, other in zip(members, members[::-1], strict=True)
    ]
    chosen = [rows[np.argsort(order[rows], kind="stable")[:quota]] for rows, quota in zip(members, quotas, strict=True)]
    return np.sort(np.concatenate(chosen))


def _hashes(trials: pd.DataFrame) -> NDArray[np.uint64]:
    return np.asarray(pd.util.hash_pandas_object(trials["trial"], index=False), dtype=np.uint64)
