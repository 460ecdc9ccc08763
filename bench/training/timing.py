"""How long a recipe will take: a few clips through the network as each stage trains it, timed here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from bench.cards import DetectorCard
from bench.corpora import Dataset
from bench.recipes import Stage
from bench.training.features import constant
from bench.training.objective import Objective, learns, trained_modules
from bench.training.staged import StageLists, initial, stage_lists
from bench.weights import Checkpoint

CLIPS = 2  # that are timed at once: batch norms refuse one
CLIP_SECONDS = 4.0  # where a detector takes whole files
TIMED_SECONDS = 0.5  # at least


def told(
    card: DetectorCard, datasets: Mapping[str, Dataset], start: Mapping[str, Checkpoint | None], device: str
) -> str:
    """E.g. `at most 9,390 steps, about 3 h on cpu`. Nothing is written.

    Decoding is left out, as if it kept up, and what frozen encoders give is taken as kept; patience may end it long
    before.

    Raises:
        BenchError: a recipe that cannot be trained with these lists and weights.
    """
    recipe = card.recipe
    assert recipe is not None, card.name
    if not recipe.stages:
        return f"{len(datasets[recipe.train].trials):,} utterances, without a gradient"
    lists = stage_lists(card, datasets)
    model = initial(card, recipe, start).to(device)
    steps, seconds = 0, 0.0
    with torch.random.fork_rng():
        for name, stage in recipe.stages.items():
            most, utterances = _most(stage, lists[name])
            steps += most
            seconds += _seconds(_Timed(model, card, name, stage, device), stage, lists[name], most, utterances)
    return f"at most {steps:,} steps, about {spoken(seconds)} on {device}"


def _most(stage: Stage, lists: StageLists) -> tuple[int, int]:
    """Optimiser steps and utterances of a stage that no patience ends; batches by length are taken as full."""
    count = len(lists.training.trials)
    size = stage.batch_size or max(int((stage.batch_seconds or 0) / CLIP_SECONDS), 1)
    epoch = count // size if stage.drop_last else math.ceil(count / size)
    steps = min(stage.epochs * epoch, stage.steps or math.inf)
    return int(steps), int(min(steps * size, stage.epochs * count))


def _seconds(timed: _Timed, stage: Stage, lists: StageLists, steps: int, utterances: int) -> float:
    """Of a whole stage."""
    evaluation, training = timed.evaluation(), timed.training()
    watched = len(lists.validation.trials) if lists.validation is not None else 0
    if timed.kept:
        # The encoder hears both lists once; what is left of an epoch is the difference.
        return evaluation * (len(lists.training.trials) + watched) + max(training - evaluation, 0.0) * utterances
    copies = 2 if stage.augmentation is not None and stage.augmentation.keep_original else 1
    epochs = math.ceil(utterances / len(lists.training.trials))
    validations = epochs if stage.validate_every is None else steps / stage.validate_every
    return training * utterances * copies + evaluation * watched * validations


class _Timed:
    """A stage on a few clips of noise."""

    def __init__(self, model: nn.Module, card: DetectorCard, name: str, stage: Stage, device: str) -> None:
        groups = trained_modules(model, name)
        self._model, self._device = model, device
        self._trained = [module for modules in groups.values() for module in modules]
        options = {key: value for key, value in stage.loss.items() if value != "balanced"}
        self._objective = Objective(model, name, options)
        samples = card.audio.samples or int(CLIP_SECONDS * card.audio.rate)
        self._wave = torch.randn(CLIPS, samples, device=device) / 10
        self._lengths = torch.full((CLIPS,), samples)
        self._labels = torch.ones(CLIPS, device=device)
        if name not in getattr(model, "one_class", ()):
            self._labels[0] = 0
        readings: Any = getattr(model, "readings", ())
        frozen = bool(readings) and not any(learns(reading.backbone) for reading in readings)
        self.kept = frozen and constant(stage, card.audio)

    def training(self) -> float:
        """Seconds a clip to train with."""
        for module in self._trained:
            module.train()
        return self._seconds_a_clip(self._step)

    def evaluation(self) -> float:
        """Seconds a clip to validate with."""
        self._model.eval()
        with torch.no_grad():
            return self._seconds_a_clip(self._loss)

    def _loss(self) -> torch.Tensor:
        found: torch.Tensor = self._objective((self._wave, self._lengths), self._labels, read=False).value
        return found

    def _step(self) -> None:
        torch.autograd.backward(self._loss())
        self._model.zero_grad(set_to_none=True)

    def _seconds_a_clip(self, call: Callable[[], object]) -> float:
        """The mean over as many calls as fill the time, behind one that warms up."""
        call()
        started, calls = self._now(), 0
        while (elapsed := self._now() - started) < TIMED_SECONDS or not calls:
            call()
            calls += 1
        return elapsed / calls / CLIPS

    def _now(self) -> float:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def spoken(seconds: float) -> str:
    """A duration with one or two digits: `40 s`, `25 min`, `3.5 h`, `12 days`."""
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            count = seconds / size
            return f"{count:.0f} {unit}" if count >= 10 else f"{count:.1f} {unit}"
    return f"{max(seconds, 1):.0f} s"
