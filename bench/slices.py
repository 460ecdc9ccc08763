"""EER of every value of an attribute, each with its 95 % interval: which attack, which speaker fools a detector.

The slices are those of `bench.metrics.breakdown`. An interval is that of the bootstrap of `bench.resampling` on the
trials of the slice alone: a slice of one attack draws speakers, a slice of one speaker draws attacks, and where nothing
is left to be drawn, single trials are. As everywhere, the draws follow from the trial list: all detectors on one list
are measured under the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from bench.det import Counts, Curve, Floats, curve_between
from bench.metrics import slices
from bench.replicates import CellWeights, Crossings, Curves, Weights
from bench.resampling import FACTORS, FEW, Resampling, Rows, Side
from bench.scored import Scored
from bench.trials import COLUMNS, SPOOF_ATTRIBUTES, is_bonafide
from bench.uncertainty import Interval, intervals

REPLICATES = (
    400  # not the 1,000 of a whole list: a cell has some hundred slices, and an end moves by a tenth of its width
)
FEWEST_ERRORS = 3  # of a class: with fewer an interval can be a point, and holds nothing (benchmarks/coverage.py)

# How many values an attribute has whose slices are told: more are a list of files. ASVspoof 2021 DF has 110 attacks.
VALUES = range(2, 61)
NAMED = {"attack": range(1, 151), "speaker": range(2, 151)}

ROOM = 1 << 22  # trials, times replicates, that are weighed at once: 16 MB
KEPT = 4 * ROOM  # of all draws: 64 MB; those of longer lists are drawn again for each cell
EXACT = 1 << 24  # all integers up to here are exact in float32


@dataclass(frozen=True)
class MeasuredSlice:
    """One value of an attribute, as `bench.metrics.Slice`.

    interval: of the EER, None where there is no EER, or where a class has too few trials to draw from.
    unit: what was drawn, as `bench.resampling.Unit.text`; '' without an interval.
    warnings: why there is no interval, or why it may be too narrow.
    """

    value: str
    n_bonafide: int
    n_spoof: int
    eer: float | None
    interval: Interval | None
    unit: str = ""
    warnings: tuple[str, ...] = ()


def attributes(trials: pd.DataFrame, *, speakers: bool = True) -> list[str]:
    """The columns of a trial list (`bench.trials`) to tell slices of: attack, speaker, then those of the corpus.

    Args:
        speakers: whether speakers are slices, too.
    """
    own = {str(column): VALUES for column in trials if column not in COLUMNS}
    allowed = {**NAMED, **own}
    if not speakers:
        del allowed["speaker"]
    return [name for name, room in allowed.items() if trials.loc[trials[name] != "", name].nunique() in room]


@dataclass(frozen=True, eq=False)
class Part:
    """The trials of one value of an attribute, and how they are drawn.

    bonafide, spoof: rows of the trial list. resampling: of these trials alone, bona fide first; None where a class has
    no trial. alike: whether the bona fide are those of all slices, and drawn alike, one by one.
    """

    value: str
    bonafide: Rows
    spoof: Rows
    resampling: Resampling | None
    alike: bool

    @property
    def lacking(self) -> str:
        """Why there is no interval, '' where there is one."""
        fewest = min((len(self.bonafide), "bona fide"), (len(self.spoof), "spoofed"))
        return f"no interval: {fewest[0]} {fewest[1]} trials are too few to draw from" if fewest[0] < FEW else ""


class Draws:
    """The slices of one trial list, and how often each of their trials counts in each replicate.

    Args:
        trials: the table of the scored trials (`bench.scored.Scored.trials`), N rows. seed: of all draws.
    """

    def __init__(self, trials: pd.DataFrame, seed: int = 0) -> None:
        self._trials, self._seed = trials, seed
        self._bonafide = is_bonafide(trials) == 1
        self._parts: dict[str, list[Part]] = {}
        self._kept: dict[tuple[Resampling | None, int, int, int], CellWeights] = {}

    def parts(self, attribute: str) -> Sequence[Part]:
        """The slices by an attribute, values in alphabetical order."""
        if attribute not in self._parts:
            spoof_only = attribute in SPOOF_ATTRIBUTES
            groups = slices(self._trials[attribute].to_numpy(), self._bonafide, spoof_only)
            self._parts[attribute] = [self._part(*group, shared=spoof_only) for group in groups]
        return self._parts[attribute]

    def _part(self, value: str, bonafide: Rows, spoof: Rows, shared: bool) -> Part:
        if not (len(bonafide) and len(spoof)):
            return Part(value, bonafide, spoof, None, False)
        trials = self._trials.iloc[np.concatenate((bonafide, spoof))]
        resampling = Resampling(trials[["label", *FACTORS]], REPLICATES, self._seed)
        return Part(value, bonafide, spoof, resampling, shared and not resampling.bonafide.factors)

    def batches(self, attribute: str) -> list[range]:
        """All replicates in runs, of which the largest slice fits into `ROOM`."""
        largest = max((max(len(part.bonafide), len(part.spoof)) for part in self.parts(attribute)), default=1)
        step = max(1, ROOM // max(1, largest))
        return [range(first, min(first + step, REPLICATES)) for first in range(0, REPLICATES, step)]

    def weights(self, resampling: Resampling, side: Side, batch: range) -> CellWeights:
        """How often each cell of a class (`bench.resampling.Side`) counts in these replicates, (cells, len(batch)).

        Floats, for fast products; they have room for the weight of all trials, so that every sum is exact.
        """
        key = (resampling if side.factors else None, side.stream, side.size, batch.start)
        if (kept := self._kept.get(key)) is not None:
            return kept
        counts = resampling.cells(side, batch).T if side.factors else self._single(side, batch)
        exact = np.dtype(np.float32 if side.size * int(counts.max()) < EXACT else np.float64)
        weights: CellWeights = np.ascontiguousarray(counts, dtype=exact)
        if sum(each.size for each in self._kept.values()) + weights.size <= KEPT:
            self._kept[key] = weights
        return weights

    def _single(self, side: Side, batch: range) -> Rows:
        count = len(batch)
        generator = np.random.default_rng([self._seed, side.stream, side.size, batch.start])
        places = generator.integers(side.size, size=(side.size, count), dtype=np.int32).astype(np.int64)
        places = places * count + np.arange(count)
        return np.bincount(places.ravel(), minlength=places.size).reshape(places.shape)


def measured(trials: Scored, attribute: str, draws: Draws) -> list[MeasuredSlice]:
    """The slices of a cell by one attribute, values in alphabetical order.

    Args:
        draws: of the very rows of `trials.trials`; one object serves all cells on a list.
    """
    parts = draws.parts(attribute)
    curves = [_ordered(trials.values, part) for part in parts]
    replicates = np.zeros((len(parts), REPLICATES))
    for batch in draws.batches(attribute):
        missed: Weights | None = None
        for part, ordered, into in zip(parts, curves, replicates, strict=True):
            if part.lacking or part.resampling is None or ordered is None:
                continue
            spoof = draws.weights(part.resampling, part.resampling.spoof, batch)
            if not part.alike or missed is None:
                bonafide = draws.weights(part.resampling, part.resampling.bonafide, batch)
            if part.alike:  # a cell a trial: to sum these up once is cheaper than a product a slice
                missed = _running(bonafide, ordered.bonafide) if missed is None else missed
                found = Curves(missed, _running(spoof, ordered.spoof), ordered.vertices).eer()
            else:
                found = ordered.crossings.eer(bonafide, spoof)
            into[batch.start : batch.stop] = found
    return [_told(*found) for found in zip(parts, curves, intervals(replicates), strict=True)]


@dataclass(frozen=True, eq=False)
class _Ordered:
    """The curve of a slice, and the cell of each trial of a class in ascending order of score."""

    curve: Curve
    bonafide: Rows
    spoof: Rows

    @property
    def vertices(self) -> tuple[Floats, Counts, Counts]:
        """As `Curves` takes them."""
        return self.curve.thresholds, self.curve.missed, self.curve.n_spoof - self.curve.fooled

    @cached_property
    def crossings(self) -> Crossings:
        return Crossings(self.curve, self.bonafide, self.spoof)


def _ordered(values: Floats, part: Part) -> _Ordered | None:
    if part.resampling is None:
        return None
    bonafide, spoof = values[part.bonafide], values[part.spoof]
    sides = (part.resampling.bonafide, bonafide), (part.resampling.spoof, spoof)
    # Trials of one score in any order: nothing is summed up to the middle of a tie.
    return _Ordered(curve_between(bonafide, spoof), *(side.places[np.argsort(scores)] for side, scores in sides))


def _running(weights: CellWeights, places: Rows) -> Weights:
    """Running sums from 0 of the weights (cells, B) of trials in these cells (n,): (B, n + 1)."""
    sums = np.zeros((len(places) + 1, weights.shape[1]), dtype=np.int32)  # rows of replicates are added as a whole
    sums[1:] = weights[places]
    return np.cumsum(sums, axis=0, out=sums).T


def _told(part: Part, ordered: _Ordered | None, drawn: Interval) -> MeasuredSlice:
    counts = len(part.bonafide), len(part.spoof)
    if ordered is None or part.resampling is None:
        return MeasuredSlice(part.value, *counts, None, None)
    best = ordered.curve.equal_error_rate
    if part.lacking:
        return MeasuredSlice(part.value, *counts, best.eer, None, warnings=(part.lacking,))
    unit, errors = part.resampling.unit, (best.frr * counts[0], best.far * counts[1])
    few = ("few errors: the interval may be too narrow",) if round(min(errors)) < FEWEST_ERRORS else ()
    return MeasuredSlice(part.value, *counts, best.eer, drawn, unit.text, (*unit.warnings, *few))
