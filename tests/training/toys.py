"""Detectors that learn in a second, a corpus for them (bona fide is a tone in noise), what trains and kills them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import training
from bench.cards import AudioRecipe, DatasetCard, DetectorCard
from bench.corpora import Dataset
from bench.models import Loss
from bench.models.objective import check_stage
from bench.models.wav2vec2 import Backbone, Reading
from bench.training import engine, state
from bench.trials import digest, validate

RATE, SAMPLES = 16_000, 512
AUDIO = {"rate": RATE, "window": "tile", "samples": SAMPLES}


class Toy(nn.Module):
    """Convolution, batch norm, dropout, two logits. Stage `head` trains the last layer, `rest` the rest, `body` all."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(1, width, 16, stride=8), nn.BatchNorm1d(width), nn.Dropout(0.1), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, 2))

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        logits = self.logits(wave)
        return logits[:, 1] - logits[:, 0]

    def logits(self, wave: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(wave[:, None]).mean(2))
        return found

    def trainable(self, stage: str) -> dict[str, list[nn.Module]]:
        check_stage(type(self).__name__, stage, ("head", "rest", "body", "real"))
        groups: dict[str, list[nn.Module]] = {"head": [self.head], "body": [self.body]}
        return {name: groups[name] for name in {"head": ("head",), "rest": ("body",)}.get(stage, groups)}

    def loss(
        self, stage: str, inputs: Sequence[Tensor], labels: Tensor, *, class_weights: Sequence[float] | None = None
    ) -> Loss:
        logits = self.logits(inputs[0])
        weights = None if class_weights is None else torch.tensor(class_weights)
        value = functional.cross_entropy(logits, labels.long(), weights)
        return Loss(value, (logits[:, 1] - logits[:, 0]).detach())


class Plain(Toy):
    """Without batch norm and dropout: what it learns of a row does not depend on its batch mates."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(1, width, 16, stride=8), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(width, 2))


class RealOnly(Toy):
    """Stage `real` learns from real speech alone and tells no classes."""

    one_class = ("real",)

    def loss(self, stage: str, inputs: Sequence[Tensor], labels: Tensor, **options: Any) -> Loss:
        found = super().loss(stage, inputs, labels, **options)
        return Loss(found.value) if stage == "real" else found


class NormedHead(Toy):
    """A batch norm behind the mean over time: it learns nothing from a single row."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))


class AfterDropout(Toy):
    """A batch norm behind a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(1, 4, 16, stride=8), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.ReLU())


class Failing(Toy):
    """Something goes wrong in forward pass `at` of a phase (`training` or `validation`), counted from 1."""

    def __init__(self, at: int, phase: str = "training", what: str = "loss") -> None:
        super().__init__()
        self.at, self.phase, self.what, self.passes = at, phase, what, 0

    def loss(self, stage: str, inputs: Sequence[Tensor], labels: Tensor, **options: Any) -> Loss:
        found = super().loss(stage, inputs, labels, **options)
        self.passes += ("training" if self.head.training else "validation") == self.phase
        if self.passes < self.at or ("training" if self.head.training else "validation") != self.phase:
            return found
        if self.what == "error":
            raise ArithmeticError("the toy broke")
        if self.what == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.what == "scores":
            return Loss(found.value, torch.full_like(labels, math.nan))
        return Loss(found.value * math.nan, found.scores)


class Dictated(Toy):
    """Learns as a `Toy`, but tells these values of its loss, one a forward pass."""

    def __init__(self, training: Sequence[float] = (), validation: Sequence[float] = ()) -> None:
        super().__init__()
        self._told = {True: iter(training), False: iter(validation)}

    def loss(self, stage: str, inputs: Sequence[Tensor], labels: Tensor, **options: Any) -> Loss:
        found = super().loss(stage, inputs, labels, **options)
        told = next(self._told[self.head.training], None)
        return found if told is None else Loss(found.value - found.value.detach() + told, found.scores)


class Watched(Toy):
    """Writes down of each pass whether it has a gradient, and whether body and head are in training mode."""

    seen: ClassVar[set[tuple[bool, bool, bool]]] = set()
    shapes: ClassVar[list[tuple[int, int]]] = []  # of those with a gradient: rows and samples
    draws: ClassVar[list[float]] = []  # a random number of each of these

    def loss(self, stage: str, inputs: Sequence[Tensor], labels: Tensor, **options: Any) -> Loss:
        if torch.is_grad_enabled():
            self.shapes.append((inputs[0].shape[0], inputs[0].shape[1]))
            self.draws.append(float(torch.rand(())))
        self.seen.add((torch.is_grad_enabled(), self.body.training or self.body[1].training, self.head[0].training))
        return super().loss(stage, inputs, labels, **options)


class Encoded(nn.Module):
    """A linear layer on the mean over time of a tiny wav2vec 2.0; stage `head` trains the layer, `body` both."""

    def __init__(self) -> None:
        super().__init__()
        size = {"layers": 2, "width": 16, "feed_forward": 16, "heads": 2, "conv_width": 4, "taps": 4, "groups": 2}
        self.backbone = Backbone(size)
        self.head = nn.Linear(16, 2)
        self.readings = (Reading(self.backbone),)

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        return self.loss("head", [self.readings[0](wave)], torch.ones(len(wave))).scores  # type: ignore[return-value]  # it has some

    def trainable(self, stage: str) -> dict[str, list[nn.Module]]:
        return {"head": [self.head]} if stage == "head" else {"head": [self.head], "body": [self.backbone]}

    def loss(self, stage: str, inputs: Sequence[Tensor], labels: Tensor) -> Loss:
        logits = self.head(inputs[0].mean(1))
        return Loss(functional.cross_entropy(logits, labels.long()), (logits[:, 1] - logits[:, 0]).detach())


class Fitted(nn.Module):
    """Trained without a gradient: the mean of the bona fide samples, times a random number of its constructor."""

    mean: Tensor
    factor: Tensor

    def __init__(self, broken: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("factor", torch.rand(1))
        self.broken = broken

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        return wave.mean(1) * self.mean * self.factor

    def fit(self, utterances: Iterable[tuple[Tensor, int]], seed: int, *, gain: float = 1.0) -> None:
        if self.broken:
            raise ArithmeticError("the toy broke")
        waves = [wave for wave, label in utterances if label == 1]
        self.mean.copy_(torch.cat(waves).mean() * gain + seed)


class Nothing(nn.Module):
    """Cannot be trained at all."""


def corpus(
    root: Path, name: str, bonafide: int, spoof: int, seed: int = 0, seconds: float = 0.05, own: bool = False
) -> Dataset:
    """A dataset of short files in `root/NAME`, of 0.5 to 1.5 times the `seconds`; bona fide first."""
    (root / name).mkdir(parents=True)
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(bonafide + spoof):
        real = number < bonafide
        time = np.arange(round(seconds * RATE * generator.uniform(0.5, 1.5))) / RATE
        tone = np.sin(2 * np.pi * generator.uniform(300, 600) * time) * generator.uniform(0.02, 0.4)
        wave = generator.normal(0, generator.uniform(0.05, 0.3), len(time)) + (tone if real else 0)
        path = root / name / f"{number}.wav"
        soundfile.write(path, wave, RATE)
        rows.append((f"{name}{number}", str(path), "bonafide" if real else "spoof", "" if real else f"A{number % 3}"))
    return dataset(name, pd.DataFrame(rows, columns=["trial", "path", "label", "attack"]), own)


def dataset(name: str, table: pd.DataFrame, own: bool = False) -> Dataset:
    """A dataset of this trial table."""
    about: dict[str, Any] = {"title": name, "summary": name, "licence": "MIT", "obtain": ""}
    about |= {"name": name, "reader": "tests.tiny:published_list"}
    trials = validate(table, name)
    return Dataset(DatasetCard(**about), trials, digest(trials), (), own_files=own)


def stage(**changes: Any) -> dict[str, Any]:
    """Fields of a stage that trains all of a `Toy`."""
    return {
        "epochs": 3,
        "monitor": "validation EER",
        "batch_size": 4,
        "optimiser": {"name": "adam"},
        "learning_rate": {"head": 0.01, "body": 0.01},
        **changes,
    }


def card(
    stages: Mapping[str, Any] | None = None, model: str = "Toy", audio: Mapping[str, Any] = AUDIO, **recipe: Any
) -> DetectorCard:
    """A detector card in memory whose recipe trains on `train` and watches `dev`."""
    texts: dict[str, Any] = {"title": "toy", "summary": "toy", "licence": "MIT", "family": "toy"}
    arguments = recipe.pop("model_arguments", {})
    about: Any = {"train": "train", "dev": "dev", "seed": 1, "stages": {"body": stage()} if stages is None else stages}
    target = model if ":" in model else f"tests.training.toys:{model}"
    audio_recipe = AudioRecipe.model_validate(audio)
    return DetectorCard(
        name="toy", model=target, arguments=arguments, audio=audio_recipe, recipe=about | recipe, **texts
    )


# --- training, and killing it -----------------------------------------------------------------------------------------


def train(card: DetectorCard, lists: Mapping[str, Dataset], folder: Path, **options: Any) -> Path:
    """The folder, after the training."""
    return training.train(card, training.Materials(lists, {}), folder, **options).parent


def final(folder: Path) -> dict[str, bytes]:
    """What has to be the same whatever happened on the way: the weights, and the record of the stages but for times."""
    told = training.record(folder)
    for stage in told["stages"]:
        for point in [stage, stage["best"] or {}, *stage["curve"]]:
            point.pop("seconds", None)
    files = [folder / name for name in ("model.safetensors", "last.safetensors")]
    found = {file.name: file.read_bytes() for file in files if file.exists()}
    return found | {"stages": repr(told["stages"]).encode()}


def tensors(file: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = safetensors.torch.load_file(file)
    return found


class Killed(BaseException):
    """What nothing catches, as a kill."""


@contextmanager
def killed_at(write: int, *, written: bool) -> Iterator[None]:
    """A training dies at the so many-th file of tensors that it writes from here on, before or behind it."""
    left = write
    real = state.write_tensors

    def write_tensors(place: Path, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left <= 0 and not written:
            raise Killed
        real(place, *arguments)
        if left <= 0:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.training.engine.write_tensors", write_tensors)
        patch.setattr("bench.training.state.write_tensors", write_tensors)
        yield


def train_in_child(
    card: DetectorCard,
    lists: Mapping[str, Dataset],
    folder: Path,
    save_seconds: float = 300.0,
    environment: Mapping[str, str] | None = None,
) -> None:
    """A training in a process of its own: to be killed, or one of several."""
    os.environ.update(environment or {})
    torch.set_num_threads(1)
    engine.SAVE_SECONDS = save_seconds
    train(card, lists, folder)
