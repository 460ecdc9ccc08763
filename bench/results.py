"""Stored scores -> numbers. Nothing here runs a detector or needs the corpus: the store keeps the trial lists.

A cell is measured when it is complete, or when it is incomplete and was run with `--allow-missing`; then the numbers
are over the scored trials only, and every output says so. Any other cell has no number at all. A detector trained with
several seeds counts with the mean over them (`bench.bands`).
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bench import bands, metrics
from bench.bands import Band
from bench.errors import BenchError, DataError, StoreError, unknown
from bench.metrics import Slice
from bench.store import Cell, Store
from bench.trials import COLUMNS, SPOOF_ATTRIBUTES, is_bonafide
from bench.trials import digest as trial_digest

F1_HEADLINE = "F1 (bona fide positive, threshold = test-set EER threshold)"

# A breakdown by more values than a reader compares is a list of speakers or files, not an attribute.
BREAKDOWN_VALUES = range(2, 61)

# The names of `evaluate`, so that a cell without numbers still has every one of them, as null.
METRICS = tuple(metrics.evaluate([0.0, 1.0], [0, 1]))


@dataclass(frozen=True)
class Result:
    """What one cell measures.

    metrics: `bench.metrics.evaluate` as fractions, None where the cell may not be measured or its scored trials are
            all of one class.
    native: `bench.metrics.decide` at the detector's own threshold, with that `column` and `threshold`; None where the
            detector has no threshold or the scores lack the column (an import usually has the score alone).
    breakdowns: attribute of the trials -> records of `bench.metrics.breakdown`.
    unscored: trials of the dataset that the metrics leave out; above 0 only with `--allow-missing`.
    band: this cell and those of the other seeds, where there are several. All other fields are of this cell alone.
    """

    cell: Cell
    metrics: Mapping[str, Any] | None = None
    native: Mapping[str, Any] | None = None
    breakdowns: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    unscored: int = 0
    band: Band | None = None

    @property
    def eer(self) -> float | None:
        """What counts, as a fraction: the mean over the seeds where there is one, else that of the cell."""
        if self.band is not None and self.band.eer is not None:
            return self.band.eer.mean
        return None if self.metrics is None else float(self.metrics["eer"])

    @property
    def f1_bonafide(self) -> float | None:
        """As `eer`."""
        if self.band is not None and self.band.f1_bonafide is not None:
            return self.band.f1_bonafide.mean
        return None if self.metrics is None else float(self.metrics["f1_bonafide"])

    @property
    def digest(self) -> str:
        """The digest of the trial list (64 hex), '' for a blocked cell."""
        return str(self.cell.manifest.get("dataset", {}).get("digest", ""))

    @property
    def trials(self) -> int | None:
        """How many trials the dataset has; None for a blocked cell."""
        count = self.cell.manifest.get("dataset", {}).get("trials")
        return None if count is None else int(count)

    @property
    def weights(self) -> str | None:
        """`trained here`, `verified` (the published hash), `unverified` (none is published), None without weights."""
        found = self._weights
        if "verified" not in found:
            return None
        return "trained here" if found.get("trained") else "verified" if found["verified"] else "unverified"

    @property
    def _weights(self) -> Mapping[str, Any]:
        return self.cell.manifest.get("detector", {}).get("weights") or {}

    @property
    def seed(self) -> int | None:
        """That of the training, None where the weights were not made here."""
        return self._weights.get("seed")

    @property
    def random_parts(self) -> tuple[str, ...]:
        """Parts of the detector, `backbone`, whose training began with random in place of pretrained weights."""
        return tuple(part for part, found in (self._weights.get("start") or {}).items() if found == "random")

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of the numbers, beside the status of the cell."""
        own = (self.cell.manifest.get("detector", {}).get("recipe") or {}).get("seed", self.seed)
        told = [self.caveat]
        if self.band is not None:
            alone = f"seed {self.seed} alone, " if self.metrics and not self.band.eer else ""
            told.append(f"{alone}{self.band.told}")
        elif self.seed != own:
            told.append(f"trained with seed {self.seed}, the card says {own}")
        told += [f"random {' and '.join(self.random_parts)}"] if self.random_parts else []
        return list(filter(None, told))

    @property
    def caveat(self) -> str:
        """What a reader must know of the numbers of a measured cell, '' where they are over the whole dataset."""
        parts = []
        if self.unscored:
            parts.append(f"over the scored trials only: {self.unscored:,} of {self.trials:,} have no score")
        if self.cell.has_number and self.metrics is None:
            parts.append("no error rates: they need scored trials of both classes")
        return "; ".join(parts)


@dataclass(frozen=True)
class Comparison:
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
    """The scores that a cell is measured over, of each class in ascending order; `eer` as in `Comparison`."""

    cell: Cell
    eer: float | None
    bonafide: np.ndarray
    spoof: np.ndarray

    def compare(self, score: float) -> Comparison:
        return Comparison(
            dataset=self.cell.dataset,
            digest=self.cell.manifest["dataset"]["digest"],
            key=self.cell.key,
            eer=self.eer,
            n_bonafide=len(self.bonafide),
            n_spoof=len(self.spoof),
            lower_bonafide=share_lower(self.bonafide, score),
            lower_spoof=share_lower(self.spoof, score),
        )


def evaluate_cell(store: Store, cell: Cell, *, breakdowns: bool = True) -> Result:
    """The numbers of one cell, `breakdowns` as in `collect`.

    Raises:
        StoreError: scores that are not those of the dataset's trial list, or a complete cell that lacks some.
        DataError: scores that cannot be measured, see `bench.metrics.evaluate`.
    """
    return _banded(cell, functools.cache(functools.partial(_trial_list, store)), breakdowns)


def scale(store: Store, cell: Cell) -> Scale:
    """The scores of a cell with a number, to compare others with.

    Raises:
        StoreError, DataError: as `evaluate_cell`.
    """
    scores, trials = _scored(cell, _trial_list(store, cell.dataset, cell.manifest["dataset"]["digest"]))
    values, labels = scores["score"].to_numpy(), is_bonafide(trials)
    bonafide, spoof = np.sort(values[labels == 1]), np.sort(values[labels == 0])
    eer = metrics.eer(values, labels).eer if len(bonafide) and len(spoof) else None
    return Scale(cell, eer, bonafide, spoof)


def share_lower(ordered: np.ndarray, score: float) -> float | None:
    """Share of scores (N,), ascending, that are lower than `score`, a tie counting half; None of no scores."""
    if not len(ordered):
        return None
    twice = np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")
    return float(twice / (2 * len(ordered)))


def collect(
    store: Store,
    datasets: Collection[str] | None = None,
    detectors: Collection[str] | None = None,
    *,
    breakdowns: bool = True,
) -> list[Result]:
    """The results of the current cells, of all pairs or of those named.

    In the order of datasets; in each those with numbers first, by digest, whole trial lists before incomplete ones, and
    the lowest EER first.

    Args:
        datasets, detectors: names, globs, comma lists of these, or `all`; None is `all`.
        breakdowns: most of the work with many attacks; a table without them needs none.

    A cell that is damaged is in the list as failed, with the reason.

    Raises:
        UsageError: a name or glob that fits no stored cell, with the nearest names.
    """
    cells = store.current()
    wanted_datasets = selected("dataset", datasets, {cell.dataset for cell in cells})
    wanted_detectors = selected("detector", detectors, {cell.detector for cell in cells})
    lists = functools.cache(functools.partial(_trial_list, store))
    wanted = (cell for cell in cells if cell.dataset in wanted_datasets and cell.detector in wanted_detectors)
    return ranked(_told(cell, lists, breakdowns) for cell in wanted)


def _told(cell: Cell, lists: Callable[[str, str], pd.DataFrame], breakdowns: bool) -> Result:
    """The numbers of a cell, or why it has none: one damaged cell must not hide the others."""
    try:
        return _banded(cell, lists, breakdowns)
    except BenchError as error:
        return Result(dataclasses.replace(cell, status="failed", reason=error.reason(), remedy=error.remedy or ""))


def _banded(cell: Cell, lists: Callable[[str, str], pd.DataFrame], breakdowns: bool) -> Result:
    """The numbers of a cell, and of the other seeds where there are several."""
    result = _evaluate(cell, lists, breakdowns)
    if not cell.band:
        return result
    members = {seed: result if one.key == cell.key else _told(one, lists, False) for seed, one in cell.band.items()}
    return dataclasses.replace(result, band=bands.band(members))


def ranked(results: Iterable[Result]) -> list[Result]:
    """By dataset and trial list; in each the lowest EER first, cells without numbers last."""
    return sorted(results, key=_order)


def selected(kind: str, patterns: Collection[str] | None, names: set[str]) -> set[str]:
    """The names that globs, comma lists or `all` choose; None is `all`.

    Imports may have names that are on no card: the store, not the registry, says what exists here.

    Raises:
        UsageError: a name or glob that fits none, with the nearest names.
    """
    if patterns is None:
        return names
    chosen: set[str] = set()
    for pattern in (part.strip() for given in patterns for part in given.split(",")):
        fitting = names if pattern == "all" else ({pattern} & names or set(fnmatch.filter(names, pattern)))
        if not fitting:
            raise unknown(f"stored {kind}", pattern, names)
        chosen |= fitting
    return chosen


def _order(result: Result) -> tuple[str, bool, str, bool, float, str]:
    cell = result.cell
    if result.eer is None:
        return cell.dataset, True, "", False, 0.0, cell.detector
    return cell.dataset, False, result.digest, bool(result.unscored), result.eer, cell.detector


def _trial_list(store: Store, dataset: str, digest: str) -> pd.DataFrame:
    trials = store.trials(dataset, digest)
    if trial_digest(trials) != digest:
        raise StoreError(
            f"the stored trial list of {dataset} is not the one its digest {digest[:12]} names",
            where=store.root,
            remedy="remove its trials-*.parquet and run again with the corpus at hand",
        )
    return trials


def _evaluate(cell: Cell, lists: Callable[[str, str], pd.DataFrame], breakdowns: bool) -> Result:
    if not cell.has_number:
        return Result(cell)
    full = lists(cell.dataset, cell.manifest["dataset"]["digest"])
    scores, trials = _scored(cell, full)
    unscored = len(full) - len(trials)
    labels = is_bonafide(trials)
    if labels.all() or not labels.any():
        return Result(cell, unscored=unscored)
    values = scores["score"].to_numpy()
    try:
        found = metrics.evaluate(values, labels)
        native = _native(cell, scores, labels)
    except DataError as error:
        raise DataError(error.what, where=cell.path, remedy=error.remedy) from error
    slices = {
        attribute: metrics.breakdown(values, labels, trials[attribute].tolist(), attribute in SPOOF_ATTRIBUTES)
        for attribute in (_attributes(trials) if breakdowns else ())
    }
    told = {name: parts for name, parts in slices.items() if any(part.eer is not None for part in parts)}
    return Result(cell, found, native, told, unscored)


def _scored(cell: Cell, trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a cell is measured over: the scores that are there, and their trials, row by row."""
    scores = _aligned(cell, trials)
    has_score = scores["score"].notna().to_numpy()
    unscored = int((~has_score).sum())
    if unscored and cell.status == "complete":
        raise StoreError(
            f"the cell says complete, but {unscored} of {len(trials)} trials have no score",
            where=cell.path,
            remedy="remove this folder and run the cell again",
        )
    return scores[has_score], trials[has_score]


def _aligned(cell: Cell, trials: pd.DataFrame) -> pd.DataFrame:
    """The stored scores, one row a trial in the order of the trial list; a trial without a score is NaN."""
    scores = cell.scores()
    rows = pd.Index(trials["trial"]).get_indexer(pd.Index(scores["trial"]))
    strange = (rows < 0) | scores["trial"].duplicated().to_numpy()
    if strange.any():
        raise StoreError(
            f"{strange.sum()} stored scores repeat a trial or are of none of dataset {cell.dataset}, "
            f"first {scores['trial'].iloc[int(strange.argmax())]!r}",
            where=cell.path,
            remedy="remove this folder and run the cell again",
        )
    return scores.set_index(rows).reindex(range(len(trials)))


def _attributes(trials: pd.DataFrame) -> list[str]:
    """The columns to break down by: attack whatever its number of systems, and attributes of the corpus."""
    attributes = [str(column) for column in trials if column not in COLUMNS]
    told = [name for name in attributes if trials.loc[trials[name] != "", name].nunique() in BREAKDOWN_VALUES]
    return ["attack", *told] if (trials["attack"] != "").any() else told


def _native(cell: Cell, scores: pd.DataFrame, labels: Any) -> dict[str, Any] | None:
    decision = cell.manifest["detector"].get("decision")
    if decision is None or decision["column"] not in scores:
        return None
    decided = metrics.decide(scores[decision["column"]].to_numpy(), labels, decision["threshold"])
    return {**decided, "column": decision["column"], "threshold": decision["threshold"]}


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """What `bench show --json` prints: fractions under the names of `bench.metrics.evaluate`, null without a number.

    Those of a cell are its own; the mean over several seeds is in its `band`.
    """
    return {"cells": [_cell_json(result) for result in results]}


def _cell_json(result: Result) -> dict[str, Any]:
    cell = result.cell
    return {
        "detector": cell.detector,
        "dataset": cell.dataset,
        "digest": result.digest or None,
        "key": cell.key or None,
        "status": cell.status,
        "reason": cell.reason,
        "remedy": cell.remedy,
        "caveat": result.caveat,
        "imported": bool(cell.manifest.get("imported")),
        "weights": result.weights,
        "trials": result.trials,
        **{name: (result.metrics or {}).get(name) for name in METRICS},
        "native": None if result.native is None else dict(result.native),
        "random_parts": list(result.random_parts),
        "band": None if result.band is None else result.band.as_json(),
    }
