"""The trials of a stage: drawn from the datasets that its sources name, and checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.cards import Recipe
from bench.corpora import Dataset, fingerprint
from bench.errors import DataError, unknown
from bench.recipes import Source, Stage
from bench.training.loading import derived
from bench.trials import digest, is_bonafide


@dataclass(frozen=True)
class TrialList:
    """Trials to train or validate on: the table of `bench.trials`, and how they are called in messages.

    files: the fingerprint of the user's own files among them, which may change under their names.
    """

    name: str
    trials: pd.DataFrame
    files: str | None = None

    @property
    def digest(self) -> str:
        return digest(self.trials)


def training_list(recipe: Recipe, stage: Stage, datasets: Mapping[str, Dataset]) -> TrialList:
    """The training trials of a stage.

    Raises:
        DataError: a source without trials, a trial in two of them, a list that a stage cannot learn from.
        UsageError: a column that the list does not have.
    """
    return _joined(stage.train or (Source(dataset=recipe.train),), datasets, recipe.seed)


def validation_list(recipe: Recipe, stage: Stage, datasets: Mapping[str, Dataset]) -> TrialList | None:
    """The validation trials of a stage, None where the recipe has none. Raises as `training_list`."""
    source = stage.validation or (Source(dataset=recipe.dev) if recipe.dev else None)
    return _joined((source,), datasets, recipe.seed) if source else None


def check_classes(found: TrialList, use: str, *, one_class: bool) -> None:
    """Raises DataError where a list lacks a class, or where a stage of real speech alone is given spoofed speech."""
    count, bonafide = len(found.trials), int(is_bonafide(found.trials).sum())
    if one_class and bonafide < count:
        raise DataError(
            f"{count - bonafide:,} of the {count:,} {use} trials of {found.name} are spoof, and this stage learns from "
            "real speech alone",
            remedy="draw bona fide trials only: `where: {label: bonafide}`",
        )
    if not one_class and bonafide in (0, count):
        there, lacks = ("bona fide", "spoof") if bonafide else ("spoof", "bona fide")
        raise DataError(
            f"the {count:,} {use} trials of {found.name} are all {there}",
            remedy=f"add {lacks} trials, or another list",
        )


def _joined(sources: Sequence[Source], datasets: Mapping[str, Dataset], seed: int) -> TrialList:
    parts = [_draw(source, datasets[source.dataset], seed) for source in sources]
    name = " + ".join(dict.fromkeys(source.dataset for source in sources))
    own = [part for source, part in zip(sources, parts, strict=True) if datasets[source.dataset].own_files]
    table = pd.concat(parts, ignore_index=True).fillna("").astype("str")
    if (repeated := table["trial"].duplicated()).any():
        raise DataError(f"trial {table['trial'][repeated].iloc[0]!r} is in two of the lists {name}")
    return TrialList(name, table, fingerprint(pd.concat(own)) if own else None)


def _draw(source: Source, dataset: Dataset, seed: int) -> pd.DataFrame:
    """The trials of a source in the order of the list."""
    table = dataset.trials
    for column, value in source.where.items():
        if column not in table:
            raise unknown(f"column of {dataset.name}", column, table.columns.tolist())
        table = table[table[column] == value]
    if table.empty:
        wanted = ", ".join(f"{column} {value}" for column, value in source.where.items())
        raise DataError(f"{dataset.name} has no trial of {wanted}", remedy="correct `where` in the recipe")
    if source.stratify is not None and source.stratify not in table:
        raise unknown(f"column of {dataset.name}", source.stratify, table.columns.tolist())
    if source.trials is None or source.trials >= len(table):
        return table
    if source.stratify is None:
        return table.iloc[_chosen(len(table), source.trials, derived(seed, "draw", dataset.name))]
    share = source.trials / len(table)
    kept: list[int] = []
    values = table[source.stratify].to_numpy()
    for value in sorted(set(values)):
        rows = np.flatnonzero(values == value)
        # A product such as 3 x 0.1 is 0.30000000000000004: no trial more for that.
        count = math.ceil(round(share * len(rows), 9))
        kept += rows[_chosen(len(rows), count, derived(seed, "draw", dataset.name, value))].tolist()
    return table.iloc[sorted(kept)]


def _chosen(count: int, wanted: int, seed: int) -> np.ndarray:
    """So many of `count` row numbers, ascending."""
    found: np.ndarray = np.sort(np.random.default_rng(seed).permutation(count)[:wanted])
    return found
