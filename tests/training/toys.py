"""Detectors that learn in a second, and a corpus for them: a tone is bona fide, noise is spoof."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.cards import AudioRecipe, DatasetCard, DetectorCard
from bench.corpora import Dataset
from bench.models import Loss
from bench.trials import digest, validate

RATE, SAMPLES = 16_000, 512
AUDIO = {"rate": RATE, "window": "tile", "samples": SAMPLES}


class Toy(nn.Module):
    """A convolution, a batch norm, dropout and two logits; stage `body` trains all of it, `head` the last layer."""

    def __init__(self, width: int = 4, explode: int = 0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(1, width, 16, stride=8), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, 2))
        self.explode, self.calls = explode, 0

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        logits = self.logits(wave)
        return logits[:, 1] - logits[:, 0]

    def logits(self, wave: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(wave[:, None]).mean(2))
        return found

    def trainable(self, stage: str) -> dict[str, list[nn.Module]]:
        return {"head": [self.head]} if stage == "head" else {"head": [self.head], "body": [self.body]}

    def loss(
        self, stage: str, inputs: Sequence[Tensor], labels: Tensor, *, class_weights: Sequence[float] | None = None
    ) -> Loss:
        logits = self.logits(inputs[0])
        self.calls += self.training or self.head.training
        weights = None if class_weights is None else torch.tensor(class_weights)
        value = functional.cross_entropy(logits, labels.long(), weights)
        if self.explode and self.calls >= self.explode:
            value = value * math.nan
        return Loss(value, (logits[:, 1] - logits[:, 0]).detach())


class RealOnly(Toy):
    """Stage `real` learns from real speech alone and tells no classes."""

    one_class = ("real",)

    def loss(self, stage: str, inputs: Sequence[Tensor], labels: Tensor, **options: Any) -> Loss:
        found = super().loss(stage, inputs, labels, **options)
        return Loss(found.value) if stage == "real" else found


def corpus(root: Path, name: str, bonafide: int, spoof: int, seed: int = 0, seconds: float = 0.05) -> Dataset:
    """A dataset of short files in `root/NAME`."""
    (root / name).mkdir(parents=True)
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(bonafide + spoof):
        real = number < bonafide
        time = np.arange(round(seconds * RATE * generator.uniform(0.5, 1.5))) / RATE
        tone = np.sin(2 * np.pi * generator.uniform(300, 600) * time) * 0.3
        wave = tone if real else generator.normal(0, 0.2, len(time))
        path = root / name / f"{number}.wav"
        soundfile.write(path, wave, RATE)
        rows.append((f"{name}{number}", str(path), "bonafide" if real else "spoof", "" if real else f"A{number % 3}"))
    trials = validate(pd.DataFrame(rows, columns=["trial", "path", "label", "attack"]), name)
    about = {"title": name, "summary": name, "licence": "MIT", "obtain": "", "reader": "tests.tiny:published_list"}
    return Dataset(DatasetCard(name=name, **about), trials, digest(trials), ())  # type: ignore[arg-type]  # texts


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
    about = {"train": "train", "dev": "dev", "seed": 1, "stages": stages or {"body": stage()}, **recipe}
    target = model if ":" in model else f"tests.training.toys:{model}"
    return DetectorCard(
        name="toy", model=target, arguments=arguments, audio=AudioRecipe(**audio), recipe=about, **texts
    )
