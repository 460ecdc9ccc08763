"""Stochastic weight averaging: Izmailov et al., UAI 2018, arXiv 1803.05407."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn


def add_to_average(average: dict[str, Tensor], weights: Mapping[str, Tensor], count: int) -> None:
    """Make `average` the mean of `count` sets of weights, of which `weights` is the newest; it alone gives integers."""
    for name, value in weights.items():
        if value.is_floating_point() and name in average:
            average[name].lerp_(value, 1 / count)
        else:
            average[name] = value.clone()


@torch.no_grad()
def estimate_norms(modules: Sequence[nn.Module], passes: Iterable[object]) -> None:
    """The running statistics of batch norms for averaged weights, over the training batches (section 3.3 there).

    Args:
        modules: those that were trained.
        passes: each item drawn is a forward pass over a batch; drawn here.
    """
    norms = [
        part for module in modules for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    for _ in passes:
        pass
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
