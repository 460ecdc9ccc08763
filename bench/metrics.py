"""Error rates of a detector: pure functions of (scores, labels). numpy alone, no state, nothing read or written.

    scores   float (N,), higher = more bona fide; raw logits or log-probabilities, finite
    labels   int or bool (N,), 1 = bona fide, 0 = spoof

A threshold t accepts a trial iff score > t. With Nb bona fide and Ns spoofed trials

    FRR(t) = (bona fide with score <= t) / Nb      false rejection, miss
    FAR(t) = (spoof with score > t) / Ns           false acceptance

and the EER is (FRR + FAR) / 2 at the threshold where the two are nearest: see `eer`. Every rate is a fraction.

All functions raise:

    UsageError   scores or labels that are not one number a trial, unequal lengths, a label that is neither 1 nor 0
    DataError    no trial, NaN or infinite scores, no trial of a class
"""

from __future__ import annotations

import math
from collections.abc import Iterable
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


class Slice(NamedTuple):
    """One value of an attribute: the trials its EER is of; `eer` is None where one class has no trial."""

    value: str
    n_bonafide: int
    n_spoof: int
    eer: float | None


def evaluate(scores: ArrayLike, labels: ArrayLike) -> dict[str, float | int]:
    """Everything a result holds of one cell, as fractions and counts.

    Returns:
        eer, eer_threshold, frr, far: as `eer` defines them.
        f1_bonafide, f1_spoof, accuracy, balanced_accuracy: as `decide` defines them, at `eer_threshold`. That threshold
            is chosen on these very trials: F1 adds no information to the EER and the counts.
        auc: probability that a random bona fide score exceeds a random spoof score, plus half that of a tie
            (Mann-Whitney U / (Nb Ns)); below .5 the scores are inverted.
        n_bonafide, n_spoof: trials of each class.
        n_distinct, largest_tie: different scores, and trials that share the most frequent one. Far fewer distinct
            scores than trials mean that the detector saturates.
    """
    curve = _curve(*_classes(scores, labels))
    best, vertex = curve.equal_error_rate, curve.crossing
    return {
        "eer": best.eer,
        "eer_threshold": best.threshold,
        **_decisions(int(curve.missed[vertex]), int(curve.fooled[vertex]), curve.n_bonafide, curve.n_spoof),
        "auc": curve.auc,
        "n_bonafide": curve.n_bonafide,
        "n_spoof": curve.n_spoof,
        "n_distinct": curve.thresholds.size - 1,
        "largest_tie": int(np.diff(curve.missed - curve.fooled).max()),
    }


def eer(scores: ArrayLike, labels: ArrayLike) -> EqualErrorRate:
    """Equal error rate, tie-aware: the ASVspoof organisers' value wherever all scores are distinct.

    The DET curve has one vertex a distinct score u (accept iff score > u) behind the vertex that accepts everything,
    whose threshold is the lowest score - 0.001. The EER is (FRR + FAR) / 2 at the first vertex, in ascending order,
    with the smallest |FRR - FAR|: no interpolation, no convex hull. Constant scores give .5, separated 0, inverted 1.

    Source: `compute_eer` of the ASVspoof 2019 (v2), 2021 and 5 evaluation packages. It has a vertex a trial, bona fide
    first inside a block of equal scores; where the crossing falls into such a block its value is higher (constant
    scores: 1.0) and no threshold reaches it.
    """
    return _curve(*_classes(scores, labels)).equal_error_rate


def det(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Vertices of the DET curve that `eer` chooses from.

    Returns:
        thresholds, FRR, FAR, each (n_distinct + 1,): thresholds ascend strictly, FRR rises from 0 to 1, FAR falls from
        1 to 0. Thresholds are the distinct scores behind one that is lower than every score.
    """
    curve = _curve(*_classes(scores, labels))
    return curve.thresholds, curve.frr, curve.far


def decide(scores: ArrayLike, labels: ArrayLike, threshold: float) -> dict[str, float]:
    """Quality of the decisions `bona fide iff score > threshold`, for a threshold that was fixed before these trials.

    Returns:
        f1_bonafide, f1_spoof: 2 TP / (2 TP + FP + FN) with the named class as the positive one.
        accuracy: share of correct decisions; balanced_accuracy: 1 - (frr + far) / 2.
        frr, far: share of bona fide rejected, share of spoof accepted.

    Raises:
        UsageError: the threshold is NaN.
    """
    if math.isnan(threshold):
        raise UsageError("the decision threshold is NaN", remedy="give the score above which a trial is bona fide")
    bonafide, spoof = _classes(scores, labels)
    missed = int(np.count_nonzero(bonafide <= threshold))
    fooled = int(np.count_nonzero(spoof > threshold))
    return _decisions(missed, fooled, bonafide.size, spoof.size)


def breakdown(scores: ArrayLike, labels: ArrayLike, groups: Iterable[str], spoof_only: bool) -> list[Slice]:
    """EER of each value of an attribute, values in alphabetical order.

    Args:
        groups: the attribute of each trial, (N,).
        spoof_only: the attribute says something of spoofs alone (`bench.trials.SPOOF_ATTRIBUTES`): all bona fide trials
            stand against the spoofs of each value, and what the column holds for bona fide is not looked at. Otherwise
            a slice is the trials of both classes with that value.

    Source of the two rules: the ASVspoof 2021 evaluation package (by attack and vocoder, by codec).

    Raises:
        UsageError: `groups` has another length. A class without trials is no error here: its slices have no EER.
    """
    values, flags = _checked(scores, labels)
    number: dict[str, int] = {}
    codes = np.fromiter((number.setdefault(str(value), len(number)) for value in groups), dtype=np.int64)
    _same_length("groups", codes.size, "scores", values.size)

    # One sort puts each slice side by side; a mask a value would cost (values x trials).
    rows = np.argsort(codes, kind="stable")
    parts = np.split(rows, np.cumsum(np.bincount(codes))[:-1])
    every_bonafide = values[flags]
    slices = []
    for value, code in sorted(number.items()):
        part = parts[code]
        spoof = values[part[~flags[part]]]
        bonafide = every_bonafide if spoof_only else values[part[flags[part]]]
        if spoof_only and not spoof.size:
            continue
        both = bonafide.size and spoof.size
        rate = _curve(bonafide, spoof).equal_error_rate.eer if both else None
        slices.append(Slice(value, bonafide.size, spoof.size, rate))
    return slices


@dataclass(frozen=True)
class _Curve:
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


def _curve(bonafide: Floats, spoof: Floats) -> _Curve:
    """Counts by two sorts of bare values: cheaper than an argsort that carries the labels along."""
    ordered = np.sort(np.concatenate((bonafide, spoof)))
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    distinct = ordered[last]
    missed = np.cumsum(np.bincount(np.searchsorted(distinct, np.sort(bonafide)), minlength=distinct.size))
    rejected_spoof = last + 1 - missed
    # Far from zero, 0.001 is less than the spacing of floats.
    below = min(distinct[0] - 0.001, math.nextafter(distinct[0], -math.inf))
    return _Curve(
        thresholds=np.concatenate(([below], distinct)),
        missed=np.concatenate(([0], missed)),
        fooled=spoof.size - np.concatenate(([0], rejected_spoof)),
    )


def _decisions(missed: int, fooled: int, n_bonafide: int, n_spoof: int) -> dict[str, float]:
    errors = missed + fooled
    kept, caught = n_bonafide - missed, n_spoof - fooled
    return {
        "frr": missed / n_bonafide,
        "far": fooled / n_spoof,
        "f1_bonafide": 2 * kept / (2 * kept + errors),
        "f1_spoof": 2 * caught / (2 * caught + errors),
        "accuracy": (kept + caught) / (n_bonafide + n_spoof),
        "balanced_accuracy": (kept / n_bonafide + caught / n_spoof) / 2,
    }


def _classes(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Scores of the bona fide and of the spoofed trials, at least one of each."""
    values, flags = _checked(scores, labels)
    for name, found in (("bona fide", flags.any()), ("spoofed", not flags.all())):
        if not found:
            raise DataError(
                f"no {name} trial among {values.size:,}: error rates need both classes",
                remedy="score trials of both classes, or check how the labels were read (1 = bona fide, 0 = spoof)",
            )
    return values[flags], values[~flags]


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
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
    _same_length("scores", values.size, "labels", marks.size)
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


def _same_length(first: str, n_first: int, second: str, n_second: int) -> None:
    if n_first != n_second:
        raise UsageError(f"{n_first:,} {first} but {n_second:,} {second}", remedy="give one of each for every trial")
