"""Batches for networks that cannot be masked: their scores would depend on how far a row was padded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def each_length(function: Callable[[Tensor], Tensor], wave: Tensor, lengths: Tensor) -> Tensor:
    """`function` of the rows of one length at a time, without their padding.

    Args:
        function: (n, N) -> (n, ...).
        wave: (B, T) zero behind `lengths`.
        lengths: (B,) real samples a row, on the CPU.

    Returns:
        The results (B, ...) in the order of the rows.
    """
    parts, rows = zip(*((function(group), chosen) for group, chosen in by_length(wave, lengths)), strict=True)
    return in_batch_order(parts, rows)


def by_length(wave: Tensor, lengths: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of one length without their padding, (n, N), and which rows of the batch they are, int64 (n,).

    The rows are numbered on the CPU, as `lengths` are: a device is asked for nothing, so that nobody waits for it.
    """
    for length in sorted(set(lengths.tolist())):
        chosen = (lengths == length).nonzero()[:, 0]
        yield wave[chosen.to(wave.device, non_blocking=True), :length], chosen


def in_batch_order(parts: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
    """Results (n, ...) of groups of `by_length` -> (B, ...) in the order of the batch."""
    together = torch.cat(list(parts))
    return together[torch.cat(list(rows)).argsort().to(together.device, non_blocking=True)]
