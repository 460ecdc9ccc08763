"""A detector as an optimiser sees it: what a stage trains of it, its loss, and Adam over its groups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import ScoringError
from bench.models import Loss
from bench.recipes import Optimiser


class Objective(nn.Module):
    """A detector as the loss of a stage: what accelerate wraps, so that gradients of several processes meet."""

    def __init__(self, detector: nn.Module, name: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.detector, self.name, self.options = detector, name, dict(options)

    def forward(self, inputs: Sequence[Tensor], labels: Tensor, *, read: bool) -> Loss:
        """`inputs` are (wave, lengths), or with `read` what the detector's readings give."""
        detector: Any = self.detector
        readings = getattr(detector, "readings", None)
        if readings is not None and not read:
            wave, _ = inputs
            inputs = [_reading(reading, wave) for reading in readings]
        found: Loss = detector.loss(self.name, inputs, labels, **self.options)
        return found


def _reading(reading: Any, wave: Tensor) -> Tensor:
    """What a reading gives, without a graph where nothing of its backbone learns."""
    with contextlib.nullcontext() if learns(reading.backbone) else torch.no_grad():
        found: Tensor = reading(wave)
        return found


@contextlib.contextmanager
def explained(stage: str, rows: int) -> Iterator[None]:
    """What goes wrong in a pass over so many rows, as a ScoringError where the recipe can help."""
    where, card = f"stage {stage}", "in a card that extends this one"
    try:
        yield
    except torch.OutOfMemoryError as error:
        what = f"{rows} utterances do not fit into memory in one forward pass"
        remedy = f"raise `accumulate` of the stage {card}; the last state is kept"
        raise ScoringError(what, where=where, remedy=remedy) from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        what = "a batch norm of the detector cannot learn from a batch of one utterance"
        remedy = f"leave it out with `drop_last: true`, or change `batch_size` or `accumulate` of the stage, {card}"
        raise ScoringError(what, where=where, remedy=remedy) from error


def learns(module: nn.Module) -> bool:
    """Whether a parameter of the module is trained in the stage at hand."""
    return any(parameter.requires_grad for parameter in module.parameters())


def trained_modules(detector: nn.Module, name: str) -> dict[str, list[nn.Module]]:
    """What a stage trains, by group; everything else is frozen from here on, and all is in evaluation mode."""
    groups: dict[str, list[nn.Module]] = detector.trainable(name)  # type: ignore[operator]  # a module's own method
    detector.eval().requires_grad_(False)
    for module in (module for modules in groups.values() for module in modules):
        module.requires_grad_(True)
    return groups


def optimiser(about: Optimiser, groups: Mapping[str, Sequence[nn.Module]]) -> torch.optim.Optimizer:
    """Adam or AdamW over the parameters of the groups, in their order; the rates are set step by step."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[about.name]
    parameters = [
        {"params": list(dict.fromkeys(p for module in modules for p in module.parameters()))}
        for modules in groups.values()
    ]
    built: torch.optim.Optimizer = kind(
        parameters, lr=0.0, weight_decay=about.weight_decay, betas=about.betas, eps=about.eps, fused=True
    )
    return built
