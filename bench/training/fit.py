"""Training without a gradient: a detector's own `fit(utterances, seed, **recipe.arguments)`.

`utterances` can be iterated again and again and gives (wave float32 (T,), label 1 = bona fide or 0) in the order of the
trial list. Afterwards the detector's `state_dict` is the trained detector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from bench import audio
from bench.cards import AudioRecipe, DetectorCard, Recipe
from bench.corpora import Dataset
from bench.errors import BenchError
from bench.progress import Display
from bench.scorer import build_model
from bench.training.loading import derived
from bench.trials import is_bonafide, spans


class Utterances:
    """The training trials, decoded anew on each iteration: a corpus does not fit into memory.

    Raises (while iterating):
        AudioError: a file that cannot be decoded. Training on part of a corpus would be another recipe.
    """

    def __init__(self, dataset: Dataset, recipe: AudioRecipe, progress: Callable[[int], None]) -> None:
        self._paths = dataset.trials["path"].tolist()
        self._spans = spans(dataset.trials)
        self._labels = is_bonafide(dataset.trials).tolist()
        self._recipe = recipe
        self._progress = progress

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        for path, span, label in zip(self._paths, self._spans, self._labels, strict=True):
            yield torch.from_numpy(audio.prepare(path, self._recipe, span).wave), label
            self._progress(1)


def fitted(card: DetectorCard, recipe: Recipe, dataset: Dataset, display: Display) -> nn.Module:
    """The detector, trained on the dataset.

    Raises:
        BenchError: the data cannot be trained on, or `fit`, maybe a user's own code, failed: then with its exception as
            the cause.
    """
    display.begin(f"training {card.name} on {dataset.name}", len(dataset.trials))
    try:
        with torch.random.fork_rng():
            torch.manual_seed(derived(recipe.seed, "initial weights"))
            model: Any = build_model(card.model, card.arguments, card.name)
            model.fit(Utterances(dataset, card.audio, display.advance), recipe.seed, **recipe.arguments)
    except BenchError:
        raise
    except Exception as error:  # a defect of a user's own code blocks its detector, not the run
        raise BenchError(f"{type(error).__name__}: {error}", where=f"`fit` of {card.model}") from error
    finally:
        display.end()
    trained: nn.Module = model
    return trained
