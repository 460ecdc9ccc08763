"""The DET curve: which errors a detector makes at each threshold, in trials. numpy alone.

    scores   float (N,), higher = more bona fide; raw logits or log-probabilities, finite
    labels   int or bool (N,), 1 = bona fide, 0 = spoof

A threshold t accepts a trial iff score > t. With Nb bona fide and Ns spoofed trials

    FRR(t) = (bona fide with score <= t) / Nb      false rejection, miss
    FAR(t) = (spoof with score > t) / Ns           false acceptance

All functions raise:

    UsageError   scores or labels that are not one number a trial, unequal lengths, a label that is neither 1 nor 0
    DataError    no trial, NaN or infinite scores, no trial of a class
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import DataError, UsageError

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]


class EqualErrorRate(NamedTuple):
    """`eer` = (`frr` + `far`) / 2, the rates of accepting iff score > `threshold`."""

    eer: float
    threshold: float
    frr: float
    far: float


@dataclass(frozen=True)
class Curve:
    """Errors in trials at each vertex of the DET curve, thresholds ascending, all (n_distinct + 1,)."""

    thresholds: Floats
    missed: Counts  # bona fide rejected: 0 ... Nb
    fooled: Counts  # spoof accepted: Ns ... 0

    @property
    def n_bonafide(self) -> int:
        return int(self.missed[-1])

    @property
    def n_spoof(self) -> int:
        return int(self.fooled[0])

    @property
    def n_distinct(self) -> int:
        return self.thresholds.size - 1

    @cached_property
    def frr(self) -> Floats:
        return self.missed / self.n_bonafide

    @cached_property
    def far(self) -> Floats:
        return self.fooled / self.n_spoof

    @cached_property
    def crossing(self) -> int:
        # Two vertices can be equally near. The rounding of exactly this expression settles which is the minimum, as in
        # the official code; exact integers or 1 - share would settle it differently.
        return int(np.argmin(np.abs(self.frr - self.far)))

    @property
    def equal_error_rate(self) -> EqualErrorRate:
        frr, far = float(self.frr[self.crossing]), float(self.far[self.crossing])
        return EqualErrorRate((frr + far) / 2, float(self.thresholds[self.crossing]), frr, far)

    @property
    def auc(self) -> float:
        # For each spoof the bona fide above it and half of those on it: the trapezoid rule, doubled to stay in trials.
        accepted = self.n_bonafide - self.missed
        twice_won = int(np.dot(-np.diff(self.fooled), accepted[:-1] + accepted[1:]))
        return twice_won / (2 * self.n_bonafide * self.n_spoof)


def curve_of(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Curve:
    """The curve of trials of both classes; `weights`, integers (N,), tell how often each trial counts, from 0."""
    if weights is None:
        return curve_between(*classes(scores, labels))
    values, flags = checked(scores, labels)
    times = np.asarray(weights)
    if times.dtype.kind not in "bui" or times.shape != values.shape or (times < 0).any():
        raise UsageError("weights must be one integer a trial, 0 or more: how many times it counts")
    return curve_between(*classes(np.repeat(values, times), np.repeat(flags, times)))


def curve_between(bonafide: Floats, spoof: Floats) -> Curve:
    """Counts by two sorts of bare values: cheaper than an argsort that carries the labels along."""
    ordered = np.sort(np.concatenate((bonafide, spoof)))
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    distinct = ordered[last]
    missed = np.cumsum(np.bincount(np.searchsorted(distinct, np.sort(bonafide)), minlength=distinct.size))
    rejected_spoof = last + 1 - missed
    # Far from zero, 0.001 is less than the spacing of floats.
    below = min(distinct[0] - 0.001, math.nextafter(distinct[0], -math.inf))
    return Curve(
        thresholds=np.concatenate(([below], distinct)),
        missed=np.concatenate(([0], missed)),
        fooled=spoof.size - np.concatenate(([0], rejected_spoof)),
    )


def classes(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Scores of the bona fide and of the spoofed trials, at least one of each."""
    values, flags = checked(scores, labels)
    for name, found in (("bona fide", flags.any()), ("spoofed", not flags.all())):
        if not found:
            raise DataError(
                f"no {name} trial among {values.size:,}: error rates need both classes",
                remedy="score trials of both classes, or check how the labels were read (1 = bona fide, 0 = spoof)",
            )
    return values[flags], values[~flags]


def checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores as float64 (N,) and whether each trial is bona fide (N,)."""
    values, marks = np.asarray(scores), np.asarray(labels)
    for name, array in (("scores", values), ("labels", marks)):
        if array.ndim != 1:
            raise UsageError(f"{name} must hold one number a trial, shape (N,), not {array.shape}")
        if array.dtype.kind not in "biuf":
            raise UsageError(
                f"{name} must be numbers, not {array.dtype}",
                remedy="labels are 1 (bona fide) and 0 (spoof): `bench.trials.is_bonafide` makes them",
            )
    same_length("scores", values.size, "labels", marks.size)
    if not values.size:
        raise DataError("no trial to evaluate", remedy="check that scores were written and the trial list is not empty")
    flags = marks == 1
    stray = ~flags & (marks != 0)
    if stray.any():
        row = int(stray.argmax())
        raise UsageError(
            f"{np.count_nonzero(stray):,} of {marks.size:,} labels are neither 1 nor 0, "
            f"the first at index {row} ({marks[row]})",
            remedy="labels are 1 (bona fide) and 0 (spoof)",
        )
    values = values.astype(np.float64, copy=False)
    broken = ~np.isfinite(values)
    if broken.any():
        row = int(broken.argmax())
        raise DataError(
            f"{np.count_nonzero(broken):,} of {values.size:,} scores are not finite, "
            f"the first at index {row} ({values[row]})",
            remedy="score these trials again; a metric that leaves them out is a metric of another trial list",
        )
    return values, flags


def same_length(first: str, n_first: int, second: str, n_second: int) -> None:
    if n_first != n_second:
        raise UsageError(f"{n_first:,} {first} but {n_second:,} {second}", remedy="give one of each for every trial")
