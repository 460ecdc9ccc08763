"""Accepted results beside the store: which cells are compared, what is read of them, what is accepted.

Needs neither corpora nor weights: scores and trial lists are in the store, accepted scores beside leaderboard.yml. What
is damaged on either side is the verdict of its own cell and hides no other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
from pydantic import ValidationError

from bench import accepted, boards, metrics, regression, scored
from bench.accepted import ALONE, MOST_SEEDS, Accepted, AcceptedScores, Pair
from bench.det import Floats
from bench.errors import BenchError, Blocked, StoreError, UsageError
from bench.regression import Kind, Verdict
from bench.replicates import MEASURES, REPLICATES, replicate
from bench.resampling import Resampling
from bench.results import selected
from bench.store import Cell, Store
from bench.trials import SPOOF_ATTRIBUTES, difference_between, is_bonafide
from bench.uncertainty import Difference, difference

ROUNDING = 1e-4  # percent: an EER in leaderboard.yml has four decimals
SEEDS_UNKNOWN = "how many seeds the accepted mean is of is not known"
RENAMED = "speakers or attacks of the list are named otherwise than when it was accepted"


@dataclass(frozen=True, eq=False)
class Measured:
    """A cell with a number. columns: scores by seed as in `AcceptedScores`. eer: fraction, mean over the seeds."""

    cell: Cell
    digest: str
    columns: Mapping[str, Floats]
    eer: float


@dataclass(frozen=True)
class Acceptance:
    """What `--accept` did with one cell. told: `7.8357 -> 7.4641 %`, or why it was not accepted."""

    dataset: str
    detector: str
    done: bool
    told: str


class Gate:
    """The accepted results of `file`, compared with the cells of a store.

    Args:
        tolerance: percentage points, in place of all those that the file names.
        make: for `accept`: the file may be absent, and what is measured is kept for it.

    Raises:
        UsageError, CardError: the file is absent or not valid. StoreError: a store that cannot be read at all.
    """

    def __init__(self, store: Store, file: Path, *, tolerance: float | None = None, make: bool = False) -> None:
        if tolerance is not None and not 0 <= tolerance < math.inf:
            raise UsageError("a tolerance is a number of percentage points, 0 or more")
        self._store, self._file, self._tolerance, self._make = store, file, tolerance, make
        self.board = accepted.Leaderboard() if make and not file.exists() else accepted.read(file)
        self._entries = {entry.pair: entry for entry in self.board.accepted}
        self._cells: dict[Pair, Cell] = {(cell.dataset, cell.detector): cell for cell in store.current()}
        self._kept: dict[Pair, Measured] = {}
        self._standing: set[Pair] = set()  # what is accepted is what is stored: there is nothing to write

        @cache
        def ascending(dataset: str, digest: str) -> pd.DataFrame:
            # A reader for this list alone: it would keep another copy of each.
            return scored.trial_lists(store)(dataset, digest).sort_values("trial", ignore_index=True)

        self._lists = ascending
        self._factors = cache(lambda dataset, digest: accepted.factors(ascending(dataset, digest)))
        self._draws = cache(lambda dataset, digest: Resampling(ascending(dataset, digest), REPLICATES))

    def check(
        self,
        board: str | None = None,
        detectors: Collection[str] | None = None,
        datasets: Collection[str] | None = None,
        cards: Path | None = None,
    ) -> list[Verdict]:
        """The verdicts on what is accepted and what is stored, worst first.

        Args:
            board: only its detectors and datasets; a pair that it names without globs must be here.
            detectors, datasets: only these: names, globs, comma lists.
            cards: the user's own, for what `all` and globs of a board mean.

        Raises:
            UsageError: a board, a name or a glob that fits nothing.
        """
        pairs, demanded = self._entries.keys() | self._cells.keys(), set[Pair]()
        if board is not None:
            chosen = self.board.board(board)
            pairs, demanded = boards.pairs_of(chosen, self._entries, self._cells, cards=cards, where=self._file)
        wanted_datasets = selected("dataset", datasets, {dataset for dataset, _ in pairs})
        wanted_detectors = selected("detector", detectors, {detector for _, detector in pairs})
        wanted = (pair for pair in pairs if pair[0] in wanted_datasets and pair[1] in wanted_detectors)
        return regression.worst_first(self._verdict(pair, demanded) for pair in wanted)

    def _verdict(self, pair: Pair, demanded: Collection[Pair]) -> Verdict:
        entry = self._entries.get(pair)
        try:
            cell = self._cell(pair)
            if entry is not None and entry.digest != _digest(cell):
                return self._not_comparable(entry, cell)
            now = self._measured(cell)
            if self._make:
                self._kept[pair] = now
            if entry is None:
                return Verdict(*pair, "new", "nobody accepted it yet", "accept it with --accept", eer=now.eer)
            return self._compared(entry, now)
        except BenchError as error:
            lacking: Kind = "missing" if isinstance(error, Blocked) else "invalid"
            kind = lacking if entry is not None or pair in demanded else "new"
            known = None if entry is None else entry.eer / 100
            return Verdict(*pair, kind, error.reason(), error.remedy or "", accepted=known)

    def _cell(self, pair: Pair) -> Cell:
        """The complete cell of a pair that the last run left.

        Raises:
            Blocked: there is none, or the last run could not score it. StoreError: it is not complete, or a newer one
                is there that was not ended.
        """
        cell = self._cells.get(pair)
        remedy = f"score it: `bench run -d {pair[1]} -s {pair[0]}`"
        if cell is None:
            asked = "accepted" if pair in self._entries else "on the board"
            raise Blocked(f"{asked}, not in the store", remedy=remedy)
        if cell.status == "blocked":
            raise Blocked(f"blocked: {cell.reason}", remedy=cell.remedy or remedy)
        _check_status(cell)
        last = self._store.newer(cell)
        if last is None:
            return cell
        if last.status == "blocked":
            what = f"the last run could not score it: {last.reason}; what is stored is older"
            raise Blocked(what, remedy=last.remedy or remedy)
        what = f"a newer cell of it is {last.status}: {last.reason or 'its run was interrupted'}"
        raise StoreError(f"{what}; what was finished before is older", remedy=last.remedy or "run it again")

    def _measured(self, cell: Cell) -> Measured:
        """The scores and the EER of a cell, or of all its seeds.

        Raises:
            StoreError, DataError: it has no number, or one that cannot be trusted.
        """
        members = {str(seed): one for seed, one in cell.band.items()} or {ALONE: cell}
        columns, eers = {}, []
        for seed, one in members.items():
            _check_status(one, seed)
            if _digest(one) != _digest(cell):
                raise StoreError(f"seed {seed} is of another trial list", where=one.path, remedy="run all seeds again")
            loaded = scored.load(one, self._lists)
            columns[seed] = loaded.values
            eers.append(metrics.eer(loaded.values, loaded.labels).eer)
        return Measured(cell, _digest(cell), columns, fmean(eers))

    def _compared(self, entry: Accepted, now: Measured) -> Verdict:
        trials = self._lists(entry.dataset, now.digest)
        before = accepted.read_scores(self._place(entry.pair), entry.digest, len(trials))
        tolerance, notes = self._tolerance_of(entry), self._notes(entry, now, before)
        drawn, unit, same = None, None, False
        if before is None:
            # The file has rounded; so is what is compared with it.
            old = entry.eer / 100
            change = regression.points(old, round(100 * now.eer, accepted.EER_DECIMALS) / 100)
            notes += [] if change > tolerance else [regression.EER_ALONE]
        else:
            old = self._accepted_eer(entry, before, is_bonafide(trials))
            change = regression.points(old, now.eer)
            if change > tolerance:
                draws = self._draws(entry.dataset, now.digest)
                drawn, unit = _difference(draws, now, before, now.eer - old), draws.unit
                factors = ("attack", "speaker") if "speaker" in unit.clusters else ("attack",)
                notes = [*_most_risen(factors, trials, now, before), *notes, *unit.warnings]
            same = _same(before.columns, now.columns)
            if same and entry.key == now.cell.key and before.factors == self._factors(entry.dataset, now.digest):
                self._standing.add(entry.pair)
                self._kept.pop(entry.pair, None)
        if change > tolerance and old <= 0.5 < now.eer:
            notes = [regression.INVERTED, *notes]
        kind = "identical" if same else regression.decide(change, tolerance, drawn)
        why = "the same scores" if kind == "identical" else regression.reason(change, tolerance, drawn, unit)
        remedy = "find what changed the scores; if it is meant, accept it with --accept" if kind == "regressed" else ""
        return Verdict(
            *(entry.dataset, entry.detector, kind, why, remedy),
            accepted=old,
            eer=now.eer,
            tolerance=tolerance,
            difference=drawn,
            unit=unit,
            notes=tuple(notes),
        )

    def _accepted_eer(self, entry: Accepted, before: AcceptedScores, labels: np.ndarray) -> float:
        """Raises StoreError: leaderboard.yml and the scores beside it are not of one acceptance."""
        eer = fmean(metrics.eer(values, labels).eer for values in before.columns.values())
        if abs(100 * eer - entry.eer) > ROUNDING:
            raise StoreError(
                f"the accepted scores give an EER of {100 * eer:.4f} %, {self._file.name} says {entry.eer:.4f} %",
                where=self._place(entry.pair),
                remedy="accept the cell again with --accept, or get both back from version control",
            )
        return eer

    def _place(self, pair: Pair) -> Path:
        return accepted.scores_file(self._file, *pair)

    def _tolerance_of(self, entry: Accepted) -> float:
        if self._tolerance is not None:
            return self._tolerance
        return self.board.tolerance if entry.tolerance is None else entry.tolerance

    def _notes(self, entry: Accepted, now: Measured, before: AcceptedScores | None) -> list[str]:
        made, seeds = regression.made_by(now.cell), len(now.columns)
        told = regression.changes(entry.key == now.cell.key, before.made_by if before else {}, made)
        if before is None:
            return [*told, SEEDS_UNKNOWN] if seeds > 1 or regression.of_other_seed(now.cell) else told
        if seeds != len(before.columns):
            told.append(
                f"the mean of {seeds} seed{'s' if seeds > 1 else ''}, accepted was that of {len(before.columns)}"
            )
        return told if before.factors == self._factors(entry.dataset, now.digest) else [*told, RENAMED]

    def _not_comparable(self, entry: Accepted, cell: Cell) -> Verdict:
        now = self._lists(cell.dataset, _digest(cell))
        try:
            before = self._lists(entry.dataset, entry.digest)
            apart = difference_between(before, now, "gone", "new")
            told = f"{len(before):,} trials accepted, {len(now):,} now: {apart}"
        except StoreError:  # the accepted list is not kept in this store: its length may be
            rows = accepted.trials_of(self._place(entry.pair))
            told = f"{len(now):,} trials now, {'an unknown number' if rows is None else f'{rows:,}'} accepted"
        why = f"another trial list ({entry.digest[:12]} accepted, {_digest(cell)[:12]} now): {told}"
        remedy = "score the accepted list; or accept the new one with --accept: its EER is that of another contest"
        return Verdict(entry.dataset, entry.detector, "not comparable", why, remedy, accepted=entry.eer / 100)

    def accept(self, verdicts: Iterable[Verdict]) -> list[Acceptance]:
        """Accept what the cells of these verdicts give now: the scores first, leaderboard.yml last.

        Raises:
            CardError, StoreError: the file cannot be continued or written.
        """
        found: list[Acceptance] = []
        entries: list[Accepted] = []
        for verdict in sorted(verdicts, key=lambda one: (one.dataset, one.detector)):
            pair = (verdict.dataset, verdict.detector)
            if pair in self._standing:
                found.append(Acceptance(*pair, True, f"unchanged: {self._entries[pair].eer:.4f} %"))
                continue
            try:
                now = self._kept.pop(pair, None) or self._measured(self._cell(pair))
                entry, scores = self._acceptable(now)
            except BenchError as error:
                found.append(Acceptance(*pair, False, error.reason()))
                continue
            accepted.write_scores(self._place(pair), scores)
            entries.append(entry)
            found.append(Acceptance(*pair, True, _what_changed(self._entries.get(pair), entry)))
        if entries:
            accepted.write(self._file, entries)
        return found

    def _acceptable(self, now: Measured) -> tuple[Accepted, AcceptedScores]:
        """Raises StoreError: a manifest with a name or a key that is none, more seeds than are kept."""
        cell = now.cell
        if len(now.columns) > MOST_SEEDS:
            raise StoreError(f"the scores of {MOST_SEEDS} seeds are kept at most, these are {len(now.columns)}")
        try:
            eer = round(100 * now.eer, accepted.EER_DECIMALS)
            entry = Accepted(detector=cell.detector, dataset=cell.dataset, digest=now.digest, key=cell.key, eer=eer)
        except ValidationError as error:
            raise StoreError(f"its manifest is damaged: {error.errors()[0]['msg']}", where=cell.path) from None
        factors = self._factors(cell.dataset, now.digest)
        return entry, AcceptedScores(now.digest, factors, now.columns, regression.made_by(cell))


def _check_status(cell: Cell, seed: str = ALONE) -> None:
    """Raises StoreError for a cell that has no number of all its trials."""
    if cell.status != "complete":
        alone = "" if seed == ALONE else f"seed {seed} is "
        raise StoreError(f"{alone}{cell.status}: {cell.reason}", remedy=cell.remedy or "run it again")


def _digest(cell: Cell) -> str:
    """Raises StoreError: the manifest of a finished cell names none."""
    digest = cell.manifest["dataset"].get("digest")
    if not isinstance(digest, str) or not digest:
        raise StoreError("its manifest names no trial list", where=cell.path, remedy="remove this folder and run again")
    return digest


def _difference(draws: Resampling, now: Measured, before: AcceptedScores, value: float) -> Difference:
    means = (
        np.mean([replicate(draws, values, {"eer": MEASURES["eer"]})["eer"] for values in columns.values()], axis=0)
        for columns in (now.columns, before.columns)
    )
    return difference(value, *means)


def _most_risen(factors: Iterable[str], trials: pd.DataFrame, now: Measured, before: AcceptedScores) -> list[str]:
    """In which attack, and in which speaker, the EER rose most."""
    told: list[str] = []
    for factor in (factor for factor in factors if factor in trials):
        old, new = (_eers(columns, trials, factor) for columns in (before.columns, now.columns))
        told += regression.most_risen(factor, old, new)
    return told


def _eers(columns: Mapping[str, Floats], trials: pd.DataFrame, factor: str) -> dict[str, float]:
    """The EER of each attack or speaker that is named and has one, a fraction, the mean over the seeds."""
    labels, groups = is_bonafide(trials), trials[factor].tolist()
    found: dict[str, list[float]] = {}
    for values in columns.values():
        for part in metrics.breakdown(values, labels, groups, factor in SPOOF_ATTRIBUTES):
            if part.value and part.eer is not None:
                found.setdefault(part.value, []).append(part.eer)
    return {value: fmean(eers) for value, eers in found.items()}


def _same(before: Mapping[str, Floats], now: Mapping[str, Floats]) -> bool:
    return before.keys() == now.keys() and all(np.array_equal(before[seed], now[seed]) for seed in now)


def _what_changed(before: Accepted | None, now: Accepted) -> str:
    if before is None:
        return f"new: {now.eer:.4f} %"
    told = [f"{before.eer:.4f} -> {now.eer:.4f} %"] if before.eer != now.eer else []
    told += ["another trial list"] if before.digest != now.digest else []
    told += ["another key"] if before.key != now.key else []
    return ", ".join(told) or f"unchanged: {now.eer:.4f} %"
