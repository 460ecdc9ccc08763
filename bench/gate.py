"""Accepted results beside the store: which cells are compared, what is read of them, what is accepted.

Needs neither corpora nor weights: scores and trial lists are in the store, accepted scores beside leaderboard.yml. What
is damaged on either side is the verdict of its own cell and hides no other.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from bench import accepted, metrics, registry, regression, scored
from bench.accepted import ALONE, Accepted, AcceptedScores, Board
from bench.det import Floats
from bench.errors import BenchError, StoreError, UsageError
from bench.regression import Kind, Verdict
from bench.replicates import MEASURES, REPLICATES, replicate
from bench.resampling import Resampling, Unit
from bench.results import selected
from bench.store import Cell, Store
from bench.trials import difference_between, is_bonafide
from bench.uncertainty import Difference, difference

ROUNDING = 1e-4  # percent: an EER in leaderboard.yml has four decimals
DERIVED = re.compile(r"\+|:\d+$")  # a perturbation or a sample of a dataset: a board must name it

Pair = tuple[str, str]  # dataset, detector


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
        make: the file may be absent: nothing is accepted yet.

    Raises:
        UsageError, CardError: the file is absent or not valid. StoreError: a store that cannot be read at all.
    """

    def __init__(self, store: Store, file: Path, *, tolerance: float | None = None, make: bool = False) -> None:
        if tolerance is not None and not 0 <= tolerance < math.inf:
            raise UsageError("a tolerance is a number of percentage points, 0 or more")
        self._store, self._file, self._tolerance = store, file, tolerance
        self.board = accepted.Leaderboard() if make and not file.exists() else accepted.read(file)
        self._entries = {entry.pair: entry for entry in self.board.accepted}
        self._cells: dict[Pair, Cell] = {(cell.dataset, cell.detector): cell for cell in store.current()}
        stored = scored.trial_lists(store)

        @cache
        def ascending(dataset: str, digest: str) -> pd.DataFrame:
            return stored(dataset, digest).sort_values("trial", ignore_index=True)

        self._lists = ascending
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
            pairs, demanded = _of_board(self.board.board(board), pairs, cards)
        wanted_datasets = selected("dataset", datasets, {dataset for dataset, _ in pairs})
        wanted_detectors = selected("detector", detectors, {detector for _, detector in pairs})
        chosen = (pair for pair in pairs if pair[0] in wanted_datasets and pair[1] in wanted_detectors)
        return regression.worst_first(self._verdict(pair, pair in demanded) for pair in chosen)

    def _verdict(self, pair: Pair, demanded: bool) -> Verdict:
        entry, cell = self._entries.get(pair), self._cells.get(pair)
        asked = entry is not None or demanded
        known = None if entry is None else entry.eer / 100
        if cell is None or cell.status == "blocked":
            lacking: Kind = "missing" if asked else "new"
            why = f"blocked: {cell.reason}" if cell else f"{'accepted' if entry else 'on the board'}, not in the store"
            remedy = (cell.remedy if cell else "") or f"score it: `bench run -d {pair[1]} -s {pair[0]}`"
            return Verdict(*pair, lacking, why, remedy, accepted=known)
        try:
            _check_status(cell)
            if entry is not None and entry.digest != _digest(cell):
                return self._not_comparable(entry, cell)
            now = self._measured(cell)
            if entry is None:
                return Verdict(*pair, "new", "nobody accepted it yet", "accept it with --accept", eer=now.eer)
            return self._compared(entry, now)
        except BenchError as error:
            broken: Kind = "invalid" if asked else "new"
            return Verdict(*pair, broken, error.reason(), error.remedy or "", accepted=known)

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
        drawn = unit = None
        if before is None:
            # The file has rounded; so is what is compared with it.
            old = entry.eer / 100
            change = regression.points(old, round(100 * now.eer, accepted.EER_DECIMALS) / 100)
            kind = regression.decide(change, tolerance, None)
        else:
            old = self._accepted_eer(entry, before, is_bonafide(trials))
            change = regression.points(old, now.eer)
            if abs(change) > tolerance:
                drawn, unit = self._difference(entry, now, before, now.eer - old)
                notes += unit.warnings
            same = _same(before.columns, now.columns)
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

    def _difference(
        self, entry: Accepted, now: Measured, before: AcceptedScores, value: float
    ) -> tuple[Difference, Unit]:
        draws = self._draws(entry.dataset, now.digest)
        means = (
            np.mean([replicate(draws, values, {"eer": MEASURES["eer"]})["eer"] for values in columns.values()], axis=0)
            for columns in (now.columns, before.columns)
        )
        return difference(value, *means), draws.unit

    def _tolerance_of(self, entry: Accepted) -> float:
        if self._tolerance is not None:
            return self._tolerance
        return self.board.tolerance if entry.tolerance is None else entry.tolerance

    def _notes(self, entry: Accepted, now: Measured, before: AcceptedScores | None) -> list[str]:
        made = regression.made_by(now.cell.manifest)
        told = regression.changes(entry.key == now.cell.key, before.made_by if before else {}, made)
        seeds = [len(columns) for columns in (before.columns if before else now.columns, now.columns)]
        if seeds[0] != seeds[1]:
            told.append(f"the mean of {seeds[1]} seed{'s' if seeds[1] > 1 else ''}, accepted was that of {seeds[0]}")
        return told

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
            try:
                now = self._acceptable(pair, verdict)
                entry = Accepted(
                    detector=verdict.detector,
                    dataset=verdict.dataset,
                    digest=now.digest,
                    key=now.cell.key,
                    eer=round(100 * now.eer, accepted.EER_DECIMALS),
                )
            except BenchError as error:
                found.append(Acceptance(*pair, False, error.reason()))
                continue
            except ValidationError as error:
                found.append(Acceptance(*pair, False, f"its manifest is damaged: {error.errors()[0]['msg']}"))
                continue
            before = self._entries.get(pair)
            if verdict.kind != "identical" or before is None or before.key != entry.key:
                made = regression.made_by(now.cell.manifest)
                accepted.write_scores(self._place(pair), AcceptedScores(now.digest, now.columns, made))
            entries.append(entry)
            found.append(Acceptance(*pair, True, _what_changed(before, entry)))
        if entries:
            accepted.write(self._file, entries)
        return found

    def _acceptable(self, pair: Pair, verdict: Verdict) -> Measured:
        cell = self._cells.get(pair)
        if cell is None or cell.status == "blocked":
            raise StoreError(verdict.why)
        _check_status(cell)
        return self._measured(cell)


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


def _same(before: Mapping[str, Floats], now: Mapping[str, Floats]) -> bool:
    return before.keys() == now.keys() and all(np.array_equal(before[seed], now[seed]) for seed in now)


def _what_changed(before: Accepted | None, now: Accepted) -> str:
    if before is None:
        return f"new: {now.eer:.4f} %"
    told = [f"{before.eer:.4f} -> {now.eer:.4f} %"] if before.eer != now.eer else []
    told += ["another trial list"] if before.digest != now.digest else []
    told += ["another key"] if before.key != now.key else []
    return ", ".join(told) or f"unchanged: {now.eer:.4f} %"


def _of_board(board: Board, pairs: Collection[Pair], cards: Path | None) -> tuple[set[Pair], set[Pair]]:
    """The pairs that a board means, of those known and those it names; and the ones that it names without globs."""
    datasets = _named(registry.datasets(cards), board.datasets, {name for name, _ in pairs if not DERIVED.search(name)})
    detectors = _named(registry.detectors(cards), board.detectors, {name for _, name in pairs})
    demanded = {(dataset, detector) for dataset in _plain(board.datasets) for detector in _plain(board.detectors)}
    return {pair for pair in pairs if pair[0] in datasets and pair[1] in detectors} | demanded, demanded


def _named(cards: registry.Registry[Any], patterns: Sequence[str], known: Collection[str]) -> set[str]:
    """What a board chooses: as `bench run` reads it, and of names on no card those that fit."""
    found = set(_plain(patterns))
    own = [name for name in known if name not in cards.names]
    for pattern in set(patterns) - found:
        glob = "*" if pattern == "all" else pattern
        if fnmatch.filter(cards.names, glob):
            found |= cards.select([pattern]).keys()
        found |= set(fnmatch.filter(own, glob))
    return found


def _plain(patterns: Iterable[str]) -> list[str]:
    return [name for name in patterns if name != "all" and not any(symbol in name for symbol in "*?[")]
