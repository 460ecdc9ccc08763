"""Weights for detectors that have none: the recipe of a card, carried out and recorded.

A detector that is trained without a gradient has

    fit(utterances, seed, **recipe.arguments)

`utterances` can be iterated again and again and gives (wave float32 (T,), label 1 = bona fide or 0) in the order of the
trial list. Afterwards its `state_dict` is the trained detector. The recipe key names the weights: recipe, seed, digest
of the train list, architecture and its version, engine version.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors.torch
import torch

from bench import audio, environment
from bench.cards import AudioRecipe, DetectorCard, Recipe
from bench.corpora import Dataset
from bench.errors import BenchError, CardError
from bench.scoring import build_model, resolve_model
from bench.store import atomically, write_json
from bench.trials import is_bonafide

ENGINE_VERSION = 1
WEIGHTS_FILE = "model.safetensors"


class Utterances:
    """The training trials, decoded anew on each iteration: a corpus does not fit into memory.

    Raises (while iterating):
        AudioError: a file that cannot be decoded. Training on part of a corpus would be another recipe.
    """

    def __init__(self, dataset: Dataset, recipe: AudioRecipe, progress: Callable[[int], None]) -> None:
        self._paths = dataset.trials["path"].tolist()
        self._labels = is_bonafide(dataset.trials).tolist()
        self._recipe = recipe
        self._progress = progress

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        for path, label in zip(self._paths, self._labels, strict=True):
            yield torch.from_numpy(audio.prepare(path, self._recipe).wave), label
            self._progress(1)


def has_fit(card: DetectorCard) -> bool:
    """Whether the detector's class can carry out its card's recipe."""
    return hasattr(resolve_model(card.model, card.name), "fit")


def recipe_key(card: DetectorCard, digest: str, version: int, files: str | None = None) -> str:
    """Sha256 (hex) of everything that determines the trained weights.

    `digest` is the train list's, `files` the fingerprint of the user's own audio, which may change under its names.
    """
    facts = {
        "model": card.model,
        "arguments": card.arguments,
        "version": version,
        "audio": card.audio.model_dump(),
        "recipe": _recipe(card).model_dump(),
        "digest": digest,
        "files": files,
        "engine": ENGINE_VERSION,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def train(card: DetectorCard, dataset: Dataset, folder: Path, progress: Callable[[int], None]) -> Path:
    """Carry out a card's recipe and write model.safetensors and train.json into `folder`; returns the weights file.

    Raises:
        BenchError: the data cannot be trained on, or `fit`, maybe a user's own code, failed: then with its exception as
            the cause.
    """
    recipe = _recipe(card)
    model = build_model(card.model, card.arguments, card.name)
    fit: Callable[..., None] | None = getattr(model, "fit", None)  # a module's own attributes are typed as tensors
    if fit is None:
        raise CardError(f"{card.model} cannot be trained: it has no `fit`", where=f"detector card {card.name}")
    started = time.perf_counter()
    try:
        fit(Utterances(dataset, card.audio, progress), recipe.seed, **recipe.arguments)
    except BenchError:
        raise
    except Exception as error:  # `fit` may be a user's own code: its defect blocks this detector, not the run
        raise BenchError(f"{type(error).__name__}: {error}", where=f"`fit` of {card.model}") from error
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    weights = folder / WEIGHTS_FILE
    record = {
        "detector": card.name,
        "recipe": recipe.model_dump(),
        "dataset": {"name": dataset.name, "digest": dataset.digest, "trials": len(dataset.trials)},
        "engine": ENGINE_VERSION,
        "seconds": round(time.perf_counter() - started, 3),
        "versions": environment.versions(),
        "hardware": environment.hardware("cpu"),
    }
    write_json(folder / "train.json", record)
    # Last: its presence means trained. As bytes: safetensors has no OSError that would tell of a full disk.
    atomically(weights, lambda part: part.write_bytes(safetensors.torch.save(tensors)))
    return weights


def _recipe(card: DetectorCard) -> Recipe:
    if card.recipe is None:
        raise CardError("this detector has no recipe", where=f"detector card {card.name}")
    return card.recipe
