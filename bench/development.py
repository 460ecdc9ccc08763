"""What is chosen on a development set, a threshold or a calibration, applied to the other cells of the same detector.

The same detector is the same scorer: architecture, weights, audio recipe, adapter version and precision, as the
manifests of both cells tell. An import has no scorer: it is taken to be the same detector, and its row says so. Where
there are several seeds, what is chosen for each is applied to the cell of that seed, and the numbers are then averaged.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench import scored
from bench.errors import BenchError, Blocked, DataError, unknown
from bench.results import Result
from bench.scored import Scored, TrialLists
from bench.store import Cell, Store

T = TypeVar("T")
Numbers: TypeAlias = Mapping[str, float]

IMPORTED = "imported, taken to be the same detector"


@dataclass(frozen=True)
class Applied:
    """What one cell measures with what was chosen on the development set.

    seeds: the numbers of each seed; where there is no band, of the only one (None: the weights were not made here).
            Empty where there is a `reason`.
    reason: why there are no numbers. remarks: what a reader must know of them.
    """

    result: Result
    seeds: Mapping[int | None, Numbers]
    reason: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def numbers(self) -> Numbers | None:
        """The mean over the seeds of each number; None where there is a reason."""
        found = list(self.seeds.values())
        return {name: statistics.fmean(one[name] for one in found) for name in found[0]} if found else None


def applied(
    store: Store,
    results: Iterable[Result],
    dev: str,
    choose: Callable[[Scored], T],
    measure: Callable[[T, Scored], Numbers],
) -> list[Applied]:
    """Each result that is not on the dataset `dev`, measured with what `choose` makes of its detector's cell on `dev`.

    A cell that cannot be measured so, because of itself or of that on `dev`, is in the list with the reason.

    Raises:
        UsageError: nothing is stored on `dev`, with the nearest names.
    """
    cells = store.current()
    if dev not in (names := {cell.dataset for cell in cells}):
        raise unknown("stored dataset", dev, names)
    own = {cell.detector: cell for cell in cells if cell.dataset == dev}
    lists = scored.trial_lists(store)
    chosen: dict[tuple[str, str], T] = {}

    @cache
    def overlap(dev_digest: str, dataset: str, digest: str) -> str:
        return _overlap(dev, lists(dev, dev_digest)["trial"], lists(dataset, digest)["trial"])

    def best(there: Cell) -> T:
        place = (there.detector, there.key)
        if place not in chosen:
            trials = measurable(there, lists)
            try:
                chosen[place] = choose(trials)
            except DataError as error:  # told in the row of another dataset
                raise DataError(error.what, where=dev, remedy=error.remedy) from error
        return chosen[place]

    def one(result: Result) -> Applied:
        numbers: dict[int | None, Numbers] = {}
        remarks: dict[str, None] = {}
        try:
            for seed, there, here in _pairs(result, own.get(result.cell.detector), dev):
                numbers[seed] = measure(best(there), measurable(here, lists))
                told = (
                    IMPORTED if is_imported(there) or is_imported(here) else "",
                    _partial(there),
                    _partial(here),
                    overlap(_digest(there), here.dataset, _digest(here)),
                )
                remarks |= dict.fromkeys(filter(None, told))
        except BenchError as error:
            return Applied(result, {}, error.reason())
        return Applied(result, numbers, "", tuple(remarks))

    return [one(result) for result in results if result.cell.dataset != dev]


def _pairs(result: Result, there: Cell | None, dev: str) -> list[tuple[int | None, Cell, Cell]]:
    """Of each seed of a result: the cell on `dev`, and its own.

    Raises:
        Blocked: there is no such cell on `dev`. DataError: it is another scorer's.
    """
    if there is None:
        raise Blocked(f"no cell on {dev}")
    here: dict[int | None, Cell] = {result.seed: result.cell}
    if result.band is not None:
        here = {seed: one.cell for seed, one in result.band.results.items()}
    # Where both are single the scorer tells whether they belong together: an import has no seed.
    known: dict[int | None, Cell] = {Result(there).seed if result.band else result.seed: there}
    if there.band:
        known = dict(there.band.items())
    for seed, cell in here.items():
        if seed not in known:
            raise Blocked(f"no cell of seed {seed} on {dev}" if seed is not None else f"several seeds on {dev}")
        same_scorer(known[seed], cell)
    return [(seed, known[seed], cell) for seed, cell in here.items()]


def is_imported(cell: Cell) -> bool:
    """Whether nothing is known of what scored it."""
    return cell.finished and cell.manifest.get("scorer") is None


def same_scorer(first: Cell, second: Cell) -> None:
    """Raises DataError: finished cells of one detector are of different scorers. An import may be of any."""
    scorers = {cell.manifest.get("scorer") for cell in (first, second) if cell.finished and not is_imported(cell)}
    if len(scorers) > 1:
        raise DataError(
            f"{first.detector} on {first.dataset} is another scorer than on {second.dataset}: weights, audio recipe, "
            "version or precision differ",
            remedy="run both again",
        )


def measurable(cell: Cell, lists: TrialLists) -> Scored:
    """The scored trials of a cell that may be measured, of both classes.

    Raises:
        DataError: it may not be. StoreError: as `bench.scored.load`.
    """
    if not cell.has_number:
        raise DataError(f"the cell on {cell.dataset} is {cell.status}: it has no number", remedy=cell.remedy or None)
    trials = scored.load(cell, lists)
    if not trials.measurable:
        raise DataError(f"the scored trials of {cell.dataset} are all of one class")
    return trials


def _digest(cell: Cell) -> str:
    return str(cell.manifest["dataset"]["digest"])


def _partial(cell: Cell) -> str:
    missing = cell.manifest.get("failed", 0)
    return f"without {missing:,} trials of {cell.dataset} that have no score" if missing else ""


def _overlap(dev: str, there: pd.Series, here: pd.Series) -> str:
    # What was chosen on trials of the test list is no longer chosen beforehand. Ids say it inside one corpus alone.
    both = int(here.isin(there).sum())
    return f"{both:,} of its {len(here):,} trial ids are on {dev}, too" if both else ""


def as_json(dev: str, rows: Sequence[Applied]) -> dict[str, Any]:
    """Rows for JSON: `numbers` are means over the `seeds`, null with a reason."""
    return {"dataset": dev, "cells": [_row_json(row) for row in rows]}


def _row_json(row: Applied) -> dict[str, Any]:
    return {
        "detector": row.result.cell.detector,
        "dataset": row.result.cell.dataset,
        "digest": row.result.digest or None,
        "key": row.result.cell.key or None,
        "reason": row.reason,
        "remarks": list(row.remarks),
        "numbers": row.numbers,
        "seeds": [{"seed": seed, **numbers} for seed, numbers in row.seeds.items()] if row.result.band else [],
    }


def table(rows: Sequence[Applied], columns: Mapping[str, Callable[[Numbers], str]], caption: str) -> Table:
    """Rows for a terminal, a column of numbers each heading; reasons and remarks stand below, each once."""
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), caption_justify="left")
    shown.add_column("detector", overflow="fold")
    shown.add_column("dataset", overflow="fold")
    for heading in columns:
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    remarks: dict[str, int] = {}
    for row in rows:
        if (numbers := row.numbers) is not None:
            told = [*row.remarks, *([f"mean of {len(row.seeds)} seeds"] if row.result.band else [])]
            marks = " ".join(f"[{remarks.setdefault(remark, len(remarks) + 1)}]" for remark in told)
            names = Text(row.result.cell.detector), Text(row.result.cell.dataset)
            shown.add_row(*names, *(text(numbers) for text in columns.values()), Text(marks))
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.reason:
            reasons.setdefault((row.result.cell.detector, row.reason), []).append(row.result.cell.dataset)
    below = [caption, *(f"[{number}] {remark}" for remark, number in remarks.items())]
    below += [f"no numbers for {name} on {', '.join(sets)}: {reason}" for (name, reason), sets in reasons.items()]
    shown.caption, shown.caption_style = Text("\n".join(below)), ""
    return shown
