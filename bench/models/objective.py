"""Losses that detectors share: two-class cross-entropy, weighted by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import DataError, UsageError, unknown
from bench.models import Loss, Output


def check_stage(detector: str, stage: str, known: Sequence[str]) -> None:
    """Raises UsageError for a stage of training that the detector does not have."""
    if stage not in known:
        raise unknown(f"stage of {detector}", stage, known)


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Sequence[float] | None = None) -> Tensor:
    """Negative log-softmax of the true class in float32, the mean over the rows weighted by class: a scalar.

    Args:
        logits: (B, 2) of spoof and bona fide.
        labels: (B,), 1 = bona fide, 0 = spoof.
        class_weights: of spoof and bona fide; None: both the same.
    Raises:
        UsageError: class weights that are not two positive numbers.
    """
    weights = None if class_weights is None else logits.new_tensor(_checked(class_weights), dtype=torch.float32)
    return functional.cross_entropy(logits.float(), labels.long(), weights)


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Loss:
    """Of single logits (B,), which are the scores, in float32: the mean over the rows. Labels as in `cross_entropy`."""
    logits = logits.float()
    return Loss(functional.binary_cross_entropy_with_logits(logits, labels.to(logits)), logits.detach())


def _checked(class_weights: Sequence[float]) -> Sequence[float]:
    """Raises UsageError: what a card gives is of any type, and a weight of 0 makes a batch of that class 0 / 0."""
    numbers = isinstance(class_weights, Sequence) and all(isinstance(each, int | float) for each in class_weights)
    if numbers and len(class_weights) == 2 and all(0 < each < math.inf for each in class_weights):
        return class_weights
    raise UsageError(
        f"class weights are two positive numbers, not {class_weights!r}",
        remedy="`[0.1, 0.9]` weighs spoof by 0.1 and bona fide by 0.9; `balanced` takes them from the training list",
    )


def balanced_weights(labels: Tensor) -> Tensor:
    """The weights (2,) of spoof and bona fide, N / (2 n of the class), by which both weigh the same in a sum of losses.

    Args:
        labels: (N,) of the whole training list, 1 = bona fide, 0 = spoof.
    Raises:
        DataError: a class without trials.
    """
    counts = torch.bincount(labels.long(), minlength=2)
    if not counts.all():
        raise DataError(f"{int(counts[1])} bona fide and {int(counts[0])} spoof trials cannot be balanced")
    return len(labels) / (2 * counts)


class TwoLogits(nn.Module):
    """Training of a detector by the cross-entropy of its two logits, as a whole where it says nothing else.

    A base of the detector, before the one that builds it. The detector has `embedded`, which takes the inputs of `loss`
    (see `bench.models`) and gives what its last layer takes, (B, D), and the logits made of that, (B, 2), spoof and
    bona fide; and `scored`, what `forward` gives of logits.
    """

    stages: ClassVar[tuple[str, ...]] = ("whole",)
    embedded: Callable[..., tuple[Tensor, Tensor]]
    scored: Callable[[Tensor], Output]

    def logits(self, *inputs: Tensor) -> Tensor:
        """Inputs of `loss` -> (B, 2): spoof, bona fide."""
        return self.embedded(*inputs)[1]

    def output(self, *inputs: Tensor) -> Output:
        """Inputs of `loss` -> scores, extras and embedding."""
        embedding, logits = self.embedded(*inputs)
        return replace(self.scored(logits), embedding=embedding)

    def trainable(self, stage: str) -> dict[str, list[nn.Module]]:
        """What a stage trains, by the group whose learning rate it takes: everything.

        Raises:
            UsageError: no such stage.
        """
        check_stage(type(self).__name__, stage, self.stages)
        return {"whole": [self]}

    def loss(
        self, stage: str, inputs: Sequence[Tensor], labels: Tensor, *, class_weights: Sequence[float] | None = None
    ) -> Loss:
        """Cross-entropy of the logits, the same in every stage, and the scores.

        Args:
            inputs: see `bench.models`. labels: (B,), 1 = bona fide, 0 = spoof.
            class_weights: see `cross_entropy`.
        Raises:
            UsageError: no such stage, or class weights that are not two positive numbers.
        """
        check_stage(type(self).__name__, stage, self.stages)
        logits = self.logits(*inputs).float()
        return Loss(cross_entropy(logits, labels, class_weights), self.scored(logits.detach()).scores)
