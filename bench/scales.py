"""Where a score lies among those of a stored cell of the same detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench import metrics, scored
from bench.store import Cell, Store


@dataclass(frozen=True)
class Standing:
    """Where a score lies among those of a cell of the same detector.

    eer: of the detector on the cell's trials, None where they are all of one class.
    lower_bonafide, lower_spoof: share of the bona fide and of the spoofed trials that scored lower, in [0, 1], a tie
            counts half; None where the cell has no such trial.
    """

    dataset: str
    digest: str
    key: str
    eer: float | None
    n_bonafide: int
    n_spoof: int
    lower_bonafide: float | None
    lower_spoof: float | None


@dataclass(frozen=True)
class Scale:
    """The scores that a cell is measured over, of each class in ascending order; `eer` as in `Standing`."""

    cell: Cell
    eer: float | None
    bonafide: np.ndarray
    spoof: np.ndarray

    def compare(self, score: float) -> Standing:
        return Standing(
            dataset=self.cell.dataset,
            digest=self.cell.manifest["dataset"]["digest"],
            key=self.cell.key,
            eer=self.eer,
            n_bonafide=len(self.bonafide),
            n_spoof=len(self.spoof),
            lower_bonafide=share_lower(self.bonafide, score),
            lower_spoof=share_lower(self.spoof, score),
        )


def scale(store: Store, cell: Cell) -> Scale:
    """The scores of a cell with a number, to compare others with.

    Raises:
        StoreError, DataError: as `bench.results.evaluate_cell`.
    """
    found = scored.load(cell, scored.trial_lists(store))
    values, labels = found.values, found.labels
    bonafide, spoof = np.sort(values[labels == 1]), np.sort(values[labels == 0])
    eer = metrics.eer(values, labels).eer if found.measurable else None
    return Scale(cell, eer, bonafide, spoof)


def share_lower(ordered: np.ndarray, score: float) -> float | None:
    """Share of scores (N,), ascending, that are lower than `score`, a tie counting half; None of no scores."""
    if not len(ordered):
        return None
    twice = np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")
    return float(twice / (2 * len(ordered)))
