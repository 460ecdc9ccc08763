"""Error rates of a detector under every draw of a trial list. numpy alone.

Scores are sorted once. A replicate then costs a gather and a running sum of weights in each class; the EER is found by
bisection, because FRR - FAR never falls from one vertex to the next, and the other measures look only where they can
have their value. All are exactly those of the same trials repeated as often as they were drawn (`tests` compare).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.cores import cores
from bench.costs import detection_cost
from bench.det import Counts, Curve, Floats, classes, curve_between
from bench.resampling import Resampling, Rows

REPLICATES = 1_000

STEPS = 12  # times the root of the trials in a cell: how many parts `Crossings` divides a curve into

Weights: TypeAlias = NDArray[np.integer[Any]]
CellWeights: TypeAlias = NDArray[np.floating[Any]]


class Curves:
    """The DET curves of B replicates: running weights of the trials of each class, in ascending order of score.

    missed: (B, Nb + 1), weight of the bona fide among the first i. rejected: (B, Ns + 1), that of the spoofed ones;
    integers.
    vertices: the thresholds (V,), and how many bona fide and spoofed trials score at most that, (V,) each.
    """

    def __init__(self, missed: Weights, rejected: Weights, vertices: tuple[Floats, Counts, Counts]) -> None:
        self._missed, self._rejected = missed, rejected
        self._thresholds, self._bonafide, self._spoof = vertices
        self._rows = np.arange(len(missed))

    @property
    def size(self) -> int:
        """How many replicates."""
        return len(self._rows)

    @cached_property
    def crossing(self) -> Counts:
        """The vertex at which FRR and FAR are nearest, the first of several, (B,)."""
        return _nearest(self._rates, np.zeros(self.size, np.int64), np.full(self.size, len(self._thresholds) - 1))

    def _errors(self, vertex: Counts) -> tuple[Weights, Weights]:
        """Weight of the bona fide rejected and of the spoofed accepted at a vertex of each replicate, (B,)."""
        missed = self._missed[self._rows, self._bonafide[vertex]]
        return missed, self._rejected[:, -1] - self._rejected[self._rows, self._spoof[vertex]]

    def _rates(self, vertex: Counts) -> tuple[Floats, Floats]:
        missed, fooled = self._errors(vertex)
        return missed / self._missed[:, -1], fooled / self._rejected[:, -1]

    def eer(self) -> Floats:
        """As `bench.metrics.eer`, (B,)."""
        frr, far = self._rates(self.crossing)
        return (frr + far) / 2

    def f1_bonafide(self) -> Floats:
        """F1 of the class bona fide at the EER threshold of each replicate, as `bench.metrics.evaluate`, (B,)."""
        missed, fooled = self._errors(self.crossing)
        kept = self._missed[:, -1] - missed
        f1: Floats = 2 * kept / (2 * kept + missed + fooled)
        return f1

    def f1_spoof(self) -> Floats:
        """As `f1_bonafide`, of the class spoof, (B,)."""
        missed, fooled = self._errors(self.crossing)
        caught = self._rejected[:, -1] - fooled
        f1: Floats = 2 * caught / (2 * caught + missed + fooled)
        return f1

    def min_dcf(self) -> Floats:
        """As `bench.costs.min_dcf`, (B,)."""
        # From one bona fide score to the next only FAR moves, and it falls: the best vertex lies below a bona fide one.
        last = np.append(np.flatnonzero(np.diff(self._bonafide)), len(self._thresholds) - 1)
        frr = self._missed[:, self._bonafide[last]] / self._missed[:, -1:]
        far = (self._rejected[:, -1:] - self._rejected[:, self._spoof[last]]) / self._rejected[:, -1:]
        lowest: Floats = detection_cost(frr, far).min(axis=1)
        return lowest

    def auc(self) -> Floats:
        """As `bench.metrics.evaluate`, (B,)."""
        # Only at a bona fide score is something won: the spoofs below it, and half of those on it.
        at = np.flatnonzero(np.diff(self._bonafide)) + 1
        weight = np.diff(self._missed[:, np.append(self._bonafide[at - 1], self._bonafide[-1])], axis=1)
        twice = self._rejected[:, self._spoof[at - 1]] + self._rejected[:, self._spoof[at]]
        won: Floats = (weight * twice).sum(axis=1) / (2.0 * self._missed[:, -1] * self._rejected[:, -1])
        return won

    def each(self, measure: Callable[[Curve], float]) -> Floats:
        """Any measure of a curve, at the price of a whole curve a replicate, (B,)."""
        return np.array([measure(self._curve(row)) for row in range(self.size)])

    def _curve(self, row: int) -> Curve:
        rejected = self._rejected[row, self._spoof]
        return Curve(self._thresholds, self._missed[row, self._bonafide], self._rejected[row, -1] - rejected)


class Crossings:
    """`Curves.eer` with few sums, for the replicates of one curve whose trials are weighed by cell.

    What a class weighs up to a vertex is its trials in each cell (`bench.resampling.Side`) times the weights of the
    cells: one matrix product gives this at some vertices, and so tells between which two of them a replicate crosses.
    Only trials between these are summed one by one.

    curve: of all trials. bonafide, spoof: the cell of each trial of the class, in ascending order of score.
    """

    def __init__(self, curve: Curve, bonafide: Rows, spoof: Rows) -> None:
        ends = curve.missed, curve.n_spoof - curve.fooled
        trials = ends[0] + ends[1]
        # More cells make the product dearer, more steps the sums behind it cheaper: here both take about the same time.
        steps = math.ceil(STEPS * math.sqrt(trials[-1] / (bonafide.max() + spoof.max() + 2)))
        # Between two of these vertices lie less than a step of trials, and however many tie on the second one.
        self._steps = np.searchsorted(trials, np.arange(steps + 1) * trials[-1] // steps)
        self._bonafide = _Steps(bonafide, ends[0], self._steps)
        self._spoof = _Steps(spoof, ends[1], self._steps)

    def eer(self, bonafide: CellWeights, spoof: CellWeights) -> Floats:
        """As `Curves.eer`, (B,).

        Args:
            bonafide, spoof: how often each cell counts in each replicate, (cells, B), numbers in whose type the weight
                of all trials of the class is exact.
        """
        missed, rejected = self._bonafide.sums(bonafide), self._spoof.sums(spoof)
        crossed = missed / missed[-1] >= (rejected[-1] - rejected) / rejected[-1]
        step = np.argmax(crossed, axis=0)  # the first one; never 0, where everything is accepted
        low, high = self._steps[step - 1], self._steps[step]
        missed_at = self._bonafide.between(bonafide, missed, step, low, high)
        rejected_at = self._spoof.between(spoof, rejected, step, low, high)

        def rates(vertex: Counts) -> tuple[Floats, Floats]:
            return missed_at(vertex) / missed[-1], (rejected[-1] - rejected_at(vertex)) / rejected[-1]

        frr, far = rates(_nearest(rates, low + 1, high))
        return (frr + far) / 2


class _Steps:
    """One class of `Crossings`.

    places: the cell of each trial. ends: how many trials score at most each vertex (V,). steps: vertices, the first and
    the last one among them.
    """

    def __init__(self, places: Rows, ends: Counts, steps: Rows) -> None:
        self._places, self._ends = places, ends
        cells, until = int(places.max()) + 1, ends[steps]
        step = np.repeat(np.arange(1, len(steps)), until[1:] - until[:-1])  # the first with this trial below it
        counts = np.bincount(step * cells + places, minlength=len(steps) * cells).reshape(-1, cells)
        self._counts = np.cumsum(counts, axis=0)

    def sums(self, weights: CellWeights) -> Floats:
        """Weight of the trials up to each step, (steps, B)."""
        sums: Floats = (self._counts.astype(weights.dtype) @ weights).astype(np.float64)
        return sums

    def between(
        self, weights: CellWeights, sums: Floats, step: Rows, low: Counts, high: Counts
    ) -> Callable[[Counts], Floats]:
        """Weighs the trials up to a vertex of each replicate: from `low`, the step before `step` (B,), to `high`."""
        count = len(step)
        replicates, first = np.arange(count), self._ends[low]
        more = int((self._ends[high - 1] - first).max())
        places = (self._places * count).take(first + np.arange(more)[:, None], mode="clip")
        running = np.empty((more + 2, count))
        running[0], running[-1] = sums[step - 1, replicates], sums[step, replicates]
        running[1:-1] = weights.ravel().take(places + replicates)
        np.cumsum(running[:-1], axis=0, out=running[:-1])
        # What ties on `high` is in its own sum alone: there may be more of it than rows.
        return lambda vertex: running[np.minimum(self._ends[vertex] - first, more + 1), replicates]


def _nearest(rates: Callable[[Counts], tuple[Floats, Floats]], low: Counts, high: Counts) -> Counts:
    """The vertex of the smallest |FRR - FAR|, the first of several; FRR reaches FAR from `low` to `high`, (B,) each."""
    while (low < high).any():
        middle = (low + high) // 2
        crossed = np.subtract(*rates(middle)) >= 0
        high, low = np.where(crossed, middle, high), np.where(crossed, low, middle + 1)
    before = np.maximum(low - 1, 0)
    nearer = np.abs(np.subtract(*rates(before))) <= np.abs(np.subtract(*rates(low)))
    return np.where(nearer, before, low)


Measure: TypeAlias = Callable[[Curves], Floats]
MEASURES: Mapping[str, Measure] = {
    "eer": Curves.eer,
    "f1_bonafide": Curves.f1_bonafide,
    "f1_spoof": Curves.f1_spoof,
    "min_dcf": Curves.min_dcf,
    "auc": Curves.auc,
}


def replicate(resampling: Resampling, scores: ArrayLike, measures: Mapping[str, Measure]) -> dict[str, Floats]:
    """Measures of a detector in every replicate, (replicates,) each.

    Args:
        scores: float (N,), finite, in the order of the trials that the draws are of.
        measures: some of `MEASURES`, or functions of `Curves`; `lambda curves: curves.each(measure)` makes one of any
            measure of a `bench.det.Curve`.

    Raises:
        UsageError, DataError: as `bench.det`.
    """
    bonafide, spoof = classes(scores, resampling.labels)
    orders = np.argsort(bonafide, kind="stable"), np.argsort(spoof, kind="stable")
    sides = resampling.bonafide.ordered(orders[0]), resampling.spoof.ordered(orders[1])
    curve = curve_between(bonafide, spoof)
    vertices = (curve.thresholds, curve.missed, curve.n_spoof - curve.fooled)

    def batch(number: int) -> dict[str, Floats]:
        missed, rejected = (_running(resampling.weights(side, number)) for side in sides)
        curves = Curves(missed, rejected, vertices)
        return {name: measure(curves) for name, measure in measures.items()}

    with ThreadPoolExecutor(cores()) as pool:
        batches = list(pool.map(batch, resampling.batches))
    return {name: np.concatenate([part[name] for part in batches]) for name in measures}


def _running(weights: NDArray[np.int32]) -> Counts:
    """Weights (B, n) to their running sums (B, n + 1), from 0."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), dtype=np.int64)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums
