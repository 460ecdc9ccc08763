"""The draws of the bootstrap: how often each trial counts in a replicate, and by what. numpy alone.

Trials of one speaker, or made by one system, succeed and fail together; to draw them one by one pretends to know more
than the corpus tells. What is drawn with replacement is therefore speakers and attacks, where the trial list names
them: a trial counts (draws of its speaker) x (draws of its attack) times; a bona fide one has no attack. A class whose
trials name neither is drawn trial by trial, and the unit says so.

All draws follow from the trial list and the seed alone: every detector on one list is measured under the same draws.

Sources: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), of the products of draws; Bolle,
Ratha, Pankanti, "Error analysis of pattern recognition systems: the subsets bootstrap", CVIU 93 (2004), of clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.trials import is_bonafide

# Columns of the trial list that name what is drawn, and the classes that they can be drawn in.
SIDES = {"speaker": ("bonafide", "spoof"), "attack": ("spoof",)}
FACTORS = tuple(SIDES)
FEWEST = 5  # clusters: of fewer nothing can be told, and the factor is not drawn
FEW = 20  # clusters: intervals of fewer hold the truth less often than they say (benchmarks/coverage.py)

ROOM = 1 << 20  # trials, times replicates, that are weighed at once: about 30 MB; draws of single trials follow from it

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Unit:
    """What is drawn with replacement, in each class by the factors that all of its trials name; () is single trials.

    clusters: how many different ones there are of each factor that is drawn. left_out: of factors that are named, but
    have fewer than `FEWEST`.
    """

    bonafide: tuple[str, ...]
    spoof: tuple[str, ...]
    clusters: Mapping[str, int]
    left_out: Mapping[str, int]

    @property
    def text(self) -> str:
        """`speaker x attack (67 speakers, 13 attacks)`; `single trials (bona fide), attack (spoof) (9 attacks)`."""
        bonafide, spoof = (" x ".join(factors) or "single trials" for factors in (self.bonafide, self.spoof))
        # Bona fide trials have no attack: both classes together are `speaker x attack`.
        joint = self.bonafide == tuple(factor for factor in self.spoof if factor != "attack") and self.bonafide
        told = spoof if bonafide == spoof or joint else f"{bonafide} (bona fide), {spoof} (spoof)"
        counts = ", ".join(f"{count:,} {factor}s" for factor, count in self.clusters.items())
        return f"{told} ({counts})" if counts else told

    @property
    def warnings(self) -> list[str]:
        """Why an interval may be narrower than what it should hold; [] where nothing is known against it."""
        told = [
            f"{count} {factor}s are too few to be drawn: the interval says nothing of other {factor}s"
            for factor, count in self.left_out.items()
        ]
        told += [
            f"only {count} {factor}s: the interval holds the truth less often than it says"
            for factor, count in self.clusters.items()
            if count < FEW
        ]
        alone = [name for name, drawn in (("bona fide", self.bonafide), ("spoofed", self.spoof)) if not drawn]
        if alone:
            told.append(f"{' and '.join(alone)} trials are drawn one by one, as if independent: too narrow")
        return told


class Resampling:
    """The draws of one trial list.

    Args:
        trials: the table of `bench.trials`: `label`, and where known `speaker` and `attack`, of N trials, both classes.
        replicates: how many times all of it is drawn. seed: of all draws.
    """

    def __init__(self, trials: pd.DataFrame, replicates: int, seed: int = 0) -> None:
        self.replicates, self.seed = replicates, seed
        self._step = max(1, ROOM // len(trials))
        self.labels = is_bonafide(trials)
        members = {"bonafide": np.flatnonzero(self.labels == 1), "spoof": np.flatnonzero(self.labels == 0)}
        columns = {factor: trials[factor].to_numpy() for factor in FACTORS if factor in trials}
        named = {
            factor: [side for side in SIDES[factor] if (column[members[side]] != "").all()]
            for factor, column in columns.items()
        }
        codes, sizes = {}, {}
        for factor, sides in named.items():
            rows = np.concatenate([members[side] for side in sides]) if sides else np.zeros(0, np.intp)
            codes[factor] = np.full(len(trials), -1)
            codes[factor][rows], values = pd.factorize(columns[factor][rows])
            sizes[factor] = len(values)
        self._sizes = {factor: size for factor, size in sizes.items() if size >= FEWEST}
        few = {factor: size for factor, size in sizes.items() if 1 < size < FEWEST}  # one value names nobody
        drawn = {
            side: tuple(factor for factor in self._sizes if side in named[factor]) for side in ("bonafide", "spoof")
        }
        self.unit = Unit(drawn["bonafide"], drawn["spoof"], self._sizes, few)
        self.bonafide, self.spoof = (
            _side(stream, {factor: codes[factor][rows] for factor in drawn[side]}, len(rows))
            for stream, (side, rows) in enumerate(members.items(), start=1)
        )
        self._draws = self._drawn()

    def _drawn(self) -> Mapping[str, NDArray[np.int32]]:
        """Draws of each cluster of each factor, (replicates, clusters)."""
        generator = np.random.default_rng([self.seed, 0])

        def draw(count: int) -> dict[str, NDArray[np.int32]]:
            return {
                factor: generator.multinomial(size, np.full(size, 1 / size), count).astype(np.int32)
                for factor, size in self._sizes.items()
            }

        draws = draw(self.replicates)
        # A draw that leaves a class without a trial is no trial list: it is drawn again.
        while (empty := ~(self.bonafide.present(draws) & self.spoof.present(draws))).any():
            for factor, again in draw(int(empty.sum())).items():
                draws[factor][empty] = again
        return draws

    @property
    def batches(self) -> range:
        """Numbers of the batches that all replicates fall into: as many at once as fit into `ROOM`."""
        return range(-(-self.replicates // self._step))

    def weights(self, side: Side, batch: int) -> NDArray[np.int32]:
        """How often each trial of a class counts in each of the replicates of a batch.

        Args:
            side: `bonafide` or `spoof`, in whatever order its trials are (`Side.ordered`).

        Returns:
            (replicates of the batch, trials of the class)
        """
        first = batch * self._step
        stop = min(first + self._step, self.replicates)
        if not side.factors:
            generator = np.random.default_rng([self.seed, side.stream, batch])
            drawn = generator.integers(side.size, size=(stop - first, side.size))
            drawn += side.size * np.arange(stop - first)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=drawn.size)
            cells = counts.astype(np.int32).reshape(drawn.shape)
        else:
            cells = self.cells(side, range(first, stop))
        return np.take(cells, side.places, axis=1)

    def cells(self, side: Side, replicates: range) -> NDArray[np.int32]:
        """How often each cell of a class that is drawn by factors counts, (len(replicates), cells)."""
        drawn = np.ones((len(replicates), len(side.cells[0])), dtype=np.int32)
        for factor, clusters in zip(side.factors, side.cells, strict=True):
            drawn *= self._draws[factor][replicates.start : replicates.stop, clusters]
        return drawn


@dataclass(frozen=True)
class Side:
    """The trials of one class. Each is in a cell, a value of every factor that is drawn; without a factor, alone.

    stream: which draws of single trials are its own. cells: for each factor, the cluster of each cell. places: the cell
    of each trial, (trials,).
    """

    stream: int
    factors: tuple[str, ...]
    cells: tuple[Rows, ...]
    places: Rows

    @property
    def size(self) -> int:
        return len(self.places)

    def ordered(self, order: Rows) -> Side:
        """The same trials in another order."""
        return replace(self, places=self.places[order])

    def present(self, draws: Mapping[str, NDArray[np.int32]]) -> NDArray[np.bool_]:
        """Whether any trial is drawn, (replicates,); (1,) where no factor is."""
        found = np.ones((1, 1), dtype=bool)
        for factor, clusters in zip(self.factors, self.cells, strict=True):
            found = found & (draws[factor][:, clusters] > 0)
        return np.asarray(found.any(axis=1))


def _side(stream: int, codes: Mapping[str, Rows], size: int) -> Side:
    if not codes:
        return Side(stream, (), (), np.arange(size))
    shape = [int(code.max()) + 1 for code in codes.values()]
    cells, places = np.unique(np.ravel_multi_index(tuple(codes.values()), shape), return_inverse=True)
    return Side(stream, tuple(codes), np.unravel_index(cells, shape), places)
