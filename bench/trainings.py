"""The trainings that a command asks for: which there are, what they may take, and carrying them out.

A training is that of one detector with one seed; how it goes is told by `bench.training`.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench import environment, executors, training
from bench.cards import DetectorCard
from bench.cores import decode_workers
from bench.errors import BenchError, Blocked, CardError, StoreError, UsageError
from bench.executors import Executor
from bench.progress import Display
from bench.weights import Checkpoint
from bench.workspace import TrainedWeights, Workspace


@dataclass(frozen=True)
class Training:
    """The training of one detector with one seed, before or after it was carried out.

    state: `train` it; `trained` just now, `done` before; `blocked` or `failed` for `reason`; in a dry run also `make`:
            a corpus that the harness makes itself comes first.
    weights: where they lie or will; None where that cannot be told. record: train.json, once they are there; where it
            is damaged, `reason` says so.
    """

    detector: str
    seed: int
    state: Literal["train", "trained", "done", "make", "blocked", "failed"]
    weights: Path | None = None
    record: Mapping[str, Any] | None = None
    reason: str = ""
    remedy: str = ""

    @property
    def ok(self) -> bool:
        return self.state not in ("blocked", "failed")


class Estimate(NamedTuple):
    """What training a detector may take, in words; `seeds` are those that are not trained yet."""

    detector: str
    seeds: tuple[int, ...]
    told: str


def label(detector: str, seed: int | None) -> str:
    """The name of a detector, with the seed where it is one of several: `slim (seed 2)`."""
    return detector if seed is None else f"{detector} (seed {seed})"


def untrained(card: DetectorCard, seed: int | None = None) -> Blocked:
    """The error of a detector that has a recipe and no weights yet."""
    return Blocked(f"{label(card.name, seed)} is not trained yet", remedy=f"`bench train {card.name}` trains it")


def plan(workspace: Workspace, patterns: Iterable[str]) -> list[Training]:
    """What training these detectors (names, globs, `all`) would do, each with all its seeds. Writes nothing.

    Raises:
        UsageError: a name nobody knows, or of a detector without a recipe; globs that fit none with one.
    """
    chosen = workspace.detectors.select(patterns)
    cards = [workspace.detectors[name] for name, named in chosen.items() if named or workspace.detectors[name].recipe]
    without = [card for card in cards if card.recipe is None]
    if without or not cards:
        known = sorted(name for name, card in workspace.detectors.cards.items() if card.recipe)
        what = "none of these detectors has a recipe"
        if without:
            why = "its weights are released" if without[0].weights else "it learns nothing"
            what = f"{without[0].name} is not trained here: {why}"
        raise UsageError(what, remedy=f"detectors with a recipe: {', '.join(known)}")
    return [_planned(workspace, card, seed) for card in cards for seed in workspace.seeds(card)]


def _planned(ws: Workspace, card: DetectorCard, seed: int | None) -> Training:
    assert card.recipe is not None, card.name
    planned = Training(card.name, card.recipe.seed if seed is None else seed, "train")
    try:
        place = ws.trained(card, seed)
    except BenchError as error:
        if isinstance(error, UsageError) and not isinstance(error, CardError):
            raise
        if isinstance(error, Blocked) and ws.would_make(card):
            return replace(planned, state="make")
        return replace(planned, state="blocked", reason=error.reason(), remedy=error.remedy or "")
    planned = replace(planned, weights=place.file)
    return _finished(planned, "done") if place.file.is_file() else planned


def _finished(planned: Training, state: Literal["trained", "done"]) -> Training:
    assert planned.weights is not None, planned
    try:
        return replace(planned, state=state, record=training.record(planned.weights.parent))
    except StoreError as error:  # the weights are good without it
        return replace(planned, state=state, reason=error.reason())


def carry_out(workspace: Workspace, planned: Sequence[Training], display: Display) -> list[Training]:
    """Train what is not trained yet; a failure stops nothing else.

    Raises:
        UsageError: a device or a cluster that is not there.
        StoreError: the results folder cannot be written; what was trained before stays valid.
        KeyboardInterrupt: a training that was under way goes on from its last state with the next command.
    """
    if training.main_process():
        workspace.store.check_writable()
    with executors.opened(workspace.options) as executor:
        wanted = [(workspace.detectors[one.detector], one.seed) for one in planned if one.state == "train"]
        ahead(workspace, wanted, executor, display)
    return [_carried_out(workspace, one, display) if one.state == "train" else one for one in planned]


def _carried_out(ws: Workspace, planned: Training, display: Display) -> Training:
    card = ws.detectors[planned.detector]
    assert card.recipe is not None, card.name
    try:
        carried_out(ws, card, planned.seed, display)
    except StoreError:
        raise
    except BenchError as error:
        return replace(planned, state="failed", reason=error.reason(), remedy=error.remedy or "")
    # Another process may not see yet what the main one has written.
    return _finished(planned, "trained") if training.main_process() else replace(planned, state="trained")


def carried_out(ws: Workspace, card: DetectorCard, seed: int | None, display: Display) -> Checkpoint | None:
    """The weights of a detector, trained now if they are not here; tried once a command.

    Raises:
        BenchError: as `bench.training.train`. The traceback of a defect of the detector's own code is a note.
    """
    place = ws.trained(card, seed)
    ws.once(("training", str(place.folder)), lambda: _train(ws, place, display))
    return ws.checkpoint(card, seed)


def ahead(
    ws: Workspace, wanted: Iterable[tuple[DetectorCard, int | None]], executor: Executor, display: Display
) -> None:
    """Carry out trainings together where the executor has machines for that; else each is, when its turn comes.

    What became of each is what `carried_out` tells.
    """
    if executor.name != "ray":
        return
    from bench.executors.apprentices import Task
    from bench.executors.cluster import Cluster

    assert isinstance(executor, Cluster), executor
    tasks: dict[Path, Task] = {}
    for card, seed in wanted:
        with suppress(BenchError):  # which `carried_out` will tell
            place = ws.trained(card, seed)
            name = label(card.name, place.recipe.seed)
            if place.folder not in tasks and _to_train(place, display):
                limit = ws.options.feature_limit
                tasks[place.folder] = Task(name, place.card, place.materials, place.folder, ws.options.workers, limit)
    for task, error in executor.train(list(tasks.values()), display):
        with suppress(BenchError):
            ws.once(("training", str(task.folder)), partial(_outcome, error))


def _outcome(error: BenchError | None) -> None:
    if error is not None:
        raise error


def _to_train(place: TrainedWeights, display: Display) -> bool:
    """Whether the weights are not here; tells what should be known before they are trained."""
    for dataset in place.materials.lists.values():
        for warning in dataset.warnings:
            display.note(f"warning: {place.card.name} is trained on this list: {warning}")
    if place.file.is_file():
        return False
    if place.recipe.stages:  # their progress speaks of stages and epochs only
        display.note(f"training {label(place.card.name, place.recipe.seed)}: its weights go to {place.folder}")
    return True


def _train(ws: Workspace, place: TrainedWeights, display: Display) -> None:
    if not _to_train(place, display):
        return
    device = environment.pick_device(ws.options.device)
    try:
        training.train(
            place.card,
            place.materials,
            place.folder,
            device=device,
            workers=decode_workers(device.partition(":")[0]) if ws.options.workers is None else ws.options.workers,
            display=display,
            features=ws.store.root / "features",
            feature_limit=ws.options.feature_limit,
        )
    except BenchError as error:
        if error.__cause__ is not None:  # a defect of the detector's own code
            display.note("".join(traceback.format_exception(error.__cause__)))
        raise


def estimates(workspace: Workspace, wanted: Mapping[str, Collection[int | None]]) -> list[Estimate]:
    """What training these detectors, by name with the seeds that are not trained yet, may take. Takes seconds each.

    Raises:
        UsageError: a device that is not there.
    """
    with executors.opened(workspace.options) as executor:
        return [
            _estimate(workspace, workspace.detectors[name], list(seeds), executor) for name, seeds in wanted.items()
        ]


def _estimate(ws: Workspace, card: DetectorCard, seeds: list[int | None], executor: Executor) -> Estimate:
    place = ws.trained(card, seeds[0])
    try:
        told = executor.call(training.estimate, place.card, place.materials)
    except BenchError as error:
        told = f"no estimate: {error.reason()}"
    return Estimate(card.name, tuple(place.recipe.seed if seed is None else seed for seed in seeds), told)
