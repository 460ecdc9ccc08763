"""Weights for detectors that have none: the recipe of a card, carried out and recorded.

The recipe key names the weights: everything that determines them. `model.safetensors` are the weights that score,
`last.safetensors` those at the end of the last stage where these are others, `train.json` is the record.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bench import environment
from bench.cards import DetectorCard, Recipe
from bench.corpora import Dataset
from bench.errors import BenchError, Blocked, CardError, StoreError
from bench.files import explained, read_json, write_json
from bench.locks import claim
from bench.progress import Display, Silent
from bench.scorer import model_version, resolve_model
from bench.weights import Checkpoint

ENGINE_VERSION = 2
WEIGHTS_FILE, RECORD_FILE = "model.safetensors", "train.json"


@dataclass(frozen=True)
class Materials:
    """What a recipe needs, found on this machine.

    lists: every dataset of `Recipe.datasets` by name. start: checkpoints by part, None for random weights.
    """

    lists: Mapping[str, Dataset]
    start: Mapping[str, Checkpoint | None]


def check(card: DetectorCard) -> None:
    """Raises CardError where the detector's class cannot carry out its card's recipe."""
    recipe, network = _recipe(card), resolve_model(card.model, card.name)
    needed = ("trainable", "loss") if recipe.stages else ("fit",)
    if lacking := [name for name in needed if not hasattr(network, name)]:
        raise CardError(
            f"{card.model} cannot be trained by this recipe: it has no `{lacking[0]}`",
            where=f"detector card {card.name}",
            remedy="give the card `weights`, or the class what bench/models/__init__.py asks for",
        )


def recipe_key(card: DetectorCard, materials: Materials) -> str:
    """Sha256 (hex) of everything that determines the trained weights."""
    recipe = _recipe(card)
    facts = {
        "model": card.model,
        "arguments": card.arguments,
        "version": model_version(card.model, card.name),
        "audio": card.audio.model_dump(),
        "recipe": recipe.model_dump(mode="json", exclude={"start"}),
        "stages": list(recipe.stages),  # in their order, which the sorted keys do not tell
        "start": {part: found.sha256 if found else "random" for part, found in sorted(materials.start.items())},
        "lists": {
            name: [found.digest, found.files, _rows(recipe, found)] for name, found in sorted(materials.lists.items())
        },
        "engine": ENGINE_VERSION,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _rows(recipe: Recipe, dataset: Dataset) -> str:
    """Sha256 (hex) of what a digest leaves out of a list: the order of its trials, and the columns that draws read."""
    sources = [source for stage in recipe.stages.values() for source in (*stage.train, stage.validation) if source]
    read = {column for source in sources for column in (*source.where, source.stratify)}
    table = dataset.trials[[column for column in dataset.trials if column == "trial" or column in read]]
    return hashlib.sha256(table.to_csv(index=False).encode(errors="surrogateescape")).hexdigest()


def train(
    card: DetectorCard,
    materials: Materials,
    folder: Path,
    *,
    device: str = "cpu",
    workers: int = 0,
    display: Display | None = None,
    features: Path | None = None,
    feature_limit: int = 0,
) -> Path:
    """Carry out a card's recipe and write model.safetensors and train.json into `folder`; returns the weights file.

    A training that was killed goes on from its last state. Under `accelerate launch` all processes call this alike, and
    the main one writes.

    Args:
        device: `cpu`, `cuda` or `cuda:N`. workers: processes that decode ahead.
        features: folder of what frozen encoders give, None to keep nothing. feature_limit: bytes that it may take.

    Raises:
        BenchError: the recipe, its data or its start weights cannot be trained with; or a defect of the detector's own
            code, then with its exception as the cause. What was trained so far is kept.
    """
    check(card)
    shown = display if display is not None and main_process() else Silent()
    with claimed(folder):
        started = time.perf_counter()
        try:
            model, stages = _carried_out(card, materials, folder, device, workers, shown, features, feature_limit)
        except BenchError:
            raise
        except Exception as error:  # a detector may be a user's own code: its defect blocks this detector, not the run
            raise BenchError(f"{type(error).__name__}: {error}", where=f"training of {card.model}") from error
        if main_process():
            seconds = sum(stage["seconds"] for stage in stages) or time.perf_counter() - started
            _write(folder, model, _told(card, materials, stages, device, seconds))
    return folder / WEIGHTS_FILE


def main_process() -> bool:
    """Whether this is the process that writes and prints, of those that `accelerate launch` has started."""
    return os.environ.get("RANK", "0") == "0"


def record(folder: Path) -> dict[str, Any]:
    """What train.json tells of weights made here.

    Raises:
        StoreError: it is missing or damaged.
    """
    found = read_json(folder / RECORD_FILE)
    if found is None:
        raise StoreError("the record of the training is missing", where=folder / RECORD_FILE, remedy="train again")
    return found


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder of weights, for one training at a time; it vanishes again where nothing was written.

    Raises:
        Blocked: another process trains them. StoreError: the folder cannot be written.
    """
    if not main_process():
        yield
        return
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("wb")
    with lock:
        claim(lock, folder, Blocked, "another process trains these weights")
        for left in folder.glob(".*.part"):  # of a training that was killed while it wrote
            left.unlink(missing_ok=True)
        try:
            yield
        finally:
            (folder / ".lock").unlink(missing_ok=True)
            for place in (folder, folder.parent, folder.parent.parent):
                with suppress(OSError):  # not empty
                    place.rmdir()


def estimate(card: DetectorCard, materials: Materials, device: str) -> str:
    """How long the training will take at most, in a short text; see `bench.training.timing`."""
    from bench.training import timing

    return timing.told(card, materials.lists, materials.start, device)


def _carried_out(
    card: DetectorCard,
    materials: Materials,
    folder: Path,
    device: str,
    workers: int,
    display: Display,
    features: Path | None,
    feature_limit: int,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    from bench.training import fit, staged  # accelerate takes a second: not for listing cards

    recipe = _recipe(card)
    if not recipe.stages:
        return fit.fitted(card, recipe, materials.lists[recipe.train], display), []
    setup = staged.Setup(device, workers, display, features, feature_limit)
    return staged.trained(card, materials.lists, materials.start, folder, setup)


def _told(
    card: DetectorCard, materials: Materials, stages: list[dict[str, Any]], device: str, seconds: float
) -> dict[str, Any]:
    """The record: everything that determined the weights, and how it went."""
    lists = {
        name: {"digest": found.digest, "trials": len(found.trials), "warnings": list(found.warnings)}
        for name, found in materials.lists.items()
    }
    return {
        "detector": card.name,
        "model": card.model,
        "arguments": card.arguments,
        "recipe": _recipe(card).model_dump(mode="json"),
        "start": {
            part: {"file": found.path.name, "sha256": found.sha256, "verified": found.verified} if found else "random"
            for part, found in materials.start.items()
        },
        "lists": lists,
        "stages": stages,
        "engine": ENGINE_VERSION,
        "seconds": round(seconds, 3),
        "peak_memory_bytes": environment.peak_memory_bytes(device),
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
    }


def _write(folder: Path, model: nn.Module, told: Mapping[str, Any]) -> None:
    """The weights last: their presence means trained. Then what only an unfinished training needs goes."""
    from bench.training.engine import BEST_FILE, STATE_FILE
    from bench.training.state import write_tensors

    write_json(folder / RECORD_FILE, told)
    write_tensors(folder / WEIGHTS_FILE, model.state_dict())
    for name in (STATE_FILE, BEST_FILE):
        (folder / name).unlink(missing_ok=True)


def _recipe(card: DetectorCard) -> Recipe:
    if card.recipe is None:
        raise CardError("this detector has no recipe", where=f"detector card {card.name}")
    return card.recipe
