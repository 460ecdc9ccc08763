"""Detectors x datasets -> a plan of cells, and carrying it out.

A cell is named by its content: `key` = sha256 of architecture, arguments, audio recipe, weights, adapter version,
precision, dataset digest and perturbation. A finished cell is never scored again; anything that would change a score
makes another key. What a pair needs and is not here blocks that pair alone: the others run, and the reason and remedy
are kept. A detector with a recipe is trained before its first cell; with several seeds it has a cell for each.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any, Literal

from bench import corpora, executors, passes, perturbations, trainings
from bench.cards import DetectorCard
from bench.corpora import Dataset
from bench.errors import BenchError, Blocked, CardError, MissingWeights, StoreError, UsageError
from bench.executors import Executor
from bench.families import whole
from bench.precision import Precision
from bench.progress import Display
from bench.scorer import model_version
from bench.store import Cell, band_cell
from bench.weights import Checkpoint
from bench.workspace import Workspace, weights_of


@dataclass(frozen=True)
class Planned:
    """One cell of the plan.

    state: `score` it, `train` its detector first, `done` before, or `blocked` for `reason`; in a dry run also `make`: a
            corpus that the harness makes itself comes first, more cannot be told before.
    dataset: what it is scored on, None where its list is not here. key: '' unless the state is `score` or `done`.
    seed: of the training, where there are several; None is the recipe's own, or there is no recipe.
    fetchable: what blocks are weights that `bench fetch` can get.
    named: what blocks, the detector or the dataset, was asked for by name. searched: where, for what was not found.
    missing: audio files that are not here.
    """

    card: DetectorCard
    name: str
    state: Literal["score", "train", "make", "done", "blocked"]
    dataset: Dataset | None = None
    checkpoint: Checkpoint | None = None
    key: str = ""
    precision: Precision = "fp32"
    faster: tuple[Precision, ...] = ()
    probes: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    reason: str = ""
    remedy: str = ""
    searched: str = ""
    named: bool = False
    fetchable: bool = False
    missing: int = 0

    @property
    def dataset_name(self) -> str:
        """The name of the cell's dataset: that of a sample where `limit` made one."""
        return self.dataset.name if self.dataset else self.name

    @property
    def label(self) -> str:
        """The detector, with its seed where there are several: what tells the cells of a dataset apart."""
        return trainings.label(self.card.name, self.seed)


@dataclass(frozen=True)
class Outcome:
    """What became of a planned cell; `cell` is None for a blocked one."""

    planned: Planned
    cell: Cell | None = None

    @property
    def ok(self) -> bool:
        """Whether the cell has a number, or is blocked by something nobody asked for by name."""
        return not self.planned.named if self.cell is None else self.cell.has_number

    @property
    def as_cell(self) -> Cell:
        """The cell, or for a blocked one a cell that says why."""
        pair = self.planned
        return self.cell or Cell(pair.dataset_name, pair.card.name, "", "blocked", None, pair.reason, pair.remedy)


def plan(workspace: Workspace, detectors: Iterable[str], datasets: Iterable[str]) -> list[Planned]:
    """What a run of these would do, dataset by dataset, the seeds of a detector side by side. Writes nothing.

    Raises:
        UsageError: names nobody knows, a card that is not valid.
    """
    sets = workspace.select_datasets(datasets)
    chosen = workspace.detectors.select(detectors)
    cards = [(workspace.detectors[name], named) for name, named in chosen.items()]
    return [
        _planned(workspace, Planned(card, name, "blocked", seed=seed, named=dataset_named), named)
        for name, dataset_named in sets.items()
        for card, named in cards
        for seed in workspace.seeds(card)
    ]


def _planned(ws: Workspace, pair: Planned, detector_named: bool) -> Planned:
    card, name = pair.card, pair.name
    try:
        pair = replace(pair, dataset=ws.evaluated(name))
        if card.audio.window != "none":
            pair = replace(pair, missing=_missing_audio(ws, name))
        pair = replace(pair, named=detector_named)
        _check_hears(card, name)
        checkpoint = ws.checkpoint(card, pair.seed)
        model_version(card.model, card.name)
        if card.recipe is not None and checkpoint is None:
            if ws.options.train == "never":
                raise trainings.untrained(card, pair.seed)
            return replace(pair, state="train")
        return _with_checkpoint(ws, pair, checkpoint)
    except BenchError as error:
        if isinstance(error, UsageError) and not isinstance(error, CardError):
            raise
        if isinstance(error, Blocked) and ws.would_make(card, name):
            return replace(pair, state="make")
        fetchable = isinstance(error, MissingWeights) and all(wanted.fetchable for wanted in weights_of(card))
        reason, where = error.reason(searched=False), error.where or ""
        pair = replace(pair, searched=where if where not in reason else "", fetchable=fetchable)
        return replace(pair, reason=reason, remedy=error.remedy or "")


def _check_hears(card: DetectorCard, name: str) -> None:
    """Raises Blocked for a detector that reads no samples: a perturbed dataset would have the clean scores."""
    clean, perturbation = perturbations.split(name)
    if perturbation is not None and not card.audio.decodes:
        what = f"{card.name} reads no samples: {perturbation.spec} changes nothing that it is given"
        raise Blocked(what, remedy=f"score it on {clean}")


def _with_checkpoint(ws: Workspace, pair: Planned, checkpoint: Checkpoint | None) -> Planned:
    """A pair whose weights are here (or that has none): its key, and whether that cell is finished."""
    assert pair.dataset is not None
    dataset, faster = pair.dataset, passes.faster(pair.card, ws.options.precision)
    precisions: tuple[Precision, ...] = ("fp32", *faster)
    keys = {one: passes.cell_key(pair.card, dataset, checkpoint, one) for one in precisions}
    pair = replace(pair, checkpoint=checkpoint, faster=faster)
    for precision, key in keys.items():
        cell = ws.store.cell(dataset.name, pair.card.name, key)
        # Without --allow-missing the files of an incomplete cell are tried again.
        done = cell is not None and cell.has_number and (cell.status == "complete" or ws.options.allow_missing)
        if done and cell is not None and (precision != "fp32" or _reference_will_do(ws, cell, faster)):
            return replace(pair, state="done", precision=precision, key=key)
    return replace(pair, state="score", key=keys["fp32"])


def _reference_will_do(ws: Workspace, cell: Cell, faster: Sequence[Precision]) -> bool:
    """Whether a cell in float32 is what a run wants: it asks for no other, or a probe refused what it asks for."""
    if ws.options.precision in ("fp32", "auto") or not faster:
        return True
    probes = cell.manifest.get("probes") or {}
    return all(one in probes and not probes[one].get("passed") for one in faster)


def _missing_audio(ws: Workspace, name: str) -> int:
    """How many files of the dataset, or of its sample, are missing; all of them block it."""
    dataset = ws.evaluated(name)
    missing = ws.missing_audio(name) if dataset is ws.dataset(name) else corpora.missing_audio(dataset.trials)
    if len(missing) == len(dataset.trials):
        first = dataset.trials["path"].iloc[0]
        raise Blocked(
            f"none of the {len(missing):,} audio files of {name} is here"
            + (f", the first is {first}" if first else ""),
            remedy=dataset.card.obtain,
        )
    return len(missing)


def run(workspace: Workspace, pairs: Sequence[Planned], display: Display) -> list[Outcome]:
    """Carry out a plan: train what must be trained, score what is not scored, keep why the rest is blocked.

    Raises:
        UsageError: a device that is not there, several processes of `accelerate launch`.
        StoreError: the results folder cannot be written; what was stored before stays valid.
        ScoringError: a decode process died; everything scored so far has been stored.
        KeyboardInterrupt: everything scored so far has been stored.
    """
    if (processes := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise UsageError(
            f"scoring is for one process, these are {processes} (WORLD_SIZE)",
            remedy="train on all of them with `accelerate launch -m bench train NAME`, then `bench run` by itself",
        )
    with executors.opened(workspace.options) as executor:  # before hours of training: what is not there is told
        workspace.store.check_writable()
        waiting = [(pair.card, pair.seed) for pair in pairs if pair.state == "train"]
        trainings.ahead(workspace, waiting, executor, display)
        return [
            outcome
            for name in dict.fromkeys(pair.name for pair in pairs)
            for outcome in _run_dataset(workspace, [pair for pair in pairs if pair.name == name], executor, display)
        ]


def _run_dataset(ws: Workspace, pairs: Sequence[Planned], executor: Executor, display: Display) -> list[Outcome]:
    """Carry out the pairs of one dataset."""
    dataset = next((pair.dataset for pair in pairs if pair.state != "blocked"), None)
    if dataset is not None:
        for warning in dataset.warnings:
            # A perturbed dataset has the warnings of the clean one.
            ws.once(("warned", warning), partial(display.note, f"warning: {warning}"))
        if missing := max(pair.missing for pair in pairs):
            display.note(f"warning: {missing:,} audio files of {dataset.name} are missing")
        ws.store.write_trials(dataset.name, dataset.digest, dataset.trials)
    current = [_trained(ws, pair, display) for pair in pairs]
    scored: dict[str, Cell] = {}
    todo = [pair for pair in current if pair.state == "score"]
    for group in passes.grouped(todo, executor.memory_bytes()) if todo else ():
        scored |= passes.Pass(ws, group, executor, display).run()
    done = [_outcome(ws, pair, scored.get(pair.label)) for pair in current]
    _remember(ws, done)
    return done


def _trained(ws: Workspace, pair: Planned, display: Display) -> Planned:
    """The pair with its weights trained, where that is what it waits for."""
    if pair.state != "train":
        return pair
    try:
        return _with_checkpoint(ws, pair, trainings.carried_out(ws, pair.card, pair.seed, display))
    except StoreError:
        raise
    except BenchError as error:
        seed = "" if pair.seed is None else f" with seed {pair.seed}"
        reason = f"training{seed} failed: {error.reason()}"
        return replace(pair, state="blocked", reason=reason, remedy=error.remedy or "", named=True)


def _outcome(ws: Workspace, pair: Planned, cell: Cell | None) -> Outcome:
    if pair.state == "blocked":
        return Outcome(pair)
    done = ws.store.cell(pair.dataset_name, pair.card.name, pair.key) if cell is None else None
    return Outcome(pair, ws.store.refresh(done, passes.texts(ws, pair)) if done else cell)


def _remember(ws: Workspace, outcomes: Sequence[Outcome]) -> None:
    """Write down what the pairs of a dataset are now resolved to."""
    here = {outcome.planned.dataset_name for outcome in outcomes if outcome.planned.dataset is not None}
    for cell in cells(outcomes):
        if cell.band:
            ws.store.resolve_band(cell.band)
        elif cell.key:
            ws.store.resolve(cell.dataset, cell.detector, cell.key)
        elif (
            cell.dataset in here
            or whole(cell.dataset) in ws.datasets
            or ws.store.pair(cell.dataset, cell.detector)  # scored before: what is stored is older than this run
        ):  # else a slip of the pen in --data, which leaves nothing behind
            ws.store.block(cell.dataset, cell.detector, cell.reason, cell.remedy)


def cells(outcomes: Iterable[Outcome]) -> list[Cell]:
    """One cell a pair: that of several seeds has them all in its `band`."""
    found = []
    pairs = groupby(outcomes, key=lambda outcome: (outcome.planned.name, outcome.planned.card.name))
    for members in (list(group) for _, group in pairs):
        band = {one.planned.seed: one.as_cell for one in members if one.planned.seed is not None}
        found.append(band_cell(band) if band else members[0].as_cell)
    return found
