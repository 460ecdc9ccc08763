"""The batches of a stage on the device: clips, or what frozen encoders have made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.recipes import Stage
from bench.training.features import Features
from bench.training.loading import Batch, Clips, batches, in_order
from bench.trials import is_bonafide

EVALUATION_ROWS = 8  # at least, where the recipe's own batches are smaller


@dataclass(frozen=True)
class Setting:
    """What a stage is trained with, beside the detector.

    title: of the stage, for who watches. number: of it in the recipe, from 0. options: of the loss, as numbers.
    training, validation: the utterances. seconds: of each training file, where batches are made by length.
    features, validation_features: the inputs of every row, where the encoders are frozen and kept on disk.
    """

    title: str
    name: str
    number: int
    stage: Stage
    seed: int
    options: Mapping[str, Any]
    training: Clips
    validation: Clips | None
    features: Features | None = None
    validation_features: Features | None = None
    seconds: np.ndarray | None = None


class Inputs(NamedTuple):
    """A batch: what the loss takes (`bench.models`), labels (B,), and the rows of the trial list.

    tensors: (wave, lengths), or with `read` what the detector's readings gave.
    """

    tensors: Sequence[Tensor]
    labels: Tensor
    rows: np.ndarray
    read: bool


class Feed:
    """The batches of a stage on a device."""

    def __init__(self, setting: Setting, device: torch.device, workers: int) -> None:
        self._setting, self._device, self._workers = setting, device, workers

    def training(self, rows: Sequence[np.ndarray], epoch: int) -> Iterator[Inputs]:
        """The batches of these rows, as they are in this epoch. Raises as `bench.training.loading.batches`."""
        setting = self._setting
        clips = setting.training.at(setting.seed, setting.name, epoch)
        return self._batches(clips, setting.features, rows)

    def validation(self) -> Iterator[Inputs]:
        """The whole validation list in its order, the same batches every time."""
        clips = self._setting.validation
        assert clips is not None, "called with one"
        order = in_order(len(clips.trials), max(self._setting.stage.batch_size or 0, EVALUATION_ROWS))
        return self._batches(clips, self._setting.validation_features, order)

    def _batches(self, clips: Clips, features: Features | None, rows: Sequence[np.ndarray]) -> Iterator[Inputs]:
        if features is None:
            pin = self._device.type == "cuda"
            yield from map(self._moved, batches(clips, rows, workers=self._workers, pin=pin))
            return
        labels = torch.from_numpy(is_bonafide(clips.trials).astype(np.float32))
        for chosen in rows:
            tensors = [part.to(self._device) for part in features.read(chosen)]
            yield Inputs(tensors, labels[chosen].to(self._device), chosen, True)

    def _moved(self, batch: Batch) -> Inputs:
        wave, labels = (part.to(self._device, non_blocking=True) for part in (batch.wave, batch.labels))
        return Inputs((wave, batch.lengths), labels, batch.rows, False)
