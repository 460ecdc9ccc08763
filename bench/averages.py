"""Averages over datasets: one number a detector, where one must be had.

    macro     the mean of the datasets' EERs: each dataset counts alike
    pooled    one EER over the trials of all datasets together, under one threshold: large datasets count more, and
              scores that lie elsewhere in another dataset are errors here

Both are given over all cells of a detector, and over its held-out ones alone (`bench.leakage`). Averages over different
datasets do not compare: detectors stand in groups of equal datasets, the group with most datasets first, and a rank is
one inside its group. So nobody gains or loses by a cell that was seen in training: the held-out average of a detector
that ran it is over the same datasets as that of one that did not.

One trial list a corpus enters, whole and clean: no sibling (phases, splits, releases), sample or perturbed version,
nothing synthetic; where cells of one dataset have several digests, the list that most detectors share. A cell that
lacks trials or seeds does not enter, nor one that other weights of the same detector made. What was run and is left
out is told.

Source of the two: the averages of Speech DF Arena; a mean over seeds stands for the detector in both.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from bench import metrics, scored
from bench.comparison import of_one_scorer
from bench.det import Floats
from bench.families import corpus_of, shipped_card, whole
from bench.results import Result
from bench.scored import TrialLists, trial_lists
from bench.store import Cell, Store
from bench.terminal import PLAIN, RANK_CAPTION
from bench.uncertainty import Interval, interval, ranks

FORMULAS = {
    "macro_eer": "mean of the EERs of the datasets, each alike",
    "pooled_eer": "one EER over the trials of all datasets together, under one threshold",
}


@dataclass(frozen=True)
class Average:
    """One detector, as fractions. rank: by `macro`, in its group, with tie groups as in `bench.uncertainty`.

    interval: 95 %, of the macro EER, speakers and attacks drawn in each dataset for itself.
    pooled: None where no seed was run on all datasets.
    """

    detector: str
    rank: int
    macro: float
    interval: Interval
    pooled: float | None


@dataclass(frozen=True)
class Group:
    """The detectors that have cells on exactly these datasets, the lowest macro EER first.

    datasets: the trials of each.
    """

    datasets: Mapping[str, int]
    averages: tuple[Average, ...]


@dataclass(frozen=True)
class Scope:
    """Averages over some of the cells. single: detectors with fewer than two such cells, of which there is none."""

    cells: str
    groups: tuple[Group, ...]
    single: tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """Cells that are in no average."""

    dataset: str
    detectors: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Averages:
    scopes: tuple[Scope, ...]
    left_out: tuple[LeftOut, ...]


def averages(found: Sequence[Result], store: Store) -> Averages:
    """Of the results of one store, over all cells and over held-out ones.

    Raises:
        StoreError: as `bench.scored.load`.
    """
    entering, left_out = _entering([result for result in found if result.cell.status != "blocked"])
    pooling = _Pooling(store)
    held_out = [result for result in entering if result.leakage == "held-out"]
    scopes = [_scope(name, cells, pooling) for name, cells in (("all", entering), ("held-out", held_out))]
    return Averages(tuple(scopes), tuple(left_out))


# --- which cells enter ------------------------------------------------------------------------------------------------


def _entering(found: Sequence[Result]) -> tuple[list[Result], list[LeftOut]]:
    reasons = [_unfit(result) for result in found]
    counts = Counter(
        (result.cell.dataset, result.digest) for result, why in zip(found, reasons, strict=True) if not why
    )
    shared: dict[str, str] = {}
    for (dataset, digest), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        shared.setdefault(dataset, digest)
    fitting: list[Result] = []
    left_out: dict[tuple[str, str], list[str]] = {}
    for result, reason in zip(found, reasons, strict=True):
        dataset = result.cell.dataset
        if not reason and result.digest != shared[dataset]:
            reason = f"its list {result.digest[:12]} is not {shared[dataset][:12]}, which most detectors share"
        if reason:
            left_out.setdefault((dataset, reason), []).append(result.cell.detector)
        else:
            fitting.append(result)
    entering, others = of_one_scorer(fitting)
    for result in others:
        reason = "scored by other weights or another version than the detector's other cells"
        left_out.setdefault((result.cell.dataset, reason), []).append(result.cell.detector)
    return entering, [LeftOut(dataset, tuple(names), why) for (dataset, why), names in left_out.items()]


def _unfit(result: Result) -> str:
    """Why a cell is in no average, '' where it may be."""
    name = result.cell.dataset
    facts = result.cell.manifest.get("dataset") or {"name": name}
    corpus, card = corpus_of(facts), shipped_card(name)
    if name != whole(name):
        return f"a sample or a perturbed version of {whole(name)}"
    if name != corpus:
        return f"another list of the corpus {corpus}"
    if card is not None and card.made_by:
        return "synthetic"
    return result.lacking


# --- the numbers ------------------------------------------------------------------------------------------------------


def _scope(name: str, cells: Iterable[Result], pooling: _Pooling) -> Scope:
    by_detector: dict[str, dict[str, Result]] = {}
    for result in cells:
        by_detector.setdefault(result.cell.detector, {})[result.cell.dataset] = result
    groups: dict[tuple[str, ...], list[list[Result]]] = {}
    for own in by_detector.values():
        if len(own) > 1:
            groups.setdefault(tuple(sorted(own)), []).append([own[dataset] for dataset in sorted(own)])
    made = [_group(rows, pooling) for rows in groups.values()]
    made.sort(key=lambda group: (-len(group.datasets), -len(group.averages), sorted(group.datasets)))
    single = sorted(detector for detector, own in by_detector.items() if len(own) == 1)
    return Scope(name, tuple(made), tuple(single))


def _group(rows: Sequence[Sequence[Result]], pooling: _Pooling) -> Group:
    own = {row[0].cell.detector: row for row in rows}
    macros = {detector: _macro(row) for detector, row in own.items()}
    drawn = {detector: _replicates(row) for detector, row in own.items()}
    places = ranks(macros, drawn)
    made = [
        Average(detector, places[detector], macros[detector], interval(drawn[detector]), pooling.eer(row))
        for detector, row in own.items()
    ]
    made.sort(key=lambda average: (average.macro, average.detector))
    return Group({result.cell.dataset: result.trials or 0 for result in rows[0]}, tuple(made))


def _macro(row: Sequence[Result]) -> float:
    return statistics.fmean(result.eer for result in row if result.eer is not None)


def _replicates(row: Sequence[Result]) -> Floats:
    """Of the macro EER, (R,)."""
    drawn = []
    for place, result in enumerate(row):
        assert result.uncertainty is not None, result.cell  # it has a number
        # The draws of all lists begin with one seed. In another order for each dataset, and one order for all
        # detectors, datasets are drawn independently and detectors under the same draws.
        drawn.append(np.random.default_rng(place).permutation(result.uncertainty.replicates["eer"]))
    return np.asarray(np.mean(drawn, axis=0))


class _Pooling:
    """Pooled EERs of cells of one store."""

    def __init__(self, store: Store) -> None:
        self._lists: TrialLists = trial_lists(store)
        self._known: dict[tuple[str, ...], float] = {}  # the held-out cells of a detector are often all of them

    def eer(self, row: Sequence[Result]) -> float | None:
        """The mean over the seeds that every dataset has; a cell without seeds goes with each of them."""
        bands = [result.band.results if result.band else {} for result in row]
        seeds = [set(band) for band in bands if band]
        shared = sorted(set.intersection(*seeds)) if seeds else [0]
        pooled = [
            self._one([band.get(seed, own).cell for band, own in zip(bands, row, strict=True)]) for seed in shared
        ]
        return statistics.fmean(pooled) if pooled else None

    def _one(self, cells: Sequence[Cell]) -> float:
        keys = tuple(cell.key for cell in cells)
        if keys not in self._known:
            lists = [scored.load(cell, self._lists) for cell in cells]
            values = np.concatenate([one.values for one in lists])
            labels = np.concatenate([one.labels for one in lists])
            self._known[keys] = metrics.eer(values, labels).eer
        return self._known[keys]


# --- what is shown ----------------------------------------------------------------------------------------------------


def table(found: Averages) -> Lines:
    """A table a group, with its datasets above it; then what the columns mean and what was left out, and why."""
    parts: list[Table | Text] = []
    for scope in found.scopes:
        name = "all cells" if scope.cells == "all" else f"{scope.cells} cells only"
        for group in scope.groups:
            count = f"{len(group.datasets)} datasets, {sum(group.datasets.values()):,} trials"
            parts += [Text.assemble((name, "bold"), f": {', '.join(group.datasets)} ({count})"), _shown(group), Text()]
        if scope.single:
            parts.append(Text(f"{name}: no average of fewer than two datasets: {', '.join(scope.single)}\n"))
        elif not scope.groups:
            parts.append(Text(f"{name}: there are none\n"))
    parts += [Text(f"{name.partition('_')[0]} EER: {formula}") for name, formula in FORMULAS.items()]
    parts.append(Text(RANK_CAPTION))
    parts.append(Text("Averages over different datasets do not compare: ranks are those inside a table."))
    parts += [Text(f"left out: {one.dataset} ({', '.join(one.detectors)}): {one.reason}") for one in found.left_out]
    return Lines(*parts)


def _shown(group: Group) -> Table:
    shown = Table(**PLAIN)
    shown.add_column("rank", justify="right", no_wrap=True)
    shown.add_column("detector", overflow="fold")
    for name in ("macro EER %", "95 %", "pooled EER %"):
        shown.add_column(name, justify="right", no_wrap=True)
    for one in group.averages:
        shown.add_row(
            str(one.rank),
            Text(one.detector),
            f"{100 * one.macro:.4f}",
            one.interval.told,
            "–" if one.pooled is None else f"{100 * one.pooled:.4f}",
        )
    return shown


def as_json(found: Averages) -> dict[str, Any]:
    """What `bench show --averages --json` prints, as fractions."""
    return {
        "formulas": FORMULAS,
        "scopes": [_scope_json(scope) for scope in found.scopes],
        "left_out": [asdict(one) for one in found.left_out],
    }


def _scope_json(scope: Scope) -> dict[str, Any]:
    groups = [
        {
            "datasets": dict(group.datasets),
            "averages": [
                {
                    "detector": one.detector,
                    "rank": one.rank,
                    "macro_eer": one.macro,
                    "macro_eer_interval": one.interval and asdict(one.interval),
                    "pooled_eer": one.pooled,
                }
                for one in group.averages
            ],
        }
        for group in scope.groups
    ]
    return {"cells": scope.cells, "groups": groups, "single": list(scope.single)}
