"""Batches for networks that cannot be masked: their scores would depend on how far a row was padded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def each_length(function: Callable[[Tensor], Tensor], wave: Tensor, lengths: Tensor) -> Tensor:
    """`function` of the rows of one length at a time, without their padding.

    Args:
        function: (n, N) -> (n, ...).
        wave: (B, T) zero behind `lengths`.
        lengths: (B,) real samples a row.

    Returns:
        The results (B, ...) in the order of the rows.
    """
    parts, rows = zip(*((function(group), chosen) for group, chosen in by_length(wave, lengths)), strict=True)
    return torch.cat(parts)[torch.cat(rows).argsort()]


def by_length(wave: Tensor, lengths: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of one length without their padding, (n, N), and which rows of the batch they are, (n,) int64."""
    for length in sorted(set(lengths.tolist())):
        chosen = (lengths == length).nonzero()[:, 0].to(wave.device)
        yield wave[chosen, :length], chosen
