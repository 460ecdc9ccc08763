"""How many processor cores this process may use, and what for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def cores() -> int:
    """Those that it is bound to, where the system tells; else all of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_workers(kind: str) -> int:
    """Decode processes for one device that scores: as many as keep a GPU fed; on a CPU one for eight cores.

    A clip of AASIST takes 333 ms of one core, reading and storing it 1.65 ms (FLAC of 16 kHz). So of `n` cores one that
    only decodes costs the detector 1 / n, and decoding between two batches, while all but one wait, n * 0.005: the
    first is less from 14 cores on, for light detectors from 4 on.
    """
    return decode_share(kind, cores())


def decode_share(kind: str, share: int, needed: int | None = None) -> int:
    """As `decode_workers`, for a device that `share` cores belong to; `needed`: what keeps it fed, where measured."""
    if kind == "cpu":
        return share // 8
    return max(1, min(8, share - 1) if needed is None else min(needed, share))


def detector_threads(share: int, workers: int) -> int:
    """Threads of torch for a detector on a CPU: of the `share` cores those that decode processes leave it, never more
    than torch has been told (OMP_NUM_THREADS, torch.set_num_threads)."""
    import torch  # the site counts cores, too, and does without it

    return max(1, min(torch.get_num_threads(), share - workers))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads of torch; as many as before at the end."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
