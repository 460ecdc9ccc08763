"""What a cell is measured over: its stored scores beside the trials that they are of. Needs no corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeAlias

import numpy as np
import pandas as pd

from bench.errors import StoreError
from bench.store import Cell, Store
from bench.trials import digest as trial_digest
from bench.trials import is_bonafide

TrialLists: TypeAlias = Callable[[str, str], pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Scored:
    """The scored trials of a cell, in the order of its trial list.

    scores: trial, score, extras..., seconds, note. trials: columns of `bench.trials` without `path`, row by row.
    unscored: trials of the list that have no score and are in neither table; above 0 only with `--allow-missing`.
    """

    cell: Cell
    scores: pd.DataFrame
    trials: pd.DataFrame
    unscored: int

    @cached_property
    def values(self) -> np.ndarray:
        """The scores float64 (N,), higher = more bona fide."""
        values: np.ndarray = self.scores["score"].to_numpy(dtype=np.float64)
        return values

    @cached_property
    def seconds(self) -> np.ndarray:
        """Of audio, float64 (N,); NaN where the scores do not tell."""
        told = self.scores.get("seconds")
        if told is None or told.dtype.kind not in "iuf":
            return np.full(len(self.scores), np.nan)
        seconds: np.ndarray = told.to_numpy(dtype=np.float64)
        return seconds

    @cached_property
    def labels(self) -> np.ndarray:
        """int8 (N,), 1 = bona fide."""
        return is_bonafide(self.trials)

    @property
    def measurable(self) -> bool:
        """Whether there are trials of both classes."""
        return bool(self.labels.any() and not self.labels.all())


def trial_lists(store: Store) -> TrialLists:
    """The stored trial list of a dataset and digest, each read and checked once.

    Raises:
        StoreError: a list that is not the one its digest names.
    """

    @cache
    def read(dataset: str, digest: str) -> pd.DataFrame:
        trials = store.trials(dataset, digest)
        if trial_digest(trials) != digest:
            raise StoreError(
                f"the stored trial list of {dataset} is not the one its digest {digest[:12]} names",
                where=store.root,
                remedy="remove its trials-*.parquet and run again with the corpus at hand",
            )
        return trials

    return read


def load(cell: Cell, lists: TrialLists) -> Scored:
    """The scored trials of a finished cell.

    Raises:
        StoreError: scores that are not those of the dataset's trial list, a complete cell that lacks some, or a
            manifest without a digest.
    """
    digest = cell.manifest["dataset"].get("digest")
    if not digest:
        what, remedy = "its manifest names no trial list", "remove this folder and run the cell again"
        raise StoreError(what, where=cell.path, remedy=remedy)
    trials = lists(cell.dataset, digest)
    scores = _aligned(cell, trials)
    has_score = scores["score"].notna().to_numpy()
    unscored = int((~has_score).sum())
    if unscored and cell.status == "complete":
        raise StoreError(
            f"the cell says complete, but {unscored} of {len(trials)} trials have no score",
            where=cell.path,
            remedy="remove this folder and run the cell again",
        )
    if not unscored:
        return Scored(cell, scores, trials, 0)
    return Scored(cell, scores[has_score], trials[has_score], unscored)


def _aligned(cell: Cell, trials: pd.DataFrame) -> pd.DataFrame:
    """The stored scores, one row a trial in the order of the trial list; a trial without a score is NaN."""
    scores = cell.scores()
    if not {"trial", "score"} <= set(scores) or scores["score"].dtype.kind not in "iuf":
        what, remedy = "scores.parquet has no trials and scores", "remove this folder and run the cell again"
        raise StoreError(what, where=cell.path, remedy=remedy)
    if len(scores) == len(trials) and (scores["trial"].to_numpy() == trials["trial"].to_numpy()).all():
        return scores  # as it was written: the look-ups below take a second a million rows
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
