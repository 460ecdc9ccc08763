"""bench: which audio-deepfake detector can be trusted on which data.

    bench.run(detectors, datasets, **options)    the matrix: train, score, store; results as `bench show` prints them
    bench.train(detectors, **options)            the recipes of detectors, without scoring
    bench.score(files, detectors, **options)     files of your own, beside the stored cells
    bench.check(leaderboard, results)            the store against accepted results, as `bench check` does
    bench.load_detector(name, **options)         a detector in evaluation mode
    bench.load_dataset(name, **options)          a trial list with its digest
    bench.evaluate(scores, labels)               EER, F1, AUC, ... of scores that came from anywhere

`options` are the fields of `bench.workspace.Options`: data_root, data, weights, results, cards, device, seeds, ...
Places may be strings or paths.
Higher = more bona fide and label 1 = bona fide, everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from bench.clips import Clips
    from bench.corpora import Dataset
    from bench.regression import Verdict
    from bench.results import Result
    from bench.trainings import Training
    from bench.workspace import Workspace

from bench.errors import unknown
from bench.metrics import evaluate

__all__ = ["check", "evaluate", "load_dataset", "load_detector", "run", "score", "train"]


def run(detectors: str | Sequence[str], datasets: str | Sequence[str], **options: Any) -> list[Result]:
    """Score detectors on datasets (names, globs, `all`) and return the results of these pairs.

    What is finished is not scored again. A blocked or failed pair is in the list, without metrics and with its reason.
    With `seeds=3` a pair of a detector with a recipe has a `band`, and its `eer` is the mean.

    Raises:
        UsageError: names or options that cannot be meant.
        StoreError: the results folder cannot be written.
    """
    from bench import matrix, results
    from bench.progress import Silent

    workspace = _workspace(options)
    planned = matrix.plan(workspace, _several(detectors), _several(datasets))
    outcomes = matrix.run(workspace, planned, Silent())
    return [results.evaluate_cell(workspace.store, cell) for cell in matrix.cells(outcomes)]


def train(detectors: str | Sequence[str], **options: Any) -> list[Training]:
    """Carry out the recipes of detectors (names, globs, `all`); what is trained already is left alone.

    Each has the place of its weights and the record of how they were made, or why there are none.

    Raises:
        UsageError: names or options that cannot be meant, a detector without a recipe.
        StoreError: the results folder cannot be written.
    """
    from bench import trainings
    from bench.progress import Silent

    workspace = _workspace(options)
    return trainings.carry_out(workspace, trainings.plan(workspace, _several(detectors)), Silent())


def score(
    files: str | Path | Sequence[str | Path],
    detectors: str | Sequence[str] = (),
    datasets: str | Sequence[str] = (),
    **options: Any,
) -> Clips:
    """Score audio files, folders or globs, and compare with stored cells; nothing is stored. See `bench.clips.score`.

    Raises:
        UsageError: names or options that cannot be meant.
    """
    from bench import clips
    from bench.progress import Silent

    return clips.score(_workspace(options), _several(files), _several(detectors), _several(datasets), Silent())


def check(
    leaderboard: str | Path = "leaderboard.yml", results: str | Path = "results", board: str | None = None
) -> list[Verdict]:
    """What `bench check` says of each cell, worst first; nothing regressed where none `fails`.

    Raises:
        UsageError, CardError: no such file or board, or a file that is not valid.
    """
    from bench.gate import Gate
    from bench.store import Store

    return Gate(Store(Path(results)), Path(leaderboard)).check(board)


def load_detector(name: str, **options: Any) -> nn.Module:
    """A detector with its weights, in evaluation mode on `device`; its `forward` is described in `bench.models`.

    Raises:
        UsageError: a name nobody knows.
        Blocked, WeightsError: its weights are not here, not trained yet, or not the published ones.
    """
    import torch

    from bench import environment, trainings
    from bench.passes import scorer

    workspace = _workspace(options)
    card = workspace.detectors[name]
    checkpoint = workspace.checkpoint(card)
    if card.recipe is not None and checkpoint is None:
        raise trainings.untrained(card)
    return scorer(card, checkpoint).build(torch.device(environment.pick_device(workspace.options.device)))


def load_dataset(name: str, **options: Any) -> Dataset:
    """A dataset: its trial table (`bench.trials`), digest and warnings.

    Raises:
        UsageError: a name nobody knows.
        Blocked, DataError: not here, or not what its reader expects.
    """
    return _workspace(options).evaluated(name)


def _workspace(options: dict[str, Any]) -> Workspace:
    from bench.shards import place_of
    from bench.workspace import Options, Workspace

    known = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in known:
            raise unknown("option", name, known)
    places: dict[str, Any] = {
        name: Path(options[name]) for name in ("data_root", "results", "cards") if options.get(name) is not None
    }
    if "weights" in options:
        places["weights"] = [Path(folder) for folder in _several(options["weights"])]
    if "data" in options:
        places["data"] = {name: place_of(place) for name, place in options["data"].items()}
    return Workspace(Options(**options | places), make=True)


def _several(given: Any) -> Sequence[Any]:
    """One name or folder stands for a list of one: iterating over its letters is never meant."""
    return [given] if isinstance(given, (str, Path)) else list(given)
