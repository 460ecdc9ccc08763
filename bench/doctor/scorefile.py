"""Audits of score files made elsewhere: everything that is wrong with one, told at once.

The formats are those of `bench.imports`, which stops at the first line that it cannot take.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import imports, metrics
from bench.corpora import Dataset
from bench.doctor.findings import Audit, Finding, counted, of_error
from bench.doctor.shortcuts import ALPHA, chance
from bench.errors import DataError
from bench.trials import LABELS, is_bonafide

INVERTED = 0.45  # AUC below which, if it is also beyond chance, the sign is doubted and not only the detector
FEW_DISTINCT = 0.5  # share of distinct scores below which they saturate or were printed with too few digits
LARGE_TIE = 0.01  # share of the trials that one score may have: what is tied there cannot be ranked
SMALLEST_TIE = 10  # trials, for short lists

REMEDIES = {
    "unreadable": imports.REMEDY,
    "not a number": "score these trials again",
    "not finite": "score these trials again: no EER is computed from such scores",
    "scored twice": "remove one line of each; scorers that open their file in append mode write it twice",
    "other label": "check that the file belongs to this dataset and phase",
}
SENTENCES = {
    "unreadable": "that cannot be read",
    "not a number": "with a score that is no number",
    "not finite": "with a score that is NaN or infinite",
    "scored twice": "that score a trial again",
    "other label": "that contradict the label of the list",
}


class _File:
    """The scores of a file by trial of the list, float64 (trials,), and what is wrong with its lines, by kind."""

    def __init__(self, file: Path, dataset: Dataset) -> None:
        self.scores = np.full(len(dataset.trials), np.nan)
        self.lines = 0
        self.strangers: list[str] = []
        self.wrong: dict[str, list[str]] = {kind: [] for kind in SENTENCES}
        self.broken: DataError | None = None
        self._file = file
        self._rows = {trial: row for row, trial in enumerate(dataset.trials["trial"])}
        self._labels = dataset.trials["label"].tolist()
        self._first = np.zeros(len(self._rows), dtype=np.int64)  # line that scored each trial, 0 = none yet
        try:
            for item in imports.rows_of(file):
                self.lines += 1
                self._take(item)
        except DataError as error:
            self.broken = error

    def _take(self, item: imports.Row | DataError) -> None:
        if isinstance(item, DataError):
            where = (item.where or "").rpartition(", ")[2]
            self.wrong["unreadable"].append(f"{where}: {item.what}")
            return
        name = next((name for name in item.trials if name in self._rows), None)
        if name is None:
            self.strangers.append(f"line {item.line}: {next(iter(item.trials))}")
            return
        row, label = self._rows[name], item.trials[name]
        if self._first[row]:
            self.wrong["scored twice"].append(f"line {item.line}: {name}, first in line {self._first[row]}")
            return
        self._first[row] = item.line
        if label and LABELS.get(label.lower(), self._labels[row]) != self._labels[row]:
            self.wrong["other label"].append(f"line {item.line}: {name} is {label}, the list says {self._labels[row]}")
        try:
            self.scores[row] = imports.number(item.score, self._file, item.line)
        except DataError as error:
            kind = "not finite" if "not finite" in error.what else "not a number"
            self.wrong[kind].append(f"line {item.line}: {name}: {item.score}")

    @property
    def named(self) -> NDArray[np.bool_]:
        """Whether the file has a line of each trial, (trials,)."""
        return self._first > 0


def examine(file: Path, dataset: Dataset) -> Audit:
    """What a score file holds of the trials of a dataset, and all that is wrong with it.

    Raises:
        UsageError: no such file.
    """
    found = _File(file, dataset)
    labels = is_bonafide(dataset.trials)
    scored = ~np.isnan(found.scores)
    scores, labels = found.scores[scored], labels[scored]
    findings = [*_of_lines(found, dataset)]
    counts = {
        "dataset": dataset.name,
        "digest": dataset.digest,
        "lines": found.lines,
        "trials": len(scored),
        "scored": len(scores),
        "distinct": len(np.unique(scores)),
    }
    told = [
        f"{found.lines:,} lines; {len(scores):,} of {len(scored):,} trials of {dataset.name} have a score "
        f"({100 * len(scores) / len(scored):.2f} %)"
    ]
    if len(scores):
        told.append(f"scores {scores.min():.6g} to {scores.max():.6g}, {counts['distinct']:,} distinct")
        findings += _of_scores(scores)
    if 0 < labels.sum() < len(labels):
        numbers = metrics.evaluate(scores, labels)
        counts |= {"eer": numbers["eer"], "auc": numbers["auc"]}
        part = "" if scored.all() else ", over the scored trials alone"
        told.append(f"EER {100 * numbers['eer']:.4f} %, AUC {numbers['auc']:.4f}{part}")
        findings += _of_sign(scores, labels, numbers["auc"])
    return Audit("score file", str(file), tuple(findings), tuple(told), counts, files=1)


def _of_lines(found: _File, dataset: Dataset) -> Iterator[Finding]:
    if found.broken is not None:
        yield of_error("unreadable", found.broken)
    for kind, lines in found.wrong.items():
        if lines:
            yield Finding(
                kind,
                "error",
                f"{counted(len(lines), 'line')} {SENTENCES[kind]}",
                len(lines),
                tuple(lines),
                REMEDIES[kind],
            )
    lost = dataset.trials["trial"][~found.named].tolist()
    if lost:
        what = f"{len(lost):,} of {len(found.named):,} trials of {dataset.name} without a line"
        remedy = "score all of them; `bench import --allow-missing` takes a partial result"
        if not found.named.any():
            remedy = f"check that the file is of {dataset.name}: the ids are others"
        yield Finding("no score", "error", what, len(lost), tuple(lost), remedy)
    if found.strangers:
        what = f"{counted(len(found.strangers), 'line')} of no trial of {dataset.name}; an import leaves them out"
        yield Finding("no trial", "note", what, len(found.strangers), tuple(found.strangers))


def _of_scores(scores: NDArray[np.float64]) -> Iterator[Finding]:
    """Scores that cannot rank the trials: saturated, or printed with too few digits."""
    values, counts = np.unique(scores, return_counts=True)
    largest, total = int(counts.max()), len(scores)
    remedy = "write raw logits or log-probabilities with all their digits: what is tied cannot be ranked"
    if largest >= max(SMALLEST_TIE, LARGE_TIE * total):
        tied = values[counts.argmax()]
        what = f"{largest:,} of {total:,} trials have the same score {tied:.6g}"
        yield Finding("tie", "warning", what, largest, remedy=remedy)
    if len(values) < FEW_DISTINCT * total:
        what = f"only {len(values):,} distinct scores among {total:,}"
        yield Finding("few distinct", "warning", what, total - len(values), remedy=remedy)
    if values[0] >= 0 and values[-1] <= 1:
        ends = int((scores == 0).sum()), int((scores == 1).sum())
        what = f"all scores lie between 0 and 1, as probabilities do; {ends[0]:,} are exactly 0, {ends[1]:,} exactly 1"
        rounded = any(ends)
        yield Finding("probabilities", "warning" if rounded else "note", what, total, remedy=remedy if rounded else "")


def _of_sign(scores: NDArray[np.float64], labels: NDArray[Any], auc: float) -> Iterator[Finding]:
    if auc < INVERTED and chance(scores, labels.astype(bool), auc) < ALPHA:
        what = f"AUC is {auc:.4f}: higher seems to mean more spoof in this file"
        yield Finding(
            "inverted", "warning", what, len(scores), remedy="if so, negate the scores: higher = more bona fide"
        )
