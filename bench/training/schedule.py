"""What a stage does over its steps: the learning rate, what counts as better, and when it ends."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.recipes import Schedule, Stage


def learning_rate(schedule: Schedule, first: float, last: float, step: int, steps: int, epoch: int) -> float:
    """The learning rate of one optimiser step.

    Args:
        first, last: of the parameter group, see `Schedule`.
        step, epoch: from 0. steps: of the whole stage.

    Warm-up and linear decay are those of transformers' linear schedule: the first step of a warm-up has rate 0.
    The cosine is AASIST's: last + (first - last) (1 + cos(pi step / steps)) / 2.
    """
    warmup = round(schedule.warmup * steps) if schedule.warmup < 1 else int(schedule.warmup)
    if step < warmup:
        return first * step / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    factor = schedule.factor or 1.0
    if schedule.name == "step":
        return first * float(factor ** (epoch // (schedule.epochs or 1)))
    if schedule.name == "exponential":
        return first * float(factor**done)
    share = {"constant": 0.0, "linear": done, "cosine": (1 - math.cos(math.pi * done)) / 2}[schedule.name]
    return first + (last - first) * share


@dataclass
class Course:
    """What the validations of a stage have told so far.

    values: of the monitor, one a validation. best: the number of the best one, from 0. since: how many have followed
    it.
    """

    values: list[float] = field(default_factory=list)
    best: int = -1
    since: int = 0

    def add(self, value: float, *, ties: bool) -> bool:
        """Take a finite value, lower is better; whether it is the best so far."""
        self.values.append(value)
        better = self.best < 0 or value < self.values[self.best] or (ties and value == self.values[self.best])
        if better:
            self.best, self.since = len(self.values) - 1, 0
        else:
            self.since += 1
        return better

    def over(self, stage: Stage) -> bool:
        """Whether the patience of the stage is at its end."""
        return stage.patience is not None and self.since >= stage.patience

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Progress:
    """How far a stage is; all of it is in the state file.

    epoch, batch: the next one to train, from 0. step: optimiser steps so far.
    total, rows: the training loss summed over the utterances since the last validation, and how many these were.
    recent: the same since the last point of `losses`, the curve of the training loss by step. seconds: so far.
    course, curve: of the validations. averaged: how many sets of weights the average has.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    total: float = 0.0
    rows: int = 0
    recent: tuple[float, int] = (0.0, 0)
    seconds: float = 0.0
    course: Course = field(default_factory=Course)
    curve: list[dict[str, Any]] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)
    averaged: int = 0
