"""EER of every value of an attribute, each with its 95 % interval: which attack, which speaker fools a detector.

The slices are those of `bench.metrics.breakdown`. An interval is that of the bootstrap of `bench.resampling` on the
trials of the slice alone: a slice of one attack draws speakers, a slice of one speaker draws attacks, and where nothing
is left to be drawn, single trials are. As everywhere, the draws follow from the trial list: all detectors on one list
are measured under the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.det import Counts, EqualErrorRate, Floats, curve_between
from bench.metrics import slices
from bench.replicates import Curves, Weights
from bench.resampling import FACTORS, FEW, Resampling, Rows, Side
from bench.scored import Scored
from bench.trials import COLUMNS, SPOOF_ATTRIBUTES, is_bonafide
from bench.uncertainty import Interval, interval

REPLICATES = (
    400  # not the 1,000 of a whole list: a cell has some hundred slices, and an end moves by a tenth of its width
)
FEWEST_ERRORS = 3  # of a class: with fewer an interval can be a point, and holds nothing (benchmarks/coverage.py)

# How many values an attribute has whose slices are told: more are a list of files. ASVspoof 2021 DF has 110 attacks.
VALUES = range(2, 61)
NAMED = {"attack": range(1, 151), "speaker": range(2, 151)}

ROOM = 1 << 22  # trials, times replicates, that are weighed at once: 16 MB
KEPT = 4 * ROOM  # of the draws of single trials: 32 MB; those of longer lists are drawn again for each cell


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
    no trial. alike: equal for neighbours whose bona fide are the same trials under the same draws.
    """

    value: str
    bonafide: Rows
    spoof: Rows
    resampling: Resampling | None
    alike: bytes

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
        self._single: dict[tuple[int, int, int], Weights] = {}

    def parts(self, attribute: str) -> Sequence[Part]:
        """The slices by an attribute, values in alphabetical order."""
        if attribute not in self._parts:
            spoof_only = attribute in SPOOF_ATTRIBUTES
            groups = slices(self._trials[attribute].to_numpy(), self._bonafide, spoof_only)
            self._parts[attribute] = [self._part(*group, shared=spoof_only) for group in groups]
        return self._parts[attribute]

    def _part(self, value: str, bonafide: Rows, spoof: Rows, shared: bool) -> Part:
        if not (len(bonafide) and len(spoof)):
            return Part(value, bonafide, spoof, None, b"")
        trials = self._trials.iloc[np.concatenate((bonafide, spoof))]
        resampling = Resampling(trials[["label", *FACTORS]], REPLICATES, self._seed)
        side = resampling.bonafide
        drawn = resampling.cells(side, range(REPLICATES)).tobytes() if side.factors else b""
        alike = hashlib.sha256(drawn).digest() if shared else value.encode()
        return Part(value, bonafide, spoof, resampling, alike)

    def batches(self, attribute: str) -> list[range]:
        """All replicates in runs, of which the largest slice fits into `ROOM`."""
        largest = max((max(len(part.bonafide), len(part.spoof)) for part in self.parts(attribute)), default=1)
        step = max(1, ROOM // max(1, largest))
        return [range(first, min(first + step, REPLICATES)) for first in range(0, REPLICATES, step)]

    def weights(self, resampling: Resampling, side: Side, batch: range) -> Weights:
        """How often each cell of a class (`bench.resampling.Side`) counts in these replicates, (cells, len(batch))."""
        if side.factors:
            return np.ascontiguousarray(resampling.cells(side, batch).T)
        key = (side.stream, side.size, batch.start)
        if (kept := self._single.get(key)) is not None:
            return kept
        count = len(batch)
        drawn = np.random.default_rng([self._seed, *key]).integers(side.size, size=(side.size, count), dtype=np.int32)
        places = drawn.astype(np.int64) * count + np.arange(count)
        weights = np.bincount(places.ravel(), minlength=places.size).astype(np.int32).reshape(places.shape)
        if sum(each.size for each in self._single.values()) + weights.size <= KEPT:
            self._single[key] = weights
        return weights


def measured(trials: Scored, attribute: str, draws: Draws) -> list[MeasuredSlice]:
    """The slices of a cell by one attribute, values in alphabetical order.

    Args:
        draws: of the very rows of `trials.trials`; one object serves all cells on a list.
    """
    parts = draws.parts(attribute)
    curves = [_ordered(trials.values, part) for part in parts]
    replicates = np.empty((len(parts), REPLICATES))
    for batch in draws.batches(attribute):
        alike: bytes | None = None
        missed: Weights = np.empty((0, 0), dtype=np.int32)
        for part, ordered, into in zip(parts, curves, replicates, strict=True):
            if part.lacking or part.resampling is None or ordered is None:
                continue
            bonafide, spoof = part.resampling.bonafide, part.resampling.spoof
            if part.alike != alike:
                weights = draws.weights(part.resampling, bonafide, batch)
                alike, missed = part.alike, _running(weights, bonafide.places[ordered.bonafide])
            rejected = _running(draws.weights(part.resampling, spoof, batch), spoof.places[ordered.spoof])
            into[batch.start : batch.stop] = Curves(missed, rejected, ordered.vertices).eer()
    return [_told(*found) for found in zip(parts, curves, replicates, strict=True)]


class _Ordered(NamedTuple):
    """The scores of a slice: the point of its EER, its vertices as `Curves` takes them, the order of each class."""

    best: EqualErrorRate
    vertices: tuple[Floats, Counts, Counts]
    bonafide: Rows
    spoof: Rows


def _ordered(values: Floats, part: Part) -> _Ordered | None:
    if part.resampling is None:
        return None
    bonafide, spoof = values[part.bonafide], values[part.spoof]
    curve = curve_between(bonafide, spoof)
    vertices = (curve.thresholds, curve.missed, curve.n_spoof - curve.fooled)
    orders = (np.argsort(scores, kind="stable") for scores in (bonafide, spoof))
    return _Ordered(curve.equal_error_rate, vertices, *orders)


def _running(weights: Weights, places: Rows) -> Weights:
    """Running sums from 0 of the weights (cells, B) of trials in these cells (n,): (B, n + 1)."""
    sums = np.zeros((len(places) + 1, weights.shape[1]), dtype=np.int32)  # rows of replicates are added as a whole
    np.take(weights, places, axis=0, out=sums[1:], mode="clip")
    return np.cumsum(sums, axis=0, out=sums).T


def _told(part: Part, ordered: _Ordered | None, replicates: Floats) -> MeasuredSlice:
    counts = len(part.bonafide), len(part.spoof)
    if ordered is None or part.resampling is None:
        return MeasuredSlice(part.value, *counts, None, None)
    if part.lacking:
        return MeasuredSlice(part.value, *counts, ordered.best.eer, None, warnings=(part.lacking,))
    unit, errors = part.resampling.unit, (ordered.best.frr * counts[0], ordered.best.far * counts[1])
    few = ("few errors: the interval may be too narrow",) if round(min(errors)) < FEWEST_ERRORS else ()
    found = interval(replicates)
    return MeasuredSlice(part.value, *counts, ordered.best.eer, found, unit.text, (*unit.warnings, *few))
