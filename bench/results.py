"""Stored scores -> numbers. Nothing here runs a detector or needs the corpus: the store keeps the trial lists.

A cell is measured when it is complete, or when it is incomplete and was run with `--allow-missing`; then the numbers
are over the scored trials only, and every output says so. Any other cell has no number at all. A detector trained with
several seeds counts with the mean over them (`bench.bands`).
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import bands, intervals, metrics, scored
from bench.bands import Band
from bench.cellmetrics import METRICS, measure
from bench.comparison import compare
from bench.errors import BenchError, DataError, unknown
from bench.intervals import Uncertainties, Uncertainty
from bench.metrics import Slice
from bench.scored import Scored, trial_lists
from bench.slices import FEWEST_ERRORS, attributes
from bench.store import Cell, Store
from bench.trials import SPOOF_ATTRIBUTES
from bench.uncertainty import Difference

F1_HEADLINE = "F1 (bona fide positive, threshold = test-set EER threshold)"


@dataclass(frozen=True)
class Degradation:
    """What a perturbation costs a detector: its EER minus that on the clean audio of the same trials.

    difference: None for `reason`, or what must be said of it.
    """

    clean: str
    difference: Difference | None = None
    reason: str = ""

    @property
    def told(self) -> str:
        """`to itw +3.21 pp (95 %: +1.10 to +5.02)`."""
        if self.difference is None:
            return f"no difference to {self.clean}: {self.reason}"
        return f"to {self.clean} {self.difference.told}" + (f", {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Result:
    """What one cell measures.

    metrics: `bench.cellmetrics.measure` as fractions, None where the cell may not be measured or its scored trials are
            all of one class.
    native: `bench.metrics.decide` at the detector's own threshold, with that `column` and `threshold`; None where the
            detector has no threshold or the scores lack the column (an import usually has the score alone).
    breakdowns: attribute of the trials -> records of `bench.metrics.breakdown`.
    unscored: trials of the dataset that the metrics leave out; above 0 only with `--allow-missing`.
    band: this cell and those of the other seeds, where there are several. All other fields are of this cell alone.
    uncertainty: of what counts, the mean over the seeds where there is one; None without numbers.
    degradation: of a perturbed dataset, against the clean one.
    """

    cell: Cell
    metrics: Mapping[str, Any] | None = None
    native: Mapping[str, Any] | None = None
    breakdowns: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    unscored: int = 0
    band: Band | None = None
    uncertainty: Uncertainty | None = field(default=None, compare=False)  # follows from the scores
    degradation: Degradation | None = None

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
    def leakage(self) -> str:
        """What the weights may have seen of the dataset, see `bench.leakage`; `unknown` where no manifest tells."""
        return str(self.cell.manifest.get("leakage", "unknown"))

    @property
    def scorers(self) -> frozenset[str]:
        """Hashes of architecture, weights, audio recipe, version and precision, of all seeds; none of an import."""
        cells = [self.cell] if self.band is None else [one.cell for one in self.band.results.values()]
        return frozenset(str(cell.manifest["scorer"]) for cell in cells if cell.manifest.get("scorer"))

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
    def precision(self) -> str:
        """What its scores were computed in, see `bench.precision`; '' where no manifest tells."""
        return str(self.cell.manifest.get("precision") or "")

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
        told += [f"computed in {self.precision}"] if self.precision not in ("", "fp32") else []
        told += [self.degradation.told] if self.degradation else []
        told += [self._few_errors] if self.metrics else []
        return list(filter(None, told))

    @property
    def _few_errors(self) -> str:
        assert self.metrics is not None
        counts = {
            "bona fide": round(self.metrics["frr"] * self.metrics["n_bonafide"]),
            "spoofed": round(self.metrics["far"] * self.metrics["n_spoof"]),
        }
        if min(counts.values()) >= FEWEST_ERRORS:
            return ""
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"few errors ({told}): the interval may be too narrow"

    @property
    def caveat(self) -> str:
        """What a reader must know of the numbers of a measured cell, '' where they are over the whole dataset."""
        parts = []
        if self.unscored:
            parts.append(f"over the scored trials only: {self.unscored:,} of {self.trials:,} have no score")
        if self.cell.has_number and self.metrics is None:
            parts.append("no error rates: they need scored trials of both classes")
        return "; ".join(parts)

    @property
    def lacking(self) -> str:
        """Why there is no number over the whole trial list, and over all seeds where there are several; '' with one."""
        if self.band is not None and self.band.eer is None:
            return self.band.told
        return self.caveat or ("" if self.metrics is not None else f"the cell is {self.cell.status}")


def evaluate_cell(store: Store, cell: Cell, *, breakdowns: bool = True) -> Result:
    """The numbers of one cell, `breakdowns` as in `collect`.

    Raises:
        StoreError: scores that are not those of the dataset's trial list, or a complete cell that lacks some.
        DataError: scores that cannot be measured, see `bench.metrics.evaluate`.
    """
    return Measuring(store, breakdowns).of(cell)


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
    measuring = Measuring(store, breakdowns)
    wanted = (cell for cell in cells if cell.dataset in wanted_datasets and cell.detector in wanted_detectors)
    return ranked(measuring.told(cell) for cell in wanted)


class Measuring:
    """Cells of one store -> results; what several cells share is read and drawn once."""

    def __init__(self, store: Store, breakdowns: bool) -> None:
        self._store, self._breakdowns = store, breakdowns
        self._lists = trial_lists(store)
        self._uncertainties = Uncertainties()
        self._known: dict[tuple[str, str], Result | None] = {}
        self._last: Scored | None = None

    def trials(self, cell: Cell) -> Scored:
        """The scored trials of a finished cell, as `bench.scored.load`; those read last are kept."""
        if self._last is None or self._last.cell is not cell:
            self._last = scored.load(cell, self._lists)
        return self._last

    def told(self, cell: Cell) -> Result:
        """The numbers of a cell, or why it has none: one damaged cell must not hide the others."""
        try:
            return self.of(cell)
        except BenchError as error:
            return _failed(cell, error)

    def of(self, cell: Cell) -> Result:
        """The numbers of a cell; of the other seeds, and against the same detector on clean audio, where there are."""
        result = self._banded(cell, self._breakdowns)
        clean = str(cell.manifest.get("dataset", {}).get("clean", ""))
        if not clean or result.eer is None:
            return result
        return dataclasses.replace(result, degradation=self._degradation(result, clean))

    def _degradation(self, result: Result, clean: str) -> Degradation:
        """What the perturbation of a dataset costs: the paired difference to the clean cell, seed by seed."""
        detector = result.cell.detector
        try:
            there = self._clean(clean, detector)
            if there is None:
                return Degradation(clean, reason=f"{detector} has no cell on {clean}")
            if result.band is None and there.band is not None:  # one of the seeds that were run on clean audio
                alone = [one for one in there.band.results.values() if one.scorers == result.scorers]
                there = alone[0] if alone else there
            if there.scorers != result.scorers:
                return Degradation(clean, reason=f"the cell on {clean} is of other weights, seeds or another version")
            remark = "" if result.scorers else "both imported, taken to be the same detector"
            return Degradation(clean, compare(result, there, self._lists).eer, remark)
        except BenchError as error:
            return Degradation(clean, reason=error.what)

    def _clean(self, dataset: str, detector: str) -> Result | None:
        """The result of a pair that several perturbations are compared with, measured once."""
        if (dataset, detector) not in self._known:
            cell = self._store.current_of(dataset, detector)
            self._known[dataset, detector] = None if cell is None else self._banded(cell, breakdowns=False)
        return self._known[dataset, detector]

    def _banded(self, cell: Cell, breakdowns: bool) -> Result:
        result = self._alone(cell, breakdowns)
        if not cell.band:
            return result
        members = {seed: result if one.key == cell.key else self._member(one) for seed, one in cell.band.items()}
        found = bands.band(members)
        known = [one.uncertainty for one in members.values() if one.uncertainty is not None]
        together = intervals.mean(known) if found.eer is not None else result.uncertainty
        return dataclasses.replace(result, band=found, uncertainty=together)

    def _member(self, cell: Cell) -> Result:
        try:
            return self._alone(cell, breakdowns=False)
        except BenchError as error:
            return _failed(cell, error)

    def _alone(self, cell: Cell, breakdowns: bool) -> Result:
        if not cell.has_number:
            return Result(cell)
        trials = self.trials(cell)
        if not trials.measurable:
            return Result(cell, unscored=trials.unscored)
        values, labels, table = trials.values, trials.labels, trials.trials
        try:
            found = measure(trials)
            native = _native(trials)
        except DataError as error:
            raise DataError(error.what, where=cell.path, remedy=error.remedy) from error
        slices = {
            attribute: metrics.breakdown(values, labels, table[attribute].tolist(), attribute in SPOOF_ATTRIBUTES)
            for attribute in (attributes(table, speakers=False) if breakdowns else ())
        }
        told = {name: parts for name, parts in slices.items() if any(part.eer is not None for part in parts)}
        return Result(cell, found, native, told, trials.unscored, uncertainty=self._uncertainties.of(trials))


def _failed(cell: Cell, error: BenchError) -> Result:
    return Result(dataclasses.replace(cell, status="failed", reason=error.reason(), remedy=error.remedy or ""))


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


def _native(trials: Scored) -> dict[str, Any] | None:
    decision = trials.cell.manifest["detector"].get("decision")
    if decision is None or decision["column"] not in trials.scores:
        return None
    decided = metrics.decide(trials.scores[decision["column"]].to_numpy(), trials.labels, decision["threshold"])
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
        "leakage": result.leakage,
        "trials": result.trials,
        **{name: (result.metrics or {}).get(name) for name in METRICS},
        "native": None if result.native is None else dict(result.native),
        "random_parts": list(result.random_parts),
        "band": None if result.band is None else result.band.as_json(),
        "intervals": _intervals_json(result.uncertainty),
        "degradation": None if result.degradation is None else asdict(result.degradation),
    }


def _intervals_json(found: Uncertainty | None) -> dict[str, Any] | None:
    """95 % intervals as fractions, what was drawn, and why they may be too narrow."""
    if found is None:
        return None
    ends = {name: [found.interval(name).low, found.interval(name).high] for name in found.replicates}
    return {"unit": found.unit.text, "warnings": found.unit.warnings, **ends}
